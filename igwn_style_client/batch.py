"""Alerts of one partition that were read together, before anybody has looked at them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from .alert import UNREAD, Alert, Message, payload_of, size_of
from .watermark import Watermark

__all__ = ["Batch", "Place"]

#: The watermark of an alert's partition, and the bytes, and which of them, in which to note that it
#: is finished.
Place = tuple[Watermark, bytearray | memoryview, int]


class Batch:
    """Alerts of one partition in the order of their offsets, and which of them are finished.

    They travel in batches from where they are read to their callback, so that one alert costs
    little: an `Alert` is made only where somebody asks for one.

    Whoever reads fills the batch, and begins it.  From then on it belongs to whoever delivers: one
    thread takes the messages out, and lets go of each, payload and all, when it is finished.

    Parameters
    ----------
    watermark
        Of the partition.
    topic
        Its short name.

    Attributes
    ----------
    messages : deque
        Those that nobody has taken out yet.
    decoders : list
        What each message is decoded by; see `Alert.received`.
    offsets : list of int
        Where each alert stands in the partition.
    end : int
        The first offset that was not looked at, where alerts after the last one were passed over.
    done : bytearray
        1 for each alert that needs no further attention.  Any thread may set it.
    """

    __slots__ = ("_made", "decoders", "done", "end", "messages", "offsets", "topic", "watermark")

    def __init__(self, watermark: Watermark, topic: str) -> None:
        self.watermark = watermark
        self.topic = topic
        self.messages: deque[Message] = deque()
        self.decoders: list[Callable[[Message], Any]] = []
        self.offsets: list[int] = []
        self.end = 0
        self.done: bytearray | memoryview = bytearray()
        self._made: Alert | None = None

    @classmethod
    def of(cls, alert: Alert, watermark: Watermark) -> Batch:
        """Return a batch of one alert that was received; it has begun."""
        batch = cls._around(alert, watermark)
        batch.begin()
        alert._place = watermark, batch.done, 0
        return batch

    @classmethod
    def _around(cls, alert: Alert, watermark: Watermark) -> Batch:
        batch = cls(watermark, alert.topic)
        batch.messages.append(alert._message)
        batch.decoders.append(lambda _message: payload_of(alert))  # which decodes only once
        batch.offsets.append(alert.offset)
        batch._made = alert  # it may know more than its message
        return batch

    def begin(self) -> None:
        """Note in the watermark what was read; the batch gets no further alerts."""
        self.done = self.watermark.begin(self.offsets, self.end)

    def alert(self, number: int, message: Message, payload: Any = UNREAD) -> Alert:
        """Return one of the alerts, whose message was taken out, and perhaps decoded."""
        if self._made is not None:
            return self._made
        decode, offset = self.decoders[number], self.offsets[number]
        # Not the batch: whoever keeps an alert keeps nothing of what was read with it.
        place = self.watermark, self.done, number
        alert = Alert.received(message, self.topic, decode, offset, place)
        alert._payload = payload
        return alert

    def __iter__(self) -> Iterator[Alert]:
        """Take out one alert after the other."""
        for number in range(len(self.offsets)):
            yield self.alert(number, self.messages.popleft())

    def apart(self) -> Iterator[tuple[Alert, Batch]]:
        """Take out one alert after the other, each with a batch of its own."""
        for number, alert in enumerate(self):
            part = Batch._around(alert, self.watermark)
            part.done = memoryview(self.done)[number : number + 1]  # and so it is noted here
            yield alert, part

    def __len__(self) -> int:
        """How many alerts it was filled with."""
        return len(self.offsets)

    @property
    def size(self) -> int:
        """About how many bytes of memory the messages take while they wait."""
        return sum(map(size_of, self.messages))
