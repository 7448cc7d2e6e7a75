"""One way of reading a topic to its end, in a process of its own; prints seconds and CPU seconds.

Run as ``python -m benchmarks.readers WAY BROKER TOPIC COUNT``.
"""

import json
import resource
import sys
import time


def raw(broker, topic, count, decode=None, **settings):
    """confluent_kafka alone: batches of 500."""
    import confluent_kafka

    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": broker, "group.id": "benchmark", **settings}
    )
    metadata = consumer.list_topics(topic).topics[topic]
    consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in metadata.partitions])
    seen = 0

    def process(topic, payload):  # noqa: ARG001
        nonlocal seen
        seen += 1

    started = None
    while seen < count:
        for message in consumer.consume(500, 1.0):
            started = started or time.perf_counter()
            value = message.value()
            process(topic=topic, payload=decode(value) if decode else value)
    took = time.perf_counter() - started
    consumer.close()
    return took


def raw_json(broker, topic, count):
    """The plain loop that people write."""
    return raw(broker, topic, count, json.loads)


def tuned(broker, topic, count):
    """The fastest loop that we know by hand."""
    import orjson

    return raw(broker, topic, count, orjson.loads, **{"fetch.queue.backoff.ms": 10})


def igwn_alert(broker, topic, count, batch_size=1):
    """The client of today."""
    import warnings

    warnings.simplefilter("ignore")
    import igwn_alert
    from hop.io import StartPosition

    group, _, name = topic.partition(".")
    client = igwn_alert.client(
        server=f"kafka://{broker}/",
        port=int(broker.rpartition(":")[2]),
        noauth=True,
        group=group,
        batch_size=batch_size,
    )
    client.start_at = StartPosition.EARLIEST
    return _listen(client, name, count)


def igwn_alert_100(broker, topic, count):
    """The same in batches."""
    return igwn_alert(broker, topic, count, 100)


def ours(broker, topic, count, batch_size=1, workers=1):
    """igwn_style_client."""
    from igwn_style_client import client

    group, _, name = topic.partition(".")
    alerts = client(
        server=broker, noauth=True, group=group, batch_size=batch_size, start_at="earliest"
    )
    return _listen(alerts, name, count, **({"workers": workers} if workers > 1 else {}))


def ours_100(broker, topic, count):
    """The same in batches."""
    return ours(broker, topic, count, 100)


def ours_4_workers(broker, topic, count):
    """The same in four lanes."""
    return ours(broker, topic, count, 100, 4)


def _listen(client, name, count, **options):
    seen = 0
    started = took = None

    def process(topic, payload):  # noqa: ARG001
        nonlocal seen, started, took
        started = started or time.perf_counter()
        seen += 1
        if seen == count:
            took = time.perf_counter() - started
            client.stop()

    client.listen(process, name, **options)
    return took


WAYS = {
    "raw confluent_kafka": raw,
    "raw + json": raw_json,
    "tuned loop": tuned,
    "igwn_alert": igwn_alert,
    "igwn_alert, batch 100": igwn_alert_100,
    "igwn_style_client": ours,
    "igwn_style_client, batch 100": ours_100,
    "igwn_style_client, 4 workers": ours_4_workers,
}


if __name__ == "__main__":
    way, broker, topic, count = sys.argv[1:]
    took = WAYS[way](broker, topic, int(count))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": took, "cpu": usage.ru_utime + usage.ru_stime}))
