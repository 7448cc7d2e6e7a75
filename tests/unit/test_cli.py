"""Arguments and printing."""

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

    @pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["demo", "--help"]])
    def test_help_has_examples(self, arguments):
        result = self.run(*arguments)
        assert result.exit_code == 0
        assert result.output.startswith("Usage: igwn-style-client ")
        assert "\n  Examples:\n    igwn-style-client demo" in result.output

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
        ],
    )
    def test_wrong_usage(self, arguments, hint):
        result = self.run(*arguments)
        assert result.exit_code == 2
        assert result.output.startswith("igwn-style-client: error: ")
        assert hint in result.output


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
