"""Odd messages among good ones, and what should become of each, on a real Kafka."""

import ctypes
import http.server
import io
import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import confluent_kafka
import fastavro
from hop import bson

from igwn_style_client import client
from igwn_style_client.archive import Archive
from tests.kafka.counting import Publisher, Tally, dice_of, running
from tests.waiting import wait_until


@dataclass
class Odd:
    """A message, and what should become of it: "delivered", "aside", "skipped" or "either"."""

    kind: str
    fate: str
    value: bytes | None
    headers: list
    partition: int = 0
    offset: int = -1


def external(url):
    """What stands on a topic for a payload that lies at a URL."""
    return json.dumps({"url": url}).encode()


_ENTITY_BOMB = b"""<?xml version="1.0"?><!DOCTYPE v [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa">
%s]><voe:VOEvent xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.0">&i;</voe:VOEvent>""" % b"\n".join(
    b'<!ENTITY %c "%s">' % (name, b"&%c;" % (name - 1) * 20) for name in b"bcdefghi"
)


def odd_messages(dice, web):
    """Yield odd messages for ever, good ones among them."""
    good = json.dumps({"uid": "S230518h", "data": {"far": 1e-9, "labels": ["ADVOK"] * 3}}).encode()

    def junk(least=0):
        return dice.randbytes(dice.randint(least, 300))

    def flipped(value):
        value = bytearray(value)
        for _ in range(dice.randint(1, 3)):
            value[dice.randrange(len(value))] = dice.randrange(256)
        return bytes(value)

    def avro():
        buffer = io.BytesIO()
        schema = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}]}
        fastavro.writer(buffer, schema, [{"n": 1}])
        return buffer.getvalue()

    deep = 10_000
    json_, a_test = ("_format", b"json"), ("_test", b"true")
    seldom = [
        # Each of these is tried three times, a second and a half.
        ("dead URL", "aside", lambda: (external("http://127.0.0.1:1/x"), "external")),
        ("500", "aside", lambda: (external(f"{web}/500"), "external")),
        ("too large", "aside", lambda: (external(f"{web}/huge"), "external")),
    ]
    often = [
        ("cut off", "aside", lambda: (good[: dice.randrange(1, len(good))], "json")),
        ("empty", "aside", lambda: (b"", "json")),
        ("bytes", "aside", lambda: (b"\x00" + junk(), "json")),
        ("no UTF-8", "aside", lambda: (b'{"a": "\xff' + junk().replace(b'"', b"") + b'"}', "json")),
        ("two", "aside", lambda: (good + good, "json")),
        ("flipped", "either", lambda: (flipped(good), "json")),
        ("never closed", "aside", lambda: (b"[" * deep, "json")),
        ("never closed", "aside", lambda: (b'{"a":' * deep, "json")),
        ("deep", "either", lambda: (b"[" * deep + b"]" * deep, "json")),
        ("digits", "either", lambda: (b'{"n": ' + b"7" * dice.randint(20, 9000) + b"}", "json")),
        ("70 bits", "delivered", lambda: (b'{"n": 1180591620717411303424}', "json")),
        ("NaN", "delivered", lambda: (b'{"a": NaN, "b": -Infinity}', "json")),
        ("list", "delivered", lambda: (b"[1, 2]", "json")),
        ("null", "delivered", lambda: (b"null", "json")),
        ("number", "delivered", lambda: (b"1e400", "json")),
        ("string", "delivered", lambda: (json.dumps(good.decode()).encode(), "json")),
        ("surrogate", "either", lambda: (b'"\\ud800"', "json")),
        ("mark", "either", lambda: (b"\xef\xbb\xbf" + good, "json")),
        ("tombstone", "aside", lambda: (None, "json")),
        ("tombstone", "aside", lambda: (None, None)),
        ("avro", "aside", lambda: (dice.choice([b"", junk(), b"Obj\x01" + junk()]), "avro")),
        ("avro cut off", "aside", lambda: (avro()[: dice.randrange(60)], "avro")),
        ("avro flipped", "either", lambda: (flipped(avro()), "avro")),
        ("voevent", "aside", lambda: (dice.choice([b"", junk(), b"<voe:VOEvent"]), "voevent")),
        ("bomb", "either", lambda: (_ENTITY_BOMB, "voevent")),
        ("circular", "either", lambda: (junk(), dice.choice(["circular", "gcntextnotice"]))),
        ("no URL", "aside", lambda: (b'{"x": 1}', "external")),
        ("URL is no str", "aside", lambda: (b'{"url": 7}', "external")),
        ("external", "aside", lambda: (dice.choice([b"", junk()]), "external")),
        ("file:", "aside", lambda: (external("file:///etc/passwd"), "external")),
        ("ftp:", "aside", lambda: (external("ftp://127.0.0.1/x"), "external")),
        ("404", "aside", lambda: (external(f"{web}/404"), "external")),
        ("junk there", "aside", lambda: (external(f"{web}/junk"), "external")),
        ("offloaded", "delivered", lambda: (external(f"{web}/good"), "external")),
        ("unknown", "aside", lambda: (good, dice.choice(["protobuf", "", "json5", "\u00df"]))),
        ("bytes", "delivered", lambda: (b"\xff" + junk(), None)),
        ("blob", "delivered", lambda: (junk(), "blob")),
        ("old envelope", "either", lambda: (b'{"format": "voevent", "content": 3}', None)),
    ]
    headers = [
        ("good", "delivered", good, [json_]),
        ("bare", "delivered", good, []),
        ("two formats", "either", good, [json_, ("_format", b"avro")]),
        ("empty format", "either", good, [("_format", b"")]),
        ("None format", "either", good, [("_format", None)]),
        ("format no ASCII", "aside", good, [("_format", b"\xff\xfe")]),
        ("sender", "delivered", good, [json_, ("_sender", b"\xff\xfe")]),
        ("sender None", "delivered", good, [json_, ("_sender", None)]),
        ("short id", "delivered", good, [json_, ("_id", b"\x01")]),
        ("id None", "delivered", good, [json_, ("_id", None)]),
        ("many", "delivered", good, [json_, *((f"h{n}", b"x") for n in range(500))]),
        ("no name", "delivered", good, [json_, ("", b"x")]),
        ("test", "skipped", good, [json_, a_test]),
        ("broken test", "skipped", b"{", [json_, a_test]),
        ("tombstone test", "skipped", None, [a_test]),
    ]
    while True:
        if dice.random() < 0.4:
            yield Odd("good", "delivered", good, [json_])
        elif dice.random() < 0.3:
            yield Odd(*dice.choice(headers))
        else:
            kind, fate, make = dice.choice(often if dice.random() > 0.02 else seldom)
            value, declared = make()
            yield Odd(
                kind, fate, value, [] if declared is None else [("_format", declared.encode())]
            )


def send_odd_messages(publisher, dice, web, number):
    """Send so many messages to random partitions, and return them."""
    sent = []
    for odd, _ in zip(odd_messages(dice, web), range(number), strict=False):
        odd.partition = dice.randrange(4)
        publisher.raw(odd.value, odd.headers, odd.partition, partial(setattr, odd, "offset"))
        sent.append(odd)
    publisher.flush()
    return sent


class _OddWeb(http.server.BaseHTTPRequestHandler):
    """What offload servers should not do."""

    def do_GET(self):
        what, _, rest = self.path[1:].partition("/")
        if what == "redirect":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif what in ("404", "500"):
            self.send_error(int(what))
        elif what == "huge":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # nobody listens to the end
                while True:
                    self.wfile.write(bytes(2**20))
        else:
            content = {
                "good": bson.dumps({"message": b'{"n": 1}', "metadata": {"headers": []}}),
                "gzip": b"not gzip",
                "short": b"short",
            }.get(what, b"\x05junk")
            self.send_response(200)
            if what == "gzip":
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(content) + 10 * (what == "short")))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def odd_web():
    """Run a web server for "external" messages; yields its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _OddWeb) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def send_with_header(kafka, topic, name, value, payload):
    """Send a record whose header's name is any bytes, which confluent_kafka cannot do."""
    (path,) = Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka*")
    lib = ctypes.CDLL(str(path))
    pointer, size, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for function in ("conf_new", "new", "headers_new"):
        getattr(lib, f"rd_kafka_{function}").restype = pointer
    error = ctypes.create_string_buffer(500)
    conf = pointer(lib.rd_kafka_conf_new())
    servers = kafka.bootstrap.encode()
    assert not lib.rd_kafka_conf_set(conf, b"bootstrap.servers", servers, error, size(500))
    producer = pointer(lib.rd_kafka_new(integer(0), conf, error, size(500)))
    headers = pointer(lib.rd_kafka_headers_new(size(1)))
    lib.rd_kafka_header_add(
        headers, name, ctypes.c_ssize_t(len(name)), value, ctypes.c_ssize_t(len(value))
    )
    # The tags of rd_kafka_vtype_t: 1 topic, 3 partition, 4 value, 7 flags (2: copy), 10 headers.
    assert not lib.rd_kafka_producev(
        producer,
        *(integer(1), ctypes.c_char_p(topic.encode()), integer(3), ctypes.c_int32(0)),
        *(integer(4), ctypes.c_char_p(payload), size(len(payload)), integer(7), integer(2)),
        *(integer(10), headers, integer(0)),
    )
    assert not lib.rd_kafka_flush(producer, integer(30_000))
    lib.rd_kafka_destroy(producer)


def among_good_ones(kafka, group, folder, web, seed=0, workers=1, number=400):
    """Listen to so many messages, most of them odd; everything that is off counts as wrong."""
    began = time.monotonic()
    topic = f"{group}.superevent"
    kafka.create_topics(topic, partitions=4)
    sent = send_odd_messages(Publisher(kafka, topic, 4), dice_of(seed), web, number)
    path = folder / f"{group}.db"
    alerts = client(
        server=kafka.url,
        noauth=True,
        group=group,
        consumer_group=group,
        set_aside=path,
        start_at="earliest",
    )
    got = []
    skipped = sum(odd.fate == "skipped" for odd in sent)

    def through():
        assert thread.is_alive(), f"the listener ended: {raised}"
        health = alerts.health()
        seen = sum(health.delivered.values()) + health.set_aside + health.skipped_tests
        return seen == len(sent)

    with running(
        alerts, lambda topic, payload, alert: got.append(alert), "superevent", workers=workers
    ) as (thread, raised):
        wait_until(through, 60 + number / 5, "all messages")
    by_place = {(odd.partition, odd.offset): odd for odd in sent}
    aside = {(one.partition, one.offset): one for one in Archive(path).alerts()}
    delivered = {(one.partition, one.offset): one for one in got}
    came = delivered.keys() | aside.keys()
    tally = Tally(
        f"odd messages, workers={workers}: {len(aside)} aside, {skipped} skipped",
        published=len(sent),
        delivered=len(got),
        lost=sorted(
            place for place, odd in by_place.items() if place not in came and odd.fate != "skipped"
        ),
        faults=sum(odd.kind != "good" for odd in sent),
        seconds=time.monotonic() - began,
    )
    tally.demand(len(delivered) == len(got), "some were delivered twice")
    tally.demand(not delivered.keys() & aside.keys(), "some were delivered and set aside")
    tally.wrong += [
        odd
        for place, odd in by_place.items()
        if (odd.fate == "delivered" and place in aside)
        or (odd.fate == "aside" and place in delivered)
        or (odd.fate == "skipped" and place in came)
    ]
    for place, one in aside.items():
        odd = by_place[place]
        kept = (one.raw, list(one.headers)) == (odd.value, odd.headers) and one.reason
        tally.demand(kept, f"not kept as it came: {odd}")
    for partition in range(4):
        offsets = [one.offset for one in got if one.partition == partition]
        tally.demand(offsets == sorted(offsets), f"partition {partition} is not in order")
    health = alerts.health()
    tally.demand((health.set_aside, health.skipped_tests) == (len(aside), skipped), str(health))
    marks = kafka.committed(group, topic)
    tally.demand(marks == kafka.end_offsets(topic), f"not all is marked: {marks}")
    return tally
