"""Files that are whole or not there, by names that are safe."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from pathlib import Path
from urllib.parse import quote

__all__ = ["safe_name", "write_whole"]

# A name may have 255 bytes, of which the caller's ending and ours for what is not whole take some.
_LONGEST = 200
# Devices of Windows, by whatever ending; its disks are mounted elsewhere too.
_RESERVED = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    "CLOCK$",
    *(f"{p}{n}" for p in ("COM", "LPT") for n in range(10)),
}


def safe_name(text: str) -> str:
    """Return a name for a file: different texts have different names, none leads elsewhere.

    Letters, digits and ``_.-~`` stay; the rest is written as in URLs, a colon as "%3A".
    """
    name = quote(text, safe="", errors="surrogatepass")
    if not name or name.startswith(".") or name.partition(".")[0].upper() in _RESERVED:
        name = f"%{ord(name[0]):02X}{name[1:]}" if name else "%"
    if len(name) > _LONGEST:
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        name = f"{name[: _LONGEST - len(digest) - 1]}-{digest}"
    return name


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; when this returns, it is on the disk, and until then nothing has its name.

    Its folder is made where there is none.

    Raises
    ------
    OSError
        It could not be written, and what was there before is still there.
    """
    _make(path.parent)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(unfinished, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(path.parent)  # the name, too


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """See to it that the names in a folder are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
