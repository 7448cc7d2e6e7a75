"""What lies behind a URL, or is left there, with limits on time, size and attempts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

__all__ = ["CannotFetch", "Fetched", "fetch", "post", "session"]

_SECONDS = (5.0, 20.0)  # to connect, and between two pieces
_ATTEMPTS = 3
_WAIT = 0.5
_PIECE = 2**16
_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server sent, and from where in the end."""

    content: bytes
    headers: Mapping[str, str]
    url: str


class CannotFetch(Exception):  # it says what happened
    """It could not be had, or left; the text says why, and `status` what the server said."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def session() -> requests.Session:
    """Return a session for several fetches from the same servers."""
    made = requests.Session()
    made.max_redirects = _REDIRECTS
    return made


def fetch(
    url: str,
    *,
    using: requests.Session,
    largest: int,
    longest: float = 60.0,
    login: Callable[[str], Any] = lambda _url: None,
    sleep: Callable[[float], None] = time.sleep,
    on_piece: Callable[[int, int | None], object] = lambda _got, _all: None,
) -> Fetched:
    """Fetch what lies behind a URL; what may pass by itself is tried three times.

    Parameters
    ----------
    url
        HTTP or HTTPS; from HTTPS nothing leads back to HTTP.
    using
        What `session` returns.
    largest
        Most bytes.
    longest
        Seconds that one attempt may last.
    login
        Called with the URL for each attempt, returns what requests takes as ``auth``.
    sleep
        Waits so many seconds between two attempts.
    on_piece
        Called with the number of bytes that have come, and that of all if the server says it.

    Raises
    ------
    CannotFetch
        Not there, too large, too slow, cut off, or nobody answers.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _fetch_once(url, using, largest, longest, login(url), on_piece)
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
        ) as error:
            answer = getattr(error, "response", None)
            status = None if answer is None else answer.status_code
            passing = status is None or status >= 500
            if attempt == _ATTEMPTS or not passing:
                raise CannotFetch(str(error), status) from error
            sleep(_WAIT * 2 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def _fetch_once(
    url: str,
    using: requests.Session,
    largest: int,
    longest: float,
    auth: Any,
    on_piece: Callable[[int, int | None], object],
) -> Fetched:
    end = time.monotonic() + longest
    with using.get(url, auth=auth, timeout=_SECONDS, stream=True) as response:
        response.raise_for_status()
        way = [one.url for one in (*response.history, response)]
        if way[0].startswith("https:") and not all(one.startswith("https:") for one in way):
            raise CannotFetch(f"{url} leads to where no certificate vouches: {' -> '.join(way)}")
        said = response.headers.get("Content-Length", "")
        whole = int(said) if said.isascii() and said.isdigit() else None
        content = bytearray()
        # What has come, however little: requests' own pieces wait until they are full.
        while piece := response.raw.read1(_PIECE, decode_content=True):
            content += piece
            on_piece(len(content), whole)
            if len(content) > largest:
                raise CannotFetch(f"{url} is over {largest} bytes")
            if time.monotonic() > end:
                raise requests.Timeout(f"{url} took longer than {longest:g} s")
        return Fetched(bytes(content), response.headers, response.url)


def post(url: str, content: bytes, *, login: Any = None, longest: float = 60.0) -> None:
    """Leave something behind a URL.  Once: it may have been taken though no answer came.

    Parameters
    ----------
    login
        What requests takes as ``auth``.
    longest
        Seconds that the server may take for its answer.

    Raises
    ------
    CannotFetch
        It was refused, or nobody answers.
    """
    wait = (min(_SECONDS[0], longest), longest)
    try:
        with session() as using:
            answer = using.post(url, data=content, auth=login, timeout=wait, allow_redirects=False)
    except Exception as error:  # of requests, urllib3 and what logs in: all kinds
        raise CannotFetch(str(error)) from error
    if not 200 <= answer.status_code < 300:
        raise CannotFetch(f"{answer.status_code} {answer.reason} for {url}", answer.status_code)
