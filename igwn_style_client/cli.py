"""Arguments and printing: with the rooms of its commands, the only place that prints or exits.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted; 143 ended by SIGTERM, 129 by
SIGHUP, where that is not the way to end.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from typing import Any, NoReturn, TextIO

import click
from click.shell_completion import get_completion_class

from . import ClientError, SettingsRefused, __version__
from .cli_antares import antares, thumbnails
from .cli_demo import demo
from .cli_doctor import doctor
from .cli_listen import listen
from .cli_publish import publish
from .cli_replay import replay, set_aside
from .cli_simulate import simulate
from .cli_topics import topics
from .records import JSONLines
from .signals import end_in_order

__all__ = ["main"]

log = logging.getLogger(__name__)

_NAME = "igwn-style-client"
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Commands(click.Group):
    """The group of commands, with our messages and exit statuses instead of click's."""

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        """Run a command and exit with its status."""
        settings |= {"prog_name": _NAME, "standalone_mode": False}
        end_in_order((signal.SIGTERM, signal.SIGHUP))
        _fill_standard_places()
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may not know every letter
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                status = super().main(*args, **settings) or 0
        except click.ClickException as error:
            status = error.exit_code
            _tell(error.format_message())
            if isinstance(error, click.UsageError) and error.ctx is not None:
                click.echo(f"Try: {error.ctx.command_path} --help", err=True)
        except OSError as error:  # of the help's output
            status = 1
            _tell(str(error))
        except click.Abort:  # what click makes of KeyboardInterrupt
            status = _INTERRUPTED
        sys.exit(status)

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands in our order, not the alphabet's."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can mend is told in one line."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if not any(error.option_name in option.opts for option in self.params):
                raise
            hint = f"It goes before the command: {_NAME} {error.option_name} ..."
            raise click.UsageError(f"{error.format_message()} {hint}", error.ctx) from None
        except BrokenPipeError:  # whoever read what is printed has seen enough
            raise
        except (ClientError, OSError, click.ClickException) as error:
            cause = error.__cause__ if isinstance(error, click.ClickException) else error
            if ctx.params["debug"] and cause is not None:
                traceback.print_exception(cause)
            if cause is not error:
                raise
            typed = SettingsRefused in (type(error), type(error.__cause__))
            raise (click.UsageError if typed else click.ClickException)(str(error)) from error


def _fill_standard_places() -> None:
    """Put the null device where the standard input, output or error is closed.

    Otherwise a connection would get the place, and the programs of --exec would write into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            if os.open(os.devnull, os.O_RDWR) == number:
                os.set_inheritable(number, True)


def _tell(said: str, level: int = logging.ERROR) -> None:
    if any(isinstance(handler.formatter, JSONLines) for handler in logging.root.handlers):
        log.log(level, "%s", said)
    else:
        with suppress(OSError):  # there may be no terminal any more
            click.echo(f"{_NAME}: {logging.getLevelName(level).lower()}: {said}", err=True)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001  # as Python calls it
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Show a user's warning as a line of ours; a developer's, with its place, as Python does."""
    if category is UserWarning:
        _tell(str(message), logging.WARNING)
    else:
        shown = warnings.formatwarning(message, category, filename, lineno)
        click.echo(shown, err=True, nl=False)


def _complete(ctx: click.Context, _parameter: click.Parameter, shell: str | None) -> None:
    if shell is None or ctx.resilient_parsing:
        return
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  # click knows these three
    click.echo(kind(main, {}, _NAME, f"_{_NAME.replace('-', '_').upper()}_COMPLETE").source())
    ctx.exit()


@click.group(
    cls=Commands,
    commands=[
        listen,
        topics,
        publish,
        replay,
        set_aside,
        doctor,
        antares,
        thumbnails,
        demo,
        simulate,
    ],
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  igwn-style-client demo                      the whole loop on this machine, offline
  igwn-style-client doctor                    why a connection does not work
  igwn-style-client listen superevent         a line for each alert
  igwn-style-client listen --help             its options; each command has such examples
  eval "$(igwn-style-client --completion bash)"
  igwn-style-client --completion fish > ~/.config/fish/completions/igwn-style-client.fish""",
)
@click.version_option(
    __version__, "-V", "--version", prog_name=_NAME, message="%(prog)s %(version)s"
)
@click.option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    is_eager=True,
    expose_value=False,
    callback=_complete,
    help="Print what lets a shell complete commands and options, and end.",
)
@click.option(
    "--log-level",
    metavar="LEVEL",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="IGWN_STYLE_CLIENT_LOG_LEVEL",
    show_envvar=True,
    help="Log debug, info, warning or error and what is worse, with the time.  [default: warnings, "
    "without]",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar="IGWN_STYLE_CLIENT_LOG_FORMAT",
    show_envvar=True,
    help="Log lines for people, or a JSON object a line, for a service.  [default: text]",
)
@click.option("--debug", is_flag=True, help="Log everything, and show where an error comes from.")
@click.pass_context
def main(ctx: click.Context, /, log_level: str | None, log_format: str | None, debug: bool) -> None:
    """Listen to astronomical alerts over Kafka without losing any.

    The exit status is 0 when it is done, 1 after a failure, 2 for wrong usage and 130 after Ctrl-C.
    """
    if debug or log_level or log_format:
        handler = logging.StreamHandler()
        text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        handler.setFormatter(JSONLines() if log_format == "json" else text)
        level = "debug" if debug else log_level or "warning"
        logging.basicConfig(level=level.upper(), handlers=[handler])
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)
