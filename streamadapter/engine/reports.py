"""Delivery reports: what became of a batch, kept in columns until poll() serves its callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    KafkaError,
)

from streamadapter.engine.accumulator import GivenUp
from streamadapter.engine.queues import Batch, Records
from streamadapter.message import Message

_NO_TIMESTAMP = (TIMESTAMP_NOT_AVAILABLE, -1)


@dataclass(slots=True, eq=False)
class Report:
    """The outcome of consecutive records of one partition. Served by one thread at a time.

    base_offset is None if they have no offset (an error, or acks=0); append_time (ms) is that of the log if the
    topic's timestamps are, else None. finished: when it was known, in the clock of Records.born.
    """

    topic: str
    partition: int | None
    records: Records
    error: KafkaError | None
    base_offset: int | None
    append_time: int | None
    finished: float
    served: int = 0

    @classmethod
    def delivered(cls, batch: Batch, base_offset: int | None, append_time: int | None, now: float) -> Report:
        """For a batch that is in the log."""
        queue = batch.queue
        return cls(queue.topic, queue.partition, batch.records, None, base_offset, append_time, now)

    @classmethod
    def failed(cls, given_up: GivenUp, now: float) -> Report:
        """For records that are not, as far as is known."""
        partition = given_up.partition if given_up.partition >= 0 else None
        return cls(given_up.topic, partition, given_up.records, given_up.error, None, None, now)

    def __len__(self) -> int:
        """Records still to be served."""
        return len(self.records) - self.served

    def mute(self) -> None:
        """Nobody wants to know."""
        self.records.callbacks = [None] * len(self.records)

    def serve(self) -> int:
        """Call the callbacks with (error, Message); returns the number of records, with callbacks or without.

        An exception from a callback propagates; that record counts as served, and the next call goes on behind it.
        """
        first, callbacks, error = self.served, self.records.callbacks, self.error
        if callbacks.count(None) < len(callbacks):
            for callback, message in zip(islice(callbacks, first, None), self._messages(first), strict=True):
                self.served += 1
                if callback is not None:
                    callback(error, message)
        self.served = len(callbacks)
        return len(callbacks) - first

    def _messages(self, first: int) -> Iterator[Message]:
        """As confluent_kafka's delivery reports show them: no headers, no offset on an error.

        Each is made when its turn comes, by a loop in C.
        """
        records, base, finished = self.records, self.base_offset, self.finished
        timestamps: Iterable[int | tuple[int, int]] = records.timestamps[first:]  # of creation
        if self.error is not None:
            timestamps = repeat(_NO_TIMESTAMP)
        elif self.append_time is not None:
            timestamps = repeat((TIMESTAMP_LOG_APPEND_TIME, self.append_time))
        return map(
            Message,
            repeat(self.topic),
            repeat(self.partition),
            repeat(None) if base is None else range(base + first, base + len(records)),
            records.keys[first:],
            records.values[first:],
            repeat(None),
            repeat(self.error),
            timestamps,
            [finished - born for born in records.born[first:]],
        )
