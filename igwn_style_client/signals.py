"""Ctrl-C and SIGTERM: callbacks that run finish first, and what is queued is still sent.

Only where Python's or the system's default would have ended the program anyway, and only in the
main thread, the only one in which Python takes signals.  A handler of the user's is left alone.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

__all__ = ["end_in_order", "finishing_first", "first_signal"]

log = logging.getLogger(__name__)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)  # the status that a shell gives to a program so killed


_DEFAULTS: dict[int, tuple[Any, ...]] = {
    signal.SIGINT: (signal.default_int_handler,),
    signal.SIGTERM: (signal.SIG_DFL, _exit),
    signal.SIGHUP: (_exit,),
}


def end_in_order(numbers: Iterable[int] = (signal.SIGTERM,)) -> None:
    """Let a signal end the program as `sys.exit` does, so that all that is to be done then is done.

    By itself it would end it on the spot.
    """
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _exit)


@contextmanager
def first_signal(numbers: Iterable[int], handle: Callable[[int], object]) -> Iterator[list[int]]:
    """Let the first of some signals call `handle`; the second one has its usual effect.

    Parameters
    ----------
    numbers
        Of the signals.
    handle
        Called with the number.

    Yields
    ------
    list of int
        The number, when it has come.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def finish(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        restore()
        handle(number)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        while before:
            number, handler = before.popitem()
            if signal.getsignal(number) is finish:
                signal.signal(number, handler)

    for number in before:
        signal.signal(number, finish)
    try:
        yield caught
    finally:
        restore()


@contextmanager
def finishing_first(stopping: threading.Event) -> Iterator[None]:
    """Turn a first Ctrl-C or SIGTERM into `stopping`; after the block it has its usual effect.

    The second one has it at once.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C was pressed.
    """

    def stop(number: int) -> None:
        stopping.set()
        log.warning(
            "%s: ending when the callbacks that run have returned; send it again to end at once",
            signal.Signals(number).name,
        )

    ours = [one for one, defaults in _DEFAULTS.items() if signal.getsignal(one) in defaults]
    with first_signal(ours, stop) as caught:
        yield
    if caught:
        signal.raise_signal(caught[0])
