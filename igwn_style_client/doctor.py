"""The checks between a user and a working connection, each with its verdict and its mend."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import hop.io
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from hop.auth import Auth

from . import credentials, positions, topics
from .errors import AuthenticationError, ClientError, StreamError
from .inquiry import Inquiry
from .probe import Finding, look
from .rights import hidden, may_join, may_read

__all__ = ["Check", "Patient", "examine"]

_NEW_CREDENTIAL = (
    "for SCiMMA's servers make a credential at https://my.hop.scimma.org and store it with: "
    "hop auth add"
)
# Clocks that are kept by NTP differ by less.
_CLOCK_SECONDS = 2.0
# A topic may end with records that are no alerts, such as the marks of a transaction.
_LAST_RECORDS = 10


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a connection.

    Attributes
    ----------
    name
        What was looked at, such as "TLS".
    passed
        True or False; None where it does not apply, or cannot be told.
    said
        What was found, in a sentence.
    mend
        The next step; empty where there is nothing to do.
    """

    name: str
    passed: bool | None
    said: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """A connection to be examined.

    Attributes
    ----------
    brokers
        Addresses as "host:port".
    auth
        The credential; None for an unauthenticated session.
    group
        GraceDB's prefix of the topics.
    topics
        Full names of the topics that are wanted; none: all of the group's.
    consumer_group
        As the server demands it; None for none.
    timeout
        Longest wait for one answer, in seconds.
    options
        Settings of librdkafka.
    login
        Who logs in, how, and where the credential came from.
    """

    brokers: Sequence[str]
    auth: Auth | None = field(repr=False)
    group: str
    topics: Sequence[str] = ()
    consumer_group: str | None = None
    timeout: float = 10.0
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    login: str = ""


def examine(patient: Patient) -> Iterator[Check]:
    """Yield the checks in their order; stops where going on is pointless."""
    yield _credential(patient)
    try:
        inquiry = Inquiry(patient.brokers, patient.auth, patient.options, patient.login)
    except ClientError as error:
        yield Check("settings", False, *_said_and_mend(str(error)))
        return
    with inquiry:
        reached = []
        for broker in patient.brokers:
            for check in _network(broker, patient, inquiry):
                yield check
            reached.append(check.passed is not False)
        if any(reached):
            yield from _behind_the_login(patient, inquiry)


def _behind_the_login(patient: Patient, inquiry: Inquiry) -> Iterator[Check]:
    try:
        metadata = inquiry.metadata(patient.timeout)
    except StreamError as error:
        yield _refused(error, patient)
        return
    how = "accepted" if patient.auth else "not needed: the broker answers without one"
    yield Check("login", True, f"the credential is {how}")
    yield _brokers(topics.brokers(metadata), patient, inquiry)
    wanted, check = _topics(topics.existing(metadata), patient, inquiry)
    yield check
    if wanted:
        readable, check = _rights(wanted, patient, inquiry)
        yield check
        yield _group(patient, inquiry)
        yield from _alerts(readable, metadata, patient, inquiry)


def _said_and_mend(sentence: str) -> tuple[str, str]:
    """Take a sentence of `trouble` apart: its next step stands after the semicolon."""
    said, _, mend = sentence.replace(": TLS: ", ": ", 1).partition("; ")
    return said, mend


# -- the credential --------------------------------------------------------------------------------


def _credential(patient: Patient) -> Check:
    if patient.auth is None:
        said = "there is none: the session is unauthenticated"
        return Check("credential", None, said, f"if the server wants one: {_NEW_CREDENTIAL}")
    said = credentials.describe(patient.auth)
    if risks := credentials.risks(patient.auth, patient.options):
        said = f"{said}, but {'; '.join(risks)}"
        mend = "let the server be verified and the connection be encrypted, unless this is a test"
        return Check("credential", False, said, mend)
    return Check("credential", True, said)


def _refused(error: StreamError, patient: Patient) -> Check:
    if not isinstance(error, AuthenticationError):
        return Check("login", False, *_said_and_mend(str(error)))
    if patient.auth is None:
        return Check("login", False, str(error), _NEW_CREDENTIAL)
    origin = getattr(patient.auth, "origin", "auth=")
    mend = f"compare user name, password and mechanism in {origin} with those you were given; or "
    return Check("login", False, str(error), mend + _NEW_CREDENTIAL)


# -- the network -----------------------------------------------------------------------------------


def _network(broker: str, patient: Patient, inquiry: Inquiry) -> Iterator[Check]:
    """Look at the way to one broker; the last check tells whether it can be reached."""
    try:
        found = look(broker, min(patient.timeout, 10.0), _authorities(patient))
    except OSError as error:  # librdkafka has taken the file, so it may be good for it
        yield Check("TLS", None, f"{broker}: not looked at: {error.strerror or error}")
        return
    host = broker.rpartition(":")[0].strip("[]")
    said, mend = _said_and_mend(f"{broker}: {inquiry.trouble.explain(found, host)}")
    if found.step == "name":
        yield Check("name", False, said, mend)
        return
    yield Check("name", True, f"{host} is {_addresses(host)}")
    if found.step in ("port", "silent"):
        yield Check("TCP", False, said, mend)
        return
    yield Check("TCP", True, f"{broker} accepts connections")
    yield _tls(broker, found, patient) or Check("TLS", False, said, mend)


def _authorities(patient: Patient) -> str | None:
    """Return the file of the CAs with which to verify the server; None: take it as it is."""
    if not _encrypted(patient) or credentials.risks(patient.auth, patient.options):
        return None
    settings = {**(patient.auth() if patient.auth else {}), **patient.options}
    own = {name for name in patient.options if str(name).startswith("ssl.")}
    # Settings of the user's own, such as a client's certificate, are librdkafka's alone.
    return None if own - {"ssl.ca.location"} else settings.get("ssl.ca.location")


def _encrypted(patient: Patient) -> bool:
    return credentials.is_encrypted(patient.auth, patient.options)


def _addresses(host: str) -> str:
    kinds = {socket.AF_INET: "v4", socket.AF_INET6: "v6"}
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # it had one a moment ago
        return "known"
    return ", ".join(f"{address[0]} ({kinds.get(kind, kind)})" for kind, *_, address in found)


def _tls(broker: str, found: Finding, patient: Patient) -> Check | None:
    """Return the check of a connection that is as it should be, else None."""
    if not _encrypted(patient):
        said = f"{broker} does not speak it, and neither does the session"
        return Check("TLS", None, said) if found.step == "closed" else None
    if found.step != "tls":
        return None
    if found.reason:
        return Check("TLS", True, f"{broker}: {found.reason}")
    return Check("TLS", None, f"{broker}: encrypted; who the server is was not verified here")


def _brokers(found: Sequence[str], patient: Patient, inquiry: Inquiry) -> Check:
    """Look for brokers that the broker names and that cannot be reached from here."""
    for broker in [one for one in found if one not in patient.brokers]:
        for check in _network(broker, patient, inquiry):
            if check.passed is False:
                mend = f"the server tells its clients to go there; {check.mend}"
                return Check("brokers", False, check.said, mend)
    return Check("brokers", True, f"all {len(found)} can be reached: {', '.join(found)}")


# -- topics and rights -----------------------------------------------------------------------------


def _topics(names: Collection[str], patient: Patient, inquiry: Inquiry) -> tuple[list[str], Check]:
    """Return the topics to look at, and the check of them."""
    ours = sorted(name for name in names if name.startswith(f"{patient.group}."))
    if missing := [topic for topic in patient.topics if topic not in names]:
        said, mend = _missing(missing, names, patient, inquiry)
        return [one for one in patient.topics if one in names], Check("topics", False, said, mend)
    if not ours and not patient.topics:
        groups = sorted({name.partition(".")[0] for name in names if "." in name})
        said = f'none of the {len(names)} topics is of the group "{patient.group}"'
        mend = f"groups that are there: {', '.join(groups)}" if groups else "ask for permissions"
        return [], Check("topics", False, said, mend)
    said = f'{len(names)} to be seen, {len(ours)} of the group "{patient.group}"'
    return list(patient.topics or ours), Check("topics", True, said)


def _missing(
    missing: Sequence[str], names: Collection[str], patient: Patient, inquiry: Inquiry
) -> tuple[str, str]:
    """Say what is the matter with topics that are not among those to be seen, and what to do."""
    said = topics.not_there(missing, names, ", ".join(patient.brokers))
    shorts = {topic.removeprefix(f"{patient.group}.") for topic in missing}
    if full := sorted(shorts & set(names)):
        return said, f"write the short name: {', '.join(n.partition('.')[2] for n in full)}"
    groups = sorted({n.partition(".")[0] for n in names if n.partition(".")[2] in shorts})
    if groups:
        return said, f"it is there in another group: give group={groups[0]!r}"
    if closed := hidden(inquiry, missing, patient.timeout):
        quoted = ", ".join(f'"{topic}"' for topic in closed)
        said = f"{quoted}: not to be seen with this credential, if it exists at all"
        return said, "ask its owner for the permission to read; is the name spelled right?"
    return said, "is the name spelled right? get_topics() lists what there is"


def _rights(wanted: Sequence[str], patient: Patient, inquiry: Inquiry) -> tuple[list[str], Check]:
    """Return the topics that may be read, and the check of them."""
    try:
        allowed = may_read(inquiry, wanted, patient.timeout)
    except StreamError as error:
        said = f"the broker does not tell who may read: {error}"
        return list(wanted), Check("reading", None, said)
    if closed := [topic for topic in wanted if allowed[topic] is False]:
        said = f"not allowed for this credential: {', '.join(closed)}"
        mend = "ask the topics' owner for the permission to read, or take another credential"
        return [one for one in wanted if one not in closed], Check("reading", False, said, mend)
    if None in allowed.values():
        return list(wanted), Check("reading", None, "the broker does not tell who may read")
    return list(wanted), Check("reading", True, f"allowed: {', '.join(wanted)}")


def _group(patient: Patient, inquiry: Inquiry) -> Check:
    name, what = patient.consumer_group, "consumer group"
    if name is None:
        said = "none: every listener gets every alert, and a restart begins at start_at"
        return Check(what, None, said, "give consumer_group= to go on after a restart")
    try:
        allowed = may_join(inquiry, name, patient.timeout)
    except StreamError as error:
        return Check(what, None, f"the broker does not tell who may join: {error}")
    if allowed is None:
        return Check(what, None, f'the broker does not tell who may join "{name}"')
    if allowed:
        return Check(what, True, f'"{name}" may be joined')
    user = patient.auth.username if patient.auth else "USER"
    mend = f'where groups begin with the user\'s name, call it "{user}-{name}"; or ask its owner'
    return Check(what, False, f'"{name}" is not allowed for this credential', mend)


# -- alerts ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Newest:
    """The newest alert of a topic: seconds since 1970, or why there is none to be shown."""

    at: float | None = None
    by_the_broker: bool = False
    error: str = ""
    empty: bool = True
    unread: set[int] = field(default_factory=set)


def _alerts(
    readable: Sequence[str], metadata: Any, patient: Patient, inquiry: Inquiry
) -> Iterator[Check]:
    """Read the newest alert of each topic: how old it is, and whether the clocks agree."""
    places = {topic: list(metadata.topics[topic].partitions) for topic in readable}
    try:
        found = _newest(places, patient, inquiry)
    except KafkaException as error:
        yield Check("alerts", False, f"they cannot be read: {error.args[0].str()}")
        return
    now = time.time()
    yield clock(found.values(), now)
    for topic, newest in found.items():
        yield age(topic, newest, now, patient.timeout)


def clock(found: Collection[Newest], now: float) -> Check:
    """Compare this machine's clock with what the alerts say: Kafka itself does not tell the time.

    The time of an alert is the broker's, or the publisher's, as the topic is set.
    """
    known = [(one.at - now, one.by_the_broker) for one in found if one.at is not None]
    if not known:
        return Check("clock", None, "there is no alert to compare it with")
    ahead, by_the_broker = max(known)
    if ahead <= _CLOCK_SECONDS:
        return Check("clock", True, "no alert comes from the future")
    said = f"the newest alert comes {ahead:.0f} s from the future: "
    mend = "let NTP set this machine's clock: timedatectl status"
    if by_the_broker:
        return Check("clock", False, f"{said}this clock is behind the broker's by that", mend)
    return Check("clock", None, f"{said}this clock is behind, or its publisher's ahead", mend)


def age(topic: str, newest: Newest, now: float, timeout: float) -> Check:
    """Say how old a topic's newest alert is, or why that is not known."""
    if newest.error:
        mend = "the log says more: --debug, or logging.basicConfig(level=logging.DEBUG)"
        return Check("alerts", False, f"{topic}: cannot be read: {newest.error}", mend)
    if newest.at is not None:
        return Check("alerts", True, f"{topic}: newest alert {_ago(max(0.0, now - newest.at))}")
    if newest.empty:
        return Check("alerts", None, f"{topic}: holds no alert")
    if newest.unread:
        return Check("alerts", None, f"{topic}: nothing came within {timeout:g} s")
    return Check("alerts", None, f"{topic}: no alert among its last records, or without a time")


def _newest(
    places: Mapping[str, Sequence[int]], patient: Patient, inquiry: Inquiry
) -> dict[str, Newest]:
    user = patient.auth.username if patient.auth else None
    found = {topic: Newest() for topic in places}
    kafka = Consumer(
        {
            **inquiry.settings,
            "group.id": hop.io._generate_group_id(user, 10),  # librdkafka demands one; unused
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        kafka.poll(0)
        where = [(topic, number) for topic, numbers in places.items() for number in numbers]
        starts = []
        for (topic, number), (low, high) in positions.ends(kafka, where).items():
            if low < high:
                found[topic].empty = False
                found[topic].unread.add(number)
                starts.append(TopicPartition(topic, number, max(low, high - _LAST_RECORDS)))
        kafka.assign(starts)
        end = time.monotonic() + patient.timeout
        while any(one.unread for one in found.values()) and time.monotonic() < end:
            for message in kafka.consume(100, 0.2):
                name = str(message.topic())
                if name in found:
                    _note(found[name], message)
    finally:
        kafka.close()
    return found


def _note(newest: Newest, message: Any) -> None:
    error = message.error()
    if error is not None:
        newest.unread.discard(message.partition())
        if error.code() != KafkaError._PARTITION_EOF:
            newest.error = error.str()
        return
    kind, stamp = message.timestamp()
    if kind != TIMESTAMP_NOT_AVAILABLE and stamp / 1000 >= (newest.at or 0.0):
        newest.at = stamp / 1000
        newest.by_the_broker = kind == TIMESTAMP_LOG_APPEND_TIME


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
