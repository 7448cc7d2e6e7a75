"""More than one listener: processes in a group, workers, and dask, with a callback that waits.

Run as a module it is one process of a group; it ends when it is told to.
"""

import json
import secrets
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks.child import Child
from benchmarks.statistic import short
from tests.waiting import wait_until

WAIT_SECONDS = 0.01
PROCESSES = 1, 2, 4
WORKERS = 1, 2, 4, 8, 16, 32
DASK = {"processes": 2, "threads": 8}
EACH = 100
PARTITIONS = 64


def measure(kafka, given):  # noqa: ARG001
    """Alerts a second, by processes, workers and dask's."""
    rows = [
        *(("processes", number, _run(kafka, number, EACH * number)) for number in PROCESSES),
        *(("workers", number, _run(kafka, 1, EACH * number, number)) for number in WORKERS),
    ]
    number = DASK["processes"] * DASK["threads"]
    rows.append(("threads of dask", number, _run(kafka, 1, EACH * number, "dask")))
    return {
        "scaling": [
            {"what": what, "number": number, "rate": rate, "share": rate * WAIT_SECONDS / number}
            for what, number, rate in rows
        ]
    }


def _run(kafka, processes, count, workers=1):
    group = f"scaling-{secrets.token_hex(4)}"
    topic = f"benchmark.{group}"
    kafka.create_topics(topic, partitions=PARTITIONS)
    told = {"where": kafka.bootstrap, "topic": topic, "group": group, "workers": workers}
    with ExitStack() as stack:
        children = [
            stack.enter_context(Child(module="benchmarks.scaling", **told))
            for _ in range(processes)
        ]
        for child in children:
            child.process.stdout.readline()
        shared = partial(_is_shared, kafka, group, processes)
        wait_until(shared, 60, "a group that has shared the partitions out")
        for partition in range(PARTITIONS):
            values = [b"{}"] * (count // PARTITIONS + (partition < count % PARTITIONS))
            kafka.produce(topic, *values, partition=partition)
        done = partial(_committed, kafka, group, topic)
        wait_until(lambda: done() == count, 120, "the marks of all alerts")
        found = [child.process.communicate("stop\n", timeout=60)[0] for child in children]
    kafka.delete_topics(topic)
    spans = [json.loads(one.splitlines()[-1]) for one in found]
    return count / (max(last for _, last in spans) - min(first for first, _ in spans))


def _is_shared(kafka, group, processes):
    (described,) = kafka._ask("describe_consumer_groups", [group]).values()
    parts = [len(member.assignment.topic_partitions) for member in described.members]
    return sum(parts) == PARTITIONS and sorted(parts) == [PARTITIONS // processes] * processes


def _committed(kafka, group, topic):
    return sum(kafka.committed(group, topic).values())


def listen(where, topic, group, workers):
    """Be a member of the group; print when its first and its last alert were done."""
    from igwn_style_client import client

    prefix, _, name = topic.partition(".")
    alerts = client(
        server=where, noauth=True, group=prefix, consumer_group=group, start_at="earliest"
    )
    seen = []  # when how many were done

    def watch():
        while not ended.wait(0.002):
            done = sum(alerts.health().delivered.values())
            if done and (not seen or seen[-1][1] != done):
                seen.append((time.monotonic(), done))

    def obey():
        sys.stdin.readline()
        alerts.stop()

    def tell():
        alerts.wait_until_listening()
        print("ready", flush=True)

    ended = threading.Event()
    for task in (watch, obey, tell):
        threading.Thread(target=task, daemon=True).start()
    with _workers(workers) as some:
        alerts.listen(partial(wait, WAIT_SECONDS), name, workers=some)
    ended.set()
    print(json.dumps([seen[0][0], seen[-1][0]]), flush=True)


def wait(seconds, topic, payload):  # noqa: ARG001
    """The callback."""
    time.sleep(seconds)


@contextmanager
def _workers(told):
    if told != "dask":
        yield told
        return
    from distributed import Client, LocalCluster

    size = {"n_workers": DASK["processes"], "threads_per_worker": DASK["threads"]}
    with LocalCluster(**size, dashboard_address=None) as cluster, Client(cluster) as dask:
        yield dask.get_executor()


def tables(results):
    """One table."""
    rows = [["side by side", "", "alerts/s", "of what is possible"]]
    for one in results["scaling"]:
        rows.append(
            [str(one["number"]), one["what"], short(one["rate"]), f"{100 * one['share']:.0f} %"]
        )
    return {"scaling": rows}


if __name__ == "__main__":
    listen(**json.loads(sys.argv[1]))
