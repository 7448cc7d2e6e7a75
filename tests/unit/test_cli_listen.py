"""How a listener is, in one line."""

from dataclasses import replace
from datetime import datetime, timezone

from igwn_style_client.cli_listen import Status
from igwn_style_client.health import Counters

IDLE = Counters().snapshot()
LISTENING = replace(IDLE, state="listening", lag=0)


class Clock:
    """A client, and the time, as the test says."""

    def __init__(self):
        self.seconds = 100.0
        self.said = IDLE

    def health(self):
        return self.said

    def status(self):
        moment = datetime(2024, 4, 10, 12, tzinfo=timezone.utc)
        return Status(self, lambda: self.seconds, lambda: moment)


def test_a_night():
    clock = Clock()
    status = clock.status()
    assert status.line() == "connecting   0 alerts   0.0/s"
    clock.said = LISTENING
    assert status.line() == "connected since 12:00:00 UTC   0 alerts   0.0/s   lag 0"
    clock.seconds += 10
    clock.said = replace(LISTENING, delivered={"a": 4, "b": 1}, lag=3, since_alert=2.4)
    assert status.line() == (
        "connected since 12:00:00 UTC   5 alerts   0.5/s   lag 3   last alert 2 s ago"
    )
    clock.said = replace(clock.said, state="waiting", lag=None, since_alert=7300, reconnects=1)
    assert status.line() == (
        "no broker answers, waiting   5 alerts   0.5/s   last alert 2 h ago   1 reconnects"
    )
    clock.said = replace(clock.said, state="reconnecting", failed=2, set_aside=1, gone=4)
    assert status.line().startswith("reconnecting   5 alerts")
    assert status.line().endswith(
        "2 failed   1 set aside   4 gone before they were read   1 reconnects"
    )
    clock.said = replace(IDLE, delivered={"a": 1})
    assert status.line().startswith("ended   1 alert   ")


def test_the_rate_is_that_of_the_last_minute():
    clock = Clock()
    status = clock.status()
    for second in range(200):
        clock.seconds += 1
        clock.said = replace(LISTENING, delivered={"a": min(second, 100) * 2})
        status.line()
        if second == 90:
            assert "2.0/s" in status.line()
    assert "0.0/s" in status.line()
    assert len(status._counts) < 150
