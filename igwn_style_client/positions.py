"""Where in its partitions a reader begins, fixed as numbers that no crash can move."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, TopicPartition

__all__ = ["Partition", "StartAt", "committed", "ends", "lag", "oldest", "starts"]

#: Full name of the topic, and number.
Partition = tuple[str, int]
#: "latest", "earliest", a moment, or a time back from now.
StartAt = str | datetime | timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_SECONDS = 10.0


def committed(kafka: Any, partitions: Collection[Partition]) -> dict[Partition, int]:
    """Return the marks that the broker keeps of the consumer's group; a partition may have none."""
    answer = kafka.committed([TopicPartition(*one) for one in partitions], timeout=_SECONDS)
    return {partition: offset for partition, offset in _offsets(answer).items() if offset >= 0}


def starts(
    kafka: Any, partitions: Collection[Partition], start_at: StartAt, new: Collection[Partition]
) -> dict[Partition, int]:
    """Resolve `start_at` for partitions without a mark.

    Those of `new` appeared while somebody listened: they are read from their beginning.
    """
    if isinstance(start_at, timedelta):
        now = datetime.now(timezone.utc)
        start_at = now - min(start_at, now - _EPOCH)
    if isinstance(start_at, datetime):
        moment = int(start_at.timestamp() * 1000)
        asked = moment if moment > 0 else OFFSET_BEGINNING  # -1 ms is Kafka's word for the end
    else:
        asked = OFFSET_BEGINNING if start_at == "earliest" else OFFSET_END
    found = _ask(kafka, {one: OFFSET_BEGINNING if one in new else asked for one in partitions})
    # A moment after the last alert is answered with "the end", which would move on.
    ahead = [one for one, offset in found.items() if offset < 0]
    return {**found, **_ask(kafka, dict.fromkeys(ahead, OFFSET_END))}


def ends(kafka: Any, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
    """Return the offsets of the oldest alert there is, and of the next one to come."""
    oldest_ones = _ask(kafka, dict.fromkeys(partitions, OFFSET_BEGINNING))
    next_ones = _ask(kafka, dict.fromkeys(partitions, OFFSET_END))
    return {one: (oldest_ones[one], next_ones[one]) for one in partitions}


def lag(kafka: Any, marks: Mapping[Partition, int]) -> int | None:
    """Return how many alerts lie beyond the marks, as far as the broker's answers have said.

    Asks nobody; None while not every partition has had an answer.
    """
    behind = 0
    for partition, mark in marks.items():
        try:
            _, end = kafka.get_watermark_offsets(TopicPartition(*partition), cached=True)
        except KafkaException:
            return None
        if end < 0:
            return None
        behind += max(0, end - mark)
    return behind


def oldest(kafka: Any, partition: Partition) -> int:
    """Return the offset of the oldest alert that the broker still has."""
    return _ask(kafka, {partition: OFFSET_BEGINNING})[partition]


def _ask(kafka: Any, times: Mapping[Partition, int]) -> dict[Partition, int]:
    """Ask for offsets by milliseconds since 1970; Kafka takes -1 for the end, -2 for the begin."""
    if not times:
        return {}
    asked = [TopicPartition(*one, moment) for one, moment in times.items()]
    return _offsets(kafka.offsets_for_times(asked, timeout=_SECONDS))


def _offsets(answer: Sequence[TopicPartition]) -> dict[Partition, int]:
    for one in answer:
        if one.error is not None:
            raise KafkaException(one.error)
    return {(one.topic, one.partition): one.offset for one in answer}
