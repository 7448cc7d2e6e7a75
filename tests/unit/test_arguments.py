"""What a user hands over: messages name the argument, what was given and what is accepted."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igwn_style_client.arguments import (
    DEFAULT_PORT,
    check,
    check_start_at,
    parse_server,
    topic_names,
)

names = st.text("abcXYZ019._-", min_size=1, max_size=20)


# Topics


@pytest.mark.parametrize(
    "topics",
    [
        ["superevent", "cbc_gstlal"],
        ("superevent", "cbc_gstlal"),
        {"superevent": 1, "cbc_gstlal": 2},
        dict.fromkeys(["superevent", "cbc_gstlal"]).keys(),
        iter(["superevent", "cbc_gstlal"]),
        (name for name in ["superevent", "cbc_gstlal"]),
    ],
)
def test_any_iterable_names_topics(topics):
    assert topic_names(topics) == ["superevent", "cbc_gstlal"]


@pytest.mark.parametrize("kind", [set, frozenset])
def test_sets_too(kind):
    assert sorted(topic_names(kind({"b", "a"}))) == ["a", "b"]


def test_a_str_is_one_name():
    assert topic_names("superevent") == ["superevent"]


def test_a_name_given_twice_is_one():
    assert topic_names(["b", "a", "b"]) == ["b", "a"]


@given(st.lists(names, min_size=1))
def test_names_come_back_once_and_in_order(given_names):
    assert topic_names(given_names) == sorted(set(given_names), key=given_names.index)


@pytest.mark.parametrize("empty", [[], (), set(), {}, iter([])])
def test_an_empty_collection_is_not_all_topics(empty):
    with pytest.raises(ValueError, match="topic: the collection is empty; give None for all"):
        topic_names(empty)


@pytest.mark.parametrize("wrong", [b"superevent", bytearray(b"superevent"), 5, None, object, 1.5])
def test_what_names_no_topic(wrong):
    with pytest.raises(TypeError) as raised:
        topic_names(wrong, "topics")
    assert str(raised.value) == f"topics: a name or several are needed, not {wrong!r}"


@pytest.mark.parametrize("wrong", [b"superevent", None, 5, ["superevent"]])
def test_what_is_no_name(wrong):
    with pytest.raises(TypeError) as raised:
        topic_names(["superevent", wrong])
    assert str(raised.value) == f"topic: a name must be a str, not {wrong!r}"


@pytest.mark.parametrize(
    "wrong", ["", " ", "a b", "a,b", "a/b", "é", "a\n", "a\x00", "^a.*", "a:b"]
)
def test_what_kafka_does_not_allow(wrong):
    with pytest.raises(
        ValueError, match=r"letters, digits, '.', '_' and '-' are allowed"
    ) as raised:
        topic_names([wrong])
    assert repr(wrong) in str(raised.value)


# Kinds and bounds


@pytest.mark.parametrize(
    ("value", "kinds", "message"),
    [
        ("9092", int, '"port" must be int, not str'),
        (True, int, '"port" must be int, not bool'),
        (9092.0, int, '"port" must be int, not float'),
        (None, int, '"port" must be int, not None'),
        (b"x", (str, Path), '"port" must be str or Path, not bytes'),
        (False, (int, float), '"port" must be int or float, not bool'),
        (1, bool, '"port" must be bool, not int'),
    ],
)
def test_the_wrong_kind(value, kinds, message):
    with pytest.raises(TypeError) as raised:
        check(value, "port", kinds)
    assert str(raised.value) == message


def test_the_wrong_kind_of_what_may_be_none():
    with pytest.raises(TypeError, match=r'^"group" must be str or None, not int$'):
        check(1, "group", str, optional=True)
    check(None, "group", str, optional=True)


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {"least": 1}, '"port" must be at least 1, not 0'),
        (0, {"least": 1, "most": 65535}, '"port" must be from 1 to 65535, not 0'),
        (65536, {"least": 1, "most": 65535}, '"port" must be from 1 to 65535, not 65536'),
        (-0.5, {"least": 0}, '"port" must be at least 0, not -0.5'),
        (float("-inf"), {"least": 0}, '"port" must be at least 0, not -inf'),
        (float("nan"), {"least": 0}, '"port" must be at least 0, not nan'),
        (float("inf"), {"least": 0}, '"port" must be finite, not inf'),
        (float("nan"), {"least": 0, "most": 5}, '"port" must be from 0 to 5, not nan'),
    ],
)
def test_out_of_bounds(value, bounds, message):
    with pytest.raises(ValueError, match="must be") as raised:
        check(value, "port", (int, float), **bounds)
    assert str(raised.value) == message


@given(st.integers(1, 65535))
def test_within_bounds(value):
    check(value, "port", int, least=1, most=65535)


# Where to begin


@pytest.mark.parametrize(
    "start_at",
    [
        "latest",
        "earliest",
        datetime(2026, 5, 17, tzinfo=timezone.utc),
        datetime(2026, 5, 17, tzinfo=timezone(timedelta(hours=9))),
        timedelta(0),
        timedelta(days=3),
    ],
)
def test_where_a_listener_may_begin(start_at):
    check_start_at(start_at)


@pytest.mark.parametrize(
    ("start_at", "message"),
    [
        ("newest", '"start_at" must be "latest" or "earliest", not \'newest\''),
        ("LATEST", '"start_at" must be "latest" or "earliest", not \'LATEST\''),
        (datetime(2026, 5, 17), '"start_at" needs a time zone'),
        (timedelta(seconds=-1), '"start_at" goes back from now'),
    ],
)
def test_where_it_may_not(start_at, message):
    with pytest.raises(ValueError, match="start_at") as raised:
        check_start_at(start_at)
    assert message in str(raised.value)


@pytest.mark.parametrize("start_at", [None, 0, 1.5, True, b"latest"])
def test_what_is_no_place_to_begin(start_at):
    with pytest.raises(TypeError, match=r'^"start_at" must be str or datetime or timedelta, not'):
        check_start_at(start_at)


# Servers


@pytest.mark.parametrize(
    ("server", "port", "user", "brokers"),
    [
        ("kafka://kafka.scimma.org/", 9092, "", ["kafka.scimma.org:9092"]),
        ("kafka://kafka.scimma.org", 9092, "", ["kafka.scimma.org:9092"]),
        ("kafka.scimma.org", 9092, "", ["kafka.scimma.org:9092"]),
        ("localhost", 1234, "", ["localhost:1234"]),
        ("kafka://host:1234/", 9092, "", ["host:1234"]),
        ("host:1234", 9092, "", ["host:1234"]),
        ("kafka://host:1234/", 5678, "", ["host:5678"]),
        ("a,b:1,c", 9092, "", ["a:9092", "b:1", "c:9092"]),
        ("kafka://a, b:1/", 9092, "", ["a:9092", "b:1"]),
        ("kafka://a,b:1/", 7, "", ["a:7", "b:7"]),
        ("kafka://[::1]/", 9092, "", ["[::1]:9092"]),
        ("kafka://[::1]:1234/", 9092, "", ["[::1]:1234"]),
        ("[2001:db8::1],[fe80::1]:2", 9092, "", ["[2001:db8::1]:9092", "[fe80::1]:2"]),
        ("[::ffff:10.0.0.1]", 9092, "", ["[::ffff:10.0.0.1]:9092"]),
        ("kafka://scimma-user@host/", 9092, "scimma-user", ["host:9092"]),
        ("user@[::1]:1", 9092, "user", ["[::1]:1"]),
        ("kafka://user:password@host/", 9092, "user", ["host:9092"]),
        ("kafka://user@a,b/", 9092, "user", ["a:9092", "b:9092"]),
        ("kafka://host/gracedb.superevent", 9092, "", ["host:9092"]),
        ("10.0.0.1:29092", DEFAULT_PORT, "", ["10.0.0.1:29092"]),
    ],
)
def test_servers(server, port, user, brokers):
    scheme, found, addresses = parse_server(server, port)
    assert (scheme, found or "", addresses) == ("kafka", user, brokers)


@pytest.mark.parametrize("server", ["https://kafka.scimma.org/", "http://host", "kafkas://host"])
def test_another_scheme(server):
    scheme = server.partition(":")[0]
    with pytest.raises(ValueError, match=f'"server" must begin with kafka://, not {scheme}://'):
        parse_server(server, 9092)


@pytest.mark.parametrize(
    "server",
    [
        "",
        "kafka://",
        "kafka:///",
        "kafka://:9092/",
        "kafka://host:/",
        "kafka://host:port/",
        "kafka://ho st/",
        "kafka://::1/",
        "::1",
        "kafka://[::1/",
        "kafka://[host]/",
        "a,,b",
        "a,",
        "user@",
        "host:1:2",
    ],
)
def test_what_is_no_server(server):
    with pytest.raises(
        ValueError, match=r'^"server" must be such as kafka://kafka.scimma'
    ) as error:
        parse_server(server, 9092)
    assert repr(server) in str(error.value)


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_port_in_the_url_must_be_one(port):
    with pytest.raises(ValueError, match=f'"server".*{port}'):
        parse_server(f"kafka://host:{port}/", 9092)


@pytest.mark.parametrize("scheme", ["", "kafka://"])
@pytest.mark.parametrize(
    "password", ["hunter2", "hunter2:x", "hunter2/x", "x@hunter2", "x:hunter2"]
)
@pytest.mark.parametrize("rest", ["ho st/", ":port/", "host:99999999/", "a,,b/"])
def test_a_password_in_the_url_is_not_shown(scheme, password, rest):
    with pytest.raises(ValueError, match='"server"') as raised:
        parse_server(f"{scheme}user:{password}@{rest}", 9092)
    assert "hunter2" not in str(raised.value)


@given(
    st.lists(
        st.tuples(st.text("abc0-9.", min_size=1), st.none() | st.integers(1, 65535)), min_size=1
    ),
    st.sampled_from(["", "kafka://"]),
    st.sampled_from(["", "user@"]),
    st.sampled_from(["", "/"]),
)
def test_every_host_gets_its_own_port_else_the_default(hosts, scheme, user, slash):
    written = ",".join(host if port is None else f"{host}:{port}" for host, port in hosts)
    _, found, brokers = parse_server(f"{scheme}{user}{written}{slash}", 9092)
    assert brokers == [f"{host}:{port or 9092}" for host, port in hosts]
    assert (found or "") == user.rstrip("@")
