"""One way of reading, in a process of its own, and the parent's handle on it.

The process is told as one JSON argument what to read and how; it prints its result as JSON.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time

PEAK = "VmHWM"


def counting(count):
    """Take so many alerts; what that cost from the first one on."""
    begun = time.perf_counter()
    seen, result = 0, {}

    def process(topic, payload):  # noqa: ARG001
        nonlocal seen
        if not seen:
            result.update(first=time.perf_counter() - begun, cpu=time.process_time())
            result["seconds"] = time.perf_counter()
        seen += 1
        if seen == count:
            result["seconds"] = time.perf_counter() - result["seconds"]
            result["cpu"] = time.process_time() - result["cpu"]
            result["peak"] = memory()
            process.stop()

    return process, result


def clocking(count):
    """Take so many alerts that hold the time of their sending; how long each one took."""
    latencies = []

    def process(topic, payload):  # noqa: ARG001
        now = time.monotonic_ns()
        payload = json.loads(payload) if isinstance(payload, bytes | str) else payload
        if not payload["sent"]:
            print("ready", flush=True)
            return
        latencies.append((now - payload["sent"]) / 1e6)
        if len(latencies) == count:
            process.stop()

    return process, latencies


def memory(line=PEAK):
    """Megabytes of this process as the kernel (Linux) says; None elsewhere."""
    try:
        with open("/proc/self/status") as status:
            return next(int(one.split()[1]) / 1024 for one in status if one.startswith(line))
    except OSError:
        return None


def read(table, way, measure, count, where, topics):
    """Read in this process, and print the result."""
    found = importlib.import_module(f"benchmarks.{table}").WAYS[way]
    process, result = {"counting": counting, "clocking": clocking}[measure](count)
    found.read(where, topics, process, **found.how, **_now_on(measure))
    print(json.dumps(result), flush=True)


def _now_on(measure):
    return {"latest": True} if measure == "clocking" else {}


def environment():
    """Ours, but a module is compiled once and not each time, ours too, as where it is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Child:
    """The handle.  As a context manager it ends what is left of the process."""

    def __init__(self, python=sys.executable, module="benchmarks.child", **told):
        self.told = told
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self.process = subprocess.Popen(
            [python, "-m", module, json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(),
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self._errors.close()

    def result(self):
        """Wait for what it prints at its end."""
        output, _ = self.process.communicate(timeout=600)
        if self.process.returncode:
            self._errors.seek(0)
            raise SystemExit(f"failed: {self.told}\n{self._errors.read().decode(errors='replace')}")
        return json.loads(output.splitlines()[-1])


if __name__ == "__main__":
    read(**json.loads(sys.argv[1]))
