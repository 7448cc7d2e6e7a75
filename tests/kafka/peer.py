"""The published antares-client, in an environment of its own.

It cannot be installed beside our tests: the package ``bson`` that it requires and PyMongo write
into the same folder, and its extra ``subscriptions`` wants confluent-kafka 2.13 or older.  The
source archive of 0.2.0 lacks a file and cannot be installed at all, so that 0.2.1 stands for it.
"""

import fcntl
import json
import shutil
import subprocess
import sys
import venv

# What runs there: alerts are printed as JSON, a line each.
PROGRAM = """
import json, sys

told = json.loads(sys.stdin.readline())
count = told.pop("count")
if told.pop("loci"):
    from antares_client import StreamingClient

    with StreamingClient(**told) as client:
        for topic, locus in client.iter(count):
            names = ("locus_id", "ra", "dec", "properties", "tags", "catalogs")
            print(json.dumps([topic, {name: getattr(locus, name) for name in names}]))
else:
    from antares_client import Client

    with Client(**told) as client:
        for topic, alert in client.iter(count):
            print(json.dumps([topic, alert]))
"""


class PeerUnavailable(Exception):
    """The published package cannot be installed here; the text says why."""


def fetch(cache, requirement):
    """The Python of an environment with the published package; made the first time."""
    folder = cache / requirement.replace("=", "-").replace("[", "-").replace("]", "")
    cache.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            command = [folder / "bin/python", "-m", "pip", "install", "--quiet", requirement]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise PeerUnavailable(f"pip cannot install {requirement}: {reason}")
            (folder / "complete").touch()
    return folder / "bin/python"


def receive(python, count, loci=False, **keywords):
    """What the published client receives, as pairs of topic and alert."""
    told = json.dumps({"count": count, "loci": loci, **keywords}) + "\n"
    done = subprocess.run(
        [python, "-c", PROGRAM], input=told, capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]
