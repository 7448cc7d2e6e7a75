"""Alerts for a program that asks for them one by one."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any

from .alert import Alert
from .batch import Place
from .delivery import Delivery
from .health import Counters

__all__ = ["Polling"]

log = logging.getLogger(__name__)

_BATCH = 100
_LOOK_SECONDS = 0.1
# How long the taker waits while enough alerts are here.
_ROOM_SECONDS = 0.01


class Polling:
    """Hands out alerts; one counts as delivered when the next one is asked for.

    A thread of ours, the taker, takes from the source, one batch ahead, and stores the marks; so
    asking lasts as long as it is told to, and not as long as connecting does.  While nobody asks,
    the source's keeper goes on polling.

    Asking and committing are for one thread at a time; any may close, which ends the asking.

    Parameters
    ----------
    source
        Where the alerts come from, as `reader.Reader` is one.
    delivery
        Knows what becomes of an alert that cannot be read.
    counters
        Where to count.
    stopping
        Set from any thread to let `ask` return at once.
    by_hand
        True: an alert counts as delivered when `commit` is called, and not before.
    queue_bytes
        Beyond so many bytes of alerts that wait here no more are taken.
    """

    def __init__(
        self,
        source: Any,
        delivery: Delivery,
        counters: Counters,
        stopping: threading.Event,
        by_hand: bool = False,
        queue_bytes: int = 64 * 2**20,
    ) -> None:
        self._source = source
        self._delivery = delivery
        self._counters = counters
        self._tally = counters.tally()
        self._stopping = stopping
        self._by_hand = by_hand
        self._queue_bytes = queue_bytes
        self._handed = False
        self._held: list[Place] = []
        # Between the threads.  The taker appends; the first alert may be with the user, and stays
        # until it is done with, so that no interruption loses one.
        self._alerts: deque[Alert] = deque()
        self._error: BaseException | None = None
        self._news = threading.Event()
        self._finished: deque[Place] = deque()
        self._at_end = False
        self._closing = threading.Event()
        self._asking = threading.RLock()
        self._taker = threading.Thread(target=self._take, name="alert-taker", daemon=True)
        self._taker.start()

    def ask(self, timeout: float | None, until_end: bool = False) -> Alert | None:
        """Return the next alert, and count the one before as delivered.

        Parameters
        ----------
        timeout
            Longest wait in seconds; None for ever.
        until_end
            Whether to return None when everything that there is has been handed out.

        Raises
        ------
        StreamError, ArchiveError, DecodeError
            As `client.listen`.
        RuntimeError
            Another thread is asking.
        """
        if not self._asking.acquire(blocking=False):
            raise RuntimeError("another thread asks for alerts already; make a second client")
        try:
            alert = self._ask(timeout, until_end)
        finally:
            self._asking.release()
        # Last, with no call after it: whoever is interrupted before gets the same alert again.
        self._handed = alert is not None
        return alert

    @property
    def failed(self) -> bool:
        """Whether no more alerts come, for the taker met an error."""
        return self._error is not None

    def _ask(self, timeout: float | None, until_end: bool) -> Alert | None:
        self.finish()
        end = None if timeout is None else time.monotonic() + timeout
        while not (self._stopping.is_set() or self._closing.is_set()):
            self._news.clear()  # before the look at what there is
            alert = self._next_here()
            if alert is not None:
                return alert
            if self._error is not None:
                raise self._error
            if until_end and self._at_end and not self._alerts:
                return None
            left = _LOOK_SECONDS if end is None else end - time.monotonic()
            if left <= 0:
                return None
            self._news.wait(min(left, _LOOK_SECONDS))
        return None

    def _next_here(self) -> Alert | None:
        """Return the first alert of those that are here and can be handed out."""
        while self._alerts:
            alert = self._alerts[0]
            watermark, _, _ = alert._place
            if watermark.over:  # taken away while it waited: its new owner delivers it
                self._counters.parked += 1
                self._alerts.popleft()
            elif self._delivery.is_readable(alert):
                return alert
            else:
                self._alerts.popleft()
                self._finished.append(alert._place)
        return None

    def finish(self) -> None:
        """Count the alert that was handed out last as delivered."""
        if self._handed:
            alert = self._alerts[0]
            done = self._held if self._by_hand else self._finished
            done.append(alert._place)
            self._tally[alert.topic] += 1
            self._handed = False  # before it goes: none that was not handed out may count
            self._alerts.popleft()

    def commit(self) -> None:
        """Count all alerts that were handed out as delivered, the last one too."""
        self.finish()
        self._finished.extend(self._held)
        self._held.clear()

    def close(self, delivered: bool) -> None:
        """Store the marks and end the taker; the source is closed by whoever opened it.

        Parameters
        ----------
        delivered
            Whether the alert that was handed out last counts as delivered.
        """
        self._closing.set()
        # Who asks sees that soon; who does not, or was interrupted on the way, is not waited for.
        if self._asking.acquire(timeout=10 * _LOOK_SECONDS):
            if delivered:
                self.finish()
            self._asking.release()
        self._taker.join()
        self._store()

    # -- the taker ---------------------------------------------------------------------------------

    def _take(self) -> None:
        try:
            while not self._closing.is_set():
                if self._has_room():
                    self._take_once()
                else:
                    self._closing.wait(_ROOM_SECONDS)
                self._store()
        except BaseException as error:
            self._error = error
        self._news.set()

    def _has_room(self) -> bool:
        waiting = tuple(self._alerts)
        bytes_here = sum(alert.size for alert in waiting)
        return len(waiting) < _BATCH and bytes_here < self._queue_bytes

    def _take_once(self) -> None:
        batches = self._source.take(_BATCH, _LOOK_SECONDS)
        for batch in batches:
            self._alerts.extend(batch)
        at_end = self._source.at_end
        if batches or at_end != self._at_end:
            self._at_end = at_end  # after the alerts that came before the end
            self._news.set()

    def _store(self) -> None:
        touched = set()
        while self._finished:
            watermark, done, number = self._finished.popleft()
            done[number] = 1
            touched.add(watermark)
        if touched:
            self._source.store(touched)
