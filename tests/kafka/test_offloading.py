"""What is too large for Kafka goes to the offload server that the broker names, as hop sends it."""

import json
from contextlib import contextmanager

import pytest
from hop.auth import Auth
from hop.io import Producer

from igwn_style_client import AuthorizationError, PublishError, StreamError, client
from tests.kafka.counting import astronomer
from tests.kafka.offload_server import offload_server
from tests.listening import listening
from tests.waiting import wait_until

LARGE = {"uid": "S1", "skymap": "x" * 2_000_000}

# hop's, of an address without TLS; it is on this machine.
pytestmark = pytest.mark.filterwarnings("ignore:Large message offload service is bare HTTP")


@pytest.fixture(scope="module")
def server(kafka):
    """An offload server; the broker names it meanwhile."""
    with offload_server(kafka.users) as server:
        kafka.create_topics("sys.metadata")
        named = {"LargeMessageUploadEndpoint": server.url}
        kafka.produce("sys.metadata", json.dumps(named).encode())
        yield server
        kafka.delete_topics("sys.metadata")


@contextmanager
def refusing(server, status):
    server.refuses = status
    try:
        yield
    finally:
        server.refuses = None


@pytest.fixture
def alerts(kafka, group):
    kafka.create_topics(f"{group}.superevent")
    with client(**astronomer(kafka), group=group) as alerts:
        yield alerts


def received(alerts, send):
    """Listen while something is sent; return the payload that comes."""
    got = []
    with listening(alerts, lambda topic, payload: got.append(payload), "superevent"):
        send()
        wait_until(lambda: got, what="an alert")
    return got[0]


def test_it_arrives_whole(alerts, server):
    headers, key = {"origin": "LHO"}, "S1"
    sent = lambda: alerts.publish("superevent", LARGE, headers=headers, key=key)  # noqa: E731
    assert received(alerts, sent) == LARGE


def test_it_is_stored_as_hops_writer_stores_it(kafka, group, alerts, server):
    topic = f"{group}.superevent"
    before = set(server.stored)
    alerts.publish("superevent", LARGE, headers={"origin": "LHO"}, key="S1", test=True)
    auth = Auth("astronomer", kafka.users["astronomer"], ssl_ca_location=str(kafka.ca))
    hops = Producer([kafka.sasl_bootstrap], [topic], auth)
    hops.write(LARGE, headers=[("origin", b"LHO")], key="S1", test=True)
    hops.close()
    (ours_at, ours), (hops_at, hops) = (
        document for one, document in server.stored.items() if one not in before
    )
    assert ours_at == hops_at == topic
    for one in (ours, hops):
        assert len(dict(one["headers"]).pop("_id")) == 16
        one["headers"] = [pair for pair in one["headers"] if pair[0] != "_id"]
    assert ours == hops
    first, second = kafka.records(topic)
    assert first.key() == second.key() == b"S1"
    for record in (first, second):
        told = dict(record.headers())
        assert len(told.pop("_id")) == 16
        assert told == {"_format": b"external", "_sender": b"astronomer", "_test": b"true"}


@pytest.mark.parametrize(
    ("status", "kind"), [(413, StreamError), (500, StreamError), (403, AuthorizationError)]
)
def test_it_is_not_taken(group, alerts, server, status, kind):
    with refusing(server, status), pytest.raises(PublishError, match=f": {status} ") as caught:
        alerts.publish("superevent", LARGE)
    assert type(caught.value.__cause__) is kind
    assert f'too large for "{group}.superevent"' in str(caught.value)
    assert f"the limit is 1048588 (max.message.bytes); {server.url} did not" in str(caught.value)
    assert caught.value.unconfirmed == [(f"{group}.superevent", LARGE)]
    assert alerts.publish("superevent", "small").offset == 0


def test_a_topic_with_a_low_limit(kafka, group, server):
    """Its limit is asked for when the broker has refused an alert; the next time that one goes."""
    kafka.create_topics(f"{group}.superevent", config={"max.message.bytes": "100000"})
    alert = {"skymap": "x" * 200_000}
    with client(**astronomer(kafka), group=group) as alerts:
        with pytest.raises(PublishError, match=f"limit is 100000 .*send it again, to {server.url}"):
            alerts.publish("superevent", alert)
        assert received(alerts, lambda: alerts.publish("superevent", alert)) == alert
