"""What a real broker does to what is published."""

import shutil
import time

import pytest

from igwn_style_client import AuthorizationError, PublishError, TopicNotFound, client
from tests.integration.test_leaving import (
    test_a_fork_has_a_connection_of_its_own,
    test_what_is_queued_is_sent_at_the_end,
)
from tests.kafka import publishers
from tests.kafka.counting import astronomer
from tests.listening import connect, listening
from tests.waiting import wait_until

__all__ = [
    "connect",
    "test_a_fork_has_a_connection_of_its_own",
    "test_what_is_queued_is_sent_at_the_end",
]


@pytest.fixture
def broker(kafka):
    return kafka


def test_a_receipt_has_the_brokers_time(broker, group, connect):
    broker.create_topics(f"{group}.superevent")
    got = []
    with listening(connect(), lambda topic, payload, alert: got.append(alert), "superevent"):
        receipt = connect().publish("superevent", "text")
        wait_until(lambda: got, what="an alert")
    assert receipt.time == got[0].time
    assert abs(receipt.time.timestamp() - time.time()) < 60


@pytest.mark.parametrize("kilobytes", [200, 2000])
def test_too_large_for_the_topic(broker, group, connect, kilobytes):
    """Below 900 kB it is the broker that refuses; beyond it is asked for its limit first."""
    broker.create_topics(f"{group}.superevent", config={"max.message.bytes": "100000"})
    publisher = connect()
    large = "x" * (1000 * kilobytes)
    with pytest.raises(PublishError, match=rf"{kilobytes}\d\d\d bytes .*limit is 100000") as caught:
        publisher.publish("superevent", large)
    assert caught.value.unconfirmed == [(f"{group}.superevent", large)]
    assert publisher.publish("superevent", "small").offset == 0


def test_one_of_several_topics_does_not_exist(broker, group, connect):
    broker.create_topics(f"{group}.superevent", f"{group}.cbc_gstlal")
    publisher = connect()
    with pytest.raises(PublishError) as caught:
        publisher.publish(["cbc_gstlal", "superevnt", "superevent"], "text")
    assert isinstance(caught.value.__cause__, TopicNotFound)
    assert caught.value.unconfirmed == [(f"{group}.superevnt", "text")]
    text = str(caught.value)
    assert f'confirmed for "{group}.cbc_gstlal", "{group}.superevent"' in text
    assert [one.offset for one in publisher.publish(["cbc_gstlal", "superevent"], "2")] == [1, 1]


def test_one_of_several_topics_may_not_be_written(kafka, group):
    kafka.create_topics(f"{group}.superevent", f"{group}.closed")
    kafka.acl("admin", "all", topic=f"{group}.closed")
    user = "astronomer"
    told = {"server": kafka.sasl_url, "group": group, "ssl_ca_location": kafka.ca}
    with client(user, kafka.users[user], **told) as publisher:
        with pytest.raises(PublishError) as caught:
            publisher.publish(["closed", "superevent"], "text")
        assert isinstance(caught.value.__cause__, AuthorizationError)
        assert caught.value.unconfirmed == [(f"{group}.closed", "text")]
        assert f'confirmed for "{group}.superevent"' in str(caught.value)


def test_a_broker_that_is_killed_and_comes_back(broker_of_my_own, group):
    kafka = broker_of_my_own
    assert not publishers.broker_killed_while_publishing(kafka, group, alerts=500, kills=1).bad


def test_a_broker_that_is_gone(broker_of_my_own, group):
    assert not publishers.broker_gone(broker_of_my_own, group).bad


def test_many_threads(kafka, group):
    """Twice as much as there is room for in memory."""
    assert not publishers.many_threads(kafka, group, alerts=20_000, size=8000).bad


def test_a_broker_that_has_lost_what_it_confirmed(broker_of_my_own, group):
    """librdkafka gives its producer up then, for good; the next alert goes out by another one."""
    kafka = broker_of_my_own
    topic = f"{group}.superevent"
    kafka.create_topics(topic)
    publisher = client(server=kafka.url, noauth=True, group=group)
    publisher.connect("superevent")
    publisher.publish("superevent", "before")
    kafka.stop()
    data, copy = kafka.folder / "data" / f"{topic}-0", kafka.folder / "copy"
    shutil.copytree(data, copy)
    kafka.start()
    publisher.publish("superevent", "lost by the broker")
    kafka.stop()
    shutil.rmtree(data)
    copy.rename(data)
    kafka.start()
    for number in range(10):
        publisher.publish_to_topic("superevent", number)
    with pytest.raises(PublishError, match="OUT_OF_ORDER_SEQUENCE_NUMBER") as caught:
        publisher.flush_by_topic("superevent")
    unconfirmed = [msg for _, msg in caught.value.unconfirmed]
    assert unconfirmed == list(range(10))
    for number in unconfirmed:
        publisher.publish_to_topic("superevent", number)
    publisher.disconnect()
    values = [record.value() for record in kafka.records(topic)]
    assert values == [b'"before"', *(str(number).encode() for number in range(10))]


def test_rights_that_are_given_later(broker_of_my_own, group):
    """Without any right to write librdkafka gives its producer up, though the topic is seen."""
    kafka = broker_of_my_own
    topic = f"{group}.superevent"
    kafka.create_topics(topic)
    kafka.acl("astronomer", "describe", topic=topic)
    kafka.acl("astronomer", "write", topic="*", allow=False)
    kafka.acl("admin", "idempotent_write")
    with client(**astronomer(kafka), group=group) as publisher:
        for _ in range(2):
            with pytest.raises(PublishError, match="Cluster authorization failed") as caught:
                publisher.publish("superevent", "text")
            assert isinstance(caught.value.__cause__, AuthorizationError)
            assert caught.value.unconfirmed == [(topic, "text")]
        kafka.remove_acls(topic="*")
        kafka.acl("astronomer", "write", topic=topic)
        assert publisher.publish("superevent", "text").offset == 0
    [record] = kafka.records(topic)
    assert ("_sender", b"astronomer") in record.headers()
