"""Simulated alerts: their order, their physics, and GraceDB's own dictionaries beside ours."""

import json
import math
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igwn_style_client.simulation import START, TOPICS, gps_to_utc, simulate, utc_to_gps

SUPEREVENT_TOPICS = {"superevent", "mdc_superevent"}
MAX_FAR = 2.4e-5

# Keys that GraceDB's documentation allows to be null where a recorded one is not.
NULLABLE = {"far", "likelihood", "nevents", "superevent", "minimum_duration", "file"}
NULLABLE |= {"file_version", "gw_id", "em_type", "time_coinc_far", "space_coinc_far"}
# Only in fixtures of GWCelery: GraceDB's documentation does not know them (any more).
OLD = {"description", "processing_status"}


@pytest.fixture(scope="module")
def alerts():
    return list(simulate(seed=1, superevents=300))


@pytest.fixture(scope="module")
def payloads(alerts):
    """Each payload once, although an event's goes to two topics."""
    texts = dict.fromkeys(alert.payload for alert in alerts)
    return [json.loads(text) for text in texts]


@pytest.fixture(scope="module")
def of_superevents(payloads):
    return [payload for payload in payloads if "superevent_id" in payload["object"]]


@pytest.fixture(scope="module")
def of_events(payloads):
    return [payload for payload in payloads if "graceid" in payload["object"]]


@pytest.fixture(scope="module")
def events(of_events):
    return [payload["object"] for payload in of_events if payload["alert_type"] == "new"]


@pytest.fixture(scope="module")
def inspirals(events):
    return [event for event in events if event["group"] == "CBC"]


@pytest.fixture(scope="module")
def lives(of_superevents):
    """The payloads of each superevent, in order."""
    lives = defaultdict(list)
    for payload in of_superevents:
        lives[payload["uid"]].append(payload)
    return lives


def news(alerts):
    found = (alert for alert in alerts if alert.topic in SUPEREVENT_TOPICS)
    pairs = ((alert, json.loads(alert.payload)) for alert in found)
    return [(alert, payload) for alert, payload in pairs if payload["alert_type"] == "new"]


def created(document):
    return datetime.strptime(document["created"], "%Y-%m-%d %H:%M:%S UTC").replace(
        tzinfo=timezone.utc
    )


def chirp_mass(one, two):
    return (one * two) ** (3 / 5) / (one + two) ** (1 / 5)


# The stream


def test_same_seed_same_alerts():
    assert list(simulate(7, 10)) == list(simulate(7, 10))


def test_other_seed_other_alerts():
    assert list(simulate(7, 10)) != list(simulate(8, 10))
    assert next(simulate()).payload != next(simulate()).payload


def test_a_longer_simulation_begins_like_a_shorter_one():
    """Until the shorter one's last superevents end without the next to interleave with."""
    short, long = list(simulate(7, 10)), list(simulate(7, 12))
    assert short[: len(short) // 2] == long[: len(short) // 2]


@pytest.mark.parametrize("number", [0, 1, 25])
def test_bounded(number):
    assert len(news(simulate(3, number))) == number


def test_endless():
    assert len(list(islice(simulate(3), 5000))) == 5000


def test_ordered_by_time(alerts):
    times = [alert.time for alert in alerts]
    assert times == sorted(times)
    assert all(time.utcoffset() == timedelta(0) for time in times)


def test_default_start(alerts):
    assert START < alerts[0].time < START + timedelta(days=1)


def test_start_group_and_full_name():
    start = datetime(2026, 1, 31, 23, tzinfo=timezone(timedelta(hours=5)))
    (first, *_) = simulate(1, 1, group="gracedb-playground", start=start)
    assert start < first.time < start + timedelta(days=1)
    assert first.full_name == f"gracedb-playground.{first.topic}"
    assert "https://gracedb-playground.ligo.org/api/" in first.payload


def test_topics(alerts):
    assert list(TOPICS) == sorted(TOPICS)
    assert {alert.topic for alert in alerts} == set(TOPICS)
    expected = {"cbc_gstlal", "cbc_gstlal_allsky", "cbc_gstlal_mdc", "burst_cwb_bbh"}
    assert expected | SUPEREVENT_TOPICS <= set(TOPICS)


def test_offsets_count_per_topic(alerts):
    offsets = defaultdict(list)
    for alert in alerts:
        offsets[alert.topic].append(alert.offset)
    assert all(found == list(range(len(found))) for found in offsets.values())


def test_payload_is_text_with_the_four_keys(alerts):
    assert all(isinstance(alert.payload, str) for alert in alerts)
    assert all(
        list(json.loads(alert.payload)) == ["uid", "alert_type", "data", "object"]
        for alert in alerts
    )


def test_an_event_goes_to_two_topics(alerts):
    topics = defaultdict(set)
    for alert in alerts:
        topics[alert.payload].add(alert.topic)
    for text, found in topics.items():
        document = json.loads(text)["object"]
        if "graceid" in document:
            short = f"{document['group']}_{document['pipeline']}".lower()
            assert found == {short, f"{short}_{document['search'].lower()}"}
        else:
            assert found == {"mdc_superevent" if document["category"] == "MDC" else "superevent"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"superevents": -1},
        {"start": datetime(2020, 1, 1)},
        {"start": datetime(2016, 12, 31, tzinfo=timezone.utc)},
    ],
)
def test_impossible_arguments_are_refused_at_once(arguments):
    with pytest.raises(ValueError, match=r"-1|time zone|before 2017"):
        simulate(1, **arguments)


# Time and names


@pytest.mark.parametrize(
    ("gps", "utc"),
    [
        (1167264018.0, "2017-01-01 00:00:00"),  # the last leap second had just passed
        (1187008882.4, "2017-08-17 12:41:04.4"),  # GW170817
        (1213205532.24, "2018-06-16 17:31:54.24"),  # S180616h
    ],
)
def test_gps_known_pairs(gps, utc):
    time = datetime.fromisoformat(utc.ljust(26, "0") if "." in utc else utc)
    assert gps_to_utc(gps) == time.replace(tzinfo=timezone.utc)
    assert utc_to_gps(time.replace(tzinfo=timezone.utc)) == gps


@given(st.datetimes(datetime(2017, 1, 1), datetime(2050, 1, 1), timezones=st.just(timezone.utc)))
def test_gps_round_trip(time):
    assert abs(gps_to_utc(utc_to_gps(time)) - time) <= timedelta(microseconds=1)


def test_gps_of_recorded_events(recorded):
    folder = recorded / "igwn-alert"
    whole = json.loads((folder / "lvalert_event_creation.json").read_bytes())["object"]
    documented = json.loads((folder / "documented" / "event_ml.json").read_bytes())
    for event in (whole, documented):
        uploaded = gps_to_utc(event["gpstime"] + event["reporting_latency"])
        assert uploaded.replace(microsecond=0) == created(event)


def test_reporting_latency(events):
    for event in events:
        uploaded = gps_to_utc(event["gpstime"] + event["reporting_latency"])
        assert abs(uploaded - created(event) - timedelta(seconds=0.5)) <= timedelta(seconds=0.51)
        assert 5 < event["reporting_latency"] < 45


def letters(number):
    """a, b, ..., z, aa, ab, ...: counted another way than the simulation does."""
    if number <= 26:
        return chr(96 + number)
    return chr(96 + (number - 1) // 26) + chr(97 + (number - 1) % 26)


def test_superevent_ids_follow_date_and_letters(alerts):
    numbers = Counter()
    for alert, payload in news(alerts):
        document = payload["object"]
        prefix = "MS" if alert.topic == "mdc_superevent" else "S"
        day = f"{prefix}{gps_to_utc(document['t_0']):%y%m%d}"
        numbers[day] += 1
        assert document["superevent_id"] == payload["uid"] == day + letters(numbers[day])
        assert document["category"] == ("MDC" if prefix == "MS" else "Production")
    assert len(numbers) > 20


def test_letters_go_on_after_z():
    """With one superevent an hour, only a crowded day passes z; this seed has one."""
    ids = [payload["uid"] for _, payload in news(simulate(8, 120))]
    assert ids.index("S240411z") < ids.index("S240411aa") < ids.index("S240411ab")


def test_event_ids(events):
    numbers = [int(event["graceid"][1:]) for event in events]
    assert numbers == sorted(set(numbers))
    for event in events:
        assert event["graceid"][0] == ("M" if event["search"] == "MDC" else "G")
        assert event["superevent"] is None


def test_superevents_come_at_random(alerts):
    times = [payload["object"]["t_0"] for _, payload in news(alerts)]
    waits = [later - sooner for sooner, later in pairwise(times)]
    mean = sum(waits) / len(waits)
    assert mean == pytest.approx(3600, rel=0.2)
    assert sum(wait > mean for wait in waits) / len(waits) == pytest.approx(1 / math.e, abs=0.08)


def test_lives_interleave(of_superevents):
    uids = [payload["uid"] for payload in of_superevents]
    switches = sum(one != two for one, two in pairwise(uids))
    assert switches > len(set(uids))


# Physics


def test_far_spans_decades(lives):
    fars = [life[-1]["object"]["far"] for life in lives.values()]
    assert all(1e-14 <= far <= MAX_FAR for far in fars)
    assert min(fars) < 1e-12
    assert max(fars) > 1e-5


def test_noise_is_as_common_as_its_far(lives):
    """Signals aside, nine in ten candidates lie in the last decade."""
    production = [life[-1]["object"] for life in lives.values() if life[-1]["uid"][0] == "S"]
    fars = [document["far"] for document in production if document["far"] > 5e-6]
    below = sum(far < 1.25e-5 for far in fars)
    assert below / len(fars) == pytest.approx((1.25e-5 - 5e-6) / (2 / 86400 - 5e-6), abs=0.12)
    assert len(fars) > 0.4 * len(production)


def snr(event):
    attributes = event["extra_attributes"]
    (table,) = (attributes[key] for key in attributes if key != "SingleInspiral")
    return table.get("snr", table.get("SNR"))


def test_louder_is_rarer(events):
    pairs = sorted((snr(event), event["far"]) for event in events)
    fars = [far for _, far in pairs]
    assert fars == sorted(fars, reverse=True)
    assert len(set(fars)) > len(fars) / 2
    assert all(event["far_is_upper_limit"] == (event["far"] == 1e-14) for event in events)


def test_far_agrees_with_a_recorded_event(inspirals, recorded):
    file = recorded / "igwn-alert" / "lvalert_event_creation.json"
    theirs = json.loads(file.read_bytes())["object"]
    expected = math.log10(theirs["far"]) + snr(theirs)
    for ours in inspirals:
        if not ours["far_is_upper_limit"]:
            assert math.log10(ours["far"]) + snr(ours) == pytest.approx(expected, abs=0.1)


def test_masses_and_chirp_mass(inspirals):
    for event in inspirals:
        coinc = event["extra_attributes"]["CoincInspiral"]
        for single in event["extra_attributes"]["SingleInspiral"]:
            heavy, light = single["mass1"], single["mass2"]
            assert 1 <= light <= heavy <= 80
            assert single["mchirp"] == pytest.approx(chirp_mass(heavy, light))
            assert single["mtotal"] == pytest.approx(heavy + light)
            assert single["eta"] == pytest.approx(heavy * light / (heavy + light) ** 2)
            assert coinc["mass"] == single["mtotal"]
            assert coinc["mchirp"] == single["mchirp"]


def test_every_kind_of_binary(inspirals):
    singles = [event["extra_attributes"]["SingleInspiral"][0] for event in inspirals]
    kinds = Counter((single["mass1"] > 3, single["mass2"] > 3) for single in singles)
    assert set(kinds) == {(True, True), (True, False), (False, False)}
    assert kinds.most_common(1)[0][0] == (True, True)


def test_template_agrees_with_a_recorded_event(inspirals, recorded):
    file = recorded / "igwn-alert" / "lvalert_event_creation.json"
    theirs = json.loads(file.read_bytes())["object"]["extra_attributes"]["SingleInspiral"][0]
    assert chirp_mass(theirs["mass1"], theirs["mass2"]) == pytest.approx(theirs["mchirp"])
    newton = theirs["tau0"] * theirs["mchirp"] ** (5 / 3)
    assert math.sqrt(theirs["sigmasq"]) / theirs["snr"] == pytest.approx(theirs["eff_distance"])
    for event in inspirals:
        for ours in event["extra_attributes"]["SingleInspiral"]:
            assert ours["tau0"] * ours["mchirp"] ** (5 / 3) == pytest.approx(newton, rel=1e-4)
            assert math.sqrt(ours["sigmasq"]) / ours["snr"] == pytest.approx(ours["eff_distance"])


def test_heavier_is_seen_farther(inspirals):
    """Sensitivity squared goes with the chirp mass to the 5/3, for each detector."""
    constants = defaultdict(list)
    for event in inspirals:
        for single in event["extra_attributes"]["SingleInspiral"]:
            constants[single["ifo"]].append(single["sigmasq"] / single["mchirp"] ** (5 / 3))
    assert set(constants) == {"H1", "L1", "V1"}
    for found in constants.values():
        assert found == pytest.approx([found[0]] * len(found))


def test_snr_adds_in_quadrature(inspirals):
    for event in inspirals:
        singles = event["extra_attributes"]["SingleInspiral"]
        assert math.hypot(*(single["snr"] for single in singles)) == pytest.approx(snr(event))


def test_instruments(inspirals, events):
    found = set()
    for event in inspirals:
        names = event["instruments"].split(",")
        singles = event["extra_attributes"]["SingleInspiral"]
        assert [single["ifo"] for single in singles] == names
        assert event["nevents"] == len(names)
        assert event["extra_attributes"]["CoincInspiral"]["ifos"] == event["instruments"]
        found.add(event["instruments"])
    assert {"H1,L1", "H1,L1,V1"} <= found
    assert all("," in event["instruments"] for event in events if event["group"] == "Burst")


def test_arrival_times_are_a_light_travel_apart(inspirals):
    for event in inspirals:
        coinc = event["extra_attributes"]["CoincInspiral"]
        assert coinc["end_time"] + coinc["end_time_ns"] / 1e9 == pytest.approx(
            event["gpstime"], abs=1e-6
        )
        ends = [
            single["end_time"] + single["end_time_ns"] / 1e9
            for single in event["extra_attributes"]["SingleInspiral"]
        ]
        assert max(ends) - min(ends) <= 0.0101
        assert 0 <= coinc["end_time_ns"] < 10**9


# Lives


def test_a_superevent_begins_after_its_first_event(alerts):
    seen = set()
    for alert in alerts:
        payload = json.loads(alert.payload)
        if alert.topic in SUPEREVENT_TOPICS and payload["alert_type"] == "new":
            assert payload["object"]["preferred_event"] in seen
        if alert.topic not in SUPEREVENT_TOPICS and payload["alert_type"] != "new":
            assert payload["uid"] in seen
        seen.add(payload["uid"])


def test_superevents_are_new_once(lives):
    for life in lives.values():
        assert [payload["alert_type"] == "new" for payload in life] == [True] + [False] * (
            len(life) - 1
        )


def test_superevents_and_their_preferred_event_agree(of_superevents):
    for payload in of_superevents:
        here = payload["object"]
        preferred = here["preferred_event_data"]
        assert here["far"] == preferred["far"]
        assert here["t_0"] == preferred["gpstime"]
        assert here["preferred_event"] == preferred["graceid"]
        assert here["preferred_event"] in here["gw_events"]
        assert here["t_start"] < here["t_0"] < here["t_end"]
        assert preferred["superevent"] == here["superevent_id"]
        neighbour = preferred["superevent_neighbours"][here["superevent_id"]]
        for key in ("gw_events", "preferred_event", "far", "t_start", "t_0", "t_end"):
            assert neighbour[key] == here[key]
        assert neighbour["preferred_event_data"]["labels"] == preferred["labels"]


def test_the_preferred_event_improves(lives):
    changes = 0
    for life in lives.values():
        for before, after in pairwise(life):
            old, new = before["object"], after["object"]
            if old["preferred_event"] == new["preferred_event"]:
                continue
            changes += 1
            groups = old["preferred_event_data"]["group"], new["preferred_event_data"]["group"]
            assert new["far"] < old["far"] or groups == ("Burst", "CBC")
            assert "EM_READY" not in old["labels"]
    assert changes > 20


def test_events_are_added_one_by_one(lives):
    grown = 0
    for life in lives.values():
        for before, after in pairwise(life):
            old, new = before["object"], after["object"]
            count = len(new["gw_events"] + new["em_events"])
            if count != len(old["gw_events"] + old["em_events"]):
                assert after["alert_type"] == "event_added"
                grown += 1
    assert grown > 100


def test_labels_follow_their_alerts(payloads):
    labels = defaultdict(list)
    for payload in payloads:
        if payload["alert_type"] == "label_added":
            labels[payload["uid"]].append(payload["data"]["name"])
        elif payload["alert_type"] == "label_removed":
            labels[payload["uid"]].remove(payload["data"]["name"])
        assert payload["object"]["labels"] == labels[payload["uid"]]


ORDER = [
    ("EM_READY", "LOW_SIGNIF_LOCKED"),
    ("LOW_SIGNIF_LOCKED", "SIGNIF_LOCKED"),
    ("LOW_SIGNIF_LOCKED", "SKYMAP_READY"),
    ("DQOK", "GCN_PRELIM_SENT"),
    ("SKYMAP_READY", "GCN_PRELIM_SENT"),
    ("SKYMAP_READY", "LOW_SIGNIF_PRELIM_SENT"),
    ("PASTRO_READY", "GCN_PRELIM_SENT"),
    ("EMBRIGHT_READY", "GCN_PRELIM_SENT"),
    ("SIGNIF_LOCKED", "GCN_PRELIM_SENT"),
    ("GCN_PRELIM_SENT", "ADVREQ"),
    ("ADVREQ", "ADVOK"),
    ("ADVREQ", "ADVNO"),
    ("EM_COINC", "RAVEN_ALERT"),
    ("COMBINEDSKYMAP_READY", "RAVEN_ALERT"),
    ("RAVEN_ALERT", "GCN_PRELIM_SENT"),
]


def names(life):
    return [payload["data"]["name"] for payload in life if payload["alert_type"] == "label_added"]


@pytest.mark.parametrize(("sooner", "later"), ORDER)
def test_label_order(lives, sooner, later):
    both = [names(life) for life in lives.values() if {sooner, later} <= set(names(life))]
    assert both
    assert all(labels.index(sooner) < labels.index(later) for labels in both)


def test_labels_fit_the_significance(lives):
    for life in lives.values():
        labels, far = names(life), life[-1]["object"]["far"]
        assert ("GCN_PRELIM_SENT" in labels) != ("LOW_SIGNIF_PRELIM_SENT" in labels)
        assert ("SIGNIF_LOCKED" in labels) == ("GCN_PRELIM_SENT" in labels)
        assert ("GCN_PRELIM_SENT" in labels) == bool({"ADVOK", "ADVNO"} & set(labels))
        assert far < 1e-7 or "SIGNIF_LOCKED" not in labels
        assert far > 1e-8 or "SIGNIF_LOCKED" in labels
    everything = Counter(name for life in lives.values() for name in names(life))
    assert 0 < everything["ADVNO"] < 0.1 * len(lives)
    assert 0 < everything["RAVEN_ALERT"] < 0.1 * len(lives)


def test_a_label_needs_its_file(payloads):
    needed = {"SKYMAP_READY": "multiorder.fits", "PASTRO_READY": "p_astro.json"}
    files = defaultdict(set)
    for payload in payloads:
        if payload["alert_type"] == "log":
            files[payload["uid"]].add(payload["data"]["filename"])
        elif payload["alert_type"] == "label_added" and payload["data"]["name"] in needed:
            end = needed[payload["data"]["name"]]
            assert any(name.endswith(end) for name in files[payload["uid"]])


def test_people_take_longer_than_programs(alerts):
    merged, signed = {}, {}
    for alert in alerts:
        payload = json.loads(alert.payload)
        if alert.topic not in SUPEREVENT_TOPICS:
            continue
        if payload["alert_type"] == "new":
            merged[payload["uid"]] = gps_to_utc(payload["object"]["t_0"])
        after = (alert.time - merged[payload["uid"]]).total_seconds() / 60
        if payload["alert_type"] == "exposed":
            assert 0.4 < after < 5
        if payload["alert_type"] == "signoff_created":
            signed[payload["uid"]] = after
    assert all(10 < after < 45 for after in signed.values())
    assert len(signed) > 10


def test_notices(lives):
    """A retraction follows a "NO", the initial notice an "OK"; nothing follows either."""
    seen = set()
    for life in lives.values():
        kinds = [p["data"]["voevent_type"] for p in life if p["alert_type"] == "voevent"]
        status = [p["data"]["status"] for p in life if p["alert_type"] == "signoff_created"]
        assert (tuple(kinds), tuple(status)) in {
            (("PR",), ()),
            (("PR", "PR", "IN"), ("OK",)),
            (("PR", "PR", "RE"), ("NO",)),
        }
        seen.add(kinds[-1])
    assert seen == {"PR", "IN", "RE"}


def test_coincidence_with_a_gamma_ray_burst(lives):
    found = [life[-1]["object"] for life in lives.values() if life[-1]["object"]["em_events"]]
    assert found
    for document in found:
        assert [document["em_type"]] == document["em_events"]
        # GraceDB's MS260408x: 4.196e-18 Hz for an event of 6.786e-14 Hz.
        ratio = document["time_coinc_far"] / document["far"]
        assert ratio == pytest.approx(4.196e-18 / 6.786e-14, rel=0.1)
        mass2 = document["preferred_event_data"]["extra_attributes"]["SingleInspiral"][0]["mass2"]
        assert mass2 < 3


# GraceDB's own dictionaries


def lacking(ours, theirs, where="", key=""):
    """Yield what of theirs is not in ours, or has another JSON type there."""
    if theirs is None or (ours is None and key in NULLABLE):
        return
    if type(ours) is not type(theirs):
        yield f"{where}: {ours!r} instead of {theirs!r}"
    elif key == "superevent_neighbours":  # named by superevent
        for our, their in zip(ours.values(), theirs.values(), strict=False):
            yield from lacking(our, their, f"{where}.*")
    elif isinstance(theirs, dict):
        for name in theirs.keys() - OLD:
            if name in ours:
                yield from lacking(ours[name], theirs[name], f"{where}.{name}", name)
            else:
                yield f"{where}.{name} is missing"
    elif isinstance(theirs, list) and theirs:
        for our in ours:
            yield from lacking(our, theirs[0], f"{where}[]")


def test_lacking_notices():
    theirs = {"a": 1.0, "far": 1.0, "list": [{"b": "x"}], "superevent_neighbours": {"S1": {"c": 1}}}
    assert not list(lacking(theirs | {"far": None}, theirs))
    assert list(lacking({}, {"a": None}))
    assert list(lacking({"a": 1}, {"a": 1.0}))
    assert list(lacking({"a": None}, {"a": 1.0}))
    assert list(lacking({"list": [{}]}, {"list": [{"b": 1}]}))
    other = {"superevent_neighbours": {"S2": {"d": 1}}}
    assert list(lacking(other, {"superevent_neighbours": {"S1": {"c": 1}}}))


def compare(ours, theirs):
    assert ours
    for our in ours:
        assert not list(lacking(our, theirs))


def documented(recorded, name):
    return json.loads((recorded / "igwn-alert" / "documented" / f"{name}.json").read_bytes())


@pytest.mark.parametrize(
    ("name", "alert_type"),
    [
        ("label", "label_added"),
        ("label", "label_removed"),
        ("log", "log"),
        ("permissions.list", "exposed"),
        ("signoff", "signoff_created"),
        ("superevent", "event_added"),
        ("superevent", "update"),
        ("voevent", "voevent"),
    ],
)
def test_data_as_documented(recorded, of_superevents, name, alert_type):
    data = [payload["data"] for payload in of_superevents if payload["alert_type"] == alert_type]
    compare(data, documented(recorded, name))


def test_superevents_as_documented(recorded, of_superevents):
    theirs = documented(recorded, "superevent")
    compare([payload["object"] for payload in of_superevents], theirs)


def test_events_as_documented(recorded, of_events):
    theirs = documented(recorded, "event_ml")
    events = [payload["object"] for payload in of_events]
    compare([event for event in events if event["pipeline"] == "MLy"], theirs)
    compare(events, theirs | {"extra_attributes": {}})


def selected(payloads, name):
    """What of ours corresponds to a recorded alert of that name."""
    if name == "lvalert_event_creation":
        return [p for p in payloads if p["uid"][:2] == "M4" and p["alert_type"] == "new"]
    if name in ("igwn_alert_superevent_creation", "igwn_alert_superevent_burst_bbh_creation"):
        return [p for p in payloads if "S" in p["uid"] and p["alert_type"] == "new"]
    if name in ("igwn_alert_superevent_label", "igwn_alert_label_dqv"):
        return [p for p in payloads if p["alert_type"] == "label_added"]
    if name in ("igwn_alert_fits", "igwn_alert_psd", "igwn_alert_detchar"):
        logs = [p for p in payloads if p["alert_type"] == "log"]
        return [p for p in logs if p["object"].get("group") == "CBC"]
    return None


# Recorded before GraceDB had `data`; external triggers are not simulated.
NOT_COMPARED = {"igwn_alert_voevent", "igwn_alert_exttrig_creation", "igwn_alert_snews_creation"}
NOT_COMPARED |= {"igwn_alert_snews_test_creation", "igwn_alert_subgrb_creation"}
NOT_COMPARED |= {"igwn_alert_exttrig_subgrb_targeted_creation"}


def test_as_recorded(payloads, recorded_igwn):
    compared = 0
    for name, theirs in recorded_igwn:
        ours = selected(payloads, name)
        if ours is None:
            assert name in NOT_COMPARED
            continue
        old = {"file", "labels"} & theirs.keys()  # GraceDB no longer sends them beside `object`
        compare(ours, {key: value for key, value in theirs.items() if key not in old})
        compared += 1
    assert compared == 8
