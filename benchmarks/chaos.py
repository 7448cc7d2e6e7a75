"""Faults at full length, on a real Kafka of its own: nothing may be lost.

``python -m benchmarks.chaos [--seed N] [--quick]``, or ``make chaos``.  Prints a row per fault, and
ends with status 1 if an alert was lost, or a finished one came again later than promised.
"""

import argparse
import os
import secrets
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.kafka import scenarios
from tests.kafka.server import KafkaServer, fetch

COLUMNS = "{:<44} {:>6} {:>10} {:>10} {:>6} {:>9} {:>8}"


def rows(seed, quick, folder):
    """Yield what to run, as functions of a server and a group."""
    kills, alerts = (2, 100) if quick else (13, 1000)
    for workers in (1, 4):
        for batch_size in (1, 100):
            yield partial(
                scenarios.killed_at_random,
                seed=seed,
                workers=workers,
                batch_size=batch_size,
                kills=kills,
                alerts=alerts,
            )
    for how in ("SIGTERM", "SIGINT", "stop"):
        for workers in (1, 4):
            yield partial(good_order, folder, how, workers, 40 if quick else 1000, seed)
    for moment in ("first callback", "assigned"):
        for workers in (1, 4):
            yield partial(
                scenarios.killed_before_it_had_a_mark,
                tmp_path=folder,
                moment=moment,
                workers=workers,
            )
    for kill in (False, True):
        for workers in (1, 4):
            yield partial(
                scenarios.members_come_and_go,
                seed=seed,
                workers=workers,
                kill=kill,
                seconds=6 if quick else 60,
            )


def good_order(folder, how, workers, alerts, seed, kafka, group):
    """Run the row of ends in good order; finished alerts must not come again at all."""
    tally, status, after, _ = scenarios.ended_in_good_order(
        kafka, group, folder, how, workers, alerts, seed
    )
    expected = {"SIGTERM": -15, "SIGINT": -2, "stop": 0}[how]
    if status != expected:
        raise AssertionError(f"{tally.row}: exit status {status}, not {expected}")
    tally.row += f": ended after {after:.1f} s"
    return tally


def main(arguments=None):
    """Run every row; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="minutes instead of half an hour")
    given = parser.parse_args(arguments)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "igwn-style-client"
    print(f"seed {given.seed}")
    print(
        COLUMNS.format("fault", "kills", "published", "delivered", "lost", "repeated", "seconds"),
        flush=True,
    )
    bad = 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        with KafkaServer(fetch(cache), folder) as kafka:
            for run in rows(given.seed, given.quick, folder):
                tally = run(kafka=kafka, group=f"c{secrets.token_hex(4)}")
                print(
                    COLUMNS.format(
                        tally.row,
                        tally.kills,
                        tally.published,
                        tally.delivered,
                        len(tally.lost),
                        len(tally.repeated),
                        f"{tally.seconds:.1f}",
                    ),
                    flush=True,
                )
                if tally.lost:
                    print(f"  LOST: {tally.lost[:50]}")
                if tally.late:
                    print(f"  repeated long after they were finished, seconds: {tally.late[-20:]}")
                bad += bool(tally.lost or tally.late)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
