"""What the numbers depend on, without saying whose machine it is."""

import os
import platform
from importlib import metadata
from pathlib import Path

import confluent_kafka

from tests.kafka.server import VERSION

PACKAGES = [
    "confluent-kafka",
    "hop-client",
    "adc-streaming",
    "igwn-alert",
    "gcn-kafka",
    "aiokafka",
    "orjson",
    "msgspec",
    "distributed",
]


def describe():
    """Processors, memory, what else they do, and versions."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    found = {
        "processors": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load in the last 1, 5 and 15 minutes": load,
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "Apache Kafka": f"{VERSION}, one broker on the same machine",
        "librdkafka": confluent_kafka.libversion()[0],
    }
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
