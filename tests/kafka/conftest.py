"""Fixtures of the tests that need a real Apache Kafka."""

import os
import secrets
from pathlib import Path

import pytest

from tests.kafka.server import KafkaServer, KafkaUnavailable, fetch

HERE = Path(__file__).parent
# conftest.CACHE of the root, by its variable: to import it a second time would move HOME again.
CACHE = Path(os.environ["XDG_CACHE_HOME"]) / "igwn-style-client"

_reason = pytest.StashKey[str]()


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("kafka")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(360))  # the first test may download Kafka


def pytest_terminal_summary(terminalreporter, config):
    if reason := config.stash.get(_reason, None):
        terminalreporter.section("real Apache Kafka", red=True, bold=True)
        terminalreporter.line(f"REAL KAFKA TESTS DID NOT RUN: {reason}", red=True, bold=True)


@pytest.fixture(scope="session")
def kafka_jars(request):
    """The folder of Kafka's jars; skips without Java or Maven, or fails if REQUIRE_KAFKA=1."""
    try:
        return fetch(CACHE)
    except KafkaUnavailable as error:
        reason = str(error)
    request.config.stash[_reason] = reason
    if os.environ.get("REQUIRE_KAFKA") == "1":
        pytest.fail(f"REQUIRE_KAFKA=1, and no Kafka can run: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka(kafka_jars, tmp_path_factory):
    """One started KafkaServer for all tests: use topics under `group`, and leave it running."""
    with KafkaServer(kafka_jars, tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
def broker_of_my_own(kafka_jars, tmp_path_factory):
    """A started KafkaServer for one test, which may kill, freeze or restart it."""
    with KafkaServer(kafka_jars, tmp_path_factory.mktemp("own-kafka")) as server:
        yield server


@pytest.fixture
def group():
    """A name that no other test has, for topics ("<group>.superevent") and consumer groups."""
    return f"g{secrets.token_hex(4)}"
