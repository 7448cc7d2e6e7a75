"""Alerts of one partition, before anybody has looked at them."""

import gc
import weakref

import pytest

from igwn_style_client.alert import Alert
from igwn_style_client.batch import Batch
from igwn_style_client.errors import DecodeError
from igwn_style_client.watermark import Watermark


class Message:
    def __init__(self, offset, value=b"{}"):
        self._offset = offset
        self._value = value

    def topic(self):
        return "gracedb.superevent"

    def partition(self):
        return 2

    def offset(self):
        return self._offset

    def value(self):
        return self._value


def decode(message):
    return {"decoded": message.value()}


@pytest.fixture
def watermark():
    return Watermark("gracedb.superevent", 2, 10)


@pytest.fixture
def batch(watermark):
    return begun(watermark)


def begun(watermark):
    """Return a batch of the offsets 10, 11 and 13."""
    batch = Batch(watermark, "superevent")
    for offset in (10, 11, 13):
        batch.messages.append(Message(offset, b"%d" % offset))
        batch.decoders.append(decode)
        batch.offsets.append(offset)
    batch.begin()
    return batch


def test_what_was_read_has_begun(batch, watermark):
    assert len(batch) == 3
    assert (watermark.mark, watermark.next, watermark.unfinished) == (10, 14, 3)


def test_what_is_finished_moves_the_mark(batch, watermark):
    batch.done[1] = 1
    assert watermark.mark == 10
    batch.done[0] = 1
    assert watermark.mark == 13
    batch.done[2] = 1
    assert (watermark.mark, watermark.unfinished) == (14, 0)


def test_alerts_after_the_last_one_may_have_been_passed_over(watermark):
    batch = Batch(watermark, "superevent")
    batch.end = 20
    batch.begin()
    assert (len(batch), watermark.mark, watermark.next) == (0, 20, 20)


def test_alerts_are_made_for_those_who_ask(batch):
    alerts = list(batch)
    assert [alert.offset for alert in alerts] == [10, 11, 13]
    assert {(alert.topic, alert.full_name, alert.partition) for alert in alerts} == {
        ("superevent", "gracedb.superevent", 2)
    }
    assert alerts[2].payload == {"decoded": b"13"}
    for number, alert in enumerate(alerts):
        watermark, done, at = alert._place
        assert watermark is batch.watermark
        assert done is batch.done
        assert at == number
    assert not batch.messages


def test_whoever_keeps_an_alert_keeps_nothing_of_what_was_read_with_it(watermark):
    batch = begun(watermark)
    others = [weakref.ref(message) for message in list(batch.messages)[1:]]
    kept = next(iter(batch))
    del batch
    gc.collect()
    assert kept.payload == {"decoded": b"10"}
    assert [other() for other in others] == [None, None]


def test_an_alert_may_be_decoded_already(batch):
    payload = {"decoded": "by somebody else"}
    alert = batch.alert(1, Message(11), payload)
    assert alert.is_decoded
    assert alert.payload is payload
    assert not batch.alert(1, Message(11)).is_decoded


def test_what_is_taken_out_is_let_go_of(batch):
    message = batch.messages[0]
    seen = weakref.ref(message)
    alert = next(iter(batch))
    del message
    assert alert.offset == 10
    assert seen() is not None
    del alert
    gc.collect()
    assert seen() is None


def test_each_may_have_a_batch_of_its_own_that_finishes_in_any_order(batch, watermark):
    parts = list(batch.apart())
    assert [alert.offset for alert, _ in parts] == [10, 11, 13]
    assert [list(part) for _, part in parts] == [[alert] for alert, _ in parts]
    assert [(len(part), part.watermark is watermark) for _, part in parts] == [(1, True)] * 3
    for number, mark in ((2, 10), (0, 11), (1, 14)):
        parts[number][1].done[0] = 1
        assert watermark.mark == mark


def test_a_batch_of_its_own_decodes_no_second_time(watermark):
    seen = []
    alert = Alert.received(Message(10), "superevent", lambda message: seen.append(message) or 5)
    batch = Batch.of(alert, watermark)
    assert alert.payload == 5
    assert batch.decoders[0](batch.messages[0]) == 5
    assert len(seen) == 1


def test_a_batch_of_an_alert_gives_out_that_alert(watermark):
    alert = Alert.received(Message(10), "superevent", decode)
    alert._reason = "the dome was closed"  # as an archive knows it, and no message does
    batch = Batch.of(alert, watermark)
    assert watermark.mark == 10
    [again] = batch
    assert again is alert
    place, done, number = again._place
    done[number] = 1
    assert place.mark == 11


def test_what_cannot_be_decoded_says_where_in_any_batch(batch):
    def refuse(message):
        raise DecodeError("JSON", "it ends too early")

    batch.decoders[0] = refuse
    _, part = next(batch.apart())
    for alert in (*part, batch.alert(0, Message(10))):
        with pytest.raises(DecodeError, match=r"partition 2, offset 10 cannot be read as JSON: it"):
            alert.payload  # noqa: B018


def test_a_batch_of_one_alert_is_let_go_of_without_the_collector(watermark):
    gc.disable()
    try:
        message = Message(10)
        seen = weakref.ref(message)
        batch = Batch.of(Alert.received(message, "superevent", decode), watermark)
        del message, batch
        assert seen() is None
    finally:
        gc.enable()


def test_its_size_is_that_of_what_waits(batch):
    before = batch.size
    assert 3 * 2 < before < 10_000
    batch.messages.append(Message(14, bytes(10**6)))
    assert batch.size - before > 10**6
    batch.messages.clear()
    assert batch.size == 0
