"""Which topics a broker has, and whether one of them was made anew."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any

from .inquiry import Inquiry

__all__ = ["Identities", "brokers", "existing", "not_there"]

# A topic that was made anew is noticed within five seconds: whoever asks us comes by every second,
# or four after an answer if nothing arrives, and at once for an answer.  What was read of it until
# then comes again.
_ASK_SECONDS = 3.0
# What a broker says that knows no identities.
_NONE = "AAAAAAAAAAAAAAAAAAAAAA"


class Identities:
    """Tells a topic from another one that has taken its name.

    Offsets cannot: once the new topic is longer than the old one was, the old mark points into the
    middle of it.  Kafka gives each topic an identity of its own.

    One thread at a time.

    Parameters
    ----------
    inquiry
        Asks, beside the consumer, so that nobody waits.
    """

    def __init__(self, inquiry: Inquiry) -> None:
        self._inquiry = inquiry
        self._asked: dict[str, Future[Any]] = {}
        self._ask_at = 0.0
        self._known: dict[str, str] = {}
        self._found: dict[str, str] = {}
        #: The partitions of the topics, as far as the last question has been answered.
        self.partitions: dict[str, list[int]] = {}

    @property
    def asking(self) -> bool:
        """Whether answers are due."""
        return bool(self._asked)

    def made_anew(self, topics: Collection[str], wait: float = 0.0) -> list[str]:
        """Return those of the topics that are others than before, until `accept` is called.

        Asks again every few seconds; with `wait` it asks now, and waits so long for the answers.
        """
        now = time.monotonic()
        if wait or (now >= self._ask_at and all(one.done() for one in self._asked.values())):
            self._take_answers(0.0)
            self._ask_at = now + _ASK_SECONDS
            self._asked = self._inquiry.topics(topics)
            self.partitions = {}
        self._take_answers(wait)
        return [topic for topic, one in self._found.items() if one != self._known[topic]]

    def _take_answers(self, wait: float) -> None:
        end = time.monotonic() + wait
        for topic, answer in list(self._asked.items()):
            try:
                found = answer.result(max(0.0, end - time.monotonic()))
            except NoAnswer:
                continue
            except Exception:  # it is away, or the broker is: the next answer counts
                del self._asked[topic]
                continue
            del self._asked[topic]
            self.partitions[topic] = [one.id for one in found.partitions]
            identity = str(found.topic_id)
            if identity != _NONE:
                self._known.setdefault(topic, identity)
                self._found[topic] = identity

    def accept(self, topic: str) -> None:
        """Take the topic that is there now for the one we know."""
        self._known[topic] = self._found[topic]


def existing(metadata: Any) -> dict[str, Any]:
    """Return the topics of the broker's answer, without those that it only names as missing."""
    return {name: topic for name, topic in metadata.topics.items() if topic.error is None}


def brokers(metadata: Any) -> list[str]:
    """Return the addresses, as "host:port", by which the brokers want to be reached."""
    hosts = [(str(one.host), one.port) for one in metadata.brokers.values()]
    return sorted(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)


def not_there(topics: Sequence[str], existing: Collection[str], where: str) -> str:
    """Say that topics do not exist, and which names are near."""
    from difflib import get_close_matches  # a listener does without, unless there is a mistake

    names = ", ".join(f'"{topic}"' for topic in topics)
    verb = "does" if len(topics) == 1 else "do"
    prefixes = tuple({topic.partition(".")[0] + "." for topic in topics})
    ours = [name for name in existing if name.startswith(prefixes)]
    near = {close for topic in topics for close in get_close_matches(topic, ours)}
    shorts = {topic.partition(".")[2] for topic in topics}
    near |= {name for name in existing if name in shorts or name.partition(".")[2] in shorts}
    hint = f"; there is {', '.join(sorted(near))}" if near else ""
    return f"{names} {verb} not exist on {where}{hint}"
