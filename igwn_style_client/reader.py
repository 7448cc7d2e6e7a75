"""An open stream as batches of `Alert`: joins the group or broadcasts, and stores marks.

With a consumer group the broker shares the partitions out among the group's members and keeps
their marks.  Without one every reader gets every alert, and the marks live in the reader.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from difflib import get_close_matches
from typing import Any

import adc.consumer
import hop.io
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from hop.auth import Auth

from .alert import Alert, Headers
from .arguments import options_for
from .dialect import Dialect
from .errors import ClientError, DecodeError, StreamError, TopicNotFound, from_kafka, is_transient
from .watermark import Watermark

__all__ = ["Reader", "StartAt", "list_topics"]

log = logging.getLogger(__name__)
kafka_log = logging.getLogger("igwn_style_client.librdkafka")

StartAt = str | datetime | timedelta

Partition = tuple[str, int]

_SETTINGS = {
    # Marks are stored when a callback has returned, and reach the broker within a second.
    "enable.auto.offset.store": False,
    "auto.commit.interval.ms": 500,
    "partition.assignment.strategy": "cooperative-sticky",
    # New topics and partitions are noticed within seconds.
    "topic.metadata.refresh.interval.ms": 5000,
    # Measured (docs/architecture.rst): without the first, a full queue stops fetching for a
    # second; with it, the second bounds memory at no cost.
    "fetch.queue.backoff.ms": 10,
    "queued.max.messages.kbytes": 16384,
    "queued.min.messages": 100000,
    "logger": kafka_log,
}
_ANSWER_SECONDS = 10.0
_KEEPER_SECONDS = 1.0


def _ignore(_error: KafkaError) -> None:
    """Take librdkafka's error events, which its log lines repeat."""


@dataclass
class _Config(adc.consumer.ConsumerConfig):  # type: ignore[misc]  # adc has no types
    """adc's configuration with our settings, and the user's, on top."""

    grouped: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def _to_confluent_kafka(self) -> dict[str, Any]:
        config: dict[str, Any] = super()._to_confluent_kafka()
        return {
            **config,
            **_SETTINGS,
            "enable.auto.commit": self.grouped,
            **options_for("consumer", self.options),
        }


class _Consumer(adc.consumer.Consumer):  # type: ignore[misc]  # adc has no types
    """adc's consumer, but one that joins its group, and marks a message after its use."""

    def stream(
        self,
        autocommit: bool = True,
        batch_size: int = 100,
        batch_timeout: timedelta = timedelta(seconds=1.0),
        start_at: Any = None,
    ) -> Iterator[Message]:
        """Yield messages; one is marked when the next is asked for, as hop's `read` uses it."""
        if start_at is not None:
            raise TypeError("start_at is fixed when the stream is opened")
        while not self._stop_event.is_set():
            for message in self._consumer.consume(batch_size, batch_timeout.total_seconds()):
                error = message.error()
                if error is not None and not is_transient(error):
                    raise from_kafka(error, "reading failed")
                if error is None:
                    yield message
                    if autocommit:
                        self.mark_done(message)


class Reader(hop.io.Consumer):  # type: ignore[misc]  # hop has no types
    """An open stream.

    The consumer inside is a baton: whoever holds `_baton` may call it, and nobody else.  That is
    the thread that calls `take`, and, while it is away in a callback for longer than a second,
    the keeper, a thread that goes on polling so that the member stays in its group.

    Parameters
    ----------
    brokers
        Addresses as "host:port".
    topics
        Full names.
    dialect
        Gives short names and decodes payloads.
    auth
        The credential; None for an unauthenticated session.
    group_id
        The consumer group; None to broadcast.
    start_at
        Where a partition without a mark begins: "latest", "earliest", a datetime, or a timedelta
        back from now.
    test_alerts
        Whether alerts flagged ``_test`` are taken.
    queue_bytes
        Most bytes of alerts that wait inside while a callback runs.
    options
        Settings of librdkafka.
    on_listening
        Called when the partitions are assigned and their starting positions fixed.

    Raises
    ------
    TopicNotFound
        None of the topics exists.
    StreamError
        The broker cannot be reached, or refuses.
    """

    def __init__(
        self,
        brokers: Sequence[str],
        topics: Sequence[str],
        dialect: Dialect,
        auth: Auth | None = None,
        group_id: str | None = None,
        start_at: StartAt = "latest",
        test_alerts: bool = False,
        queue_bytes: int = 64 * 2**20,
        options: Mapping[str, Any] | None = None,
        on_listening: Callable[[], None] = lambda: None,
    ) -> None:
        # What hop's methods use; its own __init__ would open adc's consumer.
        self.auth = auth
        self.broker_addresses = list(brokers)
        self.ignoretest = not test_alerts
        self.fetch_external = True

        self._topics = list(topics)
        self._dialect = dialect
        self._grouped = group_id is not None
        self._start_at = start_at
        self._queue_bytes = queue_bytes
        self._on_listening = on_listening
        self._known: set[Partition] = set()
        self._live: dict[Partition, Watermark] = {}
        self._stored: dict[Partition, int | None] = {}
        self._decoders: dict[str, tuple[str, Callable[[Message], Any]]] = {}
        self._backlog: deque[Alert] = deque()
        self._backlog_bytes = 0
        self._paused = False
        self._lost: StreamError | None = None
        #: Waits until no callback of these watermarks runs; whoever runs callbacks sets it.
        self.settle: Callable[[Collection[Watermark]], None] = lambda _marks: None

        self._baton = threading.Lock()
        self._away_since: float | None = None
        self._closed = threading.Event()
        self._conf = _Config(
            broker_urls=self.broker_addresses,
            group_id=group_id or hop.io._generate_group_id(auth.username if auth else None, 10),
            auth=auth,
            error_callback=_ignore,
            grouped=self._grouped,
            options=options or {},
        )
        self._consumer = _Consumer(self._conf)
        self._kafka = self._consumer._consumer
        try:
            self._join()
        except BaseException:
            self._kafka.close()
            raise
        self._keeper = threading.Thread(target=self._keep, name="alert-keeper", daemon=True)
        self._keeper.start()

    # -- joining -----------------------------------------------------------------------------

    def _join(self) -> None:
        existing = _metadata(self._kafka, self.broker_addresses, _ANSWER_SECONDS)
        missing = [topic for topic in self._topics if topic not in existing]
        if len(missing) == len(self._topics):
            raise TopicNotFound(self._not_found(missing, existing))
        if missing:
            log.warning("%s; listening to the others", self._not_found(missing, existing))
        self._known = {
            (topic, partition)
            for topic in self._topics
            if topic in existing
            for partition in existing[topic].partitions
        }
        if self._grouped:
            self._kafka.subscribe(
                self._topics,
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
        else:
            self._kafka.assign(self._begin([TopicPartition(*one) for one in sorted(self._known)]))
            self._on_listening()

    def _not_found(self, topics: Sequence[str], existing: Collection[str]) -> str:
        names = ", ".join(f'"{topic}"' for topic in topics)
        verb = "does" if len(topics) == 1 else "do"
        near = {close for topic in topics for close in get_close_matches(topic, existing)}
        hint = f"; there is {', '.join(sorted(near))}" if near else ""
        return f"{names} {verb} not exist on {', '.join(self.broker_addresses)}{hint}"

    def _on_assign(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        given = self._begin(partitions)
        self._kafka.incremental_assign(given)
        if self._paused:
            self._kafka.pause(given)
        self._on_listening()

    def _on_revoke(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        ended = self._end(partitions)
        self.settle(ended)
        self._commit(_marks(ended))
        self._kafka.incremental_unassign(partitions)

    def _on_lost(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        # Somebody else has them already: what is unfinished here is theirs too.
        log.warning("lost %d partitions to other members of the group", len(partitions))
        self._end(partitions)
        self._kafka.incremental_unassign(partitions)

    def _begin(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Fix where each partition starts, so that no crash or reconnect can move it."""
        found = self._kafka.committed(partitions, timeout=_ANSWER_SECONDS) if self._grouped else []
        marks = {(one.topic, one.partition): one.offset for one in found if one.offset >= 0}
        self._stored.update(marks)
        new = [one for one in partitions if (one.topic, one.partition) not in marks]
        if new:
            starts = self._starts(new)
            committed = self._commit(starts)
            for one in starts:
                marks[one.topic, one.partition] = one.offset
                self._stored[one.topic, one.partition] = one.offset if committed else None
        for (topic, partition), offset in marks.items():
            self._live[topic, partition] = Watermark(topic, partition, offset)
            log.info('listening to "%s", partition %d, from offset %d', topic, partition, offset)
        return [TopicPartition(*one, offset) for one, offset in marks.items()]

    def _starts(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Resolve `start_at` to numbers; what appeared while listening is read from its start."""
        asked = [
            TopicPartition(one.topic, one.partition, self._position(one)) for one in partitions
        ]
        found = self._kafka.offsets_for_times(asked, timeout=_ANSWER_SECONDS)
        # A time after the last alert is answered with the logical "end", which moves on.
        ahead = [one for one in found if one.offset < 0 and one.error is None]
        if ahead:
            ends = self._kafka.offsets_for_times(
                [TopicPartition(one.topic, one.partition, OFFSET_END) for one in ahead],
                timeout=_ANSWER_SECONDS,
            )
            found = [one for one in found if one not in ahead] + ends
        for one in found:
            if one.error is not None:
                raise KafkaException(one.error)
        return found  # type: ignore[no-any-return]

    def _position(self, partition: TopicPartition) -> int:
        """Say `start_at` as Kafka's ListOffsets takes it: -1, -2 or milliseconds since 1970."""
        if (partition.topic, partition.partition) not in self._known:
            return OFFSET_BEGINNING
        if self._start_at == "latest":
            return OFFSET_END
        if self._start_at == "earliest":
            return OFFSET_BEGINNING
        moment = self._start_at
        if isinstance(moment, timedelta):
            moment = datetime.now(timezone.utc) - moment
        assert isinstance(moment, datetime)  # noqa: S101  # client checked it
        return int(moment.timestamp() * 1000)

    def _end(self, partitions: list[TopicPartition]) -> list[Watermark]:
        ended = [self._live.pop((one.topic, one.partition), None) for one in partitions]
        known = [one for one in ended if one is not None]
        for watermark in known:
            watermark.over = True
        return known

    # -- reading -----------------------------------------------------------------------------

    def take(self, most: int, timeout: float) -> list[Alert]:
        """Return the next alerts: those that are there, or the first to come.

        Parameters
        ----------
        most
            How many at the most.
        timeout
            Longest wait for the first one, in seconds.

        Raises
        ------
        StreamError
            The broker reported what does not pass by itself.
        """
        with self._baton:
            self._away_since = None
            try:
                return self._take(most, timeout)
            finally:
                self._away_since = time.monotonic()

    def _take(self, most: int, timeout: float) -> list[Alert]:
        if self._lost is not None:
            raise self._lost
        if None in self._stored.values():
            self._store(self._live.values())
        if self._paused:
            self._kafka.resume(self._kafka.assignment())
            self._paused = False
        if self._backlog:
            taken = [self._backlog.popleft() for _ in range(min(most, len(self._backlog)))]
            self._backlog_bytes -= sum(len(alert.raw or b"") for alert in taken)
            return taken
        first = self._poll(timeout)
        if first is None:
            return []
        messages = [first]
        if most > 1:
            messages += self._consume(most - 1)
        return self._alerts(messages)

    def _poll(self, timeout: float) -> Message | None:
        try:
            message: Message | None = self._kafka.poll(timeout)
        except KafkaException as error:  # from a rebalance callback
            raise from_kafka(error.args[0], "joining the consumer group failed") from error
        return message

    def _consume(self, most: int) -> list[Message]:
        try:
            messages: list[Message] = self._kafka.consume(most, 0)
        except KafkaException as error:
            raise from_kafka(error.args[0], "joining the consumer group failed") from error
        return messages

    def _alerts(self, messages: Sequence[Message]) -> list[Alert]:
        alerts = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._heed(error, message)
                continue
            topic: str = message.topic()  # type: ignore[assignment]
            partition: int = message.partition()  # type: ignore[assignment]
            watermark = self._live.get((topic, partition))
            if watermark is None:
                continue  # taken away since
            offset: int = message.offset()  # type: ignore[assignment]
            watermark.begin(offset)
            if self.ignoretest and self.is_test(message):
                watermark.finish(offset)
                continue
            short_name, decode = self._decoders.get(topic) or self._decoder(topic)
            alerts.append(Alert.received(message, short_name, decode, watermark))
        return alerts

    def _heed(self, error: KafkaError, message: Message) -> None:
        """Note an error that came in place of an alert; `take` raises it when its turn comes."""
        topic = message.topic()
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            log.warning('topic "%s" is not there (yet)', topic)
        elif is_transient(error):
            log.info("riding out: %s", error)
        else:
            where = f'reading "{topic}"' if topic else "reading"
            self._lost = from_kafka(error, f"{where} from {', '.join(self.broker_addresses)}")

    def _decoder(self, full_name: str) -> tuple[str, Callable[[Message], Any]]:
        short_name = self._dialect.short_name(full_name) or full_name
        self._decoders[full_name] = (short_name, self._decode)
        return self._decoders[full_name]

    def _decode(self, message: Message) -> Any:
        value = message.value()
        if value is None:
            raise DecodeError("an alert", "it has no content (a tombstone)")
        declared = _declared_format(message)
        if declared in self._dialect.formats:
            return self._dialect.decode(value, declared)
        return _decode_by_hop(value, str(declared))

    # -- marks -------------------------------------------------------------------------------

    def store(self, watermarks: Collection[Watermark]) -> None:
        """Store the marks that have moved; librdkafka commits them within a second."""
        with self._baton:
            self._store(watermarks)

    def _store(self, watermarks: Collection[Watermark]) -> None:
        moved = []
        for watermark in watermarks:
            where = (watermark.full_name, watermark.partition)
            if not watermark.over and self._stored[where] != watermark.mark:
                self._stored[where] = watermark.mark
                moved.append(TopicPartition(*where, watermark.mark))
        if moved and self._grouped:
            self._kafka.store_offsets(offsets=moved)

    def _commit(self, marks: list[TopicPartition]) -> bool:
        """Commit now; False if the broker did not take it, which costs repeats, never alerts."""
        if not marks or not self._grouped:
            return True
        try:
            self._kafka.commit(offsets=marks, asynchronous=False)
        except KafkaException as error:
            log.warning("the marks could not be committed now: %s", error)
            return False
        return True

    # -- the keeper ----------------------------------------------------------------------------

    def _keep(self) -> None:
        """Poll while the thread that takes alerts is away in a callback."""
        while not self._closed.wait(_KEEPER_SECONDS / 2):
            since = self._away_since
            if since is None or time.monotonic() - since < _KEEPER_SECONDS:
                continue
            with self._baton:
                if self._away_since == since and not self._closed.is_set():
                    self._tend()

    def _tend(self) -> None:
        """Serve the group, and keep what arrives, up to `queue_bytes`."""
        try:
            while not self._paused:
                messages = self._consume(100)
                if not messages:
                    return
                alerts = self._alerts(messages)
                self._backlog += alerts
                self._backlog_bytes += sum(len(alert.raw or b"") for alert in alerts)
                if self._backlog_bytes > self._queue_bytes:
                    self._kafka.pause(self._kafka.assignment())
                    self._paused = True
            self._alerts(self._consume(1))
        except ClientError as error:
            self._lost = error if isinstance(error, StreamError) else self._lost

    # -- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Store and commit the marks, leave the group, close the connection."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._keeper.join()
        with self._baton:
            self._commit(_marks(self._live.values()))
            for watermark in self._live.values():
                watermark.over = True
            self._live = {}
            self._backlog.clear()
            self._kafka.close()


def _marks(watermarks: Collection[Watermark]) -> list[TopicPartition]:
    return [TopicPartition(one.full_name, one.partition, one.mark) for one in watermarks]


def _declared_format(message: Message) -> str | None:
    headers: Headers = message.headers() or ()  # type: ignore[assignment]
    for name, value in headers:
        if name == "_format":
            return None if value is None else value.decode("ascii", "replace").lower()
    return None


def _decode_by_hop(value: bytes, declared: str) -> Any:
    """Decode by hop's own message model, plugins included; a blob is bytes."""
    model = hop.io.Deserializer.__members__.get(declared.upper())
    if model is None:
        raise DecodeError(repr(declared), "no such format is known")
    try:
        payload = model.value.deserialize(value)
    except Exception as error:  # models, plugins too, raise whatever their parsers do
        raise DecodeError(declared, f"{type(error).__name__}: {error}") from error
    return payload.content if declared == "blob" else payload


def list_topics(
    brokers: Sequence[str],
    auth: Auth | None,
    timeout: float,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the full names of all topics that the broker shows, sorted.

    Raises
    ------
    StreamError
        No answer in `timeout` seconds, or a refusal.
    """
    config = _Config(
        broker_urls=list(brokers),
        group_id=hop.io._generate_group_id(auth.username if auth else None, 10),
        auth=auth,
        error_callback=_ignore,
        grouped=False,
        options=options or {},
    )
    consumer = _Consumer(config)
    try:
        return sorted(_metadata(consumer._consumer, brokers, timeout))
    finally:
        consumer.close()


def _metadata(kafka: Any, brokers: Sequence[str], timeout: float) -> dict[str, Any]:
    try:
        topics = kafka.list_topics(timeout=timeout).topics
    except KafkaException as error:
        raise from_kafka(
            error.args[0], f"{', '.join(brokers)} did not answer within {timeout:g} s"
        ) from error
    return {name: topic for name, topic in topics.items() if topic.error is None}
