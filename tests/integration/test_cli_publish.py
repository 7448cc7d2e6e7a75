"""The command ``publish`` as a process of its own."""

import json
import re
import signal
import subprocess
import sys

import pytest

from igwn_style_client import client
from tests.commands import START

COMMAND = [sys.executable, "-W", "error", "-m", "igwn_style_client", "publish"]


def publish(broker, group, *arguments, stdin=b""):
    told = ["--server", broker.url, "--group", group, "--noauth"]
    done = subprocess.run(
        [*COMMAND, "superevent", *arguments, *told], input=stdin, capture_output=True, timeout=60
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def alerts_of(broker, group, number):
    told = {"server": broker.url, "noauth": True, "group": group, "options": broker.options}
    alerts = client(start_at="earliest", test_alerts=True, **told).alerts("superevent")
    got = [alert for _, alert in zip(range(number), alerts, strict=False)]
    alerts.close()
    return got


def test_files_and_their_receipts(broker, group, tmp_path):
    broker.create_topics(f"{group}.superevent")
    lines, text = tmp_path / "alerts.jsonl", tmp_path / "circular.txt"
    lines.write_text('{"n": 1}\n{"n": 2}\n')
    text.write_text("TITLE: GCN CIRCULAR")
    status, printed, errors = publish(broker, group, str(lines), str(text), "--json", "--test")
    assert (status, errors) == (0, "")
    receipts = [json.loads(line) for line in printed.splitlines()]
    assert [one["topic"] for one in receipts] == ["superevent"] * 3
    places = {(one["file"], one["line"]) for one in receipts}
    assert places == {(str(lines), 1), (str(lines), 2), (str(text), None)}
    got = alerts_of(broker, group, 3)
    assert sorted(str(alert.payload) for alert in got) == [
        "TITLE: GCN CIRCULAR", "{'n': 1}", "{'n': 2}"
    ]  # fmt: skip
    assert all(("_test", b"true") in alert.headers for alert in got)
    places = {(alert.partition, alert.offset) for alert in got}
    assert {(one["partition"], one["offset"]) for one in receipts} == places


def test_what_is_piped_in(broker, group):
    broker.create_topics(f"{group}.superevent")
    status, printed, errors = publish(broker, group, "-", "--rate", "5", stdin=b"1\n2\n")
    assert (status, errors) == (0, "")
    assert [line.split(" partition ")[0] for line in printed.splitlines()] == ["superevent"]
    status, printed, errors = publish(
        broker, group, "-", "--rate", "5", "--format", "jsonl", stdin=b"1\n2\n"
    )
    assert (status, errors) == (0, "")
    assert len(printed.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "says"),
    [
        (["-"], b'{"a": NaN}', 1, '<stdin>: line 1: msg["a"] is nan, which JSON does not have'),
        (["-"], b'{"a": ', 1, "nothing was sent"),
        (["no-such-file"], b"", 2, "No such file"),
        ([], b"", 2, "Missing argument"),
    ],
)
def test_what_cannot_be_sent(broker, group, arguments, stdin, status, says):
    done, printed, errors = publish(broker, group, *arguments, stdin=stdin)
    assert (done, printed) == (status, "")
    assert says in errors


BAD = b'{"n": 1}\n{"n": NaN}\n{"n": 3}\n'


def test_a_file_is_checked_before_anything_is_sent(broker, group, tmp_path):
    broker.create_topics(f"{group}.superevent")
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_bytes(b'{"n": 0}')
    bad.write_bytes(BAD)
    status, printed, errors = publish(broker, group, str(good), str(bad))
    assert (status, printed) == (1, "")
    assert f'{bad}: line 2: msg["n"] is nan' in errors
    assert "nothing was sent" in errors


def test_what_is_piped_in_is_sent_up_to_the_line_that_is_wrong(broker, group):
    broker.create_topics(f"{group}.superevent")
    status, printed, errors = publish(broker, group, "-", stdin=BAD)
    assert status == 1
    assert len(printed.splitlines()) == 1
    assert '<stdin>: line 2: msg["n"] is nan' in errors
    assert "1 of the 1 before it are confirmed" in errors


def test_what_is_piped_in_is_sent_as_it_comes(broker, group):
    broker.create_topics(f"{group}.superevent")
    told = ["--server", broker.url, "--group", group, "--noauth", "--rate", "5"]
    with subprocess.Popen(
        [*COMMAND, "superevent", "-", *told], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        for _ in range(2):
            running.stdin.write(b'{"n": 1}\n')
            running.stdin.flush()
            assert running.stdout.readline().startswith(b"superevent partition ")
        running.stdin.close()
        assert running.wait(30) == 0


def test_not_confirmed(group):
    class Nowhere:
        url = "kafka://127.0.0.1:1/"

    status, printed, errors = publish(Nowhere, group, "-", "--timeout", "1", stdin=b"{}")
    assert (status, printed) == (1, "")
    assert "0 of 1 confirmed; 1 alert for" in errors
    assert "127.0.0.1:1" in errors


def test_what_is_not_confirmed_is_named(group, tmp_path):
    class Nowhere:
        url = "kafka://127.0.0.1:1/"

    lines, text = tmp_path / "alerts.jsonl", tmp_path / "circular.txt"
    lines.write_text("[1]\n\n[3]\n[4]\n")
    text.write_text("TITLE: GCN CIRCULAR")
    told = [str(lines), str(text), "--timeout", "1"]
    status, printed, errors = publish(Nowhere, group, *told)
    assert (status, printed) == (1, "")
    assert errors.endswith(f"; not confirmed: {lines}, lines 1, 3-4; {text}\n")


def test_what_is_not_sent_is_named_too(broker, group, tmp_path):
    """Ctrl-C: what follows in the file is not sent."""
    broker.create_topics(f"{group}.superevent")
    file = tmp_path / "alerts.jsonl"
    file.write_text("\n".join(f'["{number}"]' for number in range(30)))
    told = ["--server", broker.url, "--group", group, "--noauth", "--rate", "2"]
    command = [sys.executable, "-c", START, "publish", "superevent", str(file), *told]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        first = running.stdout.readline()
        assert first.endswith(f" from {file}, line 1\n")
        running.send_signal(signal.SIGINT)
        printed, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    sent = len(printed.splitlines()) + 1
    assert f"{sent} of 30 confirmed; what follows {file}, line {sent} was not sent\n" in errors


def test_whoever_read_the_receipts_has_gone(broker, group, tmp_path):
    broker.create_topics(f"{group}.superevent")
    file = tmp_path / "alerts.jsonl"
    file.write_text("\n".join(f'["{number}"]' for number in range(30)))
    told = ["--server", broker.url, "--group", group, "--noauth", "--rate", "5"]
    with subprocess.Popen(
        [*COMMAND, "superevent", str(file), *told],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdout.readline().endswith(f" from {file}, line 1\n")
        running.stdout.close()
        assert running.wait(60) == 1
        told = rf"(\d+) of 30 confirmed; what follows {file}, line \1 was not sent\n"
        assert re.fullmatch(told, running.stderr.read())


def test_a_setting_of_the_user_is_heeded(broker, group, tmp_path):
    broker.create_topics(f"{group}.superevent")
    file = tmp_path / "alert.json"
    file.write_text("1")
    status, _, errors = publish(broker, group, str(file), "--option", "no.such.setting=1")
    assert status == 2
    assert "no.such.setting" in errors
