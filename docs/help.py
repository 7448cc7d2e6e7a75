"""Write what the commands say of themselves into the page that lists them: ``python docs/help.py``.

A test looks whether that has been done.
"""

import re
from pathlib import Path

import click
from click.testing import CliRunner

from igwn_style_client.cli import main

PAGE = Path(__file__).with_name("cli.rst")

_BLOCK = re.compile(
    r"^   \$ igwn-style-client(?P<command>.*) --help\n(?:(?:   .*)?\n)+", re.MULTILINE
)


def commands(group: click.Group = main, name: str = "") -> list[str]:
    """Return every command as it is typed, beginning with the group itself."""
    found = [name]
    for one, command in group.commands.items():
        path = f"{name} {one}".strip()
        found += commands(command, path) if isinstance(command, click.Group) else [path]
    return found


def help_of(command: str) -> str:
    """Return what a command says with ``--help``, in 80 columns."""
    return CliRunner().invoke(main, [*command.split(), "--help"], terminal_width=80).output


def renewed(page: str) -> str:
    """Return the page with each block of help as it is now."""

    def block(found: re.Match[str]) -> str:
        lines = help_of(found["command"]).rstrip().splitlines()
        text = "\n".join(f"   {line}".rstrip() for line in lines)
        return f"   $ igwn-style-client{found['command']} --help\n{text}\n\n"

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
