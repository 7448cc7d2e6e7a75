"""The small frozen value in which a broker's community says how it names and encodes alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Dialect"]


class Dialect(NamedTuple):
    """How one community speaks.

    Attributes
    ----------
    name
        For log lines.
    full_name
        Short name of a topic -> its name on the broker.
    short_name
        Its name on the broker -> short name; None for a topic of somebody else.
    decoders
        By declared format: bytes -> payload, or `DecodeError`.  None stands for messages that
        declare nothing.
    otherwise
        What decodes whatever else is declared; None: hop's models do.
    """

    name: str
    full_name: Callable[[str], str]
    short_name: Callable[[str], str | None]
    decoders: Mapping[str | None, Callable[[bytes], Any]]
    otherwise: Callable[[bytes], Any] | None = None
