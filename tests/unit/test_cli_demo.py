"""The demo: its pace, its counting, its table."""

import io
import time
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from igwn_style_client import Alert, cli_demo
from igwn_style_client.simulation import simulate

NOON = datetime(2024, 4, 10, 12, tzinfo=timezone.utc)


class TestPace:
    def test_no_pause_is_none(self):
        assert cli_demo.shortened(timedelta()) == cli_demo.shortened(timedelta(seconds=-1)) == 0

    @given(st.lists(st.floats(0.01, 1e6), min_size=2, max_size=2, unique=True))
    def test_a_longer_pause_stays_longer_but_not_as_much(self, seconds):
        short, long = sorted(seconds)
        ratio = cli_demo.shortened(timedelta(seconds=long)) / cli_demo.shortened(
            timedelta(seconds=short)
        )
        assert 1 <= ratio <= long / short * (1 + 1e-3)

    @pytest.mark.parametrize(("rate", "seconds"), [(None, 5.0), (1000.0, 0.139), (0.5, 278.0)])
    def test_the_whole_takes_as_long_as_asked_for(self, rate, seconds):
        tally = cli_demo.Tally()
        before = time.monotonic()
        alerts = list(cli_demo.paced(tally, 1, 2, rate))
        assert tally.total == len(alerts) == 139
        dues = [due for due, _ in alerts]
        assert dues[0] >= before
        assert dues == sorted(dues)
        assert dues[-1] - dues[0] == pytest.approx(seconds)

    def test_bursts_remain_bursts(self):
        alerts = list(cli_demo.paced(cli_demo.Tally(), 1, 2, None))
        pauses = [
            (later - due, after.time - alert.time)
            for (due, alert), (later, after) in pairwise(alerts)
        ]
        longest = max(pauses)
        assert longest[1] > timedelta(minutes=30)
        assert longest[0] < 2.0


class TestTally:
    def alert(self, payload, topic="superevent"):
        return Alert(topic, payload, time=NOON)

    def test_what_arrived_is_told_by_topic_and_text(self):
        tally = cli_demo.Tally()
        payload = "an alert"
        tally.sent(self.alert(payload), 1.0)
        tally.sent(self.alert(payload, "cbc_gstlal"), 2.0)
        assert tally.missing == 2
        row = tally.arrived("cbc_gstlal", payload, 2.5)
        assert (row.topic, row.time, row.latency) == ("cbc_gstlal", NOON, 0.5)
        assert tally.missing == 1
        assert tally.verdict() == "published 2, delivered 1: 1 had not arrived when it ended"

    def test_a_repeat_does_not_stand_for_another(self):
        tally = cli_demo.Tally()
        for text in "ab":
            tally.sent(self.alert(text), 0.0)
        assert tally.arrived("superevent", "a", 1.0) is not None
        assert tally.arrived("superevent", "a", 1.0) is None
        assert (tally.published, tally.delivered, tally.repeated, tally.missing) == (2, 1, 1, 1)
        assert tally.arrived("superevent", "b", 1.0) is not None
        assert tally.verdict() == "published 2 = delivered 2: nothing was lost; 1 came again"

    def test_equal_texts_count_one_by_one(self):
        tally = cli_demo.Tally()
        tally.sent(self.alert("a"), 0.0)
        tally.sent(self.alert("a"), 1.0)
        assert tally.arrived("superevent", "a", 2.0).latency == 2.0
        assert tally.missing == 1
        assert tally.arrived("superevent", "a", 2.0).latency == 1.0
        assert (tally.missing, tally.repeated) == (0, 0)

    def test_latencies(self):
        tally = cli_demo.Tally()
        assert tally.median is tally.worst is None
        for number, latency in enumerate([0.004, 0.25, 0.002, 0.003]):
            tally.sent(self.alert(str(number)), 0.0)
            tally.arrived("superevent", str(number), latency)
        assert tally.median == pytest.approx(0.0035)
        assert tally.worst == 0.25
        assert tally.latency() == "publish to callback: median 3.5 ms, worst 250 ms"


class TestTable:
    @pytest.mark.parametrize(
        ("width", "height", "missing"),
        [
            (110, 35, []),
            (80, 24, ["instruments", "latency"]),
            (60, 20, ["FAR", "instruments", "latency"]),
            (60, 3, ["FAR", "instruments", "latency"]),
        ],
    )
    def test_it_fits_the_terminal(self, width, height, missing):
        screen = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
        tally = cli_demo.Tally()
        table = cli_demo._Table(
            tally, "igwn-style-client demo --superevents 2 --seed 99999", screen
        )
        for alert in simulate(1, 2):
            tally.total += 1
            tally.sent(alert, 0.0)
            table.row(tally.arrived(alert.topic, alert.payload, 0.01))
        for below in (table._status, table._summary):
            table._below = below
            lines = screen.render_lines(table._draw(), pad=False)
            drawn = ["".join(segment.text for segment in line) for line in lines]
            assert max(len(line) for line in drawn) <= width
            assert len(drawn) < max(height, 7)
            header = drawn[0].split()
            assert not set(header) & set(missing)
            assert header == [c.header for c in cli_demo._COLUMNS if c.header not in missing]
