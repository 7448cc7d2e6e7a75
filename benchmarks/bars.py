"""What was asked for, against what was measured."""

from benchmarks.latency import RAW
from benchmarks.readers import HEEDING, OURS
from benchmarks.reading import JSON
from benchmarks.statistic import ratios, several, short

RAW_QUEUED = "raw confluent_kafka queued"
ONE_WORKER = [OURS, f"{OURS}, batch_size=100", f"{OURS}, in a group"]
LANES = [f"{OURS}, workers=4", f"{OURS}, batch_size=100, workers=4"]


def rows(results):
    """What, bar, goal, measured, and whether the bar is met, as far as it was measured."""
    yield ["what", "bar", "goal", "measured", "met"]
    for name in ("1 KB", "1 KB, no headers"):
        yield from _one_kilobyte(name, results.get(f"reading: {name}"))
    yield from _one_megabyte(results.get("reading: 1 MB"))
    for name, peer in (("loci", "antares-client 2"), ("old loci", "antares-client 0.2")):
        found = results.get(f"reading: {name}")
        mine = "antares.StreamingClient, iter" if name == "loci" else "antares.Client, iter"
        yield from _at_least(found, f"ANTARES, {name}", [mine], peer, 1.1, "2")
    yield from _latency(results.get("latency"))
    yield from _publishing(results)
    yield from _idle(results.get("idle"))
    if found := results.get("importing"):
        taken, hop = found["igwn_style_client"]["ratio"], found["hop"]["ratio"]["median"]
        yield _row("import, of igwn_alert's", "<= 1.1", short(hop), taken, taken["median"] <= 1.1)


def _row(what, bar, goal, taken, met):
    taken = several(taken) if isinstance(taken, dict) else taken
    return [what, bar, goal, taken, "yes" if met else "no"]


def _worst(found, ways, reference):
    """The ratio of the slowest of some ways."""
    rates = {way: found["ways"][way]["rates"] for way in (*ways, reference)}
    each = [ratios(rates[way], rates[reference]) for way in ways]
    return min(each, key=lambda one: one["median"])


def _at_least(found, what, ways, reference, bar, goal=""):
    if found and reference in found["ways"] and set(ways) <= found["ways"].keys():
        taken = _worst(found, ways, reference)
        yield _row(f"{what}: of {reference}", f">= {bar:g}", goal, taken, taken["median"] >= bar)


def _one_kilobyte(name, found):
    if found:
        loop = found["reference"]
        one = [way for way in ONE_WORKER if way in found["ways"]]
        lanes = [way for way in LANES if way in found["ways"]]
        yield from _at_least(found, f"{name}, one worker", one, JSON, 1.3)
        yield from _at_least(found, f"{name}, one worker", one, loop, 0.7, "1")
        yield from _at_least(found, f"{name}, one worker", one, HEEDING, 0.7, "1")
        yield from _at_least(found, f"{name}, one worker", one, "igwn_alert", 15)
        yield from _at_least(found, f"{name}, workers=4", lanes, loop, 0.5, "0.8")
        yield from _at_least(found, f"{name}, workers=4", lanes, HEEDING, 0.5, "0.8")


def _one_megabyte(found):
    if found:
        ways = [OURS, f"{OURS}, batch_size=100", f"{OURS}, in a group"]
        peer = "igwn_alert, batch_size=100"
        yield from _at_least(found, "1 MB", ways, found["reference"], 0.85, "1")
        yield from _at_least(found, "1 MB", ways, peer, 5)


def _latency(found):
    if found:
        ways = found["ways"]
        for name, bar, goal in (("p50", 0.5, "0.1"), ("p99", 5, "1")):
            ours = max(ways[way][name] for way in ways if way.startswith(OURS))
            over = ours - ways[RAW][name]
            what = f"{name} over a plain poll, ms"
            yield _row(what, f"<= +{bar}", f"+{goal}", f"{over:+.2f}", over <= bar)


def _idle(found):
    if found:
        ours, raw, theirs = (found["ways"][way] for way in (OURS, RAW, "igwn_alert"))
        for name, unit in (("cpu", "% CPU"), ("rss", "MB"), ("switches", "switches/s")):
            bar, goal = f"<= {short(theirs[name])}", short(raw[name])
            yield _row(f"idle, {unit}", bar, goal, short(ours[name]), ours[name] <= theirs[name])


def _publishing(results):
    ours = "igwn_style_client"
    for delay in (0, 40):
        if found := results.get(f"publishing: one by one, {delay} ms"):
            each = found[f"{ours} publish"]
            if delay:
                round_trips = {name: ms / delay for name, ms in each["ms"].items()}
                met = round_trips["median"] <= 1.1
                yield _row("publish, 40 ms away, round trips", "<= 1.1", "", round_trips, met)
            else:
                met = each["ratio"]["median"] >= 15
                yield _row("publish: of igwn_alert", ">= 15", "", each["ratio"], met)
        if found := results.get(f"publishing: queued, {delay} ms"):
            taken, hop = found[f"{ours} session"]["ratio"], found["hop session"]["ratio"]
            bar = 1 if delay else 1.3
            what = f"queued and flushed, {delay} ms away: of igwn_alert"
            met = taken["median"] >= bar
            yield _row(what, f">= {bar}", short(hop["median"]), taken, met)
            if not delay:
                rates = [found[way]["rates"] for way in (f"{ours} session", RAW_QUEUED)]
                taken = ratios(*rates)
                what = f"queued and flushed, 0 ms away: of {RAW_QUEUED}"
                yield _row(what, ">= 0.8", "", taken, taken["median"] >= 0.8)
