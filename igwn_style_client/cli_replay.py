"""Stored alerts on the command line: delivered again, and what was set aside looked through."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from . import Alert, Archive, client
from . import replay as deliver_again
from .cli_handling import Handler, handling, line_of
from .cli_options import Command, Place, When, connect, connecting, no_nan, some_topics
from .exporting import json_of
from .rows import printable, row_of

__all__ = ["replay", "set_aside"]


def _republishing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of publishing again; it takes them as `again`."""

    @click.option(
        "--publish", is_flag=True, help="Publish, confirmed, to the same topic of --group."
    )
    @click.option("--publish-to", metavar="TOPIC", help="Publish to this topic instead.")
    @click.option("--test", is_flag=True, help="Flag what is published as tests.")
    @wraps(command)
    def run(*args: Any, publish: bool, publish_to: str | None, test: bool, **given: Any) -> Any:
        if publish_to == "":
            raise click.UsageError("--publish-to: there is no topic")
        if test and not (publish or publish_to):
            raise click.UsageError("--test is of use only with --publish")
        again = _Again(publish or publish_to is not None, publish_to, test)
        return command(*args, again=again, **given)

    return run


@dataclass(frozen=True)
class _Again:
    """Whether, where and how alerts are published again."""

    wanted: bool
    topic: str | None
    test: bool


@contextmanager
def _taking(handler: Handler, again: _Again, connection: Mapping[str, Any]) -> Iterator[None]:
    """Let alerts be handled, and published again where that is wanted."""
    with ExitStack() as stack:
        stack.enter_context(handler)
        if again.wanted:
            alerts = stack.enter_context(connect(connection))
            handler.publish = partial(_publish, alerts, again)
        yield


def _publish(alerts: client, again: _Again, alert: Alert) -> None:
    headers = [(name, value or b"") for name, value in alert.headers if name not in _HOPS]
    test = again.test or any(name == "_test" for name, _ in alert.headers)
    alerts.publish(
        again.topic or alert.topic, _message(alert), headers=headers, key=alert.key, test=test
    )


# What hop adds, and adds anew.
_HOPS = {"_format", "_id", "_sender", "_test"}


def _message(alert: Alert) -> Any:
    """Return what is published: the bytes that were received where they say what they are."""
    declared = dict(alert.headers).get("_format") or None
    if declared in (None, b"external"):  # what lies behind a URL does not lie there for ever
        return alert.payload
    return _AsReceived(declared.decode(), alert.raw or b"")


class _AsReceived:
    """Content in a format of hop's, for hop, which packs whatever can serialize itself."""

    def __init__(self, format_: str, content: bytes) -> None:
        self._packed = {"format": format_, "content": content}

    def serialize(self) -> dict[str, Any]:
        return self._packed


# -- replay ----------------------------------------------------------------------------------------


@click.command(
    cls=Command,
    short_help="Deliver the alerts of an archive again.",
    epilog="""\b
Examples:
  igwn-style-client replay alerts.db
  igwn-style-client replay alerts.db superevent --speed 60 --exec "python follow_up.py"
  igwn-style-client replay alerts.db --since 1d --json | jq -r .payload.uid
  igwn-style-client replay alerts.db --publish --test --group gracedb-test""",
)
@click.argument("file", type=Place(dir_okay=False))
@click.argument("topics", metavar="[TOPIC]...", nargs=-1)
@click.option(
    "--since",
    metavar="TIME",
    type=When(),
    help="From this time on: a time (UTC) such as 2026-11-21T03:00, or back such as 10m, 2h, 1d.",
)
@click.option("--until", metavar="TIME", type=When(), help="Before this time.")
@click.option(
    "--speed",
    metavar="FACTOR",
    type=click.FloatRange(min=0.001),
    callback=no_nan,
    help="How much faster than they came; 1 keeps their pace.  [default: at once]",
)
@_republishing
@handling("raise")
@connecting
def replay(
    file: str,
    topics: tuple[str, ...],
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
    speed: float | None,
    again: _Again,
    handler: Handler,
    delivery: Mapping[str, Any],
    connection: Mapping[str, Any],
) -> None:
    """Deliver the alerts of an archive, of some topics or all, as listen delivers new ones.

    What listen --archive has stored, and what was set aside, lies in such files.  The connection is
    used only to publish.
    """
    names = some_topics(topics)
    if speed == math.inf:
        speed = None  # at once
    with _taking(handler, again, connection):
        deliver_again(file, handler, names, _moment(since), _moment(until), speed, **delivery)


def _moment(given: datetime | timedelta | None) -> datetime | None:
    return datetime.now(timezone.utc) - given if isinstance(given, timedelta) else given


# -- what was set aside ----------------------------------------------------------------------------


@click.group(
    "set-aside",
    short_help="Look through what was set aside, try it again, or drop it.",
    epilog="""\b
Examples:
  igwn-style-client set-aside list --consumer-group my-pipeline
  igwn-style-client set-aside show aside.db -n 3
  igwn-style-client set-aside retry -c my-pipeline --exec "python follow_up.py"
  igwn-style-client set-aside drop aside.db -n 3""",
)
def set_aside() -> None:
    """Handle what listeners have set aside: alerts that failed or could not be read.

    FILE is that of listen --set-aside.  Without it, it is the file in your state folder in which a
    listener with the same --server and --consumer-group sets aside.
    """


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its file and numbers, for `_chosen`."""
    number = click.option(
        "-n",
        "--number",
        "numbers",
        metavar="NUMBER",
        type=int,
        multiple=True,
        help="Of an alert, as list shows it; may be given again.  [default: all]",
    )
    return click.argument("file", required=False, type=Place(dir_okay=False))(number(command))


@contextmanager
def _chosen(
    file: str | None, numbers: Sequence[int], connection: Mapping[str, Any]
) -> Iterator[tuple[Archive, set[int] | None]]:
    """Open the archive; the numbers are there, or None stands for all."""
    with Archive(_file(file, connection)) as archive:
        there = {number for number, _ in _items(archive, set(numbers))} if numbers else set()
        if missing := sorted(set(numbers) - there):
            raise click.ClickException(
                f"{archive.path} has no number {', '.join(map(str, missing))}"
            )
        yield archive, set(numbers) or None


def _file(given: str | None, connection: Mapping[str, Any]) -> Path:
    if given is not None:
        path = Path(given)
        hint = "look at the path"
    else:
        default = connect({**connection, "noauth": True, "authfile": None}).set_aside_path
        assert default is not None  # noqa: S101  # set_aside is not False
        path, others = default, sorted(default.parent.glob("set-aside-*.db"))
        hint = "nothing was set aside for this server and consumer group"
        if others:
            hint += "; for others there are " + ", ".join(map(str, others))
    if not path.exists():
        raise click.ClickException(f"there is no {path}: {hint}")
    return path


def _items(archive: Archive, numbers: set[int] | None) -> Iterator[tuple[int, Alert]]:
    for number, alert in archive.items(set_aside=True):
        if numbers is None or number in numbers:
            yield number, alert


@set_aside.command(
    "list",
    cls=Command,
    short_help="A line for each alert.",
    epilog="""\b
Examples:
  igwn-style-client set-aside list
  igwn-style-client set-aside list aside.db --json | jq -r .reason""",
)
@_choosing
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connecting
def list_(
    file: str | None,
    numbers: tuple[int, ...],
    as_json: bool,
    connection: Mapping[str, Any],
) -> None:
    """List what was set aside: its number, what it is, and why in a line."""
    with _chosen(file, numbers, connection) as chosen:
        for number, alert in _items(*chosen):
            if as_json:
                click.echo(json_of(alert, number=number))
            else:
                reason = (alert.reason or "").strip().rpartition("\n")[2]
                reason = reason.removeprefix("click.exceptions.ClickException: ")  # our own
                row = row_of(alert.topic, alert.payload, alert.time)
                click.echo(f"{number:4}  {line_of(row)}\n      {printable(reason)}")


@set_aside.command(
    cls=Command,
    short_help="Everything about an alert.",
    epilog="""\b
Examples:
  igwn-style-client set-aside show -n 3
  igwn-style-client set-aside show aside.db -n 3 -n 4 | jq .payload""",
)
@_choosing
@connecting
def show(
    file: str | None,
    numbers: tuple[int, ...],
    connection: Mapping[str, Any],
) -> None:
    """Show alerts whole, as indented JSON: place, headers, payload, and the reason."""
    with _chosen(file, numbers, connection) as chosen:
        for number, alert in _items(*chosen):
            click.echo(json_of(alert, indent=2, number=number))


@set_aside.command(
    cls=Command,
    short_help="Deliver alerts again, and remove those that are delivered.",
    epilog="""\b
Examples:
  igwn-style-client set-aside retry -c my-pipeline --exec "python follow_up.py"
  igwn-style-client set-aside retry aside.db -n 3 --save .
  igwn-style-client set-aside retry aside.db --publish --group gracedb-test""",
)
@_choosing
@_republishing
@handling("set-aside")
@connecting
def retry(
    file: str | None,
    numbers: tuple[int, ...],
    again: _Again,
    handler: Handler,
    delivery: Mapping[str, Any],
    connection: Mapping[str, Any],
) -> int:
    """Deliver again what was set aside; what is delivered is removed, what fails stays.

    Printing alone is no delivery: say what takes the alerts.  The exit status is 0 if all of them
    were delivered.
    """
    with (
        _chosen(file, numbers, connection) as (archive, chosen),
        _taking(handler, again, connection),
    ):
        if not handler.keeps:
            raise click.UsageError(
                "say what takes the alerts: --exec, --archive, --save or --publish"
            )
        wanted = sum(1 for _ in _items(archive, chosen))
        done = deliver_again(
            archive.path, handler, set_aside=True, numbers=chosen, remove=True, **delivery
        )
    click.echo(f"{done} delivered and removed; {wanted - done} still set aside", err=True)
    return 0 if done == wanted else 1


@set_aside.command(
    cls=Command,
    short_help="Remove alerts for good.",
    epilog="""\b
Examples:
  igwn-style-client set-aside drop aside.db -n 3
  igwn-style-client set-aside drop -c my-pipeline --all""",
)
@_choosing
@click.option("--all", "everything", is_flag=True, help="All that was set aside.")
@connecting
def drop(
    file: str | None,
    numbers: tuple[int, ...],
    everything: bool,
    connection: Mapping[str, Any],
) -> None:
    """Remove alerts that were set aside; nothing brings them back."""
    if everything == bool(numbers):
        raise click.UsageError("say which: --number, or --all")
    with _chosen(file, numbers, connection) as (archive, chosen):
        dropped = [number for number, _ in _items(archive, chosen)]
        for number in dropped:
            archive.remove(number)
    click.echo(f"{len(dropped)} dropped", err=True)
