"""Arguments and printing: the only place that prints or exits.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import logging
import math
import re
import secrets
import sys
import time
import traceback
import warnings
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import wraps
from itertools import pairwise
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, BinaryIO, NoReturn

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from . import (
    DEFAULT_GROUP,
    DEFAULT_PORT,
    DEFAULT_SERVER,
    Alert,
    Check,
    ClientError,
    CredentialError,
    EmbeddedBroker,
    PublishError,
    Receipt,
    __version__,
    client,
)
from .cli_antares import antares, thumbnails
from .encoding import FORMATS, messages_in
from .simulation import TOPICS, simulate

__all__ = ["main"]

_NAME = "igwn-style-client"
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_DAY = 86400.0
_YEAR = 365.25 * _DAY  # Julian

_SUPEREVENTS = 5
_SECONDS_A_SUPEREVENT = 2.5  # the demo's default: five of them in a dozen seconds
_SECONDS_TO_START = 30.0
_SECONDS_TO_DELIVER = 30.0


class Commands(click.Group):
    """The group of commands, with our messages and exit statuses instead of click's."""

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        """Run a command and exit with its status."""
        settings |= {"prog_name": _NAME, "standalone_mode": False}
        try:
            status = super().main(*args, **settings) or 0
        except click.ClickException as error:
            status = error.exit_code
            click.echo(f"{_NAME}: error: {error.format_message()}", err=True)
            if isinstance(error, click.UsageError) and error.ctx is not None:
                click.echo(f"Try: {error.ctx.command_path} --help", err=True)
        except click.Abort:  # what click makes of KeyboardInterrupt
            status = _INTERRUPTED
        sys.exit(status)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can mend is told in one line."""
        try:
            return super().invoke(ctx)
        except ClientError as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            raise click.ClickException(str(error)) from error


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  igwn-style-client demo                 the whole loop on this machine, offline
  igwn-style-client demo --json | jq .   the same for a program
  igwn-style-client demo --help          its options""",
)
@click.version_option(__version__, prog_name=_NAME, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Log everything, and show where an error comes from.")
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """Listen to astronomical alerts over Kafka without losing any."""
    if debug:
        logging.basicConfig(
            level=logging.DEBUG, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


main.add_command(antares)
main.add_command(thumbnails)


# -- what an alert says --------------------------------------------------------------------------


def far_text(far: Any) -> str:
    """Return a false alarm rate in Hz as astronomers say it: "1 per 3.2 yr", "12 per day".

    Two digits, years are Julian; what is no rate gives an empty string.
    """
    if isinstance(far, bool) or not isinstance(far, int | float):
        return ""
    if not math.isfinite(far) or far < 0:
        return ""
    if far * _YEAR < 1e-99:
        return "0"
    if far * _DAY >= 1:
        return f"{_two_digits(far * _DAY)} per day"
    days = 1 / (far * _DAY)
    value, unit = (days, "d") if far * _YEAR > 1 else (1 / (far * _YEAR), "yr")
    number = _two_digits(value)
    return f"1 per {unit}" if number == "1" else f"1 per {number} {unit}"


def _two_digits(value: float) -> str:
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    if int(exponent) >= 4:
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{float(f'{mantissa}e{exponent}'):g}"


@dataclass(frozen=True)
class Row:
    """What is shown of an alert.  What the alert does not say is empty, or None."""

    topic: str
    uid: str = ""
    superevent: str = ""
    alert_type: str = ""
    detail: str = ""  # the label's name, the notice's kind, the file that was logged
    far: float | None = None  # Hz
    instruments: str = ""
    time: datetime | None = None
    latency: float | None = None  # seconds

    @property
    def alert(self) -> str:
        """The type and the detail."""
        return f"{self.alert_type} {self.detail}".rstrip()

    @property
    def style(self) -> str:
        """Loud where somebody has to act, quiet where a machine wrote to its diary."""
        if "ADVNO" in self.detail or self.detail == "Retraction":
            return "bold red"
        if self.alert_type == "voevent" or self.detail == "ADVOK":
            return "green"
        if self.uid != self.superevent or self.alert_type == "log":
            return "dim"
        return "bold" if self.alert_type == "new" else ""

    def json(self) -> str:
        """One line of JSON."""
        content = {
            "time": self.time and self.time.isoformat(),
            "topic": self.topic,
            "uid": self.uid,
            "superevent": self.superevent or None,
            "alert_type": self.alert_type,
            "far": self.far,
            "instruments": self.instruments,
            "latency_ms": _milliseconds(self.latency),
        }
        return json.dumps(content)

    def line(self) -> str:
        """One line of fixed columns."""
        when = f"{self.time:%Y-%m-%dT%H:%M:%SZ}" if self.time else ""
        return (
            f"{when:20}  {self.superevent:10}  {self.topic:17}  "
            f"{self.alert:34}  {far_text(self.far):14}  {self.instruments:8}  "
            f"{_latency_text(self.latency):>8}"
        )


def row_of(
    topic: str, payload: Any, time: datetime | None = None, latency: float | None = None
) -> Row:
    """Return the row of an alert of GraceDB; of any other alert, what can be said of it.

    Parameters
    ----------
    topic
        Short name.
    payload
        As a callback gets it: GraceDB's is a str that holds JSON.
    time, latency
        To be shown with it; the latency in seconds.
    """
    content = _mapping(payload)
    what, data = _mapping(content.get("object")), _mapping(content.get("data"))
    preferred = _mapping(what.get("preferred_event_data"))
    alert_type, far = _text(content, "alert_type"), what.get("far")
    return Row(
        topic=topic,
        uid=_text(content, "uid"),
        superevent=_text(what, "superevent_id") or _text(what, "superevent"),
        alert_type=alert_type,
        detail=_detail(alert_type, data),
        far=far if isinstance(far, int | float) and math.isfinite(far) else None,
        instruments=_text(what, "instruments") or _text(preferred, "instruments"),
        time=time,
        latency=latency,
    )


def _text(content: Mapping[str, Any], name: str) -> str:
    """Return a value for one line of a terminal: no alert moves the cursor."""
    text = str(content.get(name) or "")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}


_NOTICES = {  # GraceDB's voevent_type
    "EA": "EarlyWarning",
    "PR": "Preliminary",
    "IN": "Initial",
    "UP": "Update",
    "RE": "Retraction",
}


def _detail(alert_type: str, data: Mapping[str, Any]) -> str:
    if alert_type.startswith("label"):
        return _text(data, "name")
    if alert_type == "voevent":
        kind = _text(data, "voevent_type")
        return _NOTICES.get(kind, kind)
    if alert_type.startswith("signoff"):
        return _text(data, "signoff_type") + _text(data, "status")
    return _text(data, "filename") if alert_type == "log" else ""


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)


def _latency_text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1000 * seconds:.1f} ms" if seconds < 0.1 else f"{1000 * seconds:.0f} ms"


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
                f"{self.missing} did not arrive{again}"
            )
        return f"published {self.published} = delivered {self.delivered}: nothing was lost{again}"

    def latency(self) -> str:
        """One sentence on how long it took."""
        return (
            f"publish to callback: median {_latency_text(self.median)}, "
            f"worst {_latency_text(self.worst)}"
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
            "median_latency_ms": _milliseconds(tally.median),
            "worst_latency_ms": _milliseconds(tally.worst),
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
    _Column("latency", lambda row: _latency_text(row.latency), 8, needs=_ROOMY, right=True),
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
            text += f"   median latency {_latency_text(tally.median)}"
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


# -- demo ----------------------------------------------------------------------------------------


def _number(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("it is no number", ctx, parameter)
    return value


@main.command(
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
    callback=_number,
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
    with _screen(tally, f"{_NAME} demo{amount} --seed {seed}", as_json, debug) as screen:
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


# -- connections ---------------------------------------------------------------------------------


def _setting(_ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> Any:
    settings = dict(one.partition("=")[::2] for one in given)
    if broken := [one for one in given if "=" not in one]:
        # Only the beginning, for the rest may be a password.
        name = re.match(r"[\w.]*", broken[0])
        raise click.BadParameter(f"what begins with {name and name[0]!r} is not NAME=VALUE")
    return settings


_CONNECTION = [
    click.option(
        "--server",
        metavar="URL",
        envvar="IGWN_STYLE_CLIENT_SERVER",
        default=DEFAULT_SERVER,
        show_default=True,
        show_envvar=True,
        help="The broker, or several separated by commas; kafka://USER@HOST/ chooses a credential.",
    ),
    click.option(
        "--port",
        type=click.IntRange(1, 65535),
        envvar="IGWN_STYLE_CLIENT_PORT",
        default=DEFAULT_PORT,
        show_default=True,
        show_envvar=True,
        help="For brokers that name none.",
    ),
    click.option(
        "--group",
        metavar="PREFIX",
        envvar="IGWN_STYLE_CLIENT_GROUP",
        default=DEFAULT_GROUP,
        show_default=True,
        show_envvar=True,
        help="GraceDB's prefix of the topics.",
    ),
    click.option(
        "--consumer-group",
        metavar="NAME",
        envvar="IGWN_STYLE_CLIENT_CONSUMER_GROUP",
        show_envvar=True,
        help="Kafka's group, which remembers how far its members have come.",
    ),
    click.option("--authfile", metavar="FILE", help="An auth.toml of hop."),
    click.option("--noauth", is_flag=True, help="An unauthenticated session."),
    click.option(
        "--ssl-ca-location",
        metavar="FILE",
        envvar="IGWN_STYLE_CLIENT_SSL_CA_LOCATION",
        show_envvar=True,
        help="A private CA's file.",
    ),
    click.option(
        "--option",
        "options",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_setting,
        help="A setting of librdkafka; may be given again.",
    ),
]


_KEYWORD = re.compile(r"\b(ssl_ca_location|consumer_group|group|server|noauth)=(True\b)?")


def connecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that all connections have; it takes them as `connection`."""
    names = ("server", "port", "group", "consumer_group", "authfile", "noauth", "ssl_ca_location",
             "options")  # fmt: skip

    @wraps(command)
    def run(*args: Any, **given: Any) -> Any:
        connection = {name: given.pop(name) for name in names}
        return command(*args, connection=connection, **given)

    for option in reversed(_CONNECTION):
        run = option(run)
    return run


def _connect(connection: Mapping[str, Any]) -> client:
    try:
        return client(**connection)
    except (TypeError, ValueError) as error:  # of what was typed
        raise click.UsageError(str(error)) from error


# -- doctor --------------------------------------------------------------------------------------


@main.command(
    short_help="Find out why a connection does not work.",
    epilog="""\b
Examples:
  igwn-style-client doctor
  igwn-style-client doctor superevent cbc_gstlal --group gracedb-playground
  igwn-style-client doctor --consumer-group my-pipeline --json | jq 'select(.passed == false)'""",
)
@click.argument("topics", metavar="[TOPIC]...", nargs=-1)
@connecting
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1, max=600),
    default=10.0,
    show_default=True,
    help="Longest wait for each answer.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def doctor(
    topics: tuple[str, ...], connection: Mapping[str, Any], timeout: float, as_json: bool
) -> int:
    """Check everything between this machine and the alerts of some topics, or all of the group.

    Each line is a check: what was found and, where something is wrong, the next step.  It ends
    where going on is pointless; the exit status is 1 if a check failed.  No secret is printed.
    """
    console = Console(highlight=False, soft_wrap=True)

    def typed(text: str) -> str:
        """Spell keywords as the options of this command."""
        return _KEYWORD.sub(lambda found: "--" + found[1].replace("_", "-"), text)

    def show(one: Check) -> None:
        if as_json:
            click.echo(json.dumps(asdict(one)))
            return
        mark, style = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("-", "dim")}[
            one.passed
        ]
        if not console.encoding.startswith("utf"):
            mark = {"✓": "ok", "✗": "FAILED"}.get(mark, mark)
        console.print(Text(f"{mark} ", style), Text(f"{one.name}: {typed(one.said)}"), sep="")
        if one.mend:
            console.print(Text(f"    -> {typed(one.mend)}", "" if one.passed is False else "dim"))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the first check says it
            alerts = _connect(connection)
        checks = alerts.check(topics or None, timeout=timeout, on_check=show)
    except (TypeError, ValueError) as error:  # of a topic's name
        raise click.UsageError(str(error)) from error
    except CredentialError as error:
        said, _, mend = str(error).partition("; ")
        checks = [Check("credential", False, said, mend)]
        show(checks[0])
    failed = sum(one.passed is False for one in checks)
    if not as_json:
        console.print("the connection works" if not failed else f"{failed} of {len(checks)} failed")
    return 1 if failed else 0


# -- publish -------------------------------------------------------------------------------------

# As many alerts are worth a bar.
_MANY = 20
# Alerts of a large file wait in it, and as Python objects, which are several times as large.
_QUEUE_KBYTES = 65_536
# Below this many a second each alert is confirmed before the next one is sent.
_SLOW = 10.0


@main.command(
    short_help="Publish the alerts in files.",
    epilog="""\b
Examples:
  igwn-style-client publish superevent alert.json --group gracedb-test
  igwn-style-client publish superevent alerts.jsonl --rate 5 --test
  generate | igwn-style-client publish superevent - --format jsonl --json""",
)
@click.argument("topic")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.File("rb"))
@connecting
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="What the files hold; jsonl has an alert on each line.",
)
@click.option(
    "--rate",
    metavar="ALERTS_PER_SECOND",
    type=click.FloatRange(min=0.001),
    callback=_number,
    help="How fast to send.  [default: as fast as it goes]",
)
@click.option("--test", is_flag=True, help="Flag the alerts as tests.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    callback=_number,
    default=30.0,
    show_default=True,
    help="Longest wait for a confirmation.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def publish(
    topic: str,
    files: tuple[BinaryIO, ...],
    connection: Mapping[str, Any],
    format_: str,
    rate: float | None,
    test: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Publish the alerts in files, or - for what is piped in, and print their receipts.

    Files are checked before the first alert is sent; what is piped in is checked and sent line by
    line.  JSON, lines of JSON, VOEvent, text and anything else are told apart by their content.
    The exit status is 0 if the broker has confirmed all of them.
    """
    total = _check(files, format_)
    more = {"publish_timeout": timeout, "options": {"queue.buffering.max.kbytes": _QUEUE_KBYTES}}
    alerts = _connect({**connection, **more})
    try:
        alerts.connect(topic)
    except ValueError as error:  # of a topic's name
        raise click.UsageError(str(error)) from error
    sent = confirmed = 0

    def report(_error: ClientError | None, receipt: Receipt | None) -> None:
        nonlocal confirmed
        if receipt is None:
            return  # what failed is raised
        confirmed += 1
        place = {**asdict(receipt), "time": receipt.time.isoformat(timespec="milliseconds")}
        click.echo(
            json.dumps(place)
            if as_json
            else "{topic} partition {partition} offset {offset} at {time}".format(**place)
        )

    screen = Console(stderr=True)
    few = total is not None and total < _MANY
    due = time.monotonic()
    try:
        with alerts, Progress(
            console=screen, transient=True, disable=few or not screen.is_terminal
        ) as bar:  # fmt: skip
            for message in bar.track(_messages(files, format_), total, description=topic):
                time.sleep(max(0.0, due - time.monotonic()))
                due += 1 / rate if rate else 0.0
                sent += 1
                alerts.publish_to_topic(topic, message, test=test, on_delivery=report)
                if rate and rate < _SLOW:
                    alerts.flush_by_topic(topic)
    except PublishError as error:
        raise click.ClickException(f"{confirmed} of {total or sent} confirmed; {error}") from error
    except ValueError as error:  # of a line that was piped in
        before = (
            f"{confirmed} of the {sent} before it are confirmed" if sent else "nothing was sent"
        )
        raise click.ClickException(f"{error}; {before}") from error


def _messages(files: Iterable[BinaryIO], format_: str) -> Iterator[Any]:
    for file in files:
        try:
            yield from messages_in(file, format_)
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error


def _check(files: Sequence[BinaryIO], format_: str) -> int | None:
    """Read what can be read twice, and return how many alerts there are; None if who knows."""
    twice = [(file, file.tell()) for file in files if file.seekable()]
    try:
        count = sum(1 for _ in _messages([file for file, _ in twice], format_))
    except ValueError as error:
        raise click.ClickException(f"{error}; nothing was sent") from error
    for file, beginning in twice:
        file.seek(beginning)
    return count if len(twice) == len(files) else None
