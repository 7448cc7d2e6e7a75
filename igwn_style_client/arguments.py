"""What a user hands over, checked before any network is touched."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime, timedelta

__all__ = ["DEFAULT_PORT", "check", "check_start_at", "parse_server", "topic_names"]

DEFAULT_PORT = 9092

# What Kafka allows in the name of a topic.
_TOPIC = re.compile(r"[A-Za-z0-9._-]+")


def topic_names(topic: object, argument: str = "topic") -> list[str]:
    """Return the names that a user gave as one or as several.

    Raises
    ------
    TypeError
        They are no str.
    ValueError
        There is none, or one that Kafka does not allow.
    """
    if isinstance(topic, str):
        names = [topic]
    elif isinstance(topic, Iterable) and not isinstance(topic, (bytes, bytearray)):
        names = list(topic)
    else:
        raise TypeError(f"{argument}: a name or several are needed, not {topic!r}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument}: a name must be a str, not {name!r}")
        if not _TOPIC.fullmatch(name):
            raise ValueError(
                f"{argument}: {name!r} cannot be the name of a topic: letters, digits, '.', '_' "
                "and '-' are allowed"
            )
    if not names:
        raise ValueError(
            f"{argument}: the collection is empty; give None for all topics of the group"
        )
    return list(dict.fromkeys(names))


def check(
    value: object,
    name: str,
    kinds: type | tuple[type, ...],
    optional: bool = False,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Raise a TypeError or ValueError that names the argument, unless `value` is as it must be."""
    if value is None and optional:
        return
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds) + (" or None" if optional else "")
        given = "None" if value is None else type(value).__name__
        raise TypeError(f'"{name}" must be {wanted}, not {given}')
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    low, high = -math.inf if least is None else least, math.inf if most is None else most
    if not (math.isfinite(value) and low <= value <= high):
        bounds = "finite" if least is None or value == math.inf else f"at least {least:g}"
        if most is not None:
            bounds = f"from {least:g} to {most:g}"
        raise ValueError(f'"{name}" must be {bounds}, not {value!r}')


def check_start_at(start_at: object) -> None:
    """Check where a listener is to begin."""
    check(start_at, "start_at", (str, datetime, timedelta))
    if isinstance(start_at, str) and start_at not in ("latest", "earliest"):
        raise ValueError(f'"start_at" must be "latest" or "earliest", not {start_at!r}')
    if isinstance(start_at, datetime) and start_at.tzinfo is None:
        raise ValueError('"start_at" needs a time zone, such as datetime.timezone.utc')
    if isinstance(start_at, timedelta) and start_at < timedelta(0):
        raise ValueError('"start_at" goes back from now; a negative timedelta is in the future')


def parse_server(server: str, port: int) -> tuple[str, str, list[str]]:
    """Return scheme, user name and "host:port" of each broker.

    A port in the URL counts unless another than the default was given beside it.

    Raises
    ------
    ValueError
        It is no address.  A password in it is not repeated.
    """
    scheme, separator, rest = server.partition("://")
    if not separator:
        scheme, rest = "kafka", server
    if scheme != "kafka":
        raise ValueError(f'"server" must begin with kafka://, not {scheme}://')
    user, _, hosts = rest.partition("/")[0].rpartition("@")
    shown = re.sub(r"^((?:\w+://)?[^:@/]*):(?!//).*@", r"\1:...@", server)
    brokers = [_with_port(host.strip(), port, shown) for host in hosts.split(",")]
    return scheme, user.partition(":")[0], brokers


def _with_port(host: str, port: int, server: str) -> str:
    match = re.fullmatch(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(:(?P<port>\d+))?", host)
    own = int(match["port"]) if match and match["port"] else DEFAULT_PORT
    if match is None or not 1 <= own <= 65535:
        raise ValueError(
            f'"server" must be such as kafka://kafka.scimma.org/ or host:9092, not {server!r}'
        )
    return f"{match['host']}:{own if port == DEFAULT_PORT else port}"
