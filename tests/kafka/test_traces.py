"""What a client leaves behind: no secret, and no thread, socket or file."""

import json
import os
import secrets
import subprocess
import sys

import pytest

from tests.kafka.counting import SOON, astronomer


def login(kafka, group, **more):
    """The keywords of a client of the listener SASL_SSL."""
    return {**astronomer(kafka), "group": group, "set_aside": False, "options": SOON, **more}


_REPEATEDLY = """
import gc, json, os, sys, threading, time
from igwn_style_client import client

told = json.loads(sys.argv[1])
gc.disable()  # what is closed is closed, and not some time later

def left():
    files = sorted(os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                   if os.path.exists(f"/proc/self/fd/{n}") or os.path.islink(f"/proc/self/fd/{n}"))
    native = len(os.listdir("/proc/self/task"))
    return sorted(thread.name for thread in threading.enumerate()), len(files), native

def once():
    alerts = client(**told)
    listen = lambda: alerts.listen(lambda topic, payload: None, "superevent", workers=2)
    thread = threading.Thread(target=listen)
    thread.start()
    assert alerts.wait_until_listening(30)
    alerts.stop()
    thread.join(30)
    assert not thread.is_alive()

def wait_for(condition):
    end = time.monotonic() + 15
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)

once()
wait_for(lambda: left()[2] == 1)  # librdkafka ends its own threads
before = left()
for _ in range(20):
    once()
wait_for(lambda: left() == before)
print(json.dumps([before, left()]))
"""


@pytest.mark.parametrize("grouped", [True, False], ids=["group", "broadcast"])
def test_nothing_is_left_behind(kafka, group, grouped):
    kafka.create_topics(f"{group}.superevent")
    told = json.dumps(login(kafka, group, consumer_group=group if grouped else None))
    run = subprocess.run(
        [sys.executable, "-c", _REPEATEDLY, told], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stderr
    before, after = json.loads(run.stdout)
    assert before == after
    assert before[0] == ["MainThread"]


_INDISCREET = """
import json, logging, sys, threading, traceback
logging.basicConfig(level=logging.DEBUG)
from hop.auth import Auth, SASLMethod
from igwn_style_client import client

told = json.loads(sys.argv[1])
method = told.pop("method")
if method:
    told["auth"] = Auth(told.pop("username"), told.pop("password"), method=SASLMethod[method],
                        ssl_ca_location=told.pop("ssl_ca_location"))

def attempt(function, *arguments, **more):
    try:
        print(function(*arguments, **more))
    except BaseException as error:
        print(repr(error), error, vars(error))
        traceback.print_exc()

alerts = client(**told)
attempt(alerts.check, timeout=5)
attempt(alerts.get_topics, readable=True)
print(repr(alerts), alerts, repr(alerts.auth_obj), repr(alerts.auth), alerts.health())
attempt(alerts.get_topics, timeout=5)
threading.Timer(3, alerts.stop).start()
attempt(alerts.listen, lambda topic, payload: 1 / 0, "superevent")
attempt(alerts.listen, lambda topic, payload: None, "no_such_topic")
attempt(alerts.publish, "superevent", {"uid": "S1"})
attempt(alerts.connect, "superevent")
print(alerts.sessions)
attempt(alerts.disconnect)
print("the end")
"""


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("method", ["SCRAM", "PLAIN"])
def test_no_secret_is_told(kafka, group, method, right):
    kafka.create_topics(f"{group}.superevent")
    user = "astronomer" if method == "SCRAM" else "antares"
    password = kafka.users[user] if right else secrets.token_hex(16)
    options = {**SOON, "debug": "security,broker,cgrp,conf"}
    told = login(
        kafka,
        group,
        consumer_group=group,
        username=user,
        password=password,
        options=options,
        start_at="earliest",
        publish_timeout=3,
    )
    del told["noauth"]
    told["method"] = None if method == "SCRAM" else "PLAIN"
    kafka.produce(f"{group}.superevent", b'"an alert"')
    run = subprocess.run(
        [sys.executable, "-c", _INDISCREET, json.dumps(told)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )
    assert "the end" in run.stdout, run.stderr[-3000:]
    said = run.stdout + run.stderr
    assert "DEBUG" in said
    assert ("ZeroDivisionError" if right else "AuthenticationError") in said
    lines = [line.replace(password, "<SECRET>") for line in said.splitlines() if password in line]
    assert not lines
