"""The mark is the first offset that is not finished, whatever the order of finishing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from igwn_style_client.watermark import Watermark


def watermark(*offsets, start=0):
    mark = Watermark("gracedb.superevent", 2, start)
    for offset in offsets:
        mark.begin(offset)
    return mark


class Marks(RuleBasedStateMachine):
    """Alerts begin with gaps and finish in any order; the model keeps two plain collections."""

    @initialize(start=st.integers(0, 2**62))
    def assign(self, start):
        self.watermark = Watermark("gracedb.superevent", 0, start)
        self.start = self.highest = start
        self.begun = []
        self.finished = set()
        self.gaps = False

    @rule(gap=st.sampled_from([0, 0, 0, 1, 2, 1000]))
    def begin(self, gap):
        offset = (self.begun[-1] + 1 if self.begun else self.start) + gap
        self.gaps |= gap > 0
        self.watermark.begin(offset)
        self.begun.append(offset)

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data())
    def finish(self, data):
        offset = data.draw(st.sampled_from(self.unfinished))
        self.watermark.finish(offset)
        self.finished.add(offset)

    @precondition(lambda self: self.unfinished)
    @rule()
    def finish_the_first(self):
        offset = self.unfinished[0]
        self.watermark.finish(offset)
        self.finished.add(offset)
        # Now it is exact, gaps or not.
        assert self.watermark.mark == self.defined

    @property
    def unfinished(self):
        return [offset for offset in self.begun if offset not in self.finished]

    @property
    def defined(self):
        """The smallest offset begun and unfinished, else the last one begun + 1."""
        last = self.begun[-1] + 1 if self.begun else self.start
        return min(self.unfinished, default=last)

    @invariant()
    def the_mark_is_as_defined(self):
        mark = self.watermark.mark
        assert mark == self.defined or self.gaps
        # Across a gap two numbers mean the same place: no alert lies between them.
        assert mark <= self.defined
        assert not any(mark <= offset < self.defined for offset in self.begun)

    @invariant()
    def nothing_unfinished_lies_before_the_mark(self):
        assert all(offset >= self.watermark.mark for offset in self.unfinished)

    @invariant()
    def the_mark_never_goes_back(self):
        assert self.watermark.mark >= self.highest
        self.highest = self.watermark.mark

    @invariant()
    def the_unfinished_are_counted(self):
        assert self.watermark.unfinished == len(self.unfinished)


TestMarks = Marks.TestCase
TestMarks.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


@given(st.permutations(range(8)), st.integers(0, 2**62))
def test_any_order_of_finishing_ends_at_the_end(order, start):
    mark = watermark(*range(start, start + 8), start=start)
    done = set()
    for offset in order:
        mark.finish(start + offset)
        done.add(offset)
        assert mark.mark == start + min(set(range(9)) - done)
    assert mark.unfinished == 0


def test_before_anything_was_read_the_mark_is_the_start():
    assert watermark(start=17).mark == 17
    assert watermark(start=17).unfinished == 0


def test_beginning_moves_nothing():
    assert watermark(17, 18, 19, start=17).mark == 17


def test_one_that_runs_holds_the_mark():
    mark = watermark(0, 1, 2, 3)
    for offset in (1, 2, 3):
        mark.finish(offset)
    assert (mark.mark, mark.unfinished) == (0, 1)
    mark.finish(0)
    assert (mark.mark, mark.unfinished) == (4, 0)


def test_gaps_are_stepped_over():
    mark = watermark(5, 9, 100)  # a compacted topic, or the marks of transactions
    mark.finish(5)
    assert mark.mark == 9
    mark.finish(100)
    assert mark.mark == 9
    mark.finish(9)
    assert mark.mark == 101


def test_nothing_is_kept_of_what_is_finished():
    mark = watermark()
    for offset in range(1000):
        mark.begin(offset)
        mark.finish(offset)
    assert not mark._begun
    assert not mark._early


def test_it_knows_its_partition():
    mark = watermark()
    assert (mark.where, mark.over) == (("gracedb.superevent", 2), False)
    with pytest.raises(AttributeError):
        mark.offset = 1
