"""How often, and how long between."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igwn_style_client.retry import RetryPolicy

policies = st.builds(
    RetryPolicy,
    attempts=st.none() | st.integers(1, 100),
    wait=st.floats(0, 1e6),
    longest=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)


def test_by_default_nothing_is_tried_again():
    assert list(RetryPolicy().waits()) == []


@pytest.mark.parametrize("attempts", [1, 2, 3, 10])
def test_there_is_a_wait_between_two_attempts(attempts):
    assert len(list(RetryPolicy(attempts).waits())) == attempts - 1


def test_each_wait_is_twice_as_long_up_to_the_longest():
    policy = RetryPolicy(attempts=8, wait=1.0, longest=10.0, jitter=0.0)
    assert list(policy.waits()) == [1, 2, 4, 8, 10, 10, 10]


def test_no_attempts_given_is_for_ever():
    waits = list(islice(RetryPolicy(attempts=None, wait=0.1, jitter=0.0).waits(), 5000))
    assert len(waits) == 5000
    assert waits[-1] == 60.0  # and the doubling has not overflowed


def test_a_first_wait_beyond_the_longest_is_cut():
    assert list(RetryPolicy(attempts=2, wait=100.0, longest=60.0, jitter=0.0).waits()) == [60.0]


def test_every_use_begins_anew():
    policy = RetryPolicy(attempts=4, wait=1.0, jitter=0.0)
    used = policy.waits()
    next(used)
    assert list(policy.waits()) == [1, 2, 4]
    assert list(used) == [2, 4]


@given(policies)
def test_jitter_shortens_only_and_never_by_more_than_its_share(policy):
    exact = policy.wait
    for wait in islice(policy.waits(), 40):
        most = min(exact, policy.longest)
        assert most * (1 - policy.jitter) * (1 - 1e-12) <= wait <= most
        exact = 2 * exact


def test_clients_do_not_come_back_in_step():
    policy = RetryPolicy(attempts=2, wait=10.0, jitter=0.5)
    waits = {next(policy.waits()) for _ in range(100)}
    assert len(waits) > 90
    assert min(waits) < 8 < max(waits)


def test_a_policy_is_a_value():
    assert RetryPolicy(3) == RetryPolicy(3, 0.1, 60.0, 0.25)
    assert hash(RetryPolicy(3)) == hash(RetryPolicy(3))
    with pytest.raises(AttributeError):
        RetryPolicy().wait = 1.0
