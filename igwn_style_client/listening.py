"""What every client that listens does around its stream, whatever its broker speaks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from . import settings
from .alert import Alert
from .arguments import check
from .delivery import Callback, Delivery, Rules, adapt, elsewhere
from .health import Counters
from .places import default_path
from .reader import Reader
from .retry import RetryPolicy
from .signals import finishing_first

if TYPE_CHECKING:
    from .archive import Archive

__all__ = ["ListenState", "Listening", "Manner", "SetAside", "set_aside_path"]

log = logging.getLogger(__name__)

#: Path of the archive; None: a default one; False: nothing is set aside.
SetAside: TypeAlias = str | os.PathLike[str] | Literal[False] | None

# Seconds that `wait_until_listening` gives a thread that is about to call `listen` again.
_TO_COME = 1.0

# Bytes; a listener whose set-aside archive is full ends, so that somebody looks into it.
_SET_ASIDE_CEILING = 2**30


class Manner(NamedTuple):
    """How a client listens, as its keywords say.

    Attributes
    ----------
    server, consumer_group
        By which the default archive is named.
    set_aside, batch_size, retry_wait, queue_bytes, options
        As the clients take them.
    """

    server: str
    consumer_group: str | None
    set_aside: SetAside = None
    batch_size: int = 1
    retry_wait: float = 0.1
    queue_bytes: int = 64 * 2**20
    options: Mapping[str, Any] = MappingProxyType({})


class Listening:
    """The listening of one client: one at a time, and any thread may stop it.

    Attributes
    ----------
    stopping
        Set when the callbacks that run are to be the last.
    state
        Whether it listens.
    counters
        What it has counted.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.state = ListenState()
        self.counters = Counters()

    def run(
        self,
        callback: Callback,
        open_stream: Callable[[], Reader],
        manner: Manner,
        *,
        workers: int | Executor,
        key: Callable[[Alert], Hashable] | None,
        attempts: int,
        on_failure: str,
        until_eos: bool = False,
        count: int | None = None,
    ) -> None:
        """Do what `client.listen` says, which has the same keywords."""
        adapt(callback)  # raises now, before any network is touched
        check(workers, "workers", (int, Executor), least=1)
        check(attempts, "attempts", int, least=1)
        check(until_eos, "until_eos", bool)
        check(count, "count", int, optional=True, least=1)
        if on_failure not in ("raise", "set_aside"):
            raise ValueError(f'"on_failure" must be "raise" or "set_aside", not {on_failure!r}')
        if on_failure == "set_aside" and manner.set_aside is False:
            raise ValueError('"on_failure" cannot be "set_aside" for a client with set_aside=False')
        if key is not None and not callable(key):
            raise TypeError(f'"key" must be a function of the alert, not {key!r}')
        with (
            self.state.running(self.stopping),
            finishing_first(self.stopping),
            elsewhere(callback, workers) as (run, side_by_side),
            self.streaming(open_stream, manner) as (stream, store),
        ):
            if stream is None:
                return
            if until_eos:
                stream.tell_ends()
            rules = Rules(
                batch_size=manner.batch_size,
                workers=side_by_side,
                key=key,
                policy=RetryPolicy(attempts, manner.retry_wait),
                store_failed=store if on_failure == "set_aside" else None,
                store_unreadable=store,
                queue_bytes=max(1, manner.queue_bytes // 2),  # the reader may hold as much
                settle_seconds=settings.settle_seconds(manner.options),
                # In a lane even if it is the only one, so that a signal does not cut it off.
                apart=run is not None,
                until_end=until_eos,
                until_count=count,
            )
            call = adapt(callback, run)
            Delivery(stream, call, self.stopping, rules, self.counters).run()

    def alerts(
        self, open_stream: Callable[[], Reader], manner: Manner, until_eos: bool = False
    ) -> Iterator[Alert]:
        """Do what `client.alerts` says."""
        with (
            self.state.running(self.stopping),
            self.streaming(open_stream, manner) as (stream, store),
        ):
            if stream is not None:
                if until_eos:
                    stream.tell_ends()
                rules = Rules(manner.batch_size, store_unreadable=store, until_end=until_eos)
                delivery = Delivery(stream, None, self.stopping, rules, self.counters)
                yield from delivery.alerts()

    @contextmanager
    def streaming(
        self, open_stream: Callable[[], Reader], manner: Manner
    ) -> Iterator[tuple[Any, Any]]:
        """Open the set-aside archive and the stream; None for both if `stop` came first."""
        with ExitStack() as stack:
            if self.stopping.is_set():
                yield None, None
                return
            store = None
            if manner.set_aside is not False:
                aside = _Aside(manner)
                stack.callback(aside.close)
                log.info("what cannot be delivered is set aside in %s", aside)
                store = aside.store
                stack.callback(self._tell, aside, self.counters.set_aside)
            yield stack.enter_context(open_stream()), store

    def _tell(self, aside: _Aside, before: int) -> None:
        """Say at the end how many alerts lie where; of those of a kind only the first was told."""
        number = self.counters.set_aside - before
        if number:
            log.warning("set aside in %s: %d", aside, number)

    def stop(self) -> None:
        """Stop the `listen` that runs, or the first one before it does."""
        self.state.stop(self.stopping)


class _Aside:
    """The archive of what cannot be delivered.

    One whose path the user has named is opened at once, so that a wrong path is noticed.  Otherwise
    a listener needs no place to write until something is set aside, and neither SQLite nor what
    knows the default path in its memory.
    """

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._named = manner.set_aside is not None
        if self._named:
            self._archive.open()

    def __str__(self) -> str:
        """Show the path, which is looked up when somebody wants to know."""
        return str(self._path)

    @cached_property
    def _path(self) -> Path:
        path = set_aside_path(self._manner)
        assert path is not None  # noqa: S101  # only where alerts are set aside
        return path.absolute()

    @cached_property
    def _archive(self) -> Archive:
        # Should two lanes come here at once, each has its own, and they share the file.
        from .archive import Archive

        return Archive(self._path, ceiling=_SET_ASIDE_CEILING, make_folder=not self._named)

    def store(self, alert: Alert, reason: str) -> None:
        """Set an alert aside; when this returns, it is on the disk."""
        self._archive.store(alert, reason)

    def close(self) -> None:
        """Close the file, where it was opened."""
        if "_archive" in vars(self):
            self._archive.close()


def set_aside_path(manner: Manner) -> Path | None:
    """Return where alerts are set aside; None: nowhere."""
    if manner.set_aside is None:
        return default_path(manner.server, manner.consumer_group)
    return None if manner.set_aside is False else Path(manner.set_aside).expanduser()


class ListenState:
    """Whether `listen` runs.  Any thread may ask.

    A reentrant lock, for `stop` may be called by a signal handler that interrupts us.
    """

    def __init__(self) -> None:
        self._change = threading.Condition(threading.RLock())
        self._running = False
        self._listening = False
        self._begun = False

    @contextmanager
    def running(self, stopping: threading.Event) -> Iterator[None]:
        """Hold while `listen` runs; the first one heeds a stop that came before it."""
        with self._change:
            if self._running:
                raise RuntimeError("this client listens already; make a second one")
            if self._begun:
                stopping.clear()
            self._running = self._begun = True
            self._change.notify_all()
        try:
            yield
        finally:
            with self._change:
                self._running = self._listening = False
                self._change.notify_all()

    def stop(self, stopping: threading.Event) -> None:
        """Stop the `listen` that runs, or the first one before it does."""
        with self._change:
            if self._running or not self._begun:
                stopping.set()

    def set_listening(self) -> None:
        """Note that the partitions are assigned."""
        with self._change:
            self._listening = True
            self._change.notify_all()

    def wait(self, timeout: float | None) -> bool:
        """Wait for `set_listening`; False when time is up or `listen` has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._change:
            if self._begun and not self._running:
                # It has ended, or the thread that is to call it again has not come to it yet.
                self._change.wait_for(
                    lambda: self._running, _TO_COME if timeout is None else min(_TO_COME, timeout)
                )
            self._change.wait_for(
                lambda: self._listening or (self._begun and not self._running),
                None if end is None else max(0.0, end - time.monotonic()),
            )
            return self._listening
