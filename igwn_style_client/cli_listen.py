"""Listening on the command line: a readable line for each alert, and how the listener is."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from datetime import datetime, timezone
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from . import Alert, Health, client
from .cli_handling import Handler, handling, text_of
from .cli_options import Command, Place, When, connect, connecting, ending_well, no_nan, some_topics
from .rows import row_of
from .service import supervised

__all__ = ["Status", "listen"]

_RATE_SECONDS = 60.0
_STATES = {"idle": "connecting", "waiting": "no broker answers, waiting"}


@click.command(
    cls=Command,
    short_help="Print alerts, store them, or run a program for each.",
    epilog="""\b
Examples:
  igwn-style-client listen superevent cbc_gstlal --group gracedb-playground
  igwn-style-client listen superevent -c my-pipeline --exec "python follow_up.py" --attempts 3
  igwn-style-client listen --since 2h --until-eos --json | jq -r .payload.uid
  igwn-style-client listen superevent -c my-archive --archive alerts.db --save alerts
A program finds the payload on its standard input, and ALERT_TOPIC, ALERT_FULL_NAME,
ALERT_PARTITION, ALERT_OFFSET, ALERT_TIME, ALERT_ID, ALERT_UID, ALERT_SUPEREVENT and ALERT_TYPE
in its environment.""",
)
@click.argument("topics", metavar="[TOPIC]...", nargs=-1)
@click.option(
    "--since",
    metavar="TIME",
    type=When("latest", "earliest"),
    default="latest",
    show_default=True,
    help="Where to begin, unless the consumer group has a mark: a time (UTC) such as "
    "2026-11-21T03:00, a time back such as 90s, 10m, 2h or 1d, latest, or earliest.",
)
@click.option("--until-eos", is_flag=True, help="End when all that there is has been handled.")
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(min=1),
    help="End after N alerts, delivered or set aside; with several workers, those that are running "
    "finish too.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    callback=no_nan,
    help="End after so long.",
)
@click.option("--test-alerts", is_flag=True, help="Alerts flagged as tests, too.")
@click.option(
    "--set-aside",
    metavar="FILE",
    type=Place(dir_okay=False),
    help="Takes what cannot be delivered.  [default: a file in your state folder]",
)
@click.option(
    "--retry-on-fatal",
    is_flag=True,
    help="Try again also after what does not heal by itself, such as a refusal.",
)
@click.option(
    "--listen-retries",
    metavar="N",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="How often, with --retry-on-fatal.",
)
@click.option(
    "--retry-wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    callback=no_nan,
    default=0.1,
    show_default=True,
    help="Wait before the first retry; each further one is twice as long.",
)
@handling("raise")
@connecting
@click.pass_context
def listen(
    ctx: click.Context,
    /,
    topics: tuple[str, ...],
    connection: Mapping[str, Any],
    handler: Handler,
    delivery: Mapping[str, Any],
    until_eos: bool,
    count: int | None,
    timeout: float | None,
    since: Any,
    **manner: Any,
) -> int:
    """Listen to some topics, or all of the group.

    An alert counts as delivered when it is stored, its program has ended well and it is printed.
    With --consumer-group the next start goes on there; what failed comes again.  On a terminal, a
    line below the alerts tells how the listener is.

    The exit status is 0 when it ends as it was told to, and 1 after a failure, or if --count was
    not reached.
    """
    names = some_topics(topics)
    alerts = connect({**connection, **manner, "start_at": since})
    above = ctx.find_root().params
    logging = bool(above["debug"] or above["log_level"] or above["log_format"])
    with ExitStack() as stack:
        stack.enter_context(alerts)
        stack.enter_context(handler)
        stack.enter_context(_screen(alerts, handler, logging))
        stack.enter_context(supervised(alerts))
        if timeout is not None:
            timer = threading.Timer(min(timeout, threading.TIMEOUT_MAX), alerts.stop)
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
        stack.enter_context(
            ending_well(alerts.stop, "ending when what runs has ended; again, to end at once")
        )
        alerts.listen(handler, names, until_eos=until_eos, count=count, **delivery)
    health = alerts.health()
    done = sum(health.delivered.values()) + health.set_aside
    if count is not None and done < count:
        raise click.ClickException(f"{done} of {count} alerts came")
    return 0


def _screen(alerts: client, handler: Handler, logging: bool) -> Any:
    """Show how the listener is, where somebody sees it and nothing else writes there."""
    seen = sys.stdout is not None and sys.stdout.isatty()
    console = Console(highlight=False, stderr=not seen)
    if logging or handler.program or not console.is_terminal or console.is_dumb_terminal:
        return nullcontext()
    if not (seen or sys.stderr.isatty()):  # FORCE_COLOR makes no terminal of a pipe
        return nullcontext()
    if seen:

        def show(alert: Alert) -> None:
            form = handler.form
            style = row_of(alert.topic, alert.payload).style if form == "line" else ""
            console.print(Text(text_of(alert, form), style), soft_wrap=True)

        handler.show = show
    status = Status(alerts)
    return Live(
        get_renderable=lambda: Text(status.line(), "dim", no_wrap=True, overflow="ellipsis"),
        console=console,
        refresh_per_second=2,
        transient=True,
        redirect_stdout=seen,
    )


class Status:
    """How a listener is, in one line.  For one thread.

    Parameters
    ----------
    alerts
        The client; what is used of it is `client.health`.
    clock
        Seconds that only grow.
    now
        The time of day.
    """

    def __init__(
        self,
        alerts: Any,
        clock: Any = time.monotonic,
        now: Any = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._alerts = alerts
        self._clock = clock
        self._now = now
        self._since: datetime | None = None
        self._counts: deque[tuple[float, int]] = deque()

    def line(self) -> str:
        """Return the line."""
        health: Health = self._alerts.health()
        total = sum(health.delivered.values())
        if health.state != "listening":
            self._since = None
        elif self._since is None:
            self._since = self._now()
        parts = [
            f"connected since {self._since:%H:%M:%S} UTC"
            if self._since
            else _STATES.get(health.state, health.state),
            f"{total} alerts",
            self._rate(total),
        ]
        if health.lag is not None:
            parts.append(f"lag {health.lag}")
        if health.since_alert is not None:
            parts.append(f"last alert {_span(health.since_alert)} ago")
        parts += [
            f"{number} {what}"
            for number, what in (
                (health.failed, "failed"),
                (health.set_aside, "set aside"),
                (health.gone, "gone before they were read"),
                (health.reconnects, "reconnects"),
            )
            if number
        ]
        return "   ".join(parts)

    def _rate(self, total: int) -> str:
        now = self._clock()
        self._counts.append((now, total))
        while now - self._counts[0][0] > _RATE_SECONDS:
            self._counts.popleft()
        begun, before = self._counts[0]
        return f"{(total - before) / max(now - begun, 1.0):.1f}/s"


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
