"""One message after decoding."""

import copy
import pickle
from datetime import datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igwn_style_client.alert import Alert
from igwn_style_client.errors import DecodeError

NOON = datetime(2026, 5, 17, 12, tzinfo=timezone.utc)
NAMES = (
    "topic",
    "payload",
    "full_name",
    "partition",
    "offset",
    "time",
    "key",
    "headers",
    "raw",
    "id",
    "sender",
    "reason",
)


class Message:
    """A Kafka message that counts how often each of its fields was asked for."""

    def __init__(
        self,
        topic="gracedb.superevent",
        partition=3,
        offset=17,
        timestamp=(1, 1_779_019_200_000),
        key=b"S260517a",
        headers=(("_sender", b"gracedb"),),
        value=b'{"uid": "S260517a"}',
    ):
        self.fields = {
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "timestamp": timestamp,
            "key": key,
            "headers": headers and list(headers),
            "value": value,
        }
        self.asked = []

    def __getattr__(self, name):
        def field():
            self.asked.append(name)
            return self.fields[name]

        return field


def decode(message):
    return {"decoded": message.value()}


def received(decode=decode, **fields):
    return Alert.received(Message(**fields), "superevent", decode)


def refuse(message):
    raise DecodeError("JSON", "it ends too early")


# Received


def test_a_received_alert():
    alert = received()
    assert {name: getattr(alert, name) for name in NAMES} == {
        "topic": "superevent",
        "payload": {"decoded": b'{"uid": "S260517a"}'},
        "full_name": "gracedb.superevent",
        "partition": 3,
        "offset": 17,
        "time": NOON,
        "key": b"S260517a",
        "headers": (("_sender", b"gracedb"),),
        "raw": b'{"uid": "S260517a"}',
        "id": None,
        "sender": "gracedb",
        "reason": None,
    }


def test_nothing_is_built_before_it_is_asked_for_and_nothing_twice():
    message = Message()
    decoded = []
    alert = Alert.received(message, "superevent", decoded.append)
    assert alert.topic == "superevent"
    assert (message.asked, decoded) == (["offset"], [])
    for _ in range(2):
        for name in NAMES:
            getattr(alert, name)
    assert decoded == [message]
    assert sorted(message.asked) == sorted(set(message.asked))


def test_a_received_alert_may_know_its_place():
    place = object(), 5
    assert Alert.received(Message(), "superevent", decode, 17, place)._place is place
    assert received()._place is None
    assert Alert("superevent", None)._place is None


def test_a_decode_error_says_where():
    alert = received(refuse)
    with pytest.raises(DecodeError) as raised:
        alert.payload  # noqa: B018
    assert str(raised.value) == (
        'the message in "gracedb.superevent", partition 3, offset 17 cannot be read as JSON: '
        "it ends too early"
    )
    assert isinstance(raised.value.__cause__, DecodeError)
    with pytest.raises(DecodeError):  # and again
        alert.payload  # noqa: B018
    assert alert.raw == b'{"uid": "S260517a"}'


# Time


@pytest.mark.parametrize(
    ("milliseconds", "time"),
    [
        (0, datetime(1970, 1, 1, tzinfo=timezone.utc)),
        (1, datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=timezone.utc)),
        (1_779_019_200_123, NOON + timedelta(milliseconds=123)),
        (-1, None),  # nobody stamped it
    ],
)
def test_the_time_is_that_of_kafka_in_utc(milliseconds, time):
    alert = received(timestamp=(1, milliseconds))
    assert alert.time == time
    assert time is None or alert.time.utcoffset() == timedelta(0)


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_time_on_the_wire_is_a_time_or_none(milliseconds):
    # A publisher that stamps microseconds or nanoseconds must not end a listener.
    alert = received(timestamp=(1, milliseconds))
    assert alert.time is None or alert.time.timestamp() == pytest.approx(milliseconds / 1000)
    repr(alert)


# Headers


def test_the_id_is_a_uuid():
    identifier = uuid4()
    assert received(headers=[("_id", identifier.bytes)]).id == identifier
    assert isinstance(received(headers=[("_id", bytes(16))]).id, UUID)


@pytest.mark.parametrize(
    "headers",
    [None, [], [("_id", None)], [("_id", b"")], [("_id", b"short")], [("_id", bytes(17))]],
)
def test_no_id(headers):
    assert received(headers=headers).id is None


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        ([("_sender", b"gracedb-\xc3\xa9")], "gracedb-é"),
        ([("_sender", b"\xff\xfe")], None),
        ([("_sender", None)], None),
        ([("_sender", b"")], None),
        ([], None),
        (None, None),
        ([("_test", b"true"), ("_sender", b"first"), ("_sender", b"second")], "first"),
    ],
)
def test_the_sender(headers, sender):
    assert received(headers=headers).sender == sender


@given(
    st.none()
    | st.lists(
        st.tuples(st.sampled_from(["_id", "_sender", "_format"]), st.none() | st.binary()),
        max_size=5,
    )
)
def test_no_header_breaks_an_alert(headers):
    alert = received(headers=headers)
    assert alert.headers == tuple(headers or ())
    assert isinstance(alert.id, UUID | None)
    assert isinstance(alert.sender, str | None)
    repr(alert)


@pytest.mark.parametrize(
    ("headers", "kept"), [(None, ()), ([], ()), ([("a", None)], (("a", None),))]
)
def test_headers_are_a_tuple(headers, kept):
    assert received(headers=headers).headers == kept


def test_a_tombstone_has_no_raw_bytes():
    assert received(value=None).raw is None


# Made by hand


def test_an_alert_made_by_hand():
    alert = Alert("superevent", {"uid": "S260517a"})
    assert alert.full_name == alert.topic == "superevent"
    assert (alert.partition, alert.offset, alert.time, alert.key) == (0, 0, None, None)
    assert (alert.headers, alert.raw, alert.reason) == ((), b"", None)
    assert (alert.id, alert.sender) == (None, None)


def test_an_alert_that_was_set_aside_says_why():
    alert = Alert("superevent", None, reason="no JSON")
    assert alert.reason == "no JSON"
    assert alert != Alert("superevent", None)


def test_where_it_stands():
    alert = Alert("superevent", None, "gracedb.superevent", 2, 1234)
    assert alert.where == '"gracedb.superevent", partition 2, offset 1234'
    assert received().where == '"gracedb.superevent", partition 3, offset 17'


# A value


@pytest.mark.parametrize("name", [*NAMES, "anything"])
@pytest.mark.parametrize("make", [received, lambda: Alert("superevent", {"uid": 1})])
def test_an_alert_is_frozen(make, name):
    alert = make()
    before = repr(alert)
    with pytest.raises(AttributeError, match=name):
        setattr(alert, name, None)
    with pytest.raises(AttributeError, match=name):
        delattr(alert, name)
    assert repr(alert) == before


def test_an_attribute_that_it_has_not():
    with pytest.raises(AttributeError, match="'Alert' object has no attribute 'superevent_id'"):
        received().superevent_id  # noqa: B018
    assert not hasattr(Alert("superevent", None), "__dict__")


def test_received_and_made_are_equal_and_hash_alike():
    made = Alert(
        "superevent",
        {"decoded": b'{"uid": "S260517a"}'},
        "gracedb.superevent",
        3,
        17,
        NOON,
        b"S260517a",
        (("_sender", b"gracedb"),),
        b'{"uid": "S260517a"}',
    )
    assert received() == made
    assert hash(received()) == hash(made)
    assert len({received(), made}) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"partition": 4},
        {"offset": 18},
        {"value": b"{}"},
        {"key": None},
        {"topic": "gracedb-test.superevent"},
        {"timestamp": (1, 0)},
        {"headers": []},
    ],
)
def test_alerts_differ_in_any_field(other):
    assert received() != received(**other)


def test_an_alert_equals_no_other_thing():
    assert received() != "superevent"
    assert received() is not None
    assert (received() == 5) is False


def test_the_headers_given_as_a_list_make_the_same_alert():
    pairs = [("_sender", b"gracedb")]
    assert Alert("a", 1, headers=pairs) == Alert("a", 1, headers=tuple(pairs))


def test_the_repr_is_short_and_shows_no_payload():
    text = repr(received(value=b"x" * 10_000, headers=[("_id", bytes(16))]))
    assert text == (
        "Alert(topic='superevent', partition=3, offset=17, time=2026-05-17 12:00:00+00:00, "
        "id=00000000-0000-0000-0000-000000000000)"
    )


@pytest.mark.parametrize(
    "travel", [lambda a: pickle.loads(pickle.dumps(a)), copy.copy, copy.deepcopy]
)
@pytest.mark.parametrize("make", [received, lambda: Alert("mdc", [1], reason="late", time=NOON)])
def test_alerts_travel_between_processes(make, travel):
    alert = make()
    back = travel(alert)
    assert type(back) is Alert
    assert back == alert
    assert {name: getattr(back, name) for name in NAMES} == {
        name: getattr(alert, name) for name in NAMES
    }
