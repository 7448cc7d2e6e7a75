"""The demo: a broker, simulated alerts and a listener, on the command line.

What was published is counted against what was delivered.
"""

from __future__ import annotations

import json
import math
import secrets
import sys
import time
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from . import DEFAULT_GROUP, Alert, EmbeddedBroker, client
from .cli_options import no_nan
from .rows import Row, far_text, latency_text, milliseconds, row_of
from .simulation import TOPICS, simulate

__all__ = ["Tally", "demo", "paced", "shortened"]

_SUPEREVENTS = 5
_SECONDS_A_SUPEREVENT = 2.5  # the demo's default: five of them in a dozen seconds
_SECONDS_TO_START = 30.0
_SECONDS_TO_DELIVER = 30.0


@click.command(
    short_help="Simulated alerts, a broker and a listener, offline.",
    epilog="""\b
Examples:
  igwn-style-client demo
  igwn-style-client demo --superevents 1 --rate 5
  igwn-style-client demo --seed 1 --json | jq -r .superevent""",
)
@click.option(
    "--superevents",
    metavar="N",
    type=click.IntRange(min=1),
    default=_SUPEREVENTS,
    show_default=True,
    help="How many superevents to follow to their end.",
)
@click.option("--seed", type=int, help="The same seed gives the same alerts.  [default: random]")
@click.option(
    "--rate",
    metavar="ALERTS_PER_SECOND",
    type=click.FloatRange(min=0.001),
    callback=no_nan,
    help=f"Mean number of alerts a second.  [default: {_SECONDS_A_SUPEREVENT:g} s a superevent]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def demo(
    ctx: click.Context, superevents: int, seed: int | None, rate: float | None, as_json: bool
) -> None:
    """Publish simulated alerts to a broker in this process, and listen to them.

    Needs no network and no account.  The alerts are made up; the way from publish to callback is
    the real one.  Superevents that take hours pass in seconds: pauses are shortened, the longer
    the more, so that bursts remain bursts.
    """
    debug = ctx.find_root().params["debug"]
    seed = secrets.randbelow(100_000) if seed is None else seed
    amount = "" if superevents == _SUPEREVENTS else f" --superevents {superevents}"
    tally = Tally()
    with _screen(tally, f"{ctx.command_path}{amount} --seed {seed}", as_json, debug) as screen:
        _demo(tally, screen, seed, superevents, rate)
    if tally.missing:
        raise click.ClickException(
            f"{tally.missing} of {tally.published} alerts were not delivered within "
            f"{_SECONDS_TO_DELIVER:g} s"
        )


def shortened(gap: timedelta) -> float:
    """Return the length of a pause as the demo keeps it, in units that `rate` sets.

    The square root: an hour between superevents lasts fifty times as long as the second and a
    half between an event and its superevent, not 2400 times.
    """
    return math.sqrt(max(gap.total_seconds(), 0.0))


# -- counting ------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What was published and what came of it.  For one thread.

    An alert is known by its topic and its text: the UUID that hop gives it is made inside
    `publish_to_topic`, and the order in which alerts were sent holds within a partition only.
    Of equal texts on one topic the oldest counts as arrived.
    """

    total: int = 0
    published: int = 0
    delivered: int = 0
    repeated: int = 0
    latencies: list[float] = field(default_factory=list)  # seconds, sorted
    _waiting: dict[tuple[str, Any], deque[tuple[float, Alert]]] = field(
        default_factory=lambda: defaultdict(deque)
    )

    @property
    def missing(self) -> int:
        """How many were published, and not delivered yet."""
        return self.published - self.delivered

    @property
    def median(self) -> float | None:
        """Median latency in seconds."""
        known, count = self.latencies, len(self.latencies)
        return (known[(count - 1) // 2] + known[count // 2]) / 2 if known else None

    @property
    def worst(self) -> float | None:
        """Greatest latency in seconds."""
        return self.latencies[-1] if self.latencies else None

    def sent(self, alert: Alert, now: float) -> None:
        """Count an alert that is about to be published."""
        self.published += 1
        self._waiting[alert.topic, alert.payload].append((now, alert))

    def arrived(self, topic: str, payload: Any, now: float) -> Row | None:
        """Count an alert that reached its callback; None if it is a repeat."""
        waiting = self._waiting.get((topic, payload))
        if waiting is None:
            self.repeated += 1
            return None
        sent, alert = waiting.popleft()
        if not waiting:
            del self._waiting[topic, payload]
        self.delivered += 1
        insort(self.latencies, now - sent)
        return row_of(topic, payload, alert.time, now - sent)

    def verdict(self) -> str:
        """One sentence on whether anything was lost."""
        again = f"; {self.repeated} came again" if self.repeated else ""
        if self.missing:
            return (
                f"published {self.published}, delivered {self.delivered}: "
                f"{self.missing} had not arrived when it ended{again}"
            )
        return f"published {self.published} = delivered {self.delivered}: nothing was lost{again}"

    def latency(self) -> str:
        """One sentence on how long it took."""
        return (
            f"publish to callback: median {latency_text(self.median)}, "
            f"worst {latency_text(self.worst)}"
        )


# -- showing -------------------------------------------------------------------------------------


@dataclass
class _Lines:
    """Plain lines, for a pipe or a file.  Also the base of the other ways of showing."""

    tally: Tally
    command: str  # which shows the same alerts again

    def __enter__(self) -> _Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the summary, also of what was interrupted."""
        if self.tally.published:
            self.summary()

    def row(self, row: Row) -> None:
        click.echo(row.line())

    def summary(self) -> None:
        click.echo("\n".join(self.sentences()))

    def sentences(self) -> list[str]:
        tally, left = self.tally, self.tally.total - self.tally.published
        return [
            tally.verdict(),
            tally.latency(),
            f"stopped early: {left} of {tally.total} alerts were not published"
            if left
            else f"again: {self.command}",
        ]


class _Json(_Lines):
    """One JSON object a line, for a program."""

    def row(self, row: Row) -> None:
        click.echo(row.json())

    def summary(self) -> None:
        tally = self.tally
        summary = {
            "total": tally.total,
            "published": tally.published,
            "delivered": tally.delivered,
            "missing": tally.missing,
            "repeated": tally.repeated,
            "median_latency_ms": milliseconds(tally.median),
            "worst_latency_ms": milliseconds(tally.worst),
            "command": self.command,
        }
        click.echo(json.dumps({"summary": summary}))


@dataclass(frozen=True)
class _Column:
    """A column of the table, and the width of terminal from which on there is room for it."""

    header: str
    text: Callable[[Row], str]
    width: int | None = None  # None takes what is left
    needs: int = 0
    right: bool = False


_ROOMY = 96  # columns of a terminal

# The time is GraceDB's: hours pass in seconds.  When an alert arrived says its latency.
_COLUMNS = (
    _Column("UTC", lambda row: f"{row.time:%H:%M:%S}" if row.time else "", 8),
    _Column("superevent", lambda row: row.superevent, 10),
    _Column("topic", lambda row: row.topic, 17),
    _Column("alert", lambda row: row.alert),
    _Column("FAR", lambda row: far_text(row.far), 14, needs=76),
    _Column("instruments", lambda row: row.instruments, 11, needs=110),
    _Column("latency", lambda row: latency_text(row.latency), 8, needs=_ROOMY, right=True),
)
_MOST_ROWS = 20
_OTHER_LINES = 7  # the header, three lines of summary, a gap above them, the prompt, a rest


class _Table(_Lines):
    """A table that moves, for a terminal."""

    def __init__(self, tally: Tally, command: str, console: Console) -> None:
        super().__init__(tally, command)
        self._console = console
        self._rows: tuple[Row, ...] = ()
        self._below: Callable[[], list[Text]] = self._status
        # Its thread draws; it sees tuples that are replaced and never changed.
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=12)

    def __enter__(self) -> _Table:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *problem: Any) -> None:
        self._below = self._summary if self.tally.published else list
        self._live.stop()

    def row(self, row: Row) -> None:
        self._rows = (*self._rows, row)[-_MOST_ROWS:]

    def _draw(self) -> Group:
        width, height = self._console.size
        columns = [column for column in _COLUMNS if width >= column.needs]
        gap = 2 if width >= _ROOMY else 1
        table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, expand=True)
        for column in columns:
            table.add_column(
                column.header,
                width=column.width,
                ratio=None if column.width else 1,
                justify="right" if column.right else "left",
                header_style="dim not bold",
                no_wrap=True,
            )
        for row in self._rows[-max(height - _OTHER_LINES, 1) :]:
            quiet = "dim" if row.style == "dim" else ""
            cells = (
                Text(column.text(row), row.style if column.header == "alert" else quiet)
                for column in columns
            )
            table.add_row(*cells)
        return Group(table, Text(), *self._below())

    def _status(self) -> list[Text]:
        tally = self.tally
        if not tally.published:
            return [Text("starting a broker and a listener in this process", style="dim")]
        text = f"published {tally.published} of {tally.total}   delivered {tally.delivered}"
        if tally.median is not None:
            text += f"   median latency {latency_text(tally.median)}"
        return [Text(text, no_wrap=True, overflow="ellipsis")]

    def _summary(self) -> list[Text]:
        verdict, *others = self.sentences()
        style = "bold red" if self.tally.missing else "bold green"
        return [Text(verdict, style=style), *(Text(one, style="dim") for one in others)]


def _screen(tally: Tally, command: str, as_json: bool, debug: bool) -> _Lines:
    """Choose how to show; log lines and a table that moves do not go together."""
    if as_json:
        return _Json(tally, command)
    console = Console(highlight=False)
    moving = sys.stdout is not None and sys.stdout.isatty() and not console.is_dumb_terminal
    if moving and not debug and console.encoding.startswith("utf"):
        return _Table(tally, command, console)
    return _Lines(tally, command)


# -- running -------------------------------------------------------------------------------------


def _demo(tally: Tally, screen: _Lines, seed: int, superevents: int, rate: float | None) -> None:
    def show(topic: str, payload: Any, now: float) -> None:
        row = tally.arrived(topic, payload, now)
        if row is not None:
            screen.row(row)

    with EmbeddedBroker() as broker:
        broker.create_topics(f"{DEFAULT_GROUP}.{topic}" for topic in TOPICS)
        alerts = client(server=broker.url, noauth=True, options=broker.options)
        with alerts, _Listener(alerts, show) as listener:
            _warm_up(alerts)
            for due, alert in paced(tally, seed, superevents, rate):
                while listener.take(due - time.monotonic()):
                    pass
                tally.sent(alert, time.monotonic())
                alerts.publish_to_topic(alert.topic, alert.payload)
            for topic in TOPICS:
                alerts.flush_by_topic(topic)
            end = time.monotonic() + _SECONDS_TO_DELIVER
            while tally.missing and listener.take(end - time.monotonic()):
                pass


class _Listener:
    """`client.listen` in a thread of its own, for as long as the ``with`` block lasts.

    The callback puts what it gets into a queue; `take` hands it to `show` in the thread that
    owns the screen, so that a slow terminal delays no callback.
    """

    def __init__(self, alerts: client, show: Callable[[str, Any, float], None]) -> None:
        self._alerts = alerts
        self._show = show
        self._arrivals: SimpleQueue[tuple[str, Any, float] | None] = SimpleQueue()
        self._thread = ThreadPoolExecutor(1, "listener")

    def __enter__(self) -> _Listener:
        self._listening = self._thread.submit(self._alerts.listen, self._process, TOPICS)
        # None wakes whoever waits for an alert that will not come.
        self._listening.add_done_callback(lambda _: self._arrivals.put(None))
        try:
            ready = self._alerts.wait_until_listening(_SECONDS_TO_START)
        except BaseException:  # such as Ctrl-C: nobody else would end the thread
            self.__exit__()
            raise
        if not ready:
            self.__exit__()
            self._listening.result()
            raise click.ClickException(f"no listener within {_SECONDS_TO_START:g} s")
        return self

    def __exit__(self, *problem: object) -> None:
        self._alerts.stop()
        self._thread.shutdown()
        while (arrival := self._arrivals.get()) is not None:
            self._show(*arrival)

    def _process(self, topic: str, payload: Any) -> None:
        self._arrivals.put((topic, payload, time.monotonic()))

    def take(self, seconds: float) -> bool:
        """Show the next alert; False if none came in time."""
        try:
            arrival = self._arrivals.get(timeout=max(seconds, 0.0))
        except Empty:
            return False
        if arrival is not None:
            self._show(*arrival)
            return True
        self._arrivals.put(None)
        self._listening.result()
        return False


def _warm_up(alerts: client) -> None:
    """Open the way to every topic, so that no alert's latency holds that of connecting.

    Listeners skip what is flagged as a test.
    """
    alerts.connect(TOPICS)
    for topic in TOPICS:
        alerts.sessions[topic].write("warm-up", test=True)
    for topic in TOPICS:
        alerts.flush_by_topic(topic)


def paced(
    tally: Tally, seed: int, superevents: int, rate: float | None
) -> Iterator[tuple[float, Alert]]:
    """Yield when an alert is due, and the alert.

    The simulation runs twice, first for its length: alerts are long, and none is kept.
    """
    times = [alert.time for alert in simulate(seed, superevents) if alert.time]
    pauses = [0.0, *(shortened(later - earlier) for earlier, later in pairwise(times))]
    tally.total = len(times)
    whole = len(times) / rate if rate else superevents * _SECONDS_A_SUPEREVENT
    unit = whole / (sum(pauses) or 1.0)
    due = time.monotonic()
    for pause, alert in zip(pauses, simulate(seed, superevents), strict=True):
        due += pause * unit
        yield due, alert
