"""What waits for the log: records in columns, the batches they form, a queue for each partition. Plain data.

The rules for them are the accumulator's; whoever fills a queue holds the lock that guards the accumulator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from streamadapter.codec import Headers

RECORD_OVERHEAD = 8
"""Bytes that a record takes in a batch beyond its key, value and headers, nearly always (see codec)."""

AUTO_TIMESTAMP = 0
"""Timestamp of a record that takes the time at which it was produced, as confluent_kafka's default means."""

Callback: TypeAlias = Callable[[Any, Any], Any]


def record_size(value: bytes | None, key: bytes | None, headers: Headers) -> int:
    """Bytes that a record counts for, in batch.size, message.max.bytes and the limits of the queue."""
    size = RECORD_OVERHEAD + len(value or b"") + len(key or b"")
    if headers:
        size += sum(4 + len(name.encode()) + len(content or b"") for name, content in headers)
    return size


class Records:
    """Columns of equal length, one item a record, in the order of produce().

    born: when it was produced, seconds of the owner's monotonic clock. timestamps: ms, or AUTO_TIMESTAMP. Columns
    and not a tuple a record, because they cost less to fill, leave the garbage collector nothing to look at, and
    are what the codec wants.
    """

    __slots__ = ("born", "callbacks", "headers", "keys", "timestamps", "values")

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] = []
        self.timestamps: list[int] = []
        self.headers: list[Headers] = []
        self.callbacks: list[Callback | None] = []
        self.born: list[float] = []

    def __len__(self) -> int:
        return len(self.values)

    def take(self, count: int) -> Records:
        """Remove the first `count` records and return them."""
        taken = Records()
        for name in self.__slots__:
            column = getattr(self, name)
            setattr(taken, name, column[:count])
            del column[:count]
        return taken

    def extend(self, other: Records) -> None:
        """Append all records of `other`."""
        for name in self.__slots__:
            getattr(self, name).extend(getattr(other, name))

    def size(self, count: int | None = None) -> int:
        """Bytes of the first `count` records, of all by default; see record_size."""
        values, keys, headers = self.values[:count], self.keys[:count], self.headers[:count]
        if headers.count(None) == len(headers):
            lengths = sum(map(len, filter(None, values))) + sum(map(len, filter(None, keys)))
            return lengths + RECORD_OVERHEAD * len(values)
        return sum(map(record_size, values, keys, headers))


@dataclass(slots=True, eq=False)
class Batch:
    """Records closed under a sequence number, on their way."""

    queue: Queue
    records: Records
    size: int
    epoch: int
    sequence: int
    maybe_stored: bool = False  # a reply was lost: it may be in the log
    abandoned: bool = False  # its records were reported while it was under way: the reply decides nothing


class Queue:
    """What waits for one partition; partition -1 waits for the topic's metadata. See Accumulator for its rules."""

    __slots__ = (
        "attempts",
        "batch_messages",
        "batch_size",
        "blocked",
        "epoch",
        "not_before",
        "open",
        "partition",
        "retry",
        "sequence",
        "size",
        "topic",
        "under_way",
    )

    def __init__(
        self, topic: str, partition: int, batch_size: int, batch_messages: int, blocked: bool
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.batch_size = batch_size  # falls when the server calls a batch too large
        self.batch_messages = batch_messages
        self.blocked = blocked  # until the topic's metadata are known
        self.open = Records()
        self.size = 0  # bytes of `open`
        self.retry: Batch | None = None
        self.under_way: Batch | None = None
        self.epoch = 0
        self.sequence = 0  # of the next batch
        self.attempts = 0  # failed in a row
        self.not_before = 0.0  # back-off

    def add(
        self,
        value: bytes | None,
        key: bytes | None,
        timestamp: int,
        headers: Headers,
        callback: Callback | None,
        born: float,
        size: int,
    ) -> bool:
        """Append a record. True if it is the first, or the queue is now full: then something is due sooner."""
        records = self.open
        values = records.values
        values.append(value)
        records.keys.append(key)
        records.timestamps.append(timestamp)
        records.headers.append(headers)
        records.callbacks.append(callback)
        records.born.append(born)
        self.size = size = self.size + size
        count = len(values)
        return count == 1 or size >= self.batch_size or count >= self.batch_messages

    def extend(self, records: Records, size: int) -> None:
        """Append records, of `size` bytes together."""
        self.open.extend(records)
        self.size += size

    def is_full(self) -> bool:
        """Whether the next batch need not wait for more."""
        return self.size >= self.batch_size or len(self.open) >= self.batch_messages

    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self.open.values and self.retry is None and self.under_way is None

    def unanswered(self) -> list[Batch]:
        """The batch that may be stored and is not reported yet, if there is one."""
        return [b for b in (self.retry, self.under_way) if b is not None and not b.abandoned]

    def withdraw(self, batch: Batch) -> None:
        """Give the batch's sequence numbers back, or rise above them if they may be taken."""
        if batch.maybe_stored:
            self.epoch += 1
            self.sequence = 0
        else:
            self.sequence = batch.sequence

    def reopen(self, batch: Batch) -> None:
        """Put the records of a batch that is not on the server back at the head."""
        self.withdraw(batch)
        batch.records.extend(self.open)
        self.open = batch.records
        self.size += batch.size
