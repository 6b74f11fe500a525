"""Assignments by hand: what is read, from where, and which changes are refused."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import KafkaError, TopicPartition
from streamadapter.testing.contract.lab import code_of, values
from streamadapter.testing.contract.offsets import (
    BEGINNING,
    END,
    NONE,
    STORED,
    TAIL,
    by_partition,
    offsets,
    parts,
    reader,
    taken,
    ten,
)

if TYPE_CHECKING:
    from streamadapter.testing.contract.lab import Lab


def test_an_assigned_partition_is_read_without_a_group(lab: Lab) -> None:
    topic = ten(lab, 2)
    consumer = lab.consumer(lab.group())

    consumer.assign(parts(topic, 1))

    assert values(lab.take(consumer, 10)) == [f"1:{i}".encode() for i in range(10)]
    assert not consumer.memberid()
    lab.silence(consumer)


def test_assign_replaces_and_begins_anew(lab: Lab) -> None:
    topic = ten(lab, 3)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    consumer.assign(parts(topic, 2, 0))
    assert offsets(consumer.assignment()) == [(0, STORED), (2, STORED)]
    assert by_partition(lab, consumer, 20) == {0: [*range(10)], 2: [*range(10)]}

    consumer.assign(parts(topic, 0, 1))

    assert offsets(consumer.assignment()) == [(0, STORED), (1, STORED)]
    assert by_partition(lab, consumer, 20) == {0: [*range(10)], 1: [*range(10)]}
    lab.silence(consumer)


def test_after_unassign_nothing_comes(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)
    lab.take(consumer, 3)

    consumer.unassign()
    consumer.unassign()

    assert consumer.assignment() == []
    lab.silence(consumer)
    consumer.assign([])
    assert consumer.assignment() == []


def test_incremental_changes_touch_only_what_they_name(lab: Lab) -> None:
    topic = ten(lab, 3)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    consumer.incremental_assign(parts(topic, 0))
    assert taken(lab, consumer, 4) == [0, 1, 2, 3]

    consumer.incremental_assign(parts(topic, 2))
    consumer.incremental_assign([])
    consumer.incremental_unassign([])

    assert offsets(consumer.assignment()) == [(0, STORED), (2, STORED)]
    assert by_partition(lab, consumer, 16) == {0: [4, 5, 6, 7, 8, 9], 2: [*range(10)]}
    consumer.incremental_unassign(parts(topic, 0))
    lab.produce(topic, "not read", partition=0)
    lab.produce(topic, "read", partition=2)
    assert values(lab.take(consumer, 1)) == [b"read"]
    lab.silence(consumer)


def test_wrong_incremental_changes_are_refused_and_change_nothing(lab: Lab) -> None:
    topic = ten(lab, 3)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    consumer.incremental_assign(parts(topic, 0))

    for wrong in (parts(topic, 0), parts(topic, 1, 0)):
        assert code_of(partial(consumer.incremental_assign, wrong)) == KafkaError._CONFLICT
    assert code_of(lambda: consumer.incremental_assign(parts(topic, 2, 2))) == KafkaError._INVALID_ARG
    for wrong in (parts(topic, 1), parts(topic, 0, 1), parts(topic, 0, 0)):
        assert code_of(partial(consumer.incremental_unassign, wrong)) == KafkaError._INVALID_ARG

    assert offsets(consumer.assignment()) == [(0, STORED)]
    assert taken(lab, consumer, 10) == [*range(10)]


def test_a_wrong_assignment_is_refused_and_the_old_one_is_gone(lab: Lab) -> None:
    topic = ten(lab, 2)
    consumer = reader(lab, topic)

    assert code_of(lambda: consumer.assign(parts(topic, 1, 1))) == KafkaError._INVALID_ARG

    assert consumer.assignment() == []
    for offset in (-3, -5, -999, -1002, -1999):
        assert (
            code_of(partial(consumer.assign, [TopicPartition(topic, 0, offset)])) == KafkaError._INVALID_ARG
        )


def test_arguments_of_assignments_are_checked(lab: Lab) -> None:
    consumer: Any = lab.consumer(lab.group())

    for method in (
        consumer.assign,
        consumer.incremental_assign,
        consumer.incremental_unassign,
        consumer.pause,
        consumer.resume,
        consumer.position,
    ):
        for wrong in (3, [3]):
            with pytest.raises(TypeError):
                method(wrong)
    with pytest.raises(TypeError):
        consumer.seek(3)


def test_the_assignment_shows_what_assign_was_told(lab: Lab) -> None:
    topic = ten(lab, 3)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    told = [
        TopicPartition(topic, 0, 4),
        TopicPartition(topic, 1, BEGINNING),
        TopicPartition(topic, 2, TAIL - 1),
    ]

    consumer.assign(told)

    shown = [(0, 4), (1, BEGINNING), (2, TAIL - 1)]
    assert offsets(consumer.assignment()) == shown
    assert by_partition(lab, consumer, 17) == {0: [*range(4, 10)], 1: [*range(10)], 2: [9]}
    consumer.seek(TopicPartition(topic, 0, 8))
    assert taken(lab, consumer, 2) == [8, 9]
    assert offsets(consumer.assignment()) == shown


@pytest.mark.parametrize(
    ("start", "first"),
    [(0, 0), (3, 3), (BEGINNING, 0), (STORED, 5), (NONE, 5), (TAIL - 1, 9), (TAIL - 10, 0), (TAIL - 11, 0)],
    ids=["0", "3", "beginning", "stored", "none", "tail 1", "tail 10", "tail 11"],
)
def test_an_assignment_may_say_where_to_begin(lab: Lab, start: int, first: int) -> None:
    topic = ten(lab)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False, auto_offset_reset="latest")
    consumer.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)

    consumer.assign([TopicPartition(topic, 0, start)])

    assert taken(lab, consumer, 10 - first) == [*range(first, 10)]


@pytest.mark.parametrize("start", [END, TAIL, 10], ids=["end", "tail 0", "10"])
def test_an_assignment_at_the_end_reads_what_comes_later(lab: Lab, start: int) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic, start, enable_partition_eof=True)
    assert lab.event(consumer).offset() == 10

    lab.produce(topic, "new")

    assert taken(lab, consumer, 1) == [10]


def test_a_subscriber_may_narrow_its_assignment_and_place_it(lab: Lab) -> None:
    topic, other = ten(lab), ten(lab)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    consumer.subscribe([topic])
    assert taken(lab, consumer, 10) == [*range(10)]

    consumer.unassign()
    assert consumer.assignment() == []
    consumer.assign([TopicPartition(topic, 0, 7)])
    assert taken(lab, consumer, 3) == [7, 8, 9]

    if lab.features.foreign_assign:
        consumer.assign(parts(other, 0))
        assert values(lab.take(consumer, 10)) == [f"0:{i}".encode() for i in range(10)]
    else:
        assert code_of(lambda: consumer.assign(parts(other, 0))) == KafkaError._STATE


def test_from_an_assignment_to_a_subscription_and_back(lab: Lab) -> None:
    topic = ten(lab, 2)
    consumer = lab.consumer(lab.group())
    consumer.assign(parts(topic, 0))
    lab.take(consumer, 10)

    consumer.subscribe([topic])
    assert by_partition(lab, consumer, 10) == {1: [*range(10)]}  # 0 goes on at what was committed
    assert [partition for partition, _ in offsets(consumer.assignment())] == [0, 1]

    consumer.unsubscribe()
    lab.until(lambda: not consumer.assignment(), consumer)
    consumer.assign([TopicPartition(topic, 1, 8)])
    assert taken(lab, consumer, 2) == [8, 9]


@pytest.mark.parametrize("missing", ["topic", "partition"])
def test_an_assigned_partition_that_does_not_exist_holds_nothing_up(lab: Lab, missing: str) -> None:
    topic = ten(lab)
    unknown = TopicPartition(f"{topic}-not", 0) if missing == "topic" else TopicPartition(topic, 7)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)

    consumer.assign([unknown, TopicPartition(topic, 0)])

    if lab.features.missing_events:
        event = lab.event(consumer)
        expected = KafkaError.UNKNOWN_TOPIC_OR_PART if missing == "topic" else KafkaError._UNKNOWN_PARTITION
        assert event.error() is not None
        assert event.error().code() == expected  # type: ignore[union-attr]  # the line above
        assert (event.topic(), event.partition()) == (unknown.topic, unknown.partition)
    assert taken(lab, consumer, 10) == [*range(10)]
    lab.silence(consumer)
