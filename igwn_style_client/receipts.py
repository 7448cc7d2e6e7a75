"""What became of an alert: where the broker has put it, or that this is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from .errors import StreamError, from_kafka

__all__ = ["Receipt", "Unconfirmed", "receipts_for"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the broker has put an alert.

    Attributes
    ----------
    topic
        Short name.
    partition, offset
        Its place on the broker.
    time
        The broker's time of the alert, in UTC.
    """

    topic: str
    partition: int
    offset: int
    time: datetime

    @classmethod
    def of(cls, message: Any, topic: str) -> Receipt:
        """Make one from Kafka's report of the delivery."""
        _, milliseconds = message.timestamp()
        when = _EPOCH + timedelta(milliseconds=milliseconds)
        return cls(topic, message.partition(), message.offset(), when)


class Unconfirmed(tuple[str, Any]):
    """An alert that the broker has not confirmed: the pair ``(topic, msg)``, to send it again.

    Attributes
    ----------
    given : mapping
        The ``headers``, ``key`` and ``test`` that it was handed over with, those that were.
    """

    given: Mapping[str, Any] = MappingProxyType({})

    @property
    def topic(self) -> str:
        """The full name."""
        return self[0]

    @property
    def msg(self) -> Any:
        """The message, the very object that was handed over."""
        return self[1]


def receipts_for(
    topic: str, on_delivery: Callable[[StreamError | None, Receipt | None], object]
) -> Callable[[Any, Any], None]:
    """Return a delivery callback of `Session.write` that calls ``on_delivery(error, receipt)``.

    One of the two is None.  `topic` is the short name.
    """

    def report(error: Any, message: Any) -> None:
        if error is None:
            on_delivery(None, Receipt.of(message, topic))
        else:
            on_delivery(from_kafka(error, f'an alert for "{topic}" was not confirmed'), None)

    return report
