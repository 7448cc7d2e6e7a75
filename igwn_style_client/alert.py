"""One message after decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol, TypeVar
from uuid import UUID

from .errors import DecodeError

__all__ = ["Alert", "Headers", "payload_of"]

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


class _Fields:
    """An alert that is just being made; see `Alert.received`."""

    __slots__ = (
        *("topic", "offset", "_message", "_decode", "_watermark"),
        *("_payload", "_full_name", "_partition", "_time", "_key", "_headers", "_raw", "_id"),
        *("_sender", "_reason"),
    )

    topic: str
    offset: int
    _message: Message
    _decode: Callable[[Any], Any]
    _payload: Any
    _watermark: Any


# In place of a payload that nobody has asked for.
_UNREAD = object()
# Passes by __setattr__.
_keep_payload = _Fields.__dict__["_payload"].__set__

_F = TypeVar("_F")


def _at_first_sight(find: Callable[[Any], _F]) -> _F:
    """Make a property that `find` fills in when it is first asked for."""
    slot = _Fields.__dict__[f"_{find.__name__}"]
    stored, store = slot.__get__, slot.__set__

    def look(alert: Any) -> _F:
        try:
            return stored(alert)  # type: ignore[no-any-return]
        except AttributeError:
            pass
        found = find(alert)
        store(alert, found)
        return found

    return property(look, doc=find.__doc__)  # type: ignore[return-value]  # what it looks like


def payload_of(alert: Alert) -> Any:
    """Return what the publisher sent, decoded; a property's call takes longer than a function's."""
    payload = alert._payload
    if payload is _UNREAD:
        try:
            payload = alert._decode(alert._message)
        except DecodeError as error:
            raise DecodeError(error.format, error.reason, alert.where) from error
        _keep_payload(alert, payload)
    return payload


class Alert(_Fields):
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

    __slots__ = ()

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
            object.__setattr__(self, name if name in _Fields.__dict__ else f"_{name}", value)
        object.__setattr__(self, "_reason", reason)
        object.__setattr__(self, "_watermark", None)

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
        # Before they are frozen, fields are set four times as fast; this is done for each alert.
        alert = _Fields()
        alert._message = message
        alert.topic = topic
        alert._decode = decode
        alert._payload = _UNREAD
        alert._watermark = watermark
        alert.offset = message.offset() if offset is None else offset
        alert.__class__ = cls
        return alert  # type: ignore[return-value]  # by now it is one

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
        return self._payload is not _UNREAD

    @property
    def where(self) -> str:
        """Topic, partition and offset, for log lines and errors."""
        return f'"{self.full_name}", partition {self.partition}, offset {self.offset}'

    @property
    def size(self) -> int:
        """About how many bytes of memory the alert takes while it waits."""
        return len(self._message.value() or b"") + _OVERHEAD

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


def _header(alert: Alert, name: str) -> bytes | None:
    return next((value for key, value in alert.headers if key == name), None)
