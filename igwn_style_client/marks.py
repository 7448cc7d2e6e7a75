"""The marks of a reader's partitions: where each begins, what is stored, what is committed."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from . import positions
from .positions import Partition, StartAt
from .watermark import Watermark

__all__ = ["Marks"]

log = logging.getLogger(__name__)

_COMMIT_AGAIN_SECONDS = 0.5
# For how long after a topic was made anew the group's mark may be one of the old topic.
_DISTRUST_SECONDS = 60.0


class Marks:
    """How far each partition is finished, as we know it and as the group's broker is told.

    librdkafka commits what is stored, half a second later, and only what goes forward.  The first
    marks, and those that go back, are committed here.  Without a group all of them live here only,
    and nothing is committed.

    One thread at a time.  `kafka` is the consumer that is open.

    Parameters
    ----------
    grouped
        Whether there is a consumer group.
    start_at
        Where a partition without a mark begins.
    """

    def __init__(self, grouped: bool, start_at: StartAt) -> None:
        self._grouped = grouped
        self._start_at = start_at
        self._ours: dict[Partition, int] = {}
        self._uncommitted: dict[Partition, int] = {}
        self._commit_at = 0.0
        self._distrusted: dict[Partition, float] = {}

    # -- where a partition begins ------------------------------------------------------------------

    def fix(
        self,
        kafka: Any,
        partitions: Collection[Partition],
        known: Collection[Partition],
        all_topics: bool,
    ) -> dict[Partition, int]:
        """Return where partitions begin: numbers that no crash or reconnect can move.

        Parameters
        ----------
        kafka
            The consumer.
        partitions
            Those that were handed out to us, or that we take.
        known
            All that there are of the topics, as far as we have seen; others are new.
        all_topics
            Whether whatever topic there is is wanted.
        """
        if self._grouped:
            marks = self._of_the_group(kafka, partitions, set(known), all_topics)
        else:
            marks = self._of_ours(kafka, partitions, set(known))
        found = {one: marks[one] for one in partitions}
        self._ours.update(found)
        return found

    def _of_ours(
        self, kafka: Any, partitions: Collection[Partition], known: set[Partition]
    ) -> dict[Partition, int]:
        """Return our marks, and begins for the partitions that are new to us."""
        marks = {one: self._ours[one] for one in partitions if one in self._ours}
        unmarked = set(partitions) - marks.keys()
        return marks | positions.starts(kafka, unmarked, self._start_at, new=unmarked - known)

    def _of_the_group(
        self, kafka: Any, partitions: Collection[Partition], known: set[Partition], all_topics: bool
    ) -> dict[Partition, int]:
        """Return the group's marks; where it has none, make and commit them.

        They are made for all partitions of a topic at once, and for all topics where all are
        wanted, whoever is assigned which: so a partition without a mark beside one with a mark is
        younger than the group, and is read from its beginning.  So is one whose mark the broker
        had and dropped: its topic was made anew.  Of the broker's mark and ours the farther one
        counts: another member may have moved it on, or the broker has refused for a while to take
        ours.
        """
        topics = {topic for topic, _ in (known if all_topics else partitions)}
        whole = set(partitions) | {one for one in known if one[0] in topics}
        marks = positions.committed(kafka, whole)
        marked = topics if all_topics and marks else {topic for topic, _ in marks}
        now = time.monotonic()
        for one in partitions:
            if self._distrusted.pop(one, 0.0) > now:
                marks.pop(one, None)  # of the old topic: it can outlive it
        ahead = {one: self._ours[one] for one in marks if self._ours.get(one, 0) > marks[one]}
        marks.update(ahead)
        self._uncommitted.update({one: at for one, at in ahead.items() if one in partitions})
        # A first mark that was not committed yet still counts: "latest" would be later by now.
        marks.update(
            {one: at for one, at in self._uncommitted.items() if one in whole and one not in marks}
        )
        unmarked = whole - marks.keys()
        new = {one for one in unmarked if one[0] in marked or one not in known or one in self._ours}
        first = positions.starts(kafka, unmarked, self._start_at, new=new)
        self._uncommitted.update({one: at for one, at in first.items() if one in partitions})
        # Those of other members only where they have not made one meanwhile: theirs may be lower.
        # All in one request, so that nobody sees a part of them.
        if others := first.keys() - set(partitions):
            others -= positions.committed(kafka, others).keys()
        self._commit_what_is_due(kafka, {one: first[one] for one in others})
        return marks | first

    # -- moving on ---------------------------------------------------------------------------------

    def store(self, kafka: Any, watermarks: Iterable[Watermark]) -> None:
        """Store the marks that have moved; with None for `kafka` they are only noted here."""
        moved = {}
        for watermark in watermarks:
            where, mark = watermark.where, watermark.mark
            if self._ours[where] != mark:
                self._ours[where] = moved[where] = mark
                self._uncommitted.pop(where, None)
        if kafka is not None:
            self.hand_over(kafka, moved)

    def note(self, marks: Mapping[Partition, int]) -> None:
        """Take the last marks of a consumer that is given up."""
        self._ours.update(marks)

    def put(self, partition: Partition, mark: int) -> None:
        """Move a mark, be it back, to where its partition is read on."""
        self._ours[partition] = self._uncommitted[partition] = mark

    def tend(self, kafka: Any) -> None:
        """Commit what librdkafka would not: the first marks, and those that went back."""
        if self._uncommitted:
            self._commit_what_is_due(kafka, {})

    def _commit_what_is_due(self, kafka: Any, others: Mapping[Partition, int]) -> None:
        if time.monotonic() >= self._commit_at and self.commit(
            kafka, {**self._uncommitted, **others}
        ):
            self._uncommitted.clear()
        self._commit_at = time.monotonic() + _COMMIT_AGAIN_SECONDS if self._uncommitted else 0.0

    def hand_over(self, kafka: Any, marks: Mapping[Partition, int]) -> None:
        """Store marks in librdkafka, also such as are about to be committed.

        It commits what was stored once more when a partition is given up, and would put an older
        mark over a newer one.
        """
        if marks and self._grouped:
            try:
                kafka.store_offsets(offsets=_places(marks))
            except KafkaException as error:  # the partition is just being taken away
                log.info("the marks could not be stored: %s", error.args[0])

    def commit(self, kafka: Any, marks: Mapping[Partition, int]) -> bool:
        """Commit now; False if the broker did not take it, which costs repeats, never alerts."""
        if not marks or not self._grouped:
            return True
        try:
            answer = kafka.commit(offsets=_places(marks), asynchronous=False)
        except KafkaException as error:
            refused = [error.args[0]]
        else:
            refused = [one.error for one in answer or () if one.error is not None]
        if refused:
            log.warning("the marks could not be committed now: %s", refused[0])
        return not refused

    # -- letting go --------------------------------------------------------------------------------

    def pass_on(self, partitions: Iterable[Partition]) -> None:
        """Leave it to the next owner of partitions to commit their marks."""
        for one in partitions:
            self._uncommitted.pop(one, None)

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Know nothing of partitions any more."""
        for one in partitions:
            self._ours.pop(one, None)
            self._uncommitted.pop(one, None)

    def distrust(self, partitions: Iterable[Partition]) -> None:
        """Do not believe for a while what the broker has of partitions that were made anew."""
        self._distrusted.update(dict.fromkeys(partitions, time.monotonic() + _DISTRUST_SECONDS))


def _places(marks: Mapping[Partition, int]) -> list[TopicPartition]:
    return [TopicPartition(*one, offset) for one, offset in marks.items()]
