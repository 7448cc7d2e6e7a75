"""How long an import takes: a new process each, in turn."""

import subprocess
import sys

from benchmarks.child import environment
from benchmarks.statistic import ratios, several, spread

THEIRS = "igwn_alert"
MODULES = ["confluent_kafka", "hop", THEIRS, "igwn_style_client", "igwn_style_client.antares"]
PROGRAM = """
import sys, time, warnings
warnings.simplefilter("ignore")
begun = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - begun)
"""


def measure(kafka, given):  # noqa: ARG001
    """Seconds, by module."""
    taken = {module: [] for module in MODULES}
    for number in range(given.imports + 1):
        for module, seconds in taken.items():
            command = [sys.executable, "-c", PROGRAM, module]
            run = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment()
            )
            if number:  # the first one fills the caches
                seconds.append(float(run.stdout))
    return {
        "importing": {
            module: {
                "ms": spread([1000 * one for one in each]),
                "ratio": ratios(each, taken[THEIRS]),
            }
            for module, each in taken.items()
        }
    }


def tables(results):
    """One table."""
    rows = [["", "ms (min-max)", "of igwn_alert's (min-max)"]]
    for module, one in results["importing"].items():
        rows.append([module, several(one["ms"]), several(one["ratio"])])
    return {"importing": rows}
