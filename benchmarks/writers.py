"""One way of publishing, in a process of its own; prints the seconds that it took.

The process is told as one JSON argument what to send and how.  The first alert is sent, and
confirmed, before the time begins.  Alerts are text that holds JSON, as GraceDB sends.
"""

import json
import sys
import time
import uuid
import warnings
from datetime import timedelta
from functools import partial

# hop's flush, and so igwn_alert's, waits only if it is given a time.
LONG = timedelta(seconds=60)


def text(size):
    """An alert of so many bytes."""
    alert = {"uid": "S1", "alert_type": "new", "data": {"far": 1e-9}}
    return json.dumps({**alert, "fill": "x" * max(0, size - len(json.dumps(alert)) - 12)})


def timed(count, once, at_the_end=lambda: None):
    """Call `once` so often, then `at_the_end`; the seconds that takes, without a first time."""
    once()
    at_the_end()
    started = time.perf_counter()
    for _ in range(count):
        once()
    at_the_end()
    return time.perf_counter() - started


def _raw(broker, topic, msg):
    """confluent_kafka alone, with the guarantees, the encoder and the bytes of ours."""
    import confluent_kafka

    from igwn_style_client.encoding import encode_json

    producer = confluent_kafka.Producer({"bootstrap.servers": broker, "enable.idempotence": True})

    def confirmed(error, _message):
        if error:
            raise RuntimeError(error)

    def send():
        headers = [("_id", uuid.uuid4().bytes), ("_format", b"json")]
        producer.produce(topic, encode_json(msg), headers=headers, on_delivery=confirmed)
        producer.poll(0)

    return producer, send


def raw(broker, topic, count, msg):
    """A flush after each."""
    producer, send = _raw(broker, topic, msg)
    return timed(count, lambda: (send(), producer.flush()))


def raw_queued(broker, topic, count, msg):
    """One flush for all."""
    producer, send = _raw(broker, topic, msg)
    return timed(count, send, producer.flush)


def hop_opened(broker, topic, count, msg):
    """hop as its documentation shows it, opened for each alert."""
    from hop import Stream

    stream = Stream(auth=False)

    def once():
        with stream.open(f"kafka://{broker}/{topic}", "w") as session:
            session.write(msg)

    return timed(count, once)


def hop(broker, topic, count, msg):
    """hop, kept open, a flush after each."""
    from hop import Stream

    with Stream(auth=False).open(f"kafka://{broker}/{topic}", "w") as session:
        return timed(count, lambda: (session.write(msg), session.flush(LONG)))


def hop_queued(broker, topic, count, msg):
    """hop, kept open, one flush for all."""
    from hop import Stream

    with Stream(auth=False).open(f"kafka://{broker}/{topic}", "w") as session:
        return timed(count, lambda: session.write(msg), lambda: session.flush(LONG))


def _client(module, broker, topic):
    group, _, name = topic.partition(".")
    port = int(broker.rpartition(":")[2])
    return module.client(server=f"kafka://{broker}/", port=port, noauth=True, group=group), name


def igwn_alert(broker, topic, count, msg, queued=False):
    """The client of today."""
    import igwn_alert

    return _published(*_client(igwn_alert, broker, topic), count, msg, queued)


def igwn_alert_queued(broker, topic, count, msg):
    """Its session."""
    return igwn_alert(broker, topic, count, msg, queued=True)


def ours(broker, topic, count, msg, queued=False):
    """igwn_style_client."""
    import igwn_style_client

    return _published(*_client(igwn_style_client, broker, topic), count, msg, queued)


def ours_queued(broker, topic, count, msg):
    """Its session."""
    return ours(broker, topic, count, msg, queued=True)


def _published(client, name, count, msg, queued):
    if not queued:
        return timed(count, lambda: client.publish(name, msg))
    client.connect(name)
    flush = partial(client.sessions[name].flush, LONG)
    return timed(count, lambda: client.publish_to_topic(name, msg), flush)


#: Each alert confirmed before the next one.
ONE_BY_ONE = {
    "igwn_alert publish": igwn_alert,
    "hop, opened each time": hop_opened,
    "hop, kept open": hop,
    "raw confluent_kafka": raw,
    "igwn_style_client publish": ours,
}
#: Queued, and one flush.
QUEUED = {
    "igwn_alert session": igwn_alert_queued,
    "hop session": hop_queued,
    "raw confluent_kafka queued": raw_queued,
    "igwn_style_client session": ours_queued,
}
WAYS = ONE_BY_ONE | QUEUED


def write(way, broker, topic, count, size):
    """Write in this process, and print the result."""
    warnings.simplefilter("ignore")
    took = WAYS[way](broker, topic, count, text(size))
    print(json.dumps({"seconds": took}))


if __name__ == "__main__":
    write(**json.loads(sys.argv[1]))
