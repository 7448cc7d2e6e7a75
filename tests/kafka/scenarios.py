"""What must hold whatever happens to a listener, on a real Kafka: the table of promises.

Each function runs one row and returns its `Tally`; the tests run them short, ``python -m
benchmarks.chaos`` at full length.
"""

import json
import signal
import time
from collections import Counter
from pathlib import Path

from igwn_style_client.archive import Archive
from tests.kafka.counting import (
    SOON,
    Members,
    Publisher,
    a_while,
    astronomer,
    at_rest,
    dice_of,
    frozen,
    publishing,
    reconnected,
)
from tests.waiting import wait_until

# -- callbacks -----------------------------------------------------------------------------------


def _raising(folder, group, publisher, times):
    """A payload whose callback raises so many times, counted over restarts."""
    noted = folder / f"{group}-{len(publisher.sent)}"
    return {"do": "raise", "times": times, "noted": str(noted)} if times else {}


def raising_at_random(kafka, group, folder, seed=0, workers=1, failures=3, share=40):
    """Let the callback raise at a random one of so many alerts, and restart the process: again."""
    began = time.monotonic()
    dice = dice_of(seed, "raising", workers)
    kafka.create_topics(f"{group}.superevent", partitions=4)
    publisher = Publisher(kafka, f"{group}.superevent", 4)
    failing = set()
    with Members(kafka, group, listen={"workers": workers}) as members:
        listener = members.start()
        for _ in range(failures):
            bad = dice.randrange(share)
            failing.add(len(publisher.sent) + bad)
            for number in range(share):
                raising = _raising(folder, group, publisher, 1)
                publisher.queue(**(raising if number == bad else a_while(dice)))
            publisher.flush()
            listener.wait_for("raised")
            members.end(listener)
            listener = members.start(wait=False)
        members.wait_for(publisher.sent)
        members.stop(listener)
        tally = members.tally(f"callback raises, workers={workers}", publisher.sent, began)
        begun = Counter(event["payload"] for one in members.all for event in one.of("begun"))
    again = {n for n, times in begun.items() if times > 1}
    tally.demand(again == failing, f"came again, but had not failed: {again - failing}")
    tally.faults = failures
    return tally


def flaky(kafka, group, folder, seed=0, workers=1, alerts=60, aside=False):
    """Give a callback three attempts that often fails once or twice, or, set aside, thrice."""
    began = time.monotonic()
    dice = dice_of(seed, "flaky", workers, aside)
    kafka.create_topics(f"{group}.superevent", partitions=4)
    publisher = Publisher(kafka, f"{group}.superevent", 4)
    path = folder / f"{group}.db"
    listen = {"workers": workers, "attempts": 3}
    listen |= {"on_failure": "set_aside"} if aside else {}
    with Members(kafka, group, listen=listen, set_aside=str(path), retry_wait=0.05) as members:
        listener = members.start()
        times = [dice.choice([0, 0, 0, 1, 2, 3 if aside else 0]) for _ in range(alerts)]
        for number in times:
            publisher.queue(**_raising(folder, group, publisher, number))
        publisher.flush()
        hopeless = [n for n, number in enumerate(times) if number == 3]
        members.wait_for(set(publisher.sent) - set(hopeless))
        wait_until(lambda: listener.health()["set_aside"] >= len(hopeless), what="all set aside")
        failed = listener.health()["failed"]
        members.stop(listener)
        tally = members.tally("", publisher.sent, began)
        orders = {}
        for event in listener.of("begun"):
            orders.setdefault(event["where"][0], []).append(event["payload"])
    kept = [json.loads(one.raw)["n"] for one in Archive(path).alerts(set_aside=True)]
    what = f'on_failure="set_aside": {len(kept)} aside' if aside else "attempts=3"
    tally.row = f"{what}, workers={workers}"
    tally.faults = sum(times)
    tally.demand(sorted(kept) == tally.lost, f"not delivered {tally.lost}, kept {sorted(kept)}")
    tally.demand(tally.lost == hopeless, f"not delivered: {tally.lost}, hopeless: {hopeless}")
    tally.lost = sorted(set(tally.lost) - set(kept))
    tally.demand(not tally.repeated, "finished alerts came again")
    tally.demand(failed == sum(times), f"{failed} failures, not {sum(times)}")
    for partition, order in orders.items():
        tally.demand(order == sorted(order), f"partition {partition} is not in order")
    return tally


def slow_callback(kafka, group, seed=0, workers=1, rounds=1):
    """Let callbacks take longer than `max.poll.interval.ms`."""
    began = time.monotonic()
    kafka.create_topics(f"{group}.superevent", partitions=4)
    publisher = Publisher(kafka, f"{group}.superevent", 4)
    dice = dice_of(seed, "slow", workers)
    options = {"session.timeout.ms": 6000, "max.poll.interval.ms": 6000}
    with Members(kafka, group, options=options, listen={"workers": workers}) as members:
        listener = members.start()
        for _ in range(rounds):
            publisher.send(dice.randint(0, 8))
            publisher.send(1, do="sleep", **{"for": 9})
            publisher.send(8)
            members.wait_for(publisher.sent)
        members.stop(listener)
        row = f"callback beyond max.poll.interval, workers={workers}"
        tally = members.tally(row, publisher.sent, began)
    tally.faults = rounds
    tally.demand(len(listener.of("begun")) == len(publisher.sent), "some came twice")
    tally.demand("the group gave" not in "".join(listener.errors), "it lost its place")
    return tally


def memory(listener, what):
    """VmRSS or VmHWM, the most so far, in MiB."""
    status = Path(f"/proc/{listener.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if what in line) / 1024


def fast_topic(kafka, group, folder, seed=0, workers=1, shape="string", alerts=3000, queue=16):
    """Hold callbacks up while megabytes arrive; `queue` is in MiB, as is what is measured."""
    began = time.monotonic()
    kafka.create_topics(f"{group}.superevent", partitions=2)
    publisher = Publisher(kafka, f"{group}.superevent", 2)
    dice = dice_of(seed, "fast", workers, shape)
    pads = {
        "string": lambda: "x" * dice.randint(50_000, 150_000),
        "number": lambda: [n / 7 for n in range(dice.randint(2500, 7500))],
    }
    go = folder / f"go-{group}"
    most = queue + 16 + 60  # what librdkafka reads ahead, and a margin
    try:
        with Members(
            kafka, group, queue_bytes=queue * 2**20, listen={"workers": workers}
        ) as members:
            listener = members.start()
            publisher.send(2, pad="x")
            members.wait_for(publisher.sent)
            before = memory(listener, "VmRSS")
            publisher.send(2, do="wait", **{"for": str(go)})
            listener.wait_for("begun", 2 + workers)
            for _ in range(alerts):
                publisher.queue(pad=pads[shape]())
            publisher.flush()
            at_rest(listener)
            held = memory(listener, "VmHWM") - before
            go.touch()
            members.wait_for(publisher.sent)
            grown = memory(listener, "VmHWM") - before
            members.stop(listener)
            row = f"slow callback, {shape}s, workers={workers}: RSS +{held:.0f}, +{grown:.0f} MiB"
            tally = members.tally(row, publisher.sent, began)
    finally:
        kafka.delete_topics(f"{group}.superevent")
    tally.demand(max(held, grown) < most, f"more than {most} MiB")
    return tally


# -- processes that end, and groups --------------------------------------------------------------


def killed_at_random(
    kafka, group, seed=0, workers=1, batch_size=1, kills=3, alerts=150, longest=0.02, partitions=4
):
    """SIGKILL a listener at random moments, while alerts come and while it is down."""
    began = time.monotonic()
    dice = dice_of(seed, workers, batch_size)
    kafka.create_topics(f"{group}.superevent", partitions=partitions)
    publisher = Publisher(kafka, f"{group}.superevent", partitions)
    listen = {"workers": workers}
    with Members(kafka, group, listen=listen, batch_size=batch_size) as members:
        listener = members.start()
        for round_ in range(kills):
            share = alerts // kills + (round_ < alerts % kills)
            while_up = dice.randint(share // 4, share)
            if round_ and dice.random() < 0.3:  # before it listens, or just then
                time.sleep(dice.uniform(0.2, 2.5))
                while_up = 0
            else:
                listener.wait_for("ready")
                for _ in range(while_up):
                    publisher.queue(**a_while(dice, longest))
                publisher.flush()
                time.sleep(dice.uniform(0, 1.5))
            members.kill(listener)
            for _ in range(share - while_up):
                publisher.queue(**a_while(dice, longest))
            publisher.flush()
            listener = members.start(wait=False)
        members.wait_for(publisher.sent, 60 + alerts * longest)
        members.stop(listener)
        tally = members.tally(
            f"SIGKILL, workers={workers}, batch_size={batch_size}", publisher.sent, began
        )
    tally.faults = kills
    return tally


def ended_in_good_order(kafka, group, folder, how="SIGTERM", workers=1, alerts=40, seed=0):
    """End a listener while callbacks run; the next one goes on exactly there."""
    began = time.monotonic()
    dice = dice_of(seed, how, workers)
    kafka.create_topics(f"{group}.superevent", partitions=4)
    publisher = Publisher(kafka, f"{group}.superevent", 4)
    go = folder / f"go-{group}"
    # With the usual session of 45 s: nobody waits for that here.
    with Members(kafka, group, options={}, listen={"workers": workers}) as members:
        listener = members.start()
        for _ in range(alerts // 2):
            publisher.queue(**a_while(dice))
        publisher.flush()
        members.wait_for(publisher.sent)
        publisher.send(4, do="wait", **{"for": str(go)})
        listener.wait_for("begun", alerts // 2 + workers)
        publisher.send(alerts // 2)
        if how == "stop":
            listener.tell("stop")
        else:
            listener.signal(signal.Signals[how])
        # The signal was taken when it says so; nothing says when stop() was.
        if how != "stop":
            wait_until(lambda: f"{how}: ending when" in "".join(listener.errors), what=how)
        else:
            listener.health()
        go.touch()
        status = members.end(listener)
        done = listener.of("done")
        after = members.ends[-1][1] - max(event["at"] for event in done)
        committed = kafka.committed(group, f"{group}.superevent")
        again = time.monotonic()
        second = members.start()
        took = time.monotonic() - again
        members.wait_for(publisher.sent)
        members.stop(second)
        row = f"{how}{'()' * (how == 'stop')}, workers={workers}: ended after {after:.1f} s"
        tally = members.tally(row, publisher.sent, began)
    expected = {"SIGTERM": -15, "SIGINT": -2, "stop": 0}[how]
    tally.demand(status == expected, f"exit status {status}, not {expected}")
    tally.demand(len(done) == len(listener.of("begun")), "callbacks did not finish")
    tally.demand(len(done) == alerts // 2 + workers, "callbacks began after the end")
    tally.demand(sum(committed.values()) == len(done), "not all marks are committed")
    tally.demand(after < 2, "more than a second, and the end of a process")
    tally.demand(took < 20, "the group was not left: the next one waited for its session to end")
    tally.demand(not tally.repeated, "finished alerts came again")
    tally.faults = 1
    return tally


def killed_before_it_had_a_mark(kafka, group, folder, moment, seed=0, workers=1, alerts=20):
    """Kill a new group's first process inside its first callback, or before any alert came."""
    dice = dice_of(seed, moment, workers)
    began = time.monotonic()
    kafka.create_topics(f"{group}.superevent", partitions=4)
    publisher = Publisher(kafka, f"{group}.superevent", 4)
    publisher.send(4)  # before anybody listens: not for us, who start at the latest
    history = publisher.sent.copy()
    go = folder / f"go-{group}"
    with Members(kafka, group, listen={"workers": workers}) as members:
        listener = members.start()
        if moment == "first callback":
            publisher.send(4, do="wait", **{"for": str(go)})
            listener.wait_for("begun", workers)
        time.sleep(dice.uniform(0, 0.5))  # any moment will do
        members.kill(listener)
        go.touch()
        publisher.send(alerts)
        listener = members.start()
        members.wait_for(publisher.sent[4:])
        members.stop(listener)
        assert not members.done().keys() & set(history)
        row = f"new group killed: {moment}, workers={workers}"
        tally = members.tally(row, publisher.sent[4:], began)
    tally.faults = 1
    return tally


def members_come_and_go(kafka, group, seed=0, most=4, seconds=6.0, workers=1, kill=False):
    """From 1 member to `most` and back, while alerts come on 8 partitions."""
    began = time.monotonic()
    dice = dice_of(seed)
    kafka.create_topics(f"{group}.superevent", partitions=8)
    publisher = Publisher(kafka, f"{group}.superevent", 8)

    def publish_for(time_):
        end = time.monotonic() + time_
        while time.monotonic() < end:
            for _ in range(8):
                publisher.queue(**a_while(dice))
            publisher.flush()
            time.sleep(0.05)

    with Members(kafka, group, listen={"workers": workers}) as members:
        here = [members.start()]
        publish_for(seconds / 6)
        while len(here) < most:
            here.append(members.start(wait=False))
            publish_for(seconds / 6)
        for one in here:
            one.wait_for("ready")

        def all_share():
            publisher.send(8)
            return all(one.of("done") for one in here)

        wait_until(all_share, 30, "alerts for every member")
        dice.shuffle(here)
        while len(here) > 1:
            gone = here.pop()
            if kill and dice.random() < 0.5:
                members.kill(gone)
            else:
                members.stop(gone)
            publish_for(seconds / 6)
        members.wait_for(publisher.sent)
        members.stop(here[0])
        row = f"1 -> {most} -> 1 members{', some killed' * kill}, workers={workers}"
        tally = members.tally(row, publisher.sent, began)
    tally.faults = 2 * (most - 1)
    return tally


# -- topics --------------------------------------------------------------------------------------


def topics_come_later(kafka, group, grouped=True, seed=0, rounds=1):
    """Make topics that were missing, and partitions, while alerts come on another topic."""
    began = time.monotonic()
    dice = dice_of(seed, "later", grouped)
    kafka.create_topics(f"{group}.superevent")
    publishers = [Publisher(kafka, f"{group}.superevent", 1)]
    names = [f"later{number}" for number in range(rounds)]
    far = 10**6  # each publisher has numbers of its own

    def more(name, partitions):
        publisher = Publisher(kafka, f"{group}.{name}", partitions, first=far * len(publishers))
        publisher.send(dice.randint(partitions, 20))
        publishers.append(publisher)

    def sent():
        return [n for publisher in publishers for n in publisher.sent]

    with Members(kafka, group, grouped) as members:
        listener = members.start(["superevent", *names, "never"])
        with publishing(publishers[0]) as wait_for_more:
            for number, name in enumerate(names):
                wait_for_more(dice.randint(1, 100))
                partitions = dice.randint(1, 3)
                kafka.create_topics(f"{group}.{name}", partitions=partitions)
                more(name, partitions)
                if dice.random() < 0.5:  # or both at once
                    members.wait_for(publishers[-1].sent, 20)
                kafka.add_partitions(f"{group}.superevent", 2 + number)
                more("superevent", 2 + number)
                members.wait_for(publishers[-1].sent, 20)
        members.wait_for(sent())
        members.stop(listener)
        row = f"topics and partitions come later, {_how(grouped)}"
        tally = members.tally(row, sent(), began)
    named = f'"{group}.never"' in "".join(listener.errors)
    tally.demand(named, "no warning names the topic that is missing")
    tally.demand(not tally.repeated, "finished alerts came again")
    tally.faults = 2 * rounds
    return tally


def _how(grouped):
    return "group" if grouped else "no group"


def retention_passed_the_mark(kafka, group, folder, grouped=True, down=False, seed=0, rounds=2):
    """Delete alerts while the callback is held up, or while nobody listens.

    What was reported as gone must be exactly what did not come, and had been deleted.
    """
    began = time.monotonic()
    dice = dice_of(seed, "retention", grouped, down)
    topic = f"{group}.superevent"
    kafka.create_topics(topic)  # one partition: numbers are offsets
    publisher = Publisher(kafka, topic, 1)
    options = {**SOON, "queued.max.messages.kbytes": 1, "fetch.message.max.bytes": 1000}
    deleted, gone = set(), 0
    with Members(kafka, group, grouped, options, queue_bytes=5000) as members:
        listener = members.start()
        for number in range(rounds):
            go = folder / f"go-{group}-{number}"
            if down:
                publisher.send(dice.randint(1, 20))
                members.wait_for([publisher.sent[-1]])
                listener.tell("stop")
                members.end(listener)
                gone += listener.of("ended")[-1]["health"]["gone"]
            else:
                begun = len(listener.of("begun"))
                publisher.send(1, do="wait", **{"for": str(go)})
                listener.wait_for("begun", begun + 1)
            first = len(publisher.sent)
            for _ in range(dice.randint(20, 60)):
                publisher.send(ballast=1000 * "x")  # one by one: a batch is read as a whole
            if not down and dice.random() < 0.7:
                at_rest(listener)
            oldest = len(publisher.sent) - dice.randint(1, 15)
            kafka.delete_records(topic, {0: oldest})
            deleted |= {*range(first, oldest)}
            go.touch()
            if down:
                listener = members.start()
            members.wait_for([publisher.sent[-1]])
        listener.tell("stop")
        members.end(listener)
        gone += listener.of("ended")[-1]["health"]["gone"]
        tally = members.tally("", publisher.sent, began)
    tally.row = f"retention, {'nobody there' if down else _how(grouped)}: {gone} reported gone"
    tally.demand(gone, "nothing was gone: the row is empty")
    tally.demand(gone == len(tally.lost), f"{len(tally.lost)} did not come, {gone} reported gone")
    tally.lost = sorted(set(tally.lost) - deleted)
    tally.demand(not tally.repeated, "finished alerts came again")
    tally.faults = rounds
    return tally


# -- brokers and rights --------------------------------------------------------------------------


def broker_killed(kafka, group, grouped=True, workers=1, listeners=1, kills=2, seed=0):
    """SIGKILL the broker at random moments while alerts are published, and start it again."""
    began = time.monotonic()
    dice = dice_of(seed, "broker", grouped, workers)
    kafka.create_topics(f"{group}.superevent", partitions=4)
    publisher = Publisher(kafka, f"{group}.superevent", 4)
    with Members(kafka, group, grouped, listen={"workers": workers}) as members:
        for _ in range(listeners):
            members.start()
        with publishing(publisher) as wait_for_more:
            for _ in range(kills):
                wait_for_more(dice.randint(1, 60))
                kafka.kill()
                time.sleep(dice.uniform(0, 2))  # away for a while
                kafka.start()
            wait_for_more()
        members.wait_for(publisher.sent)
        for listener in members.all:
            members.stop(listener)
        row = f"broker killed, {_how(grouped)}, workers={workers}"
        row += f", {listeners} listeners" if listeners > 1 else ""
        tally = members.tally(row, publisher.sent, began)
    tally.faults = kills
    return tally


def broker_frozen(kafka, group, grouped=True, workers=1, stall=None, times=1, seed=0):
    """Freeze the broker for a while, or for longer than `stall` seconds: until it is noticed."""
    began = time.monotonic()
    dice = dice_of(seed, "frozen", grouped, workers, stall)
    kafka.create_topics(f"{group}.superevent", partitions=2)
    publisher = Publisher(kafka, f"{group}.superevent", 2)
    options = SOON if stall is None else {**SOON, "stall.seconds": stall}
    with Members(kafka, group, grouped, options, {"workers": workers}) as members:
        listener = members.start()
        with publishing(publisher) as wait_for_more:
            for _ in range(times):
                wait_for_more(dice.randint(1, 60))
                before = listener.health()["reconnects"]
                with frozen(kafka):
                    if stall is None:
                        time.sleep(dice.uniform(0.5, 6))  # frozen for a while
                    else:
                        reconnected(listener, before)
                wait_for_more()
        members.wait_for(publisher.sent)
        members.stop(listener)
        what = "for a while" if stall is None else "beyond stall.seconds"
        row = f"broker frozen {what}, {_how(grouped)}, workers={workers}"
        tally = members.tally(row, publisher.sent, began)
    said = "has not answered for" in "".join(listener.errors)
    tally.demand(stall is None or said, "it does not say that nobody answers")
    tally.faults = times
    return tally


def rights_withdrawn(kafka, group, kind="topic", grouped=True, times=1, seed=0):
    """Deny the topic, or the group, for a while to a listener that may try again for ever."""
    began = time.monotonic()
    dice = dice_of(seed, "rights", kind, grouped)
    topic = f"{group}.superevent"
    kafka.create_topics(topic, partitions=2)
    publisher = Publisher(kafka, topic, 2)
    resource = {"topic": topic} if kind == "topic" else {"group": group}
    told = {**astronomer(kafka), "retry_on_fatal": True, "listen_retries": None}
    with Members(kafka, group, grouped, **told) as members:
        listener = members.start()
        with publishing(publisher) as wait_for_more:
            for _ in range(times):
                wait_for_more(dice.randint(1, 60))
                before = listener.health()["reconnects"]
                kafka.acl("astronomer", "read", **resource, allow=False)
                reconnected(listener, before)
                wait_for_more(dice.randint(1, 60))
                kafka.remove_acls(**resource)
                members.wait_for(publisher.sent[:])
        members.wait_for(publisher.sent)
        members.stop(listener)
        row = f"rights to the {kind} withdrawn, {_how(grouped)}"
        tally = members.tally(row, publisher.sent, began)
    tally.faults = times
    return tally
