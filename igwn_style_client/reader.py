"""An open stream as batches of `Alert`: joins the group or broadcasts, and stores marks.

With a consumer group the broker shares the partitions out among the group's members and keeps
their marks.  Without one every reader gets every alert, and the marks live in the reader.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial, wraps
from typing import Any

import adc.consumer
import hop.io
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from hop.auth import Auth

from . import bearer, positions
from . import topics as on_broker
from .alert import size_of
from .batch import Batch
from .decoding import Decoder
from .dialect import Dialect
from .errors import BrokerUnreachable, StreamError, TopicNotFound, from_kafka, is_transient
from .health import Counters
from .inquiry import Inquiry
from .marks import Marks
from .positions import Partition, StartAt
from .retry import RetryPolicy
from .settings import LOGGER, options_for, stall_seconds
from .trouble import Trouble
from .watermark import Watermark

__all__ = ["Reader", "StartAt"]

log = logging.getLogger(__name__)

_SETTINGS = {
    # Marks are stored when a callback has returned, and reach the broker within a second.
    "enable.auto.offset.store": False,
    "auto.commit.interval.ms": 500,
    "partition.assignment.strategy": "cooperative-sticky",
    # What the broker no longer has is reported, not jumped over in silence.
    "auto.offset.reset": "error",
    # New topics and partitions are noticed within seconds.
    "topic.metadata.refresh.interval.ms": 5000,
    # A broker that has just come back may name no brokers at all, not even itself: librdkafka then
    # forgets the one it has, and by default asks the addresses it was given after five minutes.
    "metadata.recovery.rebootstrap.trigger.ms": 10000,
    # Measured (docs/architecture.rst): without the first, a full queue stops fetching for a
    # second; with it, the second bounds memory at no cost.
    "fetch.queue.backoff.ms": 10,
    "queued.max.messages.kbytes": 16384,
    "queued.min.messages": 100000,
    "logger": LOGGER,
}
# What a broker, or librdkafka, says of a partition that is no longer there.
_NO_PARTITION = (KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART)
_PIECE_SECONDS = 0.5
# Taken together, by the size of the alerts before; while that is not known, not many.
_AT_ONCE_BYTES = 4 * 2**20
_FIRST = 100
_KEEPER_SECONDS = 1.0
# Not at every look for alerts: what is done only now and then is done with cold caches.
_LOOK_AFTER_SECONDS = 1.0
# The same while nothing arrives, and while an answer is due.
_LOOK_AFTER_QUIET_SECONDS = 4.0
_ANSWER_SECONDS = 0.3
# How long a consumer that is given up may take to leave its group before it does so behind us.
_RETIRE_SECONDS = 2.0
_CLOSE_SECONDS = 10.0
_CLOSE_UNUSED_SECONDS = 0.5
# For how long librdkafka may try to get back the place that it has lost.
_LOST_SECONDS = 20.0
# After how long a place in the group is overdue.
_PATIENCE_SECONDS = 6.0
# How long the last commit waits to hear whether a topic is still the one that was read.
_LAST_ASK_SECONDS = 0.5


class _Config(adc.consumer.ConsumerConfig):  # type: ignore[misc]  # adc has no types
    """adc's configuration with our settings, and the user's, on top."""

    def __init__(self, grouped: bool, options: Mapping[str, Any], **given: Any) -> None:
        super().__init__(**given)
        self.grouped = grouped
        self.options = options

    def _to_confluent_kafka(self) -> dict[str, Any]:
        config: dict[str, Any] = super()._to_confluent_kafka()
        del config["default.topic.config"]  # it holds the same setting as _SETTINGS, deprecated
        options = options_for("consumer", self.options)
        ours = {**_SETTINGS, "enable.auto.commit": self.grouped, **bearer.settings_of(self.auth)}
        return {**config, **ours, **options}


class _Consumer(adc.consumer.Consumer):  # type: ignore[misc]  # adc has no types
    """adc's consumer, but it connects when told to, and marks a message after its use."""

    def __init__(
        self,
        conf: _Config,
        take: Callable[[int, float], list[Batch]],
        store: Callable[[Collection[Watermark]], None],
    ) -> None:
        self.logger = logging.getLogger("adc-streaming.consumer")
        self.conf = conf
        self._stop_event = threading.Event()
        self._take = take
        self._store = store

    def connect(self) -> Any:
        """Make librdkafka's consumer, and return it."""
        super().__init__(self.conf)
        return self._consumer

    def stream(
        self,
        autocommit: bool = True,
        batch_size: int = 100,
        batch_timeout: timedelta = timedelta(seconds=1.0),
        start_at: Any = None,
    ) -> Iterator[Message]:
        """Yield messages; one is marked when the next is asked for."""
        if start_at is not None:
            raise TypeError("start_at is given to the client, not to read()")
        while not self._stop_event.is_set():
            for batch in self._take(batch_size, batch_timeout.total_seconds()):
                for number, alert in enumerate(batch):
                    yield alert._message  # type: ignore[misc]  # a Message by another name
                    if autocommit:
                        batch.done[number] = 1
                        self._store([batch.watermark])


def _whole(callback: Callable[..., None]) -> Callable[..., None]:
    """Let a callback of librdkafka's raise what can be caught.

    What a function of confluent_kafka raises there, and no line of Python touches on its way, comes
    out of `poll` as a ``KafkaError``: that is no exception, and no ``except`` sees it.
    """

    @wraps(callback)
    def call(*arguments: Any) -> None:
        try:
            callback(*arguments)
        except KafkaException:  # noqa: TRY203  # a line of Python
            raise

    return call


class Reader(hop.io.Consumer):  # type: ignore[misc]  # hop has no types
    """An open stream.  It connects when it is first read.

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
        Where a partition without a mark begins.
    test_alerts
        Whether alerts flagged ``_test`` are taken.
    queue_bytes
        Most bytes of alerts that wait inside while a callback runs.
    options
        Settings of librdkafka.
    policy
        How often and when to try again after an error that does not heal by itself.
    counters
        Where to count.
    on_listening
        Called when the partitions are assigned and their starting positions fixed.
    login
        Who logs in, how, and where the credential came from; for messages.
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
        policy: RetryPolicy | None = None,
        counters: Counters | None = None,
        on_listening: Callable[[], None] = lambda: None,
        login: str = "",
    ) -> None:
        # What hop's methods use; its own __init__ would open adc's consumer.
        self.auth = auth
        self.broker_addresses = list(brokers)
        self.ignoretest = not test_alerts
        self.fetch_external = True

        self._topics = list(topics)
        self._dialect = dialect
        self._decode = Decoder(dialect, brokers, auth)
        self._short_names: dict[str, str] = {}
        self._grouped = group_id is not None
        self._start_at = start_at
        self._marks = Marks(self._grouped, start_at)
        self._queue_bytes = queue_bytes
        self._on_listening = on_listening
        self._counters = counters or Counters()
        #: Waits until no callback of these watermarks runs; whoever runs callbacks sets it.
        self.settle: Callable[[Collection[Watermark]], None] = lambda _watermarks: None
        #: Whether a topic that appears is read too, by its full name.
        self.wants: Callable[[str], bool] | None = None
        #: Which of the topics that exist are meant, by full names, where that depends on them.
        self.choose: Callable[[Collection[str]], list[str]] | None = None

        options = dict(options or {})
        self._stall = stall_seconds(options)
        options.pop("stall.seconds", None)
        self._conf = _Config(
            broker_urls=self.broker_addresses,
            group_id=group_id or hop.io._generate_group_id(auth.username if auth else None, 10),
            auth=auth,
            error_callback=self._on_error,
            grouped=self._grouped,
            options=options,
        )
        self._consumer = _Consumer(self._conf, self.take, self.store)
        self._kafka: Any = None
        self._joined = False
        self._inquiry: Inquiry | None = None
        self._identities: on_broker.Identities | None = None
        self._closed_to_us: set[str] = set()
        self._known: set[Partition] | None = None
        self._live: dict[Partition, Watermark] = {}
        self._backlog: deque[tuple[Batch, int]] = deque()
        self._backlog_bytes = 0
        self._paused = False
        self._most = _FIRST
        self._ended: set[Partition] = set()
        self._error: StreamError | None = None
        self._trouble = Trouble(brokers, auth, login, options)

        self._policy = policy or RetryPolicy()
        self._waits = self._policy.waits()
        self._patience = RetryPolicy(None, self._policy.wait).waits()
        self._tried = False
        self._told = False
        self._asked_at: float | None = None
        self._lost_at: float | None = None
        self._open_at = 0.0
        self._contact = time.monotonic()
        self._looked = 0.0
        self._looked_after = 0.0
        # Whether something has arrived, or was marked, since then.
        self._stirred = False

        self._baton = threading.Lock()
        self._away_since: float | None = None
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="alert-keeper", daemon=True)

    # -- connecting ------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Make a consumer and take our place in the stream; False while nobody has answered.

        It waits in small pieces, so that a stop need not wait for it.
        """
        if self._kafka is None:
            self._error = None
            self._counters.state = "connecting"
            self._trouble.begin()
            try:
                self._kafka = self._consumer.connect()
            except KafkaException as error:
                raise self._trouble.settings_refused(error.args[0]) from error
        existing = self._existing()
        if existing is None:
            return False
        self._trouble.reached()
        if self.choose is not None:
            self._topics = self.choose(existing)
        self._add_wanted(existing)
        found = {
            (topic, number)
            for topic in self._topics
            if topic in existing
            for number in existing[topic].partitions
        }
        if not found:
            raise self._refusal() or TopicNotFound(
                on_broker.not_there(self._topics, existing, self._names())
            )
        if self._known is None:
            self._known = found
            if not self._grouped:
                log.info(
                    "no consumer_group: nothing is remembered after the end of this process; the "
                    "next one begins at start_at=%r",
                    self._start_at,
                )
            if missing := [topic for topic in self._topics if topic not in existing]:
                text = on_broker.not_there(missing, existing, self._names())
                log.warning("%s; listening to the others", text)
        self._join(self._kafka, found)
        if self._identities is not None:
            self._identities.partitions = {}  # what it knows may be older than `found`
        if self._inquiry is None:
            self._inquiry = Inquiry(self.broker_addresses, self.auth, self._conf.options)
            self._identities = on_broker.Identities(self._inquiry)
        self._joined = True
        self._contact = self._looked = time.monotonic()
        if self._keeper.ident is None:
            self._keeper.start()
        return True

    def _refusal(self) -> StreamError | None:
        """Ask for the topics by name: those that may not be read are left out of the whole list."""
        for topic in self._topics:
            try:
                error = self._kafka.list_topics(topic, timeout=_PIECE_SECONDS).topics[topic].error
            except KafkaException:
                continue
            if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return self._trouble.not_allowed(error, f'read "{topic}"')
        return None

    def _join(self, kafka: Any, found: Collection[Partition]) -> None:
        if not self._grouped:
            kafka.assign(self._begin(found))
            self._settled()
            return
        log.info('asking for a place in the consumer group "%s"', self._conf.group_id)
        self._asked_at = time.monotonic()
        kafka.subscribe(
            self._topics,
            on_assign=partial(self._on_assign, kafka),
            on_revoke=partial(self._on_revoke, kafka),
            on_lost=partial(self._on_lost, kafka),
        )

    def _existing(self) -> Mapping[str, Any] | None:
        """Ask for the topics, and learn of a refused credential, which only a poll tells."""
        try:
            return on_broker.existing(self._kafka.list_topics(timeout=_PIECE_SECONDS))
        except KafkaException as error:
            self._kafka.poll(0)
            if conclusion := self._trouble.conclusion():
                raise conclusion from error
            return None

    def _settled(self) -> None:
        self._asked_at = self._lost_at = None
        self._patience = RetryPolicy(None, self._policy.wait).waits()
        self._told = False
        self._counters.state = "listening"
        self._on_listening()

    def _names(self) -> str:
        return ", ".join(self.broker_addresses)

    def _on_error(self, error: KafkaError) -> None:
        """Take librdkafka's events, inside a poll; its log lines say the same at more length."""
        self._trouble.note(error)
        down = error.code() == KafkaError._ALL_BROKERS_DOWN
        if down and self._joined and self._counters.state != "waiting":
            self._counters.state = "waiting"
            log.warning("no broker of %s can be reached; waiting for one", self._names())

    # -- the group -------------------------------------------------------------------------------

    @_whole
    def _on_assign(self, kafka: Any, _: Any, given: list[TopicPartition]) -> None:
        if kafka is not self._kafka:
            return  # a consumer that was given up, on its way out
        begun = self._begin({(one.topic, one.partition) for one in given})
        kafka.incremental_assign(begun)
        if self._paused:
            kafka.pause(begun)
        self._settled()

    @_whole
    def _on_revoke(self, kafka: Any, _: Any, taken: list[TopicPartition]) -> None:
        if kafka is not self._kafka:
            return
        ended = self._end({(one.topic, one.partition) for one in taken})
        self.settle(ended)
        marks = {one.where: one.mark for one in ended}
        self._marks.hand_over(kafka, marks)
        self._marks.commit(kafka, marks)
        self._marks.pass_on(marks)
        kafka.incremental_unassign(taken)

    @_whole
    def _on_lost(self, kafka: Any, _: Any, taken: list[TopicPartition]) -> None:
        if kafka is not self._kafka:
            return
        self._lost_at = time.monotonic()
        # Others have them already, and what is unfinished here is theirs too.
        log.warning("the group gave %d partitions away; alerts may be repeated", len(taken))
        ended = self._end({(one.topic, one.partition) for one in taken})
        self._marks.pass_on(one.where for one in ended)
        kafka.incremental_unassign(taken)

    def _begin(self, partitions: Collection[Partition]) -> list[TopicPartition]:
        """Fix where each partition begins."""
        assert self._known is not None  # noqa: S101  # `_open` has seen the topics
        all_topics = self.wants is not None
        begins = self._marks.fix(self._kafka, partitions, self._known, all_topics)
        self._known |= set(partitions)
        for one, offset in begins.items():
            self._live[one] = Watermark(*one, offset)
            log.info('listening to "%s", partition %d, from offset %d', *one, offset)
        return [TopicPartition(*one, offset) for one, offset in begins.items()]

    def _end(self, partitions: Collection[Partition]) -> list[Watermark]:
        self._ended.difference_update(partitions)
        ended = [self._live.pop(one) for one in partitions if one in self._live]
        for watermark in ended:
            watermark.over = True
        return ended

    # -- reading ---------------------------------------------------------------------------------

    def take(self, most: int, timeout: float) -> list[Batch]:
        """Return the next alerts: those that are there, or the first to come.

        Parameters
        ----------
        most
            How many at the most; those that were kept back come in the batches that they were
            read in.
        timeout
            Longest wait for the first one, in seconds.  Connecting, and finding out that nobody
            answers, takes longer.

        Raises
        ------
        StreamError
            What the broker reported does not pass by itself, and the policy has had enough.
        """
        if self._closed.is_set():
            return []
        most = min(most, self._most)
        with self._baton:
            self._away_since = None
            try:
                if not self._joined:
                    # Whoever waits for a broker does not stand still.
                    self._counters.last_poll = time.monotonic()
                    if not (self._wait_to_open(timeout) and self._open()):
                        return []
                return self._take(most, timeout)
            except StreamError as error:
                self._broken(error)
                return []
            except KafkaException as error:  # from a callback of librdkafka's
                context = f"taking part in the stream of {self._names()}"
                self._broken(from_kafka(error.args[0], context))
                return []
            except BaseException:
                # Ctrl-C in a poll comes when it returns, and drops what it has read before that has
                # begun.  Whoever read on, as the keeper may, would mark it: so begin anew.
                self._error = BrokerUnreachable(f"reading from {self._names()} was interrupted")
                raise
            finally:
                self._away_since = time.monotonic()

    def _take(self, most: int, timeout: float) -> list[Batch]:
        kafka = self._kafka
        self._marks.tend(kafka)
        if self._paused and self._backlog_bytes <= self._queue_bytes // 2:
            kafka.resume(kafka.assignment())
            self._paused = False
        self._look_after(time.monotonic(), busy=bool(self._backlog))
        if self._backlog:
            if time.monotonic() - (self._counters.last_poll or 0.0) > _KEEPER_SECONDS:
                self._tend()  # a member that does not poll is thrown out
            batch, size = self._backlog.popleft()
            self._backlog_bytes -= size
            return [batch]
        if self._error is not None:
            raise self._error
        if refused := self._trouble.conclusion():
            raise refused
        messages = kafka.consume(most, 0)
        if not messages:
            first = kafka.poll(timeout)
            messages = [] if first is None else [first]
        self._counters.last_poll = now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at > _PATIENCE_SECONDS:
            self._asked_at = None
            log.warning(
                'the consumer group "%s" gives no place yet: a member that was killed still counts '
                "until its session ends, by default for 45 s (session.timeout.ms)",
                self._conf.group_id,
            )
        if self._lost_at is not None and now - self._lost_at > min(_LOST_SECONDS, self._stall):
            self._lost_at = now
            if self._is_left_out():
                raise BrokerUnreachable(f"{self._names()} gives no place in the group any more")
        return self._batches(messages) if messages else []

    def _is_left_out(self) -> bool:
        """Whether a place in the group is overdue; while none of our topics exists it is not."""
        try:
            existing = on_broker.existing(self._kafka.list_topics(timeout=1.0))
        except KafkaException:
            return True
        return any(topic in existing for topic in self._topics)

    def _look_after(self, now: float, busy: bool) -> None:
        """Notice what happens to topics and brokers, also while there is plenty to deliver."""
        assert self._identities is not None  # noqa: S101  # `_open` made it
        if self._identities.asking:
            seconds = _ANSWER_SECONDS
        elif self._stirred or self._counters.lag is None:
            seconds = _LOOK_AFTER_SECONDS
        else:
            seconds = _LOOK_AFTER_QUIET_SECONDS
        if now - self._looked_after < seconds:
            return
        self._looked_after, self._stirred = now, False
        for topic in self._identities.made_anew(self._topics):
            if self._forget_the_old(topic):
                self._identities.accept(topic)
        if not self._grouped:
            self._look_for_new(self._identities.partitions)
        if now - self._looked > (2 if busy else 1) * self._look_seconds():
            self._look_around(now)
        marks = {partition: watermark.mark for partition, watermark in self._live.items()}
        self._counters.lag = positions.lag(self._kafka, marks)

    def _batches(self, messages: Sequence[Message]) -> list[Batch]:
        # The hottest lines: what a partition's alerts have in common is looked up once.
        batches: list[Batch] = []
        errors: list[Message] = []
        known, undeclared, decode_any = self._decode.known, self._decode.known[None], self._decode
        ignores_tests = self.ignoretest
        topic = partition = None
        for message in messages:
            if message.error() is not None:
                errors.append(message)
                continue
            if message.partition() != partition or message.topic() != topic:
                topic, partition = where = message.topic(), message.partition()
                watermark = self._live.get(where)  # type: ignore[arg-type]
                if watermark is not None:
                    self._ended.discard(watermark.where)
                    batch = Batch(watermark, self._short_name(watermark.where[0]))
                    batches.append(batch)
                    put, put_decoder = batch.messages.append, batch.decoders.append
                    put_offset = batch.offsets.append
            if watermark is None:
                continue  # taken away since
            try:
                headers: Any = message.headers()
            except SystemError:
                headers = _unreadable(message)
            decode = undeclared
            if headers:
                is_test = False
                for header, value in headers:
                    if header == "_format" and decode is undeclared:
                        decode = known.get(value, decode_any)
                    elif header == "_test":
                        is_test = ignores_tests
                if is_test:
                    batch.end = message.offset() + 1  # type: ignore[operator]  # it has one
                    self._counters.skipped_tests += 1
                    continue
            put(message)
            put_decoder(decode)
            put_offset(message.offset())  # type: ignore[arg-type]
        for batch in batches:
            batch.begin()
        batches = list(filter(len, batches))
        if batches:
            ends = batches[0].messages[0], batches[-1].messages[-1]
            self._most = max(1, _AT_ONCE_BYTES // max(map(size_of, ends)))
            self._in_touch()
            self._stirred = True
            self._counters.last_alert = self._contact
            if self._tried:
                self._tried = False
                self._waits = self._policy.waits()
        # Last, for this may raise: by now every alert has begun, and none can be passed over.
        for message in errors:
            self._heed(message.error(), message)  # type: ignore[arg-type]  # it has one
        return batches

    def _short_name(self, full_name: str) -> str:
        name = self._short_names.get(full_name)
        if name is None:
            name = self._dialect.short_name(full_name) or full_name
            self._short_names[full_name] = name
        return name

    def _in_touch(self) -> None:
        """Note that the broker answers: whatever was wrong is over."""
        self._contact = time.monotonic()
        self._trouble.reached()
        if self._counters.state == "waiting":
            log.info("%s is there again", self._names())
            self._counters.state = "listening"

    # -- trouble ---------------------------------------------------------------------------------

    def _heed(self, error: KafkaError, message: Message) -> None:
        """Take an error that came in place of an alert."""
        topic, number = message.topic(), message.partition()
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self._ended.add((topic, number))  # type: ignore[arg-type]
        elif code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            log.warning('the topic "%s" does not exist (yet)', topic)
        elif code == KafkaError._AUTO_OFFSET_RESET and (topic, number) in self._live:
            self._skip_what_is_gone((topic, number))  # type: ignore[arg-type]
        elif is_transient(error):
            log.info("riding out: %s", error)
        elif code == KafkaError.TOPIC_AUTHORIZATION_FAILED and self._goes_without(str(topic)):
            log.warning('"%s" may not be read; listening to the others', topic)
        else:
            group = f'read as consumer group "{self._conf.group_id}"'
            self._error = self._trouble.not_allowed(error, f'read "{topic}"' if topic else group)

    def _skip_what_is_gone(self, partition: Partition) -> None:
        """Go on with the oldest alert there is, where the one that is next no longer exists."""
        watermark = self._live[partition]
        oldest = positions.oldest(self._kafka, partition)
        if oldest >= watermark.next:
            gone = oldest - watermark.next
            self._counters.gone += gone
            log.error(
                '%d alerts of "%s", partition %d, are gone: the broker deleted them before they '
                "were read; going on at offset %d", gone, *partition, oldest,
            )  # fmt: skip
            watermark.skip(oldest)
            self._go_to(partition, oldest)
        else:
            self._read_anew(partition, oldest)

    def _goes_without(self, topic: str) -> bool:
        """Leave a topic out that nobody named, and that may be seen and not read."""
        if topic in self._closed_to_us:
            return False  # a second word about it changes nothing
        others = [one for one in self._topics if one != topic]
        if self.wants is None or not others:
            return False
        self._closed_to_us.add(topic)
        self._topics = others
        self._drop([one for one in self._known or () if one[0] == topic])
        if self._grouped:
            self._join(self._kafka, ())
        return True

    def _forget_the_old(self, topic: str) -> bool:
        """Read all of a topic that has taken the name of the one we knew; False: not yet."""
        ours = [one for one in self._known or () if one[0] == topic]
        oldest: dict[Partition, int] = {}
        for partition in [one for one in ours if one in self._live]:
            try:
                oldest[partition] = positions.oldest(self._kafka, partition)
            except KafkaException as error:
                if error.args[0].code() not in _NO_PARTITION:
                    log.warning('"%s" was made anew; its beginning is not known yet', topic)
                    return False
        for partition, offset in oldest.items():
            self._read_anew(partition, offset)
        gone = [one for one in ours if one not in oldest]
        if self._grouped:
            # Those the group has not taken away yet, and may never take away if they come back.
            for partition in [one for one in gone if one in self._live]:
                gone.remove(partition)
                self._read_anew(partition, 0)
                self._marks.pass_on([partition])
        self._drop(gone)
        self._marks.distrust(gone)
        return True

    def _drop(self, partitions: Collection[Partition]) -> None:
        """Know nothing of partitions any more."""
        ended = self._end(partitions)
        if ended and not self._grouped:  # in a group they are taken away
            self._kafka.incremental_unassign([TopicPartition(*one.where) for one in ended])
        self._marks.drop(partitions)
        if self._known is not None:
            self._known.difference_update(partitions)

    def _read_anew(self, partition: Partition, oldest: int) -> None:
        log.error('"%s", partition %d, was made anew; reading all of it', *partition)
        # What has been read of the old one is still delivered, but no longer marked.
        self._live[partition] = Watermark(*partition, oldest)
        self._go_to(partition, oldest)

    def _go_to(self, partition: Partition, offset: int) -> None:
        """Read a partition from another offset on."""
        self._marks.put(partition, self._live[partition].mark)
        place = TopicPartition(*partition, offset)
        self._kafka.incremental_unassign([place])
        self._kafka.incremental_assign([place])

    def _broken(self, error: StreamError) -> None:
        """Give the consumer up, and say when to open the next one; or raise the error.

        A broker that was there once comes back some day; anything else counts as an attempt of
        the policy.
        """
        transient = error.error is not None and is_transient(error.error)
        was_there = self._known is not None
        away = isinstance(error, (BrokerUnreachable, TopicNotFound))
        passing = was_there and (transient or away)
        wait = next(self._patience if passing else self._waits, None)
        self._retire()
        if wait is None:
            raise error
        self._counters.state = "reconnecting"
        log.log(logging.DEBUG if self._told else logging.WARNING, "%s; trying again", error)
        self._told = True
        self._tried = True
        self._counters.reconnects += 1
        self._open_at = time.monotonic() + wait

    def _wait_to_open(self, timeout: float) -> bool:
        """Whether it is time to open a consumer, after waiting for it up to `timeout`."""
        wait = self._open_at - time.monotonic()
        if wait > 0:
            self._closed.wait(min(wait, timeout))
        return wait <= timeout

    def _retire(self, patience: float = _RETIRE_SECONDS) -> None:
        """Commit the marks and close the consumer: go on after `patience` seconds at the most."""
        kafka, self._kafka = self._kafka, None
        was_in, self._joined = self._joined, False
        if kafka is None:
            return
        if not was_in:  # nothing to commit or to leave; a name server may hold it up all the same
            patience = min(patience, _CLOSE_UNUSED_SECONDS)
        live, self._live = list(self._live.values()), {}
        for watermark in live:
            watermark.over = True
        self.settle(live)
        marks = {watermark.where: watermark.mark for watermark in live}
        self._marks.note(marks)
        self._counters.lag = None
        self._backlog.clear()
        self._ended.clear()
        self._backlog_bytes = 0
        self._paused = False
        anew: list[str] = []
        if self._identities is not None and self._grouped and marks:
            anew = self._identities.made_anew({topic for topic, _ in marks}, _LAST_ASK_SECONDS)

        def leave() -> None:
            # The marks of a topic that was made anew just now would point into the new one.
            marks.update({one: _oldest_or_0(kafka, one) for one in marks if one[0] in anew})
            self._marks.hand_over(kafka, marks)
            end = time.monotonic() + patience
            while not self._marks.commit(kafka, marks) and time.monotonic() < end:
                kafka.poll(0.1)  # the group is being shared out anew: the old generation is over
            if self._grouped and not marks:
                # librdkafka's close() does not leave the group for a member without partitions,
                # and the others then wait for it until its session ends.
                kafka.unsubscribe()
                kafka.poll(0.3)
            kafka.close()

        # A broker that does not answer, or a group that is just being joined, holds this up.
        leaving = threading.Thread(target=leave, name="alert-leaving", daemon=True)
        leaving.start()
        leaving.join(patience)
        if leaving.is_alive() and was_in:
            log.warning(
                "%s does not answer; closing the connection goes on in the background",
                self._names(),
            )

    def tell_ends(self) -> None:
        """Be told of the ends, for `at_end`; called before the first `take`."""
        self._conf.options = {**self._conf.options, "enable.partition.eof": True}

    @property
    def at_end(self) -> bool:
        """Whether all that there is of our partitions has been taken.

        It is told of the ends only after `tell_ends`, or with the option
        ``enable.partition.eof``.
        """
        listening = self._counters.state == "listening"
        return listening and not self._backlog and self._live.keys() <= self._ended

    def _look_seconds(self) -> float:
        """How often to ask for all topics there are: often only if more of them may be wanted.

        Of new partitions of ours a group is told, and `Identities` asks for them.
        """
        often = self.wants is not None or self._counters.state == "waiting"
        return min(5.0 if often else 30.0, self._stall / 3)

    def _look_around(self, now: float) -> None:
        """See whether somebody answers, and what there is to read."""
        self._looked = now
        try:
            existing = on_broker.existing(self._kafka.list_topics(timeout=1.0))
        except KafkaException:
            # Again soon: a consumer that only has lost its way should not be trusted for long.
            self._looked = now - self._look_seconds() + min(5.0, self._stall / 3)
            if now - self._contact > self._stall:
                raise BrokerUnreachable(
                    f"{self._names()} has not answered for {now - self._contact:.0f} s"
                ) from None
            return
        self._in_touch()
        if self._add_wanted(existing) and self._grouped:
            self._join(self._kafka, ())
        if not self._grouped:
            self._look_for_new({name: topic.partitions for name, topic in existing.items()})

    def _add_wanted(self, existing: Collection[str]) -> list[str]:
        """Add topics that have appeared, and return them."""
        wanted = set(filter(self.wants, existing)) if self.wants is not None else set()
        if new := sorted(wanted - set(self._topics) - self._closed_to_us):
            log.info("reading these topics too: %s", ", ".join(new))
            self._topics += new
        return new

    def _look_for_new(self, partitions: Mapping[str, Iterable[int]]) -> None:
        new = {
            (topic, number)
            for topic in self._topics
            for number in partitions.get(topic, ())
            if (topic, number) not in self._live
        }
        if new:
            self._kafka.incremental_assign(self._begin(new))

    def store(self, watermarks: Collection[Watermark]) -> None:
        """Store the marks that have moved; librdkafka commits them within a second."""
        with self._baton:
            self._store(watermarks)

    def _store(self, watermarks: Collection[Watermark]) -> None:
        ours = [one for one in watermarks if self._live.get(one.where) is one]
        self._marks.store(self._kafka if self._joined else None, ours)
        self._stirred = True

    # -- the keeper --------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Poll, and store the marks, while the thread that takes alerts is away in a callback."""
        seconds = _KEEPER_SECONDS
        while not self._closed.wait(seconds):
            since = self._away_since
            seconds = _KEEPER_SECONDS if since is not None else 2 * _KEEPER_SECONDS
            if since is None or time.monotonic() - since < _KEEPER_SECONDS:
                continue
            with self._baton:
                if self._away_since == since and self._joined and self._error is None:
                    try:
                        self._store(self._live.values())
                        self._look_after(time.monotonic(), busy=True)
                        self._tend()
                    except StreamError as error:
                        self._error = error
                    except KafkaException as error:
                        self._error = from_kafka(error.args[0], f"waiting at {self._names()}")
                    except Exception as error:  # whatever it is, `take` is to raise it
                        self._error = StreamError(f"waiting at {self._names()}: {error!r}")

    def _tend(self) -> None:
        """Serve the group, and keep what arrives, up to `queue_bytes`."""
        self._counters.last_poll = time.monotonic()
        while not self._paused:
            messages = self._kafka.consume(100, 0)
            if not messages:
                return
            self._keep_back(self._batches(messages))
            if self._backlog_bytes > self._queue_bytes:
                self._kafka.pause(self._kafka.assignment())
                self._paused = True
        self._keep_back(self._batches(self._kafka.consume(1, 0)))

    def _keep_back(self, batches: Collection[Batch]) -> None:
        for batch in batches:
            size = batch.size
            self._backlog.append((batch, size))
            self._backlog_bytes += size

    # -- the end -----------------------------------------------------------------------------------

    def __enter__(self) -> Reader:
        return self

    def close(self) -> None:
        """Commit the marks, leave the group, close the connection: in that order."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._consumer.stop()
        if self._keeper.ident is not None:
            self._keeper.join()
        with self._baton:
            self._retire(_CLOSE_SECONDS)
            inquiry, self._inquiry, self._identities = self._inquiry, None, None
            if inquiry is not None:
                inquiry.close()
            self._counters.state = "idle"


def _unreadable(message: Message) -> Any:
    """Replace headers that confluent_kafka cannot read, so that the alert is set aside.

    A header whose name is no UTF-8 makes the first look raise, and a second one return a null
    pointer.
    """
    message.set_headers([("_format", b"unreadable headers (a name is no UTF-8)")])
    return message.headers()


def _oldest_or_0(kafka: Any, partition: Partition) -> int:
    try:
        return positions.oldest(kafka, partition)
    except KafkaException:
        return 0  # what is gone there is reported to the next reader
