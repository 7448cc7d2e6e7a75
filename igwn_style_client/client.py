"""The client: igwn_alert's keywords and methods.  It only wires the other rooms."""

from __future__ import annotations

import json
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import hop
from adc.kafka import parse_kafka_url
from hop.auth import Auth

from . import credentials, igwn, settings
from .alert import Alert
from .arguments import DEFAULT_PORT, check, check_start_at, parse_server, topic_names

# Not late: what it does at the program's end comes after all that users have registered later.
from .connection import Connection
from .delivery import Callback
from .errors import NotConnected, PublishError, StreamError, TopicNotFound
from .health import Health
from .inquiry import Inquiry
from .listening import Listening, Manner, SetAside, set_aside_path
from .reader import Reader, StartAt
from .retry import RetryPolicy
from .rights import may_read
from .signals import end_in_order
from .topics import existing

if TYPE_CHECKING:
    from .doctor import Check
    from .publishing import Session
    from .receipts import Receipt

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_BATCH_TIMEOUT",
    "DEFAULT_GROUP",
    "DEFAULT_LISTEN_RETRIES",
    "DEFAULT_PORT",
    "DEFAULT_RETRY_WAIT",
    "DEFAULT_SERVER",
    "IGWNAlertClient",
    "client",
]

log = logging.getLogger(__name__)

DEFAULT_SERVER = "kafka://kafka.scimma.org/"
DEFAULT_GROUP = "gracedb"
DEFAULT_BATCH_SIZE = 1
DEFAULT_BATCH_TIMEOUT = timedelta(seconds=0.2)
DEFAULT_LISTEN_RETRIES = 3
DEFAULT_RETRY_WAIT = 0.1


class client(hop.Stream):  # type: ignore[misc]  # noqa: N801  # the name is igwn_alert's
    """Listen to alerts, and publish them.

    An alert counts as delivered when its callback has returned, and not before.  Constructing a
    client contacts nobody.  As a context manager it stops and disconnects at the end.

    Parameters
    ----------
    username, password
        The credential, or None to look it up (see `igwn_style_client.credentials`).
    auth
        A `hop.auth.Auth`, or a list of them.
    authfile
        Path of an ``auth.toml`` of hop.
    noauth
        True for an unauthenticated session.
    group
        GraceDB's prefix of the topics, such as "gracedb-playground".
    consumer_group
        Kafka's group.  Its members share the alerts, and the broker remembers how far they have
        come.  On SCiMMA's servers, which demand that it begins with the user's name, that is put
        before it where it does not.  None: every listener gets every alert, and nothing is
        remembered after the process has ended.
    server
        URL or host, or several separated by commas.
    port
        For those that name none; a port in the URL counts unless another than 9092 is given here.
    batch_size
        Most alerts that `alerts` takes from the stream at once; `listen` takes some hundreds, or
        this if it is more.  They are handed over one by one.
    batch_timeout
        Kept for igwn_alert's users.  Alerts that are there are never made to wait for others.
    retry_on_fatal, listen_retries, retry_wait
        Whether, how often (None: for ever) and after how many seconds to try again after an error
        that does not heal by itself.
    jsonpp_on
        Whether ``listen(None)`` indents what it prints.
    start_at
        Where a listener without a mark begins: "latest", "earliest", a datetime with a time zone,
        or a timedelta back from now.
    test_alerts
        True also delivers alerts flagged ``_test``.
    set_aside
        Path of the archive that takes what cannot be delivered.  False: nothing is set aside, the
        error ends `listen`.
    queue_bytes
        Most bytes of alerts that wait inside for their callback.
    publish_timeout
        Seconds within which a published alert is confirmed, or an error is raised; at most 2e6.
    ssl_ca_location
        A private CA's file, for credentials that name none.
    options
        Settings of librdkafka, for experts.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind.
    CredentialError
        The credential is half, missing, unsafe or broken.

    Examples
    --------
    >>> from igwn_style_client import client
    >>> alerts = client(group="gracedb-playground", noauth=True)
    >>> def process_alert(topic, payload):
    ...     print(topic, payload)
    >>> alerts.listen(process_alert, ["superevent", "cbc_gstlal"])  # doctest: +SKIP
    """

    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        auth: credentials.Credential = None,
        authfile: str | os.PathLike[str] | None = None,
        noauth: bool = False,
        group: str = DEFAULT_GROUP,
        consumer_group: str | None = None,
        server: str = DEFAULT_SERVER,
        port: int = DEFAULT_PORT,
        batch_size: int = DEFAULT_BATCH_SIZE,
        batch_timeout: timedelta | float = DEFAULT_BATCH_TIMEOUT,
        retry_on_fatal: bool = False,
        listen_retries: int | None = DEFAULT_LISTEN_RETRIES,
        retry_wait: float = DEFAULT_RETRY_WAIT,
        jsonpp_on: bool = False,
        *,
        start_at: StartAt = "latest",
        test_alerts: bool = False,
        set_aside: SetAside = None,
        queue_bytes: int = 64 * 2**20,
        publish_timeout: float = 30.0,
        ssl_ca_location: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check(username, "username", str, optional=True)
        check(password, "password", str, optional=True)
        check(auth, "auth", (Auth, list, tuple, bool), optional=True)
        for one in auth if isinstance(auth, (list, tuple)) else ():
            check(one, "auth", Auth)
        check(authfile, "authfile", (str, os.PathLike), optional=True)
        check(noauth, "noauth", bool)
        check(group, "group", str)
        check(consumer_group, "consumer_group", str, optional=True)
        check(server, "server", str)
        check(port, "port", int, least=1, most=65535)
        check(batch_size, "batch_size", int, least=1)
        check(batch_timeout, "batch_timeout", (timedelta, int, float), least=0)
        check(retry_on_fatal, "retry_on_fatal", bool)
        check(listen_retries, "listen_retries", int, optional=True, least=0)
        check(retry_wait, "retry_wait", (int, float), least=0)
        check(jsonpp_on, "jsonpp_on", bool)
        check_start_at(start_at)
        check(test_alerts, "test_alerts", bool)
        if set_aside is not False:
            check(set_aside, "set_aside", (str, os.PathLike), optional=True)
        check(queue_bytes, "queue_bytes", int, least=1)
        # librdkafka counts milliseconds in 31 bits.
        check(publish_timeout, "publish_timeout", (int, float), least=0.001, most=2_000_000)
        check(ssl_ca_location, "ssl_ca_location", (str, os.PathLike), optional=True)
        check(options, "options", Mapping, optional=True)
        topic_names(group, "group")
        if group.endswith("."):
            raise ValueError(f'"group" is the prefix without its dot, not {group!r}')
        if consumer_group is not None and not consumer_group.strip():
            raise ValueError('"consumer_group" must be a name, or None for no group; it is empty')
        settings.refuse(options or {})

        self.server = server
        self.port = port
        self.group_prefix = group
        self.consumer_group = consumer_group
        self.batch_size = batch_size
        self.batch_timeout = batch_timeout
        self.retry_on_fatal = retry_on_fatal
        self.listen_retries = listen_retries
        self.retry_wait = retry_wait
        self.jsonpp_on = jsonpp_on
        self.test_alerts = test_alerts
        self.set_aside = set_aside
        self.queue_bytes = queue_bytes
        self.publish_timeout = publish_timeout
        self.ssl_ca_location = ssl_ca_location
        self.options = dict(options or {})

        self._scheme, self._user, self._brokers = parse_server(server, port)
        self.base_url_prefix = self._construct_base_url()
        self.sessions: dict[str, Any] = {}
        self._connections: dict[tuple[str, ...], Connection] = {}
        self._connecting = threading.Lock()
        self._told: set[tuple[str, ...]] = set()
        self._listening = Listening()
        self.stop_listening = self._listening.stopping
        self._state = self._listening.state
        self._counters = self._listening.counters
        self._dialect = igwn.dialect(group)

        machines = [server, server.rstrip("/"), *self._brokers]
        machines += [broker.rpartition(":")[0] for broker in self._brokers]
        found = credentials.find(username, password, auth, authfile, noauth, machines)
        location = os.fspath(ssl_ca_location) if ssl_ca_location is not None else None
        self.auth_obj = credentials.with_ca(found, location)
        super().__init__(auth=self.auth_obj)
        self.start_at = start_at
        # At the end of the program the connections do so themselves.
        weakref.finalize(self, _flush, self._connections).atexit = False

    def __repr__(self) -> str:
        return f"<client of {self.base_url_prefix}, consumer_group={self.consumer_group!r}>"

    def __enter__(self) -> client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.disconnect()

    # -- listening -----------------------------------------------------------------------------

    def listen(
        self,
        callback: Callback | None = None,
        topic: str | Iterable[str] | None = None,
        *,
        workers: int | Executor = 1,
        key: Callable[[Alert], Hashable] | None = None,
        attempts: int = 1,
        on_failure: str = "raise",
        until_eos: bool = False,
        count: int | None = None,
    ) -> None:
        """Call `callback` for every alert until `stop` is called.

        Blocks.  An alert counts as delivered when its callback has returned.  If the process ends
        before that, the alert comes again after a restart with the same `consumer_group`;
        callbacks must tolerate repeats.

        In the main thread, a first Ctrl-C or SIGTERM ends it when the running callbacks have
        returned, and then has its usual effect; handlers of your own are left alone.

        Parameters
        ----------
        callback
            Called as ``callback(topic=..., payload=...)``: the short name of the topic, and what
            was sent; with ``alert=`` too where it has a parameter of that name.  An ``async def``
            is awaited.  None prints each alert.
        topic
            Short name, or any iterable of them.  None: all topics of the group, also those that
            appear later.
        workers
            How many callbacks may run side by side, in threads; or an executor whose workers run
            them, such as a process pool or dask's ``client.get_executor()``.
        key
            A function of the `Alert`: alerts with equal keys stay in order.  None: the alerts of
            each partition do.
        attempts
            How often the callback is called for an alert for which it raises.
        on_failure
            After the last attempt: "raise" what the callback raised, or "set_aside" the alert and
            go on.
        until_eos
            True: it returns when all that there is has been delivered.
        count
            It returns when so many alerts have been delivered or set aside, and the callbacks that
            run have returned.

        Raises
        ------
        TypeError, ValueError
            `callback` cannot be called that way, or another argument is of the wrong kind.
        StreamError
            The stream cannot go on: `TopicNotFound`, `BrokerUnreachable`, ...
        ArchiveError
            An alert should be set aside and cannot be stored.  It is not marked as delivered.
        DecodeError
            An alert cannot be read, and `set_aside` is False.
        Exception
            Whatever the callback raised, unchanged.  Its alert is not marked as delivered.
        """
        callback = self._print if callback is None else callback
        topics = None if topic is None else topic_names(topic)
        self._listening.run(
            callback,
            lambda: self._stream(topics),
            self._manner(),
            workers=workers,
            key=key,
            attempts=attempts,
            on_failure=on_failure,
            until_eos=until_eos,
            count=count,
        )

    def alerts(
        self, topic: str | Iterable[str] | None = None, *, until_eos: bool = False
    ) -> Iterator[Alert]:
        """Yield every alert until `stop` is called: `listen` as an iterator.

        An alert counts as delivered when the next one is asked for; not when the loop is left.

        Parameters
        ----------
        topic
            Short name, or any iterable of them.  None: all topics of the group, also those that
            appear later.
        until_eos
            True: it ends when all that there is has been yielded.

        Raises
        ------
        StreamError, ArchiveError, DecodeError
            As `listen`.
        """
        check(until_eos, "until_eos", bool)
        topics = None if topic is None else topic_names(topic)
        return self._listening.alerts(lambda: self._stream(topics), self._manner(), until_eos)

    def _stream(self, topics: list[str] | None) -> Reader:
        """Open the stream that `listen` reads."""
        names = topics or self._all_topics()
        many = "" if len(names) == 1 else "s"
        log.info("listening to %d topic%s on %s", len(names), many, ", ".join(self._brokers))
        url = self._construct_topic_url(names)
        stream: Reader = self.open(url, "r", group_id=self.consumer_group)
        if topics is None:
            stream.wants = lambda full_name: self._dialect.short_name(full_name) is not None
        return stream

    def _manner(self) -> Manner:
        """Say how to listen, as the keywords are now."""
        return Manner(
            server=",".join(self._brokers),
            consumer_group=self.consumer_group,
            set_aside=self.set_aside,
            batch_size=self.batch_size,
            retry_wait=self.retry_wait,
            queue_bytes=self.queue_bytes,
            options=self.options,
        )

    @property
    def set_aside_path(self) -> Path | None:
        """The archive in which alerts are set aside, made when one is; None: nowhere."""
        return set_aside_path(self._manner())

    def health(self) -> Health:
        """Return how the client is: its state, and what it has counted since it was made."""
        return self._counters.snapshot()

    def wait_until_listening(self, timeout: float | None = None) -> bool:
        """Wait, in another thread, until `listen` has its place in the stream.

        Parameters
        ----------
        timeout
            Longest wait in seconds; None for ever.

        Returns
        -------
        bool
            True once the partitions are assigned and their starting positions fixed: what is
            published from then on is delivered.  False when time is up or `listen` has ended.
        """
        return self._state.wait(timeout)

    def stop(self) -> None:
        """Let `listen` return after the callback that is running.

        From any thread or signal handler; returns at once.  Before the first `listen` it makes
        that one return at once; after a `listen` has ended it does nothing.
        """
        self._listening.stop()

    def _print(self, topic: str, payload: Any, alert: Alert) -> None:  # noqa: ARG002
        shown = payload
        if self.jsonpp_on:
            with suppress(TypeError, ValueError):  # what is no JSON is printed as it is
                given = json.loads(payload) if isinstance(payload, str) else payload
                shown = json.dumps(given, indent=4)
        print(f"New message from topic {alert.full_name}:\n{shown}")  # noqa: T201  # as igwn_alert

    # -- publishing ----------------------------------------------------------------------------

    def connect(self, topics: str | Iterable[str]) -> None:
        """Open a session for each topic, for `publish_to_topic`.

        Parameters
        ----------
        topics
            Short name, or any iterable of them.
        """
        for topic in topic_names(topics):
            if topic not in self.sessions:
                self.sessions[topic] = self._open_session(topic)

    def publish_to_topic(
        self,
        topic: str,
        msg: Any,
        *,
        headers: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] | None = None,
        key: str | bytes | None = None,
        test: bool = False,
        on_delivery: Callable[[StreamError | None, Receipt | None], object] | None = None,
    ) -> None:
        """Queue an alert for a connected topic; `flush_by_topic` confirms it.

        A full queue is waited for, up to `publish_timeout`.

        Parameters
        ----------
        topic
            Short name.
        msg
            str, dict, list, bytes or one of hop's message models.
        headers
            Names and values, beside those that hop adds.
        key
            Kafka's key: alerts with equal keys go to one partition and stay in order.
        test
            True flags the alert ``_test``.
        on_delivery
            Called as ``on_delivery(error, receipt)`` when the alert is confirmed or given up, by
            whichever later call hears of it; one of the two is None.

        Raises
        ------
        NotConnected
            `connect` was not called for the topic.
        TypeError, ValueError
            `msg` cannot be encoded; says where in it.
        PublishError
            Alerts that were queued before for this topic have failed since, the queue stayed full,
            or `msg` is too large.  `msg` was not queued; it is the last in `unconfirmed`.
        """
        report = None
        if on_delivery is not None:
            from .receipts import receipts_for

            report = receipts_for(topic, on_delivery)
        given = _given(headers, key, test, report)
        self._session(topic).write(msg, **given)

    def flush_by_topic(self, topic: str) -> None:
        """Return when the broker has confirmed every alert that was queued for the topic.

        Raises
        ------
        NotConnected
            `connect` was not called for the topic.
        PublishError
            Not all were confirmed within `publish_timeout`.
        """
        self._session(topic).flush()

    def disconnect(self, topics: str | Iterable[str] | None = None) -> None:
        """Flush, close and forget sessions.

        Parameters
        ----------
        topics
            Short name, or any iterable of them.  None: all.

        Raises
        ------
        PublishError
            Not all alerts were confirmed; the sessions are closed nevertheless.
        """
        if topics is None:
            closing = list(self.sessions.values())
            self.sessions.clear()
            self._connections.clear()
        else:
            closing = []
            for topic in topic_names(topics):
                if topic not in self.sessions:
                    warnings.warn(f"Not currently connected to topic {topic}", stacklevel=2)
                else:
                    closing.append(self.sessions.pop(topic))
        _each([session.close for session in closing])

    def publish(
        self,
        topic: str | Iterable[str],
        msg: Any = None,
        *,
        headers: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] | None = None,
        key: str | bytes | None = None,
        test: bool = False,
    ) -> Receipt | list[Receipt]:
        """Publish an alert; on return the broker has confirmed it.

        Parameters
        ----------
        topic
            Short name, or any iterable of them.
        msg
            str, dict, list, bytes or one of hop's message models.
        headers
            Names and values, beside those that hop adds.
        key
            Kafka's key: alerts with equal keys go to one partition and stay in order.
        test
            True flags the alert ``_test``.

        Returns
        -------
        Receipt or list of Receipt
            Where the broker has put it; a list, in the order of the topics, unless `topic` is a
            str.

        Raises
        ------
        PublishError
            Not confirmed within `publish_timeout` for all topics.  It names those that failed,
            and why, and those for which it is confirmed.
        TypeError, ValueError
            `msg` cannot be encoded; says where in it.  Nothing was sent.
        """
        from .publishing import Session
        from .receipts import Receipt

        # Sessions of its own, so that each thread waits for its own alerts; the connection
        # behind them is kept.
        names = topic_names(topic)
        headers = list(headers) if isinstance(headers, Iterator) else headers
        given = _given(headers, key, test)
        sessions = [self._open_session(name) for name in names]
        calls = [partial(session.write, msg, **given) for session in sessions]
        try:
            _each([*calls, *(session.close for session in sessions)])
        except PublishError as error:
            raise self._beside(error, names) from error.__cause__
        receipts = [
            Receipt.of(session.last, name) if isinstance(session, Session) else None
            for session, name in zip(sessions, names, strict=True)
        ]
        return receipts[0] if isinstance(topic, str) else receipts  # type: ignore[return-value]

    def _beside(self, error: PublishError, names: Sequence[str]) -> PublishError:
        """Add to an error the topics that were confirmed."""
        failed = {name for name, _ in error.unconfirmed}
        confirmed = [f'"{name}"' for name in map(self._dialect.full_name, names)
                     if name not in failed]  # fmt: skip
        if not confirmed:
            return error
        return PublishError(f"{error}; confirmed for {', '.join(confirmed)}", error.unconfirmed)

    def _open_session(self, topic: str) -> Any:
        return self.open(self._construct_topic_url(topic), "w")

    def _session(self, topic: str) -> Any:
        if topic in self.sessions:
            return self.sessions[topic]
        which = f"Not connected to topic {topic}" if self.sessions else "No active sessions"
        raise NotConnected(f"{which}. Please connect before publishing to a topic.")

    # -- topics ----------------------------------------------------------------------------------

    def get_topics(
        self, group: str | None = None, *, timeout: float = 10.0, readable: bool = False
    ) -> list[str]:
        """Return the sorted short names of a group's topics.

        Parameters
        ----------
        group
            Prefix, such as "gracedb-test"; None for the client's own.
        timeout
            Longest wait for the broker's answer, in seconds.
        readable
            True asks the broker which of them this credential may read, and returns those only;
            many brokers also list topics that one may merely write to.

        Raises
        ------
        StreamError
            The broker did not answer in time, or refused.
        """
        check(group, "group", str, optional=True)
        check(timeout, "timeout", (int, float), least=0.001)
        check(readable, "readable", bool)
        short_name = igwn.dialect(group).short_name if group else self._dialect.short_name
        credential = self._credential(self._brokers, self._user)
        login = _login(credential)
        with Inquiry(self._brokers, credential, self.options, login) as inquiry:
            names = [name for name in existing(inquiry.metadata(timeout)) if short_name(name)]
            if readable:
                allowed = may_read(inquiry, names, timeout)
                names = [name for name in names if allowed[name] is not False]
        return sorted(short for name in names if (short := short_name(name)))

    def check(
        self,
        topic: str | Iterable[str] | None = None,
        *,
        timeout: float = 10.0,
        on_check: Callable[[Check], object] | None = None,
    ) -> list[Check]:
        """Examine the connection step by step: what works, what does not, and what mends it.

        Parameters
        ----------
        topic
            Short name, or any iterable of them.  None: all topics of the group.
        timeout
            Longest wait for each answer, in seconds.
        on_check
            Called with each `Check` as soon as it is made.

        Returns
        -------
        list of Check
            In their order, up to the one after which going on is pointless.  The connection works
            if none of them has ``passed=False``.

        Raises
        ------
        CredentialError
            No credential fits the broker, or more than one.
        """
        from . import doctor  # who listens or publishes does without

        check(timeout, "timeout", (int, float), least=0.001)
        names = [] if topic is None else topic_names(topic)
        credential = self._credential(self._brokers, self._user)
        made = []
        for one in doctor.examine(
            doctor.Patient(
                brokers=self._brokers,
                auth=credential,
                group=self.group_prefix,
                topics=[self._dialect.full_name(name) for name in names],
                consumer_group=self._demanded(self.consumer_group, self._brokers, credential),
                timeout=timeout,
                options=self.options,
                login=_login(credential),
            )
        ):
            made.append(one)
            if on_check is not None:
                on_check(one)
        return made

    def _all_topics(self) -> list[str]:
        topics = self.get_topics()
        if not topics:
            raise TopicNotFound(
                f'the group "{self.group_prefix}" has no topics on '
                f"{', '.join(self._brokers)} that this credential may see"
            )
        return topics

    @property
    def auth(self) -> list[Auth] | None:
        """The credentials; None for an unauthenticated session."""
        return self._auth or None

    # -- connections -------------------------------------------------------------------------------

    def open(
        self,
        url: str,
        mode: str = "r",
        group_id: str | None = None,
        ignoretest: bool | None = None,
        produce_timeout: timedelta | None = None,
    ) -> Reader | Session:
        """Open a stream, as `hop.Stream.open` does.

        Parameters
        ----------
        url
            ``kafka://[user@]host[:port][,host...]/topic[,topic...]`` with full names.
        mode
            "r" for a `Reader`, "w" for a `Session`.
        group_id
            The consumer group; None: every alert is read, and nothing is remembered.
        ignoretest
            Whether test alerts are skipped; None: as the client's `test_alerts` says.
        produce_timeout
            Longest wait for a confirmation; None: the client's `publish_timeout`.

        Raises
        ------
        ValueError
            `mode` is neither, or there is no topic to read.
        CredentialError
            No credential fits the broker, or more than one.
        StreamError
            The stream cannot be read.
        """
        user, brokers, topics = parse_kafka_url(url)
        credential = self._credential(brokers, user)
        if mode == "w":
            from .publishing import Session  # who only listens does without

            seconds = produce_timeout.total_seconds() if produce_timeout else self.publish_timeout
            return Session(self._connection(brokers, credential, seconds), topics or [])
        if mode != "r":
            raise ValueError(f'mode: must be "r" or "w", not {mode!r}')
        if not topics:
            raise ValueError(f"url: {url!r} names no topic to read")
        return Reader(
            brokers,
            topics,
            self._dialect,
            auth=credential,
            group_id=self._demanded(group_id, brokers, credential),
            start_at=self.start_at,
            test_alerts=self.test_alerts if ignoretest is None else not ignoretest,
            queue_bytes=max(1, self.queue_bytes // 2),  # the lanes may hold as much
            options=self.options,
            policy=self._policy(),
            counters=self._counters,
            on_listening=self._state.set_listening,
            login=_login(credential),
        )

    def _credential(self, brokers: Sequence[str], user: str | None) -> Auth | None:
        """Choose the credential for a broker, and say once which it is."""
        chosen = credentials.select(self.auth, brokers[0], unquote(user) if user else None)
        told = (*brokers, credentials.describe(chosen))
        if told not in self._told:
            self._told.add(told)
            log.info("connecting to %s with %s", ", ".join(brokers), told[-1])
            for risk in credentials.risks(chosen, self.options):
                log.warning("%s: %s", ", ".join(brokers), risk)
        return chosen

    def _demanded(
        self, consumer_group: str | None, brokers: Sequence[str], auth: Auth | None
    ) -> str | None:
        """Return a consumer group's name as the server demands it."""
        if consumer_group is None:
            return None
        name = igwn.consumer_group(consumer_group, brokers, auth.username if auth else None)
        if name != consumer_group:
            log.info(
                'the consumer group "%s" is "%s" on %s, where its name begins with the user\'s',
                consumer_group, name, ", ".join(brokers),
            )  # fmt: skip
        return name

    def _policy(self) -> RetryPolicy:
        if not self.retry_on_fatal:
            return RetryPolicy(1, self.retry_wait)
        retries = self.listen_retries
        return RetryPolicy(None if retries is None else retries + 1, self.retry_wait)

    def _connection(self, brokers: Sequence[str], auth: Auth | None, seconds: float) -> Connection:
        with self._connecting:
            key = (*brokers, auth.username if auth else "", f"{seconds:g}")
            if key not in self._connections:
                login = _login(auth)
                end_in_order()
                self._connections[key] = Connection(brokers, auth, seconds, self.options, login)
            return self._connections[key]

    def _construct_base_url(self) -> str:
        user = f"{self._user}@" if self._user else ""
        return f"{self._scheme}://{user}{','.join(self._brokers)}/{self.group_prefix}"

    def _construct_topic_url(self, topics: str | Iterable[str]) -> str:
        names = [topics] if isinstance(topics, str) else list(topics)
        base, _, group = self.base_url_prefix.rpartition("/")
        return f"{base}/{','.join(f'{group}.{name}' for name in names)}"

    # -- what igwn_alert has deprecated ------------------------------------------------------------

    def get_subscriptions(self) -> None:
        """Deprecated: see `listen`."""
        _deprecated("Please refer to the client.listen() method")

    def subscribe(self, *topics: str) -> None:  # noqa: ARG002
        """Deprecated: give the topics to `listen`."""
        _deprecated("Please supply a list of topics to client.listen()")

    def unsubscribe(self, *topics: str) -> None:  # noqa: ARG002
        """Deprecated: give the topics to `listen`."""
        _deprecated("Please supply a list of topics to client.listen()")

    def delete(self) -> None:
        """Deprecated: topics are deleted on the broker."""
        _deprecated("Topics are deleted on the broker")


IGWNAlertClient = client


def _login(auth: Auth | None) -> str:
    return credentials.describe(auth) if auth else ""


def _each(calls: Iterable[Callable[[], object]]) -> None:
    """Make all calls, whatever one of them raises; their `PublishError` become one."""
    failures: list[PublishError] = []
    others: list[BaseException] = []
    for call in calls:
        try:
            call()
        except PublishError as error:
            failures.append(error)
        except BaseException as error:
            others.append(error)
    interrupts = [error for error in others if not isinstance(error, Exception)]
    if failures and not interrupts:
        from .publishing import together

        for other in others:
            log.error("beside alerts that are not confirmed", exc_info=other)
        raise together(failures)
    for failure in failures:
        log.error("%s", failure)
    if others:
        raise [*interrupts, *others][0]


def _given(
    headers: Any, key: str | bytes | None, test: bool, delivery_callback: Any = None
) -> dict[str, Any]:
    """Return the keywords that were given; a session of somebody else's may not know them all."""
    if headers is None and key is None and not test and delivery_callback is None:
        return {}
    check(key, "key", (str, bytes), optional=True)
    keywords = {"headers": headers, "key": key, "delivery_callback": delivery_callback}
    given = {name: value for name, value in keywords.items() if value is not None}
    return {**given, "test": True} if test else given


def _flush(connections: Mapping[Any, Connection]) -> None:
    """Send what is still queued when the client goes."""
    for connection in connections.values():
        connection.leave()


def _deprecated(instead: str) -> None:
    warnings.warn(f"This feature is deprecated. {instead}.", DeprecationWarning, stacklevel=3)
