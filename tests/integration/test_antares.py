"""ANTARES' clients on the embedded broker."""

import pytest

from tests.receiving import Readme, Receiving, connect, run_example, send, stream

__all__ = ["TestReadme", "TestReceiving", "connect", "run_example", "send", "stream"]


@pytest.fixture
def access(broker):
    host = broker.url.split("/")[2]
    return {"host": host, "noauth": True, "options": broker.options}


class TestReceiving(Receiving):
    pass


class TestReadme(Readme):
    pass
