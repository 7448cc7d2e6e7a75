"""What goes out: JSON as hop encodes it, refused where it would not arrive as it was; and files.

The broker cannot say afterwards what was wrong with an alert, so that it is said before anything
is sent, with the place inside the message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from datetime import date, time
from itertools import chain
from json.encoder import encode_basestring_ascii
from typing import Any, BinaryIO

from hop.models import VOEvent

__all__ = ["FORMATS", "encode_json", "messages_in"]

#: What a file may hold; "auto" tells by its content.
FORMATS = ("auto", "json", "jsonl", "voevent", "text", "binary")

# json.dumps makes one for each message where a setting is given.
_ENCODER = json.JSONEncoder(allow_nan=False)


def encode_json(msg: Any) -> bytes:
    """Encode a message as hop's ``JSONBlob`` does, byte for byte.

    Raises
    ------
    TypeError
        Something in it is of a kind that JSON does not have, or a key is no str; names the place.
    ValueError
        NaN, an infinity, or something that contains itself; names the place.
    """
    if isinstance(msg, str):
        return encode_basestring_ascii(msg).encode()
    try:
        text = _ENCODER.encode(msg)
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
    if item is None or isinstance(item, str):
        return None
    if isinstance(item, int):
        try:
            int.__repr__(item)
        except ValueError:  # Python's own limit
            return ValueError(f"{path} has too many digits to be written; send it as text")
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


def messages_in(file: BinaryIO, format: str = "auto") -> Iterator[tuple[int | None, Any]]:
    """Yield what a file holds, as messages to publish, each with its line.

    The line is None where the file is one message.  Of lines of JSON no more than one is read.

    Parameters
    ----------
    file
        Read from where it stands.
    format
        One of `FORMATS`.  "jsonl" is JSON with an alert on each line; the others are one alert.

    Raises
    ------
    ValueError
        It is not of that format, or looks like JSON or VOEvent and is neither; says where.
    """
    if format == "jsonl":
        yield from _lines(file)
        return
    beginning = b"" if format != "auto" else _first_line(file)
    if _is_alert(beginning):
        yield from _lines(chain([beginning], file))
        return
    yield None, _whole(beginning + file.read(), format)


def _first_line(file: BinaryIO) -> bytes:
    """Return what comes up to the end of the first line that is not empty."""
    empty = b""
    for line in file:
        if line.strip():
            return empty + line
        empty += line
    return empty


def _is_alert(line: bytes) -> bool:
    """Whether a line is an alert in itself."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return text.lstrip()[:1] in ("{", "[") and _is_json(text)


def _lines(lines: Iterable[bytes]) -> Iterator[tuple[int | None, Any]]:
    number = 0
    for several in lines:
        for line in several.splitlines():
            number += 1
            if line.strip():
                yield number, _json(_text(line, "jsonl", f"line {number}: "), f"line {number}: ")


def _text(content: bytes, format: str, where: str = "") -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{where}it is no {format}, for it is no text in UTF-8") from None


def _whole(content: bytes, format: str) -> Any:
    """Return what a file holds that is one alert."""
    if format == "auto" and not content.strip():
        raise ValueError("it is empty; to send it as it is, say that it is text")
    found = _format_of(content) if format == "auto" else format
    if found == "binary":
        return content
    text = _text(content, found)
    if found == "text":
        return text
    if found == "json":
        return _json(text)
    try:
        return VOEvent.load(text)
    except Exception as error:  # of the XML, or of a field that is missing; hop names no kind
        raise ValueError(f"it is no VOEvent: {error}") from error


def _format_of(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "binary"
    beginning = text.lstrip()[:1]
    if beginning == "<" and "VOEvent" in text:
        return "voevent"
    # What begins like JSON and is none is told so; a text like that has to be called one.
    return "json" if beginning in ("{", "[") or _is_json(text) else "text"


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
