"""How often something is tried again, and how long to wait between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["RetryPolicy"]


class RetryPolicy(NamedTuple):
    """Exponential waits with jitter.

    Attributes
    ----------
    attempts
        How often it is tried, the first time included; None for ever.
    wait
        Seconds before the second attempt; each further wait is twice as long.
    longest
        No wait is longer than this, in seconds.
    jitter
        Each wait is shortened by a random share of up to this, so that many clients that lost
        one broker do not come back in step.
    """

    attempts: int | None = 1
    wait: float = 0.1
    longest: float = 60.0
    jitter: float = 0.25

    def waits(self) -> Iterator[float]:
        """Yield the seconds to wait before each further attempt."""
        made = 1
        wait = self.wait
        while self.attempts is None or made < self.attempts:
            yield min(wait, self.longest) * (1 - self.jitter * random.random())  # noqa: S311
            made += 1
            wait = min(2 * wait, self.longest)
