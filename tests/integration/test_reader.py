"""The reader at the embedded broker, where what a client shows is not enough."""

import socket

import confluent_kafka as ck
import pytest

from igwn_style_client import igwn
from igwn_style_client.health import Counters
from igwn_style_client.reader import Reader
from igwn_style_client.retry import RetryPolicy
from tests.waiting import wait_until


def test_what_is_refused_while_partitions_are_assigned_can_be_tried_again(broker, group):
    """confluent_kafka turns it into something that no `except` catches."""
    broker.create_topics(f"{group}.superevent")
    address = broker.url.split("/")[2]
    producer = ck.Producer({"bootstrap.servers": address, "log_level": 0})
    producer.produce(f"{group}.superevent", b"1")
    assert producer.flush(30) == 0
    refusals = []

    def refuse_once():
        if not refusals:
            refusals.append(True)
            reader._kafka.offsets_for_times([ck.TopicPartition(f"{group}.none", 0, 0)], timeout=1)

    with Reader(
        [address],
        [f"{group}.superevent"],
        igwn.dialect(group),
        group_id=group,
        start_at="earliest",
        options={"session.timeout.ms": 3000, "heartbeat.interval.ms": 500},
        policy=RetryPolicy(attempts=2),
        on_listening=refuse_once,
    ) as reader:
        ((alert,),) = wait_until(lambda: reader.take(10, 0.1), 60, "the alert")
        assert alert.payload == 1
    assert refusals


def test_whoever_waits_for_a_broker_does_not_stand_still():
    with socket.socket() as nobody:  # bound, and nobody listens
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        counters = Counters()
        with Reader(
            [address],
            ["gracedb.superevent"],
            igwn.dialect("gracedb"),
            policy=RetryPolicy(None, 60.0),
            counters=counters,
        ) as reader:

            def gives_up():
                reader.take(1, 0.1)
                return counters.state == "reconnecting"

            wait_until(gives_up, 60, "the end of the first attempt")
            before = counters.last_poll
            assert reader.take(1, 0.01) == []
            assert (counters.state, counters.reconnects) == ("reconnecting", 1)
            assert counters.last_poll > before


@pytest.mark.parametrize("grouped", [True, False])
def test_ctrl_c_in_a_poll_loses_nothing_to_whoever_reads_on(broker, group, grouped):
    """It comes when the poll returns, and what that returned is dropped."""
    name = f"{group}.superevent"
    broker.create_topics(name)
    address = broker.url.split("/")[2]
    producer = ck.Producer({"bootstrap.servers": address, "log_level": 0})
    for number in range(3):
        producer.produce(name, b"%d" % number, partition=0)
    assert producer.flush(30) == 0

    def interrupt(messages):
        del reader._batches
        raise KeyboardInterrupt

    with Reader(
        [address],
        [name],
        igwn.dialect(group),
        group_id=group if grouped else None,
        start_at="earliest",
        options={"session.timeout.ms": 3000, "heartbeat.interval.ms": 500},
        policy=RetryPolicy(attempts=2, wait=0.1),
    ) as reader:
        reader._most = 1
        reader._batches = interrupt

        def interrupted():
            try:
                reader.take(1, 0.1)
            except KeyboardInterrupt:
                return True
            return False

        wait_until(interrupted, 60, "Ctrl-C")
        seen = []

        def all_read():
            seen.extend(alert.payload for batch in reader.take(10, 0.1) for alert in batch)
            return 2 in seen

        wait_until(all_read, 60, "the alerts")
        assert seen == [0, 1, 2]
