"""How IGWN speaks: topics are ``group.topic``, payloads are JSON.

GraceDB sends a JSON *string* that holds JSON, so that the payload is a str and callbacks call
`json.loads` on it; other publishers send objects.  What was sent is handed on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from .dialect import Dialect
from .errors import DecodeError

__all__ = ["consumer_group", "decode_json", "dialect"]

# On these servers a consumer group belongs to the user with whose name it begins.
_GROUPS_ARE_THE_USERS = (".scimma.org",)


def dialect(group: str) -> Dialect:
    """Return the dialect of one group, such as "gracedb-playground"."""
    prefix = group + "."

    def full_name(topic: str) -> str:
        return prefix + topic

    def short_name(name: str) -> str | None:
        return name[len(prefix) :] if name.startswith(prefix) and name != prefix else None

    return Dialect("igwn", full_name, short_name, {"json": decode_json, None: _decode_undeclared})


def consumer_group(name: str, brokers: Sequence[str], user: str | None) -> str:
    """Return the name of a consumer group as the server demands it.

    SCiMMA's allows a group only to the user with whose name it begins: "my-pipeline" becomes
    "USER-my-pipeline" there.  Elsewhere, and without a user, a name stays as it is.
    """
    hosts = [broker.rpartition(":")[0] for broker in brokers]
    demanded = all(host.endswith(_GROUPS_ARE_THE_USERS) for host in hosts)
    return f"{user}-{name}" if user and demanded and not name.startswith(user) else name


def _decode_undeclared(value: bytes) -> Any:
    try:
        payload = decode_json(value)
    except DecodeError:
        return value  # nothing was declared, so nothing is broken
    # Before hop used headers it wrapped messages in {"format": ..., "content": ...}; its label
    # for JSON was "blob".
    if isinstance(payload, dict) and payload.get("format") == "blob" and "content" in payload:
        return payload["content"]
    return payload


def decode_json(value: bytes) -> Any:
    """Decode JSON as `json.loads` does, and four times as fast where that is possible.

    Raises
    ------
    DecodeError
        It is no JSON.
    """
    try:
        return _loads(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The standard library takes NaN, Infinity, 1e400, lone surrogates and other encodings.
        return _decode_slowly(value)


_loads = msgspec.json.Decoder().decode


def _decode_slowly(value: bytes) -> Any:
    try:
        return json.loads(value)
    except RecursionError as error:
        raise DecodeError("JSON", "it is nested too deeply") from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, too many digits
        raise DecodeError("JSON", str(error)) from error
