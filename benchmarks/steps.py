"""What each step of an alert costs in Python: microseconds, of fresh messages of 1 KB each time."""

import dataclasses
import json
from collections import deque
from datetime import datetime, timezone
from itertools import islice
from time import perf_counter

import confluent_kafka as ck

from benchmarks import payloads
from benchmarks.statistic import short, spread
from igwn_style_client import igwn
from igwn_style_client.batch import Batch
from igwn_style_client.decoding import Decoder
from igwn_style_client.watermark import Watermark

_TOPIC = "benchmark.steps"
_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Eager:
    """An alert as one would write it first."""

    topic: str
    payload: object
    full_name: str
    partition: int
    offset: int
    time: datetime
    key: bytes | None
    headers: tuple
    raw: bytes

    @classmethod
    def of(cls, message):
        """Fill in everything but the payload."""
        name, milliseconds = message.topic(), message.timestamp()[1]
        return cls(
            name.partition(".")[2],
            None,
            name,
            message.partition(),
            message.offset(),
            datetime.fromtimestamp(milliseconds / 1000, timezone.utc),
            message.key(),
            tuple(message.headers() or ()),
            message.value(),
        )


def measure(kafka, given):
    """Microseconds for each alert, by step."""
    count = max(100, given.alerts // 20)
    payloads.fill(kafka, _TOPIC, [payloads.superevent(1000)], count * 20, partitions=1)
    settings = {"bootstrap.servers": kafka.bootstrap, "group.id": "benchmark"}
    consumer = ck.Consumer({**settings, "auto.offset.reset": "earliest"})
    consumer.assign([ck.TopicPartition(_TOPIC, 0, ck.OFFSET_BEGINNING)])
    messages = _all(consumer)
    taken = {}
    for _ in range(_ROUNDS):
        fresh = list(islice(messages, 2 * count))
        for step, micro in _steps(fresh[:count], fresh[count:]):
            taken.setdefault(step, []).append(micro)
    consumer.close()
    kafka.delete_topics(_TOPIC)
    return {"steps": {step: spread(each) for step, each in taken.items()}}


def _all(consumer):
    while True:
        yield from consumer.consume(500, 1.0)


def _steps(messages, others):
    """Time each step over all messages; headers are made when they are first looked at."""
    decode = Decoder(igwn.dialect("benchmark")).known[b"json"]
    mark = Watermark(_TOPIC, 0, messages[0].offset())

    def timed(step, call, things):
        begun = perf_counter()
        deque(map(call, things), maxlen=0)
        return step, (perf_counter() - begun) * 1e6 / len(things)

    yield timed("a frozen dataclass with all fields but the payload", Eager.of, others)
    yield timed("error(), topic(), partition() and offset()", _look, messages)
    yield timed("headers(), the first time", ck.Message.headers, messages)
    yield timed("value()", ck.Message.value, messages)
    batch = Batch(mark, "steps")
    put, put_decoder, put_offset = (
        each.append for each in (batch.messages, batch.decoders, batch.offsets)
    )

    def receive(message):
        put(message)
        put_decoder(decode)
        put_offset(message.offset())

    def note(number):
        batch.done[number] = 1

    yield timed("putting it into a batch", receive, messages)
    batch.begin()
    yield timed("noting that it is finished", note, range(len(batch)))
    values = [message.value() for message in messages]
    yield timed("decoding: json", json.loads, values)
    try:
        import orjson
    except ImportError:
        pass
    else:
        yield timed("decoding: orjson", orjson.loads, values)
    yield timed("decoding: ours (msgspec)", igwn.decode_json, values)
    alerts, made = [], iter(batch)

    def make(_):
        alerts.append(next(made))

    yield timed("an Alert, for those who ask for it", make, values)
    # Let go of, as delivery does.
    yield timed("alert.payload, with its decoding", lambda _: alerts.pop().payload, values)


def _look(message):
    return message.error(), message.topic(), message.partition(), message.offset()


def tables(results):
    """One table."""
    steps = results["steps"].items()
    rows = [[step, short(one["median"]), short(one["min"])] for step, one in steps]
    return {"steps": [["", "microseconds", "least"], *rows]}
