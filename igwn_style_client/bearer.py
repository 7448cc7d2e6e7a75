"""A bearer token from the command that a credential of hop names."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from typing import Any

from hop.auth import Auth

from .errors import CredentialError

__all__ = ["settings_of"]

_SECONDS = 10.0
# A token that ends sooner than this is not handed out a second time.
_FRESH_SECONDS = 5.0

Token = tuple[str, float, str, dict[str, str]]


def settings_of(auth: Auth | None, seconds: float = _SECONDS) -> dict[str, Any]:
    """Return librdkafka's setting that asks for tokens; empty for other credentials.

    The command runs at once: confluent_kafka would wait ten seconds for a token that cannot come,
    and adc's own error for a command that fails is a `TypeError`.

    Parameters
    ----------
    auth
        The credential; None for an unauthenticated session.
    seconds
        Within which the command must end.

    Raises
    ------
    CredentialError
        The command fails, or does not print a token.
    """
    if auth is None or not auth.token_command or auth.token_endpoint:
        return {}
    command: str = auth.token_command
    first = [_run(command, seconds)]

    def give(_config: object) -> Token:
        if first and first[0][1] - time.time() > _FRESH_SECONDS:
            return first.pop()
        return _run(command, seconds)

    return {"oauth_cb": give}


def _run(command: str, seconds: float) -> Token:
    """Run the command; neither it nor what it prints is shown, for both may hold secrets."""
    try:
        # A shell, as hop documents it.
        done = subprocess.run(  # noqa: S602
            command, shell=True, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise _failure(f"did not end within {seconds:g} s") from None
    except (OSError, ValueError) as error:
        raise _failure(f"cannot be run: {type(error).__name__}") from None
    if done.returncode:
        raise _failure(f"ended with exit status {done.returncode}")
    try:
        token = done.stdout.decode("ascii").strip()
        _, body, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        end, subject = float(claims["exp"]), str(claims["sub"])
    except (ValueError, KeyError, TypeError):
        raise _failure('printed no bearer token (a JWT with "sub" and "exp")') from None
    if end <= time.time():
        raise _failure("printed a token that has expired")
    return token, end, subject, {}


def _failure(what: str) -> CredentialError:
    return CredentialError(f"the credential's token_command {what}; run it by hand to see why")
