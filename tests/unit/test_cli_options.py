"""Options that several commands have."""

import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from igwn_style_client import profiles
from igwn_style_client.cli_options import (
    Command,
    Place,
    When,
    connect,
    connecting,
    ending_well,
    some_topics,
)

NOON = datetime(2024, 4, 10, 12, tzinfo=timezone.utc)


class TestWhen:
    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("90s", timedelta(seconds=90)),
            ("10m", timedelta(minutes=10)),
            ("1.5h", timedelta(minutes=90)),
            ("2d", timedelta(days=2)),
            ("1w", timedelta(days=7)),
            ("2024-04-10T12:00", NOON),
            ("2024-04-10 12:00:00Z", NOON),
            ("2024-04-10T14:00:00+02:00", NOON),
            ("2024-04-10", NOON.replace(hour=0)),
            ("earliest", "earliest"),
        ],
    )
    def test_what_is_a_time(self, typed, meant):
        assert When("latest", "earliest").convert(typed, None, None) == meant

    @pytest.mark.parametrize(
        "typed",
        ["", "10", "ten minutes", "-1h", "latest", "1e3s", "9999999999w", "900000d", "2024-13-01"],
    )
    def test_what_is_none(self, typed):
        with pytest.raises(click.BadParameter):
            When("earliest").convert(typed, None, None)


class TestPlace:
    def test_a_path(self, tmp_path):
        assert Place().convert(str(tmp_path / "x"), None, None) == str(tmp_path / "x")
        assert Place().convert("~/x", None, None) == str(Path.home() / "x")

    @pytest.mark.parametrize("value", ["", "a\0b"])
    def test_what_is_none(self, value):
        with pytest.raises(click.BadParameter):
            Place().convert(value, None, None)


@pytest.fixture
def command():
    """A command that keeps its connection."""
    seen = {}

    @click.command(cls=Command)
    @click.option("--own", help="An option of its own.")
    @connecting
    def look(connection, own):
        seen.update(connection)

    look.seen = seen
    return look


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    profiles.path().parent.mkdir()
    return profiles.path().write_text


def run(command, *arguments, **environment):
    return CliRunner().invoke(command, arguments, env=environment)


class TestConnecting:
    def test_the_defaults_are_the_clients(self, command):
        assert run(command).exit_code == 0
        assert command.seen == {
            "server": "kafka://kafka.scimma.org/",
            "port": 9092,
            "group": "gracedb",
            "consumer_group": None,
            "authfile": None,
            "noauth": False,
            "ssl_ca_location": None,
            "options": {},
        }
        assert connect({**command.seen, "noauth": True}).group_prefix == "gracedb"

    def test_short_forms(self, command):
        told = ["-s", "a", "-p", "1", "-g", "b", "-c", "c", "--no-auth", "--option", "x=1=2"]
        assert run(command, *told).exit_code == 0
        seen = command.seen
        assert [seen[name] for name in ("server", "port", "group", "consumer_group")] == [
            "a", 1, "b", "c"
        ]  # fmt: skip
        assert seen["noauth"] is True
        assert seen["options"] == {"x": "1=2"}

    def test_what_is_typed_goes_before_the_environment_and_that_before_the_profile(
        self, command, write
    ):
        write(
            'server = "s"\n[profiles.mine]\nport = 1\ngroup = "g"\nconsumer_group = "c"\n'
            'noauth = true\nauthfile = "~/auth.toml"\n'
            'options = { "session.timeout.ms" = 6000, "enable.partition.eof" = true }\n'
        )
        environment = {"IGWN_STYLE_CLIENT_GROUP": "from outside", "IGWN_STYLE_CLIENT_PORT": "2"}
        done = run(command, "--profile", "mine", "--port", "3", **environment)
        assert (done.exit_code, done.output) == (0, "")
        assert command.seen == {
            "server": "s",
            "port": 3,
            "group": "from outside",
            "consumer_group": "c",
            "authfile": str(Path.home() / "auth.toml"),
            "noauth": True,
            "ssl_ca_location": None,
            "options": {"session.timeout.ms": "6000", "enable.partition.eof": "true"},
        }

    def test_everything_may_come_from_the_environment(self, command, write):
        write('[profiles.mine]\nserver = "s"\n')
        names = ["GROUP", "CONSUMER_GROUP", "AUTHFILE", "SSL_CA_LOCATION"]
        environment = {f"IGWN_STYLE_CLIENT_{name}": name for name in names}
        environment |= {
            "IGWN_STYLE_CLIENT_PROFILE": "mine",
            "IGWN_STYLE_CLIENT_NOAUTH": "1",
            "IGWN_STYLE_CLIENT_OPTIONS": "a=1 b=2",
        }
        assert run(command, **environment).exit_code == 0
        assert command.seen["server"] == "s"
        assert command.seen["noauth"] is True
        assert command.seen["options"] == {"a": "1", "b": "2"}
        for name in names:
            assert command.seen[name.lower()] == name

    @pytest.mark.parametrize(
        ("text", "arguments", "says"),
        [
            ("", ["--profile", "mine"], 'no profile "mine"'),
            ("port = 99999", [], "99999"),
            ("options = 1", [], '"options" must be a table'),
            ("[options]\nsession.timeout.ms = 1", [], 'as "session...."'),
            ("nonsense", [], "is no TOML"),
            ("authfile = 5", [], '"authfile" must be text'),
            ('ssl-ca-location = ""', [], "it is empty"),
            ("", ["--option", "sasl.password"], "'sasl.password' is not NAME=VALUE"),
        ],
    )
    def test_what_is_wrong_is_told(self, command, write, text, arguments, says):
        write(text)
        done = run(command, *arguments)
        assert done.exit_code == 2
        assert says in done.output.replace("\n", " ")

    def test_help_has_two_parts(self, command):
        own, _, connection = run(command, "--help").output.partition("Options of the connection:")
        assert "--own" in own
        assert "--help" in own
        assert "--server" not in own
        assert "--profile" in connection
        assert "--own" not in connection

    def test_profiles_complete(self, command, write):
        write("[profiles.playground]\n[profiles.production]\n[profiles.test]\n")
        complete = ShellComplete(command, {}, "look", "_LOOK_COMPLETE")
        found = [one.value for one in complete.get_completions(["--profile"], "p")]
        assert found == ["playground", "production"]
        write("nonsense")
        assert complete.get_completions(["--profile"], "p") == []


@pytest.mark.parametrize("wrong", [{"server": "http://x/"}, {"group": "a b"}, {"group": "a."}])
def test_what_a_client_refuses_is_wrong_usage(wrong):
    with pytest.raises(click.UsageError):
        connect({"noauth": True, **wrong})


def test_topics():
    assert some_topics(()) is None
    assert some_topics(("a", "b", "a")) == ["a", "b"]
    with pytest.raises(click.UsageError, match="a b"):
        some_topics(("a b",))


# How a signal ends a command


class Stoppable:
    def __init__(self):
        self.stopped = 0

    def stop(self):
        self.stopped += 1


@pytest.fixture
def usual():
    """What the signals do by themselves, which here is to be noted; returns the notes."""
    noted = []
    before = {
        number: signal.signal(number, lambda number, _frame: noted.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield noted
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_has_its_usual_effect(usual, first, second):
    client, went_on = Stoppable(), []

    def run():
        with ending_well(client.stop):
            signal.raise_signal(first)
            assert (client.stopped, usual) == (1, [])
            signal.raise_signal(second)
            went_on.append(True)

    if first == signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            run()
    else:
        run()
    assert (client.stopped, usual, went_on) == (1, [second], [True])


def test_it_is_told(usual, capsys):
    with ending_well(Stoppable().stop, "ending"):
        signal.raise_signal(signal.SIGTERM)
    assert capsys.readouterr() == ("", "ending\n")


def test_without_a_terminal_to_tell_it_to(usual, monkeypatch):
    def echo(*_args, **_more):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(click, "echo", echo)
    client = Stoppable()
    with ending_well(client.stop, "ending"):
        signal.raise_signal(signal.SIGHUP)
    assert client.stopped == 1


def test_an_ignored_signal_stays_ignored(usual):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = Stoppable()
    with ending_well(client.stop):
        signal.raise_signal(signal.SIGINT)
    assert (client.stopped, usual) == (0, [])
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
