"""How many alerts a second each way reads, and at what cost: each has its turn in each round."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import antares, payloads, readers
from benchmarks.child import Child
from benchmarks.readers import HEEDING, LOOPS, OURS
from benchmarks.statistic import ratios, several, short, spread
from tests.kafka import peer

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "igwn-style-client"
JSON = "confluent_kafka + json"
FEW = [JSON, *LOOPS, "igwn_alert", "igwn_alert, batch_size=100", OURS, f"{OURS}, workers=4"]
LARGE = [
    "confluent_kafka, one by one",
    f"{JSON}, one by one",
    LOOPS[1],
    "igwn_alert",
    "igwn_alert, batch_size=100",
    OURS,
    f"{OURS}, batch_size=100",
    f"{OURS}, in a group",
    f"{OURS}, workers=4",
]
FULL = [
    "confluent_kafka",
    JSON,
    *LOOPS,
    HEEDING,
    "igwn_alert",
    "igwn_alert, batch_size=100",
    "hop",
    "gcn-kafka",
    "aiokafka",
    *(way for way in readers.WAYS if way.startswith(OURS)),
]
SETTINGS = list(readers.SETTINGS)
# What waits in a client's queue when the time begins would else be most of what it reads.
_FEWEST = 1000


@dataclass(frozen=True)
class Race:
    """What is read by which ways.

    Attributes
    ----------
    title, values
        What is sent, in turn; nothing where no recorded alerts are.
    ways
        Names.
    share
        Of the alerts of the whole run.
    with_headers
        Whether with hop's.
    table
        The module that has the ways.
    references
        Ratios are of the fastest of these.
    """

    title: str
    values: object
    ways: list
    share: float = 1.0
    with_headers: bool = True
    table: str = "readers"
    references: Sequence = LOOPS


RACES = {
    "1 KB": Race("1 KB of JSON", lambda: [payloads.superevent(1000)], FULL),
    "1 KB, no headers": Race(
        "1 KB of JSON without hop's headers",
        lambda: [payloads.superevent(1000)],
        FEW,
        with_headers=False,
    ),
    "recorded": Race("recorded igwn_alert messages", payloads.igwn, FEW, 0.2),
    "1 MB": Race("a public LVK alert of 1 MB", payloads.public, LARGE, 0.004),
    "settings": Race(
        "1 KB of JSON, poll() and orjson, with other settings",
        lambda: [payloads.superevent(1000)],
        SETTINGS,
        references=SETTINGS[3:4],
    ),
    "settings, 1 MB": Race(
        "a public LVK alert of 1 MB, poll() and orjson, with other settings",
        payloads.public,
        SETTINGS,
        0.004,
        references=SETTINGS[3:4],
    ),
    "loci": Race(
        "ANTARES' loci of 2.9 KB over TLS",
        payloads.loci,
        [antares.HAND, "antares-client 2", *list(antares.WAYS)[3:]],
        0.3,
        False,
        "antares",
        ("antares-client 2",),
    ),
    "old loci": Race(
        "ANTARES' alerts of 13 to 240 KB over TLS",
        payloads.old_loci,
        [antares.HAND, "antares-client 0.2", *list(antares.WAYS)[3:5]],
        0.02,
        False,
        "antares",
        ("antares-client 0.2",),
    ),
}


def measure(kafka, given):
    """Run the races that are asked for; what each way took, by race."""
    return {
        f"reading: {name}": found
        for name in given.payload
        if (found := _run(kafka, name.replace(", ", "-").replace(" ", ""), RACES[name], given))
    }


def _run(kafka, name, race, given):
    if not (values := race.values()):
        return None
    count = max(100, int(given.alerts * race.share) // 100 * 100)
    is_antares = race.table == "antares"
    topic = f"client.{name}" if is_antares else f"benchmark.{name}"
    payloads.fill(kafka, topic, values, count, with_headers=race.with_headers)
    where = _access(kafka) if is_antares else kafka.bootstrap
    ways = _there(race)
    taken = {way: [] for way in ways}
    for number in range(given.rounds):
        for way in list(ways)[:: 1 if number % 2 == 0 else -1]:
            table, python, share = ways[way]
            asked = max(int(count * share), min(count, _FEWEST))
            told = {"table": table, "way": way, "count": asked, "where": where, "topics": [topic]}
            with Child(measure="counting", **python, **told) as child:
                taken[way].append(child.result() | {"count": asked})
    kafka.delete_topics(topic)
    return {"title": race.title, "count": count, "rounds": given.rounds, **_summary(race, taken)}


def _access(kafka):
    return {
        "host": kafka.sasl_bootstrap,
        "api_key": "antares",
        "api_secret": kafka.users["antares"],
        "ssl_ca_location": str(kafka.ca),
    }


def _there(race):
    """The ways that can run here: in which table, by which Python, with which share."""
    ways, table = {}, {"readers": readers, "antares": antares}[race.table].WAYS
    for name in race.ways:
        way, python = table[name], {}
        if requirement := race.table == "antares" and antares.REQUIREMENTS.get(name):
            try:
                python = {"python": str(peer.fetch(CACHE, requirement))}
            except peer.PeerUnavailable as error:
                print(f"{name} is left out: {error}")
                continue
        elif not way.is_there:
            print(f"{name} is left out: {way.needs} is not installed")
            continue
        ways[name] = race.table, python, way.share
    return ways


def _summary(race, taken):
    rates = {way: [one["count"] / one["seconds"] for one in all_] for way, all_ in taken.items()}
    known = [way for way in race.references if way in rates]
    reference = max(known, key=lambda way: spread(rates[way])["median"], default=None)
    ways = {}
    for way, each in rates.items():
        cpu = [one["cpu"] * 10_000 / one["count"] for one in taken[way]]
        peaks = [one["peak"] for one in taken[way] if one["peak"]]
        ways[way] = {
            "rate": spread(each),
            "rates": each,
            "ratio": ratios(each, rates[reference]) if reference else None,
            "cpu": spread(cpu)["median"],
            "peak": max(peaks, default=None),
        }
    return {"reference": reference, "ways": ways}


def tables(results):
    """A table for each race."""
    return {name: list(_rows(found)) for name, found in results.items()}


def _rows(found):
    yield ["", "alerts/s (min-max)", "ratio (min-max)", "CPU s per 10,000", "peak MB"]
    for way, one in found["ways"].items():
        name = f"{way} (= 1)" if way == found["reference"] else way
        ratio = several(one["ratio"]) if one["ratio"] else ""
        yield [name, several(one["rate"]), ratio, short(one["cpu"]), short(one["peak"])]
