"""Publishing on the command line: files, or what is piped in, and their receipts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, BinaryIO, TypeAlias

import click
from rich.console import Console
from rich.progress import Progress

from . import ClientError, PublishError, Receipt
from .cli_options import Command, connect, connecting, no_nan
from .encoding import FORMATS, messages_in

__all__ = ["publish"]

# As many alerts are worth a bar.
_MANY = 20
# Alerts of a large file wait in it, and as Python objects, which are several times as large.
_QUEUE_KBYTES = 65_536
# Below this many a second each alert is confirmed before the next one is sent.
_SLOW = 10.0


@click.command(
    cls=Command,
    short_help="Publish the alerts in files.",
    epilog="""\b
Examples:
  igwn-style-client publish superevent alert.json --group gracedb-test
  igwn-style-client publish superevent alerts.jsonl --rate 5 --test
  generate | igwn-style-client publish superevent - --format jsonl --json""",
)
@click.argument("topic")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.File("rb"))
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
    callback=no_nan,
    help="How fast to send.  [default: as fast as it goes]",
)
@click.option("--test", is_flag=True, help="Flag the alerts as tests.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    callback=no_nan,
    default=30.0,
    show_default=True,
    help="Longest wait for a confirmation.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connecting
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
    The exit status is 0 if the broker has confirmed all of them; otherwise the error names the
    files and lines that are not confirmed.
    """
    total = _check(files, format_)
    options = {"queue.buffering.max.kbytes": _QUEUE_KBYTES, **connection["options"]}
    alerts = connect({**connection, "publish_timeout": timeout, "options": options})
    try:
        alerts.connect(topic)
    except ValueError as error:  # of a topic's name
        raise click.UsageError(str(error)) from error
    sending = _Sending([file.name for file in files])
    screen = Console(stderr=True)
    few = total is not None and total < _MANY
    due = time.monotonic()
    try:
        with alerts, Progress(
            console=screen, transient=True, disable=few or not screen.is_terminal
        ) as bar:  # fmt: skip
            for place, message in bar.track(_messages(files, format_), total, description=topic):
                time.sleep(max(0.0, due - time.monotonic()))
                due += 1 / rate if rate else 0.0
                report = partial(_report, sending, place, as_json)
                sending.begin(place)
                alerts.publish_to_topic(topic, message, test=test, on_delivery=report)
                if rate and rate < _SLOW:
                    alerts.flush_by_topic(topic)
            sending.complete = True
    except PublishError as error:
        said = f"{sending.confirmed} of {total or sending.sent} confirmed; {error}{sending.left()}"
        raise click.ClickException(said) from error
    except ValueError as error:  # of a line that was piped in
        before = f"{sending.confirmed} of the {sending.sent} before it are confirmed"
        said = f"{error}; {before if sending.sent else 'nothing was sent'}{sending.left()}"
        raise click.ClickException(said) from error
    except BaseException:  # Ctrl-C, or whoever read the receipts has gone
        said = f"{sending.confirmed} of {total or sending.sent} confirmed{sending.left()}"
        with suppress(OSError):  # there may be no terminal any more
            click.echo(said if sending.sent else "nothing was sent", err=True)
        raise


#: Which of the files, and the line in it; None: all of it.
_Place: TypeAlias = tuple[int, int | None]


@dataclass
class _Sending:
    """What was sent of some files, and what of it the broker has confirmed."""

    files: Sequence[str]
    sent: int = 0
    confirmed: int = 0
    complete: bool = False
    _last: _Place | None = None
    _waiting: dict[_Place, None] = field(default_factory=dict)  # an ordered set

    def begin(self, place: _Place) -> None:
        """Note what is about to be sent."""
        self.sent += 1
        self._last = place
        self._waiting[place] = None

    def confirm(self, place: _Place) -> None:
        """Note what is confirmed."""
        self.confirmed += 1
        del self._waiting[place]

    def name(self, place: _Place) -> str:
        """Say where it stands."""
        number, line = place
        return self.files[number] + ("" if line is None else f", line {line}")

    def left(self) -> str:
        """Say what is to be sent again, as the end of a sentence."""
        parts = [
            self.files[number] + _ranges([line for _, line in places if line is not None])
            for number, places in groupby(self._waiting, itemgetter(0))
        ]
        said = f"; not confirmed: {'; '.join(parts)}" if parts else ""
        if self._last is not None and not self.complete:
            said += f"; what follows {self.name(self._last)} was not sent"
        return said


def _ranges(lines: Sequence[int]) -> str:
    """Return line numbers, which grow, as "lines 1-3, 7"."""
    if not lines:
        return ""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    told = ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)
    return f", line{'s' if len(lines) > 1 else ''} {told}"


def _report(
    sending: _Sending,
    place: _Place,
    as_json: bool,
    _error: ClientError | None,
    receipt: Receipt | None,
) -> None:
    """Print the receipt of what is confirmed; what failed is raised."""
    if receipt is None:
        return
    sending.confirm(place)
    told = {**asdict(receipt), "time": receipt.time.isoformat(timespec="milliseconds")}
    if as_json:
        number, line = place
        click.echo(json.dumps({**told, "file": sending.files[number], "line": line}))
    else:
        where = "{topic} partition {partition} offset {offset} at {time}".format(**told)
        click.echo(f"{where} from {sending.name(place)}")


def _messages(files: Iterable[BinaryIO], format_: str) -> Iterator[tuple[_Place, Any]]:
    for number, file in enumerate(files):
        try:
            for line, message in messages_in(file, format_):
                yield (number, line), message
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
