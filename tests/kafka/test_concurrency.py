"""Callbacks side by side where a real group, its marks and its deadlines count."""

import threading
import time

import pytest

from tests.integration.test_concurrency import (
    PARTITIONS,
    Recorder,
    Topic,
    a_while,
    alerts_of,
    grouped,
    running,
    test_a_failure_ends_every_lane_and_marks_what_is_done,
    test_an_alert_counts_when_the_next_is_asked_for,
    test_an_unfinished_alert_holds_its_partitions_mark,
    test_keys_run_side_by_side_and_each_in_order,
    test_marks_of_lanes_reach_the_broker_while_nothing_arrives,
    test_partitions_run_side_by_side_and_each_in_order,
    test_stop_in_the_middle_of_full_lanes_neither_loses_nor_repeats,
    test_two_clients_in_one_process,
    test_what_is_finished_is_marked_while_the_next_callback_runs,
)
from tests.listening import connect
from tests.waiting import wait_until

__all__ = [
    "connect",
    "grouped",
    "test_a_failure_ends_every_lane_and_marks_what_is_done",
    "test_an_alert_counts_when_the_next_is_asked_for",
    "test_an_unfinished_alert_holds_its_partitions_mark",
    "test_keys_run_side_by_side_and_each_in_order",
    "test_marks_of_lanes_reach_the_broker_while_nothing_arrives",
    "test_partitions_run_side_by_side_and_each_in_order",
    "test_stop_in_the_middle_of_full_lanes_neither_loses_nor_repeats",
    "test_two_clients_in_one_process",
    "test_what_is_finished_is_marked_while_the_next_callback_runs",
]

#: A group throws out who has not polled for so many seconds.
POLL_SECONDS = 6
IMPATIENT = {
    "session.timeout.ms": 1000 * POLL_SECONDS,
    "max.poll.interval.ms": 1000 * POLL_SECONDS,
    "heartbeat.interval.ms": 500,
}


@pytest.fixture
def broker(kafka):
    return kafka


@pytest.fixture
def topic(kafka, group):
    name = f"{group}.superevent"
    kafka.create_topics(name, partitions=PARTITIONS)
    return Topic(kafka, name, make=False)


@pytest.mark.parametrize("queue_bytes", [1, 2**20], ids=["no-room", "room"])
def test_slow_lanes_keep_their_place_in_the_group(topic, grouped, queue_bytes):
    topic.put(*alerts_of(0, 3))
    recorder = Recorder(lambda alert: alert.payload["n"] or time.sleep(POLL_SECONDS + 2))
    alerts = grouped(options=IMPATIENT, queue_bytes=queue_bytes)
    with running(alerts, recorder, workers=2) as (_, raised):
        wait_until(lambda: len(recorder.done) >= 3 or raised, 30, "3 alerts")
        topic.put({"lane": 0, "n": 3})
        wait_until(lambda: len(recorder.done) >= 4 or raised, 30, "the last")
    assert not raised
    assert recorder.by_lane() == {0: [0, 1, 2, 3]}
    assert alerts.health().parked == 0


def test_a_slow_loop_keeps_its_place_in_the_group(topic, grouped, group):
    topic.put(*alerts_of(0, 3))
    alerts = grouped(options=IMPATIENT)
    got = []
    for alert in alerts.alerts("superevent"):
        got.append(alert.payload["n"])
        if got == [0]:
            time.sleep(POLL_SECONDS + 2)
        if len(got) == 3:
            alerts.stop()
    assert got == [0, 1, 2]
    assert topic.marks(group)[0] == 3


def test_members_come_and_go_beside_busy_lanes(topic, grouped):
    """A partition changes hands when its running callback is done: none repeats, none is lost."""
    count = 150
    for lane in range(PARTITIONS):
        topic.put(*alerts_of(lane, count), partition=lane)
    recorders = [Recorder(a_while(seed, 0.04)) for seed in range(4)]

    def came():
        done = [payload for recorder in recorders for payload in recorder.done]
        return [(payload["lane"], payload["n"]) for payload in done]

    everything = {(lane, n) for lane in range(PARTITIONS) for n in range(count)}
    with running(grouped(options=IMPATIENT), recorders[0], workers=4):
        wait_until(lambda: recorders[0].done, what="the first member")
        for recorder in recorders[1:]:
            with running(grouped(options=IMPATIENT), recorder, workers=4):
                wait_until(lambda r=recorder: len(r.done) > 5 or {*came()} == everything, 30)
        wait_until(lambda: {*came()} == everything, 60, "all")
    assert len(came()) == len(everything), "nobody died, so nothing comes twice"
    for recorder in recorders:
        assert all(numbers == sorted(numbers) for numbers in recorder.by_lane().values())


def test_a_partition_waits_for_its_callback_before_it_changes_hands(topic, grouped):
    """The second member must not begin what the first is just at."""
    for lane in range(PARTITIONS):
        topic.put({"lane": lane, "n": 0}, partition=lane)
    second_waits = threading.Event()
    first = Recorder(lambda alert: second_waits.wait(20) and time.sleep(2))
    second = Recorder()
    with running(grouped(options=IMPATIENT), first, workers=4):
        wait_until(lambda: len(first.inside) == PARTITIONS, what="4 callbacks")
        with running(grouped(options=IMPATIENT), second, workers=4):
            second_waits.set()
            wait_until(lambda: len(first.done) == PARTITIONS, what="their ends")
            for lane in range(PARTITIONS):
                topic.put({"lane": lane, "n": 1}, partition=lane)
            wait_until(lambda: len(first.done) + len(second.done) >= 2 * PARTITIONS, 30, "all")
    came = sorted((one["lane"], one["n"]) for one in first.done + second.done)
    assert came == [(lane, n) for lane in range(PARTITIONS) for n in range(2)]
