"""The mark is the first offset that is not finished, whatever the order of finishing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from igwn_style_client.watermark import Watermark

GAPS = st.sampled_from([0, 0, 0, 1, 2, 1000])


class Marks(RuleBasedStateMachine):
    """Alerts begin together, with gaps, and finish in any order; the model is one dictionary."""

    @initialize(start=st.integers(0, 2**62))
    def assign(self, start):
        self.watermark = Watermark("gracedb.superevent", 0, start)
        self.next = self.highest = start
        self.unfinished = {}  # where its finishing is noted, by offset

    @rule(gaps=st.lists(GAPS, max_size=5), beyond=GAPS)
    def begin(self, gaps, beyond):
        offsets = []
        for gap in gaps:
            offsets.append(self.next + gap)
            self.next += gap + 1
        self.next += beyond  # such as test alerts
        done = self.watermark.begin(offsets, self.next)
        assert len(done) == len(offsets)
        self.unfinished |= {offset: (done, number) for number, offset in enumerate(offsets)}

    @rule(gap=GAPS)
    def skip(self, gap):
        self.next += gap
        self.watermark.skip(self.next)
        self.watermark.skip(self.next - 1)  # which is known already

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data())
    def finish(self, data):
        self.finish_one(data.draw(st.sampled_from(sorted(self.unfinished))))

    @precondition(lambda self: self.unfinished)
    @rule()
    def finish_the_first(self):
        self.finish_one(min(self.unfinished))

    def finish_one(self, offset):
        done, number = self.unfinished.pop(offset)
        done[number] = 1

    @invariant()
    def the_mark_is_the_first_that_is_not_finished(self):
        assert self.watermark.mark == min(self.unfinished, default=self.next)

    @invariant()
    def the_mark_never_goes_back(self):
        assert self.watermark.mark >= self.highest
        self.highest = self.watermark.mark

    @invariant()
    def the_unfinished_are_counted(self):
        assert self.watermark.unfinished == len(self.unfinished)
        assert self.watermark.next == self.next


TestMarks = Marks.TestCase
TestMarks.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


@given(st.permutations(range(8)), st.integers(0, 2**62))
def test_any_order_of_finishing_ends_at_the_end(order, start):
    mark = Watermark("gracedb.superevent", 2, start)
    finished = set()
    done = mark.begin(range(start, start + 8))
    for number in order:
        done[number] = 1
        finished.add(number)
        assert mark.mark == start + min(set(range(9)) - finished)
    assert mark.unfinished == 0


def test_before_anything_was_read_the_mark_is_the_start():
    mark = Watermark("gracedb.superevent", 2, 17)
    assert (mark.mark, mark.next, mark.unfinished) == (17, 17, 0)


def test_beginning_moves_nothing():
    mark = Watermark("gracedb.superevent", 2, 17)
    mark.begin([17, 18, 19])
    assert (mark.mark, mark.next) == (17, 20)


def test_one_that_runs_holds_the_mark():
    mark = Watermark("gracedb.superevent", 2, 0)
    first, second = mark.begin([0, 1]), mark.begin([2, 3])
    first[1] = 1
    second[:] = b"\1\1"
    assert (mark.mark, mark.unfinished) == (0, 1)
    first[0] = 1
    assert (mark.mark, mark.unfinished) == (4, 0)


def test_gaps_are_stepped_over():
    mark = Watermark("gracedb.superevent", 2, 0)
    done = mark.begin([5, 9, 100])  # a compacted topic, or the marks of transactions
    done[0] = 1
    assert mark.mark == 9
    done[2] = 1
    assert mark.mark == 9
    done[1] = 1
    assert mark.mark == 101


def test_what_was_passed_over_counts_as_finished_after_what_came_before():
    mark = Watermark("gracedb.superevent", 2, 0)
    done = mark.begin([0, 1], 5)
    assert (mark.mark, mark.next) == (0, 5)
    done[:] = b"\1\1"
    assert mark.mark == 5
    mark.begin([], 7)
    assert (mark.mark, mark.next) == (7, 7)


def test_nothing_is_kept_of_what_is_finished():
    mark = Watermark("gracedb.superevent", 2, 0)
    for offset in range(1000):
        mark.begin([offset])[0] = 1
    assert len(mark._begun) == 1


def test_it_knows_its_partition():
    mark = Watermark("gracedb.superevent", 2, 0)
    assert (mark.where, mark.over) == (("gracedb.superevent", 2), False)
    with pytest.raises(AttributeError):
        mark.offset = 1


def test_one_that_is_stuck_does_not_keep_those_after_it():
    mark = Watermark("gracedb.superevent", 0, 0)
    stuck = mark.begin([0])
    slow, last = mark.begin([1]), None
    for offset in range(2, 100):
        last = mark.begin([offset])
        last[0] = 1
        slow[0] = offset > 50
    assert mark.mark == 0
    assert len(mark._begun) <= 2
    stuck[0] = 1
    assert mark.mark == 100
