"""Options that several commands have, those of the connection first of all."""

from __future__ import annotations

import math
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from . import DEFAULT_GROUP, DEFAULT_PORT, DEFAULT_SERVER, client, profiles
from .arguments import topic_names
from .files import write_whole
from .signals import first_signal

__all__ = [
    "Command",
    "Place",
    "When",
    "connect",
    "connecting",
    "ending_well",
    "no_nan",
    "prepare",
    "some_topics",
]


class Command(click.Command):
    """A command whose help tells its own options from those of the connection."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in two parts."""
        parts: dict[str, list[tuple[str, str]]] = {"Options": [], "Options of the connection": []}
        own, connection = parts.values()
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is not None:
                (connection if option.name in (*_NAMES, "profile") else own).append(record)
        for heading, records in parts.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class When(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """A moment: 2026-11-21T03:00 (UTC), or a time back from now: 90s, 10m, 2h, 1d, 1w.

    Parameters
    ----------
    words
        Which others are taken as they are.
    """

    name = "when"

    def __init__(self, *words: str) -> None:
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a word, a datetime with a time zone, or a timedelta."""
        if not isinstance(value, str) or value in self._words:
            return value
        if back := re.fullmatch(r"(\d+(?:\.\d*)?)([smhdw])", value):
            try:
                ago = timedelta(**{_UNITS[back[2]]: float(back[1])})
                datetime.now(timezone.utc) - ago  # is there such a time?
            except OverflowError:
                self.fail(f"{value!r} is too long ago", param, ctx)
            return ago
        try:  # Python 3.10 does not know the Z
            moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value))
        except ValueError:
            forms = ", ".join(["2026-11-21T03:00", "10m", "2h", "1d", *self._words])
            self.fail(f"{value!r} is no time; write it as one of {forms}", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


class Place(click.Path):
    """Where a file or a folder is, or is to be; ``~`` is the home.

    What is there already is of the right kind, and may be read.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if not value or "\0" in value:
            self.fail("no path has a NUL in it" if value else "it is empty", param, ctx)
        return super().convert(os.path.expanduser(value), param, ctx)


def prepare(folder: Path) -> None:
    """Make a folder, and see that files can be made in it, before the first alert."""
    trial = folder / ".trial"  # no alert has a name with a dot before it
    try:
        write_whole(trial, b"")
        trial.unlink(missing_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot write into {folder}: {error.strerror}") from error


def no_nan(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse what click's numbers let pass, as the callback of an option."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("it is no number", ctx, parameter)
    return value


def _setting(_ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> Any:
    settings = dict(one.partition("=")[::2] for one in given)
    if broken := [one for one in given if "=" not in one]:
        # Only the beginning, for the rest may be a password.
        name = re.match(r"[\w.]*", broken[0])
        raise click.BadParameter(f"what begins with {name and name[0]!r} is not NAME=VALUE")
    return settings


_NAMES: dict[str, type] = {
    "server": str,
    "port": int,
    "group": str,
    "consumer_group": str,
    "authfile": str,
    "noauth": bool,
    "ssl_ca_location": str,
    "options": Mapping,
}


def _use_profile(ctx: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    """Let a profile say what neither the command line nor the environment does."""
    if ctx.resilient_parsing:
        return
    try:
        settings = profiles.read(name, _NAMES)
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from error
    options = settings.get("options", {})
    for one, value in options.items():
        if isinstance(value, Mapping):
            raise click.UsageError(
                f'{profiles.path()}: options: a name with dots needs quotes, as "{one}...."', ctx
            )
    settings["options"] = [
        f"{one}={str(value).lower() if isinstance(value, bool) else value}"
        for one, value in options.items()
    ]
    ctx.default_map = settings


def _complete_profile(
    _ctx: click.Context, _parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    try:
        return [CompletionItem(name) for name in profiles.names() if name.startswith(begun)]
    except ValueError:
        return []


_CONNECTION = [
    click.option(
        "--profile",
        metavar="NAME",
        envvar="IGWN_STYLE_CLIENT_PROFILE",
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=_use_profile,
        shell_complete=_complete_profile,
        help="Options of this name from ~/.config/igwn-style-client/config.toml.",
    ),
    click.option(
        "-s",
        "--server",
        metavar="URL",
        envvar="IGWN_STYLE_CLIENT_SERVER",
        default=DEFAULT_SERVER,
        show_default=True,
        show_envvar=True,
        help="The broker, or several separated by commas; kafka://USER@HOST/ chooses a credential.",
    ),
    click.option(
        "-p",
        "--port",
        type=click.IntRange(1, 65535),
        envvar="IGWN_STYLE_CLIENT_PORT",
        default=DEFAULT_PORT,
        show_default=True,
        show_envvar=True,
        help="For brokers that name none.",
    ),
    click.option(
        "-g",
        "--group",
        metavar="PREFIX",
        envvar="IGWN_STYLE_CLIENT_GROUP",
        default=DEFAULT_GROUP,
        show_default=True,
        show_envvar=True,
        help="GraceDB's prefix of the topics.",
    ),
    click.option(
        "-c",
        "--consumer-group",
        metavar="NAME",
        envvar="IGWN_STYLE_CLIENT_CONSUMER_GROUP",
        show_envvar=True,
        help="Kafka's group, which remembers how far its members have come.",
    ),
    click.option(
        "--authfile",
        metavar="FILE",
        type=Place(readable=False),  # what is wrong with it says whoever reads it
        envvar="IGWN_STYLE_CLIENT_AUTHFILE",
        show_envvar=True,
        help="An auth.toml of hop.",
    ),
    click.option(
        "--noauth",
        "--no-auth",
        is_flag=True,
        envvar="IGWN_STYLE_CLIENT_NOAUTH",
        show_envvar=True,
        help="An unauthenticated session.",
    ),
    click.option(
        "--ssl-ca-location",
        metavar="FILE",
        type=Place(readable=False),
        envvar="IGWN_STYLE_CLIENT_SSL_CA_LOCATION",
        show_envvar=True,
        help="A private CA's file.",
    ),
    click.option(
        "--option",
        "options",
        metavar="NAME=VALUE",
        multiple=True,
        envvar="IGWN_STYLE_CLIENT_OPTIONS",
        show_envvar=True,
        callback=_setting,
        help="A setting of librdkafka; may be given again.",
    ),
]


def connecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that all connections have; it takes them as `connection`."""

    @wraps(command)
    def run(*args: Any, **given: Any) -> Any:
        connection = {name: given.pop(name) for name in _NAMES}
        return command(*args, connection=connection, **given)

    for option in reversed(_CONNECTION):
        run = option(run)
    return run


def connect(connection: Mapping[str, Any]) -> client:
    """Make a client of the options of a connection; contacts nobody."""
    try:
        return client(**connection)
    except (TypeError, ValueError) as error:  # of what was typed
        raise click.UsageError(str(error)) from error


def some_topics(topics: Sequence[str]) -> list[str] | None:
    """Return the topics that were typed; None, for all of the group, if there is none."""
    try:
        return topic_names(topics) if topics else None
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@contextmanager
def ending_well(stop: Callable[[], object], told: str = "") -> Iterator[None]:
    """Let a first Ctrl-C, SIGTERM or SIGHUP call `stop`, and the block end when it is ready to.

    The second one ends it at once.  After SIGTERM, or SIGHUP, the command is done: that is how
    those end that have no other end.

    Parameters
    ----------
    stop
        May be called by a signal handler.
    told
        What is printed then, on the standard error.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C was pressed.
    """

    def finish(_number: int) -> None:
        stop()
        if told:
            with suppress(OSError):  # after SIGHUP there may be no terminal
                click.echo(told, err=True)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ours = [one for one in numbers if signal.getsignal(one) is not signal.SIG_IGN]
    with first_signal(ours, finish) as caught:
        yield
    if signal.SIGINT in caught:
        raise KeyboardInterrupt
