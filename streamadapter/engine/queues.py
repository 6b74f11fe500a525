"""What waits for the log: records in columns, the batches they form, a queue for each partition. Plain data.

The rules for them are the accumulator's; whoever fills a queue holds the lock that guards the accumulator.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

from streamadapter.codec import Headers

RECORD_OVERHEAD = 8
"""Bytes that a record takes in a batch beyond its key, value and headers, nearly always (see codec)."""

AUTO_TIMESTAMP = 0
"""Timestamp of a record that takes the time at which it was produced, as confluent_kafka's default means."""

NO_LIMIT = 2**63 - 1

Callback: TypeAlias = Callable[[Any, Any], Any]


def record_size(value: bytes | None, key: bytes | None, headers: Headers) -> int:
    """Bytes that a record counts for, in batch.size, message.max.bytes and the limits of the queue."""
    size = RECORD_OVERHEAD + len(value or b"") + len(key or b"")
    for name, content in headers or ():
        size += 4 + len(name.encode()) + len(content or b"")
    return size


class Records:
    """Columns of equal length, one item a record, in the order of produce(); size: their bytes, see record_size.

    born: when it was produced, seconds of the owner's monotonic clock. timestamps: ms, or AUTO_TIMESTAMP. Columns
    and not a tuple a record, because they cost less to fill, leave the garbage collector nothing to look at, and
    are what the codec wants.
    """

    __slots__ = ("born", "callbacks", "headers", "keys", "size", "timestamps", "values")

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] = []
        self.timestamps: list[int] = []
        self.headers: list[Headers] = []
        self.callbacks: list[Callback | None] = []
        self.born: list[float] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self.values)

    def take(self, count: int) -> Records:
        """Remove the first `count` records and return them."""
        taken = Records()
        for name in COLUMNS:
            column = getattr(self, name)
            setattr(taken, name, column[:count])
            del column[:count]
        taken.size = sum(map(record_size, taken.values, taken.keys, taken.headers))
        self.size -= taken.size
        return taken

    def extend(self, other: Records) -> None:
        """Append all records of `other`."""
        for name in COLUMNS:
            getattr(self, name).extend(getattr(other, name))
        self.size += other.size


COLUMNS = ("values", "keys", "timestamps", "headers", "callbacks", "born")


class Room:
    """What all queues of a producer hold together: records that are not reported yet, their bytes, and the limits."""

    __slots__ = ("max_records", "max_size", "records", "size")

    def __init__(self, max_records: int, max_size: int) -> None:
        self.records = 0
        self.size = 0
        self.max_records = max_records
        self.max_size = max_size


@dataclass(slots=True, eq=False)
class Batch:
    """Records closed under a sequence number, on their way."""

    queue: Queue
    records: Records
    epoch: int
    sequence: int
    maybe_stored: bool = False  # a reply was lost: it may be in the log
    abandoned: bool = False  # its records were reported while it was under way: the reply decides nothing


class Queue:
    """What waits for one partition; partition -1 waits for the topic's metadata. See Accumulator for its rules.

    The records wait in the portions in which they will be sent: `full` ones, the oldest first, then the `open` one,
    which takes more. So no batch has to be cut out of a long queue.
    """

    __slots__ = (
        "attempts",
        "batch_messages",
        "batch_size",
        "blocked",
        "epoch",
        "full",
        "not_before",
        "open",
        "partition",
        "retry",
        "sequence",
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
        self.full: deque[Records] = deque()
        self.open = Records()
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
        """Append a record. True if it begins or fills a portion: then something is due sooner."""
        records = self.open
        values = records.values
        count = len(values)
        if count and (records.size + size > self.batch_size or count >= self.batch_messages):
            self.full.append(records)
            records = self.open = Records()
            values = records.values
            count = 0
        values.append(value)
        records.keys.append(key)
        records.timestamps.append(timestamp)
        records.headers.append(headers)
        records.callbacks.append(callback)
        records.born.append(born)
        records.size += size
        return count == 0 or records.size >= self.batch_size or count + 1 >= self.batch_messages

    def oldest(self) -> Records:
        """The portion whose turn it is, which may be empty."""
        return self.full[0] if self.full else self.open

    def is_full(self) -> bool:
        """Whether the next batch need not wait for more."""
        return bool(self.full) or self.open.size >= self.batch_size or len(self.open) >= self.batch_messages

    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self.open.values and not self.full and self.retry is None and self.under_way is None

    def close(self) -> Batch:
        """The next records as a batch with a sequence: a portion, or what still fits of one that was filled before."""
        records = self._pop()
        if records.size > self.batch_size and len(records) > 1:
            rest, records = records, records.take(self._fitting(records))
            self.full.appendleft(rest)
        batch = Batch(self, records, self.epoch, self.sequence)
        self.sequence += len(records)
        return batch

    def take_until(self, born: float) -> list[Records]:
        """Remove what was produced at `born` or before."""
        taken = []
        while self.full and self.full[0].born[-1] <= born:
            taken.append(self._pop())
        if count := bisect_right(self.oldest().born, born):
            taken.append(self._pop() if count == len(self.oldest()) else self.oldest().take(count))
        return taken

    def take_all(self) -> list[Records]:
        """Remove everything that is not under way."""
        taken = [*self.full, self.open] if self.open.values else list(self.full)
        self.full.clear()
        self.open = Records()
        return taken

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
        records = batch.records
        if (
            not self.full
            and records.size + self.open.size <= self.batch_size
            and len(records) + len(self.open) <= self.batch_messages
        ):
            records.extend(self.open)
            self.open = records
        else:
            self.full.appendleft(records)

    def _pop(self) -> Records:
        if self.full:
            return self.full.popleft()
        records, self.open = self.open, Records()
        return records

    def _fitting(self, records: Records) -> int:
        """How many records from the first on are not too large together; at least one."""
        sizes = accumulate(map(record_size, records.values, records.keys, records.headers))
        return max(1, bisect_right(list(sizes), self.batch_size))
