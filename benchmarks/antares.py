"""The ways of reading ANTARES' loci over TLS with a key: by hand, by antares-client, by ours.

As in ``readers``; `access` holds host, api_key, api_secret and ssl_ca_location.  The published
clients run in environments of their own (tests/kafka/peer.py).
"""

import secrets

from benchmarks.readers import Way


def by_hand(access, topics, process):
    """confluent_kafka, zlib, and BSON by the C of PyMongo."""
    import zlib

    import bson
    import confluent_kafka as ck

    consumer = ck.Consumer(
        {
            "bootstrap.servers": access["host"],
            "group.id": f"benchmark-{secrets.token_hex(4)}",
            "auto.offset.reset": "earliest",
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "PLAIN",
            "sasl.username": access["api_key"],
            "sasl.password": access["api_secret"],
            "ssl.ca.location": access["ssl_ca_location"],
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.subscribe(topics)
    ended = []
    process.stop = lambda: ended.append(True)
    while not ended:
        message = consumer.poll(1.0)
        if message is not None:
            process(topic=topics[0], payload=bson.decode(zlib.decompress(message.value())))
    consumer.close()


def published_0(access, topics, process):
    """antares-client 0.2."""
    from antares_client import Client

    host, _, port = access["host"].rpartition(":")
    _iterate(Client(topics, **access | {"host": host, "port": int(port)}, **_group()), process)


def published_2(access, topics, process):
    """antares-client 2."""
    from antares_client import StreamingClient

    access = dict(access)
    server = access.pop("host")
    names = [topic.removeprefix("client.") for topic in topics]
    _iterate(StreamingClient(names, bootstrap_server=server, **access, **_group()), process)


def ours(access, topics, process, kind="Client", listen=False):
    """igwn_style_client.antares."""
    from igwn_style_client import antares

    names = [topic.removeprefix("client.") for topic in topics]
    client = getattr(antares, kind)(names, **access, **_group())
    if listen:
        process.stop = client.stop
        client.listen(process)
        client.close()
    else:
        _iterate(client, process)


def _group():
    return {"group": f"benchmark-{secrets.token_hex(4)}"}


def _iterate(client, process):
    ended = []
    process.stop = lambda: ended.append(True)
    with client:
        for topic, locus in client.iter():
            process(topic=topic, payload=locus)
            if ended:
                break


REQUIREMENTS = {
    "antares-client 0.2": "antares-client==0.2.1",
    "antares-client 2": "antares-client[subscriptions]==2.0.2",
}
HAND = "confluent_kafka + zlib + bson"
WAYS = {
    HAND: Way(by_hand, {}, "bson"),
    "antares-client 0.2": Way(published_0, {}, "benchmarks", 0.5),
    "antares-client 2": Way(published_2, {}, "benchmarks", 0.5),
    "antares.Client, iter": Way(ours),
    "antares.Client, listen": Way(ours, {"listen": True}),
    "antares.StreamingClient, iter": Way(ours, {"kind": "StreamingClient"}),
}
