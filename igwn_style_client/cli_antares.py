"""ANTARES on the command line: alerts as files, as antares-client 0.2 writes them, and images."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.progress import Progress, TaskID
from rich.table import Table

from .antares import DEFAULT_HOST, Client, Locus, get_thumbnails
from .arguments import DEFAULT_PORT
from .cli_options import Place, ending_well, prepare
from .errors import DecodeError, ThumbnailError
from .files import safe_name, write_whole
from .service import supervised
from .thumbnails import DEFAULT_API

__all__ = ["antares", "file_of", "thumbnails"]


def _names(_ctx: click.Context, _parameter: click.Parameter, given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]


@click.command(
    short_help="Store alerts of ANTARES' streams as files.",
    epilog="""\b
Examples:
  igwn-style-client antares extragalactic,nuclear_transient --output-directory ~/antares
  igwn-style-client antares extragalactic -d . --until-eos
The key and the secret are best left to the environment (ANTARES_API_KEY, ANTARES_API_SECRET, or
..._FILE for files that hold them) or to hop's auth.toml: what is typed shows in the list of
processes.""",
)
@click.argument("topics", metavar="TOPIC[,TOPIC]", callback=_names)
@click.option(
    "-d",
    "--output-directory",
    metavar="DIR",
    type=Place(file_okay=False),
    required=True,
    help="Alerts become DIR/TOPIC/ALERT_ID.json.",
)
@click.option("--api-key", metavar="KEY", help="From the ANTARES team.")
@click.option("--api-secret", metavar="SECRET", help="The same.")
@click.option(
    "--ssl-ca-location",
    metavar="FILE",
    type=Place(readable=False),
    help="The certificate authorities to trust.",
)
@click.option("-g", "--group", metavar="NAME", help="Kafka's group.  [default: the host's name]")
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="The broker.")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@click.option("--noauth", is_flag=True, help="An unauthenticated session.")
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N alerts.")
@click.option("--until-eos", is_flag=True, help="End when all that there is has been stored.")
def antares(
    topics: list[str], output_directory: str, count: int | None, until_eos: bool, **access: Any
) -> None:
    """Store each alert of some of ANTARES' streams as a file.

    An alert counts as delivered when its file is on the disk.  The next start goes on there.
    """
    folder = Path(output_directory)
    try:
        client = Client(topics, **access)
    except (TypeError, ValueError) as error:  # of what was typed
        raise click.UsageError(str(error)) from error
    stored = Counter(dict.fromkeys(client.topics, 0))
    for topic in stored:
        prepare(folder / safe_name(topic))
    try:
        with client, supervised(client), ending_well(client.stop), _shown(stored):
            for topic, alert in client.iter(count, until_eos=until_eos):
                _store(folder / file_of(topic, alert), alert)
                stored[topic] += 1
    finally:
        for topic, number in stored.items():
            click.echo(f"{topic}: {number} alerts in {folder / safe_name(topic)}")


@click.command(
    short_help="Download the images of an alert of ANTARES.",
    epilog="""\b
Example:
  igwn-style-client thumbnails ztf_candidate:2838539073315010071 -d images""",
)
@click.argument("alert_id")
@click.option(
    "-d",
    "--output-directory",
    metavar="DIR",
    type=Place(file_okay=False),
    default=".",
    help="Where to.  [default: here]",
)
@click.option(
    "--base-url",
    metavar="URL",
    envvar="ANTARES_API_BASE_URL",
    default=DEFAULT_API,
    show_default=True,
    show_envvar=True,
    help="Of ANTARES' API.",
)
def thumbnails(alert_id: str, output_directory: str, base_url: str) -> None:
    """Download template, science and difference image of an alert."""
    folder = Path(output_directory)
    with _progress() as show:
        try:
            images = get_thumbnails(alert_id, folder, base_url, on_progress=show)
        except ThumbnailError as error:
            _list(folder, error.thumbnails)
            raise
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"cannot write into {folder}: {error.strerror}") from error
    _list(folder, images)


def _list(folder: Path, images: Mapping[str, Mapping[str, Any]]) -> None:
    for kind, image in images.items():
        click.echo(f"{kind}: {folder / image['file_name']}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], object]]:
    """Show a bar for each image, on a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def show(kind: str, got: int, whole: int | None) -> None:
            if kind not in tasks:
                tasks[kind] = bars.add_task(kind)
            bars.update(tasks[kind], completed=got, total=whole)

        yield show


def file_of(topic: str, alert: Mapping[str, Any]) -> Path:
    """Return the name of an alert's file, beginning with its stream's folder.

    That is antares-client's: the alert's name, else survey and original name.  Where an alert has
    neither, what it says tells it from others.
    """
    return Path(safe_name(topic), safe_name(_name(alert)) + ".json")


def _name(alert: Mapping[str, Any]) -> str:
    new = alert.get("new_alert")
    if isinstance(new, Mapping) and new.get("alert_id") is not None:
        return str(new["alert_id"])
    if isinstance(new, Mapping) and new.get("original_id") is not None:
        return f"{new.get('survey')}-{new['original_id']}"
    digest = hashlib.blake2b(_text(alert), digest_size=8).hexdigest()
    try:
        locus = Locus.from_payload(alert)
    except DecodeError:
        return digest
    return f"{locus.locus_id}-{digest}" if locus.alert_id is None else str(locus.alert_id)


def _text(alert: Mapping[str, Any]) -> bytes:
    return json.dumps(alert, indent=4, default=_plain).encode()


def _plain(value: Any) -> str:
    """Return what JSON has no words for as text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _store(path: Path, alert: Mapping[str, Any]) -> None:
    try:
        write_whole(path, _text(alert))
    except OSError as error:
        raise click.ClickException(
            f"cannot write {path}: {error.strerror}.  The alert is not marked as delivered: mend "
            "that and start again, and it comes again"
        ) from error


@contextmanager
def _shown(stored: Counter[str]) -> Iterator[None]:
    """Show a live counter for each stream, on a terminal; not between the lines of --debug."""
    console = Console(stderr=True, highlight=False)
    moving = console.is_terminal and not console.is_dumb_terminal and sys.stdout.isatty()
    if not moving or click.get_current_context().find_root().params.get("debug"):
        yield
        return

    def draw() -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column("stream", header_style="dim not bold")
        table.add_column("alerts", header_style="dim not bold", justify="right")
        for topic, number in list(stored.items()):
            table.add_row(topic, str(number))
        return table

    with Live(get_renderable=draw, console=console, refresh_per_second=4, transient=True):
        yield
