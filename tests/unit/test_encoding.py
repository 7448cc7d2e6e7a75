"""What goes out as JSON, and what is refused with its place."""

import json
import re
from datetime import date, datetime, timezone
from io import BytesIO
from itertools import islice, repeat

import pytest
from hop.models import JSONBlob, VOEvent
from hypothesis import given
from hypothesis import strategies as st

from igwn_style_client.encoding import encode_json, messages_in

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
FINITE = SCALARS.filter(lambda one: one not in (float("inf"), float("-inf")))
JSON = st.recursive(
    FINITE, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(JSON)
def test_the_same_bytes_as_hop(msg):
    assert encode_json(msg) == JSONBlob(msg).serialize()["content"]


def own():
    msg = {"a": [1]}
    msg["a"].append(msg)
    return msg


def deep():
    msg = []
    for _ in range(100_000):
        msg = [msg]
    return msg


class Array:
    def tolist(self):
        return []


@pytest.mark.parametrize(
    ("msg", "kind", "says"),
    [
        (float("nan"), ValueError, "msg is nan, which JSON does not have; send None"),
        ({"events": [1, {"far": float("nan")}]}, ValueError, 'msg["events"][1]["far"] is nan'),
        ({"a": (1, float("-inf"))}, ValueError, 'msg["a"][1] is -inf'),
        ({1, 2}, TypeError, "msg is a set, which JSON does not have; send a list"),
        ({'it"s': frozenset()}, TypeError, 'msg["it\\"s"] is a frozenset'),
        ([datetime.now(timezone.utc)], TypeError, "msg[0] is a datetime, "),
        ([date(2026, 5, 17)], TypeError, "send its isoformat()"),
        ({"skymap": b"FITS"}, TypeError, 'msg["skymap"] is a bytes, '),
        ({"a": Array()}, TypeError, "send its tolist()"),
        (bytearray(b"x"), TypeError, "msg is a bytearray"),
        ({"a": {5: "b"}}, TypeError, 'msg["a"] has the key 5, a int; in JSON keys are text'),
        ({"a": {(1, 2): "b"}}, TypeError, 'msg["a"] has the key (1, 2), a tuple'),
        ([{None: 1}], TypeError, "msg[0] has the key None"),
        (own(), ValueError, 'msg["a"][1] is msg itself'),
        (deep(), ValueError, "msg is nested too deeply"),
        ({"seconds": [10**5000]}, ValueError, 'msg["seconds"][0] has too many digits'),
    ],
)
def test_what_json_does_not_have(msg, kind, says):
    with pytest.raises(kind, match=re.escape(says)):
        encode_json(msg)


def test_the_first_place_is_named():
    with pytest.raises(ValueError, match=r'^msg\["b"\] is nan'):
        encode_json({"a": 1, "b": float("nan"), "c": {1}, "d": float("inf")})


def test_the_same_list_twice_is_no_circle():
    one = [1]
    assert json.loads(encode_json([one, one, {"a": one}])) == [[1], [1], {"a": [1]}]


# Files

XML = """<?xml version="1.0" encoding="UTF-8"?>
<voe:VOEvent xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.0" ivorn="ivo://gwnet/S1#1" role="test"
 version="2.0"><Who><AuthorIVORN>ivo://gwnet</AuthorIVORN></Who></voe:VOEvent>"""


@pytest.mark.parametrize(
    ("content", "format", "messages"),
    [
        (b'{"a": 1}', "auto", [{"a": 1}]),
        (b'\xef\xbb\xbf{\n "a": [1]\n}\n', "auto", [{"a": [1]}]),
        (b'{"a": 1}\n\n{"a": 2}\n', "auto", [{"a": 1}, {"a": 2}]),
        (b'{"a": 1}\n', "jsonl", [{"a": 1}]),
        (b"1\n2\n", "jsonl", [1, 2]),
        (b"\xef\xbb\xbf[1]\r\n\r\n[2]", "auto", [[1], [2]]),
        ('["\u2028"]\n[2]'.encode(), "auto", [["\u2028"], [2]]),
        (b"1\n2\n", "auto", ["1\n2\n"]),
        (b'"a string"', "auto", ["a string"]),
        (b'{"a": 1}', "text", ['{"a": 1}']),
        (b"TITLE: GCN CIRCULAR\n", "auto", ["TITLE: GCN CIRCULAR\n"]),
        (b"SIMPLE  = T\xff\x00", "auto", [b"SIMPLE  = T\xff\x00"]),
        (b'{"a": 1}', "binary", [b'{"a": 1}']),
        (b"", "text", [""]),
        (b"", "jsonl", []),
    ],
)
def test_files(content, format, messages):
    assert [message for _, message in messages_in(BytesIO(content), format)] == messages


@pytest.mark.parametrize("format", ["auto", "voevent"])
def test_a_voevent(format):
    [(line, message)] = messages_in(BytesIO(XML.encode()), format)
    assert line is None
    assert isinstance(message, VOEvent)
    assert message.ivorn == "ivo://gwnet/S1#1"


@pytest.mark.parametrize(
    ("content", "format", "says"),
    [
        (b'{"a": 1', "auto", "it is no JSON: "),
        (b'{"a": 1}\n{"a": \n', "auto", "line 2: it is no JSON: "),
        (b'{"a": 1}\n{"a": NaN}\n', "auto", 'line 2: msg["a"] is nan'),
        (b'{"a": 1}\n\n"\xff"\n', "auto", "line 3: it is no jsonl, for it is no text in UTF-8"),
        (b"", "auto", "it is empty"),
        (b"\n \n", "auto", "it is empty"),
        (b"text", "json", "it is no JSON: "),
        (b"\xff", "json", "it is no json, for it is no text in UTF-8"),
        (b"<VOEvent", "auto", "it is no VOEvent: "),
        (b"<VOEvent/>", "voevent", "it is no VOEvent: "),
    ],
)
def test_files_that_are_not_what_they_look_like(content, format, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        list(messages_in(BytesIO(content), format))


class Endless:
    """A file that has another alert whenever it is asked for one."""

    def __iter__(self):
        return repeat(b'{"a": 1}\n')


@pytest.mark.parametrize("format", ["auto", "jsonl"])
def test_lines_are_read_one_by_one(format):
    first = [(number, {"a": 1}) for number in (1, 2, 3)]
    assert list(islice(messages_in(Endless(), format), 3)) == first


def test_empty_lines_count():
    lines = b"\n[1]\n\n \n[2]\n"
    assert list(messages_in(BytesIO(lines))) == [(2, [1]), (5, [2])]
