"""librdkafka's settings: which the user may not touch, which side reads which, where it logs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from .errors import SettingsRefused

__all__ = ["LOGGER", "REFUSED", "options_for", "refuse", "settle_seconds", "stall_seconds"]

# Whoever sets these takes the promise out of our hands.
REFUSED = frozenset(
    {
        "auto.commit.interval.ms",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "error_cb",
        "group.id",
        "logger",
        "metadata.broker.list",
        "oauth_cb",
        "partition.assignment.strategy",
    }
)

# Ours, which librdkafka never sees.
_OURS = frozenset({"stall.seconds"})
# What it does not know.
_UNKNOWN = "igwn-style-client"

# By how they begin: settings that librdkafka warns of where it does not use them.
_OF_ONE_SIDE = {
    "producer": ("acks", "batch.", "compression.", "delivery.", "linger.", "message.timeout",
                 "on_delivery", "queue.buffering.", "request.required.", "request.timeout",
                 "sticky.", "transaction"),
    "consumer": ("check.crcs", "coordinator.", "enable.partition.eof", "fetch.", "group.",
                 "heartbeat.", "isolation.", "max.partition.", "max.poll.", "offset.",
                 "on_commit", "queued.", "session.", "stall."),
}  # fmt: skip


def refuse(options: Mapping[str, Any]) -> None:
    """Raise a ValueError if the user sets what only we may, or what cannot be.

    librdkafka is asked for each, and then for one that it does not know, so that it opens nothing.
    What does not go together it tells only when it connects.
    """
    refused = sorted(REFUSED & options.keys())
    if refused:
        raise ValueError(
            f"options: {', '.join(refused)} cannot be set: the client needs its own to keep "
            "its promises"
        )
    stall_seconds(options)
    for name, value in options.items():
        if name in _OURS:
            continue
        one = {name: value}
        try:
            if options_for("consumer", one):
                Consumer({"group.id": "", **one, _UNKNOWN: ""})
            else:
                Producer({**one, _UNKNOWN: ""})
        except KafkaException as error:
            [reason] = error.args
            if f'No such configuration property: "{_UNKNOWN}"' not in reason.str():
                raise SettingsRefused(
                    f'options: librdkafka does not take "{name}": {reason.str().strip()}', reason
                ) from error


def options_for(side: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of librdkafka for one side: "consumer", "producer" or "admin"."""
    others = [start for of, starts in _OF_ONE_SIDE.items() if of != side for start in starts]
    return {name: one for name, one in options.items() if not str(name).startswith(tuple(others))}


def settle_seconds(options: Mapping[str, Any]) -> float:
    """Return how long a partition that is taken away may wait for its running callbacks.

    Less than the session of 45 s for which Kafka holds up the group's other members, and less than
    `max.poll.interval.ms`, after which it throws out a member that has not answered.
    """
    try:
        return min(30.0, float(options.get("max.poll.interval.ms", 300_000)) / 2000)
    except (TypeError, ValueError):
        return 30.0  # librdkafka says what is wrong with it


def stall_seconds(options: Mapping[str, Any]) -> float:
    """Return how long nobody answers before the consumer itself is no longer trusted.

    Raises
    ------
    ValueError
        ``stall.seconds`` is no time.
    """
    given = options.get("stall.seconds", 120.0)
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"options: stall.seconds must be a number of seconds, above 0: {given!r}")
    return seconds


class _Logger(logging.LoggerAdapter):  # type: ignore[type-arg]  # none before Python 3.11
    """Takes librdkafka's log lines.

    It calls every lost connection an error, several times a second; that is for those who look
    for it.  What a user needs to know is said once, by the rooms that know what it means.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log at the level "debug"."""
        super().log(min(level, logging.DEBUG), msg, *args, **kwargs)


LOGGER = _Logger(logging.getLogger("igwn_style_client.librdkafka"), None)
