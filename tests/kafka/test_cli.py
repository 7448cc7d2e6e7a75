"""The commands on a real Kafka."""

import pytest

from tests.commands import Commands, cli

__all__ = ["TestCommands", "broker", "cli"]


@pytest.fixture
def broker(kafka):
    return kafka


class TestCommands(Commands):
    pass
