"""What is queued is sent when the program ends, however it ends; and a fork starts anew."""

import signal
import subprocess
import sys

import pytest

from igwn_style_client import client

BEGIN = """
import os, signal, sys, time, warnings
from igwn_style_client import PublishError, client
warnings.simplefilter("ignore")  # of Python, about forks
url, group = sys.argv[1:]
alerts = client(server=url, noauth=True, group=group, publish_timeout=2,
                options={"linger.ms": 500})
alerts.connect("superevent")
for number in range(20):
    alerts.publish_to_topic("superevent", number)
"""
NUMBERS = sorted(map(str, range(20)))
ENDS = {
    "end": ("", 0),
    "exception": ("raise LookupError", 1),
    "exit": ("sys.exit(3)", 3),
    "SIGTERM": ("print('ready', flush=True); time.sleep(60)", 128 + signal.SIGTERM),
}


def start(code, broker_url, group):
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + code, broker_url, group],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def published(broker, group, number):
    """Return so many payloads of the topic, as text, from its beginning."""
    told = {"server": broker.url, "noauth": True, "group": group, "options": broker.options}
    alerts = client(start_at="earliest", **told).alerts("superevent")
    got = sorted(str(alert.payload) for _, alert in zip(range(number), alerts, strict=False))
    alerts.close()
    return got


@pytest.mark.parametrize("how", ENDS)
def test_what_is_queued_is_sent_at_the_end(how, broker, group):
    broker.create_topics(f"{group}.superevent")
    code, status = ENDS[how]
    with start(code, broker.url, group) as program:
        if how == "SIGTERM":
            assert program.stdout.readline() == "ready\n"
            program.terminate()
        _, errors = program.communicate(timeout=30)
    assert program.returncode == status, errors
    assert published(broker, group, 20) == NUMBERS


@pytest.mark.parametrize("how", ["end", "SIGTERM"])
def test_what_could_not_be_confirmed_is_logged(how, group):
    code, status = ENDS[how]
    with start(code, "kafka://127.0.0.1:1/", group) as program:
        if how == "SIGTERM":
            assert program.stdout.readline() == "ready\n"
            program.terminate()
        _, errors = program.communicate(timeout=30)
    assert program.returncode == status
    said = f'20 alerts for "{group}.superevent" not confirmed by 127.0.0.1:1 when the program left'
    assert said in errors


ORPHAN = """
session = alerts.open(f"{url}{group}.superevent", "w")
alerts.disconnect()
session.write("after disconnect")
del session, alerts
"""


def test_what_nobody_holds_any_longer_is_sent_at_the_end(broker, group):
    broker.create_topics(f"{group}.superevent")
    with start(ORPHAN, broker.url, group) as program:
        _, errors = program.communicate(timeout=30)
    assert (program.returncode, errors) == (0, "")
    assert published(broker, group, 21) == [*NUMBERS, "after disconnect"]


LATE = """
import atexit, sys, threading
from igwn_style_client import client
url, group = sys.argv[1:]
alerts = client(server=url, noauth=True, group=group)
"""
LATEST = {
    "by a handler of the end": """
atexit.register(lambda: alerts.publish_to_topic("superevent", "late"))
alerts.connect("superevent")
""",
    "by a thread that goes on": """
def relay():
    threading.main_thread().join()
    alerts.publish("superevent", "late")
threading.Thread(target=relay).start()
""",
}


@pytest.mark.parametrize("how", LATEST)
def test_what_is_published_late_is_sent(how, broker, group):
    broker.create_topics(f"{group}.superevent")
    code = [sys.executable, "-W", "ignore", "-c", LATE + LATEST[how], broker.url, group]
    done = subprocess.run(code, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert published(broker, group, 1) == ["late"]


def test_a_handler_of_ones_own_is_left_alone(broker, group):
    broker.create_topics(f"{group}.superevent")
    own = "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n"
    code = "print('ready', flush=True); time.sleep(60)"
    before = BEGIN.replace("alerts = client", own + "alerts = client")
    with subprocess.Popen(
        [sys.executable, "-c", before + code, broker.url, group], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout.readline() == "ready\n"
        program.terminate()
        assert program.wait(timeout=30) == 7


FORK = """
child = os.fork()
if child == 0:
    alerts.publish_to_topic("superevent", "queued by the child")
    alerts.flush_by_topic("superevent")
    print(alerts.publish("superevent", "published by the child").topic, flush=True)
    sys.exit(5)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 5, status
alerts.flush_by_topic("superevent")
"""


def test_a_fork_has_a_connection_of_its_own(broker, group):
    broker.create_topics(f"{group}.superevent")
    with start(FORK, broker.url, group) as program:
        printed, errors = program.communicate(timeout=60)
    assert (program.returncode, printed) == (0, "superevent\n"), errors
    both = ["published by the child", "queued by the child"]
    assert published(broker, group, 22) == [*NUMBERS, *both]
