"""How time and memory grow with topics, partitions, size and backlog: ours beside a plain loop."""

from benchmarks import payloads
from benchmarks.child import Child
from benchmarks.readers import LOOPS, OURS
from benchmarks.statistic import short

WAYS = [LOOPS[1], OURS, f"{OURS}, in a group"]
TOPICS = 1, 10, 100, 500
PARTITIONS = 1, 4, 16, 64
SIZES = 1_000, 10_000, 100_000, 1_000_000, 4_000_000
BACKLOGS = 1_000, 10_000, 100_000, 1_000_000
LONGEST = {"topics": 100, "backlog": 100_000}  # without --full


def measure(kafka, given):
    """What each number costs, by what grows."""
    found = {}

    def note(what, number, topics, count):
        for way in WAYS:
            told = {"table": "readers", "measure": "counting", "count": count, "way": way}
            with Child(where=kafka.bootstrap, topics=topics, **told) as child:
                found.setdefault(what, []).append(
                    {"number": number, "way": way, "count": count, **child.result()}
                )

    small = [payloads.superevent(1000)]
    for number in _up_to(TOPICS, given, "topics"):
        names = [f"benchmark.growth{number}x{one}" for one in range(number)]
        kafka.create_topics(*names)
        payloads.add(kafka, names, small, given.alerts // 5)
        note("topics", number, names, given.alerts // 5)
        kafka.delete_topics(*names)
    for number in PARTITIONS:
        topic = f"benchmark.partitions{number}"
        payloads.fill(kafka, topic, small, given.alerts // 2, partitions=number)
        note("partitions", number, [topic], given.alerts // 2)
        kafka.delete_topics(topic)
    for size in SIZES:
        topic, count = (
            f"benchmark.size{size}",
            max(25, min(given.alerts // 5, 2000 * given.alerts // size)),
        )
        payloads.fill(kafka, topic, [payloads.superevent(size)], count)
        note("bytes", size, [topic], count)
        kafka.delete_topics(topic)
    backlogs = _up_to(BACKLOGS, given, "backlog")
    payloads.fill(kafka, "benchmark.backlog", small, backlogs[-1])
    for count in backlogs:
        note("backlog", count, ["benchmark.backlog"], count)
    kafka.delete_topics("benchmark.backlog")
    return {f"growth: {what}": rows for what, rows in found.items()}


def _up_to(numbers, given, what):
    return [one for one in numbers if given.full or one <= LONGEST[what]]


def tables(results):
    """A table for each thing that grows."""
    return {name: list(_rows(name.split()[-1], rows)) for name, rows in results.items()}


def _rows(what, rows):
    yield [what, "", "first alert, s", "all, s", "alerts/s", "peak MB"]
    for one in rows:
        rate = one["count"] / one["seconds"]
        numbers = one["first"], one["seconds"], rate, one["peak"]
        yield [f"{one['number']:,}", one["way"], *map(short, numbers)]
