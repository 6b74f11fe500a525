"""The loop that brings a topic into its history: consume, write in one transaction, then store the offsets."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from streamadapter import Consumer
from streamstore.consuming import POLL_SECONDS, place, records, store
from streamstore.database import Database, persistently
from streamstore.streaming.history import History, Record, write

if TYPE_CHECKING:
    from streamadapter import Message
    from streamstore.settings import Settings

log = logging.getLogger(__name__)

COMMIT_MS = 200  # how much is delivered again, at most, after a crash
BATCH_SECONDS = 0.1  # between two transactions under load; the first record after a pause does not wait
BATCH_RECORDS = 10_000  # a transaction, at most


def write_history(history: History, topic: str, database: Database, settings: Settings, stop: Event) -> None:
    """Write the topic's records into the database until `stop` is set, then commit and leave the group.

    Instances share the partitions. Raises StoppedError if it had to stop while the database could not be used,
    KafkaException for a fatal error.
    """
    consumer = Consumer(
        {
            "group.id": history.service,
            "client.id": settings.client_id(history.service),
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,  # stored below, when the records are in the database
            "auto.commit.interval.ms": COMMIT_MS,
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": settings.session_timeout_ms // 4,
        }
    )
    try:
        consumer.subscribe([topic])
        log.info("%s writes the history of %s", history.service, topic)
        due = 0.0
        while not stop.is_set():
            messages = _next_batch(consumer, due)
            if messages:
                due = time.monotonic() + BATCH_SECONDS
                writing = partial(_write_all, database, history, decoded(history, messages))
                persistently(writing, history.service, stop)
                store(consumer, messages)
    finally:
        consumer.close()
    log.info("%s has left its group", history.service)


def _next_batch(consumer: Consumer, due: float) -> list[Message]:
    """The records until `due`, or what is there if that is past; waits for the first."""
    first = consumer.poll(POLL_SECONDS)
    if first is None:
        return []
    return records([first, *consumer.consume(BATCH_RECORDS - 1, max(0.0, due - time.monotonic()))])


def coordinates(message: Message) -> tuple[int, int]:
    """Partition and offset of a record that is in the log."""
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise AssertionError("a record that was consumed or acknowledged has a place")
    return partition, offset


def decoded(history: History, messages: Sequence[Message]) -> list[Record]:
    """The messages' records; foreign ones are logged and left out."""
    found = []
    decode = history.decode
    for message in messages:
        try:
            key, values = decode(message.value() or b"")
        except (ValueError, RecursionError) as problem:  # nesting without end is bad input, not our failure
            # It stays in the log where it is; stopping here would stop the service for one foreign record.
            log.error("%s: skipped %s: %s", history.service, place(message), problem)
            continue
        found.append(Record(*coordinates(message), message.timestamp()[1], key, values))
    return found


def _write_all(database: Database, history: History, fresh: Sequence[Record]) -> None:
    with database.write() as connection:
        write(connection, history, fresh)
