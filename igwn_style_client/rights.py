"""What a credential may do, as the broker says."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from hop.auth import Auth

from .errors import StreamError, from_kafka, is_transient
from .topics import admin_settings

__all__ = ["may_join", "may_read"]

_AGAIN_SECONDS = 0.2
_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,  # what may not be seen does not exist for us
}


def may_read(
    brokers: Sequence[str],
    auth: Auth | None,
    topics: Collection[str],
    timeout: float,
    options: Mapping[str, Any] | None = None,
) -> dict[str, bool]:
    """Return whether topics, by their full names, may be read.

    Raises
    ------
    StreamError
        The broker did not tell in `timeout` seconds.
    """
    if not topics:
        return {}
    admin = _admin(brokers, auth, options)  # a name: without one nobody answers
    asked = admin.describe_topics(
        TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=timeout
    )
    where = ", ".join(brokers)
    return {topic: _allowed(answer, f"{where}: {topic}") for topic, answer in asked.items()}


def may_join(
    brokers: Sequence[str],
    auth: Auth | None,
    consumer_group: str,
    timeout: float,
    options: Mapping[str, Any] | None = None,
) -> bool:
    """Return whether a consumer group may be joined, and its marks be kept.

    Raises
    ------
    StreamError
        The broker did not tell in `timeout` seconds.
    """
    admin = _admin(brokers, auth, options)
    end = time.monotonic() + timeout
    while True:
        asked = admin.describe_consumer_groups(
            [consumer_group], include_authorized_operations=True, request_timeout=timeout
        )
        try:
            return _allowed(asked[consumer_group], f"{', '.join(brokers)}: {consumer_group}")
        except StreamError as error:  # a broker that loads its groups says so, and to come again
            passing = error.error is not None and is_transient(error.error)
            if not passing or time.monotonic() > end:
                raise
            time.sleep(_AGAIN_SECONDS)


def _admin(brokers: Sequence[str], auth: Auth | None, options: Mapping[str, Any] | None) -> Any:
    return AdminClient(admin_settings(brokers, auth, options or {}))


def _allowed(answer: Future[Any], what: str) -> bool:
    try:
        operations = answer.result().authorized_operations
    except KafkaException as error:
        if error.args[0].code() in _REFUSED:
            return False
        raise from_kafka(error.args[0], what) from error
    return operations is None or any(one.name == "READ" for one in operations)
