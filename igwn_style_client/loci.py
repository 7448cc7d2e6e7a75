"""How ANTARES speaks: streams ``client.NAME``, loci as zlib-compressed BSON."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from . import documents
from .dialect import Dialect
from .errors import DecodeError

__all__ = ["Locus", "dialect", "on_the_server", "short_name", "streams_of"]

log = logging.getLogger(__name__)

# Topics are ``client.NAME`` since antares-client 1.0.6, and NAME before.
_PREFIX = "client."

# The largest locus that was recorded has 0.2 MB.
_LARGEST = 64 * 2**20
_FORMAT = "zlib-compressed BSON"
# hop's decoder makes objects of its user's classes of what has this key.
_CLASS = b"$$__CLASS_NAME__$$"


def dialect(decode: Callable[[dict[str, Any]], Any] = lambda payload: payload) -> Dialect:
    """Return the dialect of ANTARES.

    Parameters
    ----------
    decode
        What becomes of each payload; may raise `DecodeError`.
    """

    def read(value: bytes) -> Any:
        return decode(_document(_inflated(value)))

    return Dialect(
        "antares",
        full_name=lambda stream: _PREFIX + stream,
        short_name=short_name,
        decoders={None: read},
        otherwise=read,  # ANTARES declares nothing, and sends nothing else
    )


def short_name(topic: str) -> str:
    """Return the name of a stream, which may have the prefix."""
    return topic.removeprefix(_PREFIX) or topic


def streams_of(topics: Collection[str]) -> list[str]:
    """Return the short names of what a server has, without what is Kafka's own, sorted."""
    return sorted({short_name(name) for name in topics if not name.startswith("__")})


def on_the_server(streams: Sequence[str], existing: Collection[str]) -> list[str]:
    """Return the full names of streams: with the prefix, or bare where only that exists."""
    bare = {one for one in streams if one in existing and _PREFIX + one not in existing}
    return list(dict.fromkeys(one if one in bare else _PREFIX + one for one in streams))


def _inflated(value: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        # Not more than that is made of it, whatever it would become.
        content = inflater.decompress(value, _LARGEST + 1)
    except zlib.error as error:
        raise DecodeError(_FORMAT, str(error)) from error
    if len(content) > _LARGEST:
        raise DecodeError(_FORMAT, f"its {len(value)} bytes become more than {_LARGEST}")
    if not inflater.eof:
        raise DecodeError(_FORMAT, "the compressed bytes are cut off")
    return content


def _document(content: bytes) -> dict[str, Any]:
    if _decode_quickly is not None and _CLASS not in content:
        try:
            return _decode_quickly(content)
        except Exception:  # hop's decoder says what is to become of it
            log.debug("PyMongo cannot read it, or reads it otherwise than hop", exc_info=True)
    return _decode_slowly(content)


def _decode_slowly(content: bytes) -> dict[str, Any]:
    try:
        return documents.loads(content)
    except Exception as error:  # hop's decoder raises whatever the bytes lead it to
        raise DecodeError(_FORMAT, str(error) or repr(error)) from error


def _quick_decoder() -> Callable[[bytes], dict[str, Any]] | None:
    """Return PyMongo's decoder, where its C code is installed; another package has its name too."""
    try:
        import bson
        from bson import codec_options, datetime_ms

        if not bson.has_c():
            return None
    except (ImportError, AttributeError):
        return None

    def refuse(value: Any) -> NoReturn:
        raise TypeError(f"{type(value).__name__} is not read as hop reads it")

    def converting(kind: Any, convert: Callable[[Any], Any]) -> Any:
        methods = {"bson_type": kind, "transform_bson": lambda _self, value: convert(value)}
        return type(kind.__name__, (codec_options.TypeDecoder,), methods)()

    import datetime

    names = ("Binary", "Code", "DBRef", "Decimal128", "MaxKey", "MinKey", "ObjectId", "Regex")
    kinds = [getattr(bson, name) for name in (*names, "Timestamp")]
    kinds += [datetime.datetime, datetime_ms.DatetimeMS]
    registry = codec_options.TypeRegistry(
        [converting(bson.Int64, int), *(converting(kind, refuse) for kind in kinds)]
    )
    options: Any = codec_options.CodecOptions(type_registry=registry)
    return lambda content: bson.decode(content, options)


_decode_quickly = _quick_decoder()


# -- a locus ---------------------------------------------------------------------------------------

# What the messages of 0.x have as a number.
_SURVEYS = {1: "ztf"}

_ELSEWHERE = {
    "alerts": 'ask the ANTARES API ("loci/ID/alerts"), or antares-client\'s search',
    "lightcurve": 'ask the ANTARES API ("loci/ID"), or antares-client\'s search',
    "timeseries": "it is made of alerts, which the ANTARES API has",
    "catalog_objects": 'ask the ANTARES API ("loci/ID/catalog-matches"); the names are in catalogs',
    "coordinates": 'astropy.coordinates.SkyCoord(locus.ra, locus.dec, unit="deg") makes them',
    "watch_list_ids": "messages do not have them",
    "watch_object_ids": "messages do not have them",
    "grav_wave_events": "messages do not have them",
    "grav_wave_events_data": "ask the ANTARES API, or GraceDB with the `client` of this package",
    "to_devkit": "payload is what was sent",
}


@dataclass(frozen=True)
class Locus:
    """One place in the sky and its newest alert: the same fields for all that ANTARES ever sent.

    What a message does not say is None, or empty.

    Attributes
    ----------
    locus_id : str or int
        ANTARES' name of the place; a number until 0.x.
    alert_id : str, int or None
        Of the newest alert, such as "ztf_candidate:2838539073315010071"; a number until 0.x.
    ra, dec : float
        Right ascension and declination in degrees (ICRS): of the locus, until 0.x of the alert.
    mjd : float or None
        When the newest alert was observed, as Modified Julian Date.
    survey : str, int or None
        Who observed it: "ztf" or "lsst".
    properties : dict
        Of the locus; until 0.x of the alert.
    tags : list of str
        What ANTARES' filters say of it.
    catalogs : list of str
        Names of the catalogues in which something is there.
    payload : dict
        All that was sent.
    """

    locus_id: str | int
    alert_id: str | int | None
    ra: float
    dec: float
    mjd: float | None
    survey: str | int | None
    properties: dict[str, Any] = field(repr=False)
    tags: list[str]
    catalogs: list[str]
    payload: dict[str, Any] = field(repr=False)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Locus:
        """Read a message of antares-client 0.x (an alert), 1.x (nested) or 2.x (nested or flat).

        Raises
        ------
        DecodeError
            It is none of these, or has no place.
        """
        try:
            return _of_alert(payload) if "new_alert" in payload else _of_locus(payload)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DecodeError("an ANTARES locus", reason) from error

    def __hash__(self) -> int:
        return hash((self.locus_id, self.alert_id))

    def __getattr__(self, name: str) -> NoReturn:
        """Say where to find what antares-client's Locus has, and a message has not."""
        instead = _ELSEWHERE.get(name)
        if instead is None:
            raise AttributeError(f"a Locus has no {name!r}")
        raise AttributeError(f"a Locus as received has no {name!r}: {instead}")


def _of_alert(payload: Mapping[str, Any]) -> Locus:
    alert = payload["new_alert"]
    return Locus(
        locus_id=alert["locus_id"],
        alert_id=alert.get("alert_id"),
        ra=_degrees(alert, "ra"),
        dec=_degrees(alert, "dec"),
        mjd=alert.get("mjd"),
        survey=_SURVEYS.get(alert.get("survey"), alert.get("survey")),
        properties=dict(alert.get("properties") or {}),
        tags=[],
        catalogs=list(payload.get("catalog_objects") or ()),
        payload=dict(payload),
    )


def _of_locus(payload: Mapping[str, Any]) -> Locus:
    nested = payload.get("data")
    locus = payload if nested is None else {"id": nested["id"], **nested["attributes"]}
    # The second names are those of ANTARES' development kit, which writes loci into files.
    properties = dict(locus.get("properties") or locus.get("old_properties") or {})
    alert_id = properties.get("newest_alert_id")
    return Locus(
        locus_id=locus["id"],
        alert_id=alert_id,
        ra=_degrees(locus, "ra"),
        dec=_degrees(locus, "dec"),
        mjd=properties.get("newest_alert_observation_time"),
        survey=_survey(alert_id, properties),
        properties=properties,
        tags=list(locus.get("tags") or locus.get("user_tags") or ()),
        catalogs=list(locus.get("catalogs") or locus.get("catalog_objects") or ()),
        payload=dict(payload),
    )


def _degrees(place: Mapping[str, Any], name: str) -> float:
    value = place[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"its {name!r} is {value!r}, and no number of degrees")
    return float(value)


def _survey(alert_id: Any, properties: Mapping[str, Any]) -> str | None:
    """Tell the survey by the alert's name, "lsst:ID" or "ztf_candidate:ID", or by its objects'."""
    for survey in ("ztf", "lsst"):
        if str(alert_id).startswith((survey + ":", survey + "_")):
            return survey
    if "ztf_object_id" in properties:
        return "ztf"
    known = properties.get("survey")
    named = {name for name, ids in known.items() if any(ids.values())} if known else set()
    return named.pop() if len(named) == 1 else None
