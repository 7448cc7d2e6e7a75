"""Alerts for a program that asks, from a source that is a list: no broker, no luck."""

import threading
import time

import pytest

from igwn_style_client.batch import Batch
from igwn_style_client.delivery import Delivery, Rules
from igwn_style_client.errors import DecodeError, StreamError
from igwn_style_client.health import Counters
from igwn_style_client.polling import Polling
from igwn_style_client.watermark import Watermark
from tests.waiting import wait_until


class Message:
    """As much of a Kafka message as is looked at."""

    def __init__(self, content):
        self.content = content

    def topic(self):
        return "client.stream"

    def partition(self):
        return 0

    def value(self):
        return self.content if isinstance(self.content, bytes) else b""

    def headers(self):
        return None


class Source:
    """Hands out what was put in, and notes what was stored."""

    def __init__(self):
        self.watermark = Watermark("client.stream", 0, 0)
        self.waiting = []
        self.at_end = False
        self.error = None
        self.taken = 0
        self.stored = 0
        self.most = 100

    def put(self, *values):
        self.waiting.extend(values)

    def take(self, most, timeout):
        if self.error is not None:
            raise self.error
        values = [self.waiting.pop(0) for _ in range(min(most, self.most, len(self.waiting)))]
        if not values:
            self.at_end = True
            time.sleep(min(timeout, 0.005))
            return []
        self.at_end = False
        batch = Batch(self.watermark, "stream")
        for value in values:
            batch.messages.append(Message(value))
            batch.decoders.append(decode)
            batch.offsets.append(self.taken)
            self.taken += 1
        batch.begin()
        return [batch]

    def store(self, watermarks):
        self.stored = self.watermark.mark


def decode(message):
    if message.content == "bad":
        raise DecodeError("a number", "it is none")
    if isinstance(message.content, BaseException):
        raise message.content
    return message.content


@pytest.fixture
def start():
    """A Polling of a new source."""
    made = []

    def begin(*values, store_unreadable=lambda alert, reason: None, **given):
        source, stopping, counters = Source(), threading.Event(), Counters()
        source.put(*values)
        rules = Rules(store_unreadable=store_unreadable)
        delivery = Delivery(source, None, stopping, rules, counters)
        polling = Polling(source, delivery, counters, stopping, **given)
        polling.stopping, polling.counters = stopping, counters
        made.append(polling)
        return source, polling

    yield begin
    for polling in made:
        polling.close(delivered=False)


def test_one_counts_when_the_next_is_asked_for(start):
    source, polling = start()
    source.put(0, 1, 2)
    assert polling.ask(None).payload == 0
    assert polling.ask(None).payload == 1
    wait_until(lambda: source.stored == 1, 5, "the mark")
    assert polling.counters.delivered["stream"] == 1
    polling.close(delivered=False)
    assert source.stored == 1


def test_the_last_counts_at_a_clean_end(start):
    source, polling = start()
    source.put(0, 1)
    polling.ask(None)
    polling.close(delivered=True)
    assert source.stored == 1


def test_the_last_counts_when_it_is_finished(start):
    source, polling = start()
    source.put(0)
    polling.ask(None)
    polling.finish()
    polling.finish()
    wait_until(lambda: source.stored == 1, 5, "the mark")


def test_an_interruption_shows_the_same_alert_again(start):
    source, polling = start()
    source.put(0, KeyboardInterrupt(), 2)
    assert polling.ask(None).payload == 0
    with pytest.raises(KeyboardInterrupt):  # as if Ctrl-C came while it was decoded
        polling.ask(None)
    with pytest.raises(KeyboardInterrupt):
        polling.ask(None)
    wait_until(lambda: source.stored == 1, 5, "the mark")
    polling.close(delivered=True)
    assert source.stored == 1  # the one that nobody saw does not count


def test_an_interruption_on_the_way_out_does_the_same(start):
    class Asking:
        """A lock whose first release Ctrl-C interrupts."""

        def __init__(self):
            self.interruptions = [KeyboardInterrupt()]

        def acquire(self, **_):
            return True

        def release(self):
            if self.interruptions:
                raise self.interruptions.pop()

    source, polling = start()
    polling._asking = Asking()
    source.put(0)
    with pytest.raises(KeyboardInterrupt):
        polling.ask(5)
    assert polling.ask(5).payload == 0
    assert source.stored == 0


def test_timeouts(start):
    source, polling = start()
    for timeout in (0, 0.2):
        begun = time.monotonic()
        assert polling.ask(timeout) is None
        assert timeout <= time.monotonic() - begun < timeout + 0.15
    threading.Timer(0.2, source.put, (0,)).start()
    assert polling.ask(10).payload == 0


def test_the_end(start):
    _, polling = start(*range(250))
    got = 0
    while polling.ask(None, until_end=True) is not None:
        got += 1
    assert got == 250
    assert polling.ask(5, until_end=True) is None


def test_stopping(start):
    _, polling = start()
    threading.Timer(0.2, polling.stopping.set).start()
    assert polling.ask(None) is None
    assert polling.ask(None) is None


def test_not_more_is_taken_ahead_than_two_batches(start):
    source, polling = start()
    source.put(*range(1000))
    wait_until(lambda: source.taken >= 100, 5, "a batch")
    for _ in range(10):
        polling.ask(None)
    assert source.taken <= 200
    assert [polling.ask(None).payload for _ in range(990)] == list(range(10, 1000))


def test_what_is_large_is_taken_ahead_up_to_a_number_of_bytes(start):
    source, polling = start(queue_bytes=10_000)
    source.most = 1
    source.put(*(bytes(4000) for _ in range(50)))
    for _ in range(50):
        assert polling.ask(None).payload == bytes(4000)
        assert source.taken - polling.counters.delivered["stream"] <= 4  # one of them is asked for


def test_what_cannot_be_read_is_set_aside(start):
    aside = []
    source, polling = start(store_unreadable=lambda alert, reason: aside.append(alert.offset))
    source.put(0, "bad", "bad", 3)
    assert [polling.ask(None).payload for _ in range(2)] == [0, 3]
    assert aside == [1, 2]
    wait_until(lambda: source.stored == 3, 5, "the mark")


def test_what_cannot_be_set_aside_stays(start):
    full = [OSError("the disk is full")]

    def store(alert, reason):
        if full:
            raise full.pop()

    source, polling = start(store_unreadable=store)
    source.put("bad", 1)
    with pytest.raises(OSError, match="the disk is full"):
        polling.ask(None)
    assert source.stored == 0
    assert polling.ask(None).payload == 1


def test_what_was_taken_away_is_not_shown(start):
    source, polling = start()
    source.put(0, 1)
    assert polling.ask(None).payload == 0
    source.watermark.over = True
    source.watermark = Watermark("client.stream", 0, 0)
    source.put(2)
    assert polling.ask(None).payload == 2
    assert polling.counters.parked == 1


def test_what_came_before_an_error_is_shown_first(start):
    source, polling = start()
    source.put(0)
    wait_until(lambda: source.taken, 5, "an alert")
    source.error = StreamError("refused")
    assert polling.ask(None).payload == 0
    for _ in range(2):
        with pytest.raises(StreamError, match="refused"):
            polling.ask(None)


def test_one_thread_asks_at_a_time(start):
    asking, go_on, got = threading.Event(), threading.Event(), []

    def store(alert, reason):
        asking.set()
        go_on.wait(10)

    source, polling = start(store_unreadable=store)
    source.put("bad", 1, 2)
    thread = threading.Thread(target=lambda: got.append(polling.ask(None).payload))
    thread.start()
    assert asking.wait(10)
    with pytest.raises(RuntimeError, match="another thread asks"):
        polling.ask(0)
    go_on.set()
    thread.join(10)
    assert got == [1]
    assert polling.ask(None).payload == 2  # one after the other is well


def test_closing_ends_the_asking(start):
    source, polling = start()
    got = []
    thread = threading.Thread(target=lambda: got.append(polling.ask(None)), daemon=True)
    thread.start()
    polling.close(delivered=True)
    thread.join(10)
    assert got == [None]
    source.put(0)
    assert polling.ask(None) is None


def test_by_hand(start):
    source, polling = start(by_hand=True)
    source.put(0, 1, 2)
    polling.ask(None)
    polling.ask(None)
    polling.commit()
    assert polling.ask(None).payload == 2
    wait_until(lambda: source.stored == 2, 5, "the mark")
    polling.close(delivered=True)
    assert source.stored == 2
