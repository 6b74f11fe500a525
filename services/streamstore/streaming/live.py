"""Every instance's look at a topic as it grows: all partitions, no group, from where the database's history ends.

What is in the database is read from there; what is not is read from the log and kept in memory, however far the
history's writer is behind, and whichever instance it belongs to. The start is the position that the writer keeps in
the same transaction as the records, not the group's committed offset: that lags behind it, and does not say which
log it belongs to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from threading import Event, Lock
from typing import TYPE_CHECKING, Protocol

from streamadapter import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from streamstore.consuming import next_batch, records
from streamstore.database import TRANSIENT, Database, persistently
from streamstore.streaming.history import (
    BEGINNING,
    History,
    Place,
    Position,
    Row,
    read_latest,
    read_positions,
)
from streamstore.streaming.writer import decoded

if TYPE_CHECKING:
    from streamadapter import Message
    from streamstore.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
BATCH_RECORDS = 500
CHECK_SECONDS = 0.5  # between two looks at how far the history is
RESTART_SECONDS = 0.5  # after the log was made anew: for the history's writer to notice it too
METADATA_SECONDS = 10.0


class View(Protocol):
    """What is kept in memory. Called by the reader's thread only."""

    def loaded(self, latest: Sequence[Row]) -> None:
        """The newest row of each key in the database; reading begins after the rows it has, or before."""
        ...

    def add(self, rows: Sequence[Row]) -> None:
        """Rows that were read, those of a partition in order."""
        ...

    def stored(self, positions: Mapping[int, Position]) -> None:
        """The database has everything before these."""
        ...

    def is_full(self) -> bool:
        """Whether reading is to wait until more is stored."""
        ...

    def restarted(self) -> None:
        """The log was made anew: reading begins again with `loaded`."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class Latest:
    """The newest row of each key. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rows: dict[str, Row] = {}

    def get(self, key: str) -> Row | None:
        """A key's newest row."""
        return self._rows.get(key)

    def all(self) -> list[Row]:
        """By key."""
        with self._lock:
            rows = list(self._rows.values())
        return sorted(rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Take over those that are newer than what is there, by their place and not by a clock."""
        with self._lock:
            for row in rows:
                known = self._rows.get(row.key)
                if known is None or known.place < row.place:
                    self._rows[row.key] = row

    def loaded(self, latest: Sequence[Row]) -> None:
        """See View."""
        self.add(latest)

    def stored(self, positions: Mapping[int, Position]) -> None:
        """Nothing to do: it stays the newest."""

    def is_full(self) -> bool:
        """Never: it grows with the keys, not with the rows."""
        return False

    def restarted(self) -> None:
        """Nothing to do: rows of the new log are newer."""

    def close(self) -> None:
        """Nothing to do."""


class _LogMadeAnewError(Exception):
    """Offsets are used again; the history's writer says as which log."""


def follow(
    history: History,
    topic: str,
    database: Database,
    view: View,
    settings: Settings,
    caught_up: Event,
    stop: Event,
) -> None:
    """Keep the view up to date until `stop` is set; set `caught_up` when it first has seen the end of the log.

    The view is closed when reading ends.

    Raises StoppedError if it had to stop while the database could not be used, KafkaException for a fatal error.
    """
    reader = _Reader(history, topic, database, view, settings, stop)
    try:
        while not stop.is_set():
            try:
                reader.run(caught_up)
            except _LogMadeAnewError as reason:
                log.warning("%s: %s; reading again from where its history ends", history.service, reason)
                view.restarted()
                stop.wait(RESTART_SECONDS)
    finally:
        view.close()


class _Reader:
    def __init__(
        self, history: History, topic: str, database: Database, view: View, settings: Settings, stop: Event
    ) -> None:
        self._history = history
        self._topic = topic
        self._database = database
        self._view = view
        self._stop = stop
        self._properties = {
            "group.id": f"{history.service}-live",  # required, and not used: it neither joins nor commits
            "client.id": f"{settings.client_id(history.service)}-live",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
        self._positions: dict[int, Position] = {}  # of the next record
        self._behind: set[int] = set()  # partitions whose end was not seen yet

    def run(self, caught_up: Event) -> None:
        """Until `stop` is set. Raises _LogMadeAnewError."""
        what = f"{self._history.service}: its live view"
        self._positions = persistently(self._load, what, self._stop)
        with Consumer(self._properties) as consumer:
            self._behind = persistently(partial(self._partitions, consumer), what, self._stop, _is_passing)
            consumer.assign([TopicPartition(self._topic, p, self._start(p)) for p in self._behind])
            check_at = 0.0
            while not self._stop.is_set():
                if time.monotonic() >= check_at:
                    self._check()
                    check_at = time.monotonic() + CHECK_SECONDS
                if self._view.is_full():
                    self._stop.wait(POLL_SECONDS)
                    continue
                self._take(next_batch(consumer, BATCH_RECORDS))
                if not self._behind:
                    caught_up.set()

    def _load(self) -> dict[int, Position]:
        """Positions first: rows that are added meanwhile are then read twice, and not missed."""
        with self._database.read() as connection:
            positions = read_positions(connection, self._history)
            self._view.loaded(read_latest(connection, self._history))
        return positions

    def _partitions(self, consumer: Consumer) -> set[int]:
        found = set(consumer.list_topics(self._topic, METADATA_SECONDS).topics[self._topic].partitions)
        if not found:
            raise _LogMadeAnewError("the topic does not exist just now")
        return found

    def _start(self, partition: int) -> int:
        position = self._positions.get(partition, BEGINNING)
        return position.offset or OFFSET_BEGINNING

    def _check(self) -> None:
        """How far the history is, and whether it is still that of the log being read."""
        try:
            with self._database.read() as connection:
                stored = read_positions(connection, self._history)
        except TRANSIENT as error:
            log.warning("%s: its history cannot be read: %s", self._history.service, error)
            return
        for partition, position in stored.items():
            if position.log != self._positions.get(partition, BEGINNING).log:
                raise _LogMadeAnewError(f"partition {partition} has log {position.log}")
        self._view.stored(stored)

    def _take(self, messages: Sequence[Message]) -> None:
        rows = []
        for record in decoded(self._history, records(m for m in messages if not self._is_end(m))):
            current, expected = self._positions.get(record.partition, BEGINNING)
            if record.offset < expected:
                raise _LogMadeAnewError(
                    f"partition {record.partition} has offset {record.offset} again, after {expected - 1}"
                )
            self._positions[record.partition] = Position(current, record.offset + 1)
            rows.append(
                Row(
                    record.key,
                    Place(current, record.offset, record.partition),
                    record.published_at,
                    record.values,
                )
            )
        self._view.add(rows)

    def _is_end(self, message: Message) -> bool:
        error = message.error()
        if error is None or error.code() != KafkaError._PARTITION_EOF:
            return False
        self._behind.discard(message.partition())
        return True


def _is_passing(error: Exception) -> bool:
    """The topic was there when the service started, so the server is away, or the topic is."""
    return isinstance(error, KafkaException) and not error.args[0].fatal()
