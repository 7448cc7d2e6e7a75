"""What the commands do on any broker, each as a process of its own: as tests/listening.py.

A test module subclasses `Commands`, and has its fixtures.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import igwn_style_client
from igwn_style_client import Archive, client
from igwn_style_client.simulation import TOPICS
from tests.waiting import wait_until

# SIGINT is ignored in what a shell puts into the background, SIGHUP under nohup, and children
# inherit that.
START = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    "from igwn_style_client.cli import main; main()"
)
SECONDS = 90


class Cli:
    """Runs the commands, with a home and an environment of their own."""

    def __init__(self, broker, group, home):
        self.broker = broker
        self.group = group
        self.home = home
        kept = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE")}
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(igwn_style_client.__file__).parents[1]),
            "HOME": str(home),
            **kept,
        }
        soon = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
        self.connection = ["--server", broker.url, "--noauth", "--group", group]
        for name, value in {**broker.options, **soon}.items():
            self.connection += ["--option", f"{name}={value}"]

    def start(self, command, *arguments, **settings):
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
        words = [*command.split(), *map(str, arguments), *self.connection]
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", START, *words], env=self.environment,
            cwd=self.home, text=True, **settings,
        )  # fmt: skip

    def run(self, command, *arguments, stdin=None, status=0):
        """Return what it has printed; it must end with the status, and fail in one line."""
        with self.start(command, *arguments, stdin=subprocess.PIPE) as process:
            printed, errors = process.communicate(stdin, timeout=SECONDS)
        assert process.returncode == status, errors
        assert "Traceback" not in errors
        self.errors = errors
        return printed

    def listen(self, *arguments, **more):
        """Listen from the first alert to the last."""
        return self.run("listen", *arguments, "--since", "earliest", "--until-eos", **more)

    def publish(self, *payloads, topic="superevent"):
        publisher = client(server=self.broker.url, noauth=True, group=self.group)
        for payload in payloads:
            # One key: all in one partition, and so in order.
            publisher.publish(topic, payload, key="S1")
        publisher.disconnect()

    @contextmanager
    def ending(self, process):
        """Whatever happens, the process ends with the block, and what it has started."""
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # it leads no group, or nobody is left of it
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.communicate(timeout=SECONDS)


@pytest.fixture
def cli(broker, group, tmp_path):
    broker.create_topics(f"{group}.superevent", f"{group}.cbc_gstlal")
    return Cli(broker, group, tmp_path)


def alert(number, alert_type="new"):
    """An alert as GraceDB sends it: the text of a document."""
    superevent = {"superevent_id": f"S{number}", "far": 1e-9, "labels": ["EM_READY"],
                  "preferred_event_data": {"instruments": "H1,L1"}}  # fmt: skip
    return json.dumps(
        {"uid": f"S{number}", "alert_type": alert_type, "object": superevent, "data": {}}
    )


def uids(lines):
    return [json.loads(line)["payload"]["uid"] for line in lines.splitlines()]


class Commands:
    """Every command that has to do with a broker."""

    def test_listen_prints_readable_lines(self, cli):
        cli.publish(alert(1), "TITLE: GCN CIRCULAR")
        first, second = cli.listen("superevent").splitlines()
        time, *rest = first.split()
        assert time.endswith("Z")
        assert rest == ["superevent", "S1", "new", "1", "per", "32", "yr", "H1,L1", "EM_READY"]
        assert second.endswith("TITLE: GCN CIRCULAR")
        assert cli.errors == ""

    def test_listen_prints_json(self, cli):
        cli.publish(alert(1), {"n": 2})
        one, two = map(json.loads, cli.listen("--json").splitlines())  # all topics
        assert (one["topic"], one["full_name"]) == ("superevent", f"{cli.group}.superevent")
        assert one["payload"] == json.loads(alert(1))
        assert (two["offset"], two["payload"]) == (one["offset"] + 1, {"n": 2})
        pretty = cli.listen("superevent", "--pretty", "--count", "1")
        assert pretty.startswith('{\n  "topic"')
        assert json.loads(pretty) == one

    @pytest.mark.parametrize("since", ["1969-12-31T23:59:59.999", "0001-01-01", "700000d"])
    def test_listen_since_long_ago(self, cli, since):
        """Kafka takes -1 ms for the end, and -2 for the beginning."""
        cli.publish(*map(alert, range(3)))
        told = ["superevent", "--json", "--count", "3", "--timeout"]
        assert uids(cli.run("listen", *told, "30", "--since", since)) == ["S0", "S1", "S2"]

    def test_a_time_that_never_is_up(self, cli):
        cli.publish(alert(1))
        cli.listen("superevent", "--timeout", "inf", "--count", "1")
        assert cli.errors == ""

    def test_listen_goes_on_where_it_was(self, cli):
        cli.publish(*map(alert, range(5)))
        group = ["--consumer-group", cli.group, "--json"]
        assert uids(cli.listen("superevent", *group, "--count", "2")) == ["S0", "S1"]
        assert uids(cli.listen("superevent", *group)) == ["S2", "S3", "S4"]
        assert uids(cli.listen("superevent", *group)) == []

    def test_what_is_set_aside_counts(self, cli):
        cli.publish(*map(alert, range(4)))
        fails = ["--exec", 'test "$ALERT_UID" = S0', "--shell", "--on-failure", "set-aside"]
        group = ["--consumer-group", cli.group]
        cli.run("listen", "superevent", "--since", "earliest", *group, *fails, "--count", "2")
        assert uids(cli.listen("superevent", *group, "--json")) == ["S2", "S3"]

    def test_listen_ends_when_its_time_is_up(self, cli):
        assert cli.run("listen", "superevent", "--timeout", "1") == ""
        cli.run("listen", "superevent", "--timeout", "1", "--count", "1", status=1)
        assert cli.errors == "igwn-style-client: error: 0 of 1 alerts came\n"

    def test_a_reader_who_has_seen_enough(self, cli):
        cli.publish(*map(alert, range(200)))
        group = ["--consumer-group", cli.group, "--json"]
        started = cli.start("listen", "superevent", "--since", "earliest", *group)
        with cli.ending(started) as process:
            line = process.stdout.readline()
            assert uids(line) == ["S0"]
            process.stdout.close()
            assert process.wait(SECONDS) == 1
            assert process.stderr.read() == ""
        rest = uids(cli.listen("superevent", *group))
        # What was in the pipe was printed; what could not be printed comes again.
        assert rest
        assert rest == [f"S{number}" for number in range(200 - len(rest), 200)]

    def test_exec_gets_the_payload_and_what_the_alert_is(self, cli):
        script = cli.home / "follow up.py"
        script.write_text(
            "import json, os, sys\n"
            "told = {k: v for k, v in os.environ.items() if k.startswith('ALERT_')}\n"
            "print(json.dumps([sys.stdin.read(), told]))\n"
        )
        cli.publish(alert(1))
        printed = cli.listen("superevent", "--exec", f"{sys.executable} '{script}'")
        given, told = json.loads(printed)
        assert given == alert(1)
        assert told["ALERT_TOPIC"] == "superevent"
        assert told["ALERT_FULL_NAME"] == f"{cli.group}.superevent"
        assert (told["ALERT_UID"], told["ALERT_SUPEREVENT"], told["ALERT_TYPE"]) == (
            "S1", "S1", "new"
        )  # fmt: skip
        assert told["ALERT_OFFSET"].isdigit()
        assert told["ALERT_PARTITION"].isdigit()
        assert told["ALERT_TIME"].startswith("20")
        assert len(told["ALERT_ID"]) == 36
        assert "S1" in cli.errors  # the terminal's lines do not mix with the program's

    def test_exec_where_output_and_error_are_closed(self, cli):
        """A connection must not get their places: the program would write into it."""
        cli.publish(*map(alert, range(2)))
        line = f"readlink /proc/$$/fd/2 >> {cli.home}/open; echo out; echo err >&2"
        told = ["listen", "superevent", "--since", "earliest", "--until-eos"]
        words = [sys.executable, "-c", START, *told, *cli.connection, "--shell", "--exec", line]
        closed = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *words]
        done = subprocess.run(closed, env=cli.environment, cwd=cli.home, timeout=SECONDS)
        assert done.returncode == 0
        assert (cli.home / "open").read_text().split() == ["/dev/null"] * 2

    def test_what_exec_fails_for_comes_again(self, cli):
        cli.publish(*map(alert, range(3)))
        group = ["--consumer-group", cli.group, "--json"]
        # The output goes where the test finds it: a failure must not depend on reading.
        fails = 'echo $ALERT_UID >> seen; test "$ALERT_UID" != S1'
        cli.listen("superevent", *group, "--exec", fails, "--shell", "--attempts", "2", status=1)
        assert "ended with status 1" in cli.errors
        assert f'for the alert in "{cli.group}.superevent"' in cli.errors
        assert (cli.home / "seen").read_text().split() == ["S0", "S1", "S1"]
        assert uids(cli.listen("superevent", *group)) == ["S1", "S2"]

    def test_what_exec_fails_for_may_be_set_aside_and_tried_again(self, cli):
        cli.publish(*map(alert, range(4)))
        group = ["--consumer-group", cli.group]
        fails = 'case "$ALERT_UID" in S1|S3) exit 7;; esac'
        how = ["--exec", fails, "--shell", "--on-failure", "set-aside"]
        cli.listen("superevent", *group, *how)
        assert cli.listen("superevent", *group) == ""
        # By default it lies in a file of the server and the group.
        first, why, second, _ = cli.run("set-aside list", *group).splitlines()
        assert "S1" in first
        assert "status 7" in why
        number = int(second.split()[0])
        shown = json.loads(cli.run("set-aside show", *group, "-n", number))
        assert (shown["number"], shown["payload"]["uid"]) == (number, "S3")
        assert "status 7" in shown["reason"]
        cli.run("set-aside retry", *group, "--exec", fails, "--shell", "-n", number, status=1)
        cli.run("set-aside retry", *group, "--exec", "echo $ALERT_UID >> again", "--shell")
        assert (cli.home / "again").read_text().split() == ["S1", "S3"]
        assert cli.run("set-aside list", *group) == ""

    def test_exec_side_by_side(self, cli):
        """Two programs wait for each other."""
        cli.broker.create_topics(f"{cli.group}.a", f"{cli.group}.b")
        for topic in ("a", "b"):
            cli.publish(alert(topic), topic=topic)
            os.mkfifo(cli.home / topic)
        meet = 'if test "$ALERT_TOPIC" = a; then echo a > a; read x < b; ' \
               'else read x < a; echo b > b; fi; echo $x'  # fmt: skip
        printed = cli.listen("a", "b", "--workers", "2", "--exec", meet, "--shell")
        assert sorted(printed.split()) == ["a", "b"]

    def test_archive_save_and_replay(self, cli):
        cli.publish(*map(alert, range(3)))
        cli.publish("TITLE: GCN CIRCULAR", topic="cbc_gstlal")
        archive = cli.home / "alerts.db"
        group = ["--consumer-group", cli.group]
        cli.listen(*group, "--archive", archive, "--save", cli.home / "alerts")
        with Archive(archive) as stored:
            assert len(stored) == 4
        files = sorted((cli.home / "alerts" / "superevent").iterdir())
        assert [file.read_text() for file in files] == [alert(number) for number in range(3)]
        assert ["-S0-new-" in file.name for file in files] == [True, False, False]
        [text] = (cli.home / "alerts" / "cbc_gstlal").iterdir()
        assert (text.suffix, text.read_text()) == (".txt", "TITLE: GCN CIRCULAR")

        assert uids(cli.run("replay", archive, "superevent", "--json")) == ["S0", "S1", "S2"]
        assert len(cli.run("replay", archive, "--since", "1h", "--speed", "1000").split("\n")) == 5
        assert uids(cli.run("replay", archive, "superevent", "--json", "--speed", "inf")) == [
            "S0", "S1", "S2"
        ]  # fmt: skip
        assert cli.run("replay", archive, "--until", "2020-01-01") == ""
        cli.run("replay", archive, "superevent", "--exec", "cat >> again", "--shell")
        assert (cli.home / "again").read_text() == "".join(map(alert, range(3)))

        cli.broker.create_topics(f"{cli.group}.elsewhere")
        cli.run("replay", archive, "superevent", "--publish-to", "elsewhere", "--test")
        assert cli.listen("elsewhere") == ""  # they are flagged
        again = cli.listen("elsewhere", "--test-alerts", "--json")
        assert sorted(uids(again)) == ["S0", "S1", "S2"]

    @pytest.mark.parametrize(
        ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
    )
    def test_a_signal_lets_the_running_program_finish(self, cli, number, status):
        cli.publish(*map(alert, range(3)))
        os.mkfifo(cli.home / "go")
        group = ["--consumer-group", cli.group]
        wait = "echo $ALERT_UID >> begun; read x < go; echo $ALERT_UID >> done"
        started = cli.start(
            *("listen", "superevent", "--since", "earliest", *group),
            *("--exec", wait, "--shell"),
            start_new_session=True,
        )
        with cli.ending(started) as process:
            begun = (cli.home / "begun").exists
            wait_until(lambda: begun() or process.poll() is not None, what="the first program")
            # As a terminal does it: to all in the foreground.
            os.killpg(process.pid, number)
            assert "when what runs has ended" in process.stderr.readline()
            (cli.home / "go").write_text("\n")
            process.communicate(timeout=SECONDS)
            assert process.returncode == status
        assert (cli.home / "done").read_text() == "S0\n"
        assert uids(cli.listen("superevent", *group, "--json")) == ["S1", "S2"]

    def test_topics(self, cli):
        assert cli.run("topics") == "cbc_gstlal\nsuperevent\n"
        assert json.loads(cli.run("topics", "--json")) == ["cbc_gstlal", "superevent"]
        cli.group, cli.connection[4] = "nobody", "nobody"
        assert cli.run("topics", "--json") == "[]\n"
        cli.run("topics", status=1)
        assert 'the group "nobody" has no topics' in cli.errors

    def test_publish(self, cli):
        receipt = cli.run("publish", "superevent", "-", "--json", stdin=alert(1))
        assert json.loads(receipt)["topic"] == "superevent"
        assert uids(cli.listen("superevent", "--json")) == ["S1"]

    def test_doctor(self, cli):
        checks = [json.loads(line) for line in cli.run("doctor", "--json").splitlines()]
        assert checks
        assert all(check["passed"] is not False for check in checks)

    def test_simulate(self, cli):
        others = set(TOPICS) - {"superevent", "cbc_gstlal"}
        cli.broker.create_topics(*(f"{cli.group}.{topic}" for topic in others))
        how = ["--superevents", "1", "--seed", "2", "--speed", "1e6", "--json"]
        first, *alerts = cli.run("simulate", *how).splitlines()
        told = json.loads(first)
        assert told["server"] == cli.broker.url
        assert told["listen"].endswith("--noauth --test-alerts")
        assert len(alerts) == 30
        assert cli.listen() == ""
        assert len(cli.listen("--test-alerts").splitlines()) == 30

    def test_a_profile_and_the_environment(self, cli):
        cli.publish(alert(1))
        file = Path(cli.home, ".config/igwn-style-client/config.toml")
        file.parent.mkdir(parents=True)
        options = "".join(f'"{name}" = {value}\n' for name, value in cli.broker.options.items())
        file.write_text(
            f'server = "{cli.broker.url}"\nnoauth = true\ngroup = "nobody"\n'
            f'[profiles.mine]\ngroup = "{cli.group}"\n[profiles.mine.options]\n{options}'
        )
        cli.connection = []
        assert uids(cli.listen("superevent", "--profile", "mine", "--json")) == ["S1"]
        cli.environment["IGWN_STYLE_CLIENT_PROFILE"] = "mine"
        assert cli.run("topics") == "cbc_gstlal\nsuperevent\n"
        cli.environment["IGWN_STYLE_CLIENT_GROUP"] = "nobody"
        cli.run("topics", status=1)
        assert 'the group "nobody" has no topics' in cli.errors
        assert cli.run("topics", "-g", cli.group) == "cbc_gstlal\nsuperevent\n"
