from __future__ import annotations

from itertools import count

import pytest
from confluent_kafka import OFFSET_INVALID, TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME
from hypothesis import given
from hypothesis import strategies as st

from streamadapter.backend import StoredBatch
from streamadapter.codec import RecordBatch
from streamadapter.engine.delivery import Chunk, DeliveryQueue
from streamadapter.engine.partition import Partition
from streamadapter.message import Message


def batch(size: int, timestamp_type: int = TIMESTAMP_CREATE_TIME) -> RecordBatch:
    values = [str(i).encode() for i in range(size)]
    return RecordBatch(values, [None] * size, list(range(size)), [None] * size, timestamp_type, 1, 0, 0)


def chunk(partition: Partition, base: int, size: int, first: int | None = None, epoch: int = 7) -> Chunk:
    stored = StoredBatch(base, size, 1234, epoch, b"p" * 10 * size)
    return Chunk(partition, stored, batch(size), base if first is None else first)


def partition(index: int = 0) -> Partition:
    made = Partition(("t", index), 0)
    made.log_id = "log"
    return made


def offsets(messages: list[Message]) -> list[int | None]:
    return [m.offset() for m in messages]


# -- chunks


def test_a_chunk_begins_at_the_record_that_was_asked_for() -> None:
    part = partition()
    middle = chunk(part, base=10, size=5, first=12)

    assert len(middle) == 3
    assert offsets(middle.take(100, store_offsets=False)) == [12, 13, 14]
    assert len(middle) == 0


def test_taking_moves_the_position_and_stores_the_offset_if_asked() -> None:
    part = partition()
    whole = chunk(part, base=10, size=5)

    whole.take(2, store_offsets=False)
    assert (part.position, part.position_epoch, part.stored) == (12, 7, OFFSET_INVALID)

    whole.take(1, store_offsets=True)
    assert (part.position, part.stored, part.stored_epoch, part.stored_log_id) == (13, 13, 7, "log")


def test_one_at_a_time_is_the_same_and_ends_with_none() -> None:
    part = partition()
    whole = chunk(part, base=10, size=3, first=11)

    assert [m.offset() for m in (whole.next(True), whole.next(True)) if m] == [11, 12]
    assert (part.position, part.stored) == (13, 13)
    assert whole.next(True) is None


def test_nothing_more_comes_of_a_partition_that_has_moved_on() -> None:
    part = partition()
    whole = chunk(part, base=10, size=3)
    assert whole.next(False)

    part.seek(0)

    assert whole.next(False) is None
    assert part.position == OFFSET_INVALID


def test_what_is_stored_names_the_log_it_was_read_from() -> None:
    part = partition()
    old = chunk(part, base=0, size=1)
    part.log_id = "another log"

    old.take(1, store_offsets=True)

    assert part.stored_log_id == "log"


def test_taking_by_message_forgets_metadata_that_was_stored_by_hand() -> None:
    part = partition()
    part.stored_metadata = "mine"

    chunk(part, base=0, size=1).take(1, store_offsets=True)

    assert part.stored_metadata is None


@pytest.mark.parametrize(
    ("kind", "stamps"),
    [
        (TIMESTAMP_CREATE_TIME, [(TIMESTAMP_CREATE_TIME, 0), (TIMESTAMP_CREATE_TIME, 1)]),
        (TIMESTAMP_LOG_APPEND_TIME, [(TIMESTAMP_LOG_APPEND_TIME, 1234)] * 2),
    ],
)
def test_timestamps_are_the_records_or_the_logs(kind: int, stamps: list[tuple[int, int]]) -> None:
    made = Chunk(partition(), StoredBatch(0, 2, 1234, 7, b""), batch(2, kind), 0)

    messages = made.take(2, store_offsets=False)

    assert [m.timestamp() for m in messages] == stamps
    assert [m.leader_epoch() for m in messages] == [7, 7]


# -- the queue


def test_events_and_records_come_in_the_order_they_were_queued() -> None:
    part, queue = partition(), DeliveryQueue()
    queue.put(chunk(part, 0, 2))
    queue.put_event(Message("end", 0, 2), part)
    queue.put(chunk(part, 2, 1))

    taken = queue.take(10, store_offsets=True)

    assert [m.topic() for m in taken] == ["t", "t", "end", "t"]
    assert queue.take(10, store_offsets=True) == []


def test_what_was_fetched_before_a_seek_is_dropped() -> None:
    part, other, queue = partition(), partition(1), DeliveryQueue()
    queue.put(chunk(part, 0, 3))
    queue.put_event(Message("end", 0, 3), part)
    queue.put(chunk(other, 0, 1))

    part.seek(1)
    queue.put(chunk(part, 1, 1))

    assert [(m.partition(), m.offset()) for m in queue.take(10, store_offsets=True)] == [(1, 0), (0, 1)]


def test_without_membership_only_events_of_no_partition_come() -> None:
    part, queue = partition(), DeliveryQueue()
    queue.put(chunk(part, 0, 3))
    queue.put_event(Message("end"), part)
    queue.put_event(Message("fatal"))
    queue.put_event(Message("more"))

    assert [m.topic() for m in queue.take_notices(1)] == ["fatal"]
    assert [m.topic() for m in queue.take_notices(9)] == ["more"]
    assert len(queue.take(9, store_offsets=False)) == 4


def test_the_head_is_the_chunk_whose_turn_it_is() -> None:
    part, queue = partition(), DeliveryQueue()
    heads = [queue.head]
    queue.put(first := chunk(part, 0, 2))
    queue.put_event(Message("end"), part)
    heads.append(queue.head)
    queue.take(2, store_offsets=False)
    heads.append(queue.head)

    assert heads == [None, first, None]  # an event is not to be taken past the queue


def test_purge_frees_what_is_void_at_once() -> None:
    part, other, queue = partition(), partition(1), DeliveryQueue()
    queue.put(chunk(part, 0, 3))
    queue.put(chunk(other, 0, 2))

    part.pause()
    queue.purge()

    assert (queue.messages, queue.bytes) == (2, 20)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 2), st.integers(1, 4)),
        st.tuples(st.just("event"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("move on"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("take"), st.integers(0, 6), st.just(0)),
        st.tuples(st.just("purge"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(steps)
def test_nothing_is_lost_doubled_reordered_or_kept_too_long(plan: list[tuple[str, int, int]]) -> None:
    parts, queue, numbers = [partition(i) for i in range(3)], DeliveryQueue(), count()
    ends = [0, 0, 0]
    model: list[tuple[int, int, int]] = []  # partition, version, offset or number of an event
    for step, which, size in plan:
        if step == "put":
            queue.put(chunk(parts[which], ends[which], size))
            model += [(which, parts[which].version, ends[which] + i) for i in range(size)]
            ends[which] += size
        elif step == "event":
            number = 1000 + next(numbers)
            queue.put_event(Message("event", which, number), parts[which])
            model.append((which, parts[which].version, number))
        elif step == "move on":
            parts[which].seek(ends[which])
        elif step == "purge":
            queue.purge()
        else:
            valid = [(p, o) for p, version, o in model if parts[p].version == version]
            taken = [(m.partition(), m.offset()) for m in queue.take(which, store_offsets=True)]
            assert taken == valid[:which]
            for p, o in taken:
                model.remove((p, parts[p].version, o))  # type: ignore[index, arg-type]  # both are set
    queue.take(1000, store_offsets=True)
    assert (queue.messages, queue.bytes) == (0, 0)
