"""Stored alerts, delivered again.

::

    replay("alerts.db", process_alert, topic="superevent", speed=60)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from datetime import datetime

from . import igwn
from .alert import Alert
from .archive import Archive
from .arguments import check, topic_names
from .batch import Batch
from .decoding import Decoder
from .delivery import Callback, Delivery, Rules, adapt, elsewhere
from .errors import ArchiveError
from .health import Counters
from .retry import RetryPolicy
from .signals import finishing_first
from .watermark import Watermark

__all__ = ["replay"]

_RETRY_SECONDS = 0.1


def replay(
    archive: str | os.PathLike[str] | Archive,
    callback: Callback,
    topic: str | Iterable[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    speed: float | None = None,
    *,
    set_aside: bool | None = None,
    numbers: Collection[int] | None = None,
    remove: bool = False,
    workers: int | Executor = 1,
    key: Callable[[Alert], Hashable] | None = None,
    attempts: int = 1,
    on_failure: str = "raise",
) -> int:
    """Call `callback` for every alert of an archive, as `client.listen` would.

    Blocks until all that lay there at the start is delivered.  In the main thread, a first Ctrl-C
    or SIGTERM ends it when the running callbacks have returned.

    Parameters
    ----------
    archive
        Path of the archive, or the `Archive`.
    callback
        As for `listen`.
    topic
        Short name, or any iterable of them; None: all.
    since, until
        From this time on, and before that time; None: no limit.
    speed
        How much faster than the alerts came once: 1 keeps their pace, 60 makes seconds of
        minutes.  None: as fast as the callback takes them.
    set_aside
        True: only what was set aside; False: only what was delivered; None: both.
    numbers
        Only the alerts of these numbers, which `Archive.items` tells; None: all.
    remove
        True: an alert that is delivered is removed from the archive.
    workers, key, attempts
        As for `listen`.
    on_failure
        After the last attempt: "raise" what the callback raised, or "set_aside": the alert lies
        in the same archive, with the new reason.

    Returns
    -------
    int
        How many alerts were delivered.

    Raises
    ------
    TypeError, ValueError
        `callback` cannot be called that way, or another argument is of the wrong kind.
    ArchiveError
        The archive is missing or cannot be used.
    Exception
        Whatever the callback raised, unchanged.  Its alert stays.
    """
    adapt(callback)
    check(workers, "workers", (int, Executor), least=1)
    check(attempts, "attempts", int, least=1)
    check(speed, "speed", (int, float), optional=True, least=1e-9)
    if on_failure not in ("raise", "set_aside"):
        raise ValueError(f'"on_failure" must be "raise" or "set_aside", not {on_failure!r}')
    names = None if topic is None else topic_names(topic)
    stopping, counters = threading.Event(), Counters()
    with ExitStack() as stack:
        if isinstance(archive, Archive):
            stored = archive
        else:
            # The dialect's names do not matter here: each alert has its own.
            stored = Archive(archive, decode=Decoder(igwn.dialect("gracedb")))
            stack.enter_context(stored)
        if not stored.path.exists():
            raise ArchiveError(f'there is no archive "{stored.path}"; look at the path')
        items = (
            (number, alert)
            for number, alert in stored.items(names, since, until, set_aside)
            if numbers is None or number in numbers
        )
        source = Stored(stored, items, speed, remove)
        stack.enter_context(finishing_first(stopping))
        run, side_by_side = stack.enter_context(elsewhere(callback, workers))
        rules = Rules(
            workers=side_by_side,
            key=_partition if key is None else key,
            policy=RetryPolicy(attempts, _RETRY_SECONDS),
            store_failed=source.keep if on_failure == "set_aside" else None,
            store_unreadable=source.keep,
            apart=run is not None,
            until_end=True,
        )
        Delivery(source, adapt(callback, run), stopping, rules, counters).run()
    return sum(counters.delivered.values())


def _partition(alert: Alert) -> Hashable:
    return alert.full_name, alert.partition


class _Row(Watermark):
    """The watermark of one stored alert.

    Archives hold alerts in any order and of topics that were made anew, so that an offset tells
    nothing about the others.
    """

    __slots__ = ("number", "stays")

    def __init__(self, number: int, alert: Alert) -> None:
        super().__init__(alert.full_name, alert.partition, alert.offset)
        self.number = number
        self.stays = False


class Stored:
    """The alerts of an archive as a source; for the thread of `Delivery.run`.

    `keep` is for any thread.

    Parameters
    ----------
    archive
        Where they lie.
    items
        Their numbers, and the alerts.
    speed
        How much faster than they came once; None: at once.
    remove
        Whether those that are delivered are removed.
    clock, sleep
        Seconds that only grow, and how to wait for so many.
    """

    def __init__(
        self,
        archive: Archive,
        items: Iterator[tuple[int, Alert]],
        speed: float | None,
        remove: bool,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settle: Callable[[Collection[Watermark]], None] = lambda _watermarks: None
        self.at_end = False
        self._archive = archive
        self._items = items
        self._speed = speed
        self._remove = remove
        self._clock = clock
        self._sleep = sleep
        self._next: tuple[int, Alert] | None = None
        self._begun: tuple[float, datetime] | None = None

    def take(self, most: int, timeout: float) -> list[Batch]:  # noqa: ARG002  # one by one
        """Return the next alert when it is due."""
        self._next = self._next or next(self._items, None)
        if self._next is None:
            self.at_end = True
            return []
        number, alert = self._next
        wait = self._due(alert) - self._clock()
        self._sleep(min(max(wait, 0.0), timeout))
        if wait > timeout:
            return []
        self._next = None
        return [Batch.of(alert, _Row(number, alert))]

    def _due(self, alert: Alert) -> float:
        """Return when, on the monotonic clock, an alert is to be delivered."""
        if self._speed is None or alert.time is None:
            return 0.0
        if self._begun is None:
            self._begun = self._clock(), alert.time
        began, first = self._begun
        return began + (alert.time - first).total_seconds() / self._speed

    def keep(self, alert: Alert, reason: str) -> None:
        """Note why an alert could not be delivered; it stays in the archive."""
        self._archive.store(alert, reason)
        row, _, _ = alert._place
        row.stays = True

    def store(self, watermarks: Collection[Watermark]) -> None:
        """Remove what is delivered, where that is wanted."""
        for row in watermarks if self._remove else ():
            if isinstance(row, _Row) and not (row.unfinished or row.stays):
                self._archive.remove(row.number)
