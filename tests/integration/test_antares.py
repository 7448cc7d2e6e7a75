"""ANTARES' clients on the embedded broker."""

import pytest

from tests.receiving import (
    CommandLine,
    Readme,
    Receiving,
    command,
    connect,
    quick_command,
    run_example,
    send,
    stream,
)

__all__ = [
    "TestCommandLine",
    "TestReadme",
    "TestReceiving",
    "command",
    "connect",
    "quick_command",
    "run_example",
    "send",
    "stream",
]


@pytest.fixture
def access(broker):
    host = broker.url.split("/")[2]
    return {"host": host, "noauth": True, "options": broker.options}


class TestReceiving(Receiving):
    pass


class TestReadme(Readme):
    pass


class TestCommandLine(CommandLine):
    pass
