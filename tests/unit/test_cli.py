"""Arguments and printing."""

import io
import sys
import warnings

import click
import pytest
from click.testing import CliRunner

from igwn_style_client import ClientError, __version__, cli


class TestUsage:
    def run(self, *arguments):
        return CliRunner().invoke(cli.main, arguments)

    def test_version(self):
        result = self.run("--version")
        assert (result.exit_code, result.output) == (0, f"igwn-style-client {__version__}\n")

        assert self.run("-V").output == result.output

    @pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["demo", "--help"]])
    def test_help_has_examples(self, arguments):
        result = self.run(*arguments)
        assert result.exit_code == 0
        assert result.output.startswith("Usage: igwn-style-client ")
        assert "\n  Examples:\n    igwn-style-client demo" in result.output

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_completion(self, shell):
        result = self.run("--completion", shell)
        assert result.exit_code == 0
        assert "_IGWN_STYLE_CLIENT_COMPLETE=" + shell in result.output

    def test_no_command_shows_the_help(self):
        result = self.run()
        assert result.exit_code == 2
        assert "Commands:" in result.output

    @pytest.mark.parametrize(
        ("arguments", "hint"),
        [
            (["--no-such"], "Try: igwn-style-client --help"),
            (["no-such"], "Try: igwn-style-client --help"),
            (["demo", "--sed", "1"], "--seed"),
            (["demo", "--superevents", "0"], "--superevents"),
            (["demo", "--superevents", "many"], "Try: igwn-style-client demo --help"),
            (["demo", "--rate", "0"], "--rate"),
            (["demo", "--rate", "nan"], "--rate"),
            (["demo", "extra"], "extra"),
            (["--completion", "tcsh"], "--completion"),
            (["--log-level", "loud", "demo"], "--log-level"),
            (["listen", "--debug"], "goes before the command: igwn-style-client --debug ..."),
            (["listen", "a b"], "'a b' cannot be the name of a topic"),
            (["listen", "--since", "yesterday"], "10m, 2h, 1d, latest, earliest"),
            (["listen", "--timeout", "nan"], "--timeout"),
            (["listen", "--workers", "0"], "--workers"),
            (["listen", "--workers", "1001"], "1001 is not in the range 1<=x<=1000"),
            (["listen", "--save", ""], "'--save': it is empty"),
            (["listen", "--archive", ""], "'--archive': it is empty"),
            (["listen", "--set-aside", ""], "'--set-aside': it is empty"),
            (["listen", "--authfile", ""], "it is empty"),
            (["listen", "--ssl-ca-location", ""], "it is empty"),
            (["listen", "--profile", ""], 'no profile ""'),
            (["listen", "--noauth", "--server", ""], '"server" must be such as'),
            (["listen", "--noauth", "--consumer-group", ""], "it is empty"),
            (["listen", "--noauth", "--group", ""], "cannot be the name"),
            (["listen", "--noauth", "--option", "=1"], 'does not take ""'),
            (["listen", "--save", __file__], "is a file"),
            (["listen", "--archive", "/"], "is a directory"),
            (["replay", ""], "it is empty"),
            (["replay", "x.db", "--publish-to", ""], "--publish-to: there is no topic"),
            (["set-aside", "list", ""], "it is empty"),
            (["antares", "x", "-d", ""], "it is empty"),
            (["thumbnails", "x", "-d", ""], "it is empty"),
            (["publish", "x", __file__, "--noauth", "--timeout", "1e300"], '"publish_timeout"'),
            (["listen", "--shell"], "--shell is of use only with --exec"),
            (["listen", "--exec", "no-such-program"], "--exec: there is no program"),
            (["listen", "--server", "http://x/", "--noauth"], "must begin with kafka://"),
            (
                ["listen", "--noauth", "--option", "sesion.timeout.ms=1"],
                'not take "sesion.timeout.ms": ',
            ),
            (
                ["publish", "x", __file__, "--noauth", "--option", "linger.ms=long"],
                'not take "linger.ms": ',
            ),
            (["topics", "--noauth", "--option", "ssl.key.pem"], "is not NAME=VALUE"),
            (["antares", "x", "--noauth", "--option", "a=1"], "--option"),
            (["listen", "--profile", "no-such"], 'no profile "no-such"'),
            (["replay"], "FILE"),
            (["replay", "x.db", "--test"], "--test is of use only with --publish"),
            (["set-aside", "drop", "x.db"], "--number, or --all"),
            (["set-aside", "no-such"], "Try: igwn-style-client set-aside --help"),
        ],
    )
    def test_wrong_usage(self, arguments, hint):
        result = self.run(*arguments)
        assert result.exit_code == 2
        assert result.output.startswith("igwn-style-client: error: ")
        assert hint in result.output


@pytest.mark.parametrize("command", ["listen", "topics", "publish"])
def test_options_that_do_not_go_together_are_wrong_usage(command):
    """librdkafka tells it only when it connects."""
    option = "linger.ms=900000" if command == "publish" else "ssl.certificate.location=/no-such"
    told = ["--noauth", "--server", "127.0.0.1:1", "--option", "security.protocol=SSL"]
    words = [command, *(["x", __file__] if command == "publish" else [])]
    result = CliRunner().invoke(cli.main, [*words, *told, "--option", option])
    assert (result.exit_code, option.partition("=")[0] in result.output) == (2, True)
    assert "Traceback" not in result.output


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_does_not_know_a_letter(encoding, monkeypatch):
    """An alert that could not be printed would count as failed."""
    output = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", output)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    output.write("\u2026")
    output.flush()
    assert output.buffer.getvalue().endswith(b"\\u2026")


def test_help_that_cannot_be_written(monkeypatch, capsys):
    def write(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("click.decorators.echo", write)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["--help"])
    assert capsys.readouterr().err == (
        "igwn-style-client: error: [Errno 28] No space left on device\n"
    )


class TestFailing:
    """A command of our group that ends in every way a command can."""

    def run(self, do, *arguments):
        debug = click.Option(["--debug"], is_flag=True)
        group = cli.Commands("group", params=[debug], commands=[click.Command("do", callback=do)])
        return CliRunner().invoke(group, [*arguments, "do"])

    def fail(self):
        raise ClientError("the sky has clouds; wait")

    def test_done(self):
        assert self.run(lambda: None).exit_code == 0

    def test_our_errors_are_told_in_one_line(self):
        result = self.run(self.fail)
        assert result.exit_code == 1
        assert result.output == "igwn-style-client: error: the sky has clouds; wait\n"

    def test_debug_tells_where_they_come_from(self):
        result = self.run(self.fail, "--debug")
        assert result.exit_code == 1
        assert "Traceback" in result.output
        assert result.output.endswith("igwn-style-client: error: the sky has clouds; wait\n")

    def test_debug_tells_what_a_command_has_made_a_line_of(self):
        def fail():
            try:
                raise OSError(28, "No space left on device")
            except OSError as error:
                raise click.ClickException("the disk is full") from error

        assert self.run(fail).output == "igwn-style-client: error: the disk is full\n"
        result = self.run(fail, "--debug")
        assert result.exit_code == 1
        assert "OSError: [Errno 28] No space left on device" in result.output
        assert result.output.endswith("igwn-style-client: error: the disk is full\n")

    def test_wrong_usage_has_no_traceback(self):
        def fail():
            raise click.UsageError("no such star")

        result = self.run(fail, "--debug")
        assert result.exit_code == 2
        assert result.output.startswith("igwn-style-client: error: no such star\n")
        assert "Traceback" not in result.output

    def test_a_warning_is_a_line_of_ours(self):
        def warn():
            warnings.warn("the moon is up", stacklevel=1)

        with warnings.catch_warnings():
            warnings.simplefilter("default")
            result = self.run(warn)
        assert result.output == "igwn-style-client: warning: the moon is up\n"

    def test_a_warning_for_developers_tells_its_place(self):
        def warn():
            warnings.warn("the old way", DeprecationWarning, stacklevel=1)

        with warnings.catch_warnings():
            warnings.simplefilter("default")
            result = self.run(warn)
        assert "test_cli.py" in result.output
        assert "DeprecationWarning: the old way\n" in result.output

    def test_what_the_system_refuses_is_told_in_one_line(self):
        def write():
            raise OSError(28, "No space left on device", "alerts.db")

        result = self.run(write)
        assert result.exit_code == 1
        assert result.output == (
            "igwn-style-client: error: [Errno 28] No space left on device: 'alerts.db'\n"
        )

    def test_interrupted(self):
        def interrupt():
            raise KeyboardInterrupt

        result = self.run(interrupt)
        assert (result.exit_code, result.output.strip()) == (130, "")

    def test_a_reader_who_has_gone(self):
        def write():
            raise BrokenPipeError(32, "Broken pipe")

        result = self.run(write)
        assert (result.exit_code, result.output) == (1, "")
