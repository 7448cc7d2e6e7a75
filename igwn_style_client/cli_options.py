"""Options that several commands have, those of the connection first of all."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click

from . import DEFAULT_GROUP, DEFAULT_PORT, DEFAULT_SERVER, client

__all__ = ["connect", "connecting", "no_nan"]


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


def connect(connection: Mapping[str, Any]) -> client:
    """Make a client of the options of a connection; contacts nobody."""
    try:
        return client(**connection)
    except (TypeError, ValueError) as error:  # of what was typed
        raise click.UsageError(str(error)) from error
