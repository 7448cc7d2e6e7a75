"""A listener in a process of its own, and the test's handle on it.

The process gets what it needs as one JSON argument, and prints what happens as JSON lines:
``ready``, then ``begun`` and ``done`` around each callback, ``raised``, and ``ended`` with the
client's health.  A payload that is an object may tell the callback what to do: ``{"do":
"raise"}`` raises, ``{"do": "raise", "times": N, "noted": PATH}`` so many times, which the file
remembers over restarts, ``{"do": "wait", "for": PATH}`` returns when that file exists, and
``{"do": "sleep", "for": SECONDS}`` after a while.
The commands ``stop`` and ``health``, a line each on its standard input, call these methods.
"""

import contextlib
import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.waiting import wait_until


class Listener:
    """The handle.  As a context manager it kills what is left of the process.

    Parameters
    ----------
    topics
        Short names, or None.
    keywords
        Of the client; ``listen`` holds those of `client.listen`, and its ``key`` is a name: the
        function of the alert that gives this entry of the payload.
    own_signals
        False leaves SIGTERM to the client; else the process stops in good order.
    shows
        A name: events hold this entry of the payload in place of the whole.
    level
        From which on the process logs.
    """

    def __init__(self, topics, listen=None, own_signals=True, shows=None, level="INFO", **keywords):
        told = {"topics": topics, "client": keywords, "listen": listen or {}}
        told |= {"own_signals": own_signals, "shows": shows, "level": level}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.listener", json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.events = []
        self.errors = []
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._event)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors.append)),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, stream, take):
        with stream:
            for line in stream:
                take(line)

    def _event(self, line):
        self.events.append(json.loads(line))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def of(self, kind):
        """The events of one kind."""
        return [event for event in list(self.events) if event["event"] == kind]

    def wait_for(self, kind, count=1, seconds=60):
        """Wait for so many events of a kind, and return them."""

        def enough():
            found = self.of(kind)
            if len(found) >= count:
                return found
            if self.process.poll() is not None and not any(t.is_alive() for t in self._threads):
                raise AssertionError(f"the listener ended: {self.events[-3:]} {self.errors[-30:]}")
            return None

        return wait_until(enough, seconds, f"{count} x {kind}; errors: {self.errors[-5:]}")

    def signal(self, number):
        """Send a signal."""
        self.process.send_signal(number)

    def tell(self, command):
        """Send a command: "stop" or "health"."""
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def health(self):
        """The client's health, as a dict."""
        asked = len(self.of("health"))
        self.tell("health")
        return self.wait_for("health", asked + 1)[-1]

    def wait(self, seconds=60):
        """Wait for the process to end, and return its exit status."""
        status = self.process.wait(seconds)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        for thread in self._threads:
            thread.join(seconds)
        return status

    def kill(self):
        """SIGKILL, and wait."""
        self.process.kill()
        self.wait()


def say(event, **details):
    """Print an event at once, whole even when several threads speak."""
    sys.stdout.write(json.dumps({"event": event, "at": time.time(), **details}) + "\n")
    sys.stdout.flush()


def is_enough(asked):
    """Whether the callback has raised so many times already; else note one more."""
    with open(asked["noted"], "a") as noted:
        if noted.tell() >= asked["times"]:
            return True
        noted.write("x")
        return False


def main(told):
    """Listen as told, until a signal or an error."""
    from igwn_style_client import client

    logging.basicConfig(level=told.get("level", "INFO"))
    alerts = client(**told["client"])
    if told.get("own_signals", True):
        signal.signal(signal.SIGTERM, lambda *_: alerts.stop())
    if name := told["listen"].get("key"):
        told["listen"]["key"] = lambda alert: alert.payload[name]

    def announce():
        if alerts.wait_until_listening():
            say("ready")

    def obey():
        # Not sys.stdin: Python aborts at its end if a thread holds that one's lock.
        while commands := os.read(0, 1000):
            for command in commands.split():
                if command == b"stop":
                    alerts.stop()
                else:
                    say("health", **dataclasses.asdict(alerts.health()))

    def process_alert(topic, payload, alert):
        shown = payload[told["shows"]] if told.get("shows") else payload
        shown = repr(shown) if isinstance(shown, bytes) else shown
        what = {"topic": topic, "payload": shown, "where": [alert.partition, alert.offset]}
        say("begun", **what)
        asked = payload if isinstance(payload, dict) else {}
        if asked.get("do") == "raise" and not ("times" in asked and is_enough(asked)):
            raise LookupError("as the payload asked")
        if asked.get("do") == "wait":
            wait_until(lambda: Path(asked["for"]).exists(), 300, asked["for"])
        if asked.get("do") == "sleep":
            time.sleep(asked["for"])
        say("done", **what)

    threading.Thread(target=announce, daemon=True).start()
    threading.Thread(target=obey, daemon=True).start()
    try:
        alerts.listen(process_alert, told["topics"], **told["listen"])
    except BaseException as error:
        notes = getattr(error, "__notes__", [])
        say("raised", kind=type(error).__name__, text=str(error), notes=notes)
        raise
    finally:
        say("ended", health=dataclasses.asdict(alerts.health()))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
