"""What was fetched and not yet handed to the application, in order. Guarded by the consumer's lock.

Batches stay decoded columns until the application takes records from them; only then are messages made. A chunk
whose partition has moved on (seek, pause, unassign: `Partition.version`) is dropped when its turn comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import repeat
from typing import TypeAlias

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from streamadapter.backend import StoredBatch
from streamadapter.codec import RecordBatch
from streamadapter.engine.partition import Partition
from streamadapter.message import Message


class Chunk:
    """Records of one batch, from the first that was asked for."""

    __slots__ = (
        "_base",
        "_batch",
        "_epoch",
        "_messages",
        "_next",
        "_stop",
        "_stored",
        "count",
        "log_id",
        "partition",
        "size",
        "version",
    )

    def __init__(
        self, partition: Partition, stored: StoredBatch, batch: RecordBatch, first_offset: int
    ) -> None:
        self.partition = partition
        self.version = partition.version
        self.log_id = partition.log_id
        self.size = len(stored.payload or b"")
        self._stored = stored
        self._batch: RecordBatch | None = batch
        self._messages: list[Message] = []
        self._base = stored.base_offset
        self._epoch = stored.leader_epoch
        self._next = max(0, first_offset - stored.base_offset)
        self._stop = stored.count
        self.count = self._stop - self._next

    def __len__(self) -> int:
        return self._stop - self._next

    def take(self, limit: int, store_offsets: bool) -> list[Message]:
        """The next messages, at most `limit`, and move the partition's position behind them.

        store_offsets: mark them as ready to be committed.
        """
        if self._batch is not None:
            self._messages, self._batch = self._make(self._batch), None
        start = self._next
        self._next = stop = min(start + limit, self._stop)
        partition = self.partition
        partition.position = self._base + stop
        partition.position_epoch = self._epoch
        if store_offsets:
            # The offset last: the loop may read all of these for a commit without the lock being held here, and a
            # newer epoch beside an older offset is harmless.
            partition.stored_log_id = self.log_id
            partition.stored_epoch = partition.position_epoch
            partition.stored = partition.position
            partition.stored_metadata = None
        return self._messages[start:stop]

    def next(self, store_offsets: bool) -> Message | None:
        """The next message, as `take` gives it; None if there is none left, or all of it is void."""
        if self.version != self.partition.version or self._next >= self._stop:
            return None
        return self.take(1, store_offsets)[0]

    def _make(self, batch: RecordBatch) -> list[Message]:
        """All of the batch at once: the loop runs in C, and poll() finds its messages made."""
        stored = self._stored
        timestamps: Iterable[int | tuple[int, int]] = batch.timestamps
        if batch.timestamp_type == TIMESTAMP_LOG_APPEND_TIME:
            timestamps = repeat((TIMESTAMP_LOG_APPEND_TIME, stored.append_time))
        return list(
            map(
                Message,
                repeat(self.partition.tp[0]),
                repeat(self.partition.tp[1]),
                range(stored.base_offset, stored.base_offset + stored.count),
                batch.keys,
                batch.values,
                batch.headers,
                repeat(None),
                timestamps,
                repeat(None),
                repeat(stored.leader_epoch),
            )
        )


Item: TypeAlias = "Chunk | tuple[Partition | None, int, Message]"
"""Records, or an event (error, end of partition) of a partition at a version, or of none."""


class DeliveryQueue:
    """Chunks and events in the order they are to be handed out.

    messages and bytes count whole chunks: one that is partly taken counts until it is used up.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self.messages = 0
        self.bytes = 0

    def put(self, chunk: Chunk) -> None:
        """Queue records."""
        self._items.append(chunk)
        self.messages += chunk.count
        self.bytes += chunk.size

    @property
    def head(self) -> Chunk | None:
        """The chunk whose turn it is. Its owner may take from it without the lock: it stays the head until used up."""
        item = self._items[0] if self._items else None
        return item if isinstance(item, Chunk) else None

    def put_event(self, message: Message, partition: Partition | None = None) -> None:
        """Queue an event, to be dropped if the partition moves on before its turn."""
        self._items.append((partition, partition.version if partition else 0, message))

    def take(self, limit: int, store_offsets: bool) -> list[Message]:
        """Up to `limit` messages. store_offsets: mark them as ready to be committed."""
        taken: list[Message] = []
        items = self._items
        while items and len(taken) < limit:
            item = items[0]
            if not isinstance(item, Chunk):
                items.popleft()
                partition, version, message = item
                if partition is None or partition.version == version:
                    taken.append(message)
                continue
            partition = item.partition
            if partition.version != item.version:
                self._drop(item)
                continue
            taken += item.take(limit - len(taken), store_offsets)
            if not len(item):
                self._drop(item)
        return taken

    def take_notices(self, limit: int) -> list[Message]:
        """Up to `limit` events of no partition: all that may be handed out by a consumer that is no member."""
        notices = [item for item in self._items if not isinstance(item, Chunk) and item[0] is None][:limit]
        for notice in notices:
            self._items.remove(notice)
        return [message for _, _, message in notices]

    def purge(self) -> None:
        """Drop what is void, so that it does not hold up fetching."""
        for item in [i for i in self._items if isinstance(i, Chunk) and i.partition.version != i.version]:
            self.messages -= item.count
            self.bytes -= item.size
            self._items.remove(item)

    def _drop(self, chunk: Chunk) -> None:
        self._items.popleft()
        self.messages -= chunk.count
        self.bytes -= chunk.size
