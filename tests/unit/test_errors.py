"""The error tree, and what Kafka's errors become."""

import copy
import pickle

import pytest
from adc.errors import KafkaException
from confluent_kafka import KafkaError

from igwn_style_client import errors
from igwn_style_client.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerUnreachable,
    ClientError,
    CredentialError,
    CredentialFileMissing,
    DecodeError,
    NotConnected,
    PublishError,
    SettingsRefused,
    StreamError,
    TopicNotFound,
    from_kafka,
    is_transient,
)

CODES = {
    name: code
    for name in dir(KafkaError)
    if name.lstrip("_").isupper() and isinstance(code := getattr(KafkaError, name), int)
}
# More than today's client knows of: brokers of tomorrow, and numbers that nobody gave out.
NUMBERS = sorted({*CODES.values(), *range(-250, 250), 9999, -9999})


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (CredentialError, (ClientError, RuntimeError)),
        (CredentialFileMissing, (CredentialError, FileNotFoundError, RuntimeError)),
        (StreamError, (ClientError, KafkaException)),
        (BrokerUnreachable, (StreamError, KafkaException)),
        (AuthenticationError, (StreamError, KafkaException)),
        (AuthorizationError, (StreamError, KafkaException)),
        (SettingsRefused, (StreamError, KafkaException, ValueError)),
        (TopicNotFound, (StreamError, KafkaException)),
        (PublishError, (ClientError,)),
        (NotConnected, (ClientError, RuntimeError)),
        (DecodeError, (ClientError,)),
    ],
)
def test_the_tree(kind, bases):
    for base in bases:
        assert issubclass(kind, base)


@pytest.mark.parametrize("kind", [PublishError, DecodeError])
def test_errors_that_are_not_a_lost_connection(kind):
    assert not issubclass(kind, (StreamError, RuntimeError, KafkaException))


def test_every_error_of_the_room_is_a_client_error():
    kinds = [one for one in vars(errors).values() if isinstance(one, type)]
    own = [one for one in kinds if one.__module__ == errors.__name__]
    assert len(own) >= 10
    assert [one for one in own if not issubclass(one, ClientError)] == []


# Kafka's errors


@pytest.mark.parametrize("code", NUMBERS)
def test_every_code_has_a_translation(code):
    kafka = KafkaError(code)
    error = from_kafka(kafka, 'reading "gracedb.superevent"')
    assert isinstance(error, StreamError)
    assert str(error).startswith('reading "gracedb.superevent": ')
    assert kafka.name() in str(error)
    assert error.error is kafka
    assert (error.name, error.reason) == (kafka.name(), kafka.str())
    assert (error.retriable, error.fatal) == (kafka.retriable(), kafka.fatal())
    assert is_transient(kafka) in (True, False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("_TRANSPORT", BrokerUnreachable),
        ("_ALL_BROKERS_DOWN", BrokerUnreachable),
        ("_RESOLVE", BrokerUnreachable),
        ("_TIMED_OUT", BrokerUnreachable),
        ("_SSL", BrokerUnreachable),
        ("NETWORK_EXCEPTION", BrokerUnreachable),
        ("REQUEST_TIMED_OUT", BrokerUnreachable),
        ("_AUTHENTICATION", AuthenticationError),
        ("SASL_AUTHENTICATION_FAILED", AuthenticationError),
        ("UNSUPPORTED_SASL_MECHANISM", AuthenticationError),
        ("ILLEGAL_SASL_STATE", AuthenticationError),
        ("TOPIC_AUTHORIZATION_FAILED", AuthorizationError),
        ("GROUP_AUTHORIZATION_FAILED", AuthorizationError),
        ("CLUSTER_AUTHORIZATION_FAILED", AuthorizationError),
        ("UNKNOWN_TOPIC_OR_PART", TopicNotFound),
        ("_UNKNOWN_TOPIC", TopicNotFound),
        ("_UNKNOWN_PARTITION", TopicNotFound),
        ("TOPIC_EXCEPTION", TopicNotFound),
        ("MSG_SIZE_TOO_LARGE", StreamError),
        ("_FAIL", StreamError),
        ("UNKNOWN", StreamError),
    ],
)
def test_the_table(name, kind):
    assert type(from_kafka(KafkaError(CODES[name]), "")) is kind


@pytest.mark.parametrize(
    "name",
    [
        "_TRANSPORT",  # the broker restarts
        "_ALL_BROKERS_DOWN",
        "_RESOLVE",
        "_TIMED_OUT",
        "_MAX_POLL_EXCEEDED",
        "_WAIT_COORD",
        "NETWORK_EXCEPTION",
        "REQUEST_TIMED_OUT",
        "LEADER_NOT_AVAILABLE",  # it moves a leader
        "NOT_LEADER_FOR_PARTITION",
        "NOT_COORDINATOR",  # a fresh one answers so now and then
        "COORDINATOR_NOT_AVAILABLE",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "REBALANCE_IN_PROGRESS",
        "UNKNOWN_MEMBER_ID",
        "ILLEGAL_GENERATION",
    ],
)
def test_what_passes_by_itself(name):
    assert is_transient(KafkaError(CODES[name]))
    assert not is_transient(KafkaError(CODES[name], fatal=True))


@pytest.mark.parametrize(
    "name",
    [
        "_AUTHENTICATION",
        "SASL_AUTHENTICATION_FAILED",
        "TOPIC_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "UNKNOWN_TOPIC_OR_PART",
        "_FATAL",
        "_INVALID_ARG",
        "UNSUPPORTED_VERSION",
        "INCONSISTENT_GROUP_PROTOCOL",
        "UNKNOWN",
    ],
)
def test_what_does_not(name):
    assert not is_transient(KafkaError(CODES[name]))


def test_programs_for_igwn_alert_look_at_the_same_attributes():
    kafka = KafkaError(KafkaError._TRANSPORT, "the wire is cut", fatal=True)
    ours = from_kafka(kafka, "reading failed")
    theirs = KafkaException(kafka)
    for name in ("error", "name", "reason", "retriable", "fatal", "message"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_a_stream_error_without_kafkas():
    error = TopicNotFound('"gracedb.superevnt" does not exist')
    assert str(error) == '"gracedb.superevnt" does not exist'
    assert (error.error, error.name, error.fatal) == (None, "TopicNotFound", True)
    assert error.reason == str(error)
    assert error.retriable is False


# Each error


def test_a_publish_error_keeps_what_was_not_confirmed():
    error = PublishError("2 alerts not confirmed", (("superevent", {"uid": 1}), ("mdc", "x")))
    assert error.unconfirmed == [("superevent", {"uid": 1}), ("mdc", "x")]
    assert str(error) == "2 alerts not confirmed"
    assert PublishError("none").unconfirmed == []


def test_a_decode_error_writes_its_own_sentence():
    error = DecodeError("JSON", "it ends too early")
    assert str(error) == "the message cannot be read as JSON: it ends too early"
    error = DecodeError("avro", "no schema", '"sys.heartbeat", partition 0, offset 9')
    assert str(error) == (
        'the message in "sys.heartbeat", partition 0, offset 9 cannot be read as avro: no schema'
    )
    assert (error.format, error.reason) == ("avro", "no schema")


@pytest.mark.parametrize(
    "error",
    [
        from_kafka(KafkaError(KafkaError._TRANSPORT), "reading failed"),
        TopicNotFound("there is none"),
        PublishError("not confirmed", [("superevent", "x")]),
        DecodeError("JSON", "it ends", "here"),
        CredentialError("half"),
        CredentialFileMissing("there is no credential file 'x'"),
        NotConnected("no"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_errors_travel_between_processes(error, travel):
    back = travel(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.args == error.args
    theirs = {name: value for name, value in vars(back).items() if name != "error"}
    assert theirs == {name: value for name, value in vars(error).items() if name != "error"}


def test_what_utf8_cannot_hold_does_not_reach_a_log():
    error = DecodeError("external", "nothing at http://\ud800/")
    assert str(error) == "the message cannot be read as external: nothing at http://\\ud800/"
    assert error.reason.encode()


def test_what_others_sent_moves_no_cursor():
    error = DecodeError("json", "\x1b[2J\x9b\n\ud800 é \u202e")
    assert error.reason == r"\x1b[2J\x9b\n\ud800 é \u202e"
