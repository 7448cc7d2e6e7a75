"""The command line as a process of its own."""

import json
import os
import signal
import subprocess
import sys

import pytest

# SIGINT is ignored in what a shell puts into the background, and children inherit that.
START = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from igwn_style_client.cli import main; main()"
)
MODULE = [sys.executable, "-W", "error", "-m", "igwn_style_client"]
SECONDS = 60


@pytest.fixture
def environment():
    """Next to nothing: no HOME, no terminal; the path, and what measures coverage."""
    kept = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE")}
    return {"PATH": os.environ["PATH"], **kept}


def run(*arguments, **environment):
    return subprocess.run(
        [*MODULE, *arguments], env=environment, capture_output=True, text=True, timeout=SECONDS
    )


class TestDemo:
    def test_json_for_a_program(self, environment):
        done = run(
            *("demo", "--superevents", "2", "--seed", "1", "--rate", "500", "--json"), **environment
        )
        assert (done.returncode, done.stderr) == (0, "")
        *alerts, last = [json.loads(line) for line in done.stdout.splitlines()]
        summary = last["summary"]
        assert (
            summary["published"] == summary["delivered"] == summary["total"] == len(alerts) == 139
        )
        assert (summary["missing"], summary["repeated"]) == (0, 0)
        assert all(alert["latency_ms"] > 0 for alert in alerts)
        assert summary["worst_latency_ms"] == max(alert["latency_ms"] for alert in alerts)
        assert {alert["superevent"] for alert in alerts} == {None, "S240410a", "MS240410a"}
        assert {"superevent", "mdc_superevent"} < {alert["topic"] for alert in alerts}

    def test_plain_lines_for_a_pipe(self, environment):
        environment["FORCE_COLOR"] = "1"
        done = run("demo", "--superevents", "1", "--seed", "2", "--rate", "500", **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
        assert done.stdout.isascii()
        *alerts, verdict, latency, again = done.stdout.splitlines()
        assert verdict == f"published {len(alerts)} = delivered {len(alerts)}: nothing was lost"
        assert latency.startswith("publish to callback: median ")
        assert again == "again: igwn-style-client demo --superevents 1 --seed 2"

    def test_a_reader_who_has_seen_enough(self, environment):
        command = [*MODULE, "demo", "--rate", "100"]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            for _ in range(3):
                assert process.stdout.readline().startswith("2024-")
            process.stdout.close()
            assert process.wait(SECONDS) == 1
            assert process.stderr.read() == ""

    def test_nobody_reads_at_all(self, environment):
        command = " ".join([*MODULE, "demo --superevents 1 --rate 500 >&-"])
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environment, capture_output=True, timeout=SECONDS
        )
        assert (done.returncode, done.stderr) == (0, b"")

    def test_ctrl_c(self, environment):
        command = [sys.executable, "-c", START, "demo", "--json", "--seed", "1", "--rate", "5"]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert json.loads(process.stdout.readline())["uid"] == "G480001"
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 130
        assert errors.strip() == ""
        summary = json.loads(output.splitlines()[-1])["summary"]
        assert 1 <= summary["delivered"] <= summary["published"] < summary["total"]

    def test_a_small_terminal(self, environment):
        environment |= {"COLUMNS": "60", "LINES": "20", "TERM": "xterm", "LANG": "C.UTF-8"}
        ours, theirs = os.openpty()
        command = [*MODULE, "demo", "--superevents", "1", "--seed", "2", "--rate", "200"]
        with subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            shown = b""
            while part := read(ours):
                shown += part
            assert process.wait(SECONDS) == 0
        os.close(ours)
        text = shown.decode()
        assert "\x1b[?25l" in text  # the cursor hides ...
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # ... and comes back
        assert "published 30 = delivered 30: nothing was lost" in text
        assert "Traceback" not in text

    def test_debug_logs(self, environment):
        done = run("--debug", "demo", "--superevents", "1", "--rate", "500", **environment)
        assert done.returncode == 0
        assert " INFO igwn_style_client.client: listening to 19 topics" in done.stderr
        assert "nothing was lost" in done.stdout


def read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: nobody writes any more
        return b""


def test_wrong_usage(environment):
    done = run("demo", "--sed", "1", **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("igwn-style-client: error: ")
    assert "Try: igwn-style-client demo --help" in done.stderr
