"""Listening and publishing on the embedded broker."""

from tests.listening import Listening, Publishing, connect, told

__all__ = ["TestListening", "TestPublishing", "connect", "told"]


class TestListening(Listening):
    pass


class TestPublishing(Publishing):
    pass
