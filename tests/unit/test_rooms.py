"""Imports go down only, and foreign packages come in through their doors."""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import igwn_style_client

NAME = "igwn_style_client"
PACKAGE = Path(igwn_style_client.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "architecture.rst").read_text()

# Top to bottom.
FLOORS = [
    {"__main__"},
    {"cli"},
    {
        "cli_antares",
        "cli_demo",
        "cli_doctor",
        "cli_listen",
        "cli_publish",
        "cli_replay",
        "cli_simulate",
        "cli_topics",
    },
    {"cli_handling"},
    {"cli_options"},
    {"__init__"},
    {"client", "antares"},
    {"doctor", "listening", "polling", "replaying", "thumbnails"},
    {
        "archive",
        "broker",
        "credentials",
        "delivery",
        "igwn",
        "loci",
        "publishing",
        "reader",
        "rights",
        "simulation",
    },
    {"connection"},
    {"decoding", "encoding", "exporting", "service", "topics"},
    {"inquiry", "offloading"},
    {"batch", "marks", "trouble"},
    {
        "alert",
        "arguments",
        "bearer",
        "dialect",
        "documents",
        "fetching",
        "files",
        "health",
        "places",
        "positions",
        "probe",
        "profiles",
        "receipts",
        "records",
        "retry",
        "rows",
        "settings",
        "signals",
        "watermark",
    },
    {"errors"},
]
# Anybody may import these; they import nobody.
EVERYWHERE = {"_version"}
COMMANDS = {room for floor in FLOORS for room in floor if room.startswith("cli_")}
DOORS = {
    "adc": {"antares", "client", "connection", "credentials", "decoding", "errors", "reader"},
    "bson": {"loci"},
    "certifi": {"antares", "credentials"},
    "click": {"cli", *COMMANDS},
    "confluent_kafka": {
        "broker",
        "doctor",
        "errors",
        "inquiry",
        "marks",
        "positions",
        "reader",
        "rights",
        "settings",
        "trouble",
    },
    "hop": {
        "antares",
        "bearer",
        "client",
        "connection",
        "credentials",
        "decoding",
        "documents",
        "doctor",
        "encoding",
        "errors",
        "inquiry",
        "offloading",
        "publishing",
        "reader",
        "trouble",
    },
    "msgspec": {"igwn", "publishing"},
    "platformdirs": {"places"},
    "requests": {"fetching"},
    "rich": COMMANDS,
    "sqlite3": {"archive"},
    "toml": {"credentials", "profiles"},
    "urllib3": {"fetching"},
}

FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
ROOMS = FLOOR.keys() | EVERYWHERE


def imports(source: str) -> Iterator[tuple[int, str, str | None]]:
    """Yield line, top-level package and, for our own package, the room; anywhere in the source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, _, rest = alias.name.partition(".")
                yield node.lineno, top, (rest.partition(".")[0] or "__init__")
        elif isinstance(node, ast.ImportFrom):
            top, _, rest = (node.module or "").partition(".")
            if node.level > 1:
                yield node.lineno, NAME, ".."  # out of the house
                continue
            if node.level == 1:
                top, rest = NAME, node.module or ""
            if top != NAME or rest:
                yield node.lineno, top, rest.partition(".")[0]
                continue
            for alias in node.names:  # of the package itself: a room, or a name of __init__
                yield node.lineno, NAME, alias.name if alias.name in ROOMS else "__init__"


def violations(sources: Mapping[str, str]) -> list[str]:
    """Return a sentence for each breach, given the source of each room."""
    found = []
    for room, source in sources.items():
        if room not in ROOMS:
            found.append(
                f"{NAME}/{room}.py:1: the room {room} is unknown: give it a floor in FLOORS of "
                "tests/unit/test_rooms.py, and its sentence in docs/architecture.rst"
            )
            continue
        for line, top, other in imports(source):
            here = f"{NAME}/{room}.py:{line}: {room} imports"
            if top != NAME:
                problem = wrong_door(room, top)
                if problem:
                    found.append(f"{here} {top}, {problem}")
                continue
            problem = wrong_floor(room, str(other))
            if problem:
                found.append(f"{here} {other}, {problem}")
    return found


def wrong_door(room: str, package: str) -> str | None:
    if package in DOORS:
        if room in DOORS[package]:
            return None
        return f"which may come in only through {', '.join(sorted(DOORS[package]))}"
    if package in sys.stdlib_module_names:
        return None
    return "a foreign package without a door: say in DOORS which room is to know it"


def wrong_floor(room: str, other: str) -> str | None:
    if other in EVERYWHERE:
        return None
    if other not in FLOOR:
        return "a room that is on no floor"
    if room in EVERYWHERE:
        return f"but {room} is imported by everybody and must import nobody"
    if FLOOR[other] > FLOOR[room]:
        return None
    if other == room:
        return "which is itself"
    if FLOOR[other] == FLOOR[room]:
        return "its neighbour on the same floor: imports never go sideways"
    return f"which is above it ({FLOOR[room] - FLOOR[other]} floors): imports go down only"


def test_every_room_keeps_to_its_floor_and_its_doors():
    sources = {path.stem: path.read_text() for path in PACKAGE.rglob("*.py")}
    assert {"__init__", "client", "errors"} <= sources.keys()
    found = violations(sources)
    assert not found, "\n" + "\n".join(found)


def test_the_page_has_the_floors():
    drawn = PAGE.partition("__main__\n")[2].partition("\n\n")[0]
    lines = re.sub(r"\n {4,}", " ", f"   __main__\n{drawn}").splitlines()
    assert [set(line.split()) for line in lines] == FLOORS


def test_the_page_has_the_doors():
    table = PAGE.partition("- Comes in through\n")[2].partition("\n\n")[0]
    doors = {}
    for row in table.split("   * - ")[1:]:
        package, _, rooms = row.partition("\n")
        found = set(re.findall(r"``([\w.]+)``", rooms))
        doors[package] = found - {"cli_..."} | (COMMANDS if "cli_..." in found else set())
    assert doors == DOORS


def test_the_package_is_flat():
    assert [path.name for path in PACKAGE.iterdir() if path.is_dir()] in ([], ["__pycache__"])


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("client", "from .delivery import Delivery"),
        ("client", "from . import credentials, igwn, reader"),
        ("client", "import hop\nfrom adc.kafka import parse_kafka_url"),
        ("__init__", "from ._version import __version__\nfrom .client import client"),
        ("cli", "from . import client, Alert\nimport click"),
        ("doctor", f"import {NAME}.errors"),
        ("archive", f"from {NAME}.alert import Alert\nimport sqlite3, json, os.path"),
        ("errors", "from confluent_kafka import KafkaError"),
        ("antares", "import certifi, hop"),
        ("loci", "import bson"),
        ("antares", "from .doctor import examine"),
        ("alert", "from . import _version"),
        ("__main__", "from .cli import main"),
    ],
)
def test_the_checker_allows(room, source):
    assert violations({room: source}) == []


@pytest.mark.parametrize(
    ("room", "source", "sentence"),
    [
        # upward
        ("alert", "\n\nfrom .client import client", "alert.py:3: alert imports client, which is"),
        ("reader", "from .antares import Client", "above it (2 floors): imports go down only"),
        ("reader", "from . import client", "reader imports client, which is above it"),
        ("delivery", f"import {NAME}.client", "delivery imports client, which is above it"),
        ("errors", f"from {NAME} import alert", "errors imports alert, which is above it"),
        ("client", "from . import Alert", "client imports __init__, which is above it (1 floors)"),
        ("client", "from . import *", "client imports __init__, which is above it"),
        ("client", f"import {NAME}", "client imports __init__, which is above it"),
        ("client", f"import {NAME} as house", "client imports __init__, which is above it"),
        ("client", "from .cli import main", "client imports cli, which is above it (5 floors)"),
        # sideways
        ("archive", "from .delivery import Delivery", "neighbour on the same floor"),
        ("watermark", f"from {NAME} import alert", "neighbour on the same floor"),
        ("antares", "from .client import client", "antares imports client, its neighbour"),
        ("alert", "from .alert import Alert", "alert imports alert, which is itself"),
        # hidden
        (
            "alert",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .reader import Reader",
            "alert.py:3: alert imports reader, which is above it",
        ),
        ("alert", "def find():\n    from . import reader", "alert.py:2: alert imports reader"),
        ("alert", "try:\n    import hop\nexcept ImportError: ...", "alert.py:2: alert imports hop"),
        ("delivery", "class A:\n    import hop.io as io", "delivery.py:2: delivery imports hop"),
        # unknown
        ("utils", "", "utils.py:1: the room utils is unknown: give it a floor"),
        ("client", "from .utils import clean", "client imports utils, a room that is on no floor"),
        ("client", "from ..other import x", "client imports .., a room that is on no floor"),
        ("_version", "from . import errors", "_version is imported by everybody and must"),
        # doors
        ("delivery", "import hop", "delivery imports hop, which may come in only through antares,"),
        ("igwn", "from adc.errors import KafkaException", "igwn imports adc, which may come in"),
        (
            "client",
            "from confluent_kafka import Consumer",
            "only through broker, doctor, errors, inquiry, marks, positions, reader, rights",
        ),
        ("doctor", "import requests.auth", "doctor imports requests, which may come in only"),
        ("client", "import rich", "client imports rich, which may come in only through cli_"),
        ("broker", "import json, sqlite3", "sqlite3, which may come in only through archive"),
        ("reader", "import certifi", "reader imports certifi, which may come in only through"),
        ("alert", "import numpy", "numpy, a foreign package without a door"),
    ],
)
def test_the_checker_catches(room, source, sentence):
    [found] = violations({room: source})
    assert found.startswith(f"{NAME}/{room}.py:")
    assert sentence in found


def test_the_checker_names_every_breach():
    found = violations({"alert": "from . import client, reader, errors\nimport hop, json"})
    assert [sentence.split(",")[0].split(": ")[1] for sentence in found] == [
        "alert imports client",
        "alert imports reader",
        "alert imports hop",
    ]
