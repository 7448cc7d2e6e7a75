"""The command line as a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from igwn_style_client import EmbeddedBroker, client
from tests.waiting import wait_until

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


class TestSimulate:
    def test_others_listen_to_it(self, environment):
        command = [
            sys.executable,
            "-c",
            START,
            "simulate",
            "--seed",
            "1",
            "--speed",
            "1e5",
            "--json",
        ]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            told = json.loads(process.stdout.readline())
            # What it says is what one types.
            _, *listen = told["listen"].split()
            done = run(*listen, "--since", "earliest", "--count", "3", "--json", **environment)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=SECONDS)
        assert (process.returncode, errors.strip()) == (130, "")
        assert (done.returncode, done.stderr) == (0, "")
        alerts = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(alerts) == 3
        assert {alert["full_name"].partition(".")[0] for alert in alerts} == {"gracedb"}

    def test_a_server_of_the_environment_is_left_alone(self, environment):
        environment["IGWN_STYLE_CLIENT_SERVER"] = "kafka://127.0.0.1:1/"
        done = run("simulate", "--superevents", "1", "--speed", "1e6", "--json", **environment)
        assert done.returncode == 0
        told = json.loads(done.stdout.splitlines()[0])
        assert told["server"] != "kafka://127.0.0.1:1/"
        assert "--test-alerts" not in told["listen"]


class TestListen:
    @pytest.fixture
    def broker(self):
        with EmbeddedBroker() as broker:
            broker.create_topics(["gracedb.superevent"])
            with client(server=broker.url, noauth=True) as publisher:
                signed_off = {"uid": "S1", "alert_type": "label_added", "data": {"name": "ADVOK"}}
                publisher.publish("superevent", signed_off)
            yield broker

    @pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
    def test_on_a_terminal(self, environment, broker, variables):
        environment |= {"COLUMNS": "120", "LINES": "30", "TERM": "xterm", "LANG": "C.UTF-8"}
        environment |= variables
        ours, theirs = os.openpty()
        told = ["--server", broker.url, "--noauth", "--since", "earliest", "--timeout", "8"]
        command = [sys.executable, "-c", START, "listen", "superevent", *told]
        with subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            shown, stopped = b"", False
            while part := read(ours):
                shown += part
                if b"connected since" in shown and b"ADVOK" in shown and not stopped:
                    process.send_signal(signal.SIGINT)
                    stopped = True
            assert process.wait(SECONDS) == 130
        os.close(ours)
        text = shown.decode()
        assert "S1          label_added ADVOK" in text
        assert "connected since" in text
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor comes back
        assert ("\x1b[32m" in text) == (not variables)  # green
        assert "Traceback" not in text

    def test_a_second_ctrl_c_ends_the_program_too(self, environment, broker, tmp_path):
        begun = tmp_path / "begun"
        told = ["--server", broker.url, "--noauth", "--since", "earliest"]
        wait = ["--exec", f"echo $$ > {begun}; trap 'echo > {tmp_path}/ended; exit 1' TERM; "
                "while :; do sleep 0.1; done", "--shell"]  # fmt: skip
        command = [sys.executable, "-c", START, "listen", "superevent", *told, *wait]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as one:
            wait_until(lambda: begun.exists() or one.poll() is not None, what="the program")
            one.send_signal(signal.SIGINT)
            assert "again, to end at once" in one.stderr.readline()
            one.send_signal(signal.SIGINT)
            one.communicate(timeout=SECONDS)
        assert one.returncode == 130
        wait_until((tmp_path / "ended").exists, what="the end of the program")

    def test_nobody_answers(self, environment):
        done = run("listen", "--server", "kafka://127.0.0.1:1/", "--noauth", **environment)
        assert (done.returncode, done.stdout) == (1, "")
        [line] = done.stderr.splitlines()
        assert line.startswith("igwn-style-client: error: ")
        assert "127.0.0.1:1" in line


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


class TestAsAService:
    @pytest.mark.parametrize(
        "command",
        ["listen superevent --server {0} --noauth", "antares superevent --host {0} --noauth -d ."],
    )
    def test_systemd_is_told(self, command, environment, tmp_path):
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
            EmbeddedBroker() as broker,
        ):
            broker.create_topics(["gracedb.superevent", "client.superevent"])
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(SECONDS)
            environment |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
            with subprocess.Popen(
                [sys.executable, "-c", START, *command.format(broker.url).split()],
                env={**environment, "PYTHONPATH": os.getcwd()}, cwd=tmp_path,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            ) as process:  # fmt: skip
                assert manager.recv(1000).startswith(b"READY=1\nSTATUS=listening")
                assert manager.recv(1000).startswith(b"WATCHDOG=1\nSTATUS=listening")
                process.send_signal(signal.SIGTERM)
                while manager.recv(1000) != b"STOPPING=1":
                    pass
                process.communicate(timeout=SECONDS)
        assert process.returncode == 0

    def test_logs_are_lines_of_json(self, environment, tmp_path):
        archive = str(tmp_path / "none.db")
        done = run("--log-format", "json", "replay", archive, **environment)
        assert (done.returncode, done.stdout) == (1, "")
        [line] = map(json.loads, done.stderr.splitlines())
        assert (line["level"], line["logger"]) == ("ERROR", "igwn_style_client.cli")
        assert line["message"] == f'there is no archive "{archive}"; look at the path'

    def test_what_happens_is_logged_as_json(self, environment):
        environment |= {"IGWN_STYLE_CLIENT_LOG_FORMAT": "json"}
        done = run(
            "--log-level", "info", "demo", "--superevents", "1", "--rate", "500", **environment
        )
        assert done.returncode == 0
        messages = [json.loads(line)["message"] for line in done.stderr.splitlines()]
        assert "listening to 19 topics" in " ".join(messages)
