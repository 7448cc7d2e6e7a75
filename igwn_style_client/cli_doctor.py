"""The doctor on the command line: each check as soon as it is made."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from . import Check, CredentialError
from .cli_options import Command, connect, connecting

__all__ = ["doctor", "typed"]

# With what comes after the name: nothing where it is a sentence that goes on.
_KEYWORD = re.compile(r"\b(ssl_ca_location|consumer_group|group|server|noauth)=(True\b|(?=\s|$))?")


@click.command(
    cls=Command,
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
            alerts = connect(connection)
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


def typed(text: str) -> str:
    """Spell the keywords of a text as the options of this command."""

    def option(found: re.Match[str]) -> str:
        return f"--{found[1].replace('_', '-')}{' ' if found[2] is None else ''}"

    return _KEYWORD.sub(option, text)
