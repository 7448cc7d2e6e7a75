"""One producer for all sessions of a client, on which each alert arrives once and in order."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Protocol

import adc.producer
import hop.io
from hop.auth import Auth

from . import bearer, offloading
from .errors import (
    BrokerUnreachable,
    PublishError,
    StreamError,
    TopicNotFound,
    is_given_up,
    kind_of,
)
from .settings import LOGGER, options_for
from .topics import existing, not_there
from .trouble import ANSWER_SECONDS, Trouble

__all__ = ["LARGEST", "Connection"]

log = logging.getLogger(__name__)

#: librdkafka's own limit of a message; the broker's is usually lower.
LARGEST = 1_000_000_000
# How long a topic may be looked up.
_LOOK_UP_SECONDS = 0.5
# How often librdkafka looks for alerts that have waited too long; it is to say why in time.
_LOOKS_SECONDS = 1.0
# How long the answers that a producer still expects are waited for when it is given up.
_RETURN_SECONDS = 3.0


class Writer(Protocol):
    """A session, as its connection knows it."""

    @property
    def waiting(self) -> bool:
        """Whether alerts wait for their confirmation."""

    @property
    def unconfirmed(self) -> list[str]:
        """The topic of each alert that waits, or failed without anybody having been told."""

    def forget(self) -> None:
        """Begin with nothing queued."""


class _Masked(dict[str, Any]):
    """A configuration that keeps its secrets where adc logs the whole of it."""

    def __repr__(self) -> str:
        """Show the names of the settings only."""
        return f"<settings: {', '.join(sorted(self))}>"


class _Config(adc.producer.ProducerConfig):  # type: ignore[misc]  # adc has no types
    """adc's configuration with our settings, and the user's, on top."""

    def __init__(self, options: Mapping[str, Any], **given: Any) -> None:
        super().__init__(**given)
        self.options = options
        # Made once, for adc asks several times and a token command is no small thing.
        self._told = _Masked()

    def _to_confluent_kafka(self) -> dict[str, Any]:
        if not self._told:
            self._told.update(self._settings())
        return self._told

    def _settings(self) -> dict[str, Any]:
        config: dict[str, Any] = super()._to_confluent_kafka()
        settings = {
            # Alerts for a topic that does not exist come back after this, by default after 30 s.
            "topic.metadata.propagation.max.ms": 500,
            "message.max.bytes": LARGEST,
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
        #: To be called when the broker has confirmed an alert.
        self.confirmed = self.trouble.reached
        config = _Config(
            broker_urls=list(brokers),
            topic=None,
            auth=auth,
            error_callback=self.trouble.note,
            produce_timeout=timedelta(seconds=max(timeout - _LOOKS_SECONDS, 0.75 * timeout)),
            use_idempotence=True,
            options=options or {},
        )
        self._own: Any = None
        self._offload_server: str | None = None
        self._opening = threading.Lock()
        try:
            super().__init__(config)
        except hop.io.confluent_kafka.KafkaException as error:  # an unknown setting
            refused = self.trouble.settings_refused(error.args[0])
            if not isinstance(refused, StreamError):
                raise refused from error
            # No ValueError here: that is what a message is refused with.
            raise PublishError(str(refused)) from refused
        self.brokers = list(brokers)
        self.auth = auth
        self.timeout = timeout
        #: What is known of the topics' limits.
        self.limits: dict[str, Any] = {}
        self._there: set[str] = set()
        # Since when an answer is expected, and why none can come.
        self._begun = 0.0
        self._conclusion: StreamError | None = None
        # Why librdkafka has given a producer up.
        self._fatal: Any = None
        self._lock = threading.Lock()
        self._sessions: weakref.WeakSet[Writer] = weakref.WeakSet()
        # Those with failures that nobody has heard of; they must not go before somebody has.
        self._untold: set[Writer] = set()
        # Threads inside of librdkafka, and those inside of callbacks, and what is to be called.
        self._inside: set[int] = set()
        self._calling: set[int] = set()
        self._calls: deque[Callable[[], None]] = deque()
        _connections.add(self)

    @property
    def _producer(self) -> Any:
        """The producer of librdkafka; another one after a fork, and when it has given one up."""
        producer = self._own
        if producer is None:
            with self._opening:
                if self._own is None:
                    super().__init__(self.conf)
                producer = self._own
        return producer

    @_producer.setter
    def _producer(self, producer: Any) -> None:
        self._own = producer

    @property
    def offload_server(self) -> str | None:
        """Where the broker wants what is too large for Kafka; see `offloading.server_of`."""
        if self._offload_server is None:
            self._offload_server = offloading.server_of(self.brokers, self.auth)
        return self._offload_server

    def forked(self) -> None:
        """Start anew in a child process, which has none of librdkafka's threads.

        What was queued before the fork is the parent's to send.
        """
        if self._own is not None:
            # Never destroyed here: it would wait for threads that only the parent has.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._own))
        self._own = None
        self._opening = threading.Lock()
        self._lock = threading.Lock()
        self._inside.clear()
        self._calling.clear()
        self._calls.clear()
        self._forget()

    def _forget(self) -> None:
        for session in [*self._untold, *self._sessions]:
            session.forget()
        self._untold.clear()

    def write(
        self,
        msg: bytes,
        headers: Any = None,
        delivery_callback: Any = None,
        topic: str | None = None,
        key: str | bytes | None = None,
    ) -> None:
        """Queue what is encoded.

        Raises
        ------
        BufferError
            The queue is full.
        """
        producer = self._producer
        try:
            producer.produce(topic, msg, key, on_delivery=delivery_callback, headers=headers)
        except hop.io.confluent_kafka.KafkaException as error:
            [refusal] = error.args
            if not is_given_up(refusal):
                raise
            self._renew(producer, refusal)
            self.write(msg, headers, delivery_callback, topic, key)

    def untold(self, session: Writer, failures: bool = True) -> None:
        """Keep a session whose failures nobody has heard of, until somebody has."""
        with self._lock:
            (self._untold.add if failures else self._untold.discard)(session)

    def leave(self) -> None:
        """Send what is queued, within the timeout, and log what could not be confirmed."""
        if self._own is not None:
            self.serve(self.timeout)
        with self._lock:
            sessions = self._untold | set(self._sessions)
        lost = Counter(topic for session in sessions for topic in session.unconfirmed)
        for topic, count in sorted(lost.items()):
            log.error(
                '%d alert%s for "%s" not confirmed by %s when the program left them',
                count, "s" if count > 1 else "", topic, ", ".join(self.brokers),
            )  # fmt: skip
        self._forget()

    def join(self, session: Writer) -> None:
        """Note a session, which may come to have alerts in the queue."""
        with self._lock:
            self._sessions.add(session)

    def serve(self, seconds: float) -> None:
        """Let confirmations come in; if there is time, send what is queued without lingering."""
        producer = self._producer
        try:
            self._ask(producer.flush if seconds else producer.poll, seconds)
        except hop.io.confluent_kafka.KafkaException as error:  # only what is fatal is raised here
            self._renew(producer, error.args[0])
        if self._calls:
            self._call()

    def call(self, callback: Callable[[], None]) -> None:
        """Let the user's callback be called, as soon as librdkafka may be called again."""
        self._calls.append(callback)

    def _call(self) -> None:
        me = threading.get_ident()
        if me in self._calling:  # a callback that publishes; the next one comes after it
            return
        try:
            self._calling.add(me)
            while self._calls:
                try:
                    callback = self._calls.popleft()
                except IndexError:  # another thread was here
                    return
                callback()
        finally:
            self._calling.discard(me)

    def _ask(self, method: Callable[..., Any], *given: Any) -> Any:
        """Call a method of the producer, with what confluent-kafka (2.16.1) makes of signals.

        A handler that runs amid a report may call us again: from inside one of its own callbacks
        that aborts the process, and takes another thread.  Ctrl-C amid a report is swallowed
        before Python 3.12, and leaves a SystemError.
        """
        me = threading.get_ident()
        if me in self._inside:
            with ThreadPoolExecutor(1) as other:
                return other.submit(method, *given).result()
        try:
            self._inside.add(me)
            return method(*given)
        except SystemError:
            raise KeyboardInterrupt from None
        finally:
            self._inside.discard(me)

    def _renew(self, producer: Any, error: Any) -> None:
        """Let go of a producer that librdkafka has given up; the next alert opens another one.

        It does so when the broker and it do not agree on what is there: what the broker had
        confirmed is lost, for instance.  What was queued comes back as not confirmed.
        """
        with self._lock:
            if self._own is not producer:  # another thread was here
                return
            self._own = None
            self._fatal = error
        end = time.monotonic() + _RETURN_SECONDS
        while len(producer) and time.monotonic() < end:
            try:
                self._ask(producer.flush, 0.1)
            except hop.io.confluent_kafka.KafkaException as reason:
                self._fatal = reason.args[0]
        log.warning(
            "%s: librdkafka has given up its connection, and the next alert opens another one: %s",
            ", ".join(self.brokers), self._fatal.str(),
        )  # fmt: skip

    def begin(self, seconds: float, since: float) -> None:
        """Expect a first answer within `seconds`, unless there was one.

        Alerts that have waited since before the last such moment go on waiting with those of then,
        and what was concluded holds for them: several sessions do not wait one after the other.
        """
        if since <= self._begun:
            return
        self._begun = time.monotonic()
        if self._conclusion is not None:
            self._conclusion = None
            self.trouble.begin()
        self.trouble.expect(min(ANSWER_SECONDS, seconds))

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
        if self._conclusion is None or self.trouble.met:
            self._conclusion = self.trouble.conclusion()
        return self._conclusion

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
        found = self._ask(self._producer.list_topics, topic, _LOOK_UP_SECONDS).topics
        return found[topic].error

    def explained(self, error: Any, topic: str) -> StreamError:
        """Translate why the broker, or librdkafka, did not take an alert."""
        if self._fatal is not None and is_given_up(error):
            error = self._fatal
        kind = kind_of(error)
        if kind is TopicNotFound:
            return TopicNotFound(self._not_there(topic), error)
        if kind is BrokerUnreachable or self.trouble.refused is not None:
            return self.trouble.unreachable()
        return self.trouble.not_allowed(error, f'publish to "{topic}"')

    def _not_there(self, topic: str) -> str:
        try:
            found = existing(self._ask(self._producer.list_topics, None, _LOOK_UP_SECONDS))
        except hop.io.confluent_kafka.KafkaException:
            found = {}
        return not_there([topic], found, ", ".join(self.brokers))

    def give_up(self, session: Writer) -> None:
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
            self._fatal = None
            self._ask(self._producer.purge, True, False, True)  # the queue, not what is on its way
            self.serve(0.1)


# The program's end is theirs to know, and a fork; a connection with alerts in the queue is here,
# whoever has dropped it, for librdkafka holds what is to be told of them.
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _forked() -> None:
    for connection in list(_connections):
        connection.forked()


def _leave() -> None:
    for connection in list(_connections):
        connection.leave()


os.register_at_fork(after_in_child=_forked)
atexit.register(_leave)
