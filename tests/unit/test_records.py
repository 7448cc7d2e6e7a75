"""One JSON object on each line, whatever is logged."""

import json
import logging
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igwn_style_client.records import JSONLines


def line_of(**record):
    line = JSONLines().format(logging.makeLogRecord(record))
    assert "\n" not in line
    return json.loads(line)


def test_what_a_line_has():
    line = line_of(
        created=1713798000.5, levelname="WARNING", name="igwn_style_client.reader",
        msg="%s waits", args=("superevent",),
    )  # fmt: skip
    assert line == {
        "time": "2024-04-22T15:00:00.500+00:00",
        "level": "WARNING",
        "logger": "igwn_style_client.reader",
        "message": "superevent waits",
    }


def test_an_exception_is_in_its_line():
    try:
        raise OSError("the dome is closed")
    except OSError:
        line = line_of(msg="failed", exc_info=sys.exc_info())
    assert line["exception"].endswith("OSError: the dome is closed")


def test_the_stack_is_in_its_line():
    assert line_of(msg="here", stack_info="Stack (most recent call last):\n  ...")["stack"]


def test_extra_is_in_the_line():
    line = line_of(msg="m", superevent="S240422ed", path=Path("a"), odd={(1, 2): 3})
    assert (line["superevent"], line["path"], line["odd"]) == ("S240422ed", "a", {})


def test_extra_does_not_pose_as_ours():
    line = line_of(msg="m", levelname="INFO", level="ERROR", time="never")
    assert line["level"] == "INFO"
    assert line["time"] != "never"


@given(st.text())
def test_any_text_comes_back(text):
    assert line_of(msg=text.replace("%", ""))["message"] == text.replace("%", "")


def test_with_a_logger(capsys):
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONLines())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.error("one\ntwo", extra={"topic": "superevent"})
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "one\ntwo"
    assert json.loads(line)["topic"] == "superevent"


@pytest.mark.parametrize("text", ["\ud800", "\x00", "\u2028"])
def test_odd_characters(text):
    assert line_of(msg=text)["message"] == text
