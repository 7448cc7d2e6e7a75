"""Which offset of a partition is safe to store: pure data, no Kafka."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

__all__ = ["Watermark"]


class Watermark:
    """One assignment of one partition, and how far its alerts are finished.

    An alert begins when it is read, and is finished when its callback has returned.  The mark is
    the first offset that is not finished: whoever starts there misses nothing.

    A partition that is taken away and given again gets a new watermark: what was begun under the
    old one neither starts nor counts any more.

    Alerts begin in the order of their offsets, in one thread at a time.  They finish in any order
    and in any thread.  Reading `mark` and `over` is safe from any, too.

    Parameters
    ----------
    full_name, partition
        Of the partition.
    start
        The first offset that will be read.

    Attributes
    ----------
    where : tuple
        Full name and number of the partition.
    over : bool
        Whether the partition was taken away.
    """

    __slots__ = ("_begun", "_next", "over", "where")

    def __init__(self, full_name: str, partition: int, start: int) -> None:
        self.where = (full_name, partition)
        self.over = False
        self._next = start
        self._begun: deque[tuple[Sequence[int], bytearray]] = deque()

    def begin(self, offsets: Sequence[int], end: int = 0) -> bytearray:
        """Note alerts that were read together.

        Parameters
        ----------
        offsets
            Of the alerts; they stay as they are from now on.
        end
            Where the next one is to be read, if that is farther than after the last of these.

        Returns
        -------
        bytearray
            A byte for each alert.  Set it to 1 when the alert needs no further attention.
        """
        done = bytearray(len(offsets))
        begun = self._begun
        while begun and 0 not in begun[0][1]:
            begun.popleft()
        while begun and 0 not in begun[-1][1]:  # one that is stuck must not keep all after it
            begun.pop()
        if offsets:
            begun.append((offsets, done))
            end = max(end, offsets[-1] + 1)
        self.skip(end)
        return done

    def skip(self, offset: int) -> None:
        """Note that nothing that needs attention and has not begun lies before `offset`."""
        self._next = max(self._next, offset)

    @property
    def next(self) -> int:
        """The first offset that has not begun."""
        return self._next

    @property
    def mark(self) -> int:
        """The first offset that is not finished."""
        end = self._next  # before the look at what has begun: the reader may begin more meanwhile
        for offsets, done in tuple(self._begun):
            first = done.find(0)
            if first >= 0:
                return offsets[first]
        return end

    @property
    def unfinished(self) -> int:
        """How many alerts have begun and are not finished."""
        return sum(done.count(0) for _, done in tuple(self._begun))
