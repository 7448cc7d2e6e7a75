"""What the command line does with an alert."""

import errno
import json
import os
import threading
from datetime import datetime, timezone

import click
import pytest

from igwn_style_client import Alert, Archive
from igwn_style_client.cli_handling import Handler, Program, text_of
from tests.waiting import wait_until

NOON = datetime(2024, 4, 10, 12, tzinfo=timezone.utc)


def alert(payload='{"uid": "S1", "alert_type": "new"}', topic="superevent", offset=7):
    return Alert(topic, payload, f"gracedb.{topic}", 2, offset, NOON, raw=b"1")


def handle(handler, one):
    handler(one.topic, one.payload, one)


def silent(**how):
    handler = Handler(**how)
    handler.show = lambda alert: None
    return handler


class TestProgram:
    def test_the_words_of_a_command_are_no_shells(self, tmp_path):
        file = tmp_path / "a b; $HOME"
        Program(f"tee '{file}' /dev/null", shell=False)(alert("text"))
        assert file.read_text() == "text"

    def test_a_line_for_the_shell(self, tmp_path):
        Program(f'cat > {tmp_path}/"$ALERT_TOPIC" && true', shell=True)(alert("text"))
        assert (tmp_path / "superevent").read_text() == "text"

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("exit 3", "/bin/sh ended with status 3"),
            ("kill -KILL $$", "/bin/sh was killed by SIGKILL"),
            ("kill -62 $$", "/bin/sh was killed by"),
        ],
    )
    def test_a_failure_names_the_alert(self, line, says):
        with pytest.raises(click.ClickException, match=says) as caught:
            Program(line, shell=True)(alert())
        assert 'for the alert in "gracedb.superevent", partition 2, offset 7' in str(caught.value)

    def test_what_ignores_the_end_is_ended_all_the_same(self, tmp_path):
        """Otherwise it would run on beside the one that the next start runs for the same alert."""
        file = tmp_path / "pid"
        line = (
            f"trap '' TERM; echo $$ > {file}.part; mv {file}.part {file}; while :; do sleep 1; done"
        )
        program = Program(line, shell=True, patience=0.2)
        failures = []

        def run():
            try:
                program(alert())
            except click.ClickException as error:
                failures.append(str(error))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        wait_until(file.exists)
        program.end()
        thread.join(30)
        assert "was killed by SIGKILL" in failures[0]
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)
        with pytest.raises(click.ClickException, match="ended before the alert"):
            program(alert())

    def test_who_does_not_read_may_end_well(self):
        Program("true", shell=False)(alert("x" * 2_000_000))

    def test_a_program_that_is_gone_since(self, tmp_path):
        file = tmp_path / "program"
        file.write_text("#!/bin/sh\n")
        file.chmod(0o700)
        program = Program(str(file), shell=False)
        program(alert())
        file.unlink()
        with pytest.raises(click.ClickException, match="cannot be run for the alert in"):
            program(alert())

    @pytest.mark.parametrize(
        ("command", "shell", "says"),
        [
            ("", False, "there is no command"),
            ("  ", True, "there is no command"),
            ("no-such-program x", False, "'no-such-program' that may be run"),
            ("/etc/passwd", False, "may be run"),
            ("echo 'x", False, "No closing quotation"),
        ],
    )
    def test_what_cannot_be_run_is_wrong_usage(self, command, shell, says):
        with pytest.raises(click.UsageError, match=says):
            Program(command, shell)

    def test_what_still_runs_at_the_end_is_ended_with_all_it_has_started(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        program = Program(f"echo $$ > {tmp_path}/begun; cat {tmp_path}/pipe", shell=True)
        failed = []

        def run():
            try:
                program(alert())
            except click.ClickException as error:
                failed.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        wait_until((tmp_path / "begun").exists, what="the program")
        program.end()
        thread.join(30)
        assert "was killed by SIGTERM" in failed[0]

    def test_what_it_is_told_is_text(self, tmp_path):
        one = alert({"uid": "S1\x00\n", "alert_type": ["odd"]})
        Program(f"env > {tmp_path}/told", shell=True)(one)
        lines = (tmp_path / "told").read_text().splitlines(keepends=True)
        told = dict(line.partition("=")[::2] for line in lines)
        assert told["ALERT_UID"] == "S1??\n"
        assert told["ALERT_TYPE"] == "odd\n"
        assert told["ALERT_TIME"] == "2024-04-10T12:00:00.000+00:00\n"
        assert told["ALERT_ID"] == told["ALERT_SUPEREVENT"] == "\n"


class TestHandler:
    def test_an_alert_is_stored_before_it_is_printed(self, tmp_path):
        archive, done = tmp_path / "alerts.db", []
        handler = Handler(archive=str(archive), save=str(tmp_path), command="true")
        handler.publish = lambda alert: done.append("published")
        handler.show = lambda alert: done.append((len(Archive(archive)), files(tmp_path)))
        with handler:
            handle(handler, alert())
        assert done == ["published", (1, ["20240410T120000.000000Z-S1-new-2-7.json"])]

    def test_names_tell_alerts_apart_and_are_the_same_again(self, tmp_path):
        handler = silent(save=str(tmp_path))
        for one in (alert(), alert(offset=8), alert(), alert('{"uid": "../../x"}'), alert("text")):
            handle(handler, one)
        assert files(tmp_path) == [
            "20240410T120000.000000Z-..%2F..%2Fx-2-7.json",
            "20240410T120000.000000Z-2-7.txt",
            "20240410T120000.000000Z-S1-new-2-7.json",
            "20240410T120000.000000Z-S1-new-2-8.json",
        ]

    def test_what_cannot_be_saved_is_told(self, tmp_path):
        (tmp_path / "superevent").write_text("in the way")
        with pytest.raises(click.ClickException, match=r"cannot write .* not marked as delivered"):
            handle(silent(save=str(tmp_path)), alert())

    def test_where_nothing_can_be_saved_is_told_before_the_first_alert(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        for save in (tmp_path / "file" / "x", tmp_path / ("x" * 300)):
            with pytest.raises(click.ClickException, match=r"cannot write into .*"):
                silent(save=str(save)).__enter__()
        with silent(save=str(tmp_path / "a" / "b")):
            assert list((tmp_path / "a" / "b").iterdir()) == []

    def test_a_failed_program_prints_nothing(self):
        shown = []
        handler = Handler(command="false")
        handler.show = shown.append
        with pytest.raises(click.ClickException):
            handle(handler, alert())
        assert shown == []

    @pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC])
    def test_what_cannot_be_printed_is_no_fault_of_the_alert(self, number):
        def show(alert):
            raise OSError(number, os.strerror(number))

        handler = Handler()
        handler.show = show
        passed_by = []

        def handle_failures():
            try:
                handle(handler, alert())
            except Exception:  # what delivery would retry, or set aside
                pytest.fail("it must pass by this")
            finally:
                passed_by.append(True)

        with pytest.raises(OSError, match=os.strerror(number)) as caught, handler:
            handle_failures()
        assert (caught.value.errno, passed_by) == (number, [True])

    def test_whether_an_alert_goes_anywhere(self, tmp_path):
        assert not Handler(as_json=True, pretty=True).keeps
        assert Handler(command="true").keeps
        assert Handler(save=str(tmp_path)).keeps
        assert Handler(archive=str(tmp_path / "a.db")).keeps

    def test_a_shell_needs_a_command(self):
        with pytest.raises(click.UsageError, match="--exec"):
            Handler(shell=True)


def files(folder):
    return sorted(path.name for path in (folder / "superevent").iterdir())


def test_the_forms():
    assert text_of(alert(), "line") == (
        f"{'2024-04-10T12:00:00Z':20}  {'superevent':17}  {'S1':10}  new"
    )
    line, pretty = text_of(alert(), "json"), text_of(alert(), "pretty")
    assert json.loads(line) == json.loads(pretty)
    assert json.loads(line)["payload"] == {"uid": "S1", "alert_type": "new"}
    assert "\n" not in line
    assert pretty.startswith("{\n  ")
