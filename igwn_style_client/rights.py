"""What a credential may do, as the broker says."""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from .errors import BrokerUnreachable, from_kafka, is_transient
from .inquiry import Inquiry

__all__ = ["hidden", "may_join", "may_read"]

_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,  # what may not be seen does not exist for us
}
_AGAIN_SECONDS = 0.2


def may_read(inquiry: Inquiry, topics: Collection[str], timeout: float) -> dict[str, bool | None]:
    """Return whether topics, by their full names, may be read; None where the broker is silent.

    Raises
    ------
    StreamError
        No answer in `timeout` seconds.
    """
    if not topics:
        return {}
    end = time.monotonic() + timeout
    asked = inquiry.topics(topics, rights=True)
    try:
        return {topic: _may(answer, end, inquiry) for topic, answer in asked.items()}
    except KafkaException as error:
        raise from_kafka(error.args[0], inquiry.where) from error


def may_join(inquiry: Inquiry, consumer_group: str, timeout: float) -> bool | None:
    """Return whether a consumer group may be joined; None where the broker is silent about it.

    Raises
    ------
    StreamError
        No answer in `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            return _may(inquiry.group(consumer_group), end, inquiry)
        except KafkaException as error:
            # A broker that loads its groups says so, and to come again.
            if not is_transient(error.args[0]) or time.monotonic() > end:
                raise from_kafka(error.args[0], inquiry.where) from error
            time.sleep(_AGAIN_SECONDS)


def hidden(inquiry: Inquiry, topics: Collection[str], timeout: float) -> list[str]:
    """Return those of the topics that the broker does not let us see.

    A broker that allows nothing by default says so also of topics that do not exist.
    """
    end = time.monotonic() + timeout
    return [topic for topic, answer in inquiry.topics(topics).items() if _is_refused(answer, end)]


def _is_refused(answer: Future[Any], end: float) -> bool:
    try:
        answer.result(max(0.0, end - time.monotonic()))
    except KafkaException as error:
        code: int = error.args[0].code()
        return code == KafkaError.TOPIC_AUTHORIZATION_FAILED
    except NoAnswer:
        pass
    return False


def _may(answer: Future[Any], end: float, inquiry: Inquiry) -> bool | None:
    try:
        allowed = answer.result(max(0.0, end - time.monotonic())).authorized_operations
    except NoAnswer:
        raise BrokerUnreachable(f"{inquiry.where} does not answer that question") from None
    except KafkaException as error:
        if error.args[0].code() in _REFUSED:
            return False
        raise
    # By name: the enumeration itself is no public part of confluent_kafka.
    return None if allowed is None else any(one.name == "READ" for one in allowed)
