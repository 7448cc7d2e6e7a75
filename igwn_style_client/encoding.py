"""What goes out as JSON: encoded as hop does, and refused where it would not arrive as it was.

The broker cannot say afterwards what was wrong with an alert, so that it is said before anything
is sent, with the place inside the message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date, time
from typing import Any

__all__ = ["encode_json"]


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
