"""Read the same alerts in every way, on a real Kafka, in turn, and print the ratios.

A first measurement: ``make bench``.  Timings on shared machines are noisy; quote the ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

from benchmarks.readers import WAYS
from igwn_style_client.simulation import simulate
from tests.kafka.server import KafkaServer, fetch

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "igwn-style-client"
TOPIC = "benchmark.superevent"
REFERENCE = "tuned loop"


def payload(size):
    """A simulated superevent as an object, cut to about so many bytes."""
    alert = next(one for one in simulate(1) if one.topic == "superevent")
    whole = {"uid": "S1", "alert_type": "new", "data": json.loads(alert.payload)["object"]}
    while len(orjson.dumps(whole)) > size and whole["data"]:
        whole["data"].popitem()
    return orjson.dumps({**whole, "fill": "x" * max(0, size - len(orjson.dumps(whole)) - 10)})


def measure(way, kafka, count):
    """Run one way in its own process; its seconds and CPU seconds."""
    command = [sys.executable, "-m", "benchmarks.readers", way, kafka.bootstrap, TOPIC, str(count)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if run.returncode:
        raise SystemExit(f"{way} failed:\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=1000, help="bytes of each alert")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    # Today's client manages 4,000 alerts a second: a tenth of the work is enough for it.
    counts = {way: options.alerts // (10 if way.startswith("igwn_alert") else 1) for way in WAYS}
    results = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, KafkaServer(fetch(CACHE), folder) as kafka:
        kafka.create_topics(TOPIC, partitions=4)
        kafka.produce(TOPIC, *[payload(options.size)] * options.alerts)
        for _ in range(options.rounds):
            for way, taken in results.items():
                taken.append(measure(way, kafka, counts[way]))
    rates = {way: [counts[way] / one["seconds"] for one in taken] for way, taken in results.items()}
    reference = statistics.median(rates[REFERENCE])
    print(f"{options.alerts} alerts of {options.size} bytes, {options.rounds} rounds in turn")
    print(f"{'':30}{'alerts/s':>10}{'min':>10}{'max':>10}{'ratio':>8}{'CPU s / 10 000':>16}")
    for way, rate in rates.items():
        cpu = statistics.median(one["cpu"] for one in results[way]) * 10_000 / counts[way]
        middle = statistics.median(rate)
        print(
            f"{way:30}{middle:10.0f}{min(rate):10.0f}{max(rate):10.0f}"
            f"{middle / reference:8.3f}{cpu:16.3f}"
        )


if __name__ == "__main__":
    main()
