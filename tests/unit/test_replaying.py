"""Stored alerts, delivered again."""

import json
import threading
from datetime import datetime, timedelta, timezone

import pytest
from hop.models import VOEvent

from igwn_style_client import Alert, Archive, ArchiveError, replay
from igwn_style_client.replaying import Stored

NOON = datetime(2024, 4, 10, 12, tzinfo=timezone.utc)
VOEVENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<voe:VOEvent xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.0" ivorn="ivo://gwnet/S1#1" role="test"
 version="2.0"><Who><AuthorIVORN>ivo://gwnet</AuthorIVORN></Who></voe:VOEvent>"""


def alert(number, topic="superevent", raw=None, **more):
    raw = json.dumps(number).encode() if raw is None else raw
    more = {"headers": [("_format", b"json")], **more}
    time = NOON + timedelta(seconds=number)
    return Alert(topic, None, f"gracedb.{topic}", number % 2, number, time, raw=raw, **more)


@pytest.fixture
def path(tmp_path):
    """Nine alerts, of which two were set aside."""
    path = tmp_path / "alerts.db"
    with Archive(path) as archive:
        for number in range(6):
            archive.store(alert(number))
        archive.store(alert(6, "cbc_gstlal"))
        for number in (7, 8):
            archive.store(alert(number), "the dome was closed")
    return path


def stored(path):
    with Archive(path) as archive:
        return [(one.offset, one.reason) for one in archive]


class Collect:
    def __init__(self, fails_for=()):
        self.got = []
        self.fails_for = fails_for

    def __call__(self, topic, payload):
        self.got.append(payload)
        if payload in self.fails_for:
            raise ValueError("clouds")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, list(range(9))),
        ({"topic": "cbc_gstlal"}, [6]),
        ({"topic": ["cbc_gstlal", "superevent"], "set_aside": False}, list(range(7))),
        ({"since": NOON + timedelta(seconds=4)}, [4, 5, 6, 7, 8]),
        ({"until": NOON + timedelta(seconds=2)}, [0, 1]),
        ({"set_aside": True}, [7, 8]),
        ({"numbers": {2, 9}}, [1, 8]),
        ({"topic": "nothing"}, []),
    ],
)
def test_what_is_delivered_again(path, chosen, expected):
    collect = Collect()
    assert replay(path, collect, **chosen) == len(expected)
    assert collect.got == expected
    assert len(stored(path)) == 9


def test_the_payload_is_what_the_headers_say(tmp_path):
    with Archive(tmp_path / "alerts.db") as archive:
        archive.store(alert(1, raw=VOEVENT, headers=[("_format", b"voevent")]))
        archive.store(alert(2, raw=b'"{}"'))
        archive.store(alert(3, raw=b"\xff", headers=[]))
    collect = Collect()
    replay(str(tmp_path / "alerts.db"), collect)
    voevent, *others = collect.got
    assert isinstance(voevent, VOEvent)
    assert others == ["{}", b"\xff"]


def test_what_is_delivered_is_removed_if_asked_for(path):
    assert replay(path, Collect(), set_aside=True, remove=True) == 2
    assert [offset for offset, _ in stored(path)] == list(range(7))


def test_what_fails_ends_it_and_stays(path):
    collect = Collect(fails_for=[8])
    with pytest.raises(ValueError, match="clouds"):
        replay(path, collect, set_aside=True, remove=True)
    assert collect.got == [7, 8]
    assert stored(path)[7:] == [(8, "the dome was closed")]


def test_what_fails_may_stay_with_its_new_reason_while_others_go_on(path):
    collect = Collect(fails_for=[7])
    how = {"attempts": 2, "on_failure": "set_aside", "set_aside": True, "remove": True}
    assert replay(path, collect, **how) == 1
    assert collect.got == [7, 7, 8]
    [(offset, reason)] = stored(path)[7:]
    assert offset == 7
    assert "ValueError: clouds" in reason


def test_a_callback_sees_all_that_the_archive_knows(tmp_path):
    with Archive(tmp_path / "alerts.db") as archive:
        exactly = NOON + timedelta(microseconds=123_456)  # Kafka knows milliseconds
        one = Alert("superevent", None, time=exactly, raw=b"1")
        archive.store(one, "the dome was closed")
        [stored_one] = archive
        got = []
        assert replay(archive, lambda topic, payload, alert: got.append(alert)) == 1
        assert got == [stored_one]
        assert (got[0].time, got[0].reason) == (exactly, "the dome was closed")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_again_lies_there_once(tmp_path, workers):
    with Archive(tmp_path / "alerts.db") as archive:
        exactly = NOON + timedelta(microseconds=123_456)
        archive.store(Alert("superevent", None, time=exactly, raw=b"7"), "the dome was closed")
        how = {"on_failure": "set_aside", "remove": True, "workers": workers}
        assert replay(archive, Collect(fails_for=[7]), **how) == 0
        [one] = archive
        assert one.time == exactly
        assert "ValueError: clouds" in one.reason


def test_what_still_cannot_be_read_stays(tmp_path):
    with Archive(tmp_path / "alerts.db") as archive:
        archive.store(alert(1, raw=b"{"), "no JSON, at an earlier time")
    collect = Collect()
    assert replay(tmp_path / "alerts.db", collect, remove=True) == 0
    [(_, reason)] = stored(tmp_path / "alerts.db")
    assert "JSON" in reason
    assert reason != "no JSON, at an earlier time"


@pytest.mark.parametrize("key", [None, lambda alert: 0])
def test_several_workers_keep_the_order_of_each_key(path, key):
    together = threading.Barrier(2)
    got = []

    def process(topic, payload, alert):
        if key is None and payload < 2:
            together.wait(30)  # both partitions have a worker
        got.append(alert)

    assert replay(path, process, workers=2, key=key) == 9
    for partition in (0, 1):
        offsets = [one.offset for one in got if one.partition == partition]
        assert offsets == sorted(offsets)
    if key is not None:
        assert [one.offset for one in got] == list(range(9))


def test_the_pace(path):
    now = [100.0]

    def sleep(seconds):
        now[0] += seconds

    with Archive(path) as archive:
        source = Stored(archive, archive.items(), 4, False, lambda: now[0], sleep)
        due = []
        while not source.at_end:
            due += [now[0] - 100.0 for _ in source.take(100, 0.1)]
    assert due == pytest.approx([number / 4 for number in range(9)])


def test_topics_that_were_made_anew_have_equal_offsets(tmp_path):
    with Archive(tmp_path / "alerts.db") as archive:
        for raw in (b'"second"', b'"first"'):
            archive.store(alert(5, raw=raw))
        archive.store(alert(1))
    collect = Collect()
    assert replay(tmp_path / "alerts.db", collect, remove=True) == 3
    assert collect.got == ["second", "first", 1]
    assert stored(tmp_path / "alerts.db") == []


def test_an_archive_of_ones_own_stays_open(path):
    with Archive(path) as archive:
        assert replay(archive, Collect(), "cbc_gstlal") == 1
        assert archive._connection is not None


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"speed": 0}, ValueError),
        ({"workers": 0}, ValueError),
        ({"attempts": 0}, ValueError),
        ({"on_failure": "ignore"}, ValueError),
        ({"topic": []}, ValueError),
        ({"callback": lambda: None}, TypeError),
    ],
)
def test_wrong_arguments(path, wrong, error):
    with pytest.raises(error):
        replay(path, **{"callback": Collect(), **wrong})


def test_there_is_no_archive(tmp_path):
    with pytest.raises(ArchiveError, match="there is no archive"):
        replay(tmp_path / "other.db", Collect())
    assert list(tmp_path.iterdir()) == []
