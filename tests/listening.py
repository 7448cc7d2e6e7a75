"""What listening and publishing do on any broker: the embedded one, and a real Kafka.

A test module subclasses these; its fixture ``broker`` has ``url``, ``options`` and
``create_topics``, and its fixture ``group`` names a group that no other test has.
"""

import json
import signal
import threading
import time
from contextlib import contextmanager

import hop
import pytest
from hop.models import Blob, GCNCircular, JSONBlob, VOEvent

from igwn_style_client import (
    Alert,
    BrokerUnreachable,
    NotConnected,
    PublishError,
    Receipt,
    TopicNotFound,
    client,
)
from tests.listener import Listener
from tests.waiting import wait_until


@pytest.fixture
def connect(broker, group):
    """A client of the broker under test; further keywords as the test says."""
    made = []

    def make(**keywords):
        given = {"server": broker.url, "noauth": True, "group": group, "options": broker.options}
        made.append(client(**{**given, **keywords}))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        one.disconnect()


@pytest.fixture
def told(broker, group):
    """The keywords of a client in another process; its group misses it soon after a kill."""
    soon = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
    return {
        "server": broker.url,
        "noauth": True,
        "group": group,
        "consumer_group": group,
        "options": {**broker.options, **soon},
    }


@contextmanager
def listening(alerts, callback, topics, seconds=30, **more):
    """Listen in a thread, from the moment the block begins to its end."""
    raised = []

    def run():
        try:
            alerts.listen(callback, topics, **more)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert alerts.wait_until_listening(seconds), raised
    try:
        yield raised
    finally:
        alerts.stop()
        thread.join(seconds)
        assert not thread.is_alive()


class Listening:
    """Listening, in this process and in others."""

    def test_an_alert_reaches_a_callback(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent", f"{group}.cbc_gstlal")
        got = []
        with listening(
            connect(),
            lambda topic, payload: got.append((topic, payload)),
            {"superevent", "cbc_gstlal"},
        ):
            publisher = connect()
            publisher.publish("superevent", '{"uid": "S1"}')
            publisher.publish("cbc_gstlal", {"uid": "G1"})
            wait_until(lambda: len(got) == 2, what="two alerts")
        assert sorted(got, key=str) == [
            ("cbc_gstlal", {"uid": "G1"}),
            ("superevent", '{"uid": "S1"}'),
        ]

    def test_who_asks_for_the_alert_gets_it(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        got = []
        before = time.time()
        with listening(connect(), lambda topic, payload, alert: got.append(alert), "superevent"):
            connect().publish("superevent", {"uid": "S1"})
            wait_until(lambda: got, what="an alert")
        (alert,) = got
        assert isinstance(alert, Alert)
        assert (alert.topic, alert.full_name) == ("superevent", f"{group}.superevent")
        assert alert.payload == {"uid": "S1"} == json.loads(alert.raw)
        assert alert.id is not None
        assert dict(alert.headers)["_format"] == b"json"
        assert before - 1 < alert.time.timestamp() < time.time() + 1

    def test_every_recorded_alert_comes_out_as_it_went_in(
        self, broker, group, connect, recorded_igwn
    ):
        broker.create_topics(f"{group}.superevent")
        got = []
        sent = [alert for _, alert in recorded_igwn]
        sent += [json.dumps(alert) for alert in sent]  # as GraceDB sends them
        with listening(connect(), lambda topic, payload: got.append(payload), "superevent"):
            publisher = connect()
            publisher.connect("superevent")
            for alert in sent:
                publisher.publish_to_topic("superevent", alert)
            publisher.flush_by_topic("superevent")
            wait_until(lambda: len(got) >= len(sent), what=f"{len(sent)} alerts")
        assert sorted(got, key=repr) == sorted(sent, key=repr)

    def test_without_a_group_every_listener_gets_every_alert(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        first, second = [], []
        with (
            listening(connect(), lambda topic, payload: first.append(payload), "superevent"),
            listening(connect(), lambda topic, payload: second.append(payload), "superevent"),
        ):
            publisher = connect()
            publisher.connect("superevent")
            for number in range(20):
                publisher.publish_to_topic("superevent", number)
            publisher.flush_by_topic("superevent")
            wait_until(lambda: len(first) == len(second) == 20, what="20 alerts twice")
        assert sorted(first) == sorted(second) == list(range(20))

    def test_start_at_earliest(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        connect().publish("superevent", "before")
        got = []
        with listening(
            connect(start_at="earliest"), lambda topic, payload: got.append(payload), "superevent"
        ):
            wait_until(lambda: got, what="the alert from before")
        assert got == ["before"]

    @pytest.mark.parametrize("workers", [1, 3])
    def test_until_eos(self, broker, group, connect, workers):
        broker.create_topics(f"{group}.superevent")
        publisher, got = connect(), []
        listener = {"consumer_group": group, "start_at": "earliest"}

        def collect(topic, payload):
            got.append(payload)

        for numbers in (range(20), range(20, 25), ()):
            for number in numbers:
                publisher.publish("superevent", number)
            connect(**listener).listen(collect, "superevent", workers=workers, until_eos=True)
            assert sorted(got) == list(numbers)
            got.clear()

    def test_the_iterator_until_eos(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        for number in range(5):
            connect().publish("superevent", number)
        alerts = connect(start_at="earliest").alerts("superevent", until_eos=True)
        assert sorted(alert.payload for alert in alerts) == list(range(5))

    def test_the_lag_is_what_is_not_delivered_yet(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        go_on = threading.Event()
        alerts = connect(consumer_group=group)
        assert alerts.health().lag is None
        with listening(alerts, lambda topic, payload: go_on.wait(60), "superevent"):
            publisher = connect()
            for number in range(4):
                publisher.publish("superevent", number)
            wait_until(lambda: alerts.health().lag == 4, what="a lag of all four")
            go_on.set()
            wait_until(lambda: alerts.health().lag == 0, what="no lag")
        assert alerts.health().lag is None

    def test_an_alert_whose_callback_raised_comes_again(self, broker, group, connect, told):
        broker.create_topics(f"{group}.superevent")
        publisher = connect()
        with Listener(["superevent"], **told) as listener:
            listener.wait_for("ready")
            publisher.publish("superevent", {"do": "raise"})
            (raised,) = listener.wait_for("raised")
            assert raised["kind"] == "LookupError"
            assert raised["text"] == "as the payload asked"
            assert f"{group}.superevent" in raised["notes"][0]
            assert listener.wait() == 1
        publisher.publish("superevent", "sent while nobody listened")
        with Listener(["superevent"], **told) as listener:
            begun = listener.wait_for("begun")
            assert begun[0]["payload"] == {"do": "raise"} or len(begun) > 1
            assert {"do": "raise"} in [event["payload"] for event in listener.wait_for("begun")]

    def test_what_was_finished_does_not_come_again(self, broker, group, connect, told):
        broker.create_topics(f"{group}.superevent")
        publisher = connect()
        with Listener(["superevent"], **told) as listener:
            listener.wait_for("ready")
            publisher.publish("superevent", "first")
            listener.wait_for("done")
            listener.signal(signal.SIGTERM)
            assert listener.wait() == 0
        publisher.publish("superevent", "second")
        with Listener(["superevent"], **told) as listener:
            (done,) = listener.wait_for("done")
            assert done["payload"] == "second"

    def test_a_process_killed_inside_a_callback_loses_nothing(
        self, broker, group, connect, told, tmp_path
    ):
        broker.create_topics(f"{group}.superevent")
        publisher = connect()
        with Listener(["superevent"], **told) as listener:
            listener.wait_for("ready")
            publisher.publish("superevent", {"do": "wait", "for": str(tmp_path / "go")})
            listener.wait_for("begun")
            listener.kill()
        (tmp_path / "go").touch()
        with Listener(["superevent"], **told) as listener:
            (done,) = listener.wait_for("done")
            assert done["payload"]["do"] == "wait"

    def test_stop_ends_listen_and_a_restarted_one_listens(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        alerts = connect()
        got = []
        for number in range(2):
            with listening(alerts, lambda topic, payload: got.append(payload), "superevent"):
                connect().publish("superevent", number)
                wait_until(lambda n=number: len(got) == n + 1, what="an alert")
            alerts.stop()  # does nothing: the next one listens all the same
        assert got == [0, 1]

    def test_a_callback_may_stop(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        alerts = connect(start_at="earliest")
        connect().publish("superevent", "only")
        got = []

        def once(topic, payload):
            got.append(payload)
            alerts.stop()

        alerts.listen(once, "superevent")
        assert got == ["only"]
        assert alerts.wait_until_listening(0.1) is False

    def test_listen_without_a_callback_prints(self, broker, group, connect, capsys):
        seen = []
        broker.create_topics(f"{group}.superevent")
        with listening(connect(jsonpp_on=True), None, "superevent"):
            connect().publish("superevent", '{"uid": "S1"}')
            wait_until(lambda: "S1" in (seen.append(capsys.readouterr().out) or "".join(seen)))
        assert "".join(seen) == (
            f'New message from topic {group}.superevent:\n{{\n    "uid": "S1"\n}}\n'
        )

    def test_one_missing_topic_does_not_matter(self, broker, group, connect, caplog):
        broker.create_topics(f"{group}.superevent")
        got = []
        with listening(
            connect(), lambda topic, payload: got.append(payload), ["superevent", "no_such_topic"]
        ):
            connect().publish("superevent", "here")
            wait_until(lambda: got, what="an alert")
        assert f'"{group}.no_such_topic" does not exist' in caplog.text

    def test_only_missing_topics(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        with pytest.raises(TopicNotFound, match=rf"superevents.*there is {group}\.superevent"):
            connect().listen(print_nothing, "superevents")

    def test_a_group_without_topics(self, broker, group, connect):
        with pytest.raises(TopicNotFound, match=f'the group "{group}" has no topics'):
            connect().listen(print_nothing)

    @pytest.mark.parametrize("grouped", [True, False], ids=["group", "broadcast"])
    def test_all_topics_of_the_group_and_new_ones(self, broker, group, connect, grouped):
        """A topic that appears is read from its beginning; those of other groups are not."""
        broker.create_topics(f"{group}.superevent")
        got = []
        alerts = connect(consumer_group=group if grouped else None)
        with listening(alerts, lambda topic, payload: got.append((topic, payload)), None) as raised:
            connect().publish("superevent", 1)
            wait_until(lambda: got, what="the first alert")
            broker.create_topics(f"{group}.cbc_gstlal")
            broker.create_topics(f"{group}x.cbc_gstlal")
            connect(group=f"{group}x").publish("cbc_gstlal", "not ours")
            connect().publish("cbc_gstlal", 2)
            wait_until(lambda: len(got) == 2 or raised, 40, "the new topic")
            connect().publish("superevent", 3)
            wait_until(lambda: len(got) == 3 or raised, what="an alert of the old one")
        assert not raised
        assert got == [("superevent", 1), ("cbc_gstlal", 2), ("superevent", 3)]

    def test_test_alerts(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        skipping, taking = [], []
        alerts = connect()
        with (
            listening(alerts, lambda topic, payload: skipping.append(payload), "superevent"),
            listening(
                connect(test_alerts=True),
                lambda topic, payload: taking.append(payload),
                "superevent",
            ),
        ):
            session = connect().open(alerts._construct_topic_url("superevent"), "w")
            session.write("a test", test=True)
            session.write("the real thing")
            session.close()
            wait_until(lambda: len(taking) == 2 and skipping, what="both alerts")
        assert sorted(taking) == ["a test", "the real thing"]
        assert skipping == ["the real thing"]

    def test_a_slow_callback_does_not_stop_the_polling(self, broker, group, connect):
        """Kafka throws members out that have not polled for max.poll.interval.ms."""
        broker.create_topics(f"{group}.superevent")
        options = {
            **broker.options,
            "session.timeout.ms": 6000,
            "max.poll.interval.ms": 6000,
            "heartbeat.interval.ms": 500,
        }
        alerts = connect(consumer_group=group, options=options)
        got = []

        def slow(topic, payload):
            if payload == "slow":
                slept = threading.Event()
                slept.wait(8)
            got.append(payload)

        with listening(alerts, slow, "superevent"):
            publisher = connect()
            publisher.publish("superevent", "slow")
            publisher.publish("superevent", "next")
            wait_until(lambda: len(got) >= 2, what="both alerts")
            publisher.publish("superevent", "last")
            wait_until(lambda: len(got) >= 3, what="the last alert")
        assert sorted(got) == ["last", "next", "slow"]

    def test_hops_own_way_of_reading(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        alerts = connect(start_at="earliest")
        connect().publish("superevent", {"uid": "S1"})
        with alerts.open(alerts._construct_topic_url("superevent"), "r") as stream:
            payload, metadata = next(stream.read(metadata=True))
        assert payload.content == {"uid": "S1"}
        assert metadata.topic == f"{group}.superevent"


class Publishing:
    """Publishing, and finding topics."""

    def test_get_topics(self, broker, group, connect):
        names = ["superevent", "cbc_gstlal", "cbc_gstlal.with.dots"]
        broker.create_topics(*(f"{group}.{name}" for name in names), f"x{group}.superevent")
        assert connect().get_topics() == sorted(names)
        assert connect().get_topics(group=f"x{group}") == ["superevent"]
        assert connect().get_topics(group="nobody") == []

    def test_publishing_needs_a_connection(self, connect):
        with pytest.raises(NotConnected, match="No active sessions"):
            connect().publish_to_topic("superevent", "x")
        with pytest.raises(NotConnected):
            connect().flush_by_topic("superevent")

    def test_after_disconnect_nothing_is_lost_silently(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        publisher = connect()
        publisher.connect("superevent")
        publisher.disconnect()
        with pytest.raises(NotConnected):
            publisher.publish_to_topic("superevent", "x")

    def test_publishing_to_a_dead_broker_is_an_error(self, connect):
        publisher = connect(server="kafka://127.0.0.1:1/", publish_timeout=1)
        publisher.connect("superevent")
        publisher.publish_to_topic("superevent", "precious")
        with pytest.raises(PublishError) as caught:
            publisher.flush_by_topic("superevent")
        assert [msg for _, msg in caught.value.unconfirmed] == ["precious"]
        publisher.disconnect()

    def test_looking_for_topics_on_a_dead_broker_is_an_error(self, connect):
        with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
            connect(server="kafka://127.0.0.1:1/").get_topics(timeout=1)

    def test_several_topics_at_once(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent", f"{group}.cbc_gstlal")
        got = []
        with listening(
            connect(),
            lambda topic, payload: got.append((topic, payload)),
            ["superevent", "cbc_gstlal"],
        ):
            connect().publish(["superevent", "cbc_gstlal"], "both")
            wait_until(lambda: len(got) == 2, what="two alerts")
        assert sorted(got) == [("cbc_gstlal", "both"), ("superevent", "both")]

    def test_what_cannot_be_encoded_is_not_sent(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent", f"{group}.cbc_gstlal")
        publisher = connect()
        with pytest.raises(TypeError, match="msg is a set"):
            publisher.publish(["superevent", "cbc_gstlal"], {1, 2})
        publisher.connect("superevent")
        with pytest.raises(ValueError, match=r'msg\["events"\]\[0\]\["far"\] is nan'):
            publisher.publish_to_topic("superevent", {"events": [{"far": float("nan")}]})
        with pytest.raises(TypeError, match=r"headers: .* 'n': 5"):
            publisher.publish_to_topic("superevent", "text", headers={"n": 5})
        assert publisher.publish("superevent", "first").offset == 0

    def test_receipts(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent", f"{group}.cbc_gstlal")
        publisher = connect()
        got = []
        with listening(connect(), lambda topic, payload, alert: got.append(alert), "superevent"):
            first = publisher.publish("superevent", "first", key="S1")
            both = publisher.publish(["cbc_gstlal", "superevent"], "both", key="S1")
            wait_until(lambda: len(got) == 2, what="two alerts")
        assert isinstance(first, Receipt)
        assert [one.topic for one in both] == ["cbc_gstlal", "superevent"]
        for receipt, alert in zip([first, both[1]], got, strict=True):
            assert (receipt.topic, receipt.partition) == (alert.topic, alert.partition)
            assert receipt.offset == alert.offset

    def test_receipts_of_what_is_queued(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        publisher = connect()
        publisher.connect("superevent")
        told = []
        for number in range(20):
            publisher.publish_to_topic(
                "superevent", number, on_delivery=lambda *report: told.append(report)
            )
        publisher.flush_by_topic("superevent")
        assert [error for error, _ in told] == [None] * 20
        places = {(receipt.partition, receipt.offset) for _, receipt in told}
        assert len(places) == 20
        assert {receipt.topic for _, receipt in told} == {"superevent"}

    def test_what_on_delivery_raises_is_not_swallowed(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        publisher = connect()
        publisher.connect("superevent")
        publisher.publish_to_topic("superevent", 1, on_delivery=lambda error, receipt: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publisher.flush_by_topic("superevent")
        publisher.flush_by_topic("superevent")

    def test_on_the_wire_it_is_what_hop_sends(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        voevent = VOEvent.load(VOEVENT)
        messages = ["text é", '{"uid": "S1"}', {"uid": "S1", "far": 1e-9}, [1, None], 5, None,
                    b"\x00\xff", voevent, GCNCircular({"title": "GRB"}, "body"),
                    JSONBlob({"a": 1}), Blob(b"x")]  # fmt: skip
        given = {"headers": [("origin", b"LHO"), ("n", "1")], "key": "S1", "test": True}
        publisher = connect()
        address = broker.url.removeprefix("kafka://").rstrip("/")
        by_hop = hop.io.Producer([address], [], None, automatic_offload=False)
        got = []
        listener = connect(test_alerts=True)
        with listening(listener, lambda topic, payload, alert: got.append(alert), "superevent"):
            for message in messages:
                theirs = {**given, "headers": [*given["headers"]]}  # hop adds its own to the list
                by_hop.write(message, topic=f"{group}.superevent", **theirs)
                by_hop.flush()
                publisher.publish("superevent", message, **given)
            by_hop.close()
            wait_until(lambda: len(got) == 2 * len(messages), what="all, twice")
        for theirs, ours in zip(got[::2], got[1::2], strict=True):
            assert (ours.raw, ours.key) == (theirs.raw, theirs.key)
            assert without_id(ours) == without_id(theirs)
            assert (ours.id.version, ours.id.variant) == (theirs.id.version, theirs.id.variant)
            assert ours.id != theirs.id
        assert ("origin", b"LHO") in without_id(ours)
        assert given["headers"] == [("origin", b"LHO"), ("n", "1")]

    def test_what_failed_since_is_told_by_the_next_call(self, connect):
        publisher = connect(server="kafka://127.0.0.1:1/", publish_timeout=1)
        publisher.connect(["superevent", "cbc_gstlal"])
        told = []
        publisher.publish_to_topic(
            "superevent", "precious", on_delivery=lambda *report: told.append(report)
        )
        [connection] = publisher._connections.values()
        wait_until(lambda: connection.serve(0.05) or told, what="the end of its time")
        [(error, receipt)] = told
        assert isinstance(error, BrokerUnreachable)
        assert receipt is None
        with pytest.raises(PublishError) as caught:
            publisher.publish_to_topic("superevent", "next")
        assert [msg for _, msg in caught.value.unconfirmed] == ["precious", "next"]
        assert isinstance(caught.value.__cause__, BrokerUnreachable)
        publisher.flush_by_topic("superevent")  # told once; and the next one was not queued

    def test_a_full_queue_is_waited_for(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        publisher = connect(options={**broker.options, "queue.buffering.max.messages": 5})
        publisher.connect("superevent")
        for number in range(200):
            publisher.publish_to_topic("superevent", number, key="S1")
        publisher.flush_by_topic("superevent")
        assert publisher.publish("superevent", "last", key="S1").offset == 200

    def test_a_queue_that_stays_full_is_an_error(self, connect):
        publisher = connect(
            server="kafka://127.0.0.1:1/",
            publish_timeout=1,
            options={"queue.buffering.max.messages": 2},
        )
        publisher.connect("superevent")
        publisher.publish_to_topic("superevent", 1)
        publisher.publish_to_topic("superevent", 2)
        begun = time.monotonic()
        with pytest.raises(PublishError) as caught:
            publisher.publish_to_topic("superevent", 3)
        assert time.monotonic() - begun < 5
        told = [msg for _, msg in caught.value.unconfirmed]
        try:
            publisher.flush_by_topic("superevent")
        except PublishError as error:
            told += [msg for _, msg in error.unconfirmed]
        assert sorted(told) == [1, 2, 3]

    def test_too_large_for_our_own_limit(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        publisher = connect(options={**broker.options, "message.max.bytes": 2000})
        with pytest.raises(PublishError, match=r"31\d\d bytes .* the limit is 2000") as caught:
            publisher.publish("superevent", "x" * 3000)
        assert caught.value.unconfirmed == [(f"{group}.superevent", "x" * 3000)]

    def test_a_large_alert(self, broker, group, connect):
        broker.create_topics(f"{group}.superevent")
        got = []
        skymap = "x" * 950_000  # beyond this the broker's limit is asked for
        with listening(connect(), lambda topic, payload: got.append(payload), "superevent"):
            connect().publish("superevent", {"skymap": skymap})
            wait_until(lambda: got, what="an alert")
        assert got == [{"skymap": skymap}]


VOEVENT = """<?xml version="1.0" encoding="UTF-8"?>
<voe:VOEvent xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.0" ivorn="ivo://gwnet/S1#1" role="test"
 version="2.0"><Who><AuthorIVORN>ivo://gwnet</AuthorIVORN></Who></voe:VOEvent>"""


def without_id(alert):
    return [header for header in alert.headers if header[0] != "_id"]


def print_nothing(topic, payload):
    """Take an alert and do nothing."""
