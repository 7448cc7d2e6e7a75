"""Seeded, realistic alerts with nobody needing the sky.

A small GraceDB lives here, and candidates that live in it: pipelines upload events, events are
grouped into superevents, annotations arrive, a notice goes out, an advocate signs off.

Keys and `alert_type` follow GraceDB's documentation (igwn-alert notifications, data models); the
order of a life and the thresholds follow GWCelery.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import accumulate, count
from operator import itemgetter
from random import Random
from typing import Any

from .alert import Alert

__all__ = ["START", "TOPICS", "gps_to_utc", "simulate", "utc_to_gps"]

START = datetime(2024, 4, 10, 15, tzinfo=timezone.utc)
"""When a simulation begins by default: the beginning of observing run O4b."""

_GPS_EPOCH = datetime(1980, 1, 6, tzinfo=timezone.utc)
_LEAP_SECONDS = 18  # GPS - UTC since 2017-01-01 (IERS Bulletin C 52); none was added since
_LAST_LEAP = datetime(2017, 1, 1, tzinfo=timezone.utc)

_WAIT = 3600.0  # mean seconds between superevents: busier than the sky, calmer than a stress test
_MDC_SHARE = 0.25
_NOISE_SHARE = 0.7  # of the candidates that are no mock data
_GRB_SHARE = 0.3  # of the mergers with a neutron star; generous
_CLUSTERING = 1.5  # seconds from an event to its superevent

_FAR_MIN, _FAR_MAX = 1e-14, 2 / 86400  # Hz; GWCelery publishes up to two false alarms a day
_SIGNIFICANT = {  # Hz: GWCelery's thresholds over its trials factors
    ("CBC", "AllSky"): 1 / (30 * 86400) / 6,
    ("CBC", "MDC"): 1 / (30 * 86400) / 6,
    ("Burst", "AllSky"): 1 / (365 * 86400) / 3,
    ("Burst", "BBH"): 1 / (30 * 86400) / 6,
}
_RAVEN_COINCIDENCES = 6.0 * 310 / (365.25 * 86400)  # a window of 6 s, 310 Fermi bursts a year
_SNR_MIN = 8.0  # of a signal; the share of signals above an SNR falls with its cube
_INSTRUMENTS = {"H1,L1": 0.6, "H1,L1,V1": 0.25, "H1": 0.05, "L1": 0.1}
_SENSITIVITY = {"H1": 1.0, "L1": 1.1, "V1": 0.4}  # relative
_LIGHT_TRAVEL = 0.010  # seconds between H1 and L1
_SOLAR_MASS = 4.925490947e-6  # seconds: G M / c^3
_KINDS = {"BBH": 0.8, "NSBH": 0.1, "BNS": 0.1}

# The columns of GraceDB's SingleInspiral that the searches leave at zero.
_UNUSED: dict[str, Any] = {
    **{f"Gamma{number}": 0.0 for number in range(10)},
    **{f"alpha{number}": 0.0 for number in ("", 1, 2, 3, 4, 5, 6)},
    **{f"tau{number}": 0.0 for number in (2, 3, 4, 5)},
    **{f"spin{body}{axis}": 0.0 for body in (1, 2) for axis in "xyz"},
    **dict.fromkeys(("amplitude", "beta", "chi", "kappa", "psi0", "psi3"), 0.0),
    **dict.fromkeys(("bank_chisq", "cont_chisq", "end_time_gmst", "event_duration"), 0.0),
    **dict.fromkeys(("bank_chisq_dof", "cont_chisq_dof", "impulse_time", "impulse_time_ns"), 0),
    "rsqveto_duration": 0.0,
}
# The columns of MultiBurst that coherent WaveBurst leaves empty.
_UNUSED_BURST: dict[str, Any] = dict.fromkeys(
    ("false_alarm_rate", "confidence", "ligo_angle", "ligo_angle_sig", "peak_time", "peak_time_ns")
)

_EVENT_LINKS = ("neighbors", "log", "emobservations", "files", "labels", "tags")
_EVENT_PATHS = {"emobservations": "emobservation", "tags": "tag"}
_SUPEREVENT_LINKS = ("events", "labels", "logs", "files", "voevents", "emobservations")
_SUMMARY = ("superevent_id", "gw_events", "preferred_event", "far", "t_start", "t_0", "t_end")
_NOT_IN_SUMMARY = {"superevent", "superevent_neighbours", "links", "reporting_latency"}
_VOEVENT_TYPES = {"Preliminary": "PR", "Initial": "IN", "Retraction": "RE"}
_ADVOCATE = "albert.einstein@LIGO.ORG"  # as in GraceDB's documentation
_PERMISSIONS = [
    {"group": "gw-astronomy:LV-EM:Observers", "permission": "view_superevent"},
    {"group": "gw-astronomy:LV-EM:Observers", "permission": "annotate_superevent"},
    {"group": "public_users", "permission": "view_superevent"},
]


@dataclass(frozen=True)
class _Pipeline:
    """Who uploads, and how many seconds after the merger it usually does."""

    group: str
    name: str
    search: str
    submitter: str
    latency: float

    @property
    def topics(self) -> tuple[str, str]:
        """Where GraceDB announces the events: with and without the search."""
        topic = f"{self.group}_{self.name}".lower()
        return topic, f"{topic}_{self.search.lower()}"


_CBC = (
    _Pipeline("CBC", "gstlal", "AllSky", "gstlalcbc", 10.0),
    _Pipeline("CBC", "MBTA", "AllSky", "mbta", 14.0),
    _Pipeline("CBC", "pycbc", "AllSky", "pycbclive", 18.0),
    _Pipeline("CBC", "spiir", "AllSky", "spiir", 12.0),
)
_BURST = (
    _Pipeline("Burst", "CWB", "AllSky", "waveburst", 25.0),
    _Pipeline("Burst", "MLy", "AllSky", "mly", 27.0),
)
_CWB_BBH = replace(_BURST[0], search="BBH")
_MDC = tuple(replace(pipeline, search="MDC") for pipeline in _CBC)

TOPICS = tuple(
    sorted(
        {"superevent", "mdc_superevent"}.union(
            *(pipeline.topics for pipeline in (*_CBC, *_MDC, *_BURST, _CWB_BBH))
        )
    )
)
"""The short names of all topics that a simulation may publish to, sorted."""


@dataclass(frozen=True)
class _Product:
    """A file that makes an event complete: its label, its tag, and when it comes (seconds)."""

    filename: str
    label: str
    tag: str
    earliest: float
    latest: float


_CBC_PRODUCTS = (
    _Product("p_astro.json", "PASTRO_READY", "p_astro", 3.0, 6.0),
    _Product("em_bright.json", "EMBRIGHT_READY", "em_bright", 4.0, 9.0),
    _Product("bayestar.multiorder.fits", "SKYMAP_READY", "sky_loc", 15.0, 45.0),
)
_COMBINED = _Product("combined-ext.multiorder.fits", "COMBINEDSKYMAP_READY", "sky_loc", 0.0, 0.0)
_BURST_PRODUCTS = {
    name: (_Product(f"{name.lower()}.multiorder.fits", "SKYMAP_READY", "sky_loc", 15.0, 60.0),)
    for name in ("CWB", "MLy")
}


@dataclass(frozen=True)
class _Source:
    """What is behind a superevent: `t_0` in GPS seconds, masses in solar masses.

    Noise has masses, too: those of the template that it resembles.
    """

    t_0: float
    kind: str
    noise: bool
    mdc: bool
    mass1: float
    mass2: float
    snr: float
    instruments: str

    @property
    def mchirp(self) -> float:
        """Chirp mass in solar masses."""
        total = self.mass1 + self.mass2
        return float((self.mass1 * self.mass2) ** 0.6 / total**0.2)

    @property
    def light(self) -> bool:
        """Whether a gamma-ray burst may come with it: it takes a neutron star."""
        return not self.noise and self.kind in ("BNS", "NSBH")


@dataclass
class _Record:
    """An event or superevent: its dictionary, its topics, and how many of what it has."""

    topics: tuple[str, ...]
    document: dict[str, Any]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def uid(self) -> str:
        return str(self.document.get("superevent_id") or self.document["graceid"])

    @property
    def rank(self) -> tuple[bool, float]:
        """Preferred is a compact binary before a burst, and then the rarest event."""
        return self.document["group"] == "CBC", -self.document["far"]


@dataclass
class _Superevent(_Record):
    """A superevent with its preferred event and its entry in `superevent_neighbours`."""

    preferred: _Record = field(kw_only=True)
    summary: dict[str, Any] = field(default_factory=dict)

    def join(self, event: _Record) -> None:
        """Take the event in, and stretch the window so that it holds the event's."""
        window = _half_window(event)
        here, data = self.document, event.document
        here["gw_events"].append(data["graceid"])
        here["t_start"] = min(here["t_start"], round(data["gpstime"] - window, 6))
        here["t_end"] = max(here["t_end"], round(data["gpstime"] + window, 6))
        data["superevent"] = here["superevent_id"]
        data["superevent_neighbours"] = {here["superevent_id"]: self.summary}
        self.prefer(max(self.preferred, event, key=lambda one: one.rank))

    def prefer(self, event: _Record) -> None:
        here, data = self.document, event.document
        self.preferred = event
        here |= {"preferred_event": data["graceid"], "t_0": data["gpstime"], "far": data["far"]}
        here["preferred_event_data"] = data
        short = {key: value for key, value in data.items() if key not in _NOT_IN_SUMMARY}
        self.summary |= {key: here[key] for key in _SUMMARY}
        self.summary["preferred_event_data"] = short | {"extra_attributes": {}}


def _half_window(event: _Record) -> float:
    """Seconds: 1 for compact binaries, the duration of a burst, as in GWCelery."""
    attributes = event.document["extra_attributes"]
    burst = attributes.get("MultiBurst") or attributes.get("MLyBurst") or {"duration": 1.0}
    return float(burst["duration"])


_Action = Callable[[], None]
_Step = tuple[float, _Action]  # at this GPS time, do this


def simulate(
    seed: int | None = None,
    superevents: int | None = None,
    *,
    group: str = "gracedb",
    start: datetime | None = None,
) -> Iterator[Alert]:
    """Return alerts as GraceDB would send them, in the order of time.

    Superevents come at random, on average one an hour, and their lives interleave.  A false alarm
    rate is as common as it says; signals are spread evenly in space; a quarter of the superevents
    are mock data (MDC).  Nothing waits: `Alert.time` tells when GraceDB would have sent an alert.

    Parameters
    ----------
    seed
        The same seed gives the same alerts; None gives others each time.
    superevents
        How many superevents to follow to their end; None never ends.
    group
        GraceDB's prefix of the full topic names, such as "gracedb-playground".
    start
        The beginning of the simulated time; None is `START`.

    Raises
    ------
    ValueError
        `start` has no time zone or lies before 2017, or `superevents` is negative.
    """
    if superevents is not None and superevents < 0:
        raise ValueError(f"superevents is {superevents}; give 0 or more, or None for no end")
    random = Random(seed)  # noqa: S311 - nothing secret is drawn
    return _run(_GraceDB(group), random, superevents, utc_to_gps(start or START))


def utc_to_gps(time: datetime) -> float:
    """Return the GPS time in seconds of a time since 2017.

    Raises
    ------
    ValueError
        `time` has no time zone or lies before 2017, when there were fewer leap seconds.
    """
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone; give one, such as timezone.utc")
    if time < _LAST_LEAP:
        raise ValueError(f"{time} lies before 2017; GPS time is known here from 2017 on")
    return (time - _GPS_EPOCH).total_seconds() + _LEAP_SECONDS


def gps_to_utc(gps: float) -> datetime:
    """Return the UTC time of GPS seconds since 2017, to the microsecond."""
    return _GPS_EPOCH + timedelta(seconds=gps - _LEAP_SECONDS)


def _run(gracedb: _GraceDB, random: Random, superevents: int | None, t_0: float) -> Iterator[Alert]:
    agenda: list[tuple[float, int, _Action]] = []
    order = count()
    for _ in count() if superevents is None else range(superevents):
        t_0 += random.expovariate(1 / _WAIT)
        yield from _work(gracedb, agenda, until=t_0)
        # Each life draws for itself, so that it does not depend on how many others there are.
        own = Random(random.getrandbits(64))  # noqa: S311
        for time, action in _life(gracedb, own, _source(own, t_0)):
            heapq.heappush(agenda, (time, next(order), action))
    yield from _work(gracedb, agenda, until=math.inf)


def _work(
    gracedb: _GraceDB, agenda: list[tuple[float, int, _Action]], until: float
) -> Iterator[Alert]:
    while agenda and agenda[0][0] < until:
        gracedb.clock, _, action = heapq.heappop(agenda)
        action()
        yield from gracedb.sent
        gracedb.sent.clear()


# What happens in the sky and in the detectors.


def _source(random: Random, t_0: float) -> _Source:
    mdc = random.random() < _MDC_SHARE
    noise = not mdc and random.random() < _NOISE_SHARE
    kind = _choose(random, _KINDS)
    mass1, mass2 = _masses(random, kind)
    if noise:
        kind = "Burst" if random.random() < 0.2 else kind
        snr = _snr(_FAR_MAX * (1 - random.random()))
    else:
        snr = _SNR_MIN * (1 - random.random()) ** (-1 / 3)
    instruments = "H1,L1" if kind == "Burst" else _choose(random, _INSTRUMENTS)
    return _Source(t_0, kind, noise, mdc, mass1, mass2, snr, instruments)


def _choose(random: Random, weights: dict[str, float]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]


def _masses(random: Random, kind: str) -> tuple[float, float]:
    """Solar masses: neutron stars of 1.1 to 2.2, black holes of 5 to 80, few of them heavy."""
    if kind == "BNS":
        one, two = random.uniform(1.1, 2.2), random.uniform(1.1, 2.2)
        return max(one, two), min(one, two)
    black_hole = min(5.0 * random.paretovariate(1.3), 80.0)
    if kind == "NSBH":
        return black_hole, random.uniform(1.1, 2.2)
    return black_hole, random.uniform(max(5.0, black_hole / 4), black_hole)


def _far(snr: float) -> float:
    """False alarm rate in Hz: ten times rarer for each unit of SNR.

    So it is in GraceDB's published events: 9.8e-7 Hz at 8.13 (G194533), 9.1e-14 Hz at 15.16
    (M394156).  A background is finite, so that there is an upper limit to how rare it shows.
    """
    return float(max(10 ** (2.1 - snr), _FAR_MIN))


def _snr(far: float) -> float:
    return 2.1 - math.log10(far)


def _detections(random: Random, source: _Source) -> list[tuple[float, _Record]]:
    """Which pipelines find the source: pairs of upload time and event, in order."""
    if source.kind == "Burst":
        pipelines = [random.choice(_BURST)]
    elif source.noise:
        pipelines = [random.choice(_CBC)]
    else:
        pipelines = random.sample(_MDC if source.mdc else _CBC, random.randint(2, 4))
        if source.kind == "BBH" and not source.mdc and "," in source.instruments:
            pipelines.append(_CWB_BBH)
    found = []
    for pipeline in pipelines:
        snr = source.snr * (1.0 if source.noise else random.uniform(0.94, 1.0))
        time = source.t_0 + pipeline.latency * random.uniform(0.6, 1.5)
        found.append((time, _event(random, source, pipeline, snr)))
    return sorted(found, key=itemgetter(0))


# The dictionaries of GraceDB.


def _event(random: Random, source: _Source, pipeline: _Pipeline, snr: float) -> _Record:
    gps = round(source.t_0 + random.uniform(-0.005, 0.005), 6)
    far = _far(snr)
    if pipeline.group == "CBC":
        attributes = _inspiral(random, source, gps, snr)
        likelihood: float | None = 5.95 * snr - 41.3  # the line through G194533 and M394156
    else:
        attributes = _burst(random, pipeline, source.instruments, gps, snr)
        likelihood = snr**2 if pipeline.name == "CWB" else None
    document: dict[str, Any] = {
        "submitter": pipeline.submitter,
        "created": None,
        "group": pipeline.group,
        "graceid": None,
        "pipeline": pipeline.name,
        "gpstime": gps,
        "reporting_latency": None,
        "instruments": source.instruments,
        "nevents": source.instruments.count(",") + 1 if pipeline.group == "CBC" else None,
        "offline": False,
        "search": pipeline.search,
        "far": far,
        "far_is_upper_limit": far == _FAR_MIN,
        "likelihood": likelihood,
        "labels": [],
        "extra_attributes": attributes,
        "superevent": None,
        "superevent_neighbours": {},
    }
    return _Record(pipeline.topics, document)


def _inspiral(random: Random, source: _Source, gps: float, snr: float) -> dict[str, Any]:
    instruments = source.instruments.split(",")
    amplitudes = [_SENSITIVITY[ifo] * random.uniform(0.7, 1.0) for ifo in instruments]
    scale = snr / math.hypot(*amplitudes)
    far = _far(snr)
    coinc = {
        "ifos": source.instruments,
        "end_time": int(gps),
        "end_time_ns": round(gps % 1 * 1e9),
        "mass": source.mass1 + source.mass2,
        "mchirp": source.mchirp,
        "minimum_duration": _chirp_time(source.mchirp),
        "snr": snr,
        "false_alarm_rate": -math.expm1(-far * 30 * 86400),  # a probability, in spite of its name
        "combined_far": far,
    }
    singles = [
        _single(random, source, ifo, gps, amplitude * scale)
        for ifo, amplitude in zip(instruments, amplitudes, strict=True)
    ]
    return {"CoincInspiral": coinc, "SingleInspiral": singles}


def _single(random: Random, source: _Source, ifo: str, gps: float, snr: float) -> dict[str, Any]:
    end = gps + random.uniform(-_LIGHT_TRAVEL, _LIGHT_TRAVEL) / 2
    total, duration = source.mass1 + source.mass2, _chirp_time(source.mchirp)
    # What an optimally placed source would reach at 1 Mpc; M394156 had 5.69e6 at 1.34 solar masses.
    sigmasq = 5.69e6 * _SENSITIVITY[ifo] ** 2 * (source.mchirp / 1.34) ** (5 / 3)
    return _UNUSED | {
        "ifo": ifo,
        "search": "",
        "channel": "GDS-CALIB_STRAIN_CLEAN",
        "end_time": int(end),
        "end_time_ns": round(end % 1 * 1e9),
        "mass1": source.mass1,
        "mass2": source.mass2,
        "mtotal": total,
        "mchirp": source.mchirp,
        "eta": source.mass1 * source.mass2 / total**2,
        "tau0": duration,
        "ttotal": duration,
        "template_duration": duration,
        "f_final": 1024.0,
        "snr": snr,
        "sigmasq": sigmasq,
        "eff_distance": math.sqrt(sigmasq) / snr,
        "coa_phase": random.uniform(-math.pi, math.pi),
        "chisq": random.uniform(0.7, 1.3),
        "chisq_dof": 1,
    }


def _chirp_time(mchirp: float) -> float:
    """Seconds from 25 Hz to the merger, to Newtonian order."""
    return float(5 / 256 * (math.pi * 25) ** (-8 / 3) * (mchirp * _SOLAR_MASS) ** (-5 / 3))


def _burst(
    random: Random, pipeline: _Pipeline, instruments: str, gps: float, snr: float
) -> dict[str, Any]:
    frequency, duration = random.uniform(40.0, 900.0), random.uniform(0.005, 0.2)
    if pipeline.name == "MLy":
        coherency, coincidence = random.random(), random.random()
        scores = {"coherency": coherency, "coincidence": coincidence}
        scores["combined"] = coherency * coincidence  # as in the documented G648217
        attributes = {
            "bandwidth": 64.0,
            "central_freq": frequency,
            "central_time": gps,
            "duration": duration,
            "SNR": snr,
            "detection_statistic": None,
            "scores": scores,
        }
        return {"MLyBurst": attributes}
    start = gps - duration / 2
    attributes = _UNUSED_BURST | {
        "ifos": instruments,
        "start_time": int(start),
        "start_time_ns": round(start % 1 * 1e9),
        "single_ifo_times": ",".join(f"{gps:.4f}" for _ in instruments.split(",")),
        "central_freq": frequency,
        "bandwidth": 64.0,
        "duration": duration,
        "snr": snr,
        "amplitude": snr / math.sqrt(2),
        "ligo_axis_ra": random.uniform(0.0, 360.0),
        "ligo_axis_dec": math.degrees(math.asin(random.uniform(-1.0, 1.0))),
    }
    return {"MultiBurst": attributes}


class _GraceDB:
    """What GraceDB does when it is asked to, and the alerts that it sends for it.

    `clock` is the GPS time now; `sent` holds the alerts since it was last cleared.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self.clock = 0.0
        self.sent: list[Alert] = []
        self._url = f"https://{group}.ligo.org/api"
        self._offsets: Counter[str] = Counter()
        self._superevents: Counter[str] = Counter()
        self._events = count(480001)  # one series for G, M and E, as in GraceDB

    def create_event(self, event: _Record) -> None:
        document = event.document
        document["graceid"] = self._graceid("M" if document["search"] == "MDC" else "G")
        document["created"] = self._now()
        document["reporting_latency"] = round(self.clock - document["gpstime"], 6)
        base = f"{self._url}/events/{event.uid}"
        paths = ((name, _EVENT_PATHS.get(name, name)) for name in _EVENT_LINKS)
        document["links"] = {name: f"{base}/{path}/" for name, path in paths} | {"self": base}
        self._send(event, "new", document)

    def create_superevent(self, superevent: _Superevent) -> None:
        event, document = superevent.preferred, superevent.document
        uid = self._superevent_id(event.document["gpstime"], document["category"] == "MDC")
        base = f"{self._url}/superevents/{uid}/"
        document["superevent_id"] = uid
        document["created"] = self._now()
        document["links"] = {name: f"{base}{name}/" for name in _SUPEREVENT_LINKS} | {"self": base}
        superevent.join(event)
        self._send(superevent, "new", document)
        self._send(event, "selected_as_preferred", event.document)

    def add_event(self, superevent: _Superevent, event: _Record) -> None:
        document, old = superevent.document, superevent.preferred
        window = document["t_start"], document["t_end"]
        superevent.join(event)
        self._send(superevent, "event_added", document)
        self._send(event, "added_to_superevent", event.document)
        if superevent.preferred is event:
            self._send(old, "removed_as_preferred", old.document)
            self._send(event, "selected_as_preferred", event.document)
        if superevent.preferred is event or window != (document["t_start"], document["t_end"]):
            self._send(superevent, "update", document)

    def add_external(self, superevent: _Superevent, overlap: float) -> None:
        """Add a gamma-ray burst, as RAVEN does; `overlap` is that of the two sky maps."""
        document = superevent.document
        document["em_type"] = self._graceid("M" if document["category"] == "MDC" else "E")
        document["em_events"].append(document["em_type"])
        self._send(superevent, "event_added", document)
        document["time_coinc_far"] = document["far"] * _RAVEN_COINCIDENCES
        document["space_coinc_far"] = document["time_coinc_far"] / overlap
        self._send(superevent, "update", document)

    def label(self, record: _Record, name: str) -> None:
        record.document["labels"].append(name)
        self._send(record, "label_added", self._label(record, name))

    def log(self, record: _Record, comment: str, filename: str = "", tag: str = "") -> None:
        record.counts["log"] += 1
        number, base = record.counts["log"], record.document["links"]["self"].rstrip("/")
        data = {
            "N": number,
            "comment": comment,
            "created": self._now(),
            "file": f"{base}/files/{filename},0" if filename else None,
            "file_version": 0 if filename else None,
            "filename": filename,
            "issuer": "emfollow",
            "self": f"{base}/logs/{number}/",
            "tag_names": [tag] if tag else [],
        }
        self._send(record, "log", data)

    def voevent(self, superevent: _Record, kind: str) -> None:
        superevent.counts["voevent"] += 1
        number, base = superevent.counts["voevent"], superevent.document["links"]["self"]
        name = f"{superevent.uid}-{number}-{kind}"
        data = {
            "N": number,
            "created": self._now(),
            "file_version": 0,
            "filename": f"{name}.xml",
            "issuer": "emfollow",
            "ivorn": f"ivo://gwnet/LVC#{name}",
            "links": {"file": f"{base}files/{name}.xml,0", "self": f"{base}voevents/{number}/"},
            "voevent_type": _VOEVENT_TYPES[kind],
        }
        self._send(superevent, "voevent", data)

    def expose(self, superevent: _Record) -> None:
        self._send(superevent, "exposed", _PERMISSIONS)

    def sign_off(self, superevent: _Record, status: str) -> None:
        """The advocate answers "OK" or "NO"; GraceDB then changes the label itself."""
        data = {
            "comment": "Everything looks good" if status == "OK" else "This looks like noise",
            "instrument": "",
            "self": f"{superevent.document['links']['self']}signoffs/ADV/",
            "signoff_type": "ADV",
            "status": status,
            "submitter": _ADVOCATE,
        }
        self._send(superevent, "signoff_created", data)
        superevent.document["labels"].remove("ADVREQ")
        self._send(superevent, "label_removed", self._label(superevent, "ADVREQ"))
        self.label(superevent, f"ADV{status}")

    def _label(self, record: _Record, name: str) -> dict[str, Any]:
        base = record.document["links"]["self"].rstrip("/")
        creator = _ADVOCATE if name in ("ADVOK", "ADVNO") else "emfollow"
        return {
            "created": self._now(),
            "creator": creator,
            "name": name,
            "self": f"{base}/labels/{name}",
        }

    def _send(self, record: _Record, alert_type: str, data: Any) -> None:
        document = record.document
        content = {"uid": record.uid, "alert_type": alert_type, "data": data, "object": document}
        payload, time = json.dumps(content), gps_to_utc(self.clock)
        for topic in record.topics:
            offset = self._offsets[topic]
            self._offsets[topic] += 1
            self.sent.append(
                Alert(topic, payload, f"{self.group}.{topic}", offset=offset, time=time)
            )

    def _now(self) -> str:
        return f"{gps_to_utc(self.clock):%Y-%m-%d %H:%M:%S} UTC"

    def _graceid(self, prefix: str) -> str:
        return f"{prefix}{next(self._events)}"

    def _superevent_id(self, t_0: float, mdc: bool) -> str:
        """S, the date of `t_0`, and a, b, ..., z, aa, ab, ... as they come on that day."""
        day = f"{'MS' if mdc else 'S'}{gps_to_utc(t_0):%y%m%d}"
        self._superevents[day] += 1
        number, letters = self._superevents[day], ""
        while number:
            number, letter = divmod(number - 1, 26)
            letters = chr(ord("a") + letter) + letters
        return day + letters


# The life of a superevent: who does what, and when.


def _life(gracedb: _GraceDB, random: Random, source: _Source) -> list[_Step]:
    uploads = _detections(random, source)
    life = _Life(gracedb, random, _superevent(source, uploads[0][1]))
    steps = life.clustering(uploads)
    for time, event in uploads:
        steps += life.annotation(event, time)
    external = source.light and random.random() < _GRB_SHARE
    if external:
        steps += life.coincidence(uploads[-1][0])
    preferred = max((event for _, event in uploads), key=lambda event: event.rank)
    complete = max(time for time, _ in steps)
    steps += life.notice(preferred, external, complete)
    if _significant(preferred):
        steps += life.advocacy(source.noise, steps[-1][0])
    return steps


def _superevent(source: _Source, first: _Record) -> _Superevent:
    document: dict[str, Any] = {
        "superevent_id": None,
        "gw_id": None,
        "category": "MDC" if source.mdc else "Production",
        "created": None,
        "submitter": "emfollow",
        "preferred_event": None,
        "em_type": None,
        "t_start": math.inf,
        "t_0": None,
        "t_end": -math.inf,
        "gw_events": [],
        "em_events": [],
        "far": None,
        "time_coinc_far": None,
        "space_coinc_far": None,
        "labels": [],
    }
    topic = "mdc_superevent" if source.mdc else "superevent"
    return _Superevent((topic,), document, preferred=first)


def _significant(event: _Record) -> bool:
    document = event.document
    return bool(document["far"] <= _SIGNIFICANT[document["group"], document["search"]])


def _products(event: _Record) -> tuple[_Product, ...]:
    return _BURST_PRODUCTS.get(event.document["pipeline"], _CBC_PRODUCTS)


@dataclass(frozen=True)
class _Life:
    """The stages of one superevent's life.  Each returns its steps in the order of time."""

    gracedb: _GraceDB
    random: Random
    superevent: _Superevent

    def clustering(self, uploads: list[tuple[float, _Record]]) -> list[_Step]:
        """Events are uploaded; the first makes the superevent, the others are added."""
        steps: list[_Step] = []
        for number, (time, event) in enumerate(uploads):
            join = partial(self.gracedb.add_event, self.superevent, event)
            if number == 0:
                join = partial(self.gracedb.create_superevent, self.superevent)
            steps += [(time, partial(self.gracedb.create_event, event)), (time + _CLUSTERING, join)]
        return steps

    def annotation(self, event: _Record, uploaded: float) -> list[_Step]:
        """The files that make an event complete; each is logged, then labelled."""
        steps: list[_Step] = []
        for product in _products(event):
            time = uploaded + _CLUSTERING + self.random.uniform(product.earliest, product.latest)
            log, label = self._publish(event, product, f"Uploaded {product.filename}")
            steps += [(time, log), (time + 0.5, label)]
        return steps

    def coincidence(self, uploaded: float) -> list[_Step]:
        """A gamma-ray burst in the same seconds, found by RAVEN."""
        overlap = self.random.uniform(0.5, 5.0)
        join = partial(self.gracedb.add_external, self.superevent, overlap)
        found = uploaded + self.random.uniform(10.0, 40.0)
        return self._paced(found, [join, self._label("EM_COINC")])

    def notice(self, preferred: _Record, external: bool, complete: float) -> list[_Step]:
        """From the complete preferred event to the first preliminary notice."""
        significant = _significant(preferred)
        actions = [self._label("EM_READY"), self._label("LOW_SIGNIF_LOCKED")]
        if significant:
            actions += [self._label("SIGNIF_LOCKED"), self._label("DQR_REQUEST")]
        comment = "Detector state and injections checked"
        actions += [partial(self.gracedb.log, self.superevent, comment, tag="data_quality")]
        actions += [self._label("DQOK")]
        for product in _products(preferred):
            actions += self._publish(self.superevent, product, "Copied from the preferred event")
        if external:
            actions += self._publish(self.superevent, _COMBINED, "Combined with the burst's map")
            actions += [self._label("RAVEN_ALERT")]
        actions += [partial(self.gracedb.expose, self.superevent), self._voevent("Preliminary")]
        actions += [self._label("GCN_PRELIM_SENT" if significant else "LOW_SIGNIF_PRELIM_SENT")]
        if significant:
            actions += [self._label("ADVREQ")]
        return self._paced(complete, actions)

    def advocacy(self, noise: bool, noticed: float) -> list[_Step]:
        """A second preliminary notice after five minutes; then a person retracts the noise."""
        decided = noticed + self.random.uniform(600.0, 2400.0)
        status, notice = ("NO", "Retraction") if noise else ("OK", "Initial")
        return [
            (noticed + 300.0, self._voevent("Preliminary")),
            (decided, partial(self.gracedb.sign_off, self.superevent, status)),
            (decided + self.random.uniform(5.0, 60.0), self._voevent(notice)),
        ]

    def _paced(self, time: float, actions: list[_Action]) -> list[_Step]:
        pauses = accumulate(self.random.uniform(0.5, 4.0) for _ in actions)
        return [(time + pause, action) for pause, action in zip(pauses, actions, strict=True)]

    def _label(self, name: str) -> _Action:
        return partial(self.gracedb.label, self.superevent, name)

    def _voevent(self, kind: str) -> _Action:
        return partial(self.gracedb.voevent, self.superevent, kind)

    def _publish(self, record: _Record, product: _Product, comment: str) -> tuple[_Action, _Action]:
        log = partial(self.gracedb.log, record, comment, product.filename, product.tag)
        return log, partial(self.gracedb.label, record, product.label)
