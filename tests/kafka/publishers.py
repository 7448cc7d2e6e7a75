"""What must hold whatever happens to a publisher, on a real Kafka: more of the table of promises.

As in `scenarios`, each function runs one row and returns its `Tally`.  Delivered is what lies on
the topics in the end.
"""

import json
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from igwn_style_client import BrokerUnreachable, PublishError, client
from tests.kafka.counting import Tally, dice_of
from tests.waiting import wait_until

KEYS = 8


def _numbers(kafka, topic):
    """The number of each alert on a topic, by partition and offset."""
    records = kafka.records(topic)
    return {(one.partition(), one.offset()): json.loads(one.value())["n"] for one in records}


def _tally(row, there, count, began, repeatable=()):
    """Count the numbers from 0 to `count` among those that are there; once each, but for some."""
    times = Counter(there)
    tally = Tally(
        row,
        published=count,
        delivered=len(there),
        lost=sorted(set(range(count)) - times.keys()),
        repeated=sorted(n for n, number in times.items() if number > 1),
        seconds=time.monotonic() - began,
    )
    twice = set(tally.repeated) - set(repeatable)
    tally.demand(not twice, f"came twice: {sorted(twice)}")
    return tally


def broker_killed_while_publishing(kafka, group, seed=0, alerts=2000, kills=2, share=100):
    """SIGKILL the broker between two alerts, flush while it is away, and start it again."""
    began = time.monotonic()
    dice = dice_of(seed, "publishing")
    topic = f"{group}.superevent"
    kafka.create_topics(topic, partitions=4)
    moments = {*dice.sample(range(1, alerts), kills)}
    receipts = {}

    def start():
        time.sleep(dice.uniform(0, 2))  # away for a while
        kafka.start()

    told = {"server": kafka.url, "noauth": True, "group": group, "publish_timeout": 90}
    with client(**told) as publisher, ThreadPoolExecutor(1) as beside:
        publisher.connect("superevent")
        starting = None
        for n in range(alerts):
            if n in moments:
                if starting:
                    starting.result()
                kafka.kill()
                starting = beside.submit(start)
            publisher.publish_to_topic(
                "superevent",
                {"n": n},
                key=f"S{n % KEYS}",
                on_delivery=lambda _, receipt, n=n: receipts.update({n: receipt}),
            )
            if n % share == share - 1:
                publisher.flush_by_topic("superevent")
        publisher.flush_by_topic("superevent")
    there = _numbers(kafka, topic)
    row = f"broker killed while {alerts} are published"
    tally = _tally(row, list(there.values()), alerts, began)
    tally.faults = kills
    told = {(one.partition, one.offset): n for n, one in receipts.items() if one}
    tally.demand(told == there, "the receipts are not of what is there")
    order = defaultdict(list)
    for n in there.values():
        order[n % KEYS].append(n)
    for key, numbers in order.items():
        tally.demand(numbers == sorted(numbers), f"the key S{key} is not in order")
    return tally


def broker_gone(kafka, group, seed=0, alerts=100, timeout=3):
    """SIGKILL the broker among the alerts, flush without one; then send what is unconfirmed.

    What had been on its way when the broker went may come twice; nobody can know.
    """
    began = time.monotonic()
    dice = dice_of(seed, "gone")
    topic = f"{group}.superevent"
    kafka.create_topics(topic, partitions=4)
    told = {"server": kafka.url, "noauth": True, "group": group, "publish_timeout": timeout}
    moment = dice.randrange(alerts)
    confirmed, unconfirmed, causes = [], [], []

    def report(n):
        return lambda error, _: error or confirmed.append(n)

    with client(**told) as publisher:
        publisher.connect("superevent")
        publisher.publish_to_topic("superevent", {"n": 0}, on_delivery=report(0))
        publisher.flush_by_topic("superevent")
        for n in range(1, alerts):
            if n == moment:
                kafka.kill()
            publisher.publish_to_topic("superevent", {"n": n}, on_delivery=report(n))
            time.sleep(dice.uniform(0, 0.002))  # so that some may be on their way
        kafka.kill()
        try:
            publisher.flush_by_topic("superevent")
        except PublishError as error:
            unconfirmed = [msg["n"] for _, msg in error.unconfirmed]
            causes.append(error.__cause__)
        kafka.start()
        left = list(unconfirmed)

        def sent():
            while left:
                try:
                    publisher.publish("superevent", {"n": left[0]})
                except PublishError:  # it has only just started
                    return False
                left.pop(0)
            return True

        wait_until(sent, 60, "a broker that takes what was unconfirmed")
    there = list(_numbers(kafka, topic).values())
    row = f"broker gone: {len(unconfirmed)} of {alerts} unconfirmed, and sent again"
    tally = _tally(row, there, alerts, began, repeatable=unconfirmed)
    tally.faults = 1
    both = set(confirmed) & set(unconfirmed)
    tally.demand(not both, f"confirmed and unconfirmed: {both}")
    tally.demand(len(confirmed) + len(unconfirmed) == alerts, "some are neither")
    kinds = [type(one) for one in causes]
    tally.demand(not unconfirmed or kinds == [BrokerUnreachable], f"the reason is {causes}")
    return tally


def _memory(what):
    """VmRSS or VmHWM, the most so far, of this process, in MiB."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if what in line) / 1024


def _publish_side_by_side(url, group, topics, threads, alerts, size):
    """Publish from many threads with one client that never flushes; return MiB it has grown by."""
    options = {"queue.buffering.max.messages": 2000}
    pad = "x" * size
    with client(server=url, noauth=True, group=group, options=options) as publisher:
        publisher.connect(topics)
        for topic in topics:
            publisher.publish(topic, {"n": -1})
        before = _memory("VmRSS")

        def run(first):
            for n in range(first, alerts, threads):
                publisher.publish_to_topic(topics[n % len(topics)], {"n": n, "pad": pad})

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, range(threads)))  # raises what they raise
    return _memory("VmHWM") - before


def many_threads(kafka, group, seed=0, alerts=50_000, threads=16, topics=10, size=4000, most=80):
    """Publish from many threads to many topics by one client; the full queue holds them back."""
    began = time.monotonic()
    names = [f"topic{number}" for number in range(topics)]
    full = [f"{group}.{name}" for name in names]
    kafka.create_topics(*full, partitions=2)
    try:
        # In a process of its own: to measure its memory.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            arguments = kafka.url, group, names, threads, alerts, size
            grown = pool.submit(_publish_side_by_side, *arguments).result()
        there = [n for topic in full for n in _numbers(kafka, topic).values() if n >= 0]
    finally:
        kafka.delete_topics(*full)
    row = f"{threads} threads, {topics} topics, {alerts * size / 2**20:.0f} MiB: RSS +{grown:.0f}"
    tally = _tally(row, there, alerts, began)
    tally.demand(grown < most, f"more than {most} MiB")
    return tally
