"""The table of promises at full length, on a real Kafka of its own: nothing may be lost.

``python -m benchmarks.chaos [--seed N] [--quick] [--only TEXT]``, or ``make chaos``.  Prints a row
per fault, and ends with status 1 if an alert was lost, a finished one came again later than
promised, or anything else was not as promised.
"""

import argparse
import logging
import os
import secrets
import signal
import sys
import tempfile
from itertools import product
from pathlib import Path

from tests.kafka import odd_messages, publishers, scenarios
from tests.kafka.server import KafkaServer, fetch

COLUMNS = "{:<62} {:>6} {:>9} {:>9} {:>5} {:>8} {:>7}"
WORKERS = (1, 4)
GROUPED = (True, False)


def rows(quick, folder, web):
    """Yield a name, the function that runs the row, and its keywords."""

    def some(few, many):
        return few if quick else many

    def row(name, scenario, **keywords):
        return name, scenario, keywords

    for workers in WORKERS:
        yield row(
            f"callback raises, workers={workers}",
            scenarios.raising_at_random,
            folder=folder,
            workers=workers,
            failures=some(2, 10),
            share=some(30, 100),
        )
    for aside, workers in product((False, True), WORKERS):
        yield row(
            f"{'set_aside' if aside else 'attempts=3'}, workers={workers}",
            scenarios.flaky,
            folder=folder,
            workers=workers,
            alerts=some(50, 400),
            aside=aside,
        )
    for workers, batch_size in product(WORKERS, (1, 100)):
        yield row(
            f"SIGKILL, workers={workers}, batch_size={batch_size}",
            scenarios.killed_at_random,
            workers=workers,
            batch_size=batch_size,
            kills=some(2, 13),
            alerts=some(100, 1000),
        )
    for how, workers in product(("SIGTERM", "SIGINT", "stop"), WORKERS):
        yield row(
            f"{how}, workers={workers}",
            scenarios.ended_in_good_order,
            folder=folder,
            how=how,
            workers=workers,
            alerts=some(40, 600),
        )
    for moment, workers in product(("first callback", "assigned"), WORKERS):
        yield row(
            f"new group killed: {moment}, workers={workers}",
            scenarios.killed_before_it_had_a_mark,
            folder=folder,
            moment=moment,
            workers=workers,
        )
    for kill, workers in product((False, True), WORKERS):
        yield row(
            f"members, kill={kill}, workers={workers}",
            scenarios.members_come_and_go,
            workers=workers,
            kill=kill,
            seconds=some(6, 30),
        )
    for grouped, workers in product(GROUPED, WORKERS):
        yield row(
            f"broker killed, {grouped=}, workers={workers}",
            scenarios.broker_killed,
            grouped=grouped,
            workers=workers,
            kills=some(1, 5),
        )
    yield row(
        "broker killed, two listeners without a group",
        scenarios.broker_killed,
        grouped=False,
        listeners=2,
        kills=some(1, 3),
    )
    for stall, grouped in product((None, 6), GROUPED):
        yield row(
            f"broker frozen, {stall=}, {grouped=}",
            scenarios.broker_frozen,
            grouped=grouped,
            workers=4,
            stall=stall,
            times=some(1, 3),
        )
    for workers in WORKERS:
        yield row(
            f"slow callback, workers={workers}",
            scenarios.slow_callback,
            workers=workers,
            rounds=some(1, 2),
        )
    for workers, shape in product((1, 2), ("string", "number")):
        yield row(
            f"memory, {shape}, workers={workers}",
            scenarios.fast_topic,
            folder=folder,
            workers=workers,
            shape=shape,
            alerts=some(1000, 3000),
        )
    for workers in WORKERS:
        yield row(
            f"odd messages, workers={workers}",
            odd_messages.among_good_ones,
            folder=folder,
            web=web,
            workers=workers,
            number=some(100, 800),
        )
    for grouped in GROUPED:
        yield row(
            f"topics come later, {grouped=}",
            scenarios.topics_come_later,
            grouped=grouped,
            rounds=some(1, 4),
        )
    for kind, grouped in (("topic", True), ("topic", False), ("group", True)):
        yield row(
            f"rights to the {kind}, {grouped=}",
            scenarios.rights_withdrawn,
            kind=kind,
            grouped=grouped,
            times=some(1, 4),
        )
    for grouped, down in ((True, False), (False, False), (True, True)):
        yield row(
            f"retention, {grouped=}, {down=}",
            scenarios.retention_passed_the_mark,
            folder=folder,
            grouped=grouped,
            down=down,
            rounds=some(2, 5),
        )
    yield row(
        "publishing, broker killed",
        publishers.broker_killed_while_publishing,
        alerts=some(500, 2000),
        kills=some(1, 5),
    )
    yield row("publishing, broker gone", publishers.broker_gone)
    yield row("publishing, 16 threads", publishers.many_threads, alerts=some(20_000, 50_000))


def show(tally):
    """Print a row, and what must not be."""
    numbers = tally.faults, tally.published, tally.delivered, len(tally.lost), len(tally.repeated)
    print(COLUMNS.format(tally.row, *numbers, f"{tally.seconds:.1f}"), flush=True)
    for what, found in tally.bad.items():
        print(f"  {what.upper()}: {', '.join(map(str, found[:50]))}", flush=True)


def main(arguments=None):
    """Run every row; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="five minutes, not twenty-five")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows with this in their names")
    given = parser.parse_args(arguments)
    # A shell's "&" lets SIGINT be ignored, and every process of ours would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger("igwn_style_client").addHandler(logging.NullHandler())  # the table is enough
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "igwn-style-client"
    print(f"seed {given.seed}")
    names = "fault", "faults", "published", "delivered", "lost", "repeated", "seconds"
    print(COLUMNS.format(*names), flush=True)
    run, bad, lost, repeated = 0, 0, 0, 0
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as name,
        odd_messages.odd_web() as web,
        KafkaServer(fetch(cache), Path(name)) as kafka,
    ):
        for row, scenario, keywords in rows(given.quick, Path(name), web):
            if given.only not in row:
                continue
            run += 1
            try:
                tally = scenario(kafka, f"c{secrets.token_hex(4)}", seed=given.seed, **keywords)
            except Exception as error:
                bad += 1
                print(f"{row}\n  FAILED: {error!r}", flush=True)
                kafka.restart()  # it may be killed, or frozen
                continue
            show(tally)
            bad += bool(tally.bad)
            lost += len(tally.lost)
            repeated += len(tally.repeated)
    print(f"{run} rows: {lost} lost, {repeated} repeated; {bad} not as promised")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
