"""An embedded broker for demos and tests: librdkafka's mock cluster, in this process.

It keeps alerts in memory, knows no password and no TLS, and makes a topic of four partitions
when somebody first asks for it.  It does not find alerts by their time: to begin at a moment is to
begin at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from confluent_kafka import Producer

__all__ = ["EmbeddedBroker"]

_SECONDS_TO_ANSWER = 10.0


class EmbeddedBroker:
    """A Kafka broker inside this process, for as long as the ``with`` block lasts.

    Examples
    --------
    >>> from igwn_style_client import EmbeddedBroker, client
    >>> with EmbeddedBroker() as broker:
    ...     broker.create_topics(["gracedb.superevent"])
    ...     alerts = client(server=broker.url, noauth=True, options=broker.options)
    ...     alerts.get_topics()
    ['superevent']
    """

    #: What to hand to ``client(options=)``: the mock cluster answers a request for new alerts
    #: only when its whole wait is over, which is half a second by default, and does not notice
    #: that a member has left its group until its session ends, after 45 s by default.
    options = {  # noqa: RUF012  # read only by convention
        "fetch.wait.max.ms": 5,
        "session.timeout.ms": 3500,
        "heartbeat.interval.ms": 500,
    }

    def __init__(self) -> None:
        self._cluster: Producer | None = None
        self._address = ""

    def __enter__(self) -> EmbeddedBroker:
        # The mock cluster lives and dies with the client that asked for it.
        self._cluster = Producer({"test.mock.num.brokers": 1, "log_level": 2})
        node = next(iter(self._cluster.list_topics(timeout=_SECONDS_TO_ANSWER).brokers.values()))
        self._address = f"{node.host}:{node.port}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cluster = None

    @property
    def url(self) -> str:
        """The broker's URL, such as ``kafka://127.0.0.1:34639/``."""
        self._running()
        return f"kafka://{self._address}/"

    def create_topics(self, full_names: Iterable[str]) -> None:
        """Make topics by their full names; one that exists is left as it is."""
        cluster = self._running()
        for name in full_names:
            cluster.list_topics(name, timeout=_SECONDS_TO_ANSWER)

    def _running(self) -> Producer:
        if self._cluster is None:
            raise RuntimeError(
                "the embedded broker does not run; use it as: with EmbeddedBroker() as broker"
            )
        return self._cluster
