"""Searching a partition by time: exact for any order of timestamps, see "Timestamps" in docs/design.md."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError

from streamadapter.codec import CorruptBatch, decode_batch
from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from streamadapter.backend import LogState, LogStore, StoredBatch, TopicInfo

LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3
"""Timestamps that mean something else to a Kafka broker (ListOffsets)."""

SCAN_BATCHES = 100
"""Batches read at a time where the log has to be scanned."""


def offset_for_timestamp(
    store: LogStore, topic: TopicInfo, partition: int, timestamp: int
) -> tuple[int, int] | None:
    """Offset and timestamp of the first record whose timestamp is >= `timestamp` (ms); None if there is none.

    Raises StoreError.
    """
    state = _state(store, topic, partition)
    found = store.search_timestamp(topic, partition, timestamp)
    if found is None:
        return None
    with closing(_scan(store, topic, partition, found, state)) as scan:
        for stamps in scan:
            for offset, stamp in stamps:
                if stamp >= timestamp:
                    return offset, stamp
    return None


def offset_for_query(store: LogStore, topic: TopicInfo, partition: int, timestamp: int) -> int | None:
    """As `offset_for_timestamp`, the offset only, and with the three negative timestamps of Kafka's ListOffsets.

    Raises StoreError.
    """
    if timestamp in (LATEST, EARLIEST):
        state = _state(store, topic, partition)
        return state.end if timestamp == LATEST else state.start
    if timestamp < MAX_TIMESTAMP:
        raise StoreError(KafkaError.UNSUPPORTED_VERSION, f"{timestamp} is no timestamp in ms since 1970")
    if timestamp == MAX_TIMESTAMP:
        found = latest_timestamp(store, topic, partition)
    else:
        found = offset_for_timestamp(store, topic, partition, timestamp)
    return found[0] if found else None


def latest_timestamp(store: LogStore, topic: TopicInfo, partition: int) -> tuple[int, int] | None:
    """Offset and timestamp of the first record that has the largest timestamp; None if the log is empty.

    Raises StoreError.
    """
    state = _state(store, topic, partition)
    found = offset_for_timestamp(store, topic, partition, state.max_timestamp)
    if found is not None or state.start == state.end:
        return found
    # The record with the largest timestamp ever has been deleted, while older ones behind it were not.
    every = (pair for stamps in _scan(store, topic, partition, None, state) for pair in stamps)
    return max(every, key=lambda pair: (pair[1], -pair[0]), default=None)


def _state(store: LogStore, topic: TopicInfo, partition: int) -> LogState:
    (state,) = store.log_states([(topic, partition)])
    if isinstance(state, StoreError):
        raise state
    return state


def _scan(
    store: LogStore, topic: TopicInfo, partition: int, first: StoredBatch | None, state: LogState
) -> Generator[list[tuple[int, int]]]:
    """(offset, timestamp) of the live records, batch by batch: those of `first`, then of all that follow it.

    The first batch nearly always has the answer. It has not when the record that raised the largest timestamp so
    far has been deleted: then the batches behind it must be looked at, one by one.
    """
    position = state.start
    if first is not None:
        yield _live(topic, partition, first, state.start)
        position = first.base_offset + first.count
    reader = store.reader(None, "")
    try:
        while position < state.end:
            batches: Sequence[StoredBatch] = reader.fetch(
                {(topic.name, partition): position}, SCAN_BATCHES, 0
            ).batches.get((topic.name, partition), ())
            if not batches:
                return
            for batch in batches:
                yield _live(topic, partition, batch, state.start)
                position = batch.base_offset + batch.count
    finally:
        reader.close()


def _live(topic: TopicInfo, partition: int, batch: StoredBatch, start: int) -> list[tuple[int, int]]:
    """(offset, timestamp) of a batch's records from the log start on; none of an entry that is not ours."""
    if batch.payload is None:
        return []
    try:
        records = decode_batch(batch.payload, batch.count)
    except CorruptBatch as e:
        where = f"{topic.name} [{partition}] at offset {batch.base_offset}"
        raise StoreError(KafkaError._BAD_MSG, f"{where}: {e}") from e
    stamps: Sequence[int] = records.timestamps
    if records.timestamp_type == TIMESTAMP_LOG_APPEND_TIME:
        stamps = [batch.append_time] * batch.count
    return [pair for pair in enumerate(stamps, batch.base_offset) if pair[0] >= start]
