"""The smallest part of the benchmarks, from end to end: it asserts no time."""

import csv
import json

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.readers import OURS, WAYS


@pytest.mark.usefixtures("kafka_jars")
def test_reading(tmp_path, capsys):
    small = ["--payload", "1 KB, no headers", "--alerts", "200", "--rounds", "2"]
    benchmarks.main(["--only", "reading", *small, "--into", str(tmp_path)])
    found = json.loads((tmp_path / "results.json").read_text())
    race = found["results"]["reading: 1 KB, no headers"]
    assert {"igwn_alert", OURS, f"{OURS}, workers=4"} <= race["ways"].keys() <= WAYS.keys()
    for way in race["ways"].values():
        assert 0 < way["rate"]["min"] <= way["rate"]["median"] <= way["rate"]["max"]
        assert way["cpu"] > 0
    with open(tmp_path / "reading-1-KB-no-headers.csv", newline="") as table:
        header, *rows = csv.reader(table)
    assert len(rows) == len(race["ways"])
    assert {len(row) for row in rows} == {len(header)}
    assert "Apache Kafka" in (tmp_path / "machine.csv").read_text()
    assert f"{OURS}, workers=4" in capsys.readouterr().out
