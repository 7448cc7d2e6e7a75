"""Counters of one client, and their snapshot."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Counters", "Health"]


@dataclass(frozen=True)
class Health:
    """How a client is.

    Attributes
    ----------
    state
        "idle", "connecting", "listening", "waiting" (no broker can be reached) or "reconnecting"
        (after an error, with a new consumer).
    lag
        Alerts that the broker had at its last answers and that are not delivered yet; of the
        partitions that are read here.  None while that is not known.
    delivered
        Alerts whose callback has returned, by topic.
    failed
        Calls of the callback that raised.
    set_aside
        Alerts that went to the set-aside archive.
    skipped_tests
        Alerts flagged ``_test`` that were not wanted.
    gone
        Alerts that the broker had deleted before they were read.
    parked
        Alerts that waited here for their callback when their partition was taken away.
    reconnects
        How often the stream was opened anew.
    since_alert, since_poll
        Seconds since the last alert was read, and since the broker was last asked, or waited for;
        None if never.
    """

    state: str
    lag: int | None
    delivered: Mapping[str, int]
    failed: int
    set_aside: int
    skipped_tests: int
    gone: int
    parked: int
    reconnects: int
    since_alert: float | None
    since_poll: float | None


class Counters:
    """What the rooms count, each its own; any thread may take a snapshot."""

    def __init__(self) -> None:
        self.state = "idle"
        self.lag: int | None = None
        self._tallies: dict[int, dict[str, int]] = {}
        self.failed = 0
        self.set_aside = 0
        self.skipped_tests = 0
        self.gone = 0
        self.parked = 0
        self.reconnects = 0
        self.last_alert: float | None = None
        self.last_poll: float | None = None

    def tally(self, number: int = 0) -> dict[str, int]:
        """Return where one thread, of this number, counts what is delivered, by topic."""
        return self._tallies.setdefault(number, defaultdict(int))

    @property
    def delivered(self) -> Counter[str]:
        """How many were delivered, by topic."""
        total: Counter[str] = Counter()
        for tally in list(self._tallies.values()):
            total.update(dict(tally))
        return total

    def snapshot(self) -> Health:
        """Return the counters as they are now."""
        now = time.monotonic()
        return Health(
            state=self.state,
            lag=self.lag,
            delivered=dict(self.delivered),
            failed=self.failed,
            set_aside=self.set_aside,
            skipped_tests=self.skipped_tests,
            gone=self.gone,
            parked=self.parked,
            reconnects=self.reconnects,
            since_alert=None if self.last_alert is None else now - self.last_alert,
            since_poll=None if self.last_poll is None else now - self.last_poll,
        )
