"""What is sent: made-up superevents, and recorded alerts where they lie beside the checkout."""

import json
import uuid
import zlib
from itertools import cycle, islice
from pathlib import Path

import confluent_kafka as ck

RECORDED = Path(__file__).parents[2] / "shared" / "data"
LARGEST = 16 * 2**20


def headers():
    """What hop's publishers send with each alert."""
    return [("_id", uuid.uuid4().bytes), ("_sender", b"a-publisher"), ("_format", b"json")]


def superevent(size):
    """A simulated superevent as an object, cut or filled to about so many bytes."""
    from igwn_style_client.simulation import simulate

    alert = next(one for one in simulate(1) if one.topic == "superevent")
    whole = {"uid": "S1", "alert_type": "new", "data": json.loads(alert.payload)["object"]}
    while len(json.dumps(whole)) > size and whole["data"]:
        whole["data"].popitem()
    return json.dumps({**whole, "fill": "x" * max(0, size - len(json.dumps(whole)) - 12)}).encode()


def igwn():
    """Recorded alerts of igwn_alert as GraceDB sends them: text that holds JSON."""
    files = sorted((RECORDED / "igwn-alert").glob("*.json"))
    return [json.dumps(file.read_text()).encode() for file in files]


def public():
    """A public LVK alert of 1 MB, most of it a sky map."""
    file = RECORDED / "lvk-public" / "MS181101ab-preliminary.json"
    return [file.read_bytes()] if file.exists() else []


def old_loci():
    """ANTARES' alerts as antares-client 0.2 met them, of 13 to 240 KB."""
    return [_packed(json.loads(one.read_bytes())) for one in (RECORDED / "antares").glob("[1-9]*")]


def loci():
    """ANTARES' loci as antares-client 2 meets them: recorded, and else made up."""
    file = RECORDED / "antares" / "api-v1-loci-search.json"
    if file.exists():
        return [_packed({"data": one}) for one in json.loads(file.read_bytes())["data"]]
    properties = {"newest_alert_id": f"ztf_candidate:{10**18}", "num_mag_values": 7}
    return [_packed({"id": "ANT1", "ra": 1.5, "dec": 1.5, "properties": properties})]


def _packed(document):
    from hop import bson

    return zlib.compress(bson.dumps(document))


def fill(kafka, topic, values, count, partitions=4, with_headers=True):
    """Create a topic, and send the values to it in turn until there are `count`."""
    kafka.create_topics(topic, partitions=partitions, config={"max.message.bytes": str(LARGEST)})
    add(kafka, [topic], values, count, with_headers)


def add(kafka, topics, values, count, with_headers=True):
    """Send `count` alerts to topics in turn."""
    settings = {"bootstrap.servers": kafka.bootstrap, "message.max.bytes": LARGEST}
    producer = ck.Producer({**settings, "queue.buffering.max.kbytes": 200_000, "linger.ms": 20})
    failed = []

    def told(error, _message):
        if error:
            failed.append(error)

    for topic, value in islice(zip(cycle(topics), cycle(values), strict=False), count):
        while True:
            try:
                sent = headers() if with_headers else None
                producer.produce(topic, value, headers=sent, on_delivery=told)
                break
            except BufferError:  # as much as may wait does
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(120)
    if left or failed:
        raise RuntimeError(f"{topics}: {left} alerts without an answer, {failed[:1]}")
