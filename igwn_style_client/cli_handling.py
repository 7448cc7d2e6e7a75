"""What the command line does with an alert: store it, hand it to a program, print it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from . import Alert, Archive
from .cli_options import Place, prepare
from .exporting import content_of, json_of
from .files import safe_name, write_whole
from .rows import Row, far_text, row_of

__all__ = ["Handler", "Program", "handling", "line_of", "text_of"]

_OPTIONS = [
    click.option(
        "--exec",
        "command",
        metavar="COMMAND",
        help="Run a program for each alert: the payload on its input, what it is in ALERT_TOPIC, "
        "ALERT_SUPEREVENT, ... of its environment.  Status 0 means that it is done.",
    ),
    click.option("--shell", is_flag=True, help="COMMAND is a line for /bin/sh."),
    click.option(
        "--workers",
        metavar="N",
        type=click.IntRange(1, 1000),
        default=1,
        show_default=True,
        help="How many programs may run side by side.",
    ),
    click.option(
        "--attempts",
        metavar="N",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="How often to try for each alert.",
    ),
    click.option(
        "--archive",
        metavar="FILE",
        type=Place(dir_okay=False),
        help="Store alerts in this file, as replay reads.",
    ),
    click.option(
        "--save",
        metavar="DIR",
        type=Place(file_okay=False),
        help="Payloads become DIR/TOPIC/TIME-ALERT.json.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
    click.option("--pretty", is_flag=True, help="The whole alert, as indented JSON."),
]


def handling(failing: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of what is done with an alert.

    It takes them as `handler`, and as `delivery` the keywords for `listen` or `replay`.

    Parameters
    ----------
    failing
        The default of ``--on-failure``.
    """
    on_failure = click.option(
        "--on-failure",
        type=click.Choice(["raise", "set-aside"]),
        default=failing,
        show_default=True,
        help="After the last attempt: end, or set the alert aside and go on.",
    )

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def run(*args: Any, **given: Any) -> Any:
            delivery = {
                "workers": given.pop("workers"),
                "attempts": given.pop("attempts"),
                "on_failure": given.pop("on_failure").replace("-", "_"),
            }
            handler = Handler(
                **{name: given.pop(name) for name in ("command", "shell", "archive", "save",
                                                      "as_json", "pretty")}
            )  # fmt: skip
            return command(*args, handler=handler, delivery=delivery, **given)

        for option in reversed([*_OPTIONS[:4], on_failure, *_OPTIONS[4:]]):
            run = option(run)
        return run

    return give


class Handler:
    """The callback of the command line, for any thread; a context manager.

    What is stored, published or run is done before anything is printed, and all of it before the
    alert counts as delivered.  Where a program runs, the terminal's output is the program's.
    """

    def __init__(
        self,
        command: str | None = None,
        shell: bool = False,
        archive: str | None = None,
        save: str | None = None,
        as_json: bool = False,
        pretty: bool = False,
    ) -> None:
        if shell and command is None:
            raise click.UsageError("--shell is of use only with --exec")
        self.program = None if command is None else Program(command, shell)
        self.form = "pretty" if pretty else "json" if as_json else "line"
        #: What else takes an alert, such as a broker.
        self.publish: Callable[[Alert], object] | None = None
        #: Prints it.
        self.show: Callable[[Alert], object] = self._echo
        self._archive = None if archive is None else Archive(archive)
        self._folder = None if save is None else Path(save)

    @property
    def keeps(self) -> bool:
        """Whether an alert goes anywhere but to the terminal."""
        return any((self.program, self.publish, self._archive, self._folder))

    def __enter__(self) -> Handler:
        if self._archive is not None:
            self._archive.open()  # so that trouble shows before the first alert
        if self._folder is not None:
            prepare(self._folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.program is not None:
            self.program.end()
        if self._archive is not None:
            self._archive.close()
        if isinstance(error, _NotPrinted):
            raise OSError(*error.args) from None

    def __call__(self, topic: str, payload: Any, alert: Alert) -> None:  # noqa: ARG002
        """Do with an alert what the options say."""
        if self._archive is not None:
            self._archive.store(alert)
        if self._folder is not None:
            _save(self._folder, alert)
        if self.publish is not None:
            self.publish(alert)
        if self.program is not None:
            self.program(alert)
        try:
            self.show(alert)
        except OSError as error:
            raise _NotPrinted(*error.args) from None

    def _echo(self, alert: Alert) -> None:
        click.echo(text_of(alert, self.form), err=self.program is not None)


class _NotPrinted(BaseException):
    """Whoever read what is printed has gone, or the disk that took it is full.

    No fault of the alert, which is not set aside: it comes again.
    """


# -- files -----------------------------------------------------------------------------------------


def _save(folder: Path, alert: Alert) -> None:
    content, ending = content_of(alert)
    path = folder / safe_name(alert.topic) / (safe_name(_name(alert)) + ending)
    try:
        write_whole(path, content)
    except OSError as error:
        raise click.ClickException(
            f"cannot write {path}: {error.strerror}.  The alert is not marked as delivered: mend "
            "that and start again"
        ) from error


def _name(alert: Alert) -> str:
    """Return a name that sorts by time, tells what it is, and is the same when it comes again.

    The time is in it because a topic that was made anew counts its offsets from 0 again.
    """
    row = row_of(alert.topic, alert.payload)
    time = f"{alert.time:%Y%m%dT%H%M%S.%fZ}" if alert.time else ""
    place = f"{alert.partition}-{alert.offset}"
    return "-".join(part for part in (time, row.uid, row.alert_type, place) if part)


# -- programs --------------------------------------------------------------------------------------


class Program:
    """A command that is run for each alert; for any thread.

    In a session of its own, so that Ctrl-C, which a terminal sends to all it sees, lets it
    finish.

    Parameters
    ----------
    command
        Words as in a shell, but no shell looks at them.
    shell
        True: it is a line for ``/bin/sh``.
    patience
        Seconds that it gets to end after SIGTERM, before SIGKILL.

    Raises
    ------
    click.UsageError
        There is no such program.
    """

    def __init__(self, command: str, shell: bool, patience: float = 3.0) -> None:
        try:
            words = ["/bin/sh", "-c", command] if shell else shlex.split(command)
        except ValueError as error:
            raise click.UsageError(f"--exec: {error} in {command!r}") from error
        if not words or not command.strip():
            raise click.UsageError("--exec: there is no command")
        if shutil.which(words[0]) is None:
            raise click.UsageError(
                f"--exec: there is no program {words[0]!r} that may be run; for a line of shell "
                "add --shell"
            )
        self._words = words
        self._patience = patience
        self._lock = threading.Lock()
        self._ended = False
        self._running: set[subprocess.Popen[bytes]] = set()

    def __call__(self, alert: Alert) -> None:
        """Run it, and wait for its end.

        Raises
        ------
        click.ClickException
            It could not be run, or its exit status is not 0.
        """
        content, _ = content_of(alert)
        environment = {**os.environ, **environment_of(alert)}
        with self._lock:
            if self._ended:  # no further attempt
                raise click.ClickException(f"--exec: ended before the alert in {alert.where}")
            try:
                child = subprocess.Popen(  # noqa: S603  # the user's own
                    self._words, stdin=subprocess.PIPE, env=environment, start_new_session=True
                )
            except (OSError, ValueError) as error:
                raise click.ClickException(
                    f"--exec: {self._words[0]} cannot be run for the alert in {alert.where}: "
                    f"{error}"
                ) from error
            self._running.add(child)
        try:
            child.communicate(content)
        except BaseException:
            _terminate([child], self._patience)
            raise
        finally:
            with self._lock:
                self._running.discard(child)
        if child.returncode:
            ended = _ended(child.returncode)
            raise click.ClickException(
                f"--exec: {self._words[0]} {ended} for the alert in {alert.where}"
            )

    def end(self) -> None:
        """End what still runs, after a second Ctrl-C, and run nothing more."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        _terminate(running, self._patience)


def _terminate(children: Collection[subprocess.Popen[bytes]], patience: float) -> None:
    """End programs and what they have started: the next start runs them anew."""
    for child in children:
        _signal(child, signal.SIGTERM)
    until = time.monotonic() + patience
    try:
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, until - time.monotonic()))
    finally:
        for child in children:
            if child.poll() is None:
                _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _ended(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def environment_of(alert: Alert) -> Mapping[str, str]:
    """Return what a program is told of an alert beside its payload."""
    row = row_of(alert.topic, alert.payload)
    told = {
        "TOPIC": alert.topic,
        "FULL_NAME": alert.full_name,
        "PARTITION": alert.partition,
        "OFFSET": alert.offset,
        "TIME": alert.time and alert.time.isoformat(timespec="milliseconds"),
        "ID": alert.id,
        "UID": row.uid,
        "SUPEREVENT": row.superevent,
        "TYPE": row.alert_type,
    }
    return {f"ALERT_{name}": "" if value is None else str(value) for name, value in told.items()}


# -- words -----------------------------------------------------------------------------------------


def text_of(alert: Alert, form: str) -> str:
    """Return an alert as it is printed.

    Parameters
    ----------
    alert
        Which.
    form
        "line", "json" for a line of JSON, or "pretty" for the same, indented.
    """
    if form == "line":
        return line_of(row_of(alert.topic, alert.payload, alert.time))
    return json_of(alert, indent=2 if form == "pretty" else None)


def line_of(row: Row) -> str:
    """Return a readable line."""
    when = f"{row.time:%Y-%m-%dT%H:%M:%SZ}" if row.time else ""
    return (
        f"{when:20}  {row.topic:17}  {row.superevent or row.uid:10}  {row.alert:34}  "
        f"{far_text(row.far):14}  {row.instruments:8}  {row.labels}"
    ).rstrip()
