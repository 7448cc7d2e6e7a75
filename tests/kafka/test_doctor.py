"""The doctor at each sickbed: which check fails, what it says, and where it leads."""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time

import pytest
from confluent_kafka import Producer
from hop.auth import Auth, SASLMethod

from igwn_style_client import client
from tests.waiting import wait_until


@pytest.fixture
def examine(kafka, group):
    """Examine a connection as the user "astronomer" would have it; keywords as the test says."""

    def check(topics=None, **given):
        connection = {
            "server": kafka.sasl_url,
            "username": "astronomer",
            "password": kafka.users["astronomer"],
            "ssl_ca_location": str(kafka.ca),
            "group": group,
        }
        connection = {k: v for k, v in {**connection, **given}.items() if v is not ...}
        told = []
        made = client(**connection).check(topics, timeout=5, on_check=told.append)
        assert told == made
        text = repr(made)
        assert not [password for password in kafka.users.values() if password in text]
        return made

    return check


def plain(kafka, **more):
    auth = Auth(
        "antares",
        kafka.users["antares"],
        ssl_ca_location=str(kafka.ca),
        method=SASLMethod.PLAIN,
        **more,
    )
    return {"auth": auth, "username": ..., "password": ..., "ssl_ca_location": ...}


def failed(checks):
    """The one check that failed."""
    [one] = [one for one in checks if one.passed is False]
    assert one.mend
    return one


def named(checks, name):
    return [one for one in checks if one.name == name]


def test_a_healthy_connection(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent", f"{group}.cbc_gstlal")
    kafka.produce(f"{group}.superevent", b"{}")
    checks = examine(consumer_group=group)
    assert [one.name for one in checks] == [
        *("credential", "name", "TCP", "TLS", "login", "brokers", "topics"),
        *("reading", "consumer group", "clock", "alerts", "alerts"),
    ]
    assert not [one for one in checks if one.passed is False or one.mend]
    said = {one.name: one.said for one in checks}
    assert said["credential"] == (
        'user "astronomer" by SCRAM-SHA-512, from username= and password='
    )
    assert "signed by throw-away CA, valid until " in said["TLS"]
    assert said["topics"].endswith(f'2 of the group "{group}"')
    empty, full = named(checks, "alerts")
    assert (empty.passed, empty.said) == (None, f"{group}.cbc_gstlal: holds no alert")
    assert full.said.startswith(f"{group}.superevent: newest alert ")


def test_without_a_login(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent")
    checks = examine(server=kafka.url, noauth=True)
    assert not [one for one in checks if one.passed is False]
    assert named(checks, "login")[0].said.startswith("the credential is not needed")
    assert "start_at" in named(checks, "consumer group")[0].said


@pytest.mark.parametrize("method", ["SCRAM", "PLAIN"])
def test_a_wrong_password(kafka, examine, method):
    wrong = secrets.token_hex(16)
    given = {"password": wrong}
    if method == "PLAIN":
        given = plain(kafka)
        given["auth"] = Auth(
            "antares", wrong, ssl_ca_location=str(kafka.ca), method=SASLMethod.PLAIN
        )
    checks = examine(**given)
    one = failed(checks)
    assert one is checks[-1], "there is no point in going on"
    assert one.name == "login"
    assert wrong not in repr(checks)
    user = "antares" if method == "PLAIN" else "astronomer"
    assert f'user "{user}"' in one.said


@pytest.mark.parametrize(
    ("server", "name", "says", "mends"),
    [
        ("127.0.0.1:1", "TCP", "the port is closed", "is the port right"),
        ("a..b", "name", "cannot be resolved", "spelled"),
        ("no-such-host.invalid", "name", "cannot be resolved", "spelled"),
    ],
)
def test_nobody_there(examine, server, name, says, mends):
    checks = examine(server=server)
    one = failed(checks)
    assert one is checks[-1]
    assert one.name == name
    assert says in one.said
    assert mends in one.mend


def test_one_of_several_brokers_is_enough(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent")
    checks = examine(server=f"127.0.0.1:1,{kafka.sasl_bootstrap}")
    assert failed(checks).said.startswith("127.0.0.1:1")
    assert named(checks, "login")[0].passed


@pytest.fixture
def silent():
    """The address of somebody who accepts connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield "{}:{}".format(*listening.getsockname())


@pytest.mark.parametrize("noauth", [True, False])
def test_somebody_who_never_answers(silent, examine, noauth):
    checks = examine(server=silent, noauth=noauth)
    one = failed(checks)
    assert one.name == "TCP"
    assert "accepts connections and never answers" in one.said


@pytest.mark.parametrize(
    ("situation", "says", "mends"),
    [
        ("another CA", "not signed by a CA that is trusted", "ssl_ca_location"),
        ("expired", "expired", "renew"),
        ("another host", "another host name", "name"),
        ("no TLS there", "does not speak TLS", "port"),
        ("no TLS here", "speaks TLS", "credential"),
    ],
)
def test_tls(kafka, examine, situation, says, mends):
    given = {
        "another CA": {"ssl_ca_location": ...},
        "expired": {"server": kafka.expired_url, **plain(kafka)},
        "another host": {"server": kafka.elsewhere_url, **plain(kafka)},
        "no TLS there": {"server": kafka.url},
        "no TLS here": {"noauth": True, "ssl_ca_location": ...},
    }[situation]
    checks = examine(**given)
    one = failed(checks)
    assert one is checks[-1]
    assert one.name == "TLS"
    assert says in one.said
    assert mends in one.mend


def test_what_is_left_open_is_told(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent")
    unverified = {"enable.ssl.certificate.verification": False}
    checks = examine(ssl_ca_location=..., options=unverified)
    one = failed(checks)
    assert one.name == "credential"
    assert "not verified" in one.said
    assert named(checks, "TLS")[0].passed is None
    assert named(checks, "login")[0].passed


def test_a_missing_topic(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent")
    one = failed(examine("superevents"))
    assert one.name == "topics"
    assert f'"{group}.superevents" does not exist' in one.said
    assert f"there is {group}.superevent" in one.said


@pytest.mark.parametrize(
    ("group", "topic", "mends"),
    [
        ("{}", "{}.unique_name", "write the short name: unique_name"),
        ("{}x", "unique_name", "another group: give group='{}'"),
        ("{}", "unique_nam", "spelled right"),
    ],
)
def test_a_missing_topic_leads_to_the_right_one(kafka, examine, group, topic, mends):
    ours = f"g{secrets.token_hex(4)}"
    kafka.create_topics(f"{ours}.unique_name")
    one = failed(examine(topic.format(ours), group=group.format(ours)))
    assert f"there is {ours}.unique_name" in one.said
    assert mends.format(ours) in one.mend
    kafka.delete_topics(f"{ours}.unique_name")


def test_a_topic_that_may_not_be_seen(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent", f"{group}.secret")
    kafka.acl("admin", "read", topic=f"{group}.secret")
    one = failed(examine("secret"))
    assert one.said == (
        f'"{group}.secret": not to be seen with this credential, if it exists at all'
    )
    assert "ask its owner for the permission" in one.mend


def test_a_credential_for_another_server(kafka, tmp_path):
    auth = tmp_path / "auth.toml"
    auth.touch(mode=0o600)
    auth.write_text(
        '[[auth]]\nusername = "me"\npassword = "hunter2"\nhostname = "kafka.example.org"\n'
    )
    done = run(kafka, "doctor", "--server", kafka.sasl_url, "--authfile", str(auth))
    assert done.returncode == 1
    assert f'user "me" by SCRAM-SHA-512, from {auth}, for kafka.example.org' in done.stdout
    assert "    -> store one for this server with: hop auth add (or --noauth" in done.stdout


def test_a_group_without_topics(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent")
    one = failed(examine(group=f"{group}x"))
    assert one.said.endswith(f'is of the group "{group}x"')
    assert f" {group}" in one.mend


def test_a_topic_that_may_be_seen_and_not_read(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent", f"{group}.closed")
    kafka.acl("astronomer", "describe", topic=f"{group}.closed")
    one = failed(examine())
    assert one.name == "reading"
    assert one.said.endswith(f": {group}.closed")
    alerts = client(
        server=kafka.sasl_url,
        username="astronomer",
        password=kafka.users["astronomer"],
        ssl_ca_location=str(kafka.ca),
        group=group,
    )
    assert alerts.get_topics() == ["closed", "superevent"]
    assert alerts.get_topics(readable=True) == ["superevent"]


def test_a_consumer_group_that_is_not_allowed(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent")
    kafka.acl("admin", "read", group=group)
    one = failed(examine(consumer_group=group))
    assert one.name == "consumer group"
    assert one.said == f'"{group}" is not allowed for this credential'
    assert f'"astronomer-{group}"' in one.mend


def test_alerts_from_the_future(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent")
    ahead = int((time.time() + 600) * 1000)
    kafka.produce(f"{group}.superevent", b"{}", timestamp=ahead)
    [one] = named(examine(), "clock")
    assert one.passed is None, "the time is the publisher's"
    assert "s from the future: this clock is behind, or its publisher's ahead" in one.said


def test_a_topic_that_ends_with_no_alert(kafka, group, examine):
    """A transaction ends with a mark, which is a record and no alert."""
    kafka.create_topics(f"{group}.superevent")
    publisher = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": group})
    publisher.init_transactions(30)
    publisher.begin_transaction()
    publisher.produce(f"{group}.superevent", b"{}")
    publisher.commit_transaction(30)
    [one] = named(examine(), "alerts")
    assert one.said.startswith(f"{group}.superevent: newest alert ")


def test_a_question_that_is_answered_late(broker_of_my_own):
    """librdkafka would abort the whole process."""
    kafka = broker_of_my_own
    run = subprocess.run(
        [sys.executable, "-c", _LATE, kafka.url, str(kafka.pid)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split() == ["True", "BrokerUnreachable", "True"]


_LATE = """
import os, signal, sys, time
from igwn_style_client.inquiry import Inquiry
from igwn_style_client.rights import may_join

server, broker = sys.argv[1].split("/")[2], int(sys.argv[2])
with Inquiry([server], None) as inquiry:
    inquiry.metadata(10)
    print(may_join(inquiry, "g", 10))
    os.killpg(broker, signal.SIGSTOP)
    try:
        may_join(inquiry, "g", 1)
    except Exception as error:
        print(type(error).__name__)
    finally:
        os.killpg(broker, signal.SIGCONT)
    print(may_join(inquiry, "g", 30))
"""


def run(kafka, *arguments, **environment):
    password = environment.pop("password", kafka.users["astronomer"])
    login = {"IGWN_STYLE_CLIENT_USERNAME": "astronomer", "IGWN_STYLE_CLIENT_PASSWORD": password}
    return subprocess.run(
        [sys.executable, "-m", "igwn_style_client", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **login, **environment},
    )


def test_the_command(kafka, group):
    kafka.create_topics(f"{group}.superevent", f"{group}.closed")
    kafka.acl("astronomer", "describe", topic=f"{group}.closed")
    connection = {
        "IGWN_STYLE_CLIENT_SERVER": kafka.sasl_url,
        "IGWN_STYLE_CLIENT_GROUP": group,
        "IGWN_STYLE_CLIENT_SSL_CA_LOCATION": str(kafka.ca),
    }
    well = run(kafka, "doctor", "superevent", **connection)
    assert (well.returncode, well.stderr) == (0, "")
    assert "✓ login: the credential is accepted" in well.stdout
    assert well.stdout.endswith("the connection works\n")
    ill = run(kafka, "--debug", "doctor", **connection)
    assert ill.returncode == 1
    assert f"✗ reading: not allowed for this credential: {group}.closed\n    -> ask" in ill.stdout
    told = run(kafka, "doctor", "--json", **connection, password="wrong-" + group)
    assert told.returncode == 1
    records = [json.loads(line) for line in told.stdout.splitlines()]
    assert all(record.keys() == {"name", "passed", "said", "mend"} for record in records)
    assert records[-1]["passed"] is False
    said = "".join(one.stdout + one.stderr for one in (well, ill, told))
    assert kafka.users["astronomer"] not in said
    assert "wrong-" + group not in said


def test_the_command_without_a_sound_credential(kafka):
    done = run(kafka, "doctor", "--server", kafka.sasl_url, password="")
    assert done.returncode == 1
    assert "✗ credential: the environment holds half a credential" in done.stdout
    assert "Traceback" not in done.stderr


def test_several_doctors_leave_nothing_behind(kafka, group, examine):
    kafka.create_topics(f"{group}.superevent")
    examine(consumer_group=group)
    threads = threading.active_count()
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        examine(consumer_group=group)
    assert threading.active_count() == threads
    # librdkafka ends its connections in threads of its own.
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files, what="closed connections")
