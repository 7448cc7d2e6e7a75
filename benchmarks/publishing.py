"""Publishing in every way: one by one, each alert confirmed before the next one, and queued.

On loopback, and as far away as a round trip of 40 ms.  Every alert is counted on its topic
afterwards.
"""

import sys
import weakref
from contextlib import contextmanager
from subprocess import PIPE, Popen

from benchmarks.child import Child
from benchmarks.statistic import ratios, several, short, spread
from benchmarks.writers import ONE_BY_ONE, QUEUED
from tests.kafka.server import KafkaServer, _free_ports

DELAYS = 0, 40
PARTITIONS = 4
BYTES = 1000


class DistantKafka(KafkaServer):
    """A Kafka with one more listener, to which it sends its clients through a proxy.

    Attributes
    ----------
    distant
        The address of the proxy.
    """

    def __init__(self, jars, folder):
        super().__init__(jars, folder)
        (self.behind, self.proxy), claims = _free_ports(2)
        weakref.finalize(self, lambda: [claim.close() for claim in claims])
        self.distant = f"127.0.0.1:{self.proxy}"
        file = self.folder / "server.properties"
        lines = file.read_text().splitlines()
        more = {
            "listeners=": f",DISTANT://127.0.0.1:{self.behind}",
            "advertised.listeners=": f",DISTANT://{self.distant}",
            "listener.security.protocol.map=": None,
        }
        for number, line in enumerate(lines):
            for name, rest in more.items():
                if line.startswith(name):
                    lines[number] = (
                        line + rest if rest else line.replace("=", "=DISTANT:PLAINTEXT,", 1)
                    )
        file.write_text("\n".join(lines))


@contextmanager
def at_a_distance(kafka, milliseconds):
    """Run the proxy; yields the address to connect to."""
    if not milliseconds:
        yield kafka.bootstrap
        return
    command = [sys.executable, "-m", "benchmarks.delay"]
    ports = [str(kafka.proxy), str(kafka.behind), str(milliseconds)]
    with Popen([*command, *ports], stdout=PIPE) as proxy:
        proxy.stdout.readline()
        try:
            yield kafka.distant
        finally:
            proxy.kill()


def measure(kafka, given):
    """Rates, by distance and way."""
    found = {}
    for delay in DELAYS:
        alerts = max(4, given.alerts // (2000 if delay else 100))
        slow = ("igwn_alert publish", "hop, opened each time")
        counts = {way: max(4, alerts // 10) if way in slow else alerts for way in ONE_BY_ONE}
        counts |= dict.fromkeys(QUEUED, max(10, 3 * given.alerts // 10))
        with at_a_distance(kafka, delay) as address:
            for what, ways in (("one by one", ONE_BY_ONE), ("queued", QUEUED)):
                found[f"publishing: {what}, {delay} ms"] = _race(
                    kafka, address, ways, counts, given.rounds
                )
    return found


def _race(kafka, address, ways, counts, rounds):
    taken = {way: [] for way in ways}
    topic = "benchmark.publishing"
    for number in range(rounds):
        for way in list(ways)[:: 1 if number % 2 == 0 else -1]:
            kafka.create_topics(topic, partitions=PARTITIONS)
            told = {"way": way, "broker": address, "topic": topic}
            with Child(module="benchmarks.writers", count=counts[way], size=BYTES, **told) as child:
                taken[way].append(child.result() | {"count": counts[way]})
            there = sum(kafka.end_offsets(topic).values())
            if there != counts[way] + 1:
                raise SystemExit(f"{way}: {there} of {counts[way] + 1} alerts are on the topic")
            kafka.delete_topics(topic)
    rates = {way: [one["count"] / one["seconds"] for one in all_] for way, all_ in taken.items()}
    theirs = next(each for way, each in rates.items() if way.startswith("igwn_alert"))
    return {
        way: {
            "rates": each,
            "rate": spread(each),
            "ms": spread([1000 / one for one in each]),
            "ratio": ratios(each, theirs),
        }
        for way, each in rates.items()
    }


def tables(results):
    """A table for each distance, one by one and queued."""
    return {name: list(_rows(ways)) for name, ways in results.items()}


def _rows(ways):
    yield ["", "alerts/s (min-max)", "ms each", "of igwn_alert's (min-max)"]
    for way, one in ways.items():
        yield [way, several(one["rate"]), short(one["ms"]["median"]), several(one["ratio"])]
