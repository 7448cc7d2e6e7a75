"""Measure every way side by side on a real Kafka: ``make bench``, ten minutes.

Timings on shared machines are noisy: trust the ratios, each of which is of one round.  All results
go into ``benchmarks/results`` as JSON and as tables; with --docs the tables go into the pages too.
Parts may be measured one by one (--only): what they leave out stays as it was measured before.
"""

import argparse
import csv
import datetime as dt
import json
import tempfile
import time
from pathlib import Path

from benchmarks import (
    bars,
    growth,
    idle,
    importing,
    latency,
    machine,
    publishing,
    reading,
    scaling,
    steps,
)
from tests.kafka.server import fetch

PARTS = {
    "reading": reading,
    "steps": steps,
    "latency": latency,
    "publishing": publishing,
    "idle": idle,
    "importing": importing,
    "growth": growth,
    "scaling": scaling,
}
HERE = Path(__file__).parent
PAGES = HERE.parent / "docs" / "measured"


def options(arguments):
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts")
    parser.add_argument("--payload", nargs="+", choices=reading.RACES, default=list(reading.RACES))
    parser.add_argument("--alerts", type=int, default=100_000, help="of 1 KB; others in proportion")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latencies", type=int, default=200, help="alerts for each way")
    parser.add_argument("--idle", type=int, default=20, help="seconds")
    parser.add_argument("--imports", type=int, default=10, help="of each module")
    parser.add_argument("--full", action="store_true", help="the largest numbers of growth too")
    parser.add_argument("--into", type=Path, default=HERE / "results", metavar="FOLDER")
    parser.add_argument("--docs", action="store_true", help="write the tables of the pages too")
    return parser.parse_args(arguments)


def show(name, rows):
    """Print a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{name}")
    for row in rows:
        print("  " + "  ".join(one.ljust(width) for one, width in zip(row, widths, strict=True)))


def write(folder, name, rows):
    """Write a table where the pages include it from."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name.replace(': ', '-').replace(', ', '-').replace(' ', '-')}.csv"
    with open(file, "w", newline="") as output:
        csv.writer(output, lineterminator="\n").writerows(rows)


def main(arguments=None):
    """Measure, print and write."""
    given = options(arguments)
    folders = [given.into, *([PAGES] if given.docs else [])]
    about = {"date": f"{dt.date.today():%Y-%m-%d}", **machine.describe()}
    file = given.into / "results.json"
    results = json.loads(file.read_text())["results"] if file.exists() else {}

    def tell(name, rows):
        show(name, rows)
        for folder in folders:
            write(folder, name, rows)

    with (
        tempfile.TemporaryDirectory() as folder,
        publishing.DistantKafka(fetch(reading.CACHE), folder) as kafka,
    ):
        for name in given.only:
            begun = time.monotonic()
            found = PARTS[name].measure(kafka, given)
            results |= found
            for title, rows in PARTS[name].tables(found).items() if found else ():
                tell(title, rows)
            print(f"  ({name} took {time.monotonic() - begun:.0f} s)", flush=True)
    tell("bars", list(bars.rows(results)))
    tell("machine", [["", ""], *([name, str(what)] for name, what in about.items())])
    whole = json.dumps({"machine": about, "options": vars(given), "results": results}, default=str)
    file.write_text(whole + "\n")


if __name__ == "__main__":
    main()
