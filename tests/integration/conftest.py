"""The embedded broker, for the tests of this folder."""

import secrets

import pytest

from igwn_style_client import EmbeddedBroker


class Broker(EmbeddedBroker):
    """The embedded broker, with the signature that the real Kafka's fixture has."""

    def create_topics(self, *names):
        super().create_topics(names)


@pytest.fixture
def broker():
    with Broker() as broker:
        yield broker


@pytest.fixture
def group():
    """A name that no other test has, for topics and consumer groups."""
    return f"g{secrets.token_hex(4)}"
