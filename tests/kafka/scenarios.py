"""What must hold whatever happens to a listener, on a real Kafka: the faults, and the counting.

Each function runs one row of the table of promises and returns its `Tally`; the tests run them
short, ``python -m benchmarks.chaos`` at full length.  An alert is known by the number ``n`` in its
payload.
"""

import ctypes
import http.server
import io
import json
import random
import signal
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import confluent_kafka
import fastavro
from confluent_kafka import Producer
from hop import bson

from tests.listener import Listener
from tests.waiting import wait_until

#: A killed member is missed after this; the broker of the tests allows it.
SOON = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 300}
#: "At most about 1 s of finished alerts": commits go out every 0.5 s, and take their time.
BOUND = 2.0


@dataclass
class Tally:
    """What became of the published alerts.

    Attributes
    ----------
    lost, repeated
        Numbers of the alerts that never arrived, and of those that arrived finished before.
    late
        How long before the end of its process an alert was finished that came again all the same,
        in seconds, beyond what the promise allows.
    """

    row: str
    published: int = 0
    delivered: int = 0
    lost: list = field(default_factory=list)
    repeated: list = field(default_factory=list)
    late: list = field(default_factory=list)
    kills: int = 0
    seconds: float = 0.0


class Publisher:
    """Sends numbered alerts, partition after partition.  One thread at a time."""

    def __init__(self, kafka, topic, partitions):
        self.topic = topic
        self.sent = []
        self._kafka = kafka
        self._numbers = count()
        self._failed = []
        self.connect(partitions)

    def connect(self, partitions):
        """Connect, anew when the topic has been given more partitions: so that they are known."""
        self._partitions = partitions
        self._producer = Producer({"bootstrap.servers": self._kafka.bootstrap, "log_level": 0})

    def send(self, number=1, partition=None, **payload):
        """Send some alerts with this payload, and wait for their confirmation."""
        for _ in range(number):
            self.queue(partition, **payload)
        self.flush()

    def queue(self, partition=None, **payload):
        """Send one alert; `flush` waits for its confirmation."""
        n = next(self._numbers)
        value = json.dumps({"n": n, **payload}).encode()
        where = n % self._partitions if partition is None else partition
        self.raw(value, [("_format", b"json"), ("_id", uuid.uuid4().bytes)], where)
        self.sent.append(n)

    def raw(self, value, headers, partition=0, on_offset=lambda _: None):
        """Send any record; `on_offset` is told where it lies."""

        def confirmed(error, message):
            if error:
                self._failed.append(error)
            else:
                on_offset(message.offset())

        while True:
            try:
                self._producer.produce(
                    self.topic,
                    value,
                    headers=headers,
                    partition=partition,
                    on_delivery=confirmed,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def flush(self):
        """Wait for all confirmations."""
        left = self._producer.flush(60)
        assert not left, f"{left} alerts without an answer"
        assert not self._failed, self._failed


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


class Members:
    """Listeners of one consumer group, one after the other or side by side, and what they did.

    A context manager: kills what is left.
    """

    def __init__(self, kafka, group, consumer_group=None, options=SOON, listen=None, **keywords):
        self._told = {
            "server": kafka.url,
            "noauth": True,
            "group": group,
            "consumer_group": consumer_group or group,
            "set_aside": False,
            "options": {**kafka.options, **options},
            **keywords,
        }
        self._listen = listen
        self._stack = ExitStack()
        self.all = []
        self.ends = []

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        return self._stack.__exit__(*exc_info)

    def start(self, topics=("superevent",), wait=True):
        """Start one, and wait until it listens."""
        listener = Listener(list(topics), self._listen, own_signals=False, shows="n", **self._told)
        self._stack.enter_context(listener)
        self.all.append(listener)
        if wait:
            listener.wait_for("ready")
        return listener

    def kill(self, listener):
        """SIGKILL one."""
        listener.kill()
        self.ends.append((listener, time.time()))

    def stop(self, listener, number=signal.SIGTERM):
        """Send a signal, unless it has ended, and wait for the end in good order."""
        listener.signal(number)
        listener.wait()
        self.ends.append((listener, time.time()))

    def done(self):
        """How often each alert was finished, by number."""
        return Counter(event["payload"] for one in self.all for event in one.of("done"))

    def wait_for(self, numbers, seconds=90):
        """Wait until all of these are finished."""
        wanted = set(numbers)

        def missing():
            for listener in self.all:
                gone = [one for one, _ in self.ends]
                if listener not in gone and listener.process.poll() is not None:
                    raise AssertionError(
                        f"a listener ended: {listener.events[-2:]} {''.join(listener.errors[-20:])}"
                    )
            return wanted - self.done().keys()

        try:
            wait_until(lambda: not missing(), seconds, f"{len(wanted)} alerts")
        except TimeoutError:
            left = sorted(missing())
            raise AssertionError(f"{len(left)} did not come in {seconds} s: {left[:20]}") from None

    def tally(self, row, sent, began):
        """Count."""
        done = self.done()
        return Tally(
            row,
            published=len(sent),
            delivered=sum(done.values()),
            lost=sorted(set(sent) - done.keys()),
            repeated=sorted(n for n, times in done.items() if times > 1),
            late=self._late(),
            seconds=time.monotonic() - began,
        )

    def _late(self):
        late = []
        for listener, end in self.ends:
            at = {event["payload"]: event["at"] for event in listener.of("done")}
            again = {
                event["payload"]
                for other in self.all
                if other is not listener
                for event in other.of("begun")
                if event["at"] > end and event["payload"] in at
            }
            late += [round(end - at[n], 2) for n in again if end - at[n] > BOUND]
        return sorted(late)


def killed_at_random(
    kafka, group, seed=0, workers=1, batch_size=1, kills=3, alerts=150, longest=0.02, partitions=4
):
    """SIGKILL a listener at random moments, while alerts come and while it is down."""
    began = time.monotonic()
    dice = random.Random(f"{seed}-{workers}-{batch_size}")
    kafka.create_topics(f"{group}.superevent", partitions=partitions)
    publisher = Publisher(kafka, f"{group}.superevent", partitions)
    listen = {"workers": workers}
    with Members(kafka, group, listen=listen, batch_size=batch_size) as members:
        listener = members.start()
        for round_ in range(kills):
            share = alerts // kills + (round_ < alerts % kills)
            while_up = dice.randint(share // 4, share)
            if round_ and dice.random() < 0.3:  # before it listens, or just then
                time.sleep(dice.uniform(0.2, 2.5))
                while_up = 0
            else:
                listener.wait_for("ready")
                for _ in range(while_up):
                    publisher.queue(do="sleep", **{"for": dice.uniform(0, longest)})
                publisher.flush()
                time.sleep(dice.uniform(0, 1.5))
            members.kill(listener)
            for _ in range(share - while_up):
                publisher.queue(do="sleep", **{"for": dice.uniform(0, longest)})
            publisher.flush()
            listener = members.start(wait=False)
        members.wait_for(publisher.sent, 60 + alerts * longest)
        members.stop(listener)
        tally = members.tally(
            f"SIGKILL, workers={workers}, batch_size={batch_size}", publisher.sent, began
        )
    tally.kills = kills
    return tally


def ended_in_good_order(kafka, group, tmp_path, how="SIGTERM", workers=1, alerts=40, seed=0):
    """End a listener while callbacks run; the next one goes on exactly there.

    Returns the tally, the exit status, and the seconds from the last callback to the end.
    """
    began = time.monotonic()
    dice = random.Random(f"{seed}-{how}-{workers}")
    kafka.create_topics(f"{group}.superevent", partitions=4)
    publisher = Publisher(kafka, f"{group}.superevent", 4)
    go = tmp_path / f"go-{group}"
    # With the usual session of 45 s: nobody waits for that here.
    with Members(kafka, group, options={}, listen={"workers": workers}) as members:
        listener = members.start()
        for _ in range(alerts // 2):
            publisher.queue(do="sleep", **{"for": dice.uniform(0, 0.02)})
        publisher.flush()
        members.wait_for(publisher.sent)
        publisher.send(4, do="wait", **{"for": str(go)})
        listener.wait_for("begun", alerts // 2 + workers)
        publisher.send(alerts // 2)
        if how == "stop":
            listener.tell("stop")
        else:
            listener.signal(signal.Signals[how])
        # The signal was taken when it says so; nothing says when stop() was.
        if how != "stop":
            wait_until(lambda: f"{how}: ending when" in "".join(listener.errors), what=how)
        else:
            listener.health()
        go.touch()
        status = listener.wait()
        end = time.time()
        members.ends.append((listener, end))
        after = end - max(event["at"] for event in listener.of("done"))
        assert len(listener.of("done")) == len(listener.of("begun")) == alerts // 2 + workers
        committed = kafka.committed(group, f"{group}.superevent")
        assert sum(committed.values()) == len(listener.of("done")), "not all marks are committed"
        again = time.monotonic()
        second = members.start()
        took = time.monotonic() - again
        members.wait_for(publisher.sent)
        members.stop(second)
        row = f"{how}{'()' * (how == 'stop')}, workers={workers}"
        tally = members.tally(row, publisher.sent, began)
    return tally, status, after, took


def killed_before_it_had_a_mark(kafka, group, tmp_path, moment, workers=1, alerts=20):
    """Kill a new group's first process inside its first callback, or before any alert came."""
    began = time.monotonic()
    kafka.create_topics(f"{group}.superevent", partitions=4)
    publisher = Publisher(kafka, f"{group}.superevent", 4)
    publisher.send(4)  # before anybody listens: not for us, who start at the latest
    history = publisher.sent.copy()
    go = tmp_path / f"go-{group}"
    with Members(kafka, group, listen={"workers": workers}) as members:
        listener = members.start()
        if moment == "first callback":
            publisher.send(4, do="wait", **{"for": str(go)})
            listener.wait_for("begun", workers)
        members.kill(listener)
        go.touch()
        publisher.send(alerts)
        listener = members.start()
        members.wait_for(publisher.sent[4:])
        members.stop(listener)
        assert not members.done().keys() & set(history)
        return members.tally(f"killed: {moment}, workers={workers}", publisher.sent[4:], began)


def members_come_and_go(kafka, group, seed=0, most=4, seconds=6.0, workers=1, kill=False):
    """From 1 member to `most` and back, while alerts come on 8 partitions."""
    began = time.monotonic()
    dice = random.Random(seed)
    kafka.create_topics(f"{group}.superevent", partitions=8)
    publisher = Publisher(kafka, f"{group}.superevent", 8)

    def publish_for(time_):
        end = time.monotonic() + time_
        while time.monotonic() < end:
            for _ in range(8):
                publisher.queue(do="sleep", **{"for": dice.uniform(0, 0.02)})
            publisher.flush()
            time.sleep(0.05)

    with Members(kafka, group, listen={"workers": workers}) as members:
        here = [members.start()]
        publish_for(seconds / 6)
        while len(here) < most:
            here.append(members.start(wait=False))
            publish_for(seconds / 6)
        for one in here:
            one.wait_for("ready")

        def all_share():
            publisher.send(8)
            return all(one.of("done") for one in here)

        wait_until(all_share, 30, "alerts for every member")
        dice.shuffle(here)
        while len(here) > 1:
            gone = here.pop()
            if kill and dice.random() < 0.5:
                members.kill(gone)
            else:
                members.stop(gone)
            publish_for(seconds / 6)
        members.wait_for(publisher.sent)
        members.stop(here[0])
        return members.tally(f"1 -> {most} -> 1 members", publisher.sent, began)
