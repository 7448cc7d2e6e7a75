"""What is shown of an alert."""

import json
from datetime import datetime, timezone

import pytest
from hop.models import AvroBlob
from hypothesis import given
from hypothesis import strategies as st

from igwn_style_client import rows
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
        assert rows.far_text(far) == text

    @pytest.mark.parametrize(
        "far",
        [
            None,
            "",
            "1e-9",
            True,
            -1.0,
            float("nan"),
            float("inf"),
            pytest.param(10**400, id="huge"),
        ],
    )
    def test_what_is_no_rate_is_empty(self, far):
        assert rows.far_text(far) == ""

    @given(st.floats(1e-20, 1e2))
    def test_it_fits_its_column_and_means_the_rate(self, far):
        text = rows.far_text(far)
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
        row = rows.row_of("superevent", superevent_alert(), NOON, 0.0031)
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
        row = rows.row_of("cbc_gstlal", payload)
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
        row = rows.row_of("superevent", superevent_alert(alert_type, data))
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
        row = rows.row_of("somewhere", payload)
        assert row.line().split()[0] == "somewhere"
        assert (row.uid, row.superevent, row.alert_type) == ("", "", "")
        assert json.loads(row.json())["topic"] == "somewhere"

    @pytest.mark.parametrize(
        ("payload", "shown"),
        [
            ("TITLE: GCN CIRCULAR\nNUMBER:  1", "TITLE: GCN CIRCULAR NUMBER: 1"),
            (b"\xff\x00text", "\N{REPLACEMENT CHARACTER}?text"),
            (
                {"trigger": "swift", "ra": 187.7, "dec": 12.4},
                "{'trigger': 'swift', 'ra': 187....",
            ),
            ("x" * 1_000_000, "x" * 31 + "..."),
        ],
    )
    def test_what_says_nothing_we_know_shows_how_it_begins(self, payload, shown):
        assert rows.row_of("somewhere", payload).alert == shown

    def test_labels(self):
        row = rows.row_of("superevent", superevent_alert(labels=["EM_READY", "ADVOK"]))
        assert row.labels == "EM_READY,ADVOK"

    def test_the_public_stream_of_igwn(self):
        event = {"far": 1e-9, "instruments": ["H1", "L1"]}
        notice = {"superevent_id": "S240422ed", "alert_type": "RETRACTION", "event": event}
        for payload in (notice, [notice], AvroBlob([notice]), json.dumps(notice)):
            row = rows.row_of("gwalert", payload)
            assert (row.superevent, row.alert_type, row.far) == ("S240422ed", "RETRACTION", 1e-9)
            assert (row.instruments, row.style) == ("H1,L1", "bold red")
        assert rows.row_of("gwalert", {**notice, "event": None}).far is None

    def test_no_alert_moves_the_cursor(self):
        row = rows.row_of("superevent", {"uid": "S1\x1b[2J", "alert_type": "new\nnew"})
        assert (row.uid, row.alert_type) == ("S1?[2J", "new?new")

    def test_lines_have_fixed_columns(self):
        lines = [
            rows.row_of(alert.topic, alert.payload, alert.time, 0.01).line()
            for alert in simulate(1046, 5)
        ]
        assert {len(line) for line in lines} == {len(lines[0])}
        assert {line[34 : 34 + 17].rstrip() for line in lines} <= set(TOPICS)

    def test_every_simulated_alert_fills_its_row(self):
        for alert in simulate(3, 5):
            row = rows.row_of(alert.topic, alert.payload, alert.time, 0.01)
            assert row.uid
            assert row.alert_type
            assert rows.far_text(row.far)
            assert row.instruments


def nested(depth):
    document = 1
    for _ in range(depth):
        document = {"a": document}
    return document


@pytest.mark.parametrize(
    "payload",
    [
        "[" * 100_000,
        '{"uid": ' * 5000 + "1" + "}" * 5000,
        nested(5000),
        {"uid": nested(5000)},
        {"uid": "S1", "object": {"labels": [nested(5000)]}},
        {"uid": "S1", "data": "[" * 100_000},
        '{"uid": "S1", "object": {"far": 1' + "0" * 400 + "}}",
        {"uid": "S1", "object": {"far": True}},
        {"uid": 10**5000},
    ],
)
def test_no_payload_breaks_it(payload):
    row = rows.row_of("superevent", payload)
    assert row.far is None
    assert row.uid in ("", "S1", "?")


def test_a_text_without_end_is_cut():
    row = rows.row_of("superevent", {"uid": "S" * 10**6, "object": {"labels": ["DQOK"] * 10**5}})
    assert len(row.uid) == len(row.labels) == 1000
    assert row.uid.endswith("S...")
