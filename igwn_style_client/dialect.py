"""The small frozen value in which a broker's community says how it names and encodes alerts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Dialect"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one community speaks.

    Attributes
    ----------
    name
        For log lines.
    full_name
        Short name of a topic -> its name on the broker.
    short_name
        Its name on the broker -> short name; None for a topic of somebody else.
    formats
        The declared formats that `decode` reads, among which None stands for messages that declare
        nothing; None: whatever a message declares.
    decode
        ``decode(value, format)`` -> payload.  Raises `DecodeError`.
    """

    name: str
    full_name: Callable[[str], str]
    short_name: Callable[[str], str | None]
    formats: frozenset[str | None] | None
    decode: Callable[[bytes, str | None], Any]
