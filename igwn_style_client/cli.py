"""Arguments and printing: with the rooms of its commands, the only place that prints or exits.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any, NoReturn

import click

from . import ClientError, __version__
from .cli_antares import antares, thumbnails
from .cli_demo import demo
from .cli_doctor import doctor
from .cli_publish import publish

__all__ = ["main"]

_NAME = "igwn-style-client"
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


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
    commands=[antares, demo, doctor, publish, thumbnails],
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
