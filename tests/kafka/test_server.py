"""The test server keeps its own promises, so that other tests may build on them."""

import socket
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from tests.kafka import server
from tests.kafka.server import KafkaServer, KafkaUnavailable, fetch
from tests.waiting import wait_until

AUTHENTICATION = KafkaError._AUTHENTICATION
SSL = KafkaError._SSL


def values(kafka, topic):
    return [message.value() for message in kafka.records(topic)]


def send(settings, topic, value):
    """Send a record; the errors of the connection and of the record, as codes."""
    codes = []
    producer = Producer(
        {
            **settings,
            "error_cb": lambda error: codes.append(error.code()),
            "on_delivery": lambda error, _: codes.append(error.code()) if error else None,
            "log_level": 0,
        }
    )
    producer.produce(topic, value)
    wait_until(lambda: producer.flush(0.2) == 0 or codes, what=f"an answer to {topic}")
    producer.purge()
    producer.flush()
    return codes


def receive(settings, topic, consumer_group):
    """The first record of a topic, and the errors, as a consumer group gets them."""
    errors = []
    consumer = Consumer(
        {
            **settings,
            "group.id": consumer_group,
            "auto.offset.reset": "earliest",
            "error_cb": errors.append,
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    try:
        message = wait_until(lambda: consumer.poll(0.2), what=f"a record of {topic}")
        if message.error():
            return message.error().code()
        consumer.commit(message, asynchronous=False)
        return message.value()
    finally:
        consumer.close()


def test_starts_and_carries_records(kafka, group):
    topic = f"{group}.superevent"
    kafka.create_topics(topic, partitions=2)
    assert send({"bootstrap.servers": kafka.bootstrap}, topic, b"one") == []
    assert receive({"bootstrap.servers": kafka.bootstrap}, topic, group) == b"one"
    (record,) = kafka.records(topic)
    assert kafka.committed(group, topic) == {record.partition(): 1}
    assert kafka.end_offsets(topic) == {0: 0, 1: 0} | {record.partition(): 1}
    assert kafka.committed("nobody", topic) == {}


def test_topics_come_grow_and_go(kafka, group):
    kafka.create_topics(group, config={"retention.ms": "1000"})
    kafka.add_partitions(group, 3)
    kafka.produce(group, b"a", b"b", partition=2)
    assert kafka.end_offsets(group) == {0: 0, 1: 0, 2: 2}
    kafka.delete_topics(group)
    assert kafka.end_offsets(group) == {}


@pytest.mark.parametrize(
    ("user", "mechanism"),
    [("astronomer", "SCRAM-SHA-512"), ("astronomer", "SCRAM-SHA-256"), ("antares", "PLAIN")],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_users_log_in_over_tls(kafka, group, user, mechanism, host):
    port = kafka.sasl_bootstrap.rpartition(":")[2]
    login = kafka.login(user, mechanism) | {"bootstrap.servers": f"{host}:{port}"}
    kafka.create_topics(group)
    send(login, group, b"secret")
    assert receive(login, group, group) == b"secret"


@pytest.mark.parametrize("user", ["astronomer", "antares"])
def test_wrong_password(kafka, group, user):
    kafka.create_topics(group)
    assert AUTHENTICATION in send(kafka.login(user, password="wrong"), group, b"no")
    assert values(kafka, group) == []


def test_unknown_authority_and_wrong_host_name(kafka, group, tmp_path):
    kafka.create_topics(group)
    server.write_certificates(tmp_path)
    other = kafka.login("astronomer") | {"ssl.ca.location": str(tmp_path / "ca.pem")}
    # Now and then the connection is gone before librdkafka has seen why.
    wait_until(lambda: SSL in send(other, group, b"no"), 60, "a refused authority")
    # 127.1 is another spelling of 127.0.0.1, which the certificate does not name.
    port = kafka.sasl_bootstrap.rpartition(":")[2]
    alias = kafka.login("astronomer") | {"bootstrap.servers": f"127.1:{port}"}
    wait_until(lambda: SSL in send(alias, group, b"no"), 60, "a refused host name")
    assert values(kafka, group) == []


def test_acl_of_a_topic(kafka, group):
    topic = f"{group}.superevent"
    kafka.create_topics(topic)
    kafka.produce(topic, b"one")
    login = kafka.login("astronomer")
    kafka.acl("antares", "read", topic=topic)
    assert receive(login, topic, group) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert receive(kafka.login("antares"), topic, f"{group}-antares") == b"one"
    kafka.acl("astronomer", "all", topic=topic)
    kafka.acl("astronomer", "write", topic=topic, allow=False)
    assert receive(login, topic, group) == b"one"
    assert send(login, topic, b"two") == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    kafka.remove_acls(topic=topic)
    assert send(login, topic, b"two") == []
    assert values(kafka, topic) == [b"one", b"two"]


def test_acl_of_a_group(kafka, group):
    kafka.create_topics(group)
    kafka.produce(group, b"one")
    kafka.acl("antares", "read", group=group)
    login = kafka.login("astronomer")
    assert receive(login, group, group) == KafkaError.GROUP_AUTHORIZATION_FAILED
    with pytest.raises(TypeError, match="one resource"):
        kafka.acl("antares", "read", topic=group, group=group)


def test_deleted_records_move_the_low_watermark(kafka, group):
    kafka.create_topics(group)
    kafka.produce(group, b"a", b"b", b"c")
    kafka.delete_records(group, {0: 2})
    assert kafka.begin_offsets(group) == {0: 2}
    assert kafka.end_offsets(group) == {0: 3}
    assert values(kafka, group) == [b"c"]


def test_retention_is_a_matter_of_seconds(kafka, group):
    kafka.create_topics(group, config={"retention.ms": "1"})
    kafka.produce(group, b"a", b"b")
    wait_until(lambda: kafka.begin_offsets(group) == {0: 2}, what="retention")
    assert values(kafka, group) == []


def test_kill_and_restart_keep_records_users_and_groups(broker_of_my_own, group):
    kafka = broker_of_my_own
    kafka.create_topics(group)
    kafka.produce(group, b"one", b"two")
    login = kafka.login("astronomer")
    assert receive(login, group, group) == b"one"
    before = kafka.pid, kafka.url, kafka.sasl_url
    kafka.kill()
    assert kafka.pid is None
    kafka.restart()
    assert (kafka.url, kafka.sasl_url) == before[1:]
    assert kafka.pid != before[0]
    assert values(kafka, group) == [b"one", b"two"]
    assert kafka.committed(group, group) == {0: 1}
    assert receive(login, group, group) == b"two"
    with pytest.raises(RuntimeError, match="runs already"):
        kafka.start()
    kafka.restart()
    assert values(kafka, group) == [b"one", b"two"]


def test_frozen_broker_does_not_answer_and_goes_on(broker_of_my_own, group):
    kafka = broker_of_my_own
    kafka.create_topics(group)
    kafka.freeze()
    with pytest.raises(KafkaException, match=r"_TRANSPORT|_TIMED_OUT"):
        kafka._admin().list_topics(timeout=1)
    kafka.thaw()
    kafka.produce(group, b"one")
    kafka.freeze()
    start = time.monotonic()
    kafka.stop()
    assert time.monotonic() - start < 25, "a frozen broker must stop in good order"


def test_a_start_that_fails_shows_the_log(kafka_jars, tmp_path):
    broken = KafkaServer(kafka_jars, tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(broken.bootstrap.rpartition(":")[2])))
        taken.listen()
        with pytest.raises(server.KafkaDidNotStart, match="Address already in use"):
            broken.start()
    assert broken.pid is None


def test_passwords_are_not_in_the_log(kafka):
    log = kafka.log.read_text()
    assert "started" in log
    assert [name for name, password in kafka.users.items() if password in log] == []


def test_no_java_or_no_maven_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KafkaUnavailable, match='no "java"'):
        fetch(tmp_path / "cache")
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(KafkaUnavailable, match=r"11\.0\.2"):
        fetch(tmp_path / "cache")
    java.write_text("#!/bin/sh\necho 'openjdk version \"21\" 2023-09-19' >&2\n")
    with pytest.raises(KafkaUnavailable, match='no "mvn"'):
        fetch(tmp_path / "cache")
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho no network\nexit 1\n")
    maven.chmod(0o755)
    with pytest.raises(KafkaUnavailable, match="no network"):
        fetch(tmp_path / "cache")
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["kafka-4.1.0.lock"]


def test_waiting_says_what_for():
    with pytest.raises(TimeoutError, match=r"0\.1 s in vain for a miracle; last answer: 0"):
        wait_until(lambda: 0, 0.1, "a miracle")
    assert wait_until(lambda: "yes") == "yes"


def test_a_port_is_given_once_also_while_nobody_listens_there(monkeypatch):
    monkeypatch.setattr(server.random, "sample", lambda ports, count: list(ports)[-count:])
    ports, claims = server._free_ports(3)
    others, more = server._free_ports(3)
    assert not set(ports) & set(others)
    for claim in claims + more:
        claim.close()
    again, claims = server._free_ports(3)
    assert again == ports
    for claim in claims:
        claim.close()
