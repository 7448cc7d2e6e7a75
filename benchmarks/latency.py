"""From publishing to the callback, for alerts that are alone on the wire.

All ways listen at once, each to a topic of its own, and get an alert in turn: so each alert finds
everything idle, and what disturbs the machine disturbs all ways alike.
"""

import json
import random
import selectors
import time
from contextlib import ExitStack
from functools import partial

import confluent_kafka as ck

from benchmarks.child import Child
from benchmarks.readers import OURS
from benchmarks.statistic import percentile, short

RAW = "confluent_kafka, one by one"
WAYS = [
    RAW,
    "igwn_alert",
    "igwn_alert, batch_size=100",
    OURS,
    f"{OURS}, batch_size=100",
    f"{OURS}, workers=4",
    f"{OURS}, batch_size=100, workers=4",
]
_APART_SECONDS = 0.04


def measure(kafka, given):
    """Latencies in milliseconds, by way."""
    topics = {way: f"benchmark.latency{number}" for number, way in enumerate(WAYS)}
    kafka.create_topics(*topics.values())
    count, chance = given.latencies, random.Random(1)
    producer = ck.Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})

    def send(topic, sent):
        value = json.dumps({"sent": sent, "fill": "x" * 900}).encode()
        producer.produce(topic, value, headers=[("_format", b"json")])
        producer.flush(10)

    with ExitStack() as stack:
        listening = {}
        for way, topic in topics.items():
            told = {"table": "readers", "measure": "clocking", "count": count}
            listening[way] = stack.enter_context(
                Child(way=way, where=kafka.bootstrap, topics=[topic], **told)
            )
        for way, child in listening.items():
            wait_until_ready(child, partial(send, topics[way], 0))
        for _ in range(count):
            for topic in topics.values():
                time.sleep(chance.uniform(0.5, 1.5) * _APART_SECONDS)
                send(topic, time.monotonic_ns())
        taken = {way: child.result() for way, child in listening.items()}
    kafka.delete_topics(*topics.values())
    return {"latency": {"count": count, "ways": {way: _of(one) for way, one in taken.items()}}}


def wait_until_ready(child, send):
    """Send alerts until one has arrived: from now on nothing is missed."""
    with selectors.DefaultSelector() as selector:
        selector.register(child.process.stdout, selectors.EVENT_READ)
        end = time.monotonic() + 60
        while not selector.select(0.3):
            if child.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"does not listen: {child.told}")
            send()
    child.process.stdout.readline()


def _of(latencies):
    return {
        "p50": percentile(latencies, 0.5),
        "p99": percentile(latencies, 0.99),
        "max": max(latencies),
    }


def tables(results):
    """One table."""
    ways = results["latency"]["ways"]
    rows = [["", "p50, ms", "p99, ms", "longest, ms", "p50 over the plain poll"]]
    for way, one in ways.items():
        over = one["p50"] - ways[RAW]["p50"]
        times = [short(one[name]) for name in ("p50", "p99", "max")]
        rows.append([way, *times, f"{over:+.2f}"])
    return {"latency": rows}
