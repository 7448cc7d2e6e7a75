"""Alert -> callback -> finished, for any source of alerts.

An alert is finished when its callback has returned, and not before.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, Protocol

from .alert import Alert
from .watermark import Watermark

__all__ = ["Callback", "Delivery", "Source", "adapt"]

log = logging.getLogger(__name__)

Callback = Callable[..., Any]

# How long one look for new alerts may last, and so how soon `stop` is seen.
_LOOK_SECONDS = 0.1
# How long a partition that is taken away waits for its running callback: less than the session
# of 45 s in which Kafka holds the group's other members up.
_SETTLE_SECONDS = 30.0


class Source(Protocol):
    """Where alerts come from, as `reader.Reader` is one."""

    settle: Callable[[Collection[Watermark]], None]

    def take(self, most: int, timeout: float) -> list[Alert]:
        """Return up to `most` alerts, waiting up to `timeout` seconds for the first."""
        ...

    def store(self, watermarks: Collection[Watermark]) -> None:
        """Store the marks that have moved."""
        ...


def adapt(callback: Callback) -> Callable[[Alert], Any]:
    """Check a callback, and return how it is called with an alert.

    Raises
    ------
    TypeError
        It cannot be called as ``callback(topic=..., payload=...)``.
    """
    if not callable(callback):
        raise TypeError(
            f"callback: {callback!r} is no function; it is called as callback(topic=, payload=)"
        )
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):  # a builtin that does not tell
        return lambda alert: callback(topic=alert.topic, payload=alert.payload)
    wants_alert = "alert" in signature.parameters
    given = {"topic": "", "payload": None, **({"alert": None} if wants_alert else {})}
    try:
        signature.bind(**given)
    except TypeError as error:
        raise TypeError(
            f"callback: {_name(callback)}{signature} cannot be called as "
            f"callback({', '.join(f'{name}=' for name in given)}): {error}"
        ) from None
    if inspect.iscoroutinefunction(callback):
        raise TypeError(
            f"callback: {_name(callback)} is an async function, which nobody would await; "
            "give a plain function, for instance one that calls asyncio.run"
        )
    if wants_alert:
        return lambda alert: callback(topic=alert.topic, payload=alert.payload, alert=alert)
    return lambda alert: callback(topic=alert.topic, payload=alert.payload)


def _name(callback: Callback) -> str:
    return getattr(callback, "__qualname__", type(callback).__qualname__)


class Delivery:
    """Call a callback for every alert of a source.

    `run` calls it in its own thread.  `_settle` is called by the source, perhaps from another
    thread, and only looks at `_running`.

    Parameters
    ----------
    source
        Where the alerts come from.
    call
        What `adapt` made of the callback.
    stopping
        Set from any thread to end `run` after the callback that is running.
    batch_size
        Most alerts taken from the source at once.
    """

    def __init__(
        self,
        source: Source,
        call: Callable[[Alert], Any],
        stopping: threading.Event,
        batch_size: int = 1,
    ) -> None:
        self._source = source
        self._call = call
        self._stopping = stopping
        self._batch_size = batch_size
        self._running: Watermark | None = None

    def run(self) -> None:
        """Deliver until `stopping` is set, or a callback raises.

        Raises
        ------
        BaseException
            What the callback raised, unchanged; its alert is not marked, and comes again.
        """
        source = self._source
        source.settle = self._settle
        while not self._stopping.is_set():
            alerts = source.take(self._batch_size, _LOOK_SECONDS)
            if alerts:
                try:
                    self._deliver(alerts)
                finally:
                    source.store({alert._watermark for alert in alerts})

    def _deliver(self, alerts: list[Alert]) -> None:
        is_stopping = self._stopping.is_set
        for alert in alerts:
            watermark: Watermark = alert._watermark
            if is_stopping():
                return
            self._running = watermark
            try:
                if watermark.over:  # taken away while it waited: its new owner delivers it
                    continue
                self._call(alert)
                watermark.finish(alert.offset)
            except Exception as error:
                _add_note(
                    error,
                    f"igwn_style_client: raised by the callback for the alert in "
                    f"{alert.where}, which is not marked as delivered and comes again",
                )
                raise
            finally:
                self._running = None

    def _settle(self, watermarks: Collection[Watermark]) -> None:
        """Wait until no callback runs for these watermarks."""
        end = time.monotonic() + _SETTLE_SECONDS
        while self._running in watermarks:
            if time.monotonic() > end:
                log.warning("a callback runs for %g s; its alert may be repeated", _SETTLE_SECONDS)
                return
            time.sleep(0.01)


def _add_note(error: BaseException, note: str) -> None:
    """Do what ``add_note`` does from Python 3.11 on."""
    error.__notes__ = [*getattr(error, "__notes__", ()), note]
