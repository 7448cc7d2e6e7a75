"""Numbered alerts on a real Kafka, the listeners that get them, and the counting.

An alert is known by the number ``n`` in its payload.
"""

import json
import random
import signal
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count

from confluent_kafka import Producer

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
    faults
        How often something was done to the listener, the broker or the topic.
    wrong
        Whatever else was not as promised, in words.
    """

    row: str
    published: int = 0
    delivered: int = 0
    lost: list = field(default_factory=list)
    repeated: list = field(default_factory=list)
    late: list = field(default_factory=list)
    wrong: list = field(default_factory=list)
    faults: int = 0
    seconds: float = 0.0

    @property
    def bad(self):
        """What must not be: empty if all is well."""
        named = {"lost": self.lost, "late": self.late, "wrong": self.wrong}
        return {name: found for name, found in named.items() if found}

    def demand(self, truth, otherwise):
        """Note what is wrong unless something is true."""
        if not truth:
            self.wrong.append(otherwise)


class Publisher:
    """Sends numbered alerts, partition after partition, each exactly once.  One thread at a time.

    Attributes
    ----------
    sent, confirmed
        The numbers of all alerts so far, and how many of them the broker has.
    """

    def __init__(self, kafka, topic, partitions, first=0):
        self.topic = topic
        self.sent = []
        self.confirmed = 0
        self._kafka = kafka
        self._numbers = count(first)
        self._failed = []
        self.connect(partitions)

    def connect(self, partitions):
        """Connect, anew when the topic has been given more partitions: so that they are known."""
        self._partitions = partitions
        self._producer = Producer(
            {
                "bootstrap.servers": self._kafka.bootstrap,
                "enable.idempotence": True,  # a killed broker makes it send some again
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

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
                self.confirmed += 1
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
                self._producer.poll(0)
                return

    def flush(self):
        """Wait for all confirmations."""
        left = self._producer.flush(60)
        assert not left, f"{left} alerts without an answer"
        assert not self._failed, self._failed


@contextmanager
def publishing(publisher, pause=0.02):
    """Send alert after alert meanwhile, also while the broker is away; at the end all are there.

    Yields a function that waits until so many more are confirmed.
    """
    enough = threading.Event()

    def run():
        while not enough.wait(pause):
            publisher.queue()

    def wait_for_more(number=20, seconds=90):
        end = publisher.confirmed + number
        wait_until(lambda: publisher.confirmed >= end, seconds, f"{number} more to be confirmed")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield wait_for_more
    finally:
        enough.set()
        thread.join()
    publisher.flush()


@contextmanager
def frozen(kafka):
    """Nothing answers meanwhile."""
    kafka.freeze()
    try:
        yield
    finally:
        kafka.thaw()


def astronomer(kafka):
    """The keywords of a client of the listener SASL_SSL, for which rights count."""
    return {
        "server": kafka.sasl_url,
        "ssl_ca_location": str(kafka.ca),
        "noauth": False,
        "username": "astronomer",
        "password": kafka.users["astronomer"],
    }


@contextmanager
def running(alerts, *arguments, **more):
    """Listen in a thread; yields the thread, and a list for what `listen` raised."""
    raised = []

    def run():
        try:
            alerts.listen(*arguments, **more)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread, raised
    finally:
        alerts.stop()
        thread.join(60)
        assert not thread.is_alive()


def wait_for_line(listener, text, seconds=60):
    """Wait until the listener has logged a line with `text` in it."""
    found = wait_until(
        lambda: [line for line in list(listener.errors) if text in line],
        seconds,
        f"{text!r} among {listener.errors[-5:]}",
    )
    return found[-1]


def at_rest(listener):
    """Wait until the listener holds all it may, or all there is: its keeper's turn has come too."""
    wait_until(lambda: listener.health()["since_alert"] > 3, what="a reader at rest")


def reconnected(listener, before, seconds=60):
    """Wait until the listener has opened its stream anew."""
    wait_until(lambda: listener.health()["reconnects"] > before, seconds, "a new consumer")


class Members:
    """Listeners, one after the other or side by side, and what they did.

    A context manager: kills what is left.

    Parameters
    ----------
    grouped
        Whether they share the alerts as one consumer group, or each is to get them all.
    listen
        Keywords of `client.listen`; the others are those of the client.
    """

    def __init__(self, kafka, group, grouped=True, options=SOON, listen=None, **keywords):
        self._told = {
            "server": kafka.url,
            "noauth": True,
            "group": group,
            "consumer_group": group if grouped else None,
            "set_aside": False,
            "options": {**kafka.options, **options},
            **keywords,
        }
        self._grouped = grouped
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
        return self.end(listener)

    def end(self, listener):
        """Wait until one has ended as it should, and return its exit status."""
        status = listener.wait()
        self.ends.append((listener, time.time()))
        return status

    def done(self):
        """How often each alert was finished, by number."""
        return sum(self._done(), Counter())

    def _done(self):
        """The same of the whole group, or of each who is to get them all."""
        audiences = [self.all] if self._grouped else [[one] for one in self.all]
        return [
            Counter(event["payload"] for one in audience for event in one.of("done"))
            for audience in audiences
        ]

    def missing(self, numbers):
        """Those of the numbers that somebody should have got and has not, sorted."""
        return sorted(n for done in self._done() for n in set(numbers) - done.keys())

    def wait_for(self, numbers, seconds=90):
        """Wait until all of these are finished."""

        def missing():
            for listener in self.all:
                gone = [one for one, _ in self.ends]
                if listener not in gone and listener.process.poll() is not None:
                    raise AssertionError(
                        f"a listener ended: {listener.events[-2:]} {''.join(listener.errors[-20:])}"
                    )
            return self.missing(numbers)

        try:
            wait_until(lambda: not missing(), seconds, f"{len(numbers)} alerts")
        except TimeoutError:
            left = missing()
            said = [line for one in self.all for line in one.errors[-5:]]
            raise AssertionError(
                f"{len(left)} did not come in {seconds} s: {left[:20]}; {said}"
            ) from None

    def tally(self, row, sent, began):
        """Count."""
        done = self._done()
        return Tally(
            row,
            published=len(sent) * len(done),
            delivered=sum(sum(one.values()) for one in done),
            lost=self.missing(sent),
            repeated=sorted(n for one in done for n, times in one.items() if times > 1),
            late=self._late() if self._grouped else [],
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


def a_while(dice, longest=0.02):
    """A payload that keeps the callback busy for a random time."""
    return {"do": "sleep", "for": dice.uniform(0, longest)}


def dice_of(*seed):
    """The random numbers of one run."""
    return random.Random("-".join(map(str, seed)))
