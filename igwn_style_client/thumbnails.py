"""The images of a ZTF alert that ANTARES keeps: template, science and difference.

Its API answers ``alerts/ID/thumbnails`` with a list of what there is and where it lies
(antares-client 2.0.2); the servers of 0.x had each image at an address of its own.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

from . import fetching
from .arguments import check
from .errors import ThumbnailError
from .fetching import CannotFetch, Fetched
from .files import safe_name, write_whole

__all__ = ["DEFAULT_API", "KINDS", "get_thumbnails"]

#: ANTARES' API, as antares-client 2.0.2 has it.
DEFAULT_API = "https://api.antares.noirlab.edu/v2/"
KINDS = ("template", "science", "difference")

_LARGEST = 16 * 2**20
_LONGEST = 60.0  # seconds
_BLOCK = 2880  # bytes; https://fits.gsfc.nasa.gov/fits_standard.html


def get_thumbnails(
    alert_id: int | str,
    output_dir: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    *,
    on_progress: Callable[[str, int, int | None], object] | None = None,
    longest: float = _LONGEST,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, dict[str, Any]]:
    """Download the images of an alert, as antares-client 0.2 does.

    Parameters
    ----------
    alert_id
        The alert's name, such as "ztf_candidate:2838539073315010071", or its number.
    output_dir
        Folder in which the images are stored too, whole or not at all; it is made if there is none.
    base_url
        Of the API.  None: the environment variable ``ANTARES_API_BASE_URL``, or ANTARES' own.
    on_progress
        Called with the kind, the bytes that have come and those of all (None where nobody says).
    longest
        Seconds that one attempt to fetch something may last; there are three.
    sleep
        Waits so many seconds between two attempts.

    Returns
    -------
    dict
        For "template", "science" and "difference" a dict with ``file_name`` and ``file_bytes``.
        The bytes are FITS, mostly compressed with gzip; the API of today has PNG for some.

    Raises
    ------
    ThumbnailError
        An image is missing or is none.  It names which; the others are in its ``thumbnails``, and
        are stored.
    OSError
        An image cannot be stored.
    """
    check(alert_id, "alert_id", (int, str))
    if not str(alert_id).strip("."):  # "..", in a URL, is another place
        raise ValueError(f'"alert_id" must be the name of an alert, not {alert_id!r}')
    check(output_dir, "output_dir", (str, os.PathLike), optional=True)
    check(base_url, "base_url", str, optional=True)
    check(longest, "longest", (int, float), least=0.001)
    api = base_url or os.environ.get("ANTARES_API_BASE_URL") or DEFAULT_API
    api = api if api.endswith("/") else api + "/"
    schemes: tuple[str, ...] = ("https://", "http://")
    if not api.lower().startswith(schemes):
        raise ValueError(f"base_url must begin with https:// or http://, not {api!r}")
    if api.lower().startswith("https://"):
        schemes = schemes[:1]  # what is vouched for does not lead to what is not
    folder = None if output_dir is None else Path(output_dir).expanduser()
    images: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}

    with fetching.Session() as session:

        def fetch(url: str, kind: str = "") -> Fetched:
            return fetching.fetch(
                url,
                using=session,
                largest=_LARGEST,
                longest=longest,
                sleep=sleep,
                on_piece=lambda got, whole: on_progress and kind and on_progress(kind, got, whole),
            )

        try:
            places = _places(api, str(alert_id), fetch)
        except CannotFetch as error:
            raise ThumbnailError(f"no images of {alert_id} from {api}: {error}") from error
        for kind in KINDS:
            try:
                image = _image(fetch, kind, str(alert_id), places.get(kind), schemes, images)
            except CannotFetch as error:
                problems[kind] = str(error)
                continue
            images[kind] = image
            if folder is not None:
                write_whole(folder / image["file_name"], image["file_bytes"])
    if problems:
        each = "; ".join(f"{kind}: {reason}" for kind, reason in problems.items())
        others = f" ({', '.join(images)} came well)" if images else ""
        raise ThumbnailError(f"images of {alert_id} are missing{others}: {each}", images)
    return images


def _places(
    api: str, alert_id: str, fetch: Callable[[str], Fetched]
) -> dict[str, tuple[str, str | None]]:
    """Return URL and file name of each kind of image."""
    url = urljoin(api, f"alerts/{quote(alert_id, safe=':')}/thumbnails")
    try:
        found = fetch(url)
    except CannotFetch as error:
        if error.status != 404:
            raise
        old = urljoin(api, f"alerts/data/{quote(alert_id, safe=':')}/thumbnails/")
        return {kind: (urljoin(old, kind), None) for kind in KINDS}
    try:
        listed = json.loads(found.content)["data"]
        entries = [_flat(entry) for entry in listed]
        return {
            str(entry["thumbnail_type"]): (
                urljoin(found.url, str(entry["src"])),
                str(entry.get("filename") or entry.get("id") or "") or None,
            )
            for entry in entries
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CannotFetch(f"{url} is no list of images: {error!r}") from error


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of v2; those of v1, and of loci, hold the same further inside."""
    inner = entry.get("data", entry)
    return {**inner, **inner.get("attributes", {})}


def _image(
    fetch: Callable[[str, str], Fetched],
    kind: str,
    alert_id: str,
    place: tuple[str, str | None] | None,
    schemes: tuple[str, ...],
    others: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    if place is None:
        raise CannotFetch("ANTARES has none")
    url, name = place
    if not url.lower().startswith(schemes):
        raise CannotFetch(f"it is to lie at {url!r}, and not behind {' or '.join(schemes)}")
    found = fetch(url, kind)
    ours = safe_name(f"{alert_id}_{kind}{_ending(found.content, url)}")
    name = name or _disposition(found.headers.get("Content-Disposition", ""))
    # The last part of the server's name, where anything is left of it and no other image has it.
    last = re.split(r"[/\\]", name)[-1].strip()
    name = safe_name(last) if last.strip(".") else ours
    taken = {one["file_name"].casefold() for one in others.values()}
    return {
        "file_name": ours if name.casefold() in taken else name,
        "file_bytes": found.content,
    }


def _disposition(header: str) -> str:
    """Return the file name of a Content-Disposition."""
    match = re.search(r'filename\s*=\s*(?:"([^"]*)"|([^;\s]+))', header, re.IGNORECASE)
    return (match[1] or match[2] or "") if match else ""


def _ending(content: bytes, url: str) -> str:
    """Return the ending for an image's kind.

    Raises
    ------
    CannotFetch
        It is no image, or not a whole one.
    """
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        if content[-8:-4] != b"IEND":
            raise CannotFetch(f"{url} is cut off")
        return ".png"
    packed = content.startswith(b"\x1f\x8b")
    image = _unpacked(content, url) if packed else content
    if not image.startswith(b"SIMPLE  ="):
        shown = image[:40].decode("ascii", "replace")
        raise CannotFetch(f"{url} is no FITS image; it begins with {shown!r}")
    if len(image) % _BLOCK:
        raise CannotFetch(f"{url} is cut off: {len(image)} bytes are no whole FITS blocks")
    return ".fits.gz" if packed else ".fits"


def _unpacked(content: bytes, url: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as file:
            image = file.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CannotFetch(f"{url} is cut off or damaged: {error}") from error
    if len(image) > _LARGEST:
        raise CannotFetch(f"{url} becomes more than {_LARGEST} bytes")
    return image
