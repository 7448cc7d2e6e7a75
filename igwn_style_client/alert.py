"""One message after decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol, TypeVar
from uuid import UUID

from .errors import DecodeError

__all__ = ["UNREAD", "Alert", "Headers", "payload_of", "size_of"]

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


# In place of a payload that nobody has asked for.
UNREAD = object()
_F = TypeVar("_F")


def _at_first_sight(find: Callable[[Any], _F]) -> _F:
    """Make a property that `find` fills in when it is first asked for."""
    slot = f"_{find.__name__}"

    def look(alert: Any) -> _F:
        try:
            return getattr(alert, slot)  # type: ignore[no-any-return]
        except AttributeError:
            pass
        found = find(alert)
        setattr(alert, slot, found)
        return found

    return property(look, doc=find.__doc__)  # type: ignore[return-value]  # what it looks like


def payload_of(alert: Alert) -> Any:
    """Return what the publisher sent, decoded; a property's call takes longer than a function's."""
    payload = alert._payload
    if payload is UNREAD:
        try:
            payload = alert._decode(alert._message)
        except DecodeError as error:
            raise error.at(alert.where)  # noqa: B904  # it names its cause
        alert._payload = payload
    return payload


def size_of(message: Message) -> int:
    """Return about how many bytes of memory a message takes while it waits."""
    return len(message.value() or b"") + _OVERHEAD


class Alert:
    """One alert.  Frozen: its public attributes cannot be set.

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

    __slots__ = (
        "_decode",
        "_full_name",
        "_headers",
        "_id",
        "_key",
        "_message",
        "_offset",
        "_partition",
        "_payload",
        "_place",
        "_raw",
        "_reason",
        "_sender",
        "_time",
        "_topic",
    )

    _decode: Callable[[Any], Any]
    _message: Message
    _offset: int
    _payload: Any
    _place: Any
    _reason: str | None
    _time: datetime | None
    _topic: str

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
            setattr(self, f"_{name}", value)
        self._reason = reason
        self._place = None

    @classmethod
    def received(
        cls,
        message: Message,
        topic: str,
        decode: Callable[[Any], Any],
        offset: int | None = None,
        place: Any = None,
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
        offset
            If it is known already: asking the message again costs time.
        place
            For whoever delivers it: a `batch.Place`.
        """
        alert = cls.__new__(cls)
        alert._message = message
        alert._topic = topic
        alert._decode = decode
        alert._payload = UNREAD
        alert._place = place
        alert._offset = message.offset() if offset is None else offset
        return alert

    @property
    def topic(self) -> str:
        """Short name, such as "superevent"."""
        return self._topic

    @property
    def offset(self) -> int:
        """Where in the partition the alert stands."""
        return self._offset

    payload = property(payload_of, doc="What the publisher sent, decoded.")

    @_at_first_sight
    def full_name(self) -> str:
        """The topic's name on the broker, such as "gracedb.superevent"."""
        return self._message.topic()  # type: ignore[no-any-return]

    @_at_first_sight
    def partition(self) -> int:
        """Where in the topic the alert stands, with `offset`."""
        return self._message.partition()  # type: ignore[no-any-return]

    @_at_first_sight
    def time(self) -> datetime | None:
        """When the broker or the publisher stamped it (UTC); None if nobody did."""
        milliseconds = self._message.timestamp()[1]
        try:
            return None if milliseconds < 0 else _EPOCH + timedelta(milliseconds=milliseconds)
        except OverflowError:  # publishers stamp what they like
            return None

    @_at_first_sight
    def key(self) -> bytes | None:
        """Kafka's key, or None."""
        return self._message.key()  # type: ignore[no-any-return]

    @_at_first_sight
    def headers(self) -> Headers:
        """Kafka's headers, as pairs of name and bytes."""
        return tuple(self._message.headers() or ())

    @_at_first_sight
    def raw(self) -> bytes | None:
        """The bytes as received."""
        return self._message.value()  # type: ignore[no-any-return]

    @_at_first_sight
    def reason(self) -> str | None:
        """Why the alert was set aside; None for one that was delivered."""
        return None

    @_at_first_sight
    def id(self) -> UUID | None:
        """What hop's publishers give each alert; the same when an alert comes again."""
        value = _header(self, "_id")
        return UUID(bytes=value) if value is not None and len(value) == 16 else None

    @_at_first_sight
    def sender(self) -> str | None:
        """The publisher's user name, as it says itself."""
        try:
            return (_header(self, "_sender") or b"").decode() or None
        except UnicodeDecodeError:
            return None

    @property
    def is_decoded(self) -> bool:
        """Whether the payload was asked for, and could be decoded."""
        return self._payload is not UNREAD

    @property
    def where(self) -> str:
        """Topic, partition and offset, for log lines and errors."""
        return f'"{self.full_name}", partition {self.partition}, offset {self.offset}'

    @property
    def size(self) -> int:
        """About how many bytes of memory the alert takes while it waits."""
        return size_of(self._message)

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


def _header(alert: Alert, name: str) -> bytes | None:
    return next((value for key, value in alert.headers if key == name), None)
