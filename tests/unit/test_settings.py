"""Which of the user's settings go where."""

import pytest

from igwn_style_client.settings import options_for, refuse, settle_seconds, stall_seconds


def test_each_side_gets_its_own_and_what_is_for_all():
    options = {"max.poll.interval.ms": 1, "linger.ms": 2, "debug": "broker"}
    assert options_for("consumer", options) == {"max.poll.interval.ms": 1, "debug": "broker"}
    assert options_for("producer", options) == {"linger.ms": 2, "debug": "broker"}
    assert options_for("admin", options) == {"debug": "broker"}


@pytest.mark.parametrize(
    ("options", "seconds"),
    [({}, 30), ({"max.poll.interval.ms": "6000"}, 3), ({"max.poll.interval.ms": 3_600_000}, 30)],
)
def test_running_callbacks_are_waited_for_less_than_the_group_waits_for_us(options, seconds):
    assert settle_seconds(options) == seconds


@pytest.mark.parametrize(
    ("options", "seconds"),
    [({}, 120), ({"stall.seconds": "20"}, 20), ({"stall.seconds": 0.5}, 0.5)],
)
def test_a_consumer_is_trusted_for_so_long(options, seconds):
    refuse(options)
    assert stall_seconds(options) == seconds


@pytest.mark.parametrize("given", ["soon", None, 0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused_at_once(given):
    with pytest.raises(ValueError, match=r"stall\.seconds must be a number of seconds"):
        refuse({"stall.seconds": given})
