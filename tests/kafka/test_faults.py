"""What goes wrong with brokers and rights: nothing is lost, and nothing hangs.

Listeners whose fate matters run in a process of their own, which would be seen to end.
"""

import json
import signal
import time

import pytest

from igwn_style_client import (
    AuthorizationError,
    client,
)
from tests.kafka.counting import astronomer, at_rest, frozen, running, wait_for_line
from tests.listener import Listener
from tests.waiting import wait_until

pytestmark = pytest.mark.faults

# How long a reading or a stop may take at the most when nobody answers.
ANSWER_SECONDS = 12
# A group misses a member soon, and a member notices soon that it is no longer welcome.
SOON = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
GROUPED = pytest.mark.parametrize("grouped", [True, False], ids=["group", "broadcast"])


def ignore(topic, payload):
    """Take an alert and do nothing."""


def keywords(kafka, group, grouped, **more):
    """Of a client of the listener PLAINTEXT."""
    given = {"server": kafka.url, "noauth": True, "group": group, "set_aside": False}
    return {**given, "consumer_group": group if grouped else None, "options": SOON, **more}


def login(kafka, group, grouped, **more):
    """Of a client of the listener SASL_SSL, for which rights count."""
    return keywords(kafka, group, grouped, **{**astronomer(kafka), **more})


def publish(kafka, group, *payloads):
    with client(server=kafka.url, noauth=True, group=group) as publisher:
        for payload in payloads:
            publisher.publish("superevent", payload)


def payloads(listener):
    return [event["payload"] for event in listener.of("done")]


def ended_after(thread, seconds):
    """The seconds until the thread has ended; fails if that are more than `seconds`."""
    begin = time.monotonic()
    thread.join(seconds)
    assert not thread.is_alive(), f"listen goes on {seconds} s after stop"
    return time.monotonic() - begin


# -- the broker dies, or does not answer ---------------------------------------------------------


@GROUPED
def test_a_restart_in_the_middle_of_joining(broker_of_my_own, group, grouped):
    """Groups and leaders are asked for when the broker is not ready yet; that passes."""
    kafka = broker_of_my_own
    kafka.create_topics(f"{group}.superevent", partitions=4)
    told = keywords(kafka, group, grouped, start_at="earliest")
    for _ in range(2):
        with Listener(["superevent"], **told) as listener:
            wait_for_line(listener, "listening to 1 topic ")
            kafka.kill()
            kafka.start()
            publish(kafka, group, "after")
            wait_until(lambda listener=listener: "after" in payloads(listener), 60, "an alert")
            assert not listener.of("raised")


def test_the_first_groups_of_a_fresh_broker(broker_of_my_own, group):
    """It answers NOT_COORDINATOR now and then, and makes the topic of the marks."""
    kafka = broker_of_my_own
    kafka.create_topics(f"{group}.superevent", partitions=4)
    publish(kafka, group, *range(20))
    for number in range(5):
        told = keywords(kafka, group, True, consumer_group=f"{group}{number}", start_at="earliest")
        alerts = client(**told)
        got = []
        with running(alerts, lambda topic, payload, got=got: got.append(payload), "superevent") as (
            _,
            raised,
        ):
            wait_until(lambda got=got, raised=raised: len(got) == 20 or raised, 60, "20 alerts")
        assert not raised
        assert sorted(got) == list(range(20))


# -- rights --------------------------------------------------------------------------------------


def resource(group, kind):
    return {"topic": f"{group}.superevent"} if kind == "topic" else {"group": group}


RIGHTS = pytest.mark.parametrize(
    ("kind", "grouped"),
    [("topic", True), ("topic", False), ("group", True)],
    ids=["topic-group", "topic-broadcast", "group"],
)


@RIGHTS
def test_rights_withdrawn_end_listen(kafka, group, kind, grouped):
    kafka.create_topics(f"{group}.superevent")
    name = next(iter(resource(group, kind).values()))
    alerts = client(**login(kafka, group, grouped))
    with running(alerts, ignore, "superevent") as (thread, raised):
        assert alerts.wait_until_listening(30), raised
        kafka.acl("astronomer", "read", **resource(group, kind), allow=False)
        thread.join(30)
        kafka.remove_acls(**resource(group, kind))
    (error,) = raised
    assert type(error) is AuthorizationError
    assert name in str(error)


@RIGHTS
def test_a_lasting_refusal_is_tried_again_so_often(kafka, group, kind, grouped, caplog):
    kafka.create_topics(f"{group}.superevent")
    told = login(kafka, group, grouped, retry_on_fatal=True, listen_retries=2)
    kafka.acl("astronomer", "read", **resource(group, kind), allow=False)
    alerts = client(**told)
    try:
        with pytest.raises(AuthorizationError):
            alerts.listen(ignore, "superevent")
    finally:
        kafka.remove_acls(**resource(group, kind))
    assert alerts.health().reconnects == 2


@GROUPED
def test_a_lasting_refusal_while_listening(kafka, group, grouped):
    """A topic that may not be read is hidden: that must not pass for one that is away."""
    topic = f"{group}.superevent"
    kafka.create_topics(topic)
    alerts = client(**login(kafka, group, grouped, retry_on_fatal=True, listen_retries=2))
    with running(alerts, ignore, "superevent") as (thread, raised):
        assert alerts.wait_until_listening(30), raised
        kafka.acl("astronomer", "read", topic=topic, allow=False)
        thread.join(30)
        ended = not thread.is_alive()
        kafka.remove_acls(topic=topic)
    assert ended, alerts.health()
    assert [type(error) for error in raised] == [AuthorizationError]
    assert topic in str(raised[0])
    assert alerts.health().reconnects == 2


def test_a_success_resets_the_count_of_retries(kafka, group):
    """Five refusals with three retries, and an alert after each."""
    topic = f"{group}.superevent"
    kafka.create_topics(topic)
    told = login(kafka, group, False, retry_on_fatal=True, listen_retries=3, retry_wait=1)
    with Listener(["superevent"], **told) as listener:
        listener.wait_for("ready")
        for number in range(5):
            before = listener.health()["reconnects"]
            kafka.acl("astronomer", "read", topic=topic, allow=False)
            wait_until(
                lambda before=before: listener.health()["reconnects"] > before, 30, "a refusal"
            )
            kafka.remove_acls(topic=topic)
            publish(kafka, group, number)
            wait_until(lambda number=number: number in payloads(listener), 30, "an alert")


# -- what is gone --------------------------------------------------------------------------------


def test_alerts_deleted_while_nobody_listened(kafka, group):
    topic = f"{group}.superevent"
    kafka.create_topics(topic)
    with Listener(["superevent"], **keywords(kafka, group, True)) as listener:
        listener.wait_for("ready")
        publish(kafka, group, *range(3))
        listener.wait_for("done", 3)
        listener.tell("stop")
        assert listener.wait() == 0
    publish(kafka, group, *range(3, 10))
    kafka.delete_records(topic, {0: 8})
    with Listener(["superevent"], **keywords(kafka, group, True)) as listener:
        wait_until(lambda: 9 in payloads(listener), what="the last alert")
        assert payloads(listener) == [8, 9]
        line = wait_for_line(listener, "are gone")
        assert line.startswith("ERROR")
        assert f'5 alerts of "{topic}"' in line
        assert listener.health()["gone"] == 5
    assert kafka.committed(group, topic)[0] >= 3


@GROUPED
@pytest.mark.parametrize("workers", [1, 4])
def test_alerts_deleted_before_they_were_read(kafka, group, grouped, workers, tmp_path):
    """The callback is slow, the reader is held back, and retention passes it."""
    topic = f"{group}.superevent"
    kafka.create_topics(topic)
    options = {**SOON, "queued.max.messages.kbytes": 1, "fetch.message.max.bytes": 1000}
    told = keywords(kafka, group, grouped, options=options, queue_bytes=5000)
    go = tmp_path / "go"
    with Listener(["superevent"], {"workers": workers}, shows="n", **told) as listener:
        listener.wait_for("ready")
        publish(kafka, group, {"n": 0, "do": "wait", "for": str(go)})
        listener.wait_for("begun")
        publish(kafka, group, *({"n": n, "ballast": 1000 * "x"} for n in range(1, 40)))
        at_rest(listener)
        kafka.delete_records(topic, {0: 30})
        go.touch()
        wait_until(lambda: 39 in payloads(listener), 60, f"the last; {listener.errors[-3:]}")
        came = payloads(listener)
        assert came == sorted(set(came)), "in order, and none twice"
        assert came[0] == 0
        assert {1, 2, *range(30, 40)} <= {*came}, "what was read before, and what is there"
        # Whatever did not come was reported as gone, and nothing that came was.
        health = listener.health()
        assert health["gone"] == 40 - len(came)
        assert health["parked"] == 0


@GROUPED
@pytest.mark.parametrize("workers", [1, 4])
def test_what_is_read_survives_its_deletion(kafka, group, grouped, workers, tmp_path):
    """Alerts that wait inside are delivered, though the next ones are gone.

    The process is halted, so that retention passes what it has read and more.
    """
    topic = f"{group}.superevent"
    kafka.create_topics(topic)
    go = tmp_path / "go"
    told = keywords(kafka, group, grouped)
    with Listener(["superevent"], {"workers": workers}, shows="n", **told) as listener:
        listener.wait_for("ready")
        publish(kafka, group, {"n": 0, "do": "wait", "for": str(go)})
        listener.wait_for("begun")
        wait_until(lambda: listener.health()["since_alert"] > 2, what="the keeper's turn")
        publish(kafka, group, *({"n": n} for n in range(1, 10)))
        wait_until(lambda: 1 < listener.health()["since_alert"] < 2, what="all to be read")
        listener.signal(signal.SIGSTOP)
        publish(kafka, group, *({"n": n} for n in range(10, 40)))
        kafka.delete_records(topic, {0: 30})
        listener.signal(signal.SIGCONT)
        assert wait_for_line(listener, "are gone").startswith("ERROR")
        go.touch()
        wait_until(lambda: 39 in payloads(listener), what=f"the last; {listener.errors[-3:]}")
        came = payloads(listener)
        assert {*range(10), *range(30, 40)} <= {*came}
        assert came == sorted(set(came)), "in order, and none twice"
        health = listener.health()
        assert health["gone"] == 40 - len(came)
        assert health["parked"] == 0


@GROUPED
@pytest.mark.parametrize("later", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize("count", [3, 5, 13], ids=["shorter", "as-long", "longer"])
def test_a_topic_made_anew_while_somebody_listens(kafka, group, grouped, count, later):
    """The new one is read from its beginning, also when it is soon longer than the old one.

    When it is as long, nothing but its identity tells: the old mark is its end.
    """
    topic = f"{group}.superevent"
    kafka.create_topics(topic, f"{group}.cbc_gstlal")
    told = keywords(kafka, group, grouped)
    with Listener(["superevent", "cbc_gstlal"], **told) as listener:
        listener.wait_for("ready")
        publish(kafka, group, *range(5))
        listener.wait_for("done", 5)
        kafka.delete_topics(topic)
        if later and grouped:
            wait_for_line(listener, "gave 1 partitions away")
        elif later:
            time.sleep(8)  # the listener looks around every 5 s, and need not say so
        kafka.create_topics(topic)
        new = [f"new {n}" for n in range(count)]
        kafka.produce(topic, *(json.dumps(one) for one in new))  # all in one request
        wait_until(
            lambda: {*new} <= {*payloads(listener)},
            40,
            f"all of {new}: {payloads(listener)}; {listener.errors[-5:]}",
        )
        assert listener.process.poll() is None


# -- stopping ------------------------------------------------------------------------------------


@GROUPED
@pytest.mark.parametrize("workers", [1, 4])
def test_stopping_while_the_broker_is_down(broker_of_my_own, group, grouped, workers):
    kafka = broker_of_my_own
    kafka.create_topics(f"{group}.superevent")
    alerts = client(**keywords(kafka, group, grouped))
    with running(alerts, ignore, "superevent", workers=workers) as (thread, raised):
        assert alerts.wait_until_listening(30)
        kafka.kill()
        wait_until(lambda: alerts.health().state == "waiting", what="the loss to be noticed")
        alerts.stop()
        ended_after(thread, ANSWER_SECONDS)
        assert not raised


@GROUPED
def test_stopping_while_the_broker_is_frozen(broker_of_my_own, group, grouped):
    kafka = broker_of_my_own
    kafka.create_topics(f"{group}.superevent")
    alerts = client(**keywords(kafka, group, grouped))
    with running(alerts, ignore, "superevent") as (thread, raised):
        assert alerts.wait_until_listening(30)
        with frozen(kafka):
            alerts.stop()
            ended_after(thread, ANSWER_SECONDS)
        assert not raised


@GROUPED
def test_stopping_while_it_joins_a_frozen_broker(broker_of_my_own, group, grouped):
    kafka = broker_of_my_own
    kafka.create_topics(f"{group}.superevent")
    alerts = client(**keywords(kafka, group, grouped))
    with frozen(kafka), running(alerts, ignore, "superevent") as (thread, raised):
        wait_until(lambda: alerts.health().state == "connecting", what="the first attempt")
        alerts.stop()
        ended_after(thread, 3)
        assert not raised


@GROUPED
def test_stopping_before_anybody_answers(group, grouped):
    told = {"server": "kafka://127.0.0.1:1/", "noauth": True, "group": group}
    alerts = client(**told, consumer_group=group if grouped else None)
    with running(alerts, ignore, "superevent") as (thread, raised):
        wait_until(lambda: alerts.health().state != "idle", what="the first attempt")
        alerts.stop()
        ended_after(thread, 3)
        assert not raised
        assert alerts.wait_until_listening(0.1) is False


@GROUPED
@pytest.mark.parametrize("pause", [0, 0.001, 0.01, 0.05, 0.1, 0.2])
def test_stopping_while_it_joins(kafka, group, grouped, pause):
    kafka.create_topics(f"{group}.superevent")
    alerts = client(**keywords(kafka, group, grouped))
    with running(alerts, ignore, "superevent") as (thread, raised):
        time.sleep(pause)  # any moment will do
        alerts.stop()
        ended_after(thread, 4)
        assert not raised
    assert alerts.wait_until_listening(0.1) is False


def test_stopping_while_it_waits_to_reconnect(kafka, group):
    topic = f"{group}.superevent"
    kafka.create_topics(topic)
    told = login(kafka, group, False, retry_on_fatal=True, listen_retries=None, retry_wait=60)
    alerts = client(**told)
    with running(alerts, ignore, "superevent") as (thread, raised):
        assert alerts.wait_until_listening(30)
        kafka.acl("astronomer", "read", topic=topic, allow=False)
        wait_until(lambda: alerts.health().state == "reconnecting", what="a refusal")
        kafka.remove_acls(topic=topic)
        alerts.stop()
        ended_after(thread, 3)
        assert not raised


@GROUPED
def test_a_signal_while_the_broker_is_gone(broker_of_my_own, group, grouped):
    kafka = broker_of_my_own
    kafka.create_topics(f"{group}.superevent")
    with Listener(["superevent"], **keywords(kafka, group, grouped)) as listener:
        listener.wait_for("ready")
        kafka.kill()
        wait_for_line(listener, "waiting for one")
        listener.process.terminate()
        assert listener.wait(ANSWER_SECONDS + 3) == 0


def test_waiting_until_it_listens_before_and_after(kafka, group):
    kafka.create_topics(f"{group}.superevent")
    alerts = client(**keywords(kafka, group, True))
    assert alerts.wait_until_listening(0.05) is False
    for number in range(3):
        got = []
        with running(alerts, lambda topic, payload, got=got: got.append(payload), "superevent") as (
            thread,
            raised,
        ):
            assert alerts.wait_until_listening(30) is True, raised
            publish(kafka, group, number)
            wait_until(lambda got=got: got, what="what was published once it listened")
            alerts.stop()
            ended_after(thread, 4)
        assert got == [number]
        assert alerts.wait_until_listening(0.05) is False
