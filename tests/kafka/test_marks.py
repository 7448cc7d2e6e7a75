"""The marks of a reader's partitions, with a real group's broker."""

from functools import partial

import confluent_kafka as ck
import pytest

from igwn_style_client.marks import Marks
from igwn_style_client.watermark import Watermark
from tests.waiting import wait_until


@pytest.fixture
def topic(kafka, group):
    """A topic of two partitions with five alerts in each."""
    name = f"{group}.superevent"
    kafka.create_topics(name, partitions=2)
    producer = ck.Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for number in range(10):
        producer.produce(name, b"{}", partition=number % 2)
    assert producer.flush(30) == 0
    return name


@pytest.fixture
def consumer(kafka, group):
    settings = {
        "bootstrap.servers": kafka.bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "log_level": 0,
    }
    consumer = ck.Consumer(settings)
    wait_until(partial(has_a_coordinator, consumer), 60, "the group's coordinator")
    yield consumer
    consumer.close()


def has_a_coordinator(consumer):
    try:
        consumer.committed([ck.TopicPartition("none", 0)], timeout=5)
    except ck.KafkaException:
        return False
    return True


def committed(consumer, *partitions):
    answer = consumer.committed([ck.TopicPartition(*one) for one in partitions], timeout=30)
    return [one.offset if one.offset >= 0 else None for one in answer]


@pytest.fixture
def both(topic):
    return [(topic, 0), (topic, 1)]


def test_the_first_marks_are_made_for_all_partitions_and_committed(consumer, both):
    mine, other = both
    found = Marks(True, "latest").fix(consumer, [mine], both, all_topics=False)
    assert found == {mine: 5}
    assert committed(consumer, *both) == [5, 5]
    assert Marks(True, "earliest").fix(consumer, [other], both, all_topics=False) == {other: 5}


def test_a_partition_that_is_younger_than_the_groups_marks_is_read_from_its_beginning(
    consumer, both
):
    Marks(True, "latest").fix(consumer, both[:1], both[:1], all_topics=False)
    assert Marks(True, "latest").fix(consumer, both, both, all_topics=False) == dict(
        zip(both, (5, 0), strict=True)
    )


def test_without_a_group_nothing_is_committed_and_ours_outlive_the_consumer(consumer, both):
    marks = Marks(False, "earliest")
    assert marks.fix(consumer, both, both, all_topics=False) == dict.fromkeys(both, 0)
    moved = Watermark(*both[0], 3)
    marks.store(consumer, [moved])
    marks.tend(consumer)
    assert marks.commit(consumer, {both[0]: 3})
    assert committed(consumer, *both) == [None, None]
    assert marks.fix(consumer, both, both, all_topics=False) == dict(zip(both, (3, 0), strict=True))


def test_what_is_stored_is_committed_and_a_mark_that_goes_back_too(consumer, both):
    marks = Marks(True, "earliest")
    begins = marks.fix(consumer, both, both, all_topics=False)
    consumer.assign([ck.TopicPartition(*one, offset) for one, offset in begins.items()])
    marks.store(consumer, [Watermark(*both[0], 4), Watermark(*both[1], 0)])
    consumer.commit(asynchronous=False)
    assert committed(consumer, *both) == [4, 0]
    marks.put(both[0], 1)
    wait_until(lambda: marks.tend(consumer) or committed(consumer, both[0]) == [1], 30, "the mark")


def test_of_the_brokers_mark_and_ours_the_farther_one_counts(consumer, both):
    marks = Marks(True, "earliest")
    marks.fix(consumer, both, both, all_topics=False)
    marks.note({both[0]: 2, both[1]: 2})
    assert marks.commit(consumer, {both[0]: 4, both[1]: 1})
    found = marks.fix(consumer, both, both, all_topics=False)
    assert found == dict(zip(both, (4, 2), strict=True))
    assert committed(consumer, *both) == [4, 2]


def test_the_brokers_mark_of_a_topic_that_was_made_anew_is_not_believed(consumer, both):
    marks = Marks(True, "latest")
    marks.fix(consumer, both, both, all_topics=False)
    marks.drop(both)
    marks.distrust(both[:1])
    found = marks.fix(consumer, both, both, all_topics=False)
    assert found == dict(zip(both, (0, 5), strict=True))


def test_what_the_broker_refuses_is_said_and_kept(consumer, both, caplog):
    marks = Marks(True, "earliest")
    marks.fix(consumer, both, both, all_topics=False)
    nobody = (both[0][0], 77)
    assert not marks.commit(consumer, {nobody: 1})
    assert "the marks could not be committed now" in caplog.text
    marks.hand_over(consumer, {both[0]: 1})  # which is not assigned
    assert committed(consumer, *both) == [0, 0]
