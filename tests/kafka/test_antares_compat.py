"""The published antares-client and ours receive the same."""

import json
import os
from pathlib import Path

import pytest

from tests.kafka import peer
from tests.kafka.test_antares import access, broker
from tests.receiving import Client, StreamingClient, connect, locus, send

__all__ = ["access", "broker", "connect", "send"]

CACHE = Path(os.environ["XDG_CACHE_HOME"]) / "igwn-style-client"


@pytest.fixture
def published():
    def find(requirement):
        try:
            return peer.fetch(CACHE, requirement)
        except peer.PeerUnavailable as error:
            pytest.skip(str(error))

    return find


@pytest.fixture
def payloads(recorded):
    """What was recorded, and made-up loci with what is hard to keep."""
    found = [json.loads(file.read_bytes()) for file in sorted((recorded / "antares").glob("*"))]
    hard = {
        "n": -1,
        "large": 2**62,
        "small": 5e-324,
        "none": None,
        "text": "é\0😀",
        "list": [[], {}],
    }
    return [*found, *map(locus, range(20)), {**locus(20), "properties": hard}]


@pytest.mark.timeout(600)
def test_client_of_0(published, broker, access, group, connect, payloads, send):
    """0.x has bare names."""
    python = published("antares-client==0.2.1")
    broker.create_topics(f"{group}_extragalactic")
    send(f"{group}_extragalactic", *payloads)
    host, _, port = access["host"].rpartition(":")
    theirs = peer.receive(
        python,
        len(payloads),
        topics=[f"{group}_extragalactic"],
        host=host,
        port=int(port),
        api_key=access["api_key"],
        api_secret=access["api_secret"],
        ssl_ca_location=access["ssl_ca_location"],
        group=f"{group}-theirs",
    )
    with connect([f"{group}_extragalactic"], Client) as client:
        ours = [list(pair) for pair in client.iter(len(payloads))]
    assert len(theirs) == len(payloads)
    assert ours == theirs


@pytest.mark.timeout(600)
def test_streaming_client_of_2(published, broker, access, group, connect, payloads, send):
    """2.x says the topic's full name, and has the prefix."""
    python = published("antares-client[subscriptions]==2.0.2")
    loci = [one for one in payloads if {"id", "properties"} <= one.keys()]
    loci += [{"data": one} for payload in payloads for one in payload.get("data", ())]
    assert len(loci) == 22
    broker.create_topics(f"client.{group}_extragalactic")
    send(f"client.{group}_extragalactic", *loci)
    theirs = peer.receive(
        python,
        len(loci),
        loci=True,
        topics=[f"{group}_extragalactic"],
        bootstrap_server=access["host"],
        api_key=access["api_key"],
        api_secret=access["api_secret"],
        ssl_ca_location=access["ssl_ca_location"],
        group=f"{group}-theirs",
    )
    with connect([f"{group}_extragalactic"], StreamingClient) as client:
        pairs = list(client.iter(len(loci)))
    names = ("locus_id", "ra", "dec", "properties", "tags", "catalogs")
    ours = [
        [f"client.{topic}", {name: getattr(one, name) for name in names}] for topic, one in pairs
    ]
    assert len(theirs) == len(loci)
    assert ours == theirs
