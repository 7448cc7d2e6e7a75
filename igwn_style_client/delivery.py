"""Alert -> callback -> finished, for any source of alerts.

An alert is finished when its callback has returned, or when it lies in the set-aside archive; and
not before.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol

from .alert import UNREAD, Alert
from .batch import Batch
from .errors import DecodeError
from .health import Counters
from .retry import RetryPolicy
from .watermark import Watermark

__all__ = ["Callback", "Delivery", "Rules", "Source", "adapt", "elsewhere"]

log = logging.getLogger(__name__)

Callback = Callable[..., Any]

# How long one look for new alerts may last, and so how soon a stop is seen.  In it confluent_kafka
# wakes up every fifth of a second by itself.
_LOOK_SECONDS = 0.6
# What is there is taken together, at least so many at once: it costs no latency, and an alert that
# is taken alone costs twice the time.
_BATCH = 250
# Lanes are given no more while so many wait.  Some hundred alerts and their headers come and go
# before Python's garbage collector looks at anything; with more it looks at each, again and again.
_ENOUGH = 100
# How long what is finished may wait to be stored: it is repeated if the process is killed.
_STORE_SECONDS = 0.2
# Lanes for an executor that does not say how many workers it has; a lane that waits costs little.
_UNKNOWN_WORKERS = 32


class Source(Protocol):
    """Where alerts come from, as `reader.Reader` is one."""

    settle: Callable[[Collection[Watermark]], None]

    @property
    def at_end(self) -> bool:
        """Whether all that there is has been taken; asked only where the rules say `until_end`."""
        ...

    def take(self, most: int, timeout: float) -> list[Batch]:
        """Return about `most` alerts, waiting up to `timeout` seconds for the first."""
        ...

    def store(self, watermarks: Collection[Watermark]) -> None:
        """Store the marks that have moved."""
        ...


class Rules(NamedTuple):
    """How alerts are delivered.

    Attributes
    ----------
    batch_size
        Most alerts taken from the source at once.
    workers
        How many callbacks may run side by side.
    key
        Alerts with equal keys stay in order; None: those of a partition.
    policy
        How often a callback that raises is called for one alert, and when.
    store_failed
        Takes an alert, and the reason, that failed for the last time; None: the error ends the
        delivery.
    store_unreadable
        The same for an alert whose payload cannot be decoded.
    queue_bytes
        Most bytes of alerts that wait for their callback.
    settle_seconds
        How long a partition that is taken away waits for its running callbacks.
    apart
        Whether even a single worker is a lane, not the thread of `run`.
    until_end
        Whether it ends when all that there is has been delivered.
    until_count
        How many are delivered or set aside before it ends; None: it does not.
    """

    batch_size: int = 1
    workers: int = 1
    key: Callable[[Alert], Hashable] | None = None
    policy: RetryPolicy = RetryPolicy()
    store_failed: Callable[[Alert, str], None] | None = None
    store_unreadable: Callable[[Alert, str], None] | None = None
    queue_bytes: int = 64 * 2**20
    settle_seconds: float = 30.0
    apart: bool = False
    until_end: bool = False
    until_count: int | None = None


class Call(NamedTuple):
    """How a callback is called with an alert.

    Attributes
    ----------
    callback
        Called as ``callback(topic=, payload=)``.
    wants_alert
        Whether as ``callback(topic=, payload=, alert=)``.
    """

    callback: Callable[..., Any]
    wants_alert: bool

    def __call__(self, alert: Alert) -> Any:
        """Call it."""
        extra = {"alert": alert} if self.wants_alert else {}
        return self.callback(topic=alert.topic, payload=alert.payload, **extra)


def adapt(callback: Callback, run: Callable[..., Any] | None = None) -> Call:
    """Check a callback, and return how it is called with an alert.

    Parameters
    ----------
    callback
        The user's.
    run
        Called as ``run(callback, topic=..., payload=...)`` in its place: to run it elsewhere.

    Raises
    ------
    TypeError
        It cannot be called as ``callback(topic=..., payload=...)``.
    """
    if not callable(callback):
        raise TypeError(
            f"callback: {callback!r} is no function; it is called as callback(topic=, payload=)"
        )
    if _is(callback, inspect.isgeneratorfunction) or _is(callback, inspect.isasyncgenfunction):
        raise TypeError(f"callback: {callback!r} is a generator, which nobody would run")
    wants_alert = _wants_alert(callback)
    return Call(callback if run is None else partial(run, callback), wants_alert)


def _wants_alert(callback: Callback) -> bool:
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError) as error:
        if isinstance(callback, partial):  # of arguments that its function does not take
            raise TypeError(
                f"callback: {callback!r} cannot be called as callback(topic=, payload=): {error}"
            ) from None
        return False  # a builtin that does not tell
    asked = signature.parameters.get("alert")
    wants = asked is not None and asked.kind not in (asked.VAR_POSITIONAL, asked.VAR_KEYWORD)
    given = {"topic": "", "payload": None, **({"alert": None} if wants else {})}
    try:
        signature.bind(**given)
    except TypeError as error:
        name = getattr(callback, "__qualname__", type(callback).__qualname__)
        raise TypeError(
            f"callback: {name}{signature} cannot be called as "
            f"callback({', '.join(f'{one}=' for one in given)}): {error}"
        ) from None
    return wants


@contextmanager
def elsewhere(callback: Callback, workers: int | Executor) -> Iterator[tuple[Any, int]]:
    """Prepare where callbacks run: here, in an executor, or for ``async def`` in an event loop.

    Yields
    ------
    run
        For `adapt`.
    int
        How many may run side by side.
    """
    if isinstance(workers, Executor):
        if is_async(callback):
            raise TypeError("callback: an async def is awaited here; give workers as a number")
        executor = workers
        # dask takes equal calls for one, unless it is told that a call has effects.
        extra = {"pure": False} if "pure" in getattr(executor, "_allowed_kwargs", ()) else {}
        # What the standard library's executors call it; dask's does not tell.
        count = getattr(executor, "_max_workers", None) or _UNKNOWN_WORKERS
        yield (lambda call, **given: executor.submit(call, **given, **extra).result()), count
    elif is_async(callback):
        with _event_loop() as loop:
            yield partial(_await_in, loop), workers
    else:
        yield None, workers


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_live, args=(loop,), name="alert-loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _live(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop to its end in one thread: the caller's has a loop of its own in a notebook."""
    loop.run_forever()
    if left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _await_in(loop: asyncio.AbstractEventLoop, call: Callback, **given: Any) -> Any:
    """Await a call in the loop; whatever it raises is raised here, and not in the loop."""

    async def attempt() -> tuple[Any, BaseException | None]:
        try:
            return await call(**given), None
        except BaseException as error:
            return None, error

    result, error = asyncio.run_coroutine_threadsafe(attempt(), loop).result()
    if error is not None:
        raise error
    return result


def is_async(callback: Callback) -> bool:
    """Whether calling it gives a coroutine."""
    return _is(callback, inspect.iscoroutinefunction)


def _is(callback: Any, kind: Callable[[Any], bool]) -> bool:
    """Whether a function, or what stands behind a partial or a callable object, is of a kind."""
    while isinstance(callback, partial):
        callback = callback.func
    return kind(callback) or kind(getattr(callback, "__call__", None))  # noqa: B004  # what it is


class Delivery:
    """Call a callback for every alert of a source.

    With one worker `run` calls it in its own thread; with more, threads of ours do, the lanes.
    Lanes never touch the source: what they are through with goes through `_through` to the
    thread of `run`, which stores the marks.

    Parameters
    ----------
    source
        Where the alerts come from.
    call
        What `adapt` made of the callback; `alerts` needs none.
    stopping
        Set from any thread to end the delivery after the callbacks that are running.
    rules
        How to deliver.
    counters
        Where to count.
    """

    def __init__(
        self,
        source: Source,
        call: Call | None,
        stopping: threading.Event,
        rules: Rules | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._source = source
        self._call = call or Call(lambda **_: None, wants_alert=False)
        self._stopping = stopping
        self._rules = rules or Rules()
        self._counters = counters or Counters()
        self._parked = False
        self._failure: BaseException | None = None
        self._running: dict[int, Watermark] = {}
        self._told: set[tuple[str, str]] = set()
        self._dealt_with = itertools.count(1)
        # Of lanes only.
        self._through: deque[tuple[Watermark, int, int]] = deque()
        self._ready: SimpleQueue[_Lane | None] = SimpleQueue()
        self._lanes: dict[Hashable, _Lane] = {}
        self._lock = threading.Lock()
        # Told when a lane has run empty.  No event: a second Ctrl-C could leave its lock taken.
        self._room: SimpleQueue[None] = SimpleQueue()
        self._waiting = self._waiting_bytes = 0

    def run(self) -> None:
        """Deliver until `stopping` is set, or an alert fails for the last time.

        Raises
        ------
        BaseException
            What the callback raised, unchanged; its alert is not marked, and comes again.
        DecodeError
            An alert cannot be read, and is not to be set aside.
        """
        self._source.settle = self._settle
        try:
            if self._rules.workers == 1 and not self._rules.apart:
                self._run_here()
            else:
                self._run_in_lanes()
        finally:
            # What runs now was left running by a second Ctrl-C: nobody waits for it.
            self._source.settle = lambda _watermarks: None

    # -- one worker ------------------------------------------------------------------------------

    def _run_here(self) -> None:
        source, tally = self._source, self._counters.tally()
        most = max(self._rules.batch_size, _BATCH)
        while not (self._stopping.is_set() or self._parked):
            batches = source.take(most, _LOOK_SECONDS)
            if not batches and self._is_over():
                return
            store = partial(source.store, {batch.watermark for batch in batches})
            try:
                for batch in batches:
                    self._deliver(batch, tally, store)
            except BaseException:
                try:
                    store()
                except Exception as error:  # the callback's counts more
                    log.warning("the last marks are not stored: %r", error)
                raise
            if batches:
                store()

    def alerts(self) -> Iterator[Alert]:
        """Yield readable alerts; one is finished when the next is asked for."""
        source, tally = self._source, self._counters.tally()
        while not self._stopping.is_set():
            batches = source.take(self._rules.batch_size, _LOOK_SECONDS)
            if not batches and self._is_over():
                return
            for batch in batches:
                for number, alert in enumerate(batch):
                    if self._stopping.is_set():
                        return
                    if batch.watermark.over:
                        self._counters.parked += 1
                        continue
                    if self.is_readable(alert):
                        yield alert
                        tally[alert.topic] += 1
                    batch.done[number] = 1
                    source.store([batch.watermark])

    def _is_over(self) -> bool:
        """Whether nothing more is to come, after a look that found nothing."""
        return self._rules.until_end and self._source.at_end

    # -- lanes -----------------------------------------------------------------------------------

    def _run_in_lanes(self) -> None:
        threads = [
            threading.Thread(
                target=self._work, args=[number], name=f"alert-lane-{number}", daemon=True
            )
            for number in range(self._rules.workers)
        ]
        for thread in threads:
            thread.start()
        most = max(self._rules.batch_size, _BATCH)
        try:
            while not (self._stopping.is_set() or self._parked):
                while not self._room.empty():  # before the look whether there is any
                    self._room.get()
                self._collect()
                if self._is_full():
                    with suppress(Empty):  # the source's keeper goes on polling meanwhile
                        self._room.get(timeout=_STORE_SECONDS)
                else:
                    seconds = _STORE_SECONDS if self._waiting else _LOOK_SECONDS
                    self._sort(self._source.take(most, seconds))
                if not self._waiting_bytes and self._is_over():
                    return
        finally:
            # No further callback starts; those that run are waited for.
            self._parked = True
            for _ in threads:
                self._ready.put(None)
            for thread in threads:
                thread.join()
            self._collect()
        if self._failure is not None:
            raise self._failure

    def _is_full(self) -> bool:
        """Whether more alerts would only wait: many are here, and not all in lanes that run."""
        busy = len(self._running) == self._rules.workers or not self._ready.empty()
        enough = busy and self._waiting > _ENOUGH
        return enough or self._waiting_bytes >= self._rules.queue_bytes

    def _sort(self, batches: list[Batch]) -> None:
        """Put alerts into the lanes of their keys, and lanes that have work into `_ready`."""
        key = self._rules.key
        named: Iterable[tuple[Hashable, Batch]]
        if key is None:
            named = [(batch.watermark, batch) for batch in batches]
        else:  # before the lock: a key may look at the payload, and take its time
            each = [pair for batch in batches for pair in batch.apart()]
            named = [(self._lane_of(alert, batch, key), batch) for alert, batch in each]
        sized = [(name, batch, batch.size) for name, batch in named]
        with self._lock:
            for name, batch, size in sized:
                self._waiting += len(batch)
                self._waiting_bytes += size
                lane = self._lanes.get(name)
                if lane is None:
                    lane = self._lanes[name] = _Lane(name)
                    self._ready.put(lane)
                lane.batches.append((batch, size))

    def _lane_of(self, alert: Alert, batch: Batch, key: Callable[[Alert], Hashable]) -> Hashable:
        try:
            lane = key(alert)
            hash(lane)
        except DecodeError:  # what cannot be read may go through any lane
            lane = batch.watermark
        except Exception as error:
            _add_note(error, f"igwn_style_client: raised by key for the alert in {alert.where}")
            raise
        return lane

    def _work(self, number: int) -> None:
        tally = self._counters.tally(number)
        while (lane := self._ready.get()) is not None:
            with self._lock:
                batches, lane.batches = lane.batches, deque()
            while batches:
                self._deliver_in_lane(*batches.popleft(), tally)
            with self._lock:
                if lane.batches:  # and the other lanes come first
                    self._ready.put(lane)
                else:
                    del self._lanes[lane.name]
                    self._room.put(None)

    def _deliver_in_lane(self, batch: Batch, size: int, tally: dict[str, int]) -> None:
        """Deliver a batch, and let go of it: a lane may wait long for the next one."""
        try:
            self._deliver(batch, tally)
        except BaseException as error:
            self._park(error)
        self._through.append((batch.watermark, len(batch), size))

    def _park(self, error: BaseException) -> None:
        """Let no further callback start: nothing is repeated needlessly."""
        self._parked = True
        with self._lock:
            self._failure = self._failure or error
        self._room.put(None)

    def _collect(self) -> None:
        """Note what the lanes are through with, and store the marks that they may have moved."""
        touched = set(self._running.copy().values())  # lanes come and go meanwhile
        while self._through:
            watermark, number, size = self._through.popleft()
            self._waiting -= number
            self._waiting_bytes -= size
            touched.add(watermark)
        if touched:
            self._source.store(touched)

    # -- alerts ------------------------------------------------------------------------------------

    def _deliver(
        self, batch: Batch, tally: dict[str, int], store: Callable[[], None] | None = None
    ) -> None:
        """Deliver a batch in order, until a stop, or until its partition is taken away.

        Parameters
        ----------
        batch
            Of one partition.
        tally
            Where to count.
        store
            Called now and then to store the marks, if nobody else does.
        """
        running, me, now = self._running, threading.get_ident(), time.monotonic
        is_stopping, counts = self._stopping.is_set, self._rules.until_count is not None
        call, wants_alert = self._call
        watermark, topic, messages, done = batch.watermark, batch.topic, batch.messages, batch.done
        store_at = now() + _STORE_SECONDS
        running[me] = watermark
        try:
            for number, decode in enumerate(batch.decoders):
                if self._parked or is_stopping():
                    return
                if watermark.over:  # taken away while it waited: its new owner delivers it
                    left = len(messages)  # before: no call may come between, in any lane
                    self._counters.parked += left
                    messages.clear()
                    return
                message = messages.popleft()  # and let go of, payload and all, when it is finished
                payload = UNREAD
                try:
                    payload = decode(message)
                    if wants_alert:
                        # By no name of ours, which would keep it while the next one is decoded.
                        result = call(
                            topic=topic,
                            payload=payload,
                            alert=batch.alert(number, message, payload),
                        )
                    else:
                        result = call(topic=topic, payload=payload)
                    if result is not None:
                        _refuse_awaitable(result)
                except Exception as error:
                    outcome = self._failed(batch.alert(number, message, payload), error)
                    if outcome is _Outcome.OPEN:
                        continue  # and see above why it ends
                    delivered = outcome is _Outcome.DELIVERED
                else:
                    delivered = True
                done[number] = 1
                if delivered:
                    tally[topic] += 1
                if counts:
                    self._count()
                if store is not None and now() > store_at:
                    del running[me]  # whoever stores may have to wait for somebody who settles
                    store()
                    store_at, running[me] = now() + _STORE_SECONDS, watermark
        finally:
            running.pop(me, None)

    def _count(self) -> None:
        """Begin no further alert when so many are dealt with.

        Not by setting the event: a signal handler that sets it too could wait for us for ever.
        """
        if next(self._dealt_with) == self._rules.until_count:
            self._parked = True
            self._room.put(None)

    def _failed(self, alert: Alert, error: Exception) -> _Outcome:
        """Settle what comes of an alert that could not be decoded, or whose callback raised."""
        if isinstance(error, BrokenExecutor):
            raise error  # not the alert's fault: each one would be set aside
        if isinstance(error, DecodeError) and not alert.is_decoded:  # not the callback's
            self._unreadable(alert, error.at(alert.where))
            return _Outcome.SET_ASIDE
        return self._try_again(alert, error)

    def _try_again(self, alert: Alert, error: Exception) -> _Outcome:
        """Call the callback again as the policy says, and settle what comes of it."""
        watermark, _, _ = alert._place
        self._counters.failed += 1
        for wait in self._rules.policy.waits():
            log.warning("the callback raised %r for %s; trying again", error, alert.where)
            if not self._waited(wait) or watermark.over:
                return _Outcome.OPEN
            try:
                _refuse_awaitable(self._call(alert))
            except BrokenExecutor:
                raise
            except Exception as again:
                self._counters.failed += 1
                error = again
            else:
                return _Outcome.DELIVERED
        if self._rules.store_failed is None:
            _add_note(
                error,
                f"igwn_style_client: raised by the callback for the alert in {alert.where}, "
                "which is not marked as delivered; it comes again if there is a consumer_group",
            )
            raise error
        reason = "".join(traceback.format_exception(error))
        self._set_aside(alert, reason, self._rules.store_failed)
        log.error("set aside after the callback raised %r for %s", error, alert.where)
        return _Outcome.SET_ASIDE

    def is_readable(self, alert: Alert) -> bool:
        """Whether the payload can be decoded; if not, the alert is set aside."""
        try:
            alert.payload  # noqa: B018  # decoded here, and kept
        except DecodeError as error:
            self._unreadable(alert, error)
            return False
        return True

    def _unreadable(self, alert: Alert, error: DecodeError) -> None:
        """Set an alert aside whose payload cannot be decoded."""
        if self._rules.store_unreadable is None:
            raise error
        self._set_aside(alert, str(error), self._rules.store_unreadable)
        # Once for each kind: a publisher that sends rubbish sends it every second.
        level = logging.DEBUG if (alert.topic, error.format) in self._told else logging.ERROR
        self._told.add((alert.topic, error.format))
        log.log(level, "set aside: %s", error)

    def _waited(self, seconds: float) -> bool:
        """Wait; False if the end comes first.

        Not by waiting for the event: a signal handler that sets it could wait for us for ever.
        """
        end = time.monotonic() + seconds
        while not (self._stopping.is_set() or self._parked):
            left = end - time.monotonic()
            if left <= 0:
                return True
            time.sleep(min(left, _LOOK_SECONDS))
        return False

    def _set_aside(self, alert: Alert, reason: str, store: Callable[[Alert, str], None]) -> None:
        store(alert, reason)
        self._counters.set_aside += 1

    def _settle(self, watermarks: Collection[Watermark]) -> None:
        """Wait until no callback runs for these watermarks.

        The source calls it, in the thread of `run` or in its keeper's.
        """
        me = threading.get_ident()
        longest = self._rules.settle_seconds
        end = time.monotonic() + longest
        while any(its in watermarks and one != me for one, its in list(self._running.items())):
            if time.monotonic() > end:
                log.warning("a callback runs for %g s; its alert may be repeated", longest)
                break
            time.sleep(0.01)


class _Lane:
    """Alerts with one key, and their sizes; one at a time is in a callback."""

    __slots__ = ("batches", "name")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.batches: deque[tuple[Batch, int]] = deque()


class _Outcome(Enum):
    """What has become of an alert whose first attempt failed: one that is open comes again."""

    OPEN = 0
    SET_ASIDE = 1
    DELIVERED = 2


def _refuse_awaitable(result: Any) -> None:
    if inspect.isawaitable(result):
        raise TypeError(
            "the callback returned an awaitable, which nobody awaits; make it an async def"
        )


def _add_note(error: BaseException, note: str) -> None:
    """Do what ``add_note`` does from Python 3.11 on, where the exception takes notes."""
    notes = getattr(error, "__notes__", None)
    with suppress(AttributeError, TypeError):
        error.__notes__ = [*(notes if isinstance(notes, list) else ()), note]
