"""Which topics a broker has, and whether one of them was made anew."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from difflib import get_close_matches
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from hop.auth import Auth

from . import bearer
from .errors import from_kafka
from .settings import LOGGER, options_for
from .trouble import Trouble

__all__ = [
    "Identities",
    "admin_settings",
    "advertised",
    "existing",
    "list_topics",
    "not_there",
]

log = logging.getLogger(__name__)

_PIECE_SECONDS = 0.5
_CLOSE_SECONDS = 0.5
_ANSWER_SECONDS = 10.0
# How soon a topic that was made anew is noticed; what was read of it until then comes again.
_ASK_SECONDS = 5.0


class Identities:
    """Tells a topic from another one that has taken its name.

    Offsets cannot: once the new topic is longer than the old one was, the old mark points into the
    middle of it.  Kafka gives each topic an identity of its own.

    It asks by a connection beside the consumer's, and waits for nobody.  One thread at a time.

    Parameters
    ----------
    brokers
        Addresses as "host:port".
    auth
        The credential; None for an unauthenticated session.
    options
        Settings of librdkafka.
    """

    def __init__(
        self, brokers: Sequence[str], auth: Auth | None, options: Mapping[str, Any]
    ) -> None:
        self._admin = AdminClient(admin_settings(brokers, auth, options))
        self._asked: dict[str, Future[Any]] = {}
        self._ask_at = 0.0
        self._known: dict[str, str] = {}

    def made_anew(self, topics: Collection[str]) -> set[str]:
        """Return those of the topics that are others than before; ask again every few seconds."""
        anew = {topic for topic, answer in self._asked.items() if self._is_new(topic, answer)}
        self._asked = {topic: one for topic, one in self._asked.items() if not one.done()}
        now = time.monotonic()
        if not self._asked and now >= self._ask_at:
            self._ask_at = now + _ASK_SECONDS
            self._admin.poll(0)
            self._asked = self._admin.describe_topics(
                TopicCollection(list(topics)), request_timeout=_ANSWER_SECONDS
            )
        return anew

    def _is_new(self, topic: str, answer: Future[Any]) -> bool:
        if not answer.done() or answer.exception() is not None:
            return False  # the topic is away, or the broker is: the next answer counts
        identity = str(answer.result().topic_id)
        known = self._known.setdefault(topic, identity)
        self._known[topic] = identity
        return known != identity


def list_topics(
    brokers: Sequence[str],
    auth: Auth | None,
    timeout: float,
    options: Mapping[str, Any] | None = None,
    login: str = "",
) -> list[str]:
    """Return the full names of all topics that the broker shows, sorted.

    Raises
    ------
    StreamError
        No answer in `timeout` seconds, or a refusal.
    CredentialError
        The credential's command for tokens fails.
    """
    trouble = Trouble(brokers, auth, login, options)
    # A little earlier than promised, for closing takes its time too.
    trouble.expect(timeout - min(_CLOSE_SECONDS, timeout / 10))
    settings = admin_settings(brokers, auth, options or {}, trouble.note)
    try:
        held = [AdminClient(settings)]
    except KafkaException as error:
        raise trouble.settings_refused(error.args[0]) from error
    end = time.monotonic() + timeout
    try:
        while True:
            piece = max(0.001, min(_PIECE_SECONDS, end - time.monotonic()))
            try:
                return sorted(existing(held[0].list_topics(timeout=piece)))
            except KafkaException as error:
                held[0].poll(0)  # only a poll tells of a refused credential
                if conclusion := trouble.conclusion():
                    raise conclusion from error
    finally:
        _let_go(held)


def _let_go(held: list[AdminClient]) -> None:
    """Close, which takes as long as a name server that does not answer: wait a little only."""
    closing = threading.Thread(target=held.clear, name="alert-topics", daemon=True)
    closing.start()
    closing.join(_CLOSE_SECONDS)


def existing(metadata: Any) -> dict[str, Any]:
    """Return the topics of the broker's answer, without those that it only names as missing."""
    return {name: topic for name, topic in metadata.topics.items() if topic.error is None}


def not_there(topics: Sequence[str], existing: Collection[str], where: str) -> str:
    """Say that topics do not exist, and which names are near."""
    names = ", ".join(f'"{topic}"' for topic in topics)
    verb = "does" if len(topics) == 1 else "do"
    prefixes = tuple({topic.partition(".")[0] + "." for topic in topics})
    ours = [name for name in existing if name.startswith(prefixes)]
    near = {close for topic in topics for close in get_close_matches(topic, ours)}
    hint = f"; there is {', '.join(sorted(near))}" if near else ""
    return f"{names} {verb} not exist on {where}{hint}"


def advertised(
    brokers: Sequence[str],
    auth: Auth | None,
    timeout: float,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the addresses, as "host:port", by which the brokers want to be reached."""
    admin = AdminClient(admin_settings(brokers, auth, options or {}))
    try:
        found = admin.list_topics(timeout=timeout).brokers.values()
    except KafkaException as error:
        raise from_kafka(error.args[0], ", ".join(brokers)) from error
    hosts = [(str(one.host), one.port) for one in found]
    return sorted(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)


def admin_settings(
    brokers: Sequence[str],
    auth: Auth | None,
    options: Mapping[str, Any],
    on_error: Callable[[KafkaError], None] = lambda _error: None,
) -> dict[str, Any]:
    """Return librdkafka's settings for a connection that asks about the broker itself."""
    return {
        "bootstrap.servers": ",".join(brokers),
        "error_cb": on_error,
        "logger": LOGGER,
        **(auth() if auth else {}),
        **bearer.settings_of(auth),
        **options_for("admin", options),
    }
