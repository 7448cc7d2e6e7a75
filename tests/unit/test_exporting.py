"""An alert for another program."""

import json
from datetime import datetime, timezone
from uuid import UUID

import pytest
from hop.models import AvroBlob, GCNCircular, VOEvent

from igwn_style_client import Alert
from igwn_style_client.exporting import content_of, json_of

NOON = datetime(2024, 4, 10, 12, tzinfo=timezone.utc)
VOEVENT = VOEvent.load(
    """<?xml version="1.0" encoding="UTF-8"?>
<voe:VOEvent xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.0" ivorn="ivo://gwnet/S1#1" role="test"
 version="2.0"><Who><AuthorIVORN>ivo://gwnet</AuthorIVORN></Who></voe:VOEvent>"""
)
AVRO = AvroBlob([{"superevent_id": "S240422ed", "skymap": b"\xff"}])


@pytest.mark.parametrize(
    ("payload", "content", "ending"),
    [
        ('{"uid": "S1"}', b'{"uid": "S1"}', ".json"),
        ("[1]", b"[1]", ".json"),
        ("5", b"5", ".txt"),
        ("TITLE: é", "TITLE: é".encode(), ".txt"),
        ("\ud800", b"\xed\xa0\x80", ".txt"),
        ({"uid": "S1"}, b'{"uid": "S1"}', ".json"),
        (None, b"null", ".json"),
        (b"\x00\xff", b"\x00\xff", ".bin"),
    ],
)
def test_the_content(payload, content, ending):
    assert content_of(Alert("superevent", payload)) == (content, ending)


@pytest.mark.parametrize(
    ("payload", "ending", "begins"),
    [
        (VOEVENT, ".xml", b"<?xml"),
        (AVRO, ".avro", b"Obj"),
        (GCNCircular({"title": "GRB"}, "body"), ".json", b"{"),
    ],
)
def test_hops_models_go_out_as_they_came(payload, ending, begins):
    content, found = content_of(Alert("gcn", payload))
    assert found == ending
    assert content.startswith(begins)


def test_the_whole_alert():
    alert = Alert(
        "superevent", '{"uid": "S1"}', "gracedb.superevent", 2, 17, NOON, b"S1",
        [("_format", b"json"), ("odd", b"\xff"), ("none", None)], b"", "the dome was closed"
    )  # fmt: skip
    assert json.loads(json_of(alert)) == {
        "topic": "superevent",
        "full_name": "gracedb.superevent",
        "partition": 2,
        "offset": 17,
        "time": "2024-04-10T12:00:00.000+00:00",
        "id": None,
        "sender": None,
        "key": "S1",
        "headers": [["_format", "json"], ["odd", {"base64": "/w=="}], ["none", None]],
        "payload": {"uid": "S1"},
        "reason": "the dome was closed",
    }
    assert "\n" not in json_of(alert)
    assert json.loads(json_of(alert, 2)) == json.loads(json_of(alert))


def test_who_sent_it():
    headers = [("_id", bytes(range(16))), ("_sender", b"emfollow")]
    document = json.loads(json_of(Alert("superevent", 1, headers=headers)))
    assert UUID(document["id"]).bytes == bytes(range(16))
    assert (document["sender"], document["headers"], document["time"]) == ("emfollow", [], None)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("text", "text"),
        ("5", "5"),
        (5, 5),
        ([1, None], [1, None]),
        (b"text", "text"),
        (b"\xff", {"base64": "/w=="}),
        (AVRO, [{"superevent_id": "S240422ed", "skymap": {"base64": "/w=="}}]),
        ('{"a": ' * 100_000, '{"a": ' * 100_000),
    ],
)
def test_the_payload_in_the_document(payload, said):
    assert json.loads(json_of(Alert("superevent", payload)))["payload"] == said


def test_hops_models_in_the_document():
    circular = Alert("gcn", GCNCircular({"title": "GRB"}, "body"))
    expected = {"header": {"title": "GRB"}, "body": "body"}
    assert json.loads(json_of(circular))["payload"] == expected
    payload = json.loads(json_of(Alert("superevent", VOEVENT)))["payload"]
    assert payload.startswith("<?xml")


def nested(depth):
    document = 1
    for _ in range(depth):
        document = [document]
    return document


def test_what_is_nested_too_deeply_goes_out_as_it_came():
    deep = Alert("superevent", nested(5000), raw=b"[[...]]")
    assert content_of(deep) == (b"[[...]]", ".json")
    assert json.loads(json_of(deep))["payload"] == "[[...]]"


def test_any_json_parser_reads_the_document():
    numbers = {"far": float("nan"), "snr": [float("inf"), -float("inf"), 1.5]}

    def refuse(constant):
        raise AssertionError(constant)

    for payload in (numbers, json.dumps(numbers), AvroBlob([numbers])):
        document = json.loads(json_of(Alert("superevent", payload)), parse_constant=refuse)
        said = document["payload"]
        said = said[0] if isinstance(said, list) else said
        assert said == {"far": None, "snr": [None, None, 1.5]}


def test_what_is_said_beside_it():
    assert json_of(Alert("superevent", 1), number=3).startswith('{"number": 3, "topic": ')
