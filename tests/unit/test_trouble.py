"""Which of our errors librdkafka's events are, in the words of librdkafka 2.16."""

import socket
import time
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError
from hop.auth import Auth, SASLMethod

from igwn_style_client import (
    AuthenticationError,
    AuthorizationError,
    BrokerUnreachable,
    CredentialError,
    SettingsRefused,
    StreamError,
    TopicNotFound,
)
from igwn_style_client.trouble import Trouble

SECRET = "pw-5e6f"
BROKER = "no-such-host.invalid:9092"
LOGIN = 'user "astronomer" by PLAIN, from auth='


def trouble(broker=BROKER, method=None, ssl=True, **more):
    auth = Auth("astronomer", SECRET, method=SASLMethod[method], ssl=ssl) if method else None
    return Trouble([broker], auth, LOGIN if method else "", **more)


def event(name, text, broker=BROKER, scheme="", state="CONNECT"):
    text = f"{scheme}{broker}/bootstrap: {text} (after 3ms in state {state})"
    return KafkaError(getattr(KafkaError, name), text)


@contextmanager
def silent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "SASL authentication error: Authentication failed: Invalid username or password",
            "the user name, the password or the mechanism is wrong",
        ),
        (
            "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's "
            "supported mechanisms: SCRAM-SHA-512,OAUTHBEARER",
            "it does not take PLAIN; it offers SCRAM-SHA-512, OAUTHBEARER",
        ),
        (
            "SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL "
            "state: broker's supported mechanisms: ",
            "it takes no login on this port",
        ),
    ],
)
def test_a_refused_login(text, says):
    told = trouble(method="PLAIN")
    told.note(event("_AUTHENTICATION", text, scheme="sasl_ssl://", state="AUTH_REQ"))
    error = told.conclusion()
    assert type(error) is AuthenticationError
    assert str(error).startswith(f"{BROKER} refused the login of {LOGIN}: {says}")
    assert error.error.code() == KafkaError._AUTHENTICATION


def test_a_secret_is_not_masked_in_words_of_ours():
    """A password "wrong" would show in the gap that it leaves."""
    told = Trouble(["host:9092"], Auth("astronomer", "wrong"))
    told.note(event("_AUTHENTICATION", "SASL authentication error: refused"))
    assert "the password or the mechanism is wrong" in str(told.conclusion())


def test_a_secret_in_what_others_say_is_masked():
    told = trouble(method="PLAIN")
    told.note(event("_AUTHENTICATION", f"SASL authentication error: {SECRET} is wrong"))
    assert SECRET not in str(told.conclusion())


def test_a_refusal_counts_until_something_newer_is_known():
    told = trouble(method="PLAIN")
    told.note(event("_AUTHENTICATION", "SASL authentication error: no"))
    told.begin(60)
    assert told.conclusion() is None
    assert type(told.unreachable()) is AuthenticationError
    told.reached()
    assert type(told.unreachable()) is BrokerUnreachable


def test_a_token_that_cannot_be_renewed_yet_ends_nothing(caplog):
    told = trouble(method="PLAIN")
    told.reached()
    text = "Failed to acquire SASL OAUTHBEARER token: timed out"
    told.note(KafkaError(KafkaError._AUTHENTICATION, text))
    assert told.conclusion() is None
    assert "no token for" in caplog.text
    told.begin()
    told.note(KafkaError(KafkaError._AUTHENTICATION, text))
    assert type(told.conclusion()) is AuthenticationError


def test_a_token_that_ended_before_the_next_one_came_ends_nothing_at_once(monkeypatch, caplog):
    auth = Auth("astronomer", SECRET, method=SASLMethod.OAUTHBEARER, token_command="true")
    told = Trouble([BROKER], auth, LOGIN)
    refused = event("_AUTHENTICATION", 'SASL authentication error: {"status":"invalid_token"}')
    told.reached()
    for _ in range(3):
        told.note(refused)
    assert told.conclusion() is None
    assert caplog.text.count("it does not accept the token") == 1
    assert type(told.unreachable()) is AuthenticationError
    told.reached()  # with the next one
    assert type(told.unreachable()) is BrokerUnreachable
    told.note(refused)
    later = time.monotonic() + 80
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert type(told.conclusion()) is AuthenticationError
    told.begin()
    told.note(refused)  # and where none was ever good
    assert type(told.conclusion()) is AuthenticationError


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "_TRANSPORT",
            "Connect to ipv4#192.0.2.1:9092 failed: Connection refused",
            "the port is closed (Connection refused)",
        ),
        (
            "_TRANSPORT",
            "Connect to ipv4#192.0.2.1:9092 failed: No route to host",
            "the port cannot be reached (No route to host)",
        ),
        (
            "_RESOLVE",
            f"Failed to resolve '{BROKER}': Name or service not known",
            "the name cannot be resolved (Name or service not known)",
        ),
    ],
)
@pytest.mark.parametrize("repeated", ["", ", 3 identical error(s) suppressed"])
def test_what_passes_is_waited_for(name, text, says, repeated):
    told = trouble()
    told.begin(60)
    told.note(event(name, text, state=f"CONNECT{repeated}"))
    told.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert told.conclusion() is None
    told.expect(0)
    error = told.conclusion()
    assert type(error) is BrokerUnreachable
    assert str(error).startswith(f"no answer from {BROKER}: {says}")
    told.reached()
    assert told.conclusion() is None


def test_each_of_several_brokers_has_its_reason():
    told = Trouble(["a.invalid:9092", "[2001:db8::1]:9092"], None)
    for broker, text in [
        ("a.invalid:9092", "Connect to ipv4#192.0.2.1:9092 failed: Connection refused"),
        ("[2001:db8::1]:9092", "Connect to ipv6#[2001:db8::1]:9092 failed: No route to host"),
        ("named-by-a.invalid:9093", "Connect to ipv4#192.0.2.2:9093 failed: Connection refused"),
    ]:
        told.note(event("_TRANSPORT", text, broker=broker))
    text = str(told.unreachable())
    assert "a.invalid:9092: the port is closed" in text
    assert "[2001:db8::1]:9092: the port cannot be reached (No route to host)" in text
    assert "named-by-a.invalid:9093: the port is closed" in text


@pytest.mark.parametrize("method", [None, "PLAIN"])
def test_what_is_silent_is_looked_at(method):
    with silent() as broker:
        told = trouble(broker, method)
        told.expect(0)
        error = told.conclusion()
    assert type(error) is BrokerUnreachable
    assert "it accepts connections and never answers" in str(error)


@pytest.mark.parametrize(
    ("options", "looked_at"),
    [
        ({}, True),
        ({"ssl.endpoint.identification.algorithm": "https"}, True),
        ({"ssl.endpoint.identification.algorithm": "none"}, False),
        ({"enable.ssl.certificate.verification": False}, False),
    ],
)
def test_a_certificate_that_is_not_verified_is_not_to_blame(options, looked_at):
    given = {"security.protocol": "SSL", "ssl.ca.location": "/nowhere.pem", **options}
    with silent() as broker:
        told = trouble(broker, options=given)
        told.expect(0)
        assert ("/nowhere.pem" in str(told.conclusion())) is looked_at


def test_rights():
    denied = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    error = trouble(method="PLAIN").not_allowed(denied, 'read "gracedb.superevent"')
    assert type(error) is AuthorizationError
    assert str(error).startswith(
        f'not allowed to read "gracedb.superevent" on {BROKER}, as {LOGIN}: ask its owners'
    )
    denied = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
    error = trouble().not_allowed(denied, 'read as consumer group "mine"')
    assert '"mine"' in str(error)
    assert "a session without a login" in str(error)
    assert "begins with the user name" in str(error)
    other = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    assert type(trouble().not_allowed(other, "read")) is TopicNotFound


def test_settings_that_librdkafka_does_not_take():
    error = KafkaError(KafkaError._INVALID_ARG, 'No such configuration property: "a.b"')
    assert type(trouble().settings_refused(error)) is SettingsRefused
    error = KafkaError(KafkaError._INVALID_ARG, "Failed: ssl.ca.location failed: error:0: no")
    assert type(trouble().settings_refused(error)) is SettingsRefused
    no_threads = KafkaError(KafkaError._CRIT_SYS_RESOURCE, "Unable to create thread")
    assert type(trouble().settings_refused(no_threads)) is StreamError
    refused = trouble(options={"ssl.ca.location": "/ca.pem"}).settings_refused(error)
    assert type(refused) is CredentialError
    assert "/ca.pem" in str(refused)
