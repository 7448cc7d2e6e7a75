"""Arguments and printing."""

import io
import json
import time
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from igwn_style_client import Alert, ClientError, __version__, cli
from igwn_style_client.simulation import TOPICS, simulate

YEAR = 365.25 * 86400
NOON = datetime(2024, 4, 10, 12, tzinfo=timezone.utc)


def superevent_alert(alert_type="new", data=None, **other):
    preferred = {"graceid": "G1", "instruments": "H1,L1"}
    document = {"superevent_id": "S240410a", "far": 1e-9, "preferred_event_data": preferred}
    content = {"uid": "S240410a", "alert_type": alert_type, "object": {**document, **other}}
    return json.dumps({**content, "data": data or {}})


class TestFar:
    @pytest.mark.parametrize(
        ("far", "text"),
        [
            (12 / 86400, "12 per day"),
            (1.5 / 86400, "1.5 per day"),
            (1 / 86400, "1 per day"),
            (0.5, "4.3e4 per day"),
            (1 / (2.3 * 86400), "1 per 2.3 d"),
            (1 / (234 * 86400), "1 per 230 d"),
            (1 / YEAR, "1 per yr"),
            (1 / (3.2 * YEAR), "1 per 3.2 yr"),
            (1 / (99.7 * YEAR), "1 per 100 yr"),
            (1 / (1234 * YEAR), "1 per 1200 yr"),
            (1 / (1e5 * YEAR), "1 per 1e5 yr"),
            (1e-14, "1 per 3.2e6 yr"),
            (9.11069936486e-14, "1 per 3.5e5 yr"),  # GraceDB's M394156
            (0, "0"),
            (5e-324, "0"),
        ],
    )
    def test_as_astronomers_say_it(self, far, text):
        assert cli.far_text(far) == text

    @pytest.mark.parametrize("far", [None, "", "1e-9", True, -1.0, float("nan"), float("inf")])
    def test_what_is_no_rate_is_empty(self, far):
        assert cli.far_text(far) == ""

    @given(st.floats(1e-20, 1e2))
    def test_it_fits_its_column_and_means_the_rate(self, far):
        text = cli.far_text(far)
        assert len(text) <= 15
        number, _, rest = text.partition(" per ")
        if rest == "day":
            assert float(number) / 86400 == pytest.approx(far, rel=0.06)
            return
        value, _, unit = rest.rpartition(" ")
        seconds = {"d": 86400, "yr": YEAR}[unit]
        assert 1 / (float(value or 1) * seconds) == pytest.approx(far, rel=0.06)


class TestRows:
    def test_of_a_superevent(self):
        row = cli.row_of("superevent", superevent_alert(), NOON, 0.0031)
        assert (row.uid, row.superevent, row.alert_type) == ("S240410a", "S240410a", "new")
        assert (row.far, row.instruments) == (1e-9, "H1,L1")
        assert json.loads(row.json()) == {
            "time": "2024-04-10T12:00:00+00:00",
            "topic": "superevent",
            "uid": "S240410a",
            "superevent": "S240410a",
            "alert_type": "new",
            "far": 1e-9,
            "instruments": "H1,L1",
            "latency_ms": 3.1,
        }

    def test_of_an_event_tells_its_superevent(self):
        document = {"graceid": "G1", "superevent": "S240410a", "far": 2e-9, "instruments": "L1"}
        payload = {"uid": "G1", "alert_type": "log", "object": document}
        row = cli.row_of("cbc_gstlal", payload)
        assert (row.uid, row.superevent, row.instruments) == ("G1", "S240410a", "L1")

    @pytest.mark.parametrize(
        ("alert_type", "data", "alert", "style"),
        [
            ("new", {}, "new", "bold"),
            ("label_added", {"name": "ADVREQ"}, "label_added ADVREQ", ""),
            ("label_added", {"name": "ADVOK"}, "label_added ADVOK", "green"),
            ("label_added", {"name": "ADVNO"}, "label_added ADVNO", "bold red"),
            (
                "signoff_created",
                {"signoff_type": "ADV", "status": "NO"},
                "signoff_created ADVNO",
                "bold red",
            ),
            ("voevent", {"voevent_type": "PR"}, "voevent Preliminary", "green"),
            ("voevent", {"voevent_type": "RE"}, "voevent Retraction", "bold red"),
            ("voevent", {"voevent_type": "??"}, "voevent ??", "green"),
            ("log", {"filename": "p_astro.json"}, "log p_astro.json", "dim"),
            ("exposed", [{"permission": "view_superevent"}], "exposed", ""),
        ],
    )
    def test_a_retraction_is_loud_and_a_log_is_quiet(self, alert_type, data, alert, style):
        row = cli.row_of("superevent", superevent_alert(alert_type, data))
        assert (row.alert, row.style) == (alert, style)

    @pytest.mark.parametrize(
        "payload",
        [
            "",
            "no JSON",
            "[1]",
            "12",
            b"\x00",
            None,
            3,
            [],
            {},
            {"object": None, "data": 1},
            {"object": {"far": float("nan")}},
        ],
    )
    def test_what_is_not_gracedbs_has_a_row_too(self, payload):
        row = cli.row_of("somewhere", payload)
        assert row.line().split() == ["somewhere"]
        assert json.loads(row.json())["topic"] == "somewhere"

    def test_no_alert_moves_the_cursor(self):
        row = cli.row_of("superevent", {"uid": "S1\x1b[2J", "alert_type": "new\nnew"})
        assert (row.uid, row.alert_type) == ("S1?[2J", "new?new")

    def test_lines_have_fixed_columns(self):
        lines = [
            cli.row_of(alert.topic, alert.payload, alert.time, 0.01).line()
            for alert in simulate(1046, 5)
        ]
        assert {len(line) for line in lines} == {len(lines[0])}
        assert {line[34 : 34 + 17].rstrip() for line in lines} <= set(TOPICS)

    def test_every_simulated_alert_fills_its_row(self):
        for alert in simulate(3, 5):
            row = cli.row_of(alert.topic, alert.payload, alert.time, 0.01)
            assert row.uid
            assert row.alert_type
            assert cli.far_text(row.far)
            assert row.instruments


class TestPace:
    def test_no_pause_is_none(self):
        assert cli.shortened(timedelta()) == cli.shortened(timedelta(seconds=-1)) == 0

    @given(st.lists(st.floats(0.01, 1e6), min_size=2, max_size=2, unique=True))
    def test_a_longer_pause_stays_longer_but_not_as_much(self, seconds):
        short, long = sorted(seconds)
        ratio = cli.shortened(timedelta(seconds=long)) / cli.shortened(timedelta(seconds=short))
        assert 1 <= ratio <= long / short * (1 + 1e-3)

    @pytest.mark.parametrize(("rate", "seconds"), [(None, 5.0), (1000.0, 0.139), (0.5, 278.0)])
    def test_the_whole_takes_as_long_as_asked_for(self, rate, seconds):
        tally = cli.Tally()
        before = time.monotonic()
        alerts = list(cli.paced(tally, 1, 2, rate))
        assert tally.total == len(alerts) == 139
        dues = [due for due, _ in alerts]
        assert dues[0] >= before
        assert dues == sorted(dues)
        assert dues[-1] - dues[0] == pytest.approx(seconds)

    def test_bursts_remain_bursts(self):
        alerts = list(cli.paced(cli.Tally(), 1, 2, None))
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
        tally = cli.Tally()
        payload = superevent_alert()
        tally.sent(self.alert(payload), 1.0)
        tally.sent(self.alert(payload, "cbc_gstlal"), 2.0)
        assert tally.missing == 2
        row = tally.arrived("cbc_gstlal", payload, 2.5)
        assert (row.topic, row.time, row.latency) == ("cbc_gstlal", NOON, 0.5)
        assert tally.missing == 1
        assert tally.verdict() == "published 2, delivered 1: 1 did not arrive"

    def test_a_repeat_does_not_stand_for_another(self):
        tally = cli.Tally()
        for text in "ab":
            tally.sent(self.alert(text), 0.0)
        assert tally.arrived("superevent", "a", 1.0) is not None
        assert tally.arrived("superevent", "a", 1.0) is None
        assert (tally.published, tally.delivered, tally.repeated, tally.missing) == (2, 1, 1, 1)
        assert tally.arrived("superevent", "b", 1.0) is not None
        assert tally.verdict() == "published 2 = delivered 2: nothing was lost; 1 came again"

    def test_equal_texts_count_one_by_one(self):
        tally = cli.Tally()
        tally.sent(self.alert("a"), 0.0)
        tally.sent(self.alert("a"), 1.0)
        assert tally.arrived("superevent", "a", 2.0).latency == 2.0
        assert tally.missing == 1
        assert tally.arrived("superevent", "a", 2.0).latency == 1.0
        assert (tally.missing, tally.repeated) == (0, 0)

    def test_latencies(self):
        tally = cli.Tally()
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
        tally = cli.Tally()
        table = cli._Table(tally, "igwn-style-client demo --superevents 2 --seed 99999", screen)
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
            assert header == [c.header for c in cli._COLUMNS if c.header not in missing]


class TestUsage:
    def run(self, *arguments):
        return CliRunner().invoke(cli.main, arguments)

    def test_version(self):
        result = self.run("--version")
        assert (result.exit_code, result.output) == (0, f"igwn-style-client {__version__}\n")

    @pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["demo", "--help"]])
    def test_help_has_examples(self, arguments):
        result = self.run(*arguments)
        assert result.exit_code == 0
        assert result.output.startswith("Usage: igwn-style-client ")
        assert "\n  Examples:\n    igwn-style-client demo" in result.output

    def test_no_command_shows_the_help(self):
        result = self.run()
        assert result.exit_code == 2
        assert "Commands:" in result.output

    @pytest.mark.parametrize(
        ("arguments", "hint"),
        [
            (["--no-such"], "Try: igwn-style-client --help"),
            (["no-such"], "Try: igwn-style-client --help"),
            (["demo", "--sed", "1"], "--seed"),
            (["demo", "--superevents", "0"], "--superevents"),
            (["demo", "--superevents", "many"], "Try: igwn-style-client demo --help"),
            (["demo", "--rate", "0"], "--rate"),
            (["demo", "--rate", "nan"], "--rate"),
            (["demo", "extra"], "extra"),
        ],
    )
    def test_wrong_usage(self, arguments, hint):
        result = self.run(*arguments)
        assert result.exit_code == 2
        assert result.output.startswith("igwn-style-client: error: ")
        assert hint in result.output


class TestFailing:
    """A command of our group that ends in every way a command can."""

    def run(self, do, *arguments):
        debug = click.Option(["--debug"], is_flag=True)
        group = cli.Commands("group", params=[debug], commands=[click.Command("do", callback=do)])
        return CliRunner().invoke(group, [*arguments, "do"])

    def fail(self):
        raise ClientError("the sky has clouds; wait")

    def test_done(self):
        assert self.run(lambda: None).exit_code == 0

    def test_our_errors_are_told_in_one_line(self):
        result = self.run(self.fail)
        assert result.exit_code == 1
        assert result.output == "igwn-style-client: error: the sky has clouds; wait\n"

    def test_debug_tells_where_they_come_from(self):
        result = self.run(self.fail, "--debug")
        assert result.exit_code == 1
        assert "Traceback" in result.output
        assert result.output.endswith("igwn-style-client: error: the sky has clouds; wait\n")

    def test_debug_tells_what_a_command_has_made_a_line_of(self):
        def fail():
            try:
                raise OSError(28, "No space left on device")
            except OSError as error:
                raise click.ClickException("the disk is full") from error

        assert self.run(fail).output == "igwn-style-client: error: the disk is full\n"
        result = self.run(fail, "--debug")
        assert result.exit_code == 1
        assert "OSError: [Errno 28] No space left on device" in result.output
        assert result.output.endswith("igwn-style-client: error: the disk is full\n")

    def test_wrong_usage_has_no_traceback(self):
        def fail():
            raise click.UsageError("no such star")

        result = self.run(fail, "--debug")
        assert result.exit_code == 2
        assert result.output.startswith("igwn-style-client: error: no such star\n")
        assert "Traceback" not in result.output

    def test_interrupted(self):
        def interrupt():
            raise KeyboardInterrupt

        result = self.run(interrupt)
        assert (result.exit_code, result.output.strip()) == (130, "")

    def test_a_reader_who_has_gone(self):
        def write():
            raise BrokenPipeError(32, "Broken pipe")

        result = self.run(write)
        assert (result.exit_code, result.output) == (1, "")
