"""Which offset of a partition is safe to store: pure data, no Kafka."""

from __future__ import annotations

from collections import deque

__all__ = ["Watermark"]


class Watermark:
    """One assignment of one partition, and how far its alerts are finished.

    An alert begins when it is read, and is finished when its callback has returned.  The mark is
    the first offset that is not finished: whoever starts there misses nothing.

    A partition that is taken away and given again gets a new watermark: what was begun under the
    old one neither starts nor counts any more.

    Alerts begin in the order of their offsets, in one thread at a time.  They finish in any order,
    in one thread at a time, which may be another one.  Reading `mark` and `over` is safe from any.

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
    mark : int
        The first offset that is not finished.
    over : bool
        Whether the partition was taken away.
    """

    __slots__ = ("_begun", "_early", "_next", "mark", "over", "where")

    def __init__(self, full_name: str, partition: int, start: int) -> None:
        self.where = (full_name, partition)
        self.mark = start
        self.over = False
        self._next = start
        self._begun: deque[int] = deque()
        self._early: set[int] = set()

    def begin(self, offset: int) -> None:
        """Note an alert that was read."""
        self._begun.append(offset)
        self._next = offset + 1

    def skip(self, offset: int) -> None:
        """Note that `offset` needs no attention, or that nothing lies before it."""
        self._next = max(self._next, offset)
        if not self._begun:
            self.mark = self._next

    @property
    def next(self) -> int:
        """The first offset that has not begun."""
        return self._next

    def finish(self, offset: int) -> None:
        """Note an alert that needs no further attention, which may move the mark."""
        begun = self._begun
        if not begun or begun[0] != offset:
            self._early.add(offset)
            return
        end = self._next  # before the look at what has begun: the reader may begin more meanwhile
        begun.popleft()
        if self._early:
            while begun and begun[0] in self._early:
                self._early.remove(begun.popleft())
        self.mark = begun[0] if begun else end

    @property
    def unfinished(self) -> int:
        """How many alerts have begun and are not finished."""
        return len(self._begun) - len(self._early)
