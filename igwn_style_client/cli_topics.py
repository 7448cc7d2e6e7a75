"""The topics of a group, on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from .cli_options import Command, connect, connecting, no_nan

__all__ = ["topics"]


@click.command(
    cls=Command,
    short_help="List the topics of the group.",
    epilog="""\b
Examples:
  igwn-style-client topics
  igwn-style-client topics --group gracedb-playground --readable
  igwn-style-client topics --json | jq -r '.[]'""",
)
@click.option("--readable", is_flag=True, help="Only those that the credential may read.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1, max=600),
    callback=no_nan,
    default=10.0,
    show_default=True,
    help="Longest wait for an answer.",
)
@click.option("--json", "as_json", is_flag=True, help="A list in JSON.")
@connecting
def topics(connection: Mapping[str, Any], readable: bool, timeout: float, as_json: bool) -> None:
    """List the topics of the group by the names that listen takes, one on each line.

    Brokers may also list topics that one may merely write to.
    """
    names = connect(connection).get_topics(timeout=timeout, readable=readable)
    if as_json:
        click.echo(json.dumps(names))
    elif names:
        click.echo("\n".join(names))
    else:
        raise click.ClickException(
            f'the group "{connection["group"]}" has no topics there that this credential may see'
        )
