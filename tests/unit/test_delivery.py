"""alert -> callback -> finished."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, partialmethod
from itertools import groupby
from operator import itemgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igwn_style_client.alert import Alert
from igwn_style_client.batch import Batch
from igwn_style_client.delivery import Delivery, Rules, adapt, elsewhere, is_async
from igwn_style_client.errors import DecodeError
from igwn_style_client.health import Counters
from igwn_style_client.retry import RetryPolicy
from igwn_style_client.watermark import Watermark

ALERT = Alert("superevent", {"uid": "S260517a"}, "gracedb.superevent", 2, 17)
CALLED = {"topic": "superevent", "payload": {"uid": "S260517a"}}


# What can be called


class Callbacks:
    def method(self, topic, payload):
        return {"topic": topic, "payload": payload}

    @staticmethod
    def static(topic, payload):
        return {"topic": topic, "payload": payload}

    @classmethod
    def of_class(cls, topic, payload):
        return {"topic": topic, "payload": payload}

    def three(self, extra, topic, payload):
        return {"topic": topic, "payload": payload}

    partial = partialmethod(three, "extra")

    def __call__(self, topic, payload):
        return {"topic": topic, "payload": payload}


@dataclass
class Record:
    """A class is a callback as well."""

    topic: str
    payload: object

    def __eq__(self, other):
        return {"topic": self.topic, "payload": self.payload} == other


def plain(topic, payload):
    return {"topic": topic, "payload": payload}


def with_defaults(topic=None, payload=None, extra=5):
    assert extra == 5
    return {"topic": topic, "payload": payload}


def keywords_only(*, payload, topic):
    return {"topic": topic, "payload": payload}


def with_kwargs(**kwargs):
    return kwargs


def with_everything(*args, **kwargs):
    assert not args
    return kwargs


def with_an_extra(extra, topic, payload):
    return {"topic": topic, "payload": payload}


def optional_alert(topic, payload, alert=None):
    return {"topic": topic, "payload": payload, "alert": alert}


def alert_by_keyword(topic, payload, *, alert):
    return {"topic": topic, "payload": payload, "alert": alert}


class WithAlert:
    def __call__(self, topic, payload, alert):
        return {"topic": topic, "payload": payload, "alert": alert}


@pytest.mark.parametrize(
    "callback",
    [
        plain,
        with_defaults,
        keywords_only,
        with_kwargs,
        with_everything,
        lambda topic, payload: {"topic": topic, "payload": payload},
        lambda payload, topic: {"topic": topic, "payload": payload},
        Callbacks().method,
        Callbacks.static,
        Callbacks().static,
        Callbacks.of_class,
        Callbacks().partial,
        Callbacks(),
        partial(with_an_extra, "extra"),
        partial(with_an_extra, extra="extra"),
        partial(partial(Callbacks().three, "extra")),
        Record,
        lambda topic, payload, *alert: {"topic": topic, "payload": payload},
        dict,  # a builtin that does not tell what it takes
    ],
)
def test_what_may_be_a_callback(callback):
    assert adapt(callback)(ALERT) == CALLED


@pytest.mark.parametrize(
    "callback",
    [
        optional_alert,
        alert_by_keyword,
        WithAlert(),
        lambda alert, topic, payload: {"topic": topic, "payload": payload, "alert": alert},
        partial(alert_by_keyword),
        lambda topic, payload, alert, **more: {**CALLED, "alert": alert, **more},
    ],
)
def test_a_callback_that_asks_for_the_alert_gets_it(callback):
    called = adapt(callback)(ALERT)
    assert called == {**CALLED, "alert": ALERT}
    assert called["alert"] is ALERT


def test_any_keywords_are_not_a_parameter_of_that_name():
    assert adapt(lambda **alert: alert)(ALERT) == CALLED


@pytest.mark.parametrize("wrong", [5, "print", None, [], {"topic": 1}, object()])
def test_what_is_no_function(wrong):
    with pytest.raises(TypeError) as raised:
        adapt(wrong)
    assert str(raised.value) == (
        f"callback: {wrong!r} is no function; it is called as callback(topic=, payload=)"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: None,
        lambda topic: None,
        lambda payload: None,
        lambda message, metadata: None,
        lambda topic, payload, extra: None,
        lambda topic, payload, /: None,
        lambda *args: None,
        lambda alert, /, topic, payload: None,
        lambda topic, alert: None,
        Callbacks().three,
        partial(plain, topic="fixed", other=5),
        partial(plain, "superevent"),
        len,
    ],
)
def test_the_wrong_parameters(wrong):
    with pytest.raises(TypeError, match=r"^callback: .+ cannot be called as callback\(topic=, pay"):
        adapt(wrong)


def test_the_message_shows_the_callback_and_what_is_wrong():
    with pytest.raises(TypeError) as raised:
        adapt(with_an_extra)
    assert str(raised.value) == (
        "callback: with_an_extra(extra, topic, payload) cannot be called as "
        "callback(topic=, payload=): missing a required argument: 'extra'"
    )
    with pytest.raises(TypeError, match=r"callback\(topic=, payload=, alert=\): missing .*'extra'"):
        adapt(lambda topic, payload, alert, extra: None)


async def asynchronous(topic, payload):
    return {"topic": topic, "payload": payload}


async def asynchronous_generator(topic, payload):
    yield


def generator(topic, payload):
    yield


class Asynchronous:
    async def __call__(self, topic, payload):
        return {"topic": topic, "payload": payload}

    async def method(self, topic, payload):
        return {"topic": topic, "payload": payload}


ASYNCHRONOUS = [
    asynchronous,
    partial(asynchronous),
    Asynchronous().method,
    Asynchronous(),
    partial(Asynchronous()),
]


@pytest.mark.parametrize("callback", ASYNCHRONOUS)
def test_an_async_callback_is_awaited(callback):
    assert is_async(callback)
    with elsewhere(callback, 1) as (run, side_by_side):
        assert side_by_side == 1
        assert adapt(callback, run)(ALERT) == CALLED


def test_an_async_callback_is_awaited_where_a_loop_runs_as_in_a_notebook():
    async def cell():
        with elsewhere(asynchronous, 1) as (run, _):
            return adapt(asynchronous, run)(ALERT)

    assert asyncio.run(cell()) == CALLED


@pytest.mark.parametrize("callback", [plain, Callbacks(), partial(plain), Record, dict, print])
def test_a_plain_callback_is_not(callback):
    assert not is_async(callback)
    with elsewhere(callback, 3) as (run, side_by_side):
        assert (run, side_by_side) == (None, 3)


def test_the_event_loop_ends_with_the_block():
    before = threading.active_count()
    with elsewhere(asynchronous, 1):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_an_executor_runs_the_callback_elsewhere():
    def callback(topic, payload, alert):
        return threading.current_thread().name

    executor = ThreadPoolExecutor(3, thread_name_prefix="mine")
    with executor, elsewhere(callback, executor) as (run, side_by_side):
        assert side_by_side == 3
        assert adapt(callback, run)(ALERT).startswith("mine")


def test_an_error_in_an_executor_is_the_callbacks_own():
    error = Unhappy("mine")

    def callback(topic, payload):
        raise error

    with ThreadPoolExecutor(1) as executor, elsewhere(callback, executor) as (run, _):
        call = adapt(callback, run)
        with pytest.raises(Unhappy) as raised:
            call(ALERT)
    assert raised.value is error


@pytest.mark.parametrize("callback", [generator, asynchronous_generator, partial(generator)])
def test_a_generator_is_refused_since_nobody_would_run_it(callback):
    with pytest.raises(TypeError, match=r"^callback: .*generator"):
        adapt(callback)


def test_an_exception_of_the_adapted_callback_is_its_own():
    def fail(topic, payload):
        raise KeyError(topic)

    with pytest.raises(KeyError, match="superevent"):
        adapt(fail)(ALERT)


# The engine


class ListSource:
    """A list of alerts, and what became of them."""

    settle: Callable

    def __init__(self, *offsets, partitions=1, decode=lambda message: None):
        self.watermarks = [
            Watermark("gracedb.superevent", number, 0) for number in range(partitions)
        ]
        self.left = []
        self.stored = []
        self.asked = []
        self.at_the_end = lambda: None
        for offset in offsets:
            self.add(offset, decode=decode)

    def add(self, offset, partition=0, decode=lambda message: None):
        watermark = self.watermarks[partition]
        self.left.append((watermark, Message(partition, offset), decode))

    def take(self, most, timeout):
        self.asked.append((most, timeout))
        taken, self.left = self.left[:most], self.left[most:]
        if not taken:
            self.at_the_end()
        return [batch_of(*one) for one in groupby(taken, itemgetter(0))]

    def store(self, watermarks):
        self.stored.append({one.where[1]: one.mark for one in watermarks})

    @property
    def marks(self):
        return [one.mark for one in self.watermarks]


def batch_of(watermark, read):
    batch = Batch(watermark, "superevent")
    for _, message, decode in read:
        batch.messages.append(message)
        batch.decoders.append(decode)
        batch.offsets.append(message.offset())
    batch.begin()
    return batch


class Message:
    def __init__(self, partition, offset):
        self._partition = partition
        self._offset = offset

    def topic(self):
        return "gracedb.superevent"

    def partition(self):
        return self._partition

    def offset(self):
        return self._offset

    def value(self):
        return b"{}"


def run(source, call, batch_size=1, stopping=None, counters=None, **rules):
    """Deliver all of a source's alerts."""
    stopping = stopping or threading.Event()
    in_lanes = rules.get("workers", 1) > 1 or rules.get("apart", False)

    def at_the_end():
        if not in_lanes or not any(one.unfinished for one in source.watermarks):
            stopping.set()

    source.at_the_end = at_the_end
    Delivery(source, on(call), stopping, Rules(batch_size, **rules), counters).run()


def on(call):
    """A callback that is called with the alert alone."""
    return adapt(lambda topic, payload, alert: call(alert))


def test_alerts_come_one_by_one_and_in_order():
    source = ListSource(*range(5))
    seen = []
    run(source, lambda alert: seen.append((alert.offset, source.marks[0])))
    # Each sees its own mark still standing: it is not finished while its callback runs.
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]
    assert source.marks == [5]
    assert source.stored == [{0: 5}]  # what is there together is stored together


@given(st.integers(1, 300), st.lists(st.integers(0, 2), max_size=30))
def test_any_batch_size_delivers_the_same(batch_size, partitions):
    source = ListSource(partitions=3)
    for offset, partition in enumerate(partitions):
        source.add(offset, partition)
    seen = []
    run(source, lambda alert: seen.append(alert.offset), batch_size)
    assert seen == list(range(len(partitions)))
    assert {most for most, _ in source.asked} == {max(batch_size, 250)}
    assert [mark.unfinished for mark in source.watermarks] == [0, 0, 0]
    # One store a batch, with each partition once.
    assert len(source.stored) == (1 if partitions else 0)
    last = {partition: offset + 1 for offset, partition in enumerate(partitions)}
    assert {k: v for marks in source.stored for k, v in marks.items()} == last


def test_the_source_is_never_asked_to_wait_long():
    source = ListSource(0)
    run(source, lambda alert: None)
    assert all(0 < timeout <= 1 for _, timeout in source.asked)


def test_nothing_taken_is_nothing_stored():
    source = ListSource()
    run(source, lambda alert: None)
    assert source.stored == []


# So many, and no more


@pytest.mark.parametrize("batch_size", [1, 500])
@pytest.mark.parametrize("rules", [{}, {"apart": True}])
def test_it_ends_after_so_many_that_were_delivered_or_set_aside(batch_size, rules):
    def decode(message):
        if message.offset() == 1:
            raise DecodeError("json", "it is none")

    def call(alert):
        alert.payload  # noqa: B018
        if alert.offset == 2:
            raise Unhappy

    source, aside = ListSource(*range(9), decode=decode), []
    rules |= {"store_failed": lambda alert, why: aside.append(alert.offset)}
    rules |= {"store_unreadable": rules["store_failed"], "until_count": 3}
    counters = Counters()
    Delivery(source, on(call), threading.Event(), Rules(batch_size, **rules), counters).run()
    assert (counters.delivered["superevent"], aside) == (1, [1, 2])
    assert source.marks == [3]


@pytest.mark.parametrize("count", [1, 4, 6])
def test_what_runs_when_so_many_are_done_finishes_too(count):
    source = ListSource(partitions=2)
    for offset in range(6):
        source.add(offset, offset % 2)
    seen = []
    Delivery(
        source,
        on(lambda alert: seen.append(alert.offset)),
        threading.Event(),
        Rules(workers=2, until_count=count),
    ).run()
    assert count <= len(seen) <= count + 1


# A callback that raises


class Unhappy(Exception):
    pass


class Stubborn(Exception):
    """Takes no notes."""

    __slots__ = ()

    def __setattr__(self, name, value):
        raise AttributeError(f"{name} cannot be set")


@pytest.mark.parametrize("batch_size", [1, 2, 10])
def test_the_exception_leaves_unchanged_with_a_note_and_the_alert_unmarked(batch_size):
    source = ListSource(*range(5))
    error = Unhappy("no disk space")
    seen = []

    def call(alert):
        seen.append(alert.offset)
        if alert.offset == 2:
            raise error

    with pytest.raises(Unhappy) as raised:
        run(source, call, batch_size)
    assert raised.value is error
    assert error.args == ("no disk space",)
    assert error.__cause__ is error.__context__ is None
    [note] = error.__notes__
    assert '"gracedb.superevent", partition 0, offset 2' in note
    assert "not marked as delivered" in note
    assert seen == [0, 1, 2]  # nothing of later alerts is called
    assert source.marks == [2]
    assert source.stored[-1] == {0: 2}  # and what was finished is stored all the same


def test_notes_of_its_own_are_kept():
    error = Unhappy()
    error.__notes__ = ["mine"]

    def call(alert):
        raise error

    with pytest.raises(Unhappy):
        run(ListSource(0), call)
    assert error.__notes__[0] == "mine"
    assert len(error.__notes__) == 2


@pytest.mark.parametrize("notes", [None, 5, "text"])
def test_odd_notes_do_not_hide_the_exception(notes):
    error = Unhappy()
    error.__notes__ = notes

    def call(alert):
        raise error

    with pytest.raises(Unhappy) as raised:
        run(ListSource(0), call)
    assert raised.value is error


def test_an_exception_that_takes_no_notes_leaves_all_the_same():
    error = Stubborn("frozen")

    def call(alert):
        raise error

    source = ListSource(0)
    with pytest.raises(Stubborn) as raised:
        run(source, call)
    assert raised.value is error
    assert source.marks == [0]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interruption_passes_unchanged_and_unmarked(kind):
    source = ListSource(*range(3))
    error = kind(3)
    seen = []

    def call(alert):
        seen.append(alert.offset)
        if alert.offset == 1:
            raise error

    with pytest.raises(kind) as raised:
        run(source, call, batch_size=3)
    assert raised.value is error
    assert error.args == (3,)
    assert seen == [0, 1]
    assert source.marks == [1]
    assert source.stored == [{0: 1}]


def test_the_callbacks_exception_counts_more_than_one_of_storing():
    class Broken(ListSource):
        def store(self, watermarks):
            raise OSError("the broker is gone")

    def call(alert):
        raise Unhappy("first")

    with pytest.raises(Unhappy, match="first"):
        run(Broken(0), call)


def test_an_error_of_the_source_leaves_as_it_is():
    class Broken(ListSource):
        def take(self, most, timeout):
            raise OSError("the broker is gone")

    with pytest.raises(OSError, match="the broker is gone") as raised:
        run(Broken(), lambda alert: None)
    assert not hasattr(raised.value, "__notes__")


def test_what_does_not_decode_is_an_error_that_says_where():
    def decode(message):
        raise DecodeError("JSON", "it ends too early")

    source = ListSource(0, decode=decode)
    seen = []
    with pytest.raises(
        DecodeError, match=r'in "gracedb.superevent", partition 0, offset 0'
    ) as raised:
        run(source, seen.append)
    assert seen == []
    assert source.marks == [0]
    # The callback has not even been called.
    notes = getattr(raised.value, "__notes__", ())
    assert not any("raised by the callback" in note for note in notes)


# Stopping


def test_stopping_between_two_alerts():
    source = ListSource(*range(5))
    stopping = threading.Event()
    seen = []

    def call(alert):
        seen.append(alert.offset)
        if alert.offset == 1:
            stopping.set()

    run(source, call, batch_size=5, stopping=stopping)
    assert seen == [0, 1]  # the one that ran is finished, the next one never starts
    assert source.marks == [2]
    assert source.stored == [{0: 2}]
    assert source.watermarks[0].unfinished == 3


def test_stopped_before_it_begins():
    source = ListSource(0)
    stopping = threading.Event()
    stopping.set()
    run(source, pytest.fail, stopping=stopping)
    assert source.asked == source.stored == []


# Partitions that are taken away


def test_an_alert_of_a_partition_that_was_taken_away_is_passed_over():
    source = ListSource(partitions=2)
    for offset in range(3):
        source.add(offset, 0)
        source.add(offset, 1)
    seen = []

    def call(alert):
        seen.append((alert.partition, alert.offset))
        if (alert.partition, alert.offset) == (0, 1):
            source.watermarks[0].over = True

    run(source, call, batch_size=6)
    assert seen == [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2)]
    assert source.marks[1] == 3
    assert source.marks[0] <= 2


def test_settling_waits_for_the_callback_that_runs_for_a_partition():
    source = ListSource(partitions=2)
    source.add(0, 0)
    mine, other = source.watermarks
    running, go_on, settled = (threading.Event() for _ in range(3))
    finished = []

    def call(alert):
        running.set()
        assert go_on.wait(10)
        finished.append(alert.offset)

    def settle():
        source.settle([mine])
        assert finished == [0]
        assert mine.mark == 1
        settled.set()

    delivering = threading.Thread(target=run, args=(source, call))
    delivering.start()
    assert running.wait(10)
    source.settle([other])  # nothing runs for that one
    source.settle([])
    settling = threading.Thread(target=settle)
    settling.start()
    assert not settled.wait(0.05)
    go_on.set()
    assert settled.wait(10)
    settling.join(10)
    delivering.join(10)


def test_settling_when_nothing_runs_returns_at_once():
    source = ListSource(0)
    run(source, lambda alert: None)
    source.settle(source.watermarks)


def test_no_callback_counts_as_running_after_one_has_raised():
    source = ListSource(0)

    def call(alert):
        raise Unhappy

    with pytest.raises(Unhappy):
        run(source, call)
    source.settle(source.watermarks)


# Once more, and aside


AT_ONCE = RetryPolicy(attempts=3, wait=0.0)


def test_a_callback_that_raises_is_called_again():
    source = ListSource(0, 1)
    counters = Counters()
    calls = []

    def call(alert):
        calls.append(alert.offset)
        if calls.count(alert.offset) < 3:
            raise Unhappy

    run(source, call, policy=AT_ONCE, counters=counters)
    assert calls == [0, 0, 0, 1, 1, 1]
    assert source.marks == [2]
    assert counters.failed == 4
    assert counters.delivered == {"superevent": 2}


def test_the_last_failure_leaves():
    errors = [Unhappy(number) for number in range(3)]
    left = list(errors)

    def call(alert):
        raise left.pop(0)

    source = ListSource(0, 1)
    with pytest.raises(Unhappy) as raised:
        run(source, call, policy=AT_ONCE)
    assert raised.value is errors[2]
    assert len(errors[2].__notes__) == 1
    assert source.marks == [0]


def test_a_stop_ends_the_attempts_unmarked():
    source = ListSource(0)
    stopping = threading.Event()
    calls = []

    def call(alert):
        calls.append(alert.offset)
        stopping.set()
        raise Unhappy

    run(source, call, stopping=stopping, policy=RetryPolicy(attempts=None, wait=60.0))
    assert calls == [0]
    assert source.marks == [0]


def test_a_partition_that_is_taken_away_ends_the_attempts():
    source = ListSource(0)
    calls = []

    def call(alert):
        calls.append(alert.offset)
        source.watermarks[0].over = True
        raise Unhappy

    run(source, call, policy=AT_ONCE)
    assert calls == [0]


def test_an_interruption_is_not_tried_again():
    calls = []

    def call(alert):
        calls.append(alert.offset)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(ListSource(0), call, policy=AT_ONCE)
    assert calls == [0]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_for_the_last_time_is_set_aside_and_the_next_one_comes(workers):
    source = ListSource(0, 1, 2)
    counters = Counters()
    stored = []

    def store(alert, reason):
        # Stored before its mark moves.
        stored.append((alert.offset, source.marks[0], reason.strip().splitlines()[-1]))

    def call(alert):
        if alert.offset == 1:
            raise Unhappy("no disk space")

    run(source, call, workers=workers, store_failed=store, counters=counters)
    [(offset, mark, reason)] = stored
    assert (offset, reason) == (1, "tests.unit.test_delivery.Unhappy: no disk space")
    assert mark <= 1
    assert source.marks == [3]
    assert counters.set_aside == 1
    assert counters.delivered == {"superevent": 2}  # whose callback has returned


@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_set_aside_ends_the_delivery_unmarked(workers):
    def store(alert, reason):
        raise OSError("disk full")

    def call(alert):
        raise Unhappy

    source = ListSource(0, 1)
    with pytest.raises(OSError, match="disk full"):
        run(source, call, workers=workers, store_failed=store)
    assert source.marks == [0]


def unreadable(message):
    raise DecodeError("JSON", "it ends too early")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("key", [None, lambda alert: alert.payload["superevent_id"]])
def test_what_cannot_be_read_is_set_aside_and_the_next_one_comes(workers, key):
    source = ListSource(0, decode=unreadable)
    source.add(1, decode=lambda message: {"superevent_id": "S260517a"})
    counters = Counters()
    stored, seen = [], []
    run(
        source,
        lambda alert: seen.append(alert.offset),
        workers=workers,
        key=key,
        store_unreadable=lambda alert, reason: stored.append((alert.offset, reason)),
        counters=counters,
    )
    [(offset, reason)] = stored
    assert offset == 0
    assert reason.endswith("cannot be read as JSON: it ends too early")
    assert seen == [1]
    assert source.marks == [2]
    assert counters.set_aside == 1
    assert counters.delivered == {"superevent": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_decode_error_of_the_callback_is_the_callbacks(workers):
    source = ListSource(0)

    def callback(alert):
        raise DecodeError("FITS", "the sky map ends too early")

    with pytest.raises(DecodeError, match="FITS"):
        run(source, callback, workers=workers, store_unreadable=lambda alert, reason: None)
    assert source.marks == [0]


def test_an_awaitable_that_nobody_awaits_is_an_error():
    class Awaitable:
        def __await__(self):
            yield

    source = ListSource(0)
    with pytest.raises(TypeError, match="the callback returned an awaitable, which nobody awaits"):
        run(source, lambda alert: Awaitable())
    assert source.marks == [0]


def test_an_awaitable_of_a_later_attempt_too():
    class Awaitable:
        def __await__(self):
            yield

    calls = []

    def call(alert):
        calls.append(alert.offset)
        if len(calls) == 1:
            raise Unhappy
        return Awaitable()

    source = ListSource(0)
    with pytest.raises(TypeError, match="awaitable"):
        run(source, call, policy=AT_ONCE)
    assert source.marks == [0]


# Lanes


@given(st.integers(2, 5), st.lists(st.integers(0, 2), max_size=40), st.booleans())
@settings(max_examples=40, deadline=None)
def test_lanes_deliver_all_and_keep_the_order_of_each_key(workers, partitions, by_parity):
    source = ListSource(partitions=3)
    for offset, partition in enumerate(partitions):
        source.add(offset, partition)
    key = (lambda alert: alert.offset % 2) if by_parity else None
    counters = Counters()
    seen = {}
    running = set()

    def call(alert):
        name = alert.offset % 2 if by_parity else alert.partition
        assert name not in running  # one at a time
        running.add(name)
        seen.setdefault(name, []).append(alert.offset)
        running.remove(name)

    run(source, call, workers=workers, key=key, counters=counters)
    assert all(offsets == sorted(offsets) for offsets in seen.values())
    delivered = sorted(offset for offsets in seen.values() for offset in offsets)
    assert delivered == list(range(len(partitions)))
    assert sum(counters.delivered.values()) == len(partitions)
    assert [one.unfinished for one in source.watermarks] == [0, 0, 0]
    last = {partition: offset + 1 for offset, partition in enumerate(partitions)}
    assert {k: v for marks in source.stored for k, v in marks.items()} == last


def test_lanes_run_side_by_side_and_are_waited_for():
    source = ListSource(partitions=2)
    source.add(0, 0)
    source.add(0, 1)
    both = threading.Barrier(2, timeout=10)
    threads = set()

    def call(alert):
        both.wait()
        threads.add(threading.current_thread().name)

    run(source, call, workers=2)
    assert source.marks == [1, 1]
    assert len(threads) == 2
    assert not [one for one in threading.enumerate() if one.name.startswith("alert-lane")]


def test_even_one_worker_may_be_apart():
    source = ListSource(0, 1)
    names = []
    run(source, lambda alert: names.append(threading.current_thread().name), apart=True)
    assert names
    assert set(names) == {"alert-lane-0"}


def test_a_lane_that_never_ends_leaves_time_for_the_others():
    """One worker, a partition that always has more, and another one that has one alert."""
    source = ListSource(0, partitions=2)
    came, sorted_in = [], threading.Event()
    take = source.take

    def take_and_tell(most, timeout):
        alerts = take(most, timeout)
        if not alerts:  # so what came before lies in its lane
            sorted_in.set()
        return alerts

    def call(alert):
        if (1, 0) in came or len(came) > 10:
            return
        came.append((alert.partition, alert.offset))
        sorted_in.clear()
        source.add(alert.offset + 1, 0)
        if alert.offset == 0:
            source.add(0, 1)
        assert sorted_in.wait(10)

    source.take = take_and_tell
    run(source, call, apart=True)
    assert came == [(0, 0), (1, 0)]


def test_after_a_failure_no_further_callback_starts_in_any_lane():
    source = ListSource(partitions=2)
    for offset in range(3):
        source.add(offset, 0)
        source.add(offset, 1)
    error = Unhappy("mine")
    failed, slow = threading.Event(), threading.Event()
    seen = []

    def call(alert):
        seen.append((alert.partition, alert.offset))
        if alert.partition == 0:
            assert slow.wait(10)
            failed.set()
            raise error
        slow.set()
        assert failed.wait(10)
        # The other lane parks all before this thread can be waited for.
        assert parked.wait(10)

    parked = threading.Event()

    class Watched(Delivery):
        def _park(self, error):
            super()._park(error)
            parked.set()

    stopping = threading.Event()
    with pytest.raises(Unhappy) as raised:
        Watched(source, on(call), stopping, Rules(workers=2)).run()
    assert raised.value is error
    assert "partition 0, offset 0" in error.__notes__[0]
    assert sorted(seen) == [(0, 0), (1, 0)]
    assert source.marks == [0, 1]  # the one that ran is finished and stored
    assert source.stored[-1][1] == 1


def test_a_key_that_fails_leaves_with_nothing_marked():
    def key(alert):
        raise Unhappy("no key")

    source = ListSource(0)
    with pytest.raises(Unhappy, match="no key"):
        run(source, lambda alert: None, workers=2, key=key)
    assert source.marks == [0]
    assert not [one for one in threading.enumerate() if one.name.startswith("alert-lane")]


def test_workers_that_have_enough_to_do_get_no_more():
    class Gate(ListSource):
        def take(self, most, timeout):
            if len(self.asked) == 1:
                both.wait(10)  # each worker has an alert by now
            if len(self.asked) == 3:
                too_many.set()
            return super().take(most if self.asked else 2, timeout)

    source = Gate(partitions=2)
    for offset in range(2000):
        source.add(offset, offset % 2)
    both, done = threading.Barrier(3), threading.Barrier(2)
    too_many, seen = threading.Event(), []

    def call(alert):
        if alert.offset < 2:
            both.wait(10)
            seen.append(too_many.wait(0.5))
            done.wait(10)  # before one goes on, and makes room

    run(source, call, 500, workers=2)
    assert seen == [False, False]
    assert too_many.is_set()  # and then they do


def test_a_full_queue_takes_no_more_until_there_is_room():
    source = ListSource(*range(2500))
    waiting = []

    def call(alert):
        waiting.append(source.watermarks[0].unfinished)

    # An alert counts as a kilobyte and its bytes, and a batch of lanes is 500 alerts.
    run(source, call, workers=2, queue_bytes=50_000)
    assert source.marks == [2500]
    assert max(waiting) <= 550


def test_settling_notes_what_the_lanes_have_finished():
    """Before a partition is given away its mark is that of the callbacks that have returned."""
    source = ListSource(0)
    running, go_on = threading.Event(), threading.Event()
    stopping = threading.Event()
    marks = []

    def call(alert):
        running.set()
        assert go_on.wait(10)

    def at_the_end():
        # As a reader does from within `take`.
        assert running.wait(10)
        go_on.set()
        source.settle(source.watermarks)
        marks.append(source.marks[0])
        stopping.set()

    source.at_the_end = at_the_end
    Delivery(source, on(call), stopping, Rules(workers=2)).run()
    assert marks == [1]


def test_what_waited_behind_a_failure_when_it_was_taken_away_is_counted():
    source = ListSource(*range(4))
    counters = Counters()

    def call(alert):
        source.watermarks[0].over = True  # before it is tried again
        raise Unhappy

    run(source, call, counters=counters, policy=RetryPolicy(3, 0.0))
    assert (counters.failed, counters.parked) == (1, 3)
    assert source.marks == [0]


def test_what_was_taken_away_is_let_go_of():
    source = ListSource(*range(4))
    seen = [weakref.ref(message) for _, message, _ in source.left]
    stopping = threading.Event()
    left = []

    def at_the_end():
        left.extend(message() for message in seen)
        stopping.set()

    def call(alert):
        source.watermarks[0].over = True

    source.at_the_end = at_the_end
    Delivery(source, on(call), stopping, Rules(250)).run()
    assert left == [None] * 4


def test_a_lane_that_waits_keeps_nothing():
    source = ListSource(*range(4))
    seen = [weakref.ref(message) for _, message, _ in source.left]
    kept = []

    def at_the_end():
        if source.marks == [4] and not kept:
            source.asked_then = len(source.asked)
            kept.append(None)
        elif kept and len(source.asked) > source.asked_then + 2:  # and all is collected
            kept[:] = [message() for message in seen]
            stopping.set()

    stopping = threading.Event()
    source.at_the_end = at_the_end
    gc.disable()
    try:
        rules = Rules(workers=2, key=lambda alert: alert.offset % 2)
        Delivery(source, on(lambda alert: None), stopping, rules).run()
    finally:
        gc.enable()
    assert kept == [None] * 4


def test_only_what_may_have_moved_is_stored():
    """An archive's alerts have a watermark each, of which thousands may wait."""
    source = ListSource(partitions=50)
    for number in range(50):
        source.add(0, number)
    running, go_on, stopping = threading.Event(), threading.Event(), threading.Event()
    take = source.take
    while_one_runs = []

    def take_one(_most, timeout):
        if source.asked:
            assert running.wait(10)
        if not source.left and not go_on.is_set():
            while_one_runs.extend(source.stored)
            go_on.set()
        return take(1, timeout)

    def call(alert):
        running.set()
        assert go_on.wait(10)

    source.take = take_one
    source.at_the_end = lambda: any(one.unfinished for one in source.watermarks) or stopping.set()
    Delivery(source, on(call), stopping, Rules(workers=2, key=lambda alert: 0)).run()
    assert source.marks == [1] * 50
    assert while_one_runs[-40:] == [{0: 0}] * 40


def test_settling_from_within_a_callback_does_not_wait_for_itself():
    source = ListSource(0)
    run(source, lambda alert: source.settle(source.watermarks))
    assert source.marks == [1]


# The iterator


def iterate(source, stopping=None, counters=None, **rules):
    stopping = stopping or threading.Event()
    source.at_the_end = stopping.set
    return Delivery(source, None, stopping, Rules(**rules), counters).alerts()


def test_an_alert_is_finished_when_the_next_one_is_asked_for():
    source = ListSource(*range(3))
    counters = Counters()
    alerts = iterate(source, counters=counters)
    for offset in range(3):
        assert next(alerts).offset == offset
        assert source.marks == [offset]
    assert next(alerts, None) is None
    assert source.marks == [3]
    assert source.stored == [{0: 1}, {0: 2}, {0: 3}]
    assert counters.delivered == {"superevent": 3}


@pytest.mark.parametrize("leave", ["close", "throw"])
def test_leaving_the_loop_finishes_nothing_more(leave):
    source = ListSource(*range(3))
    alerts = iterate(source, batch_size=3)
    next(alerts)
    next(alerts)
    if leave == "close":
        alerts.close()
    else:
        with pytest.raises(Unhappy):
            alerts.throw(Unhappy())
    assert source.marks == [1]


def test_stopping_the_iterator():
    source = ListSource(*range(3))
    stopping = threading.Event()
    alerts = iterate(source, stopping, batch_size=3)
    next(alerts)
    stopping.set()
    assert list(alerts) == []
    assert source.marks == [1]  # asking for the next one finished the first


def test_the_iterator_sets_aside_what_cannot_be_read():
    source = ListSource(0, decode=unreadable)
    source.add(1)
    stored = []
    alerts = iterate(source, store_unreadable=lambda alert, reason: stored.append(alert.offset))
    assert [alert.offset for alert in alerts] == [1]
    assert stored == [0]
    assert source.marks == [2]


def test_or_raises():
    with pytest.raises(DecodeError):
        next(iterate(ListSource(0, decode=unreadable)))


def test_the_iterator_passes_over_what_was_taken_away():
    source = ListSource(*range(3))
    counters = Counters()
    alerts = iterate(source, counters=counters, batch_size=3)
    next(alerts)
    source.watermarks[0].over = True
    assert list(alerts) == []
    assert counters.parked == 2


def test_this_room_prints_nothing(capsys):
    run(ListSource(0), lambda alert: None)
    assert capsys.readouterr() == ("", "")
