"""One session per topic: open once, write, confirm, close.

The sessions of a client share one connection, on which each alert arrives exactly once and in
order however often it had to be sent.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import adc.producer
import hop.io
from hop.auth import Auth

from . import bearer
from .encoding import encode_json
from .errors import (
    AuthorizationError,
    BrokerUnreachable,
    PublishError,
    StreamError,
    TopicNotFound,
    from_kafka,
    is_too_large,
    kind_of,
)
from .settings import LOGGER, options_for
from .topics import existing, not_there
from .trouble import ANSWER_SECONDS, Trouble

__all__ = ["Connection", "Receipt", "Session", "receipts_for"]

log = logging.getLogger(__name__)

# Kafka's own default for the largest message; only beyond it is the broker asked for its limit.
_SURELY_FITS = 900_000
# librdkafka's own limit; the broker's is usually lower.
_LARGEST = 1_000_000_000
_SETTINGS_SECONDS = 5.0
# Added to the wait for confirmations, so that librdkafka's own deadline comes first and says why.
_GRACE_SECONDS = 1.0
# How long a confirmation is waited for before the topic is looked up, and how long that may take.
_DOUBT_SECONDS = 0.2
_LOOK_UP_SECONDS = 0.5
# How long alerts that their topic does not take are waited for; they come back within a second.
_RETURN_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the broker has put an alert.

    Attributes
    ----------
    topic
        Short name.
    partition, offset
        Its place on the broker.
    time
        The broker's time of the alert, in UTC.
    """

    topic: str
    partition: int
    offset: int
    time: datetime

    @classmethod
    def of(cls, message: Any, topic: str) -> Receipt:
        """Make one from Kafka's report of the delivery."""
        _, milliseconds = message.timestamp()
        when = _EPOCH + timedelta(milliseconds=milliseconds)
        return cls(topic, message.partition(), message.offset(), when)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def receipts_for(
    topic: str, on_delivery: Callable[[StreamError | None, Receipt | None], object]
) -> Callable[[Any, Any], None]:
    """Return a delivery callback of `Session.write` that calls ``on_delivery(error, receipt)``.

    One of the two is None.  `topic` is the short name.
    """

    def report(error: Any, message: Any) -> None:
        if error is None:
            on_delivery(None, Receipt.of(message, topic))
        else:
            on_delivery(from_kafka(error, f'an alert for "{topic}" was not confirmed'), None)

    return report


class _Encoded:
    """JSON that is encoded already, for hop, which packs whatever can serialize itself."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> dict[str, Any]:
        """Return what hop's JSONBlob would."""
        return {"format": "json", "content": self._content}


class _Masked(dict[str, Any]):
    """A configuration that keeps its secrets where adc logs the whole of it."""

    def __repr__(self) -> str:
        """Show the names of the settings only."""
        return f"<settings: {', '.join(sorted(self))}>"


@dataclass
class _Config(adc.producer.ProducerConfig):  # type: ignore[misc]  # adc has no types
    """adc's configuration with our settings, and the user's, on top."""

    options: Mapping[str, Any] = field(default_factory=dict)
    #: Made once, for adc asks several times and a token command is no small thing.
    told: _Masked = field(default_factory=_Masked)

    def _to_confluent_kafka(self) -> dict[str, Any]:
        if not self.told:
            self.told.update(self._settings())
        return self.told

    def _settings(self) -> dict[str, Any]:
        config: dict[str, Any] = super()._to_confluent_kafka()
        settings = {
            # Alerts for a topic that does not exist come back after this, by default after 30 s.
            "topic.metadata.propagation.max.ms": 500,
            "message.max.bytes": _LARGEST,
            "logger": LOGGER,
        }
        login = bearer.settings_of(self.auth)
        return {**config, **settings, **login, **options_for("producer", self.options)}


class Connection(adc.producer.Producer):  # type: ignore[misc]  # adc has no types
    """One producer, shared by all sessions and threads of a client.

    Parameters
    ----------
    brokers
        Addresses as "host:port".
    auth
        The credential; None for an unauthenticated session.
    timeout
        Seconds within which an alert is confirmed or given up.
    options
        Settings of librdkafka.
    login
        Who logs in, how, and where the credential came from; for messages.

    Raises
    ------
    PublishError
        librdkafka does not take the settings.
    CredentialError
        The credential's command for tokens fails.
    """

    def __init__(
        self,
        brokers: Sequence[str],
        auth: Auth | None,
        timeout: float,
        options: Mapping[str, Any] | None = None,
        login: str = "",
    ) -> None:
        self.trouble = Trouble(brokers, auth, login, options)
        config = _Config(
            broker_urls=list(brokers),
            topic=None,
            auth=auth,
            error_callback=self.trouble.note,
            produce_timeout=timedelta(seconds=timeout),
            use_idempotence=True,
            options=options or {},
        )
        self._own: Any = None
        try:
            super().__init__(config)
        except hop.io.confluent_kafka.KafkaException as error:  # an unknown setting
            refused = self.trouble.settings_refused(error.args[0])
            if not isinstance(refused, StreamError):
                raise refused from error
            raise PublishError(str(refused)) from refused
        self.brokers = list(brokers)
        self.auth = auth
        self.timeout = timeout
        self._there: set[str] = set()
        self._concluded = False
        self._lock = threading.Lock()
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        # Those with failures that nobody has heard of; they must not go before somebody has.
        self._untold: set[Session] = set()
        _connections.add(self)

    @property
    def _producer(self) -> Any:
        """The producer of librdkafka; opened anew in a process that was forked off."""
        if self._own is None:
            super().__init__(self.conf)
        return self._own

    @_producer.setter
    def _producer(self, producer: Any) -> None:
        self._own = producer

    def forked(self) -> None:
        """Start anew in a child process, which has none of librdkafka's threads.

        What was queued before the fork is the parent's to send.
        """
        if self._own is not None:
            # Never destroyed here: it would wait for threads that only the parent has.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._own))
        self._own = None
        self._lock = threading.Lock()
        self._untold.clear()
        for session in list(self._sessions):
            session.forked()

    def write(
        self,
        msg: bytes,
        headers: Any = None,
        delivery_callback: Any = None,
        topic: str | None = None,
        key: str | bytes | None = None,
    ) -> None:
        """Queue what is encoded; hop's `write_raw` calls this too.

        Raises
        ------
        BufferError
            The queue is full.
        """
        self._producer.produce(topic, msg, key, on_delivery=delivery_callback, headers=headers)

    def untold(self, session: Session, failures: bool = True) -> None:
        """Keep a session whose failures nobody has heard of, until somebody has."""
        with self._lock:
            (self._untold.add if failures else self._untold.discard)(session)

    def leave(self) -> None:
        """Send what is queued, within the timeout, and log what could not be confirmed."""
        if self._own is None:
            return
        self.close(timedelta(seconds=self.timeout))
        with self._lock:
            sessions = self._untold | set(self._sessions)
        lost = Counter(topic for session in sessions for topic in session.unconfirmed)
        for topic, count in sorted(lost.items()):
            log.error(
                '%d alert%s for "%s" not confirmed by %s when the program left them',
                count, "s" if count > 1 else "", topic, ", ".join(self.brokers),
            )  # fmt: skip

    def join(self, session: Session) -> None:
        """Note a session, which may come to have alerts in the queue."""
        with self._lock:
            self._sessions.add(session)

    def serve(self, seconds: float) -> None:
        """Let confirmations come in; if there is time, send what is queued without lingering."""
        if seconds:
            self._producer.flush(seconds)
        else:
            self._producer.poll(0)

    def begin(self, seconds: float) -> None:
        """Expect a first answer within `seconds`, unless there was one."""
        if self._concluded:
            self._concluded = False
            self.trouble.begin()
        self.trouble.expect(min(ANSWER_SECONDS, seconds))

    def confirmed(self) -> None:
        """Note that the broker has confirmed an alert."""
        self.trouble.reached()

    def wrong(self, topics: Iterable[str]) -> StreamError | None:
        """Return why nothing for `topics` can be confirmed; None if it may be yet.

        librdkafka itself would tell of a topic after seconds, and of a broker or a password only
        that the time is up.
        """
        for topic in topics:
            if topic not in self._there:
                error = self._look_up(topic)
                if error is not None:
                    return error
        conclusion = self.trouble.conclusion()
        self._concluded = conclusion is not None
        return conclusion

    def has(self, topic: str) -> bool:
        """Whether the topic exists now; librdkafka learns it with us."""
        try:
            return self._describe(topic) is None
        except hop.io.confluent_kafka.KafkaException:
            return False

    def _look_up(self, topic: str) -> StreamError | None:
        try:
            error = self._describe(topic)
            self.trouble.reached()
            if error is None:
                self._there.add(topic)
                return None
            return self.explained(error, topic)
        except hop.io.confluent_kafka.KafkaException:
            return None  # no answer: that is for `conclusion`

    def _describe(self, topic: str) -> Any:
        found = self._producer.list_topics(topic, timeout=_LOOK_UP_SECONDS).topics
        return found[topic].error

    def explained(self, error: Any, topic: str) -> StreamError:
        """Translate why the broker, or librdkafka, did not take an alert."""
        kind = kind_of(error)
        if kind is TopicNotFound:
            return TopicNotFound(self._not_there(topic), error)
        if kind is BrokerUnreachable or self.trouble.refused is not None:
            return self.trouble.unreachable()
        return self.trouble.not_allowed(error, f'publish to "{topic}"')

    def _not_there(self, topic: str) -> str:
        try:
            found = existing(self._producer.list_topics(timeout=_LOOK_UP_SECONDS))
        except hop.io.confluent_kafka.KafkaException:
            found = {}
        return not_there([topic], found, ", ".join(self.brokers))

    def give_up(self, session: Session) -> None:
        """Take back what is queued, if nobody else's alerts are in the queue.

        What a `PublishError` lists is to be sent again; it should not go out by itself as well,
        nor hold up the end of the program.
        """
        with self._lock:
            others = [one for one in self._sessions if one is not session and one.waiting]
        if not others:
            # confluent-kafka (2.16.1) has it the wrong way round: with blocking=False it waits for
            # the end, and all of Python with it, for as long as a name server does not answer.  So
            # an alert that is queued at once after this may be given up too: as an error, again.
            self._producer.purge(in_queue=True, in_flight=False, blocking=True)
            self._producer.poll(0.1)


# A forked process has to know its connections; see `Connection.forked`.
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _forked() -> None:
    for connection in list(_connections):
        connection.forked()


os.register_at_fork(after_in_child=_forked)


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
        self.topics: dict[str, Any] = {}
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
        self.forked()
        connection.join(self)

    def forked(self) -> None:
        """Begin with nothing queued."""
        self._lock = threading.Lock()
        self._written = 0
        self._waiting: dict[int, tuple[str, Any]] = {}
        self._failed: list[tuple[tuple[str, Any], StreamError | Any]] = []
        self._raised: list[Exception] = []

    @property
    def waiting(self) -> bool:
        """Whether alerts wait for their confirmation."""
        return bool(self._waiting)

    @property
    def unconfirmed(self) -> list[str]:
        """The topic of each alert that waits, or failed without anybody having been told."""
        with self._lock:
            return [topic for topic, _ in self._waiting.values()] + [
                topic for (topic, _), _ in self._failed
            ]

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
        payload, packed = self._pack(message, headers, test=test)
        new = (name, message)
        self._connection.serve(0)
        if self._failed or self._raised:
            self._tell(new)
        size = (
            0 if len(payload) < _SURELY_FITS else self._estimate_message_size(payload, packed, key)
        )
        if size and size > self._limit(name, size) and not self._offloads():
            raise _unconfirmed([new], self._too_large(name, size))
        with self._lock:
            self._written += 1
            number = self._written
            self._waiting[number] = new
            if name not in self._names:
                self._names = self._names | {name}  # a new one, for `flush` reads the old one
        report = partial(self._reported, number, delivery_callback)
        send = self.write_raw if size else self._connection.write
        try:
            self._send(partial(send, payload, packed, report, name, key), number)
        except BaseException:
            self._waiting.pop(number, None)
            raise

    def _pack(self, message: Any, headers: Any, test: bool) -> Any:
        """Pack as hop does, but say what is wrong with the content, and where."""
        if isinstance(message, hop.models.JSONBlob):
            message = message.content
        if not isinstance(message, bytes) and not hasattr(message, "serialize"):
            message = _Encoded(encode_json(message))
        return super()._pack(message, _header_list(headers), test=test)

    def _send(self, send: Callable[[], None], number: int) -> None:
        """Queue, waiting for room up to the timeout; what it sends must be in `_waiting`."""
        connection = self._connection
        begun = time.monotonic()
        while True:
            try:
                return send()
            except BufferError:
                connection.serve(0.05)
            except hop.io.confluent_kafka.KafkaException as error:
                [refusal] = error.args
                new = self._waiting[number]
                made = kind_of(refusal) is TopicNotFound and connection.has(new[0])
                if made and time.monotonic() < begun + _RETURN_SECONDS:
                    continue  # it was made since librdkafka looked last
                self._waiting.pop(number)
                why = self._why(new, refusal)
                raise _unconfirmed([new], why) from why
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
                self._tell(self._waiting.pop(number), wrong)

    def _tell(self, new: tuple[str, Any], wrong: StreamError | None = None) -> None:
        """Raise what has failed since the last call, together with what is not queued for it."""
        with self._lock:
            failed, self._failed = self._failed, []
        self._connection.untold(self, False)
        if not failed and wrong is None:
            raise self._raised.pop(0)
        if wrong is None:
            wrong = self._why(*failed[0])
        raise _unconfirmed([sent for sent, _ in failed] + [new], wrong)

    def _why(self, sent: tuple[str, Any], error: Any) -> StreamError:
        topic, message = sent
        if is_too_large(error):
            payload, packed = self._pack(message, None, False)
            return self._too_large(topic, self._estimate_message_size(payload, packed))
        return self._connection.explained(error, topic)

    def _limit(self, topic: str, size: int) -> int:
        """Return the size that a message of `size` bytes must not exceed."""
        own = int(self._connection.conf.options.get("message.max.bytes", _LARGEST))
        return own if size > own else int(self._record_for_topic(topic).max_message_size)

    def _offloads(self) -> bool:
        """Whether the server says where to put what is too large for Kafka; `write_raw` does."""
        if not hasattr(self, "offload_url"):
            self.offload_url = hop.io._get_offload_server(self.broker_addresses, self.auth)
        return self.offload_url is not None

    def _too_large(self, topic: str, size: int) -> StreamError:
        return StreamError(
            f'too large for "{topic}" on {", ".join(self.broker_addresses)}: {size} bytes with its '
            f"headers, and the limit is {self._limit(topic, size)} (max.message.bytes); "
            "send a link to what is large"
        )

    def _check_topic_settings(self, topics: Sequence[str]) -> dict[str, Any]:
        """Ask for the topics' size limits, as hop does, but not for long and not insisting."""
        admin = hop.io.AdminClient(self._connection.conf._to_confluent_kafka())
        query = [hop.io.ConfigResource(hop.io.ResourceType.TOPIC, topic) for topic in topics]
        answers = admin.describe_configs(query, request_timeout=_SETTINGS_SECONDS)
        settings = {}
        for resource, answer in answers.items():
            try:
                settings[resource.name] = answer.result()
            except hop.io.confluent_kafka.KafkaException as error:
                log.info('the size limit of "%s" is not known: %s', resource.name, error)
                limit = hop.io.ConfigEntry("max.message.bytes", _LARGEST)
                settings[resource.name] = {"max.message.bytes": limit}
        return settings

    def _set_producer_for_topic(self, topic: str, settings: Mapping[str, Any]) -> Any:
        """Note a topic's size limit, as hop does, but keep to the shared connection."""
        limit = int(settings["max.message.bytes"].value)
        self.topics[topic] = self.TopicRecord(time.time(), limit, self._connection)
        return self.topics[topic]

    def _release_producer_for_topic(self, topic: str) -> None:
        self.topics.pop(topic)

    def _reported(self, number: int, callback: Any, error: Any, message: Any) -> None:
        with self._lock:
            sent = self._waiting.pop(number, None)
            failed = error is not None and sent is not None
            if failed:
                self._failed.append((sent, error))  # type: ignore[arg-type]
        if failed:
            self._connection.untold(self)
        if error is None:
            self.last = message
            self._connection.confirmed()
        if callback is None:
            return
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
            Some were not, with the alerts in `unconfirmed`.
        Exception
            What a delivery callback raised.
        """
        seconds = timeout.total_seconds() if timeout else self._connection.timeout
        end = time.monotonic() + seconds + _GRACE_SECONDS
        connection = self._connection
        connection.begin(seconds)
        wrong = None
        doubt_at = time.monotonic() + _DOUBT_SECONDS
        while self._waiting and time.monotonic() < end:
            connection.serve(0.1)
            if wrong is None and self._waiting and time.monotonic() > doubt_at:
                wrong = connection.wrong(self._names)
                if wrong is not None:
                    # What a topic does not take comes back by itself, and will not arrive later.
                    returns = isinstance(wrong, (TopicNotFound, AuthorizationError))
                    end = time.monotonic() + (_RETURN_SECONDS if returns else 0.0)
        with self._lock:
            failed, self._failed = self._failed, []
            # Still waiting: it may arrive yet, but nobody can say so.  It is told once.
            late = list(self._waiting.values())
            self._waiting.clear()
        connection.untold(self, False)
        if not failed and not late:
            if self._raised:
                raise self._raised.pop(0)
            return 0
        if wrong is None and failed:
            wrong = self._why(*failed[0])
        if late and not isinstance(wrong, (TopicNotFound, AuthorizationError)):
            connection.give_up(self)
        raise _unconfirmed(
            [sent for sent, _ in failed] + late, wrong or connection.trouble.unreachable()
        )

    def close(self) -> int:
        """Flush, and let the topics go; the connection stays for the client's other sessions.

        Raises
        ------
        PublishError
            As `flush`.
        """
        return self.flush()


def _header_list(headers: Any) -> list[tuple[str, str | bytes]]:
    """Return the headers as hop sends them; a new list, for hop adds its own to it.

    Raises
    ------
    TypeError
        A name is no str, or a value neither str nor bytes.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    given = [(name, value) for name, value in pairs]
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
