"""An alert for another program: as JSON, and as the bytes that its payload is."""

from __future__ import annotations

import base64
import json
from typing import Any

from .alert import Alert

__all__ = ["content_of", "json_of"]

# By hop's names of formats.
_ENDINGS = {"avro": ".avro", "voevent": ".xml", "circular": ".json", "gcntextnotice": ".txt"}


def content_of(alert: Alert) -> tuple[bytes, str]:
    """Return what the publisher sent, without Kafka's and hop's wrapping, and a file's ending.

    Text is UTF-8; GraceDB's is JSON.  What was JSON is written as JSON anew.

    Raises
    ------
    DecodeError
        The payload cannot be read.
    """
    payload = alert.payload
    if isinstance(payload, bytes):
        return payload, ".bin"
    if isinstance(payload, str):
        text = payload.encode(errors="surrogatepass")
        return text, ".json" if isinstance(_parsed(payload), dict | list) else ".txt"
    if hasattr(payload, "serialize"):  # one of hop's models
        packed = payload.serialize()
        return packed["content"], _ENDINGS.get(packed["format"], ".bin")
    try:
        return json.dumps(payload, default=_plain).encode(), ".json"
    except RecursionError:  # it was just possible to read it
        return alert.raw or b"", ".json"


def json_of(alert: Alert, indent: int | None = None, **beside: Any) -> str:
    """Return an alert as a JSON document, on one line unless it is indented.

    A payload that is the text of a JSON document, as GraceDB's is, is that document, but if it is
    nested too deeply, that text.  Bytes that are no text are ``{"base64": ...}``, and numbers that
    JSON has not, NaN and the infinities, are null.

    Parameters
    ----------
    alert
        Which.
    indent
        Spaces for each level; None: one line.
    beside
        What else the document says, before all that.

    Raises
    ------
    DecodeError
        The payload cannot be read.
    """
    document = {
        **beside,
        "topic": alert.topic,
        "full_name": alert.full_name,
        "partition": alert.partition,
        "offset": alert.offset,
        "time": alert.time and alert.time.isoformat(timespec="milliseconds"),
        "id": alert.id and str(alert.id),
        "sender": alert.sender,
        "key": _text(alert.key),
        "headers": [
            [name, _text(value)] for name, value in alert.headers if name not in ("_id", "_sender")
        ],
        "payload": _document(alert.payload),
    }
    if alert.reason is not None:
        document["reason"] = alert.reason
    try:
        return _dumps(document, indent)
    except RecursionError:
        return _dumps({**document, "payload": _text(alert.raw)}, indent)


def _dumps(document: Any, indent: int | None) -> str:
    try:
        return json.dumps(document, indent=indent, default=_plain, allow_nan=False)
    except ValueError:
        finite = json.loads(json.dumps(document, default=_plain), parse_constant=lambda _: None)
        return json.dumps(finite, indent=indent)


def _document(payload: Any) -> Any:
    if isinstance(getattr(payload, "content", None), dict | list):  # Avro's
        return payload.content
    if hasattr(payload, "serialize"):
        payload = _text(payload.serialize()["content"])
    parsed = _parsed(payload) if isinstance(payload, str) else None
    return parsed if isinstance(parsed, dict | list) else payload


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _text(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _plain(value: Any) -> Any:
    """Say in JSON what Avro may hold beside it."""
    return _text(value) if isinstance(value, bytes) else str(value)
