"""Publish the same alerts in every way, on a real Kafka, in turn, and print the ratios.

``python -m benchmarks.publishing [--delay MILLISECONDS]``: on loopback, or as far away as that.
Each way runs in a process of its own, and in each round all ways run one after the other; a ratio
is of two of the same round.  Every alert is counted on the topic afterwards.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from benchmarks.writers import ONE_BY_ONE, QUEUED
from tests.kafka.server import KafkaServer, _free_ports, fetch

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "igwn-style-client"
OURS = "igwn_style_client"


class DistantKafka(KafkaServer):
    """A Kafka with one more listener, to which it sends its clients through a proxy.

    Attributes
    ----------
    distant
        The address of the proxy.
    """

    def __init__(self, jars, folder):
        super().__init__(jars, folder)
        self.behind, self.proxy = _free_ports(2)
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
    with subprocess.Popen([*command, *ports], stdout=subprocess.PIPE) as proxy:
        proxy.stdout.readline()
        try:
            yield kafka.distant
        finally:
            proxy.kill()


def measure(way, address, topic, count, size):
    """Run one way in its own process; its seconds and CPU seconds."""
    command = [sys.executable, "-m", "benchmarks.writers", way, address, topic]
    run = subprocess.run(
        [*command, str(count), str(size)], capture_output=True, text=True, timeout=600, check=False
    )
    if run.returncode:
        raise SystemExit(f"{way} failed:\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def spread(numbers, form="{:.2f}"):
    """The smallest, the median and the largest, as text."""
    return "".join(
        f"{form.format(one):>10}"
        for one in (min(numbers), statistics.median(numbers), max(numbers))
    )


def compare(kafka, address, ways, counts, given):
    """Measure these ways in turn, and print rates and ratios."""
    results = {way: [] for way in ways}
    for number in range(given.rounds):
        order = list(ways) if number % 2 == 0 else list(ways)[::-1]
        for way in order:
            topic = f"benchmark.t{number}x{list(ways).index(way)}x{len(ways)}"
            kafka.create_topics(topic, partitions=given.partitions)
            taken = measure(way, address, topic, counts[way], given.size)
            there = sum(kafka.end_offsets(topic).values())
            results[way].append((counts[way] / taken["seconds"], taken["cpu"], there))
            if there != counts[way] + 1:
                print(f"{way}: {there} of {counts[way] + 1} alerts are on the topic")
            kafka.delete_topics(topic)
    print(f"{'':28}{'alerts/s: min, median, max':>30}{'ms each':>10}   {OURS}: times as fast")
    (ours,) = (way for way in ways if way.startswith(OURS))
    for way, taken in results.items():
        rates = [rate for rate, _, _ in taken]
        ratios = [mine / rate for (mine, _, _), rate in zip(results[ours], rates, strict=True)]
        each = 1000 / statistics.median(rates)
        print(f"{way:28}{spread(rates, '{:.1f}')}{each:10.3f}   {spread(ratios)}", flush=True)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0, help="round trip in milliseconds")
    parser.add_argument("--size", type=int, default=1000, help="bytes of each alert")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alerts", type=int, help="one by one; igwn_alert's way a tenth of them")
    parser.add_argument("--queued", type=int, default=30_000)
    given = parser.parse_args()
    alerts = given.alerts or (50 if given.delay else 1000)
    slow = ("igwn_alert publish", "hop, opened each time")
    counts = {way: max(4, alerts // 10) if way in slow else alerts for way in ONE_BY_ONE}
    counts |= dict.fromkeys(QUEUED, given.queued)
    with (
        tempfile.TemporaryDirectory() as folder,
        DistantKafka(fetch(CACHE), folder) as kafka,
        at_a_distance(kafka, given.delay) as address,
    ):
        print(f"alerts of {given.size} bytes, {given.rounds} rounds, +{given.delay:g} ms")
        for ways in (ONE_BY_ONE, QUEUED):
            compare(kafka, address, ways, counts, given)


if __name__ == "__main__":
    main()
