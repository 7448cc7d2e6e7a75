"""Ctrl-C and SIGTERM, while somebody listens, let the callbacks that are running finish.

Only where Python's or the system's default would have ended the program anyway, and only in the
main thread, the only one in which Python takes signals.  A handler of the user's is left alone.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["finishing_first"]

log = logging.getLogger(__name__)

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@contextmanager
def finishing_first(stopping: threading.Event) -> Iterator[None]:
    """Turn a first Ctrl-C or SIGTERM into `stopping`; after the block it has its usual effect.

    The second one has it at once.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C was pressed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def finish(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        stopping.set()
        restore()
        log.warning(
            "%s: ending when the callbacks that run have returned; send it again to end at once",
            signal.Signals(number).name,
        )

    ours: dict[int, Any] = {
        number: default
        for number, default in _DEFAULTS.items()
        if signal.getsignal(number) is default
    }

    def restore() -> None:
        while ours:
            number, default = ours.popitem()
            if signal.getsignal(number) is finish:
                signal.signal(number, default)

    for number in ours:
        signal.signal(number, finish)
    try:
        yield
    finally:
        restore()
    if caught:
        signal.raise_signal(caught[0])
