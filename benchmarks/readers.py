"""The ways of reading alerts from a Kafka without a login: by hand, by others' clients, by ours.

Each takes all alerts of `topics` from the beginning, or with `latest` from now on, and calls
``process(topic=..., payload=...)`` for each until ``process.stop`` is called, which it sets.
"""

import json
import pkgutil
import secrets
from dataclasses import dataclass, field
from importlib.util import find_spec


def raw(broker, topics, process, latest=False, decode=None, one_by_one=False, **settings):
    """confluent_kafka alone, which marks what it reads as seen before it is."""
    consumer = _assigned(broker, topics, latest, settings)
    decode = pkgutil.resolve_name(decode) if decode else lambda value: value
    (topic, *_), ended = topics, []
    process.stop = lambda: ended.append(True)
    while one_by_one and not ended:
        message = consumer.poll(1.0)
        if message is not None:
            process(topic=topic, payload=decode(message.value()))
    while not ended:
        for message in consumer.consume(500, 1.0):
            process(topic=topic, payload=decode(message.value()))
    consumer.close()


def heeding(broker, topics, process, decode, **settings):
    """The same, but it looks at the headers as whoever reads hop's topics must."""
    consumer = _assigned(broker, topics, False, settings)
    decode = pkgutil.resolve_name(decode)
    (topic, *_), ended = topics, []
    process.stop = lambda: ended.append(True)
    while not ended:
        for message in consumer.consume(500, 1.0):
            form = None
            for name, value in message.headers() or ():
                if name == "_format":
                    form = value
                elif name == "_test":
                    break
            else:
                value = message.value()
                process(topic=topic, payload=decode(value) if form in (None, b"json") else value)
    consumer.close()


def _assigned(broker, topics, latest, settings):
    import confluent_kafka as ck

    consumer = ck.Consumer({"bootstrap.servers": broker, "group.id": "benchmark", **settings})
    there = consumer.list_topics(timeout=30).topics
    start = ck.OFFSET_END if latest else ck.OFFSET_BEGINNING
    consumer.assign(
        [
            ck.TopicPartition(one, number, start)
            for one in topics
            for number in there[one].partitions
        ]
    )
    return consumer


def two_connections(broker, topics, process, latest=False):
    """A plain poll, and a second connection that asks for the topics every five seconds."""
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient

    consumer = _assigned(broker, topics, latest, {})
    beside = AdminClient({"bootstrap.servers": broker})
    ended = []
    process.stop = lambda: ended.append(True)
    for number in range(10**9):
        if ended:
            return
        if number % 5 == 0:
            beside.describe_topics(ck.TopicCollection(topics))
        message = consumer.poll(1.0)
        if message is not None:
            process(topic=topics[0], payload=message.value())


def igwn_alert(broker, topics, process, latest=False, **keywords):
    """The client of today."""
    import warnings

    warnings.simplefilter("ignore")
    import igwn_alert
    from hop.io import StartPosition

    group, names = _short(topics)
    port = int(broker.rpartition(":")[2])
    client = igwn_alert.client(
        server=f"kafka://{broker}/", port=port, noauth=True, group=group, **keywords
    )
    client.start_at = StartPosition.LATEST if latest else StartPosition.EARLIEST
    process.stop = client.stop
    client.listen(process, names)


def hop(broker, topics, process):
    """hop's stream, as its documentation shows it."""
    from hop import Stream
    from hop.io import StartPosition

    ended = []
    process.stop = lambda: ended.append(True)
    with Stream(auth=False, start_at=StartPosition.EARLIEST).open(
        f"kafka://{broker}/{','.join(topics)}", "r"
    ) as stream:
        for message in stream:
            process(topic=topics[0], payload=message.content)
            if ended:
                break


def gcn_kafka(broker, topics, process):
    """GCN's consumer, as its documentation shows it, with JSON."""
    from gcn_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "security.protocol": "plaintext",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(topics)
    ended = []
    process.stop = lambda: ended.append(True)
    while not ended:
        for message in consumer.consume(timeout=1):
            process(topic=message.topic(), payload=json.loads(message.value()))
    consumer.close()


def aiokafka(broker, topics, process):
    """The consumer in asyncio, with JSON."""
    import asyncio

    from aiokafka import AIOKafkaConsumer

    async def read():
        ended = []
        process.stop = lambda: ended.append(True)
        async with AIOKafkaConsumer(
            *topics, bootstrap_servers=broker, auto_offset_reset="earliest"
        ) as consumer:
            async for message in consumer:
                process(topic=message.topic, payload=json.loads(message.value))
                if ended:
                    break

    asyncio.run(read())


def ours(broker, topics, process, latest=False, grouped=False, workers=1, **keywords):
    """igwn_style_client; `grouped` in a new consumer group, with marks that are committed."""
    from igwn_style_client import client

    group, names = _short(topics)
    alerts = client(
        server=broker,
        noauth=True,
        group=group,
        consumer_group=f"benchmark-{secrets.token_hex(4)}" if grouped else None,
        start_at="latest" if latest else "earliest",
        **keywords,
    )
    process.stop = alerts.stop
    alerts.listen(process, names, workers=workers)


def _short(topics):
    group = topics[0].partition(".")[0]
    return group, [topic.partition(".")[2] for topic in topics]


@dataclass(frozen=True)
class Way:
    """A function, its keywords, the package that it needs, and the share of the work it is given.

    Today's clients manage some thousand alerts a second: a tenth of the work is enough for them.
    """

    read: object
    how: dict = field(default_factory=dict)
    needs: str = "confluent_kafka"
    share: float = 1.0

    @property
    def is_there(self):
        """Whether its package is installed."""
        return find_spec(self.needs) is not None


ORJSON = {"decode": "orjson:loads"}
TUNED = ORJSON | {"fetch.queue.backoff.ms": 10}
ONE_BY_ONE = {"one_by_one": True}
#: What a loop by hand may tell librdkafka; the last one is what ours does.
SETTINGS = {
    "adc's: queued.min.messages=1000": {"queued.min.messages": 1000},
    "librdkafka's own": {},
    "queued.max.messages.kbytes=16384": {"queued.max.messages.kbytes": 16384},
    "fetch.queue.backoff.ms=10": {"fetch.queue.backoff.ms": 10},
    "both of these": {"fetch.queue.backoff.ms": 10, "queued.max.messages.kbytes": 16384},
}
OURS = "igwn_style_client"
#: What ratios are of: the faster of two loops.
LOOPS = ("tuned loop, consume()", "tuned loop, poll()")
HEEDING = "tuned loop, consume(), that heeds headers"
WAYS = {
    "confluent_kafka": Way(raw),
    "confluent_kafka, one by one": Way(raw, ONE_BY_ONE),
    "confluent_kafka, two connections": Way(two_connections),
    "confluent_kafka + json": Way(raw, {"decode": "json:loads"}),
    "confluent_kafka + json, one by one": Way(raw, {"decode": "json:loads"} | ONE_BY_ONE),
    LOOPS[0]: Way(raw, TUNED, "orjson"),
    LOOPS[1]: Way(raw, TUNED | ONE_BY_ONE, "orjson"),
    HEEDING: Way(heeding, TUNED, "orjson"),
    **{
        name: Way(raw, ORJSON | ONE_BY_ONE | settings, "orjson", 0.1 if "adc" in name else 1.0)
        for name, settings in SETTINGS.items()
    },
    "igwn_alert": Way(igwn_alert, {}, "igwn_alert", 0.1),
    "igwn_alert, batch_size=100": Way(igwn_alert, {"batch_size": 100}, "igwn_alert", 0.1),
    "hop": Way(hop, {}, "hop", 0.1),
    "gcn-kafka": Way(gcn_kafka, {}, "gcn_kafka"),
    "aiokafka": Way(aiokafka, {}, "aiokafka", 0.3),
    OURS: Way(ours),
    f"{OURS}, batch_size=100": Way(ours, {"batch_size": 100}),
    f"{OURS}, in a group": Way(ours, {"grouped": True}),
    f"{OURS}, workers=4": Way(ours, {"workers": 4}),
    f"{OURS}, batch_size=100, workers=4": Way(ours, {"batch_size": 100, "workers": 4}),
}
