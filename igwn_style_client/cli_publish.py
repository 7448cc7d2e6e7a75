"""Publishing on the command line: files, or what is piped in, and their receipts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO

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
    The exit status is 0 if the broker has confirmed all of them.
    """
    total = _check(files, format_)
    options = {"queue.buffering.max.kbytes": _QUEUE_KBYTES, **connection["options"]}
    alerts = connect({**connection, "publish_timeout": timeout, "options": options})
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
