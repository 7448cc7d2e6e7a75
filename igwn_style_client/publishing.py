"""One session per topic: open once, write, confirm, close.

The sessions of a client share one connection, on which each alert arrives exactly once and in
order however often it had to be sent.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import adc.producer
import hop.io
from hop.auth import Auth

from . import bearer
from .errors import BrokerUnreachable, PublishError, StreamError, TopicNotFound, kind_of
from .settings import LOGGER, options_for
from .topics import existing, not_there
from .trouble import ANSWER_SECONDS, Trouble

__all__ = ["Connection", "Session"]

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
            # A topic that does not exist is reported after this, by default only after 30 s.
            "topic.metadata.propagation.max.ms": 5000,
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
            self._producer.purge(in_queue=True, in_flight=False)
            self._producer.poll(0)


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
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._written = 0
        self._waiting: dict[int, tuple[str, Any]] = {}
        self._failed: list[tuple[tuple[str, Any], Any]] = []
        connection.join(self)

    @property
    def waiting(self) -> bool:
        """Whether alerts wait for their confirmation."""
        return bool(self._waiting)

    def write(
        self,
        message: Any,
        headers: Any = None,
        delivery_callback: Any = None,
        test: bool = False,
        topic: str | None = None,
        key: str | bytes | None = None,
    ) -> None:
        """Queue an alert.

        Parameters
        ----------
        message
            str, dict, list, bytes or one of hop's message models.
        headers, test, key
            As `hop.io.Producer.write` takes them.
        delivery_callback
            Called with an error or None, and the message, when the broker has confirmed it or it
            was given up.
        topic
            Full name; may be left out where the session has just one.

        Raises
        ------
        TypeError, ValueError
            The message cannot be encoded.  Nothing was sent.
        """
        name = topic or self.default_topic
        if name is None:
            raise ValueError("topic: this session has several topics; say which")
        payload, packed = self._pack(message, headers, test=test)
        with self._lock:
            self._written += 1
            number = self._written
            self._waiting[number] = (name, message)
            if name not in self._names:
                self._names = self._names | {name}  # a new one, for `flush` reads the old one
        report = partial(self._reported, number, delivery_callback)
        send = self._connection.write if len(payload) < _SURELY_FITS else self.write_raw
        try:
            send(payload, packed, report, name, key)
        except BaseException:
            self._waiting.pop(number, None)
            raise
        self._connection.serve(0)

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
            if error is not None and sent is not None:
                self._failed.append((sent, error))
        if error is None:
            self._connection.confirmed()
        if callback is not None:
            callback(error, message)

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
        """
        seconds = timeout.total_seconds() if timeout else self._connection.timeout
        end = time.monotonic() + seconds + _GRACE_SECONDS
        connection = self._connection
        connection.begin(seconds)
        wrong = None
        doubt_at = time.monotonic() + _DOUBT_SECONDS
        while self._waiting and wrong is None and time.monotonic() < end:
            connection.serve(0.1)
            if self._waiting and time.monotonic() > doubt_at:
                wrong = connection.wrong(self._names)
        with self._lock:
            failed, self._failed = self._failed, []
            # Still waiting: it may arrive yet, but nobody can say so.  It is told once.
            late = list(self._waiting.values())
            self._waiting.clear()
        if not failed and not late:
            return 0
        if wrong is None and failed:
            (topic, _), error = failed[0]
            wrong = connection.explained(error, topic)
        if late:
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


def _unconfirmed(alerts: Sequence[tuple[str, Any]], cause: StreamError) -> PublishError:
    topics = ", ".join(sorted({f'"{topic}"' for topic, _ in alerts}))
    count = f"{len(alerts)} alert{'s' if len(alerts) > 1 else ''}"
    failure = PublishError(f"{count} for {topics} not confirmed: {cause}", alerts)
    failure.__cause__ = cause
    return failure
