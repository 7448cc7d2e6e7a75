"""What goes out: JSON as hop encodes it, refused where it would not arrive as it was; and files.

The broker cannot say afterwards what was wrong with an alert, so that it is said before anything
is sent, with the place inside the message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date, time
from typing import Any

from hop.models import VOEvent

__all__ = ["FORMATS", "encode_json", "messages_in"]

#: What a file may hold; "auto" tells by its content.
FORMATS = ("auto", "json", "jsonl", "voevent", "text", "binary")


def encode_json(msg: Any) -> bytes:
    """Encode a message as hop's ``JSONBlob`` does, byte for byte.

    Raises
    ------
    TypeError
        Something in it is of a kind that JSON does not have, or a key is no str; names the place.
    ValueError
        NaN, an infinity, or something that contains itself; names the place.
    """
    try:
        text = json.dumps(msg, allow_nan=False)
    except RecursionError:
        raise ValueError("msg is nested too deeply for JSON") from None
    except (TypeError, ValueError):
        for problem in _problems(msg):
            raise problem from None
        raise
    if not _all_str(msg):
        for problem in _problems(msg):
            raise problem
    return text.encode()


def _all_str(msg: Any) -> bool:
    """Whether all keys are str; json.dumps makes text of numbers, which do not come back."""
    stack = [msg]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                return False
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
    return True


def _problems(msg: Any) -> Iterator[Exception]:
    """Yield what is wrong, in the order of the message."""
    stack: list[tuple[Any, str, tuple[tuple[int, str], ...]]] = [(msg, "msg", ())]
    while stack:
        item, path, above = stack.pop()
        if not isinstance(item, (dict, list, tuple)):
            problem = _problem(item, path)
            if problem is not None:
                yield problem
            continue
        same = dict(above).get(id(item))
        if same is not None:
            yield ValueError(f"{path} is {same} itself, which never ends; leave it out")
            return
        inside = (*above, (id(item), path))
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, str):
                    yield TypeError(
                        f"{path} has the key {key!r}, a {type(key).__name__}; in JSON keys are "
                        "text: give it as str"
                    )
                    return
            members = [(one, f"{path}[{json.dumps(key)}]") for key, one in item.items()]
        else:
            members = [(one, f"{path}[{number}]") for number, one in enumerate(item)]
        stack.extend((one, where, inside) for one, where in reversed(members))


def _problem(item: Any, path: str) -> Exception | None:
    if item is None or isinstance(item, (str, int)):
        return None
    if isinstance(item, float):
        if math.isfinite(item):
            return None
        return ValueError(f"{path} is {item}, which JSON does not have; send None, or leave it out")
    kind = type(item).__name__
    instead = "send text, numbers, lists and dicts of them"
    if isinstance(item, (set, frozenset)):
        instead = "send a list"
    elif isinstance(item, (date, time)):
        instead = "send its isoformat()"
    elif isinstance(item, (bytes, bytearray)):
        instead = "send bytes as the whole message, or text such as base64"
    elif hasattr(item, "tolist"):
        instead = "send its tolist()"
    return TypeError(f"{path} is a {kind}, which JSON does not have; {instead}")


def messages_in(content: bytes, format: str = "auto") -> list[Any]:
    """Return what a file holds, as messages to publish.

    Parameters
    ----------
    content
        The file's bytes.
    format
        One of `FORMATS`.  "jsonl" is JSON with an alert on each line; the others are one alert.

    Raises
    ------
    ValueError
        It is not of that format, or looks like JSON or VOEvent and is neither; says where.
    """
    if format == "binary":
        return [content]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if format == "auto":
            return [content]
        raise ValueError(f"it is no {format}, for it is no text in UTF-8") from None
    found = _format_of(text) if format == "auto" else format
    if found == "text":
        return [text]
    if found == "json":
        return [_json(text)]
    if found == "jsonl":
        lines = enumerate(text.splitlines(), 1)
        return [_json(line, f"line {number}: ") for number, line in lines if line.strip()]
    try:
        return [VOEvent.load(text)]
    except Exception as error:  # of the XML, or of a field that is missing; hop names no kind
        raise ValueError(f"it is no VOEvent: {error}") from error


def _format_of(text: str) -> str:
    beginning = text.lstrip()[:1]
    if beginning == "<" and "VOEvent" in text:
        return "voevent"
    try:
        json.loads(text)
    except ValueError:
        first = next((line for line in text.splitlines() if line.strip()), "")
        if beginning in ("{", "["):
            return "jsonl" if _is_json(first) else "json"  # which says what is wrong with it
        return "text"
    return "json"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _json(text: str, where: str = "") -> Any:
    try:
        msg = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"{where}it is no JSON: {error}; to send it as it is, say that it is text"
        ) from error
    try:
        encode_json(msg)  # Python's json also reads NaN
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    return msg
