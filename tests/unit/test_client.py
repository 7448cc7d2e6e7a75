"""The client, without a network: what it checks, what it opens, when it stops."""

import gc
import inspect
import logging
import select
import signal
import socket
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import hop
import pytest
from hop.auth import Auth
from hypothesis import given
from hypothesis import strategies as st

from igwn_style_client import client
from igwn_style_client.alert import Alert
from igwn_style_client.archive import Archive
from igwn_style_client.batch import Batch
from igwn_style_client.errors import (
    BrokerUnreachable,
    CredentialError,
    DecodeError,
    NotConnected,
    PublishError,
    SettingsRefused,
)
from igwn_style_client.watermark import Watermark

SECRET = "hunter2hunter2"


class Stream:
    """Alerts of one partition; says once that it listens, and then what was asked of it."""

    def __init__(self, alerts=(), at_the_end=lambda: None):
        self.left = deque(alerts)
        self.watermark = Watermark("gracedb.superevent", 0, 0)
        self.at_the_end = at_the_end
        self.settle = None
        self.stored = []
        self.open = False

    def __enter__(self):
        self.open = True
        return self

    def __exit__(self, *_):
        self.open = False

    def take(self, most, timeout):
        assert self.open
        if not self.left:
            self.at_the_end()
            return []
        taken = [self.left.popleft() for _ in range(min(most, len(self.left)))]
        return [Batch.of(alert, self.watermark) for alert in taken]

    def store(self, watermarks):
        self.stored.append({one.where[0]: one.mark for one in watermarks})


class Session:
    """Takes what is published; raises what it is given when flushed or closed."""

    def __init__(self, url, error=None):
        self.url = url
        self.error = error
        self.done = []

    def write(self, message):
        self.done.append(("write", message))

    def flush(self):
        self.done.append("flush")
        if self.error:
            raise self.error

    def close(self):
        self.done.append("close")
        if self.error:
            raise self.error


class Client(client):
    """A client that opens what it is given, and notes what it was asked to open."""

    def __init__(self, *args, stream=None, errors=None, noauth=True, **kwargs):
        super().__init__(*args, noauth=noauth, **kwargs)
        self.stream = stream or Stream()
        self.errors = errors or {}
        self.opened = []
        self.written = []

    def open(self, url, mode="r", group_id=None, **kwargs):
        self.opened.append((url, mode, group_id))
        if mode == "w":
            self.written.append(Session(url, self.errors.get(url.rpartition(".")[2])))
            return self.written[-1]
        self._state.set_listening()
        return self.stream


def make(*payloads, **kwargs):
    """Return a client whose stream has these alerts, and which stops at their end."""
    messages = [Message(payload, offset) for offset, payload in enumerate(payloads)]
    made = Client(**kwargs)
    made.stream = Stream([received(message) for message in messages], made.stop)
    return made


def received(message, decode=None):
    return Alert.received(message, "superevent", decode or Message.decoded)


class Message:
    def __init__(self, payload, offset):
        self._payload = payload
        self._offset = offset

    def decoded(self):
        return self._payload

    def topic(self):
        return "gracedb.superevent"

    def partition(self):
        return 0

    def offset(self):
        return self._offset

    def timestamp(self):
        return (1, 0)

    def key(self):
        return None

    def headers(self):
        return None

    def value(self):
        return b"as received"


def never(topic, payload):
    pytest.fail(f"called for {topic}")


# What the constructor checks

NOT_A_STR = [5, b"x", ["x"], 1.5, True]
NOT_A_BOOL = ["yes", 1, 0, None]
NOT_A_NUMBER = ["5", None, [5], b"5", True]

WRONG_KINDS = [
    ("username", "str or None", NOT_A_STR),
    ("password", "str or None", NOT_A_STR),
    ("auth", "Auth", ["user", 5, {"user": "password"}]),
    ("authfile", "str or PathLike or None", [5, b"x", True]),
    ("noauth", "bool", NOT_A_BOOL),
    ("group", "str", [*NOT_A_STR, None]),
    ("consumer_group", "str or None", NOT_A_STR),
    ("server", "str", [*NOT_A_STR, None]),
    ("port", "int", [*NOT_A_NUMBER, 9092.0]),
    ("batch_size", "int", [*NOT_A_NUMBER, 1.0]),
    ("batch_timeout", "timedelta", NOT_A_NUMBER),
    ("retry_on_fatal", "bool", NOT_A_BOOL),
    ("listen_retries", "int or None", ["5", 1.0, True]),
    ("retry_wait", "int or float", [*NOT_A_NUMBER, timedelta(1)]),
    ("jsonpp_on", "bool", NOT_A_BOOL),
    ("start_at", "str or datetime or timedelta", [5, None, True]),
    ("test_alerts", "bool", NOT_A_BOOL),
    ("set_aside", "None", [5, b"x"]),
    ("queue_bytes", "int", [*NOT_A_NUMBER, 1e6]),
    ("publish_timeout", "int or float", [*NOT_A_NUMBER, timedelta(1)]),
    ("ssl_ca_location", "str or PathLike or None", [5, b"x", True]),
    ("options", "Mapping or None", [5, "a=b", [("a", "b")]]),
]
WRONG_VALUES = [
    ("port", "from 1 to 65535", [0, -1, 65536]),
    ("batch_size", "at least 1", [0, -1]),
    ("batch_timeout", "", [-1, -0.1, timedelta(seconds=-1), float("nan")]),
    ("listen_retries", "at least 0", [-1]),
    ("retry_wait", "at least 0", [-1, -0.1, float("nan")]),
    ("queue_bytes", "at least 1", [0, -1]),
    ("publish_timeout", "", [0, -1, 0.0, 1e300, 2_000_001, float("nan"), float("inf")]),
    ("group", "letters, digits, '.', '_' and '-' are allowed", ["", "a b", "a,b", "a/b"]),
    ("server", "kafka://", ["", "https://kafka.scimma.org/", "a b", "kafka://"]),
    ("start_at", '"latest" or "earliest"', ["newest", ""]),
    ("start_at", "time zone", [datetime(2026, 5, 17)]),
    ("start_at", "future", [timedelta(seconds=-1)]),
]


@pytest.mark.parametrize(
    ("argument", "accepted", "value"),
    [(name, accepted, value) for name, accepted, values in WRONG_KINDS for value in values],
)
def test_the_wrong_kind(argument, accepted, value):
    with pytest.raises(TypeError) as raised:
        client(**{"noauth": True, argument: value})
    message = str(raised.value)
    assert message.startswith(f'"{argument}" must be ')
    assert accepted in message
    assert message.endswith(f", not {'None' if value is None else type(value).__name__}")


@pytest.mark.parametrize(
    ("argument", "accepted", "value"),
    [(name, accepted, value) for name, accepted, values in WRONG_VALUES for value in values],
)
def test_the_wrong_value(argument, accepted, value):
    with pytest.raises(ValueError, match=argument) as raised:
        client(**{"noauth": True, argument: value})
    assert accepted in str(raised.value)


def test_every_argument_is_checked():
    parameters = set(inspect.signature(client).parameters)
    assert {name for name, _, _ in WRONG_KINDS} == parameters


@pytest.mark.parametrize("wrong", [["user"], [None], [Auth("user", SECRET), "other"], (5,)])
def test_a_list_of_credentials_holds_credentials(wrong):
    with pytest.raises(TypeError, match="auth") as raised:
        client(auth=wrong)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("group.id", "x"),
        ("bootstrap.servers", "x"),
        ("metadata.broker.list", "x"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", True),
        ("enable.auto.offset.store", True),
        ("auto.commit.interval.ms", 1),
    ],
)
def test_options_that_would_break_the_promise_are_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"^options: {option} cannot be set: the client needs"):
        client(noauth=True, options={option: value, "session.timeout.ms": 6000})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("sesion.timeout.ms", 6000),
        ("linger.ms", "long"),
        ("session.timeout.ms", 0),
        ("security.protocol", "TELEPATHY"),
        ("fetch.no.such.setting", 1),
    ],
)
def test_options_that_librdkafka_does_not_take_are_refused_at_once(option, value):
    with pytest.raises(SettingsRefused, match=option) as caught:
        client(noauth=True, options={"client.id": "x", option: value})
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("option", ["session.timeout.ms", "heartbeat.interval.ms", "stall.seconds"])
def test_options_that_are_the_users(option):
    options = {option: 6000, "max.poll.interval.ms": 60_000}
    made = client(noauth=True, options=options)
    assert made.options == options
    options["group.id"] = "x"
    assert "group.id" not in made.options


def test_keywords_are_attributes(tmp_path):
    kwargs = {
        "consumer_group": "user-group",
        "server": "kafka://host/",
        "port": 1234,
        "batch_size": 5,
        "batch_timeout": 1.5,
        "retry_on_fatal": True,
        "listen_retries": None,
        "retry_wait": 5,
        "jsonpp_on": True,
        "start_at": timedelta(hours=1),
        "test_alerts": True,
        "set_aside": str(tmp_path / "aside.db"),
        "queue_bytes": 1,
        "publish_timeout": 5,
        "options": {"session.timeout.ms": 6000},
    }
    made = client(noauth=True, group="gracedb-test", **kwargs)
    assert {name: getattr(made, name) for name in kwargs} == kwargs
    assert made.group_prefix == "gracedb-test"


def test_it_is_a_stream_of_hop():
    made = client(noauth=True)
    assert isinstance(made, hop.Stream)
    assert made.auth is None


# Servers


@pytest.mark.parametrize(
    ("server", "port", "base"),
    [
        ("kafka://kafka.scimma.org/", 9092, "kafka://kafka.scimma.org:9092/gracedb"),
        ("kafka.scimma.org", 9092, "kafka://kafka.scimma.org:9092/gracedb"),
        ("kafka://host:1234", 9092, "kafka://host:1234/gracedb"),
        ("kafka://host:1234", 5678, "kafka://host:5678/gracedb"),
        ("kafka://a,b:1/", 9092, "kafka://a:9092,b:1/gracedb"),
        ("kafka://[::1]/", 9092, "kafka://[::1]:9092/gracedb"),
        ("kafka://user@host/", 9092, "kafka://user@host:9092/gracedb"),
        ("kafka://user:password@[::1]:1,b/", 9092, "kafka://user@[::1]:1,b:9092/gracedb"),
    ],
)
def test_the_base_url(server, port, base):
    made = client(server=server, port=port, noauth=True)
    assert made.base_url_prefix == made._construct_base_url() == base
    assert made._construct_topic_url(["a", "b"]) == f"{base}.a,gracedb.b"


@pytest.mark.parametrize("server", ["kafka://user%40ligo.org@host/", "kafka://user%40ligo.org@a,b"])
def test_a_user_in_the_url_chooses_the_credential(server):
    auth = [Auth("user@ligo.org", SECRET), Auth("other", SECRET)]
    made = client(server=server, auth=auth)
    session = made.open(made._construct_topic_url("superevent"), "w")
    assert session.auth is auth[0]


def test_without_a_user_in_the_url_the_only_credential_is_taken():
    made = client("user", SECRET, server="kafka://host/")
    session = made.open(made._construct_topic_url("superevent"), "w")
    assert session.auth is made.auth_obj


def test_two_credentials_and_no_user_are_ambiguous():
    auth = [Auth("one", SECRET), Auth("two", SECRET)]
    made = client(server="kafka://host/", auth=auth)
    with pytest.raises(CredentialError, match="kafka://USER@host:9092/") as raised:
        made.open(made._construct_topic_url("superevent"), "w")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "mode", "message"),
    [
        ("kafka://host/gracedb.superevent", "a", 'mode: must be "r" or "w", not \'a\''),
        ("kafka://host/", "r", "url: 'kafka://host/' names no topic to read"),
        ("https://host/topic", "r", "kafka://"),
    ],
)
def test_opening_the_wrong_thing(url, mode, message):
    with pytest.raises(ValueError, match=r"kafka|mode") as raised:
        client(noauth=True).open(url, mode)
    assert message in str(raised.value)


# Nobody is contacted


@pytest.fixture
def listener():
    """A listening socket, and a look whether anybody has come."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def somebody_came(listener, timeout=0.2):
    return bool(select.select([listener], [], [], timeout)[0])


def test_constructing_contacts_nobody(listener):
    server = f"kafka://127.0.0.1:{listener.getsockname()[1]}/"
    made = [
        client(server=server, noauth=True),
        client("user", SECRET, server=server, consumer_group="user-group"),
    ]
    for one in made:
        with one:
            repr(one)
            one.stop()
            one.disconnect()
            assert one.wait_until_listening(0) is False
    assert not somebody_came(listener)


def test_the_socket_would_have_noticed(listener):
    with socket.create_connection(listener.getsockname()):
        assert somebody_came(listener)


def test_stopped_before_the_first_listen(listener):
    server = f"kafka://127.0.0.1:{listener.getsockname()[1]}/"
    made = client(server=server, noauth=True)
    made.stop()
    made.listen(never, ["superevent"])
    assert not somebody_came(listener)


# Secrets


def test_no_secret_is_shown(caplog):
    caplog.set_level(logging.DEBUG)
    server = f"kafka://user:{SECRET}@host/"
    made = make("x", username="user", password=SECRET, server=server, noauth=False)
    made.listen(lambda topic, payload: None, "superevent")
    made.connect("superevent")
    shown = [repr(made), str(made), *(f"{one.getMessage()} {one.args!r}" for one in caplog.records)]
    assert [text for text in shown if SECRET in text] == []
    assert any("listening to" in text for text in shown)


def test_half_a_credential():
    with pytest.raises(RuntimeError, match=r"^You must provide both a username and a password"):
        client(username="user")


# Listening


def test_the_callback_gets_topic_and_payload_by_keyword():
    made = make({"uid": 1}, "text")
    seen = []
    made.listen(lambda *, payload, topic: seen.append((topic, payload)), "superevent")
    assert seen == [("superevent", {"uid": 1}), ("superevent", "text")]
    assert made.opened == [("kafka://kafka.scimma.org:9092/gracedb.superevent", "r", None)]
    assert made.stream.stored[-1] == {"gracedb.superevent": 2}
    assert made.stream.open is False


def test_the_group_and_the_topics_are_opened():
    made = make(consumer_group="user-group", group="gracedb-test", server="host")
    made.listen(lambda **kwargs: None, ("a", "b"))
    assert made.opened == [("kafka://host:9092/gracedb-test.a,gracedb-test.b", "r", "user-group")]


@pytest.mark.parametrize(
    "topics", ["superevent", ["superevent"], ("superevent",), {"superevent"}, iter(["superevent"])]
)
def test_topics_may_be_one_or_any_iterable(topics):
    made = make("x")
    made.listen(lambda topic, payload: None, topics)
    assert made.opened[0][0].endswith("/gracedb.superevent")


def test_no_topic_is_all_of_the_groups():
    class Topics(Client):
        def get_topics(self, *args, **kwargs):
            return ["a", "b"]

    made = Topics()
    made.stream.at_the_end = made.stop
    made.listen(lambda topic, payload: None)
    assert made.opened[0][0].endswith("/gracedb.a,gracedb.b")


@pytest.mark.parametrize(
    ("topics", "kind"),
    [([], ValueError), ((), ValueError), (set(), ValueError), ("", ValueError), (b"x", TypeError)],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda made, topics: made.listen(never, topics),
        lambda made, topics: made.connect(topics),
        lambda made, topics: made.disconnect(topics),
        lambda made, topics: made.publish(topics, "x"),
    ],
    ids=["listen", "connect", "disconnect", "publish"],
)
def test_what_names_no_topic_opens_nothing(use, topics, kind):
    made = Client()
    with pytest.raises(kind, match="topic"):
        use(made, topics)
    assert made.opened == []


@pytest.mark.parametrize("callback", ["print", 5, lambda message: None, lambda: None])
def test_a_callback_that_cannot_be_called_is_refused_before_anything_is_opened(callback):
    made = Client()
    with pytest.raises(TypeError, match=r"^callback: "):
        made.listen(callback, "superevent")
    assert made.opened == []
    made.stream.at_the_end = made.stop
    made.listen(lambda topic, payload: None, "superevent")  # and nothing is left behind


class Unhappy(Exception):
    pass


@pytest.mark.parametrize("kind", [Unhappy, KeyboardInterrupt, SystemExit])
def test_a_callbacks_error_leaves_listen(kind):
    made = make(1, 2, 3)
    error = kind("mine")
    seen = []

    def callback(topic, payload):
        seen.append(payload)
        if payload == 2:
            raise error

    with pytest.raises(kind) as raised:
        made.listen(callback, "superevent")
    assert raised.value is error
    assert seen == [1, 2]
    assert made.stream.watermark.mark == 1
    assert made.stream.open is False


def test_a_kafka_error_of_the_callback_leaves_too():
    made = make(1)
    error = BrokerUnreachable("of the callback's own connection")

    def callback(topic, payload):
        raise error

    with pytest.raises(BrokerUnreachable) as raised:
        made.listen(callback, "superevent")
    assert raised.value is error


def test_listening_once_more_after_the_end():
    made = make(1)
    seen = []
    made.listen(lambda topic, payload: seen.append(payload), "superevent")
    made.stop()  # nothing runs: this means nobody
    made.stream = make(2).stream
    made.stream.at_the_end = made.stop
    made.listen(lambda topic, payload: seen.append(payload), "superevent")
    assert seen == [1, 2]


def test_a_stop_before_the_first_listen_counts_once():
    made = make(1)
    seen = []
    made.stop()
    made.listen(lambda topic, payload: seen.append(payload), "superevent")
    assert (seen, made.opened) == ([], [])
    made.listen(lambda topic, payload: seen.append(payload), "superevent")
    assert seen == [1]


def test_stopping_from_the_callback():
    made = make(*range(5))
    seen = []

    def callback(topic, payload):
        seen.append(payload)
        made.stop()

    made.listen(callback, "superevent")
    assert seen == [0]
    assert made.stream.watermark.mark == 1


def test_setting_the_event_stops_as_in_igwn_alert():
    made = make(*range(5))
    seen = []

    def callback(topic, payload):
        seen.append(payload)
        made.stop_listening.set()

    made.listen(callback, "superevent")
    assert seen == [0]


def test_stopping_from_a_signal_handler():
    made = make(*range(5))
    seen = []

    def callback(topic, payload):
        seen.append(payload)
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: made.stop())
    try:
        made.listen(callback, "superevent")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [0]


class StoppedMeanwhile(threading.Event):
    """An event with a stop from another thread just before each `clear`."""

    def __init__(self, made):
        super().__init__()
        self.made = made
        self.lost = False

    def clear(self):
        self.made.stop()
        self.lost = self.is_set()
        super().clear()


def test_a_stop_while_a_second_listen_begins_is_not_lost():
    made = make(1)
    made.listen(lambda topic, payload: None, "superevent")
    made.stop_listening = StoppedMeanwhile(made)
    lost = []

    def at_the_end():
        lost.append(made.stop_listening.lost)
        made.stop()

    made.stream = Stream(at_the_end=at_the_end)
    made.listen(lambda topic, payload: None, "superevent")
    assert True not in lost


def in_a_thread(function, *args):
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def test_listening_twice_at_once_is_refused():
    made = make(1)
    running, go_on = threading.Event(), threading.Event()

    def callback(topic, payload):
        running.set()
        assert go_on.wait(10)

    first = in_a_thread(made.listen, callback, "superevent")
    assert running.wait(10)
    with pytest.raises(RuntimeError, match="this client listens already; make a second one"):
        made.listen(callback, "superevent")
    go_on.set()
    first.join(10)
    assert not first.is_alive()
    assert len(made.opened) == 1
    assert made.stream.watermark.mark == 1  # the refused one has not disturbed it


# How listen delivers


@pytest.mark.parametrize(
    ("kwargs", "kind", "message"),
    [
        ({"workers": 0}, ValueError, '"workers" must be at least 1, not 0'),
        ({"workers": "2"}, TypeError, '"workers" must be int or Executor, not str'),
        ({"workers": None}, TypeError, '"workers" must be int or Executor, not None'),
        ({"workers": True}, TypeError, '"workers" must be int or Executor, not bool'),
        ({"attempts": 0}, ValueError, '"attempts" must be at least 1, not 0'),
        ({"attempts": 1.5}, TypeError, '"attempts" must be int, not float'),
        ({"key": "superevent_id"}, TypeError, '"key" must be a function of the alert'),
        ({"count": 0}, ValueError, '"count" must be at least 1'),
        ({"count": True}, TypeError, '"count" must be int or None, not bool'),
        ({"on_failure": "skip"}, ValueError, '"on_failure" must be "raise" or "set_aside"'),
        ({"on_failure": None}, ValueError, '"on_failure" must be "raise" or "set_aside"'),
    ],
)
def test_how_to_deliver_is_checked_before_anything_is_opened(kwargs, kind, message):
    made = Client()
    with pytest.raises(kind) as raised:
        made.listen(never, "superevent", **kwargs)
    assert message in str(raised.value)
    assert made.opened == []


def test_setting_aside_needs_a_place():
    made = Client(set_aside=False)
    with pytest.raises(ValueError, match="set_aside=False"):
        made.listen(never, "superevent", on_failure="set_aside")


def test_a_failed_alert_comes_again_as_often_as_wished():
    made = make("x", retry_wait=0)
    calls = []

    def callback(topic, payload):
        calls.append(payload)
        if len(calls) < 3:
            raise Unhappy

    made.listen(callback, "superevent", attempts=3)
    assert calls == ["x"] * 3
    assert made.stream.watermark.mark == 1


def test_a_failed_alert_is_set_aside_if_wished(tmp_path):
    made = make("bad", "good", set_aside=tmp_path / "aside.db")
    seen = []

    def callback(topic, payload):
        if payload == "bad":
            raise Unhappy("no disk space")
        seen.append(payload)

    made.listen(callback, "superevent", on_failure="set_aside")
    assert seen == ["good"]
    assert made.stream.watermark.mark == 2
    with Archive(tmp_path / "aside.db") as archive:
        [alert] = archive
    assert (alert.topic, alert.offset) == ("superevent", 0)
    assert "no disk space" in alert.reason


def refuse(message):
    raise DecodeError("JSON", "it ends too early")


def test_what_cannot_be_read_is_set_aside(tmp_path):
    made = make("x", "y", set_aside=tmp_path / "aside.db")
    made.stream.left[0] = received(Message("x", 0), refuse)
    seen = []
    made.listen(lambda topic, payload: seen.append(payload), "superevent")
    assert seen == ["y"]
    with Archive(tmp_path / "aside.db") as archive:
        [alert] = archive
    assert "it ends too early" in alert.reason


def test_or_ends_listen_where_nothing_is_set_aside():
    made = make("x", set_aside=False)
    made.stream.left[0] = received(Message("x", 0), refuse)
    with pytest.raises(DecodeError, match="partition 0, offset 0"):
        made.listen(never, "superevent")
    assert made.stream.watermark.mark == 0


def test_a_listener_that_sets_nothing_aside_needs_no_place_to_write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = make("x")
    made.listen(lambda topic, payload: None, "superevent")
    assert list(tmp_path.iterdir()) == []


async def awaited(topic, payload, seen):
    seen.append(payload)


def test_an_async_callback():
    seen = []
    made = make()
    made.stream.left.extend(make("x", "y").stream.left)
    # In a lane: stopped when all is finished, not when all is taken.
    made.stream.at_the_end = lambda: made.stream.watermark.unfinished or made.stop()
    made.listen(partial(awaited, seen=seen), "superevent")
    assert seen == ["x", "y"]
    assert made.stream.watermark.mark == 2


def test_alerts_are_an_iterator():
    made = make("x", "y")
    seen = []
    for alert in made.alerts(["superevent"]):
        assert made.stream.watermark.mark == alert.offset
        seen.append(alert.payload)
    assert seen == ["x", "y"]
    assert made.stream.watermark.mark == 2
    assert made.stream.open is False


def test_leaving_the_loop_closes_the_stream_and_marks_nothing_more():
    made = make("x", "y")
    alerts = made.alerts("superevent")
    next(alerts)
    with pytest.raises(RuntimeError, match="listens already"):
        made.listen(never, "superevent")
    alerts.close()
    assert made.stream.watermark.mark == 0
    assert made.stream.open is False


@pytest.mark.parametrize(("topics", "kind"), [([], ValueError), (5, TypeError)])
def test_the_iterator_checks_its_topics_at_once(topics, kind):
    with pytest.raises(kind, match="topic"):
        Client().alerts(topics)


def test_an_iterator_stopped_before_it_begins():
    made = make("x")
    made.stop()
    assert list(made.alerts("superevent")) == []
    assert made.opened == []


def test_health_counts():
    made = make("x", "y", retry_wait=0)
    assert made.health().state == "idle"
    assert made.health().delivered == {}
    failing = iter([Unhappy(), None, None])

    def callback(topic, payload):
        error = next(failing)
        if error:
            raise error

    made.listen(callback, "superevent", attempts=2)
    health = made.health()
    assert health.delivered == {"superevent": 2}
    assert (health.failed, health.set_aside, health.reconnects) == (1, 0, 0)
    with pytest.raises(AttributeError):
        health.failed = 0


# Waiting until it listens


def test_nobody_listens_yet():
    made = Client()
    assert made.wait_until_listening(0) is False
    assert made.wait_until_listening(0.01) is False


def test_it_listens():
    made = make(1)
    seen = []

    def callback(topic, payload):
        seen.append(made.wait_until_listening(0))
        seen.append(made.wait_until_listening())

    made.listen(callback, "superevent")
    assert seen == [True, True]


def test_somebody_waits_before_it_listens():
    made = make(1)
    heard = []
    go_on = threading.Event()
    waiting = in_a_thread(lambda: (heard.append(made.wait_until_listening(10)), go_on.set()))

    def callback(topic, payload):
        assert go_on.wait(10)

    made.listen(callback, "superevent")
    waiting.join(10)
    assert heard == [True]


def test_it_has_ended():
    made = make(1)
    made.listen(lambda topic, payload: None, "superevent")
    assert made.wait_until_listening(0.01) is False
    assert made.wait_until_listening() is False


def test_it_could_not_begin():
    class Unreachable(Client):
        def open(self, *args, **kwargs):
            raise BrokerUnreachable("nobody is there")

    made = Unreachable()
    heard = []
    begun = threading.Event()
    waiting = in_a_thread(lambda: (begun.set(), heard.append(made.wait_until_listening())))
    assert begun.wait(10)
    with pytest.raises(BrokerUnreachable):
        made.listen(lambda topic, payload: None, "superevent")
    waiting.join(10)
    assert heard == [False]


def test_no_time_to_wait_is_no_wait():
    made = make(1)
    made.listen(lambda topic, payload: None, "superevent")
    done = threading.Event()
    in_a_thread(lambda: (made.wait_until_listening(0), done.set()))
    assert done.wait(0.5)


# Printing


def printed(capsys, payload, **kwargs):
    make(payload, **kwargs).listen(topic="superevent")
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_without_a_callback_alerts_are_printed(capsys):
    text = '{"uid": "S260517a"}'
    assert printed(capsys, text) == f"New message from topic gracedb.superevent:\n{text}\n"
    assert printed(capsys, {"a": 1}) == "New message from topic gracedb.superevent:\n{'a': 1}\n"


@pytest.mark.parametrize("payload", ['{"uid": "S260517a"}', {"uid": "S260517a"}])
def test_and_indented_if_wished(capsys, payload):
    assert printed(capsys, payload, jsonpp_on=True) == (
        'New message from topic gracedb.superevent:\n{\n    "uid": "S260517a"\n}\n'
    )


@pytest.mark.parametrize("payload", ["no JSON", "", b"\x00\xff", {"skymap": b"FITS"}, object])
def test_what_cannot_be_indented_is_printed_as_it_is(capsys, payload):
    assert printed(capsys, payload, jsonpp_on=True) == (
        f"New message from topic gracedb.superevent:\n{payload}\n"
    )


# Publishing


def names(*topics):
    return [f"kafka://kafka.scimma.org:9092/gracedb.{topic}" for topic in topics]


def test_connecting_opens_a_session_for_each_topic():
    made = Client()
    made.connect(["a", "b"])
    assert made.opened == [(url, "w", None) for url in names("a", "b")]
    assert sorted(made.sessions) == ["a", "b"]
    made.connect({"b", "c"})  # one that is open stays open
    assert [url for url, _, _ in made.opened] == names("a", "b", "c")


def test_publishing_to_a_topic_queues_and_flushing_confirms():
    made = Client()
    made.connect("a")
    made.publish_to_topic("a", {"uid": 1})
    made.publish_to_topic(topic="a", msg="text")
    made.flush_by_topic("a")
    assert made.sessions["a"].done == [("write", {"uid": 1}), ("write", "text"), "flush"]


@pytest.mark.parametrize("use", ["publish_to_topic", "flush_by_topic"])
def test_not_connected(use):
    made = Client()
    args = ("a", "text") if use == "publish_to_topic" else ("a",)
    with pytest.raises(NotConnected, match=r"^No active sessions. Please connect before publish"):
        getattr(made, use)(*args)
    made.connect("b")
    with pytest.raises(
        RuntimeError, match=r"^Not connected to topic a. Please connect before publ"
    ):
        getattr(made, use)(*args)
    assert made.sessions["b"].done == []


def test_disconnecting_closes_and_forgets():
    made = Client()
    made.connect(["a", "b", "c"])
    sessions = dict(made.sessions)
    made.disconnect("a")
    assert sorted(made.sessions) == ["b", "c"]
    made.disconnect()
    assert made.sessions == {}
    assert [session.done for session in sessions.values()] == [["close"]] * 3
    made.connect("a")  # a new one
    assert made.sessions["a"] is not sessions["a"]


def test_disconnecting_from_what_is_not_connected_warns():
    made = Client()
    made.connect("a")
    with pytest.warns(UserWarning, match="^Not currently connected to topic b$") as warned:
        made.disconnect(["b"])
    assert warned[0].filename == __file__
    assert sorted(made.sessions) == ["a"]


def test_all_sessions_are_closed_when_one_fails():
    error = PublishError("1 alert not confirmed", [("gracedb.a", "x")])
    made = Client(errors={"a": error})
    made.connect(["a", "b"])
    sessions = dict(made.sessions)
    with pytest.raises(PublishError) as raised:
        made.disconnect()
    assert raised.value is error
    assert sessions["b"].done == ["close"]
    assert made.sessions == {}


def test_all_sessions_are_closed_when_one_fails_in_another_way():
    made = Client(errors={"a": BufferError("queue full")})
    made.connect(["a", "b"])
    sessions = dict(made.sessions)
    with pytest.raises(BufferError, match="queue full"):
        made.disconnect()
    assert sessions["b"].done == ["close"]


def test_the_alerts_that_are_not_confirmed_come_before_other_errors(caplog):
    error = PublishError("1 alert not confirmed", [("gracedb.b", "x")])
    made = Client(errors={"a": BufferError("queue full"), "b": error})
    made.connect(["a", "b"])
    with pytest.raises(PublishError) as raised:
        made.disconnect()
    assert raised.value is error
    assert "queue full" in caplog.text


def test_an_interrupt_logs_what_is_not_confirmed(caplog):
    error = PublishError("1 alert not confirmed", [("gracedb.b", "x")])
    made = Client(errors={"a": KeyboardInterrupt(), "b": error})
    made.connect(["a", "b"])
    with pytest.raises(KeyboardInterrupt):
        made.disconnect()
    assert "1 alert not confirmed" in caplog.text


def test_leaving_the_block_stops_and_disconnects():
    made = make(1)
    with made as same:
        assert same is made
        made.connect("a")
        session = made.sessions["a"]
    assert session.done == ["close"]
    assert made.sessions == {}
    assert made.stop_listening.is_set()


def test_leaving_the_block_hides_no_error():
    made = Client()
    made.connect("a")
    session = made.sessions["a"]
    with pytest.raises(Unhappy), made:
        raise Unhappy
    assert session.done == ["close"]


def test_publish_confirms_each_alert_for_itself():
    made = Client()
    made.publish("a", "one")
    made.publish("a", msg="two")
    made.publish(("a", "b"), {"uid": 3})
    assert [url for url, _, _ in made.opened] == names("a", "a", "a", "b")
    assert made.sessions == {}  # they are not those of connect
    assert [session.done for session in made.written] == [
        [("write", "one"), "close"],
        [("write", "two"), "close"],
        [("write", {"uid": 3}), "close"],
        [("write", {"uid": 3}), "close"],
    ]


@given(st.lists(st.sampled_from("abc"), min_size=1), st.sampled_from([list, tuple, set, iter]))
def test_publish_takes_one_topic_or_any_iterable(topics, kind):
    made = Client()
    made.publish(kind(topics), "text")
    assert {url for url, _, _ in made.opened} == set(names(*topics))
    assert all(session.done == [("write", "text"), "close"] for session in made.written)


def test_what_was_not_confirmed_is_told_together():
    cause = BrokerUnreachable("host:9092 did not take it")
    errors = {
        topic: PublishError(
            f'1 alert for "gracedb.{topic}" not confirmed', [(f"gracedb.{topic}", 5)]
        )
        for topic in "ac"
    }
    errors["a"].__cause__ = cause
    made = Client(errors=errors)
    with pytest.raises(PublishError) as raised:
        made.publish(["a", "b", "c"], 5)
    assert raised.value.unconfirmed == [("gracedb.a", 5), ("gracedb.c", 5)]
    assert str(raised.value) == (
        '1 alert for "gracedb.a" not confirmed; 1 alert for "gracedb.c" not confirmed; '
        'confirmed for "gracedb.b"'
    )
    assert made.written[1].done == [("write", 5), "close"]
    assert raised.value.__cause__ is cause


def test_nobody_answers_for_several_topics():
    """They wait together: one after the other would take ten times as long."""
    topics = list("abcdefghij")
    told = {"server": f"kafka://127.0.0.1:{closed_port()}/", "noauth": True}
    made = client(**told, publish_timeout=1.5)
    made.connect(topics)
    for topic in topics:
        made.publish_to_topic(topic, 6)
    for call in (made.disconnect, partial(made.publish, topics, 6)):
        failure = ThreadPoolExecutor(1).submit(call).exception(timeout=8)
        assert isinstance(failure, PublishError)
        assert isinstance(failure.__cause__, BrokerUnreachable)
        assert failure.unconfirmed == [(f"gracedb.{topic}", 6) for topic in topics]


def test_what_they_have_in_common_is_said_once():
    errors = {}
    for topic in "abc":
        cause = BrokerUnreachable("nobody answers" if topic < "c" else "no")
        errors[topic] = PublishError(f"1 alert: {cause}", [(f"gracedb.{topic}", 5)])
        errors[topic].__cause__ = cause
    with pytest.raises(PublishError) as raised:
        Client(errors=errors).publish(["a", "b", "c"], 5)
    assert str(raised.value) == (
        '2 alerts for "gracedb.a", "gracedb.b" not confirmed: nobody answers; 1 alert: no'
    )
    assert raised.value.unconfirmed == [(f"gracedb.{topic}", 5) for topic in "abc"]


def test_one_that_was_not_confirmed_is_told_as_it_is():
    error = PublishError("1 alert not confirmed", [("gracedb.a", 5)])
    made = Client(errors={"a": error})
    with pytest.raises(PublishError) as raised:
        made.publish("a", 5)
    assert raised.value is error


# Topics


@pytest.mark.parametrize(
    ("kwargs", "kind"),
    [
        ({"group": 5}, TypeError),
        ({"timeout": "5"}, TypeError),
        ({"timeout": None}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
    ],
)
def test_asking_for_topics_in_a_wrong_way(kwargs, kind):
    [argument] = kwargs
    with pytest.raises(kind, match=f'"{argument}" must be'):
        client(noauth=True).get_topics(**kwargs)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"noauth": True},
        {"auth": Auth("user", SECRET, ssl=False)},
        {"auth": [Auth("user", SECRET, ssl=False)]},
    ],
)
def test_asking_for_topics_where_nobody_answers(kwargs):
    port = closed_port()
    made = client(server=f"kafka://127.0.0.1:{port}/", **kwargs)
    text = f"no answer from 127.0.0.1:{port}: the port is closed"
    with pytest.raises(BrokerUnreachable, match=text) as raised:
        made.get_topics(timeout=0.05)
    assert SECRET not in str(raised.value)


def test_asking_for_topics_with_a_user_in_the_url():
    auth = [Auth("user@ligo.org", SECRET, ssl=False), Auth("other", SECRET, ssl=False)]
    made = client(server=f"kafka://user%40ligo.org@127.0.0.1:{closed_port()}/", auth=auth)
    with pytest.raises(BrokerUnreachable):
        made.get_topics(timeout=0.05)


# The end


def test_a_client_that_published_nothing_ends_in_silence(caplog):
    made = client(noauth=True)
    del made
    gc.collect()
    assert caplog.records == []


def test_start_at_may_be_a_time():
    start = datetime(2026, 5, 17, tzinfo=timezone.utc)
    assert client(noauth=True, start_at=start).start_at == start


def test_paths_may_be_paths(tmp_path):
    made = client(noauth=True, set_aside=tmp_path / "a.db", ssl_ca_location=Path("x"))
    assert made.set_aside == tmp_path / "a.db"


def test_a_private_ca_reaches_the_credential(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("certificate")
    made = client("user", SECRET, ssl_ca_location=path)
    assert made.auth_obj.ssl_ca_location == str(path)
    with pytest.raises(FileNotFoundError, match="ssl_ca_location: there is no file"):
        client("user", SECRET, ssl_ca_location=str(tmp_path / "absent.pem"))


def test_which_credential_is_used_is_told_once(caplog):
    caplog.set_level(logging.INFO)
    made = client(
        "me", SECRET, server="kafka.test", options={"ssl.endpoint.identification.algorithm": "none"}
    )
    for _ in range(2):
        made.open(made._construct_topic_url("superevent"), "r").close()
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("igwn")]
    assert lines[0] == (
        'connecting to kafka.test:9092 with user "me" by SCRAM-SHA-512, '
        "from username= and password="
    )
    assert lines[1].startswith("kafka.test:9092: the server's host name is not verified")
    assert len(lines) == 2
    assert SECRET not in caplog.text


def test_on_scimma_a_consumer_group_begins_with_the_users_name(caplog):
    caplog.set_level(logging.INFO)
    made = client("me", SECRET)
    opened = made.open(made._construct_topic_url("superevent"), "r", group_id="my-pipeline")
    assert opened._conf.group_id == "me-my-pipeline"
    assert 'the consumer group "my-pipeline" is "me-my-pipeline" on kafka.scimma.org' in caplog.text
