"""What lies behind a URL, or is left there, with limits on time, size and attempts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urljoin
from weakref import WeakSet

import requests
import urllib3
from requests.adapters import HTTPAdapter

__all__ = ["CannotFetch", "Fetched", "Session", "fetch", "post"]

_SECONDS = (5.0, 20.0)  # to connect, and between two pieces
_ATTEMPTS = 3
_WAIT = 0.5
_PIECE = 2**16
_REDIRECTS = 5
_TROUBLE = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


class Fetched(NamedTuple):
    """What a server sent, and from where in the end."""

    content: bytes
    headers: Mapping[str, str]
    url: str


class CannotFetch(Exception):  # it says what happened
    """It could not be had, or left; the text says why, and `status` what the server said."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _Adapter(HTTPAdapter):
    """Knows its sockets, to cut them off: a timeout of theirs begins anew with every byte."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        super().__init__()

    def get_connection_with_tls_context(self, *given: Any, **named: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*given, **named)

        def make(**named: Any) -> Any:
            connection = type(pool).ConnectionCls(**named)
            connect = connection.connect

            def connect_noted() -> None:
                connect()
                self._sockets.add(connection.sock)

            connection.connect = connect_noted
            return connection

        pool.ConnectionCls = make
        return pool

    def cut_off(self) -> None:
        for one in list(self._sockets):
            with suppress(OSError):  # it is closed
                one.shutdown(socket.SHUT_RDWR)


class Session(requests.Session):
    """For several fetches from the same servers, one at a time; a context manager."""

    def __init__(self) -> None:
        super().__init__()
        self._adapter = _Adapter()
        for scheme in ("https://", "http://"):
            self.mount(scheme, self._adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow nothing: requests reads what comes with a redirect, however long it is."""

    def leads_to(self, response: requests.Response) -> str | None:
        """Return where a redirect leads; None for what is none."""
        target = super().get_redirect_target(response)
        return None if target is None else urljoin(response.url, target)

    @contextmanager
    def lasting(self, seconds: float, url: str) -> Iterator[None]:
        """Cut off what goes on for longer, whatever it waits for.

        Raises
        ------
        requests.Timeout
            It went on for longer.
        """
        end = time.monotonic() + seconds
        timer = threading.Timer(seconds, self._adapter.cut_off)
        timer.daemon = True
        timer.start()
        late = requests.Timeout(f"{url} took longer than {seconds:g} s")
        try:
            yield
        except _TROUBLE as error:
            if time.monotonic() < end:
                raise
            raise late from error
        finally:
            timer.cancel()
        if time.monotonic() >= end:  # what is cut off may look as if that were its end
            raise late


def fetch(
    url: str,
    *,
    using: Session,
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
        Keeps connections open for the next fetch.
    largest
        Most bytes.
    longest
        Seconds that one attempt may last.
    login
        Called with each URL that is asked, returns what requests takes as ``auth``.
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
            with using.lasting(longest, url):
                return _fetch_once(url, using, largest, login, on_piece)
        except _TROUBLE as error:
            answer = getattr(error, "response", None)
            status = None if answer is None else answer.status_code
            passing = status is None or status >= 500
            if attempt == _ATTEMPTS or not passing:
                raise CannotFetch(str(error), status) from error
            sleep(_WAIT * 2 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def _fetch_once(
    url: str,
    using: Session,
    largest: int,
    login: Callable[[str], Any],
    on_piece: Callable[[int, int | None], object],
) -> Fetched:
    way = [url]
    while len(way) <= _REDIRECTS + 1:
        # Without a login nobody gets one: requests would look into ~/.netrc.
        auth = login(way[-1]) or (lambda request: request)
        with using.get(way[-1], auth=auth, timeout=_SECONDS, stream=True) as response:
            response.raise_for_status()
            target = using.leads_to(response)
            if target is None:
                return Fetched(_content(response, largest, on_piece), response.headers, way[-1])
        way.append(target)
        if url.lower().startswith("https:") and not target.lower().startswith("https:"):
            raise CannotFetch(f"{url} leads to where no certificate vouches: {' -> '.join(way)}")
    raise CannotFetch(f"{url} leads on by more than {_REDIRECTS} redirects")


def _content(
    response: requests.Response, largest: int, on_piece: Callable[[int, int | None], object]
) -> bytes:
    said = response.headers.get("Content-Length", "")
    whole = int(said) if said.isascii() and said.isdigit() else None
    content = bytearray()
    # What has come, however little: requests' own pieces wait until they are full.
    while piece := response.raw.read1(_PIECE, decode_content=True):
        content += piece
        on_piece(len(content), whole)
        if len(content) > largest:
            raise CannotFetch(f"{response.url} is over {largest} bytes")
    return bytes(content)


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
    # Without a login nobody gets one: requests would look into ~/.netrc.
    auth = login or (lambda request: request)
    wait = (min(_SECONDS[0], longest), longest)
    try:
        with Session() as using:
            answer = using.post(url, data=content, auth=auth, timeout=wait, allow_redirects=False)
    except Exception as error:  # of requests, urllib3 and what logs in: all kinds
        raise CannotFetch(str(error)) from error
    if not 200 <= answer.status_code < 300:
        raise CannotFetch(f"{answer.status_code} {answer.reason} for {url}", answer.status_code)
