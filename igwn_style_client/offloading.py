"""hop's offload server, where a broker names one: what is too large for Kafka lies there.

It lies there as BSON with its headers; what stands on the topic instead has the format "external"
and holds its URL.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hop.io
from hop import bson, http_scram
from hop.auth import Auth
from hop.models import ExternalMessage

from . import fetching
from .errors import passes
from .retry import RetryPolicy

__all__ = ["advice", "login", "offload", "server_of"]

log = logging.getLogger(__name__)

# For how long a broker is asked again that has not said, for a reason that passes.
_INSISTS_SECONDS = 5.0


def server_of(
    brokers: Sequence[str], auth: Auth | None, sleep: Callable[[float], None] = time.sleep
) -> str | None:
    """Ask a broker for its offload server.

    Returns
    -------
    str or None
        "" if it names none; None if that is not known, for it did not answer.
    """
    waits, end = RetryPolicy(None, 0.25).waits(), time.monotonic() + _INSISTS_SECONDS
    while True:
        try:
            return hop.io._get_offload_server(list(brokers), auth) or ""
        except Exception as error:  # of adc, confluent_kafka and hop: all kinds
            # A broker that has just been started answers so, as it does in its first second.
            if time.monotonic() > end or not passes(error):
                log.warning("the broker's offload server is not known: %r", error)
                return None
        sleep(next(waits))


def advice(server: str | None) -> str:
    """Say what to do with what is too large, by what `server_of` returned."""
    if server is None:
        return "whether it names an offload server could not be learnt now: try again"
    return f"send it again, to {server}" if server else "send a link to what is large"


def login(auth: Auth | None) -> Any:
    """Return what requests takes as ``auth``, to log in with an offload server; None without."""
    if auth is None:
        return None
    if auth.is_scram:
        return http_scram.SCRAMAuth(auth, shortcut=True)
    return hop.io._make_bearer_auth(auth.token) if auth.is_token else None


def offload(
    server: str,
    topic: str,
    content: bytes,
    headers: Iterable[tuple[str, str | bytes]],
    key: str | bytes | None,
    auth: Auth | None,
    longest: float,
) -> ExternalMessage:
    """Leave a packed message at a server, and return the message that stands for it.

    Parameters
    ----------
    topic
        Full name.
    headers
        As hop packed them; the message lies under its ``_id``.
    longest
        Seconds that the server may take for its answer.

    Raises
    ------
    CannotFetch
        The server did not take it.
    """
    # As Kafka would have them; hop's reader wants bytes too.
    plain = [(name, one.encode() if isinstance(one, str) else one) for name, one in headers]
    message = {"message": content, "headers": plain}
    if key is not None:
        message["key"] = key
    fetching.post(
        f"{server}/topic/{topic}+oversized",
        bson.dumps(message),
        login=login(auth),
        longest=longest,
    )
    return ExternalMessage(url=f"{server}/msg/{uuid.UUID(bytes=dict(plain)['_id'])}")
