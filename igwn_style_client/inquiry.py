"""A connection that asks a broker about itself: what it has, and what it allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from hop.auth import Auth

from . import bearer
from .settings import LOGGER, options_for
from .trouble import Trouble

__all__ = ["Inquiry"]

_PIECE_SECONDS = 0.5
_CLOSE_SECONDS = 0.5
# librdkafka 2.16 aborts the process when the answer to a question about a group comes after its
# own time limit: so its limit is far away, and we wait as long as we like.
_FAR_AWAY_SECONDS = 3600.0


class Inquiry:
    """Asks about topics, groups and rights, beside whatever reads or publishes.

    A context manager.  One thread at a time.

    Parameters
    ----------
    brokers
        Addresses as "host:port".
    auth
        The credential; None for an unauthenticated session.
    options
        Settings of librdkafka.
    login
        Who logs in, how, and where the credential came from; for messages.

    Raises
    ------
    SettingsRefused
        librdkafka does not take the settings.
    CredentialError
        The credential's command for tokens fails, or its CA file cannot be used.
    """

    def __init__(
        self,
        brokers: Sequence[str],
        auth: Auth | None,
        options: Mapping[str, Any] | None = None,
        login: str = "",
    ) -> None:
        options = options or {}
        self.where = ", ".join(brokers)
        self.trouble = Trouble(brokers, auth, login, options)
        #: librdkafka's, for whatever else is to connect in the same way.
        self.settings = {
            "bootstrap.servers": ",".join(brokers),
            "error_cb": self.trouble.note,
            "logger": LOGGER,
            **(auth() if auth else {}),
            **bearer.settings_of(auth),
            **options_for("admin", options),
        }
        try:
            self._held = [AdminClient(self.settings)]
        except KafkaException as error:
            raise self.trouble.settings_refused(error.args[0]) from error

    def __enter__(self) -> Inquiry:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def metadata(self, timeout: float) -> Any:
        """Return all topics and brokers, as confluent_kafka's ``ClusterMetadata``.

        Raises
        ------
        StreamError
            No answer in `timeout` seconds, or a refusal.
        """
        end = time.monotonic() + timeout
        # A little earlier than promised, for closing takes its time too.
        self.trouble.expect(timeout - min(2 * _CLOSE_SECONDS, timeout / 10))
        while True:
            try:
                piece = max(0.001, min(_PIECE_SECONDS, end - time.monotonic()))
                found = self._held[0].list_topics(timeout=piece)
            except KafkaException as error:
                self._held[0].poll(0)  # only a poll tells of a refused credential
                if conclusion := self.trouble.conclusion():
                    raise conclusion from error
            else:
                self.trouble.reached()
                return found

    def topics(self, names: Collection[str], rights: bool = False) -> dict[str, Future[Any]]:
        """Ask for descriptions of topics; waits for nobody."""
        self._held[0].poll(0)
        return dict(
            self._held[0].describe_topics(
                TopicCollection(list(names)),
                include_authorized_operations=rights,
                request_timeout=_FAR_AWAY_SECONDS,
            )
        )

    def group(self, name: str) -> Future[Any]:
        """Ask for the description of a consumer group, with our rights; waits for nobody."""
        self._held[0].poll(0)
        asked = self._held[0].describe_consumer_groups(
            [name], include_authorized_operations=True, request_timeout=_FAR_AWAY_SECONDS
        )
        answer: Future[Any] = asked[name]
        return answer

    def close(self) -> None:
        """Close the connection; a name server that does not answer is not waited for."""
        closing = threading.Thread(target=self._held.clear, name="alert-inquiry", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
