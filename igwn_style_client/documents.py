"""BSON documents: what their bytes say, once it is known that they are one.

hop's decoder trusts the lengths that it reads: some thirteen bytes lead it round in a circle for
ever.  It does not know two old types, which are read as PyMongo reads them.
"""

from __future__ import annotations

import struct
from typing import Any

from hop import bson

__all__ = ["loads"]

# Bytes that the values of a type take (https://bsonspec.org/spec.html).
_SIZES = {0x01: 8, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8}
_STRING, _DOCUMENT, _ARRAY, _BINARY = 0x02, 0x03, 0x04, 0x05
# "Undefined" is null, and a symbol is a string.
_OLD = {0x06: 0x0A, 0x0E: _STRING}


def loads(content: bytes) -> dict[str, Any]:
    """Decode a document.

    Raises
    ------
    Exception
        It is none; hop's decoder raises whatever the bytes lead it to.
    """
    document: dict[str, Any] = bson.loads(_checked(content))
    return document


def _checked(content: bytes) -> bytes:
    """Return the document without old types; raise a ValueError unless lengths and types agree."""
    renamed = bytearray(content)
    in_array = [False]
    ends = [_end_of_document(content, 0, len(content))]
    if ends[0] != len(content) - 1:
        raise ValueError(f"there are {len(content) - ends[0] - 1} bytes after its end")
    at = 4
    while ends:
        kind = content[at]
        if kind == 0:
            if at != ends.pop():
                raise ValueError(f"a document ends too early, at byte {at}")
            in_array.pop()
            at += 1
            continue
        renamed[at] = kind = _OLD.get(kind, kind)
        after_name = content.index(0, at + 1, ends[-1]) + 1
        if not in_array[-1]:  # where it is only a number, which nobody reads
            content[at + 1 : after_name - 1].decode()
        at = after_name
        if kind in (_DOCUMENT, _ARRAY):
            ends.append(_end_of_document(content, at, ends[-1]))
            in_array.append(kind == _ARRAY)
            at += 4
            continue
        at += _SIZES[kind] if kind in _SIZES else _size(kind, content, at)
        if at > ends[-1]:
            raise ValueError(f"a value goes beyond the end of its document, at byte {at}")
    return bytes(renamed)


def _end_of_document(content: bytes, at: int, limit: int) -> int:
    """Return where the final zero of a document stands."""
    end = at + _int32(content, at) - 1
    if not at + 4 <= end < limit or content[end] != 0:
        raise ValueError(f"a document has a wrong length, at byte {at}")
    return end


def _size(kind: int, content: bytes, at: int) -> int:
    if kind not in (_STRING, _BINARY):
        raise ValueError(f"a value has the type 0x{kind:02x}, which is not read here")
    length = _int32(content, at)
    size = length + (4 if kind == _STRING else 5)
    if length < (kind == _STRING) or at + size > len(content):
        raise ValueError(f"a value has a wrong length, at byte {at}")
    if kind == _STRING and content[at + size - 1] != 0:
        raise ValueError(f"a string does not end with a zero, at byte {at}")
    return size


def _int32(content: bytes, at: int) -> int:
    if at + 4 > len(content):
        raise ValueError("it is cut off")
    number: int = struct.unpack_from("<i", content, at)[0]
    return number
