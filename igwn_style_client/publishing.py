"""One session per topic: open once, write, confirm, close."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import hop.io
import msgspec

from .connection import LARGEST, Connection
from .encoding import encode_json
from .errors import (
    AuthorizationError,
    PublishError,
    StreamError,
    TopicNotFound,
    is_too_large,
    kind_of,
)
from .fetching import CannotFetch
from .offloading import advice, offload
from .receipts import Unconfirmed

__all__ = ["Session", "together"]

log = logging.getLogger(__name__)

# Kafka's own default for the largest message; only beyond it is the broker asked for its limit.
_SURELY_FITS = 900_000
_SETTINGS_SECONDS = 5.0
# How long a confirmation is waited for before the topic is looked up.
_DOUBT_SECONDS = 0.2
# How long alerts that their topic does not take are waited for; they come back within a second.
_RETURN_SECONDS = 3.0


class _Sent(msgspec.Struct, gc=False):
    """An alert that waits, and what librdkafka calls when it is confirmed or given up.

    Thousands of them wait: of these Python's garbage collector need not look at any, for each is
    let go of by its report.
    """

    session: Session
    number: int
    callback: Callable[[Any, Any], object] | None
    topic: str
    message: Any
    headers: list[tuple[str, str | bytes]]
    key: str | bytes | None
    test: bool

    def __call__(self, error: Any, message: Any) -> None:
        session = self.session
        if error is None:
            session._waiting.pop(self.number, None)
            session.last = message
            session._connection.confirmed()
        else:
            session._failed_now(self, error)
        if self.callback is not None:
            session._connection.call(partial(session._call, self.callback, error, message))

    def told(self) -> Unconfirmed:
        """Return it as users are told of it."""
        alert = Unconfirmed((self.topic, self.message))
        given = {"headers": self.headers or None, "key": self.key, "test": self.test or None}
        alert.given = {name: value for name, value in given.items() if value is not None}
        return alert


class Session(hop.io.Producer):  # type: ignore[misc]  # hop has no types
    """A topic, or several, open for writing.

    What is written goes out in the background; `flush` returns when the broker has confirmed all
    of it.  Any thread may write and flush.

    Parameters
    ----------
    connection
        Shared with the client's other sessions.
    topics
        Full names; with just one, `write` needs no topic.
    """

    def __init__(self, connection: Connection, topics: Sequence[str]) -> None:
        # What hop's methods use; its own __init__ would ask the broker for the settings of each
        # topic, which needs a right of its own.
        self.topics = connection.limits
        self.producers: dict[int, Any] = {}
        self.broker_addresses = connection.brokers
        self.auth = connection.auth
        self.automatic_offload = True
        self.topic_check_period = timedelta(seconds=1800)
        self.produce_timeout = timedelta(seconds=connection.timeout)
        self.default_topic = topics[0] if len(topics) == 1 else None

        self._connection = connection
        self._names: set[str] = set()
        #: Kafka's report of the alert that was confirmed last.
        self.last: Any = None
        self.forget()
        connection.join(self)

    def forget(self) -> None:
        """Begin with nothing queued."""
        self._lock = threading.Lock()
        self._written = 0
        # How many that failed somebody has been told of.
        self._told = 0
        # When the first of those that wait, or the one before it, was written.
        self._since = 0.0
        self._waiting: dict[int, _Sent] = {}
        self._failed: list[tuple[_Sent, StreamError | Any]] = []
        self._raised: list[Exception] = []

    @property
    def waiting(self) -> bool:
        """Whether alerts wait for their confirmation."""
        return bool(self._waiting)

    @property
    def unconfirmed(self) -> list[str]:
        """The topic of each alert that waits, or failed without anybody having been told."""
        with self._lock:
            failed = [sent for sent, _ in self._failed]
            return [sent.topic for sent in [*self._waiting.values(), *failed]]

    def write(
        self,
        message: Any,
        headers: Any = None,
        delivery_callback: Any = None,
        test: bool = False,
        topic: str | None = None,
        key: str | bytes | None = None,
    ) -> None:
        """Queue an alert; wait for room where the queue is full.

        Parameters
        ----------
        message
            str, dict, list, bytes or one of hop's message models.
        headers, test, key
            As `hop.io.Producer.write` takes them.
        delivery_callback
            Called with an error or None, and the message, when the broker has confirmed it or it
            was given up.  What it raises is raised by the next `write` or `flush`.
        topic
            Full name; may be left out where the session has just one.

        Raises
        ------
        TypeError, ValueError
            The message cannot be encoded.  Nothing was sent.
        PublishError
            Alerts that were queued before have failed since, the queue stayed full, or the
            message is too large.  This one is not queued, and is in `unconfirmed` with the others.
        """
        name = topic or self.default_topic
        if name is None:
            raise ValueError("topic: this session has several topics; say which")
        headers = _header_list(headers)
        payload, packed = self._pack(message, headers, test=test)
        new = _Sent(self, 0, delivery_callback, name, message, headers, key, test)
        connection = self._connection
        connection.serve(0)
        if self._failed or self._raised:
            self._tell(new)
        if len(payload) >= _SURELY_FITS or name in self.topics:
            size = self._estimate_message_size(payload, packed, key)
            if size > self._limit(name, size):
                placeholder = self._offloaded(new, size, payload, packed, key)
                payload, packed = super()._pack(placeholder, None, test=test)
        with self._lock:
            if not self._waiting:
                self._since = time.monotonic()
            self._written += 1
            new.number = number = self._written
            self._waiting[number] = new
            if name not in self._names:
                self._names = self._names | {name}  # a new one, for `flush` reads the old one
        try:
            try:
                connection.write(payload, packed, new, name, key)
            except (BufferError, hop.io.confluent_kafka.KafkaException):
                self._send(partial(connection.write, payload, packed, new, name, key), new)
        except BaseException:
            self._waiting.pop(number, None)
            raise

    def _pack(self, message: Any, headers: Any, test: bool) -> Any:
        """Pack as hop does, but say what is wrong with the content, and where."""
        own = list(headers or ())  # a new list, for hop adds its own to it
        if not isinstance(message, (str, dict)):
            if isinstance(message, hop.models.JSONBlob):
                message = message.content
            if isinstance(message, bytes) or hasattr(message, "serialize"):
                return super()._pack(message, own, test=test)
        # hop's own lines, in its order; through its model each alert would be encoded twice.
        content = encode_json(message)
        own.append(("_id", _new_id()))
        if self.auth is not None:
            own.append(("_sender", self.auth.username.encode()))
        if test:
            own.append(("_test", b"true"))
        own.append(("_format", b"json"))
        return content, own

    def _send(self, send: Callable[[], None], new: _Sent) -> None:
        """Queue what could not be at once, up to the timeout."""
        connection = self._connection
        begun = time.monotonic()
        while True:
            try:
                return send()
            except BufferError:
                connection.serve(0.05)
            except hop.io.confluent_kafka.KafkaException as error:
                [refusal] = error.args
                made = kind_of(refusal) is TopicNotFound and connection.has(new.topic)
                if made and time.monotonic() < begun + _RETURN_SECONDS:
                    continue  # it was made since librdkafka looked last
                why = self._why(new, refusal)
                raise _unconfirmed([new.told()], why) from why
            waited = time.monotonic() - begun
            wrong = connection.wrong(self._names) if waited > _DOUBT_SECONDS else None
            if wrong is None and waited > connection.timeout:
                wrong = StreamError(
                    f"the queue of {connection.queued_message_count()} alerts to "
                    f"{', '.join(connection.brokers)} stayed full for {connection.timeout:g} s; "
                    "publish more slowly, or set queue.buffering.max.messages and "
                    "queue.buffering.max.kbytes in options="
                )
            if wrong is not None or self._failed or self._raised:
                self._tell(new, wrong)

    def _tell(self, new: _Sent, wrong: StreamError | None = None) -> None:
        """Raise what has failed since the last call, together with what is not queued for it.

        Nothing, if another thread's call was faster.
        """
        wrong = wrong or self._reason()
        if wrong is not None:
            raise _unconfirmed([*self._take(), new.told()], wrong)
        self._raise()

    def _reason(self) -> StreamError | None:
        """Return why alerts have failed; it may take a while, in which they are not taken yet."""
        with self._lock:
            first = next(iter(self._failed), None)
        return self._why(*first) if first else None

    def _take(self, last: int = 0) -> list[Unconfirmed]:
        """Take what has failed, to tell it: from now on nobody else will.

        What waits, up to the number `last`, is taken too: it may arrive yet, but nobody can say so.
        """
        with self._lock:
            taken, self._failed = [sent.told() for sent, _ in self._failed], []
            for number in [number for number in list(self._waiting) if number <= last]:
                sent = self._waiting.pop(number, None)
                if sent is not None:
                    taken.append(sent.told())
            self._told += len(taken)
        self._connection.untold(self, False)
        return taken

    @property
    def _oldest(self) -> float:
        """The number of the alert that has waited longest; infinite if none waits."""
        while True:
            try:
                return next(iter(self._waiting), math.inf)
            except RuntimeError:  # another thread was here
                continue

    def _raise(self) -> None:
        """Raise what a delivery callback has raised."""
        with self._lock:
            raised = self._raised.pop(0) if self._raised else None
        if raised is not None:
            raise raised

    def _why(self, sent: _Sent, error: Any) -> StreamError:
        if is_too_large(error):
            payload, packed = self._pack(sent.message, None, False)
            size = self._estimate_message_size(payload, packed)
            return self._too_large(sent.topic, size, advice(self._connection.offload_server))
        return self._connection.explained(error, sent.topic)

    def _limit(self, topic: str, size: int) -> int:
        """Return the size that a message of `size` bytes must not exceed."""
        own = int(self._connection.conf.options.get("message.max.bytes", LARGEST))
        return own if size > own else int(self._record_for_topic(topic).max_message_size)

    def _offloaded(self, new: _Sent, size: int, payload: bytes, headers: Any, key: Any) -> Any:
        """Leave what is too large for Kafka with the offload server; return what stands for it."""
        topic = new.topic
        connection = self._connection
        server = connection.offload_server
        if not server:
            raise _unconfirmed([new.told()], self._too_large(topic, size, advice(server)))
        try:
            return offload(server, topic, payload, headers, key, self.auth, connection.timeout)
        except CannotFetch as error:
            kind = AuthorizationError if error.status in (401, 403) else StreamError
            why = self._too_large(topic, size, f"{server} did not take it: {error}", kind)
            raise _unconfirmed([new.told()], why) from why

    def _too_large(
        self, topic: str, size: int, what: str, kind: type[StreamError] = StreamError
    ) -> StreamError:
        return kind(
            f'too large for "{topic}" on {", ".join(self.broker_addresses)}: {size} bytes with its '
            f"headers, and the limit is {self._limit(topic, size)} (max.message.bytes); {what}"
        )

    def _check_topic_settings(self, topics: Sequence[str]) -> dict[str, Any]:
        """Ask for the topics' size limits, as hop does, but not for long and not insisting."""
        admin = hop.io.AdminClient(self._connection.conf._to_confluent_kafka())
        query = [hop.io.ConfigResource(hop.io.ResourceType.TOPIC, topic) for topic in topics]
        seconds = min(_SETTINGS_SECONDS, self._connection.timeout / 4)
        answers = admin.describe_configs(query, request_timeout=seconds)
        settings = {}
        for resource, answer in answers.items():
            try:
                settings[resource.name] = answer.result()
            except hop.io.confluent_kafka.KafkaException as error:
                log.info('the size limit of "%s" is not known: %s', resource.name, error)
                limit = hop.io.ConfigEntry("max.message.bytes", LARGEST)
                settings[resource.name] = {"max.message.bytes": limit}
        return settings

    def _set_producer_for_topic(self, topic: str, settings: Mapping[str, Any]) -> Any:
        """Note a topic's size limit, as hop does, but keep to the shared connection."""
        limit = int(settings["max.message.bytes"].value)
        self.topics[topic] = self.TopicRecord(time.time(), limit, self._connection)
        return self.topics[topic]

    def _release_producer_for_topic(self, topic: str) -> None:
        self.topics.pop(topic)

    def _failed_now(self, sent: _Sent, error: Any) -> None:
        with self._lock:
            is_open = sent.number in self._waiting
            if is_open:
                self._failed.append((sent, error))
                self._waiting.pop(sent.number)
        if is_open:
            self._connection.untold(self)

    def _call(self, callback: Any, error: Any, message: Any) -> None:
        try:
            callback(error, message)
        except Exception as raised:  # it may be another's call that serves this one
            with self._lock:
                self._raised.append(raised)

    def flush(self, timeout: timedelta | None = None) -> int:
        """Return 0 when every alert that was written is confirmed.

        Parameters
        ----------
        timeout
            Longest wait; by default the client's `publish_timeout`.

        Raises
        ------
        PublishError
            Some were not, with the alerts in `unconfirmed`; none there if a call in another thread
            has raised them meanwhile.
        Exception
            What a delivery callback raised.
        """
        seconds = timeout.total_seconds() if timeout else self._connection.timeout
        end = time.monotonic() + seconds
        connection = self._connection
        connection.begin(seconds, self._since)
        last = self._written  # what other threads write from now on is theirs to wait for
        told = self._told
        wrong = None
        doubt_at = time.monotonic() + _DOUBT_SECONDS
        connection.serve(0)
        while self._oldest <= last and time.monotonic() < end:
            connection.serve(0.1)
            if wrong is None and self._oldest <= last and time.monotonic() > doubt_at:
                wrong = connection.wrong(self._names)
                if wrong is not None:
                    # What a topic does not take comes back by itself, and will not arrive later.
                    returns = isinstance(wrong, (TopicNotFound, AuthorizationError))
                    end = time.monotonic() + (_RETURN_SECONDS if returns else 0.0)
        # What takes time comes before the alerts are taken, for Ctrl-C may come in it.
        if self._oldest <= last:
            wrong = wrong or self._reason() or connection.trouble.unreachable()
            if not isinstance(wrong, (TopicNotFound, AuthorizationError)):
                connection.give_up(self)
        else:
            wrong = wrong or self._reason()
        elsewhere = self._told - told
        if wrong is not None and (unconfirmed := self._take(last)):
            raise _unconfirmed(unconfirmed, wrong)
        if elsewhere:
            raise PublishError(
                f"{elsewhere} alerts not confirmed, which a call in another thread has raised"
            ) from wrong
        self._raise()
        return 0

    def close(self) -> int:
        """Flush, and let the topics go; the connection stays for the client's other sessions.

        Raises
        ------
        PublishError
            As `flush`.
        """
        try:
            return self.flush()
        finally:
            for raised in self._raised:  # no other call will
                log.error("an on_delivery callback raised", exc_info=raised)


def _new_id() -> bytes:
    """Return a random UUID (version 4); uuid's own way would take a sixth of an alert's time."""
    number = bytearray(os.urandom(16))
    number[6] = number[6] & 0x0F | 0x40
    number[8] = number[8] & 0x3F | 0x80
    return bytes(number)


def _header_list(headers: Any) -> list[tuple[str, str | bytes]]:
    """Return the headers as hop sends them.

    Raises
    ------
    TypeError
        They are no pairs, a name is no str, or a value neither str nor bytes.
    """
    if not headers:
        return []
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    try:
        given = [(name, value) for name, value in pairs]
    except (TypeError, ValueError):
        raise TypeError(f"headers: a mapping or pairs are needed, not {headers!r}") from None
    for name, value in given:
        if not isinstance(name, str) or not isinstance(value, (str, bytes)):
            raise TypeError(
                f"headers: a name is a str and its value a str or bytes, not {name!r}: {value!r}"
            )
    return given


def _unconfirmed(alerts: Sequence[tuple[str, Any]], cause: StreamError) -> PublishError:
    topics = ", ".join(sorted({f'"{topic}"' for topic, _ in alerts}))
    count = f"{len(alerts)} alert{'s' if len(alerts) > 1 else ''}"
    failure = PublishError(f"{count} for {topics} not confirmed: {cause}", alerts)
    failure.__cause__ = cause
    return failure


def together(failures: Sequence[PublishError]) -> PublishError:
    """Return one error for those of several sessions; what they have in common is said once."""
    told: dict[str, PublishError] = {}
    for one in failures:
        cause = one.__cause__
        before = told.get(str(cause))
        if before is not None and isinstance(cause, StreamError):
            one = _unconfirmed([*before.unconfirmed, *one.unconfirmed], cause)
        told[str(cause) if cause else str(one)] = one
    if len(told) == 1:
        return next(iter(told.values()))
    unconfirmed = [sent for one in failures for sent in one.unconfirmed]
    all_ = PublishError("; ".join(map(str, told.values())), unconfirmed)
    all_.__cause__ = failures[0].__cause__
    return all_
