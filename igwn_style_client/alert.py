"""One message after decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol
from uuid import UUID

from .errors import DecodeError

__all__ = ["Alert", "Headers"]

Headers = Sequence[tuple[str, bytes | None]]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Of a message and its alert, measured with payloads of a few bytes.
_OVERHEAD = 1000
_FIELDS = ("topic", "payload", "full_name", "partition", "offset", "time", "key", "headers", "raw")


class Message(Protocol):
    """What is used of a `confluent_kafka.Message`."""

    def topic(self) -> Any: ...
    def partition(self) -> Any: ...
    def offset(self) -> Any: ...
    def timestamp(self) -> Any: ...
    def key(self) -> Any: ...
    def headers(self) -> Any: ...
    def value(self) -> Any: ...


class Alert:
    """One alert.  Frozen.

    An alert that was received fills its fields in when they are first asked for: most callbacks
    look at the topic and the payload only, and building everything for each alert costs as much
    as decoding it.

    Parameters
    ----------
    topic
        Short name, such as "superevent".
    payload
        What the publisher sent, decoded.
    full_name
        The topic's name on the broker, such as "gracedb.superevent"; by default `topic`.
    partition, offset
        Where in the topic the alert stands.
    time
        When the broker or the publisher stamped it (UTC); None if nobody did.
    key
        Kafka's key, or None.
    headers
        Kafka's headers, as pairs of name and bytes.
    raw
        The bytes as received.
    reason
        Why the alert was set aside; None for one that was delivered.

    Attributes
    ----------
    id : uuid.UUID or None
        What hop's publishers give each alert; the same when an alert comes again.
    sender : str or None
        The publisher's user name, as it says itself.
    """

    __slots__ = (*_FIELDS, "_decode", "_message", "_watermark", "id", "reason", "sender")

    topic: str
    payload: Any
    full_name: str
    partition: int
    offset: int
    time: datetime | None
    key: bytes | None
    headers: Headers
    raw: bytes | None
    id: UUID | None
    sender: str | None
    reason: str | None
    _message: Message
    _decode: Callable[[Any], Any]
    _watermark: Any

    def __init__(
        self,
        topic: str,
        payload: Any,
        full_name: str | None = None,
        partition: int = 0,
        offset: int = 0,
        time: datetime | None = None,
        key: bytes | None = None,
        headers: Headers = (),
        raw: bytes | None = b"",
        reason: str | None = None,
    ) -> None:
        pairs = tuple((name, value) for name, value in headers)
        values = (topic, payload, full_name or topic, partition, offset, time, key, pairs, raw)
        for name, value in zip(_FIELDS, values, strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "reason", reason)

    @classmethod
    def received(
        cls,
        message: Message,
        topic: str,
        decode: Callable[[Any], Any],
        watermark: Any = None,
        offset: int | None = None,
    ) -> Alert:
        """Wrap a Kafka message.

        Parameters
        ----------
        message
            As the consumer returned it, free of errors.
        topic
            Short name of its topic.
        decode
            Called with the message when the payload is first asked for; may raise `DecodeError`.
        watermark
            Of its partition, in which whoever delivers the alert notes that it is finished.
        offset
            If it is known already: asking the message again costs time.
        """
        alert = cls.__new__(cls)
        _set_message(alert, message)
        _set_topic(alert, topic)
        _set_decode(alert, decode)
        _set_watermark(alert, watermark)
        if offset is not None:
            _set_offset(alert, offset)
        return alert

    @property
    def where(self) -> str:
        """Topic, partition and offset, for log lines and errors."""
        return f'"{self.full_name}", partition {self.partition}, offset {self.offset}'

    @property
    def size(self) -> int:
        """About how many bytes of memory the alert takes while it waits."""
        return len(self.raw or b"") + _OVERHEAD

    def __getattr__(self, name: str) -> Any:
        """Fill in a field that is asked for the first time."""
        find = _LAZY.get(name)
        if find is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = find(self)
        object.__setattr__(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an Alert is frozen: {name!r} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"an Alert is frozen: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Alert):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((self.full_name, self.partition, self.offset))

    def __reduce__(self) -> tuple[type[Alert], tuple[Any, ...]]:
        return Alert, self._values()

    def __repr__(self) -> str:
        return (
            f"Alert(topic={self.topic!r}, partition={self.partition}, offset={self.offset}, "
            f"time={self.time}, id={self.id})"
        )

    def _values(self) -> tuple[Any, ...]:
        return (*(getattr(self, name) for name in _FIELDS), self.reason)


# A slot's own setter passes by __setattr__, and is three times faster than object.__setattr__.
_set_message = Alert.__dict__["_message"].__set__
_set_topic = Alert.__dict__["topic"].__set__
_set_decode = Alert.__dict__["_decode"].__set__
_set_watermark = Alert.__dict__["_watermark"].__set__
_set_offset = Alert.__dict__["offset"].__set__


def _payload(alert: Alert) -> Any:
    try:
        return alert._decode(alert._message)
    except DecodeError as error:
        raise DecodeError(error.format, error.reason, alert.where) from error


def _time(alert: Alert) -> datetime | None:
    milliseconds = alert._message.timestamp()[1]
    try:
        return None if milliseconds < 0 else _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:  # publishers stamp what they like
        return None


def _id(alert: Alert) -> UUID | None:
    value = _header(alert, "_id")
    return UUID(bytes=value) if value is not None and len(value) == 16 else None


def _sender(alert: Alert) -> str | None:
    try:
        return (_header(alert, "_sender") or b"").decode() or None
    except UnicodeDecodeError:
        return None


def _header(alert: Alert, name: str) -> bytes | None:
    return next((value for key, value in alert.headers if key == name), None)


_LAZY: dict[str, Callable[[Alert], Any]] = {
    "payload": _payload,
    "full_name": lambda alert: alert._message.topic(),
    "partition": lambda alert: alert._message.partition(),
    "offset": lambda alert: alert._message.offset(),
    "time": _time,
    "key": lambda alert: alert._message.key(),
    "headers": lambda alert: tuple(alert._message.headers() or ()),
    "raw": lambda alert: alert._message.value(),
    "id": _id,
    "sender": _sender,
    "reason": lambda _alert: None,
    "_watermark": lambda _alert: None,
}
