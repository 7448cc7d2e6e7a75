"""The commands on the embedded broker."""

from tests.commands import Commands, cli

__all__ = ["TestCommands", "cli"]


class TestCommands(Commands):
    pass
