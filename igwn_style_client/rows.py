"""What is shown of an alert: when, which superevent, what happened, how rare."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["Row", "far_text", "latency_text", "milliseconds", "printable", "row_of"]

_DAY = 86400.0
_YEAR = 365.25 * _DAY  # Julian


def far_text(far: Any) -> str:
    """Return a false alarm rate in Hz as astronomers say it: "1 per 3.2 yr", "12 per day".

    Two digits, years are Julian; what is no rate gives an empty string.
    """
    far = _finite(far)
    if far is None or far < 0:
        return ""
    if far * _YEAR < 1e-99:
        return "0"
    if far * _DAY >= 1:
        return f"{_two_digits(far * _DAY)} per day"
    days = 1 / (far * _DAY)
    value, unit = (days, "d") if far * _YEAR > 1 else (1 / (far * _YEAR), "yr")
    number = _two_digits(value)
    return f"1 per {unit}" if number == "1" else f"1 per {number} {unit}"


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON's integers are as long as they like
        return None
    return number if math.isfinite(number) else None


def _two_digits(value: float) -> str:
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    if int(exponent) >= 4:
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{float(f'{mantissa}e{exponent}'):g}"


@dataclass(frozen=True)
class Row:
    """What is shown of an alert.  What the alert does not say is empty, or None."""

    topic: str
    uid: str = ""
    superevent: str = ""
    alert_type: str = ""
    detail: str = ""  # the label's name, the notice's kind, the file that was logged
    far: float | None = None  # Hz
    instruments: str = ""
    time: datetime | None = None
    latency: float | None = None  # seconds
    labels: str = ""

    @property
    def alert(self) -> str:
        """The type and the detail."""
        return f"{self.alert_type} {self.detail}".strip()

    @property
    def style(self) -> str:
        """Loud where somebody has to act, quiet where a machine wrote to its diary."""
        if "ADVNO" in self.detail or "Retraction" in (self.detail, self.alert_type.title()):
            return "bold red"
        if self.alert_type == "voevent" or self.detail == "ADVOK":
            return "green"
        if self.uid != self.superevent or self.alert_type == "log":
            return "dim"
        return "bold" if self.alert_type == "new" else ""

    def json(self) -> str:
        """One line of JSON."""
        content = {
            "time": self.time and self.time.isoformat(),
            "topic": self.topic,
            "uid": self.uid,
            "superevent": self.superevent or None,
            "alert_type": self.alert_type,
            "far": self.far,
            "instruments": self.instruments,
            "latency_ms": milliseconds(self.latency),
        }
        return json.dumps(content)

    def line(self) -> str:
        """One line of fixed columns."""
        when = f"{self.time:%Y-%m-%dT%H:%M:%SZ}" if self.time else ""
        return (
            f"{when:20}  {self.superevent:10}  {self.topic:17}  "
            f"{self.alert:34}  {far_text(self.far):14}  {self.instruments:8}  "
            f"{latency_text(self.latency):>8}"
        )


def row_of(
    topic: str, payload: Any, time: datetime | None = None, latency: float | None = None
) -> Row:
    """Return the row of an alert of GraceDB or of IGWN's public stream.

    Of any other alert, what can be said of it: where it says nothing we know, how it begins.

    Parameters
    ----------
    topic
        Short name.
    payload
        As a callback gets it: GraceDB's is a str that holds JSON.
    time, latency
        To be shown with it; the latency in seconds.
    """
    content = _mapping(_single(getattr(payload, "content", payload)))  # Avro's is in a list
    what, data = _mapping(content.get("object")), _mapping(content.get("data"))
    preferred = _mapping(what.get("preferred_event_data"))
    public = _mapping(content.get("event"))  # of igwn.gwalert
    alert_type, far = _text(content, "alert_type"), what.get("far", public.get("far"))
    superevent = _text(what, "superevent_id") or _text(what, "superevent")
    uid = _text(content, "uid") or _text(content, "superevent_id")
    return Row(
        topic=topic,
        uid=uid,
        superevent=superevent or _text(content, "superevent_id"),
        alert_type=alert_type,
        detail=_detail(alert_type, data) if uid or alert_type else _beginning(payload),
        far=_finite(far),
        instruments=next(
            filter(None, (_text(one, "instruments") for one in (what, preferred, public))), ""
        ),
        time=time,
        latency=latency,
        labels=_text(what, "labels"),
    )


_LONGEST = 1000  # of what GraceDB sends, the labels of a superevent come nearest


def _text(content: Mapping[str, Any], name: str) -> str:
    """Return a value, or several, for one line of a terminal."""
    value = content.get(name) or ""
    text = ",".join(map(_shown, value)) if isinstance(value, list) else _shown(value)
    return printable(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...")


def _shown(value: Any) -> str:
    try:
        return str(value)
    except (RecursionError, ValueError):  # nested too deeply, a number of too many digits
        return "?"


def printable(text: str) -> str:
    """Replace what is no letter: no alert moves the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


_BEGINNING = 34  # as wide as the column


def _beginning(payload: Any) -> str:
    if isinstance(payload, str | bytes):
        text = payload if isinstance(payload, str) else payload[:200].decode("ascii", "replace")
    else:
        text = "" if payload is None else _shown(payload)[:200]
    line = printable(" ".join(text[:200].split()))
    return line if len(line) <= _BEGINNING else f"{line[: _BEGINNING - 3]}..."


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


_NOTICES = {  # GraceDB's voevent_type
    "EA": "EarlyWarning",
    "PR": "Preliminary",
    "IN": "Initial",
    "UP": "Update",
    "RE": "Retraction",
}


def _detail(alert_type: str, data: Mapping[str, Any]) -> str:
    if alert_type.startswith("label"):
        return _text(data, "name")
    if alert_type == "voevent":
        kind = _text(data, "voevent_type")
        return _NOTICES.get(kind, kind)
    if alert_type.startswith("signoff"):
        return _text(data, "signoff_type") + _text(data, "status")
    return _text(data, "filename") if alert_type == "log" else ""


def milliseconds(seconds: float | None) -> float | None:
    """Return seconds as a program gets them."""
    return None if seconds is None else round(1000 * seconds, 3)


def latency_text(seconds: float | None) -> str:
    """Return seconds as a person gets them; None is empty."""
    if seconds is None:
        return ""
    return f"{1000 * seconds:.1f} ms" if seconds < 0.1 else f"{1000 * seconds:.0f} ms"
