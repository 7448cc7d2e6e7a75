"""ANTARES: its streams by the clients that its users know, with a key and a secret.

>>> from igwn_style_client.antares import Client
>>> alerts = Client(["extragalactic"], api_key="...", api_secret="...")
>>> for topic, alert in alerts.iter():  # doctest: +SKIP
...     print(topic, alert["data"]["id"])

`Client` is that of antares-client 0.2, `StreamingClient` that of 1.x and 2.x.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import socket
import ssl
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import certifi
from hop.auth import Auth, SASLMethod

from . import credentials, settings
from .alert import Alert
from .arguments import DEFAULT_PORT, check, check_start_at, parse_server, topic_names
from .delivery import Callback, Delivery, Rules
from .errors import (
    CredentialError,
    CredentialFileMissing,
    NotConnected,
)
from .health import Health
from .inquiry import Inquiry
from .listening import Listening, Manner, SetAside
from .loci import Locus, dialect, on_the_server, short_name, streams_of
from .polling import Polling
from .reader import Reader, StartAt
from .retry import RetryPolicy
from .thumbnails import get_thumbnails
from .topics import existing

__all__ = ["DEFAULT_HOST", "Client", "Locus", "StreamingClient", "dialect", "get_thumbnails"]

log = logging.getLogger(__name__)

#: ANTARES' broker, as antares-client 2.0.2 has it.
DEFAULT_HOST = "kafka.antares.noirlab.edu"

# In messages, in place of the key.
_LOGIN = "ANTARES' key and secret"
_KEY, _SECRET = "ANTARES_API_KEY", "ANTARES_API_SECRET"  # names of variables
# Whose certificate is signed by ANTARES' own authority.
_OWN_HOSTS = ".antares.noirlab.edu"
_WHERE_CERTIFICATES = (
    '"openssl version -d" names the folder in which OpenSSL looks for certificates; the file in it '
    "is usually called cert.pem, certs.pem or ca-certificates.crt: give its path as ssl_ca_location"
)


class Client:
    """Receive alerts from ANTARES' streams, as the Client of antares-client 0.2 does.

    An alert counts as delivered when the next one is asked for, when its callback has returned, or
    when the client is closed; not when an exception leaves the ``with`` block.  What does not count
    comes again, at the next start or to another member of the group.

    Constructing a client contacts nobody.  Asking is for one thread at a time; any may close.

    Parameters
    ----------
    topics
        Names of streams, such as "extragalactic"; "client.extragalactic" is the same.
    api_key, api_secret
        From the ANTARES team.  None: they are taken from the environment (``ANTARES_API_KEY`` and
        ``ANTARES_API_SECRET``, or the files that ``..._FILE`` name), or from hop's ``auth.toml``,
        where an entry names this host.
    ssl_ca_location
        File of the certificate authorities to trust.  None: certifi's, or the system's; for
        ANTARES' own hosts that of its own authority, where antares-client is installed, which
        brings it.
    host, port
        The broker, or several separated by commas.
    group
        Kafka's group, whose members share the alerts.  None: this machine's host name.
    noauth
        True for an unauthenticated session, such as with an `EmbeddedBroker`.
    start_at
        Where a group without a mark begins: "earliest", "latest", a datetime with a time zone, or a
        timedelta back from now.
    retry_on_fatal, listen_retries, retry_wait, set_aside, queue_bytes, options
        As `igwn_style_client.client` takes them.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind.
    CredentialError
        There is no credential, or half of one, or a file is missing.

    Examples
    --------
    >>> from igwn_style_client.antares import Client
    >>> with Client(["extragalactic"], api_key="...", api_secret="...") as client:
    ...     for topic, alert in client.iter():  # doctest: +SKIP
    ...         print(topic, alert)
    """

    def __init__(
        self,
        topics: str | Iterable[str],
        api_key: str | None = None,
        api_secret: str | None = None,
        ssl_ca_location: str | os.PathLike[str] | None = None,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        group: str | None = None,
        *,
        noauth: bool = False,
        start_at: StartAt = "earliest",
        retry_on_fatal: bool = False,
        listen_retries: int | None = 3,
        retry_wait: float = 0.1,
        set_aside: SetAside = None,
        queue_bytes: int = 64 * 2**20,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check(api_key, "api_key", str, optional=True)
        check(api_secret, "api_secret", str, optional=True)
        check(ssl_ca_location, "ssl_ca_location", (str, os.PathLike), optional=True)
        check(host, "host", str)
        check(port, "port", int, least=1, most=65535)
        check(group, "group", str, optional=True)
        check(noauth, "noauth", bool)
        check_start_at(start_at)
        check(retry_on_fatal, "retry_on_fatal", bool)
        check(listen_retries, "listen_retries", int, optional=True, least=0)
        check(retry_wait, "retry_wait", (int, float), least=0)
        if set_aside is not False:
            check(set_aside, "set_aside", (str, os.PathLike), optional=True)
        check(queue_bytes, "queue_bytes", int, least=1)
        check(options, "options", Mapping, optional=True)
        if group is not None and not group.strip():
            raise ValueError('"group" must be a name, or None for the host\'s; it is empty')
        settings.refuse(options or {})
        self._topics = _streams(topics)
        _, _, self._brokers = parse_server(host, port)
        self.group = group or socket.gethostname()
        self.start_at = start_at
        self.set_aside = set_aside
        self.queue_bytes = queue_bytes
        self.options = dict(options or {})
        self._policy = RetryPolicy(1, retry_wait)
        if retry_on_fatal:
            attempts = None if listen_retries is None else listen_retries + 1
            self._policy = RetryPolicy(attempts, retry_wait)
        self._auth = (
            None if noauth else _credential(api_key, api_secret, ssl_ca_location, self._brokers)
        )
        self._dialect = dialect()
        self._by_hand = False
        self._listening = Listening()
        self._closed = False
        self._asked: list[_Asked] = []  # none or one; a list, for it outlives this client
        weakref.finalize(self, _forget, self._asked)

    def __repr__(self) -> str:
        name = f"{type(self).__module__}.{type(self).__name__}"
        return f"<{name} of {', '.join(self._topics)} on {self._where}, group={self.group!r}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close(delivered=kind is None)

    @property
    def topics(self) -> list[str]:
        """The streams that are subscribed to."""
        return list(self._topics)

    # -- asking --------------------------------------------------------------------------------

    def poll(self, timeout: float | None = -1) -> tuple[str, Any] | tuple[None, None]:
        """Return the next alert; the one before it counts as delivered.

        Parameters
        ----------
        timeout
            Longest wait in seconds.  -1 or None: for ever; 0: none at all.

        Returns
        -------
        topic : str or None
            Name of the stream; None if no alert came in time.
        alert : dict or None
            What was sent.

        Raises
        ------
        NotConnected
            The client is closed.
        RuntimeError
            Another thread is asking, or listening.
        StreamError
            The stream cannot go on; asking again begins anew at the mark.
        ArchiveError, DecodeError
            As `listen`.
        """
        if timeout != -1:
            check(timeout, "timeout", (int, float), optional=True, least=0)
        alert = self._ask(None if timeout == -1 else timeout)
        return (None, None) if alert is None else (alert.topic, alert.payload)

    def iter(
        self, num_alerts: int | None = None, *, until_eos: bool = False
    ) -> Iterator[tuple[str, Any]]:
        """Yield stream and alert; each counts as delivered when the next one is asked for.

        Parameters
        ----------
        num_alerts
            How many to yield; None: it goes on for ever.
        until_eos
            True: it ends when all that there is has been yielded.

        Raises
        ------
        NotConnected, StreamError, ArchiveError, DecodeError
            As `poll`.
        """
        check(num_alerts, "num_alerts", int, optional=True, least=0)
        check(until_eos, "until_eos", bool)
        return self._iter(num_alerts, until_eos)

    def _iter(self, most: int | None, until_end: bool) -> Iterator[tuple[str, Any]]:
        for _ in itertools.count() if most is None else range(most):
            alert = self._ask(None, until_end)
            if alert is None:
                return
            yield alert.topic, alert.payload
        for asked in self._asked:
            asked.polling.finish()  # the one after the last was asked for

    def _ask(self, timeout: float | None, until_end: bool = False) -> Alert | None:
        self._must_be_open()
        asked = next(iter(self._asked), None) or self._begin()
        if asked is None:
            return None
        try:
            alert = asked.polling.ask(timeout, until_end)
        except Exception:
            if asked.polling.failed:
                _leave(self._asked, delivered=False)
            raise
        if alert is None:
            self._listening.stopping.clear()  # a stop ends one asking
        return alert

    def _begin(self) -> _Asked | None:
        """Open the stream, which connects behind us; None if `stop` or `close` came first."""
        listening, reader = self._listening, self._reader(self._topics)
        with ExitStack() as stack:
            stack.enter_context(listening.state.running(listening.stopping))
            streaming = listening.streaming(lambda: reader, self._manner())
            stream, store = stack.enter_context(streaming)
            if stream is None:
                return None
            counters, stopping = listening.counters, listening.stopping
            delivery = Delivery(stream, None, stopping, Rules(store_unreadable=store), counters)
            polling = Polling(
                stream, delivery, counters, stopping, self._by_hand, max(1, self.queue_bytes // 2)
            )
            asked = _Asked(polling, stack.pop_all())
            self._asked.append(asked)
        if self._closed:  # meanwhile, in another thread
            _leave(self._asked, delivered=False)
            return None
        return asked

    def close(self) -> None:
        """End the connection.  The alert that was handed out last counts as delivered.

        It does not while an exception is under way, as in a ``finally`` block that one leads to.
        """
        self._close(delivered=sys.exc_info()[1] is None)

    def _close(self, delivered: bool) -> None:
        self._closed = True
        self._listening.stop()
        _leave(self._asked, delivered)

    def _must_be_open(self) -> None:
        if self._closed:
            raise NotConnected("this client is closed; make a new one to receive more alerts")

    # -- listening -----------------------------------------------------------------------------

    def listen(
        self,
        callback: Callback,
        topics: str | Iterable[str] | None = None,
        *,
        workers: int | Executor = 1,
        key: Callable[[Alert], Hashable] | None = None,
        attempts: int = 1,
        on_failure: str = "raise",
    ) -> None:
        """Call `callback` for every alert until `stop` is called.

        As `listen` of `igwn_style_client.client`, with the same promises, so that one callback
        serves both.

        Parameters
        ----------
        callback
            Called as ``callback(topic=..., payload=...)``: the name of the stream, and the alert;
            with ``alert=`` too where it has a parameter of that name.
        topics
            Names of streams; None: those of the client.
        workers
            How many callbacks may run side by side, in threads; or an executor.
        key
            A function of the `Alert`: alerts with equal keys stay in order.
        attempts
            How often the callback is called for an alert for which it raises.
        on_failure
            After the last attempt: "raise" or "set_aside".

        Raises
        ------
        NotConnected
            The client is closed.
        StreamError
            The stream cannot go on: `AuthenticationError`, `TopicNotFound`, ...
        ArchiveError
            An alert should be set aside and cannot be stored.  It is not marked as delivered.
        DecodeError
            An alert cannot be read, and `set_aside` is False.
        Exception
            Whatever the callback raised, unchanged.  Its alert is not marked as delivered.
        """
        self._must_be_open()
        names = self._topics if topics is None else _streams(topics)
        _leave(self._asked, delivered=True)  # the next one is asked for, in another way
        self._listening.run(
            callback,
            lambda: self._reader(names),
            self._manner(),
            workers=workers,
            key=key,
            attempts=attempts,
            on_failure=on_failure,
        )

    def stop(self) -> None:
        """Let `listen` return after the callback that is running; also ends `iter` and `poll`.

        From any thread or signal handler; returns at once.
        """
        self._listening.stop()

    def wait_until_listening(self, timeout: float | None = None) -> bool:
        """Wait, in another thread, until `listen` has its place in the stream.

        Parameters
        ----------
        timeout
            Longest wait in seconds; None for ever.

        Returns
        -------
        bool
            False when time is up or `listen` has ended.
        """
        return self._listening.state.wait(timeout)

    def health(self) -> Health:
        """Return how the client is, and what it has counted since it was made."""
        return self._listening.counters.snapshot()

    def get_topics(self, *, timeout: float = 10.0) -> list[str]:
        """Return the sorted names of the streams that the broker shows.

        Parameters
        ----------
        timeout
            Longest wait for the broker's answer, in seconds.

        Raises
        ------
        StreamError
            The broker did not answer in time, or refused.
        """
        check(timeout, "timeout", (int, float), least=0.001)
        with Inquiry(self._brokers, self._auth, self.options, _LOGIN) as inquiry:
            return streams_of(existing(inquiry.metadata(timeout)))

    # -- connections ---------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return ", ".join(self._brokers)

    def _manner(self) -> Manner:
        return Manner(
            server=",".join(self._brokers),
            consumer_group=self.group,
            set_aside=self.set_aside,
            retry_wait=self._policy.wait,
            queue_bytes=self.queue_bytes,
            options=self.options,
        )

    def _reader(self, streams: Sequence[str]) -> Reader:
        log.info('asking for %s on %s as group "%s"', ", ".join(streams), self._where, self.group)
        for risk in credentials.risks(self._auth, self.options):
            log.warning("%s: %s", self._where, risk)
        listening = self._listening
        reader = Reader(
            self._brokers,
            [self._dialect.full_name(stream) for stream in streams],
            self._dialect,
            auth=self._auth,
            group_id=self.group,
            start_at=self.start_at,
            test_alerts=True,  # ANTARES knows no such flag
            queue_bytes=max(1, self.queue_bytes // 2),  # what waits for its callback, as much
            options={**self.options, "enable.partition.eof": True},
            policy=self._policy,
            counters=listening.counters,
            on_listening=listening.state.set_listening,
            login=_LOGIN,
        )
        reader.choose = partial(on_the_server, streams)
        return reader


class StreamingClient(Client):
    """Receive loci, as the StreamingClient of antares-client 1.x and 2.x does.

    All is as `Client` has it, and each alert is a `Locus`.

    Parameters
    ----------
    topics, api_key, api_secret, ssl_ca_location, group
        As `Client` takes them.
    enable_auto_commit
        False: an alert counts as delivered when `commit` is called, and not before.
    bootstrap_server
        The broker as "host:port".
    **keywords
        As `Client` takes them.
    """

    def __init__(
        self,
        topics: str | Iterable[str],
        api_key: str | None = None,
        api_secret: str | None = None,
        *,
        group: str | None = None,
        ssl_ca_location: str | os.PathLike[str] | None = None,
        enable_auto_commit: bool = True,
        bootstrap_server: str | None = None,
        **keywords: Any,
    ) -> None:
        check(enable_auto_commit, "enable_auto_commit", bool)
        check(bootstrap_server, "bootstrap_server", str, optional=True)
        if bootstrap_server is not None:
            if "host" in keywords:
                raise ValueError("host and bootstrap_server are the same; give one of them")
            keywords["host"] = bootstrap_server
        super().__init__(
            topics, api_key, api_secret, ssl_ca_location=ssl_ca_location, group=group, **keywords
        )
        self._dialect = dialect(Locus.from_payload)
        self._by_hand = not enable_auto_commit

    def __enter__(self) -> StreamingClient:
        return self

    def iter(
        self, limit: int | None = None, *, until_eos: bool = False
    ) -> Iterator[tuple[str, Locus]]:
        """Yield stream and `Locus`; each counts as delivered when the next one is asked for.

        Parameters
        ----------
        limit
            How many to yield; None: it goes on for ever.
        until_eos
            True: it ends when all that there is has been yielded.
        """
        check(limit, "limit", int, optional=True, least=0)
        return super().iter(limit, until_eos=until_eos)

    def commit(self) -> None:
        """Count all alerts that were handed out as delivered, the last one too."""
        self._must_be_open()
        for asked in self._asked:
            asked.polling.commit()


def _streams(topics: str | Iterable[str]) -> list[str]:
    if isinstance(topics, Collection) and not topics:
        raise ValueError('topics: name one stream at least, such as "extragalactic"')
    names = topic_names(topics, "topics")
    return list(dict.fromkeys(map(short_name, names)))


@dataclass(frozen=True, slots=True)
class _Asked:
    """An open stream from which a program asks for alerts, and what ends with it."""

    polling: Polling
    stack: ExitStack


def _leave(asked: list[_Asked], delivered: bool) -> None:
    while asked:
        one = asked.pop()
        with one.stack:
            one.polling.close(delivered)


def _forget(asked: list[_Asked]) -> None:
    """Leave for a client that nobody has any more, or whose program ends.

    Any thread may come upon garbage, also one that is to end here, or that holds the connection.
    """
    if threading.current_thread() is threading.main_thread():
        _leave(asked, delivered=False)
    elif asked:
        threading.Thread(target=_leave, args=(asked, False), name="alert-leaving").start()


# -- credentials -----------------------------------------------------------------------------------


def _credential(
    api_key: str | None,
    api_secret: str | None,
    ssl_ca_location: str | os.PathLike[str] | None,
    brokers: Sequence[str],
) -> Auth:
    """Find key and secret: given, in the environment, or in auth.toml; in this order."""
    if api_key is None and api_secret is None:
        api_key, api_secret = credentials.variable(_KEY), credentials.variable(_SECRET)
        where = f"the environment: set {_KEY} and {_SECRET}, or both with _FILE"
    else:
        where = "what is given: give key and secret, or leave both to the environment or auth.toml"
    if bool(api_key) != bool(api_secret):
        missing = "secret" if api_key else "key"
        raise CredentialError(
            f"half a credential for ANTARES, without its {missing}, is in {where}"
        )
    if api_key and api_secret:
        location = _authorities(ssl_ca_location, brokers)
        return Auth(api_key, api_secret, method=SASLMethod.PLAIN, ssl_ca_location=location)
    saved = credentials.of_host(brokers[0])
    if saved is None:
        raise CredentialError(
            f"there is no credential for {brokers[0]}: give api_key= and api_secret=, set {_KEY} "
            f"and {_SECRET} (or both with _FILE, for files that hold them), or put it into hop's "
            'auth.toml with hostname, username, password and mechanism = "PLAIN".  The ANTARES '
            "team gives keys away on request"
        )
    found: Auth = credentials.with_ca(saved, _authorities(ssl_ca_location, brokers))
    return found


def _authorities(given: str | os.PathLike[str] | None, brokers: Sequence[str]) -> str:
    """Return the file of the certificate authorities to trust."""
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise CredentialFileMissing(
                f"could not locate SSL certificates: ssl_ca_location: there is no file "
                f"{str(path)!r}.  {_WHERE_CERTIFICATES}"
            )
        return str(path)
    places: list[str | None] = [certifi.where(), ssl.get_default_verify_paths().cafile]
    if all(broker.rpartition(":")[0].endswith(_OWN_HOSTS) for broker in brokers):
        places.insert(0, _own_authority())
    found = next((place for place in places if place and os.path.isfile(place)), None)
    if found is None:
        raise CredentialFileMissing(f"could not locate SSL certificates.  {_WHERE_CERTIFICATES}")
    return found


def _own_authority() -> str | None:
    """Return the certificate of ANTARES' own authority, which antares-client brings since 1.x."""
    try:
        found = importlib.util.find_spec("antares_client")
    except (ImportError, ValueError):
        return None
    places = (found and found.submodule_search_locations) or ()
    return next((f"{place}/certificates/kafka-ca.pem" for place in places), None)
