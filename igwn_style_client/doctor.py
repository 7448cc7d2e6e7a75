"""The checks between a user and a working connection, each with its verdict and its mend."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import hop.io
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaException, TopicPartition
from hop.auth import Auth

from . import credentials, rights
from .errors import AuthenticationError, StreamError
from .topics import admin_settings, advertised, list_topics, not_there

__all__ = ["Check", "Patient", "examine"]

_NEW_CREDENTIAL = (
    "for SCiMMA's servers make a credential at https://my.hop.scimma.org and store it with: "
    "hop auth add"
)
# Clocks that are kept by NTP differ by less.
_CLOCK_SECONDS = 2.0


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
    """

    brokers: Sequence[str]
    auth: Auth | None
    group: str
    topics: Sequence[str] = ()
    consumer_group: str | None = None
    timeout: float = 10.0
    options: Mapping[str, Any] = field(default_factory=dict)


def examine(patient: Patient) -> Iterator[Check]:
    """Yield the checks in their order; stops where going on is pointless."""
    yield _credential(patient)
    reached = []
    for broker in patient.brokers:
        for check in _network(broker, patient):
            yield check
        reached.append(check.passed is not False)
    if not any(reached):
        return
    try:
        names = list_topics(patient.brokers, patient.auth, patient.timeout, patient.options)
    except StreamError as error:
        yield _refused(error, patient)
        return
    how = "accepted" if patient.auth else "not needed: the broker answers without one"
    yield Check("login", True, f"the credential is {how}")
    yield from _advertised(patient)
    wanted, check = _wanted(names, patient)
    yield check
    if wanted:
        readable = yield from _rights(wanted, patient)
        yield from _group(patient)
        yield from _newest(readable, patient)


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
        return Check("login", False, str(error), "see the page on connections that fail")
    if patient.auth is None:
        return Check("login", False, str(error), _NEW_CREDENTIAL)
    origin = getattr(patient.auth, "origin", "auth=")
    mend = f"compare user name, password and mechanism in {origin} with those you were given; or "
    return Check("login", False, str(error), mend + _NEW_CREDENTIAL)


# -- the network -----------------------------------------------------------------------------------


def _network(broker: str, patient: Patient) -> Iterator[Check]:
    """Look at the way to one broker; the last check tells whether it can be reached."""
    host, _, port = broker.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        mend = "compare the name with the server's documentation; is the machine online?"
        reason = error.strerror or error
        yield Check("name", False, f"{host} has no address: {reason}", mend)
        return
    kinds = {socket.AF_INET: "v4", socket.AF_INET6: "v6"}
    addresses = ", ".join(
        f"{address[0]} ({kinds.get(family, family)})" for family, _, _, _, address in found
    )
    yield Check("name", True, f"{host} is {addresses}")
    try:
        connection = socket.create_connection((host, int(port)), min(patient.timeout, 10.0))
    except OSError as error:
        yield Check("TCP", False, f"{broker}: {_why(error)}", _mend_of(error))
        return
    with connection:
        yield Check("TCP", True, f"{broker} accepts connections")
        yield _tls(connection, host, broker, patient)


def _why(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the port is closed (connection refused)"
    if isinstance(error, TimeoutError):
        return "nobody answers (timed out)"
    return f"it cannot be reached: {error.strerror or error}"


def _mend_of(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "is that the right port, and does the broker run?"
    return "a firewall may be in between: ask whether this port is open from here"


def _tls(connection: socket.socket, host: str, broker: str, patient: Patient) -> Check:
    settings = {**(patient.auth() if patient.auth else {}), **patient.options}
    encrypted = str(settings.get("security.protocol", "")).upper().endswith("SSL")
    connection.settimeout(min(patient.timeout, 10.0) if encrypted else 2.0)
    context = ssl.create_default_context(cafile=settings.get("ssl.ca.location"))
    verified = not credentials.risks(patient.auth, patient.options)
    if not (encrypted and verified):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(connection, server_hostname=host) as secured:
            certificate: dict[str, Any] = secured.getpeercert() or {}
    except OSError as error:  # SSLError is one
        if not encrypted:
            return Check("TLS", None, f"{broker} does not speak it, and neither does the session")
        return _broken_tls(error, broker, settings)
    if not encrypted:
        said = f"{broker} speaks TLS, and the session does not: it has no credential"
        return Check("TLS", False, said, _NEW_CREDENTIAL)
    if not certificate:
        return Check("TLS", None, f"{broker}: encrypted; who the server is was not verified")
    signer = dict(pair[0] for pair in certificate["issuer"])
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), timezone.utc)
    by = signer.get("organizationName") or signer.get("commonName") or "nobody named"
    return Check("TLS", True, f"{broker}: signed by {by}, valid until {until:%Y-%m-%d}")


def _broken_tls(error: OSError, broker: str, settings: Mapping[str, Any]) -> Check:
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"{broker}: the certificate is not good: {error.verify_message}"
        text = error.verify_message.lower()
        if "expired" in text or "not yet valid" in text:
            mend = "look at this machine's clock; if it is right, the server's owner must renew it"
        elif "mismatch" in text or "match" in text:
            mend = "use the name that the certificate is for; compare it with the documentation"
        else:
            mend = (
                f"the CA in {settings.get('ssl.ca.location')} did not sign it: give the private "
                "CA's file with ssl_ca_location="
            )
        return Check("TLS", False, said, mend)
    if isinstance(error, TimeoutError):
        said = f"{broker} accepts connections and never answers"
        return Check("TLS", False, said, "is that a Kafka broker, and is a proxy in between?")
    said = f"{broker} does not speak TLS, and the session does: it ended the handshake"
    mend = 'take the broker\'s TLS port; a credential without TLS has protocol = "SASL_PLAINTEXT"'
    return Check("TLS", False, said, mend)


def _advertised(patient: Patient) -> Iterator[Check]:
    """Look for brokers that the broker names and that cannot be reached from here."""
    try:
        found = advertised(patient.brokers, patient.auth, patient.timeout, patient.options)
    except StreamError as error:
        yield Check("brokers", None, str(error))
        return
    for broker in [one for one in found if one not in patient.brokers]:
        for check in _network(broker, patient):
            if check.passed is False:
                mend = f"the broker advertises this address to its clients; {check.mend}"
                yield Check("brokers", False, check.said, mend)
                return
    yield Check("brokers", True, f"all {len(found)} can be reached: {', '.join(found)}")


# -- topics and rights -----------------------------------------------------------------------------


def _wanted(names: Sequence[str], patient: Patient) -> tuple[list[str], Check]:
    ours = [name for name in names if name.startswith(f"{patient.group}.")]
    if missing := [topic for topic in patient.topics if topic not in names]:
        said = not_there(missing, names, ", ".join(patient.brokers))
        mend = "topics that may not be read are hidden: ask their owner for the permission"
        return [one for one in patient.topics if one in names], Check("topics", False, said, mend)
    if not ours and not patient.topics:
        groups = sorted({name.partition(".")[0] for name in names if "." in name})
        said = f'none of the {len(names)} topics is of the group "{patient.group}"'
        mend = f"groups that are there: {', '.join(groups)}" if groups else "ask for permissions"
        return [], Check("topics", False, said, mend)
    said = f'{len(names)} to be seen, {len(ours)} of the group "{patient.group}"'
    return list(patient.topics or ours), Check("topics", True, said)


def _rights(wanted: Sequence[str], patient: Patient) -> Any:
    """Yield a check of the rights; return the topics that may be read."""
    try:
        allowed = rights.may_read(
            patient.brokers, patient.auth, wanted, patient.timeout, patient.options
        )
    except StreamError as error:
        yield Check("reading", None, f"the broker does not tell who may read: {error}")
        return list(wanted)
    readable = [topic for topic in wanted if allowed[topic]]
    if closed := [topic for topic in wanted if not allowed[topic]]:
        said = f"not allowed for this credential: {', '.join(closed)}"
        mend = "ask the topics' owner for the permission to read, or take another credential"
        yield Check("reading", False, said, mend)
    else:
        yield Check("reading", True, f"allowed: {', '.join(readable)}")
    return readable


def _group(patient: Patient) -> Iterator[Check]:
    name = patient.consumer_group
    if name is None:
        said = "none: every listener gets every alert, and a restart begins at start_at"
        yield Check("consumer group", None, said, "give consumer_group= to go on after a restart")
        return
    try:
        allowed = rights.may_join(
            patient.brokers, patient.auth, name, patient.timeout, patient.options
        )
    except StreamError as error:
        yield Check("consumer group", None, f"the broker does not tell who may join: {error}")
        return
    if allowed:
        yield Check("consumer group", True, f'"{name}" may be joined')
        return
    user = patient.auth.username if patient.auth else "USER"
    mend = f'where groups begin with the user\'s name, call it "{user}-{name}"; or ask its owner'
    yield Check("consumer group", False, f'"{name}" is not allowed for this credential', mend)


# -- alerts ----------------------------------------------------------------------------------------


def _newest(topics: Sequence[str], patient: Patient) -> Iterator[Check]:
    """Read the newest alert of each topic: how old it is, and whether the clocks agree."""
    try:
        times = _times_of_the_newest(topics, patient)
    except KafkaException as error:
        yield Check("alerts", False, f"they cannot be read: {error.args[0].str()}")
        return
    now = time.time()
    ahead = max((at - now for at in times.values() if at is not None), default=None)
    if ahead is None:
        yield Check("clock", None, "there is no alert to compare it with")
    elif ahead > _CLOCK_SECONDS:
        said = f"the newest alert comes {ahead:.0f} s from the future: this clock is behind by that"
        yield Check("clock", False, said, "let NTP set this machine's clock: timedatectl status")
    else:
        yield Check("clock", True, "no alert comes from the future")
    for topic in topics:
        at = times.get(topic)
        said = "holds no alert" if at is None else f"newest alert {_ago(max(0.0, now - at))}"
        yield Check("alerts", None if at is None else True, f"{topic}: {said}")


def _times_of_the_newest(topics: Sequence[str], patient: Patient) -> dict[str, float | None]:
    """Return when the newest alert of each topic was sent, in seconds since 1970."""
    user = patient.auth.username if patient.auth else None
    kafka = Consumer(
        {
            **admin_settings(patient.brokers, patient.auth, patient.options),
            "group.id": hop.io._generate_group_id(user, 10),  # librdkafka demands one; unused
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    times: dict[str, float | None] = dict.fromkeys(topics)
    end = time.monotonic() + patient.timeout
    try:
        found = kafka.list_topics(timeout=patient.timeout).topics
        unread = set()
        places = []
        for topic in topics:
            for number in found[topic].partitions if topic in found else ():
                place = TopicPartition(topic, number)
                low, high = kafka.get_watermark_offsets(place, timeout=patient.timeout)
                if low < high:
                    unread.add((topic, number))
                    places.append(TopicPartition(topic, number, high - 1))
        kafka.assign(places)
        while unread and time.monotonic() < end:
            for message in kafka.consume(100, 0.2):
                name = str(message.topic())
                unread.discard((name, message.partition()))
                kind, stamp = message.timestamp()
                if message.error() is None and kind != TIMESTAMP_NOT_AVAILABLE:
                    times[name] = max(times[name] or 0.0, stamp / 1000)
    finally:
        kafka.close()
    return times


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
