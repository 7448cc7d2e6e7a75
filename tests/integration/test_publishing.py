"""What a publisher may do while its alerts are confirmed, and what may come in between."""

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from confluent_kafka import KafkaError

from igwn_style_client import BrokerUnreachable, PublishError, client
from tests.listening import connect
from tests.waiting import wait_until

__all__ = ["connect"]

AWAY = "kafka://127.0.0.1:1/"


@pytest.fixture
def publisher(broker, group, connect):
    """Connected to two topics; what is queued goes out when it is flushed."""
    broker.create_topics(f"{group}.superevent", f"{group}.cbc_gstlal")
    made = connect(publish_timeout=10, options={"linger.ms": 1000})
    made.connect(["superevent", "cbc_gstlal"])
    return made


@pytest.fixture
def away():
    with client(server=AWAY, noauth=True, publish_timeout=0.5) as made:
        made.connect("superevent")
        yield made


def queue(publisher, count=20, **more):
    for number in range(count):
        publisher.publish_to_topic("superevent", number, **more)


@pytest.mark.parametrize("how", ["publish", "publish_to_topic", "flush", "disconnect"])
def test_on_delivery_may_publish(publisher, how):
    """confluent-kafka aborts the process where its callback calls it."""
    told = []

    def on_delivery(_, receipt):
        told.append(receipt)
        if how == "flush":
            publisher.flush_by_topic("superevent")
        elif how == "disconnect":
            publisher.disconnect("cbc_gstlal")
            publisher.connect("cbc_gstlal")
        else:
            getattr(publisher, how)("cbc_gstlal", "again")

    queue(publisher, on_delivery=on_delivery)
    publisher.flush_by_topic("superevent")
    assert len(set(told)) == 20


def test_a_chain_of_callbacks_is_no_recursion(publisher):
    length = 2 * sys.getrecursionlimit()
    told = []

    def on_delivery(error, _):
        told.append(error)
        if len(told) < length:
            publisher.publish_to_topic("superevent", "next", on_delivery=on_delivery)

    queue(publisher, on_delivery=on_delivery)
    for _ in range(length):  # each waits for the part of the chain that it finds
        publisher.flush_by_topic("superevent")
    assert (len(told), set(told)) == (length + 19, {None})


def test_what_callbacks_raise_is_left_for_later_calls(publisher):
    """Also where one of them ends the program, and the program goes on."""

    def leave(*_):
        raise SystemExit(3)

    def fail(*_):
        raise LookupError("of the callback")

    queue(publisher, 1, on_delivery=leave)
    queue(publisher, 1, on_delivery=fail)
    with pytest.raises(SystemExit):
        publisher.flush_by_topic("superevent")
    with pytest.raises(LookupError, match="of the callback"):
        publisher.flush_by_topic("superevent")
    publisher.flush_by_topic("superevent")


def test_disconnect_logs_what_no_call_is_left_to_raise(publisher, caplog):
    def fail(*_):
        raise LookupError

    queue(publisher, 3, on_delivery=fail)
    with pytest.raises(LookupError):
        publisher.disconnect()
    assert [one.exc_info[0] for one in caplog.records if one.exc_info] == [LookupError] * 2


def amid_a_report(publisher, number):
    """Let a signal come while librdkafka tells of the next alert that is confirmed."""
    connection = publisher.sessions["superevent"]._connection
    confirmed = connection.confirmed

    def come():
        connection.confirmed = confirmed
        signal.raise_signal(number)

    connection.confirmed = come


def test_a_signals_handler_may_publish(publisher):
    """Wherever it comes."""
    receipts = []
    before = signal.signal(
        signal.SIGUSR1, lambda *_: receipts.append(publisher.publish("cbc_gstlal", "the end"))
    )
    try:
        queue(publisher)
        amid_a_report(publisher, signal.SIGUSR1)
        publisher.flush_by_topic("superevent")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [one.topic for one in receipts] == ["cbc_gstlal"]


def test_ctrl_c_amid_a_report(publisher):
    """confluent-kafka makes a SystemError of it, which ``except Exception`` would take."""
    queue(publisher)
    amid_a_report(publisher, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        publisher.flush_by_topic("superevent")
    publisher.flush_by_topic("superevent")


@pytest.mark.parametrize("call", ["flush_by_topic", "publish_to_topic"])
def test_ctrl_c_before_failures_are_told(away, monkeypatch, call):
    """They are told by the next call."""

    def come(*_):
        raise KeyboardInterrupt

    away.publish_to_topic("superevent", "text")
    session = away.sessions["superevent"]
    if call == "publish_to_topic":
        wait_until(lambda: session._connection.serve(0.1) or not session.waiting)
    arguments = ("superevent", "more")[: 1 if call == "flush_by_topic" else 2]
    with monkeypatch.context() as patch:
        patch.setattr(session._connection.trouble, "unreachable", come)
        patch.setattr(session._connection, "wrong", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            getattr(away, call)(*arguments)
    with pytest.raises(PublishError) as caught:
        away.flush_by_topic("superevent")
    assert caught.value.unconfirmed == [("gracedb.superevent", "text")]


def test_what_a_producer_that_was_given_up_has_left_is_logged(away, caplog):
    """Where the program ends before another call has told it."""
    away.publish_to_topic("superevent", "text")
    session = away.sessions["superevent"]
    connection = session._connection
    wait_until(lambda: connection.serve(0.1) or not session.waiting)
    connection._renew(connection._own, KafkaError(KafkaError._FATAL))
    connection.leave()
    assert '1 alert for "gracedb.superevent" not confirmed' in caplog.text
    away.flush_by_topic("superevent")  # it is told once


def test_flush_waits_for_what_was_queued_before_it(publisher):
    """What is queued on and on meanwhile, as other threads may, does not hold it up."""
    end = threading.Event()

    def on_delivery(*_):
        if not end.is_set():
            publisher.publish_to_topic("superevent", "next", on_delivery=on_delivery)

    queue(publisher, on_delivery=on_delivery)
    publisher.flush_by_topic("superevent")
    assert publisher.sessions["superevent"].waiting
    end.set()
    publisher.flush_by_topic("superevent")
    assert not publisher.sessions["superevent"].waiting


def test_a_flush_while_another_thread_waits_for_room(monkeypatch):
    """One of the two has the alerts, and the other knows that they are not confirmed."""
    options = {"queue.buffering.max.messages": 2}
    publisher = client(server=AWAY, noauth=True, publish_timeout=5, options=options)
    publisher.connect("superevent")
    session = publisher.sessions["superevent"]
    monkeypatch.setattr(session._connection, "wrong", lambda _: None)
    queue(publisher, 2)
    told = []
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(publisher.publish_to_topic, "superevent", 2)
        wait_until(lambda: len(session.unconfirmed) == 3)
        with pytest.raises(PublishError) as caught:
            session.flush(timedelta(seconds=0.1))
        told += caught.value.unconfirmed
        try:
            waiting.result()
        except PublishError as error:
            told += error.unconfirmed
    assert {msg for _, msg in told} == {0, 1, 2}
    publisher.disconnect()


def test_what_is_unconfirmed_can_be_sent_again_as_it_was(away, publisher, group):
    how = {"headers": [("origin", b"LHO")], "key": "S1", "test": True}
    away.publish_to_topic("superevent", {"n": 1}, **how)
    away.publish_to_topic("superevent", {"n": 2})
    with pytest.raises(PublishError) as caught:
        away.flush_by_topic("superevent")
    first, second = caught.value.unconfirmed
    assert isinstance(caught.value.__cause__, BrokerUnreachable)
    assert (first.topic, first.msg, first.given) == ("gracedb.superevent", {"n": 1}, how)
    assert (second, second.given) == (("gracedb.superevent", {"n": 2}), {})
    assert publisher.publish("superevent", first.msg, **first.given).topic == "superevent"


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"key": 3}, "key"),
        ({"headers": [1]}, "headers"),
        ({"headers": "ab"}, "headers"),
        ({"headers": {"origin": None}}, "headers"),
    ],
)
def test_a_key_and_headers_of_other_kinds(away, how, text):
    with pytest.raises(TypeError, match=text):
        away.publish_to_topic("superevent", "text", **how)
