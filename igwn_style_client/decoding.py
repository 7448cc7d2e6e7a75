"""What a Kafka message says: by the dialect, by hop's models, or from where hop put it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import hop.io
from hop.auth import Auth

from . import documents, fetching, offloading
from .alert import Headers, Message
from .dialect import Dialect
from .errors import DecodeError
from .fetching import CannotFetch

__all__ = ["Decoder"]

_EXTERNAL = "external"
# An offloaded payload is fetched while the alert's partition waits.
_LARGEST = 256 * 2**20


class Decoder:
    """Called with a message, returns its payload.  Any thread may call it.

    Parameters
    ----------
    dialect
        Has decoders of its own; hop's models and their plugins decode the other formats.
    brokers, auth
        The credential goes to the offload server that the broker itself names, and to no other.
    longest
        Seconds that one attempt to fetch may last.
    sleep
        Waits so many seconds between two attempts to fetch.

    Raises
    ------
    DecodeError
        When called: the message is not what it says it is, or its payload cannot be had.
    """

    def __init__(
        self,
        dialect: Dialect,
        brokers: Sequence[str] = (),
        auth: Auth | None = None,
        longest: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._decoders, self._otherwise = dialect.decoders, dialect.otherwise
        self._brokers = list(brokers)
        self._auth = auth
        self._longest = longest
        self._sleep = sleep
        self._trusted: str | None = None
        #: What decodes messages that declare one of these, or nothing, without a look at headers.
        self.known = {
            None if name is None else name.encode(): _of_message(decode)
            for name, decode in dialect.decoders.items()
        }

    def __call__(self, message: Message) -> Any:
        """Return the payload."""
        value, headers = message.value(), message.headers()
        return self._decode(value, _declared_format(headers) if headers else None)

    def _decode(self, value: bytes | None, declared: str | None) -> Any:
        if value is None:
            raise _tombstone()
        decode = self._decoders.get(declared, self._otherwise)
        if decode is not None:
            return decode(value)
        payload = _by_hop(value, str(declared))
        return self._fetched(payload.url) if declared == _EXTERNAL else payload

    def _fetched(self, url: Any) -> Any:
        if not isinstance(url, str) or not url.lower().startswith(("http://", "https://")):
            raise DecodeError(
                _EXTERNAL, f"its payload is to lie at {url!r}, which is no HTTP(S) URL"
            )
        content = self._get(url)
        try:
            stored = documents.loads(content)
            value, headers = stored["message"], stored["metadata"]["headers"]
            headers = [(str(name), bytes(content)) for name, content in headers]
        except Exception as error:  # hop's parser raises whatever the bytes lead it to
            raise DecodeError(
                _EXTERNAL, f"what lies at {url} is no such payload: {error!r}"
            ) from error
        declared = _declared_format(headers)
        if declared == _EXTERNAL:
            raise DecodeError(_EXTERNAL, f"what lies at {url} points on to somewhere else")
        return self._decode(value, declared)

    def _get(self, url: str) -> bytes:
        try:
            with fetching.Session() as session:
                found = fetching.fetch(
                    url,
                    using=session,
                    largest=_LARGEST,
                    longest=self._longest,
                    login=self._login,
                    sleep=self._sleep,
                )
        except CannotFetch as error:
            raise DecodeError(_EXTERNAL, f"its payload cannot be fetched: {error}") from error
        return found.content

    def _login(self, url: str) -> Any:
        if self._auth is None:
            return None
        if self._trusted is None:
            self._trusted = offloading.server_of(self._brokers, self._auth)
        trusted, asked = urlsplit(self._trusted or ""), urlsplit(url)
        if (trusted.scheme, trusted.netloc) != (asked.scheme, asked.netloc):
            return None
        return offloading.login(self._auth)


def _of_message(decode: Callable[[bytes], Any]) -> Callable[[Message], Any]:
    def decode_message(message: Message) -> Any:
        value = message.value()
        if value is None:
            raise _tombstone()
        return decode(value)

    return decode_message


def _tombstone() -> DecodeError:
    return DecodeError("an alert", "it has no content (a tombstone)")


def _declared_format(headers: Headers) -> str | None:
    for name, value in headers:
        if name == "_format":
            if value == b"json":  # nearly always
                return "json"
            return None if value is None else value.decode("ascii", "replace").lower()
    return None


def _by_hop(value: bytes, declared: str) -> Any:
    """Decode by hop's own message model, plugins included; a blob is bytes."""
    models: Mapping[str, Any] = hop.io.Deserializer.__members__
    model = models.get(declared.upper())
    if model is None:
        raise DecodeError(repr(declared), "no such format is known")
    try:
        payload = model.value.deserialize(value)
    except Exception as error:  # models, plugins too, raise whatever their parsers do
        raise DecodeError(declared, f"{type(error).__name__}: {error}") from error
    return payload.content if declared == "blob" else payload
