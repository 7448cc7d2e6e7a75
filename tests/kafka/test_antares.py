"""ANTARES' clients on a real Kafka, over TLS and with a key and a secret."""

import logging
import time

import pytest

from igwn_style_client import AuthenticationError, AuthorizationError, BrokerUnreachable
from igwn_style_client.antares import Client
from tests.receiving import (
    CommandLine,
    Readme,
    Receiving,
    command,
    connect,
    locus,
    packed,
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
def broker(kafka):
    return kafka


@pytest.fixture
def access(kafka):
    return access_to(kafka)


def access_to(kafka):
    return {
        "host": kafka.sasl_bootstrap,
        "api_key": "antares",
        "api_secret": kafka.users["antares"],
        "ssl_ca_location": str(kafka.ca),
        # A killed member is missed soon.
        "options": {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500},
    }


class TestReceiving(Receiving):
    pass


class TestReadme(Readme):
    pass


class TestCommandLine(CommandLine):
    pass


def test_a_broker_that_restarts_is_waited_for(broker_of_my_own, group, caplog, capfd):
    """What librdkafka says of lost connections is for those who look for it."""
    kafka = broker_of_my_own
    kafka.create_topics("client.extragalactic")
    kafka.produce("client.extragalactic", packed(locus(0)))
    with Client(["extragalactic"], **access_to(kafka), group=group, set_aside=False) as client:
        assert client.poll(60) == ("extragalactic", locus(0))
        kafka.kill()
        assert client.poll(3) == (None, None)
        kafka.start()
        kafka.produce("client.extragalactic", packed(locus(1)))
        assert client.poll(120) == ("extragalactic", locus(1))
    told = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    assert not any("rdkafka" in line or "Disconnected" in line for line in told)
    output = capfd.readouterr()
    assert "Disconnected" not in output.out + output.err


class TestRefusals:
    @pytest.mark.parametrize("wrong", [{"api_key": "antaras"}, {"api_secret": "not-the-secret"}])
    def test_a_wrong_key_or_secret(self, connect, stream, wrong, caplog):
        begun = time.monotonic()
        with connect([stream], **wrong) as client, pytest.raises(AuthenticationError) as caught:
            client.poll()
        assert time.monotonic() - begun < 10
        with connect([stream], **wrong) as client, pytest.raises(AuthenticationError):
            client.get_topics()
        with connect([stream], **wrong) as client, pytest.raises(AuthenticationError):
            client.listen(lambda topic, payload: None)
        assert "refused the login of ANTARES' key and secret" in str(caught.value)
        shown = f"{caught.value!r} {caplog.text}"
        assert not any(one in shown for one in ("antaras", "not-the-secret"))

    def test_an_authority_that_is_not_trusted(self, access, stream):
        given = {**access, "ssl_ca_location": None}
        begun = time.monotonic()
        with (
            Client([stream], **given) as client,
            pytest.raises(BrokerUnreachable, match="give the file of its CA as ssl_ca_location"),
        ):
            client.poll()
        assert time.monotonic() - begun < 15

    def test_the_host_name_is_verified(self, access, kafka, stream):
        given = {**access, "host": kafka.elsewhere_url}
        with (
            Client([stream], **given) as client,
            pytest.raises(BrokerUnreachable, match="is for another host name"),
        ):
            client.poll()

    def test_a_stream_that_may_not_be_read(self, connect, kafka, stream, send):
        send(f"client.{stream}", locus(1))
        kafka.acl("astronomer", "read", topic=f"client.{stream}")
        try:
            with connect([stream]) as client, pytest.raises(AuthorizationError, match=stream):
                client.poll(60)
        finally:
            kafka.remove_acls(topic=f"client.{stream}")
