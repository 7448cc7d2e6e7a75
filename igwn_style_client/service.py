"""What systemd is told of a listener: that it is ready, that it is alive, that it ends.

::

    with supervised(alerts):
        alerts.listen(process_alert, topics)

The protocol is sd_notify(3): datagrams to the socket that ``$NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from .health import Health

__all__ = ["supervised"]

log = logging.getLogger(__name__)

# How long the manager may take to make room for a datagram.
_SEND_SECONDS = 1.0
# How often the state is looked at until it listens.
_LOOK_SECONDS = 0.1


class Listener(Protocol):
    """A client that listens: ours, and those of ANTARES."""

    def health(self) -> Health:
        """Return how it is."""
        ...


@contextmanager
def supervised(
    *listeners: Listener, every: float = 10.0, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """Tell systemd how listeners are, for as long as the block lasts.

    ``READY=1`` when all of them listen; ``WATCHDOG=1``, where the unit has ``WatchdogSec``, while
    each of them has asked its broker within half of that time; ``STOPPING=1`` at the end of the
    block.  ``systemctl status`` shows their state and how many alerts were delivered.

    Without ``$NOTIFY_SOCKET`` it does nothing, so that a program runs by hand as it does in a unit.

    Parameters
    ----------
    listeners
        The clients, whether they listen already or will.
    every
        Most seconds between two messages.
    environment
        Where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` stand.

    Examples
    --------
    >>> from igwn_style_client import client
    >>> from igwn_style_client.service import supervised
    >>> alerts = client(noauth=True)
    >>> def process_alert(topic, payload):
    ...     print(topic, payload)
    >>> with supervised(alerts):
    ...     alerts.listen(process_alert, "superevent")  # doctest: +SKIP
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(_SEND_SECONDS)
        teller = _Teller(listeners, manager, address, every, _watchdog_seconds(environment))
        thread = threading.Thread(target=teller.run, name="service", daemon=True)
        thread.start()
        try:
            yield
        finally:
            teller.over.set()
            thread.join()
            teller.tell("STOPPING=1")


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return the unit's WatchdogSec; None where it has none for this process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


class _Teller:
    """What runs beside the listeners; `run` is for one thread, `over` for any."""

    def __init__(
        self,
        listeners: tuple[Listener, ...],
        manager: socket.socket,
        address: str,
        every: float,
        watchdog: float | None,
    ) -> None:
        self.over = threading.Event()
        self._listeners = listeners
        self._manager = manager
        # "@" stands for the zero byte with which an abstract name begins.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog
        self._every = every if watchdog is None else min(every, watchdog / 4)
        self._unheard = False

    def run(self) -> None:
        """Tell that they are ready, and then how they are, until it is over."""
        waiting = set(self._listeners)
        while waiting and not self.over.wait(_LOOK_SECONDS):
            waiting = {one for one in waiting if one.health().state != "listening"}
        if waiting:
            return
        self.tell(f"READY=1\n{self._status()}")
        while not self.over.wait(self._every):
            alive = self._watchdog is not None and self._young(self._watchdog / 2)
            self.tell("WATCHDOG=1\n" * alive + self._status())

    def _young(self, seconds: float) -> bool:
        polls = [one.health().since_poll for one in self._listeners]
        return all(poll is not None and poll < seconds for poll in polls)

    def _status(self) -> str:
        health = [one.health() for one in self._listeners]
        states = ", ".join(dict.fromkeys(one.state for one in health))
        return f"STATUS={states}; {sum(sum(one.delivered.values()) for one in health)} delivered"

    def tell(self, message: str) -> None:
        """Send a message; whoever does not hear it must not end the listener."""
        try:
            self._manager.sendto(message.encode(), self._address)
        except OSError as error:
            log.log(
                logging.DEBUG if self._unheard else logging.WARNING,
                "the service manager at %s cannot be told %r: %s",
                self._address.replace("\0", "@"), message, error,
            )  # fmt: skip
            self._unheard = True
