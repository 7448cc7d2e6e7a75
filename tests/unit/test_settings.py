"""Which of the user's settings go where."""

import pytest

from igwn_style_client.settings import options_for, settle_seconds


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
