"""Everything this package raises on purpose, and what foreign errors become.

::

    ClientError
    ├── CredentialError         also a RuntimeError
    │   └── CredentialFileMissing   also a FileNotFoundError
    ├── StreamError             also an adc.errors.KafkaException
    │   ├── BrokerUnreachable
    │   ├── AuthenticationError
    │   ├── AuthorizationError
    │   ├── SettingsRefused     also a ValueError
    │   └── TopicNotFound
    ├── PublishError
    ├── NotConnected            also a RuntimeError
    ├── DecodeError
    ├── ThumbnailError
    └── ArchiveError
        └── ArchiveFull

The second bases are those that programs written for igwn_alert catch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adc.errors import KafkaException
from confluent_kafka import KafkaError

__all__ = [
    "ArchiveError",
    "ArchiveFull",
    "AuthenticationError",
    "AuthorizationError",
    "BrokerUnreachable",
    "ClientError",
    "CredentialError",
    "CredentialFileMissing",
    "DecodeError",
    "NotConnected",
    "PublishError",
    "SettingsRefused",
    "StreamError",
    "ThumbnailError",
    "TopicNotFound",
    "from_kafka",
    "is_given_up",
    "is_too_large",
    "is_transient",
    "kind_of",
    "passes",
]


class ClientError(Exception):
    """Any error of this package."""


class CredentialError(ClientError, RuntimeError):
    """No, an unsafe, half or ambiguous credential."""


class CredentialFileMissing(CredentialError, FileNotFoundError):
    """The credential file that was named does not exist."""

    def __new__(cls, *args: object) -> CredentialFileMissing:
        """Make one as FileNotFoundError does: RuntimeError, which stands first, cannot."""
        return FileNotFoundError.__new__(cls, *args)


class StreamError(ClientError, KafkaException):  # type: ignore[misc]  # adc has no types
    """The connection to the broker cannot go on.

    Parameters
    ----------
    message
        What happened, where, and what to do.
    error
        Kafka's own error, where there is one.

    Attributes
    ----------
    error, name, reason, retriable, fatal
        As `adc.errors.KafkaException` has them.
    """

    def __init__(self, message: str, error: KafkaError | None = None) -> None:
        # adc's own __init__ writes a text of its own, so that Exception's is called instead.
        Exception.__init__(self, message)
        self.error = error
        self.name = error.name() if error else type(self).__name__
        self.reason = error.str() if error else message
        self.retriable = error.retriable() if error else False
        self.fatal = error.fatal() if error else True
        self.message = None


class BrokerUnreachable(StreamError):
    """No broker answered."""


class AuthenticationError(StreamError):
    """The broker refused the credential."""


class AuthorizationError(StreamError):
    """The credential is good, but does not allow this topic or consumer group."""


class SettingsRefused(StreamError, ValueError):
    """librdkafka does not take the `options`."""


class TopicNotFound(StreamError):
    """None of the wanted topics exists."""


class PublishError(ClientError):
    """Alerts that the broker has not confirmed.

    Attributes
    ----------
    unconfirmed : list of Unconfirmed
        The ``(topic, msg)`` pairs, as they were handed over, to store or to send again.
    """

    def __init__(self, message: str, unconfirmed: Sequence[tuple[str, Any]] = ()) -> None:
        super().__init__(message)
        self.unconfirmed = list(unconfirmed)


class NotConnected(ClientError, RuntimeError):
    """Publishing to a topic that was not connected."""


class ArchiveError(ClientError):
    """An archive cannot be read or written; what was to be stored is not stored."""


class ArchiveFull(ArchiveError):
    """Neither the ceiling nor the disk leaves room for another alert."""


class ThumbnailError(ClientError):
    """Images of an alert that could not be had.

    Attributes
    ----------
    thumbnails : dict
        Those that could, as `igwn_style_client.antares.get_thumbnails` returns them.
    """

    def __init__(
        self, message: str, thumbnails: Mapping[str, dict[str, Any]] | None = None
    ) -> None:
        super().__init__(message)
        self.thumbnails = dict(thumbnails or {})


class DecodeError(ClientError):
    """A message whose payload cannot be read as what it says it is.

    Parameters
    ----------
    format
        The format that was declared, or assumed.
    reason
        Why it is not that.
    where
        The message, as "topic, partition and offset".
    """

    def __init__(self, format: str, reason: str, where: str = "") -> None:
        # It quotes what others sent, which is to move no cursor and to break no line of a log.
        reason = "".join(one if one.isprintable() else repr(one)[1:-1] for one in reason)
        super().__init__(format, reason, where)
        self.format = format
        self.reason = reason
        self.where = where

    def at(self, where: str) -> DecodeError:
        """Return the same error of a message that is known by now; this one is its cause."""
        error = DecodeError(self.format, self.reason, where)
        error.__cause__ = self
        return error

    def __str__(self) -> str:
        """Say which format, why, and where."""
        where = f" in {self.where}" if self.where else ""
        return f"the message{where} cannot be read as {self.format}: {self.reason}"


_UNREACHABLE = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._SSL,
    KafkaError._MSG_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.REQUEST_TIMED_OUT,
}
_AUTHENTICATION = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.ILLEGAL_SASL_STATE,
}
_AUTHORIZATION = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_NO_TOPIC = {
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_EXCEPTION,
}
_TABLE: list[tuple[set[int], type[StreamError]]] = [
    (_UNREACHABLE, BrokerUnreachable),
    (_AUTHENTICATION, AuthenticationError),
    (_AUTHORIZATION, AuthorizationError),
    (_NO_TOPIC, TopicNotFound),
]
# What a broker that restarts, moves a leader or loads its groups answers; librdkafka tries again.
_TRANSIENT = _UNREACHABLE | {
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError._WAIT_COORD,
    KafkaError._PARTITION_EOF,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
}


def is_transient(error: KafkaError) -> bool:
    """Whether an error passes by itself, so that reading simply goes on."""
    return error.code() in _TRANSIENT and not error.fatal()


def passes(error: Exception) -> bool:
    """Whether what confluent_kafka or adc has raised passes by itself."""
    cause = error.error if isinstance(error, KafkaException) else next(iter(error.args), None)
    return isinstance(cause, KafkaError) and is_transient(cause)


def is_too_large(error: KafkaError) -> bool:
    """Whether the broker, or librdkafka, found a message too large."""
    return error.code() == KafkaError.MSG_SIZE_TOO_LARGE


def is_given_up(error: KafkaError) -> bool:
    """Whether librdkafka has given up a producer, or what was queued in it."""
    return error.code() in (KafkaError._FATAL, KafkaError._PURGE_QUEUE)


def from_kafka(error: KafkaError, context: str) -> StreamError:
    """Translate Kafka's error into ours: the only place that does.

    Parameters
    ----------
    error
        As confluent_kafka reports it.
    context
        What was tried and where, to begin the sentence with.
    """
    return kind_of(error)(f"{context}: {error.str()} ({error.name()})", error)


def kind_of(error: KafkaError) -> type[StreamError]:
    """Return which of our errors Kafka's error is."""
    code = error.code()
    return next((ours for codes, ours in _TABLE if code in codes), StreamError)
