"""Listening and publishing on a real Kafka."""

import pytest

from tests.listening import Listening, Publishing, connect, told

__all__ = ["TestListening", "TestPublishing", "broker", "connect", "told"]


@pytest.fixture
def broker(kafka):
    return kafka


class TestListening(Listening):
    pass


class TestPublishing(Publishing):
    pass
