"""What a listener costs while nothing arrives: processor, memory, and how often it wakes up.

All ways listen side by side for as long.  Numbers are the kernel's (Linux only), of all threads.
"""

import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import payloads
from benchmarks.child import Child
from benchmarks.latency import RAW, wait_until_ready
from benchmarks.readers import OURS
from benchmarks.statistic import short

WAYS = [
    RAW,
    "confluent_kafka, two connections",
    "igwn_alert",
    "igwn_alert, batch_size=100",
    OURS,
    f"{OURS}, in a group",
    f"{OURS}, workers=4",
]


def measure(kafka, given):
    """Percent of a processor, megabytes and switches a second, by way."""
    if not sys.platform.startswith("linux"):
        print("idle is left out: it reads Linux' /proc")
        return {}
    topics = {way: f"benchmark.idle{number}" for number, way in enumerate(WAYS)}
    kafka.create_topics(*topics.values(), partitions=4)
    with ExitStack() as stack:
        pids = {}
        for way, topic in topics.items():
            told = {"table": "readers", "measure": "clocking", "count": 1}
            child = stack.enter_context(
                Child(way=way, where=kafka.bootstrap, topics=[topic], **told)
            )
            pids[way] = child, child.process.pid
        for way, (child, _) in pids.items():
            begin = partial(payloads.add, kafka, [topics[way]], [b'{"sent": 0}'], 1)
            wait_until_ready(child, begin)
        time.sleep(5)  # until what belongs to the start is over
        before = {way: _look(pid) for way, (_, pid) in pids.items()}
        time.sleep(given.idle)
        after = {way: _look(pid) for way, (_, pid) in pids.items()}
    kafka.delete_topics(*topics.values())
    ways = {}
    for way in WAYS:
        (cpu_0, switches_0, _), (cpu, switches, rss) = before[way], after[way]
        ways[way] = {
            "cpu": 100 * (cpu - cpu_0) / given.idle,
            "switches": (switches - switches_0) / given.idle,
            "rss": rss,
        }
    return {"idle": {"seconds": given.idle, "ways": ways}}


def _look(pid):
    """Seconds of processor, switches and megabytes so far."""
    nanoseconds = switches = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((task / "schedstat").read_text().split()[0])
        lines = (task / "status").read_text().splitlines()
        switches += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    rss = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
    return nanoseconds / 1e9, switches, rss


def tables(results):
    """One table."""
    rows = [["", "CPU, % of one", "switches/s", "memory, MB"]]
    for way, one in results["idle"]["ways"].items():
        rows.append([way, *(short(one[name]) for name in ("cpu", "switches", "rss"))])
    return {"idle": rows}
