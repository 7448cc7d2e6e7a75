"""How IGWN speaks; JSON is what the standard library says it is."""

import json
import math
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from igwn_style_client.errors import DecodeError
from igwn_style_client.igwn import consumer_group, decode_json, dialect

SCIMMA = ["kafka.scimma.org:9092", "dev.hop.scimma.org:9092"]

LONG = 8192  # from here on integers beyond 64 bits are looked for in another way

GRACEDB = dialect("gracedb")


def same(one, other):
    """Whether two values are equal, their types and the order of keys included; NaN equals NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return [*one] == [*other] and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    return one == other


def agree(document):
    """Check `decode_json` against the standard library; return what both say."""
    try:
        expected = json.loads(document)
    except (ValueError, RecursionError):
        with pytest.raises(DecodeError) as raised:
            decode_json(document)
        assert raised.value.format == "JSON"
        assert raised.value.reason
        assert isinstance(raised.value.__cause__, (ValueError, RecursionError))
        return DecodeError
    found = decode_json(document)
    assert same(found, expected), (found, expected)
    return found


# Any text, lone surrogates included, and any number.
texts = st.text(st.characters(codec=None), max_size=20)
integers = (
    st.integers(-10, 10)
    | st.integers()
    | st.integers(2**63 - 3, 2**64 + 3)
    | st.integers(-(2**64) - 3, -(2**63) + 3)
    | st.integers(-(10**40), 10**40)
)
values = st.recursive(
    st.none() | st.booleans() | integers | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)
spaces = st.text(" \t\r\n", max_size=3)


@st.composite
def documents(draw):
    """Valid JSON as bytes, in the ways in which it may be written."""
    text = json.dumps(
        draw(values),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 2, "\t"])),
        separators=draw(st.sampled_from([None, (",", ":"), (" ,\n", "\t: ")])),
    )
    return (draw(spaces) + text + draw(spaces)).encode("utf-8", "surrogatepass")


@settings(max_examples=500, deadline=None)
@given(documents())
@example(b"-0")
@example(b"[-0, -0.0, 0]")
@example(b"1e400")
@example(b"-1e400")
@example(b"1e-5000")
@example(b"[NaN, Infinity, -Infinity]")
@example(b"18446744073709551615")
@example(b"18446744073709551616")
@example(b"-9223372036854775808")
@example(b"-9223372036854775809")
@example(b'{"oid": 1180591620717411303424}')
@example(b"9999999999999999999.0")
@example(b"123456789012345678901234567890.5e-3")
@example(b"2.2250738585072011e-308")
@example(b"5e-324")
@example(b"1.7976931348623159e308")
@example(b'"\\ud800"')
@example(b'"\\ud83d\\ude00"')
@example(b'"\xed\xa0\x80"')
@example(b'"\\u0000\\/\\b"')
@example(b'{"a": 1, "b": 2, "a": 3}')
@example(b"\xef\xbb\xbf[1]")
@example('["é"]'.encode("utf-16"))
@example('["é"]'.encode("utf-32-be"))
@example(b'"12345678901234567890"')
def test_json_is_decoded_as_the_standard_library_does(document):
    assert agree(document) is not DecodeError


@settings(max_examples=100, deadline=None)
@given(documents(), st.sampled_from(["text", "spaces", "keys", "floats"]))
@example(b"18446744073709551616", "text")
@example(b"[-9223372036854775809]", "text")
@example(b'{"a": [{"b": 1180591620717411303424}]}', "spaces")
@example(b"[1e300, 18446744073709551615]", "floats")
@example(b"NaN", "keys")
def test_long_documents_too(document, filler):
    text = document.decode("utf-8", "surrogatepass") if document[:1] != b"\xef" else "null"
    if filler == "text":
        text = f'["{"x" * LONG}", {text}]'
    elif filler == "spaces":
        text = " " * LONG + text
    elif filler == "floats":
        text = f"[{text}, {', '.join(['0.12345678901234567'] * (LONG // 20))}]"
    else:
        text = '{"' + "k" * LONG + f'": {text}, "z": 1}}'
    long = text.encode("utf-8", "surrogatepass")
    assert len(long) >= LONG
    assert agree(long) is not DecodeError


@pytest.mark.parametrize("length", [LONG - 1, LONG, LONG + 1])
@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30, 2**64 - 1, 2**63, -(2**63)])
def test_integers_stay_exact_on_both_sides_of_the_switch(length, number):
    document = f'{{"id": {number}, "skymap": ""}}'
    document = document.replace('""', '"' + "A" * (length - len(document)) + '"').encode()
    assert len(document) == length
    assert agree(document)["id"] == number


@given(st.binary(max_size=30))
def test_bytes_that_are_no_json_are_refused_when_the_standard_library_does(document):
    agree(document)


@given(documents(), st.data())
def test_so_are_documents_cut_off_or_damaged(document, data):
    end = data.draw(st.integers(0, len(document)))
    agree(document[:end])
    agree(document[:end] + data.draw(st.binary(min_size=1, max_size=2)) + document[end:])


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a": 1,}',
        b"[1] [2]",
        b"{}{}",
        b"'a'",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"nan",
        b"True",
        b"undefined",
        b'"\x01"',
        b'"\n"',
        b'"\\x"',
        b"\xff\xfe\xff",
        b'"\xff"',
        b"// comment\n1",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b"1" * (sys.get_int_max_str_digits() + 1),
        b"[" + b"1" * 10_000 + b"]",
        b'{"a": "' + b"x" * 10_000,
    ],
    ids=lambda document: repr(document[:12]),
)
def test_what_is_no_json(document):
    assert agree(document) is DecodeError


def test_the_reason_helps():
    with pytest.raises(DecodeError, match=r"as JSON: Expecting value: line 1 column 5 \(char 4\)"):
        decode_json(b"[1, x]")
    with pytest.raises(DecodeError, match="as JSON: it is nested too deeply"):
        decode_json(b"[" * 100_000)


def test_nesting_as_deep_as_alerts_are():
    depth = 60
    document = b'{"a":[' * depth + b"]}" * depth
    assert agree(document) is not DecodeError


# Names


@pytest.mark.parametrize(
    ("group", "full_name", "short_name"),
    [
        ("gracedb", "gracedb.superevent", "superevent"),
        ("gracedb-playground", "gracedb-playground.cbc_gstlal_mdc", "cbc_gstlal_mdc"),
        ("gracedb", "gracedb.a.b", "a.b"),
        ("a.b", "a.b.c", "c"),
    ],
)
def test_names(group, full_name, short_name):
    assert dialect(group).full_name(short_name) == full_name
    assert dialect(group).short_name(full_name) == short_name


@pytest.mark.parametrize(
    "full_name",
    ["superevent", "gracedb", "gracedb.", "gracedb-test.superevent", "x.gracedb.superevent", ""],
)
def test_a_topic_of_somebody_else(full_name):
    assert GRACEDB.short_name(full_name) is None


@given(*[st.text("abc019._-", min_size=1)] * 2)
def test_names_go_both_ways(group, topic):
    assert dialect(group).short_name(dialect(group).full_name(topic)) == topic


def test_a_dialect_is_a_value():
    assert GRACEDB.name == "igwn"
    assert GRACEDB.decoders.keys() == {None, "json"}
    with pytest.raises(AttributeError):
        GRACEDB.name = "other"


# Payloads

SUPEREVENT = {"uid": "S260517a", "alert_type": "new", "data": {"far": 1e-9}, "object": {}}


@pytest.mark.parametrize("declared", ["json", None])
@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(SUPEREVENT),  # GraceDB sends a str that holds JSON, and a str it stays
        SUPEREVENT,
        [1, 2],
        None,
        5,
        2.5,
        True,
        "text",
        "",
        {},
        2**70,
        math.inf,
        -math.inf,
        {"format": "blob"},
        {"content": 5},
        {"format": "circular", "content": 5},
        {"format": 7, "content": 5},
        {"format": ["blob"], "content": 5},
    ],
)
def test_what_was_sent_is_handed_on(payload, declared):
    assert same(GRACEDB.decoders[declared](json.dumps(payload).encode()), payload)


@pytest.mark.parametrize("declared", ["json", None])
def test_not_a_number_is_one_too(declared):
    assert math.isnan(GRACEDB.decoders[declared](b'{"far": NaN}')["far"])


@pytest.mark.parametrize("content", [json.dumps(SUPEREVENT), SUPEREVENT, None, 5, [], False])
def test_an_old_envelope_is_opened(content):
    value = json.dumps({"format": "blob", "content": content}).encode()
    assert same(GRACEDB.decoders[None](value), content)


def test_an_old_envelope_that_is_declared_to_be_json_is_json():
    envelope = {"format": "blob", "content": 5}
    assert GRACEDB.decoders["json"](json.dumps(envelope).encode()) == envelope


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"\x00\x01\x02",
        b"\xff\xfe",
        b"Obj\x01\x04",
        b"not json",
        b'{"format": "blob", "content": ',
        b"[" * 100_000,
        b"1 2",
    ],
    ids=repr,
)
def test_odd_messages_are_refused_if_declared_and_handed_on_as_bytes_if_not(value):
    with pytest.raises(DecodeError):
        GRACEDB.decoders["json"](value)
    assert GRACEDB.decoders[None](value) is value


@given(st.binary() | documents())
def test_nothing_undeclared_breaks(value):
    found = GRACEDB.decoders[None](value)
    try:
        assert same(found, json.loads(value)) or json.loads(value)["format"] == "blob"
    except (ValueError, RecursionError):
        assert found is value


def test_recorded_alerts(recorded_igwn):
    assert recorded_igwn
    for name, alert in recorded_igwn:
        assert same(GRACEDB.decoders["json"](json.dumps(alert).encode()), alert), name
        text = json.dumps(json.dumps(alert)).encode()
        assert GRACEDB.decoders["json"](text) == json.dumps(alert), name


@pytest.mark.parametrize(
    ("name", "brokers", "user", "becomes"),
    [
        ("my-pipeline", SCIMMA[:1], "alice-1a2b", "alice-1a2b-my-pipeline"),
        ("my-pipeline", SCIMMA, "alice-1a2b", "alice-1a2b-my-pipeline"),
        ("alice-1a2b-my-pipeline", SCIMMA, "alice-1a2b", "alice-1a2b-my-pipeline"),
        ("my-pipeline", SCIMMA, None, "my-pipeline"),
        ("my-pipeline", [*SCIMMA, "127.0.0.1:9092"], "alice-1a2b", "my-pipeline"),
        ("my-pipeline", ["scimma.org.example:9092"], "alice-1a2b", "my-pipeline"),
    ],
)
def test_a_consumer_group_begins_with_the_users_name_where_it_must(name, brokers, user, becomes):
    assert consumer_group(name, brokers, user) == becomes
