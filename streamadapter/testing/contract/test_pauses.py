"""Paused partitions: nothing comes, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, values
from streamadapter.testing.contract.offsets import END, offsets, parts, position, reader, taken, ten

if TYPE_CHECKING:
    from streamadapter.testing.contract.lab import Lab


def test_a_paused_partition_stands_still_and_goes_on_without_loss_or_repetition(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)
    lab.take(consumer, 3)

    for first in (3, 5):  # the second time with prefetched records that were paused before
        consumer.pause(parts(topic, 0))
        consumer.pause(parts(topic, 0))
        lab.silence(consumer)
        assert position(consumer, topic) == first
        consumer.resume(parts(topic, 0))
        assert taken(lab, consumer, 2) == [first, first + 1]
    consumer.pause(parts(topic, 0))
    lab.produce(topic, "new")
    consumer.resume(parts(topic, 0))
    assert taken(lab, consumer, 4) == [7, 8, 9, 10]


def test_many_pauses_lose_and_repeat_nothing(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, *map(str, range(300)))
    consumer = reader(lab, topic)
    got: list[int | None] = []

    while len(got) < 300:
        got += taken(lab, consumer, min(7, 300 - len(got)))
        consumer.pause(parts(topic, 0))
        if len(got) % 2:
            assert consumer.poll(0) is None
        consumer.resume(parts(topic, 0))

    assert got == [*range(300)]
    lab.silence(consumer)


def test_pausing_one_partition_leaves_the_others_alone(lab: Lab) -> None:
    topic = lab.topic(2)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    consumer.assign(parts(topic, 0, 1))
    consumer.pause(parts(topic, 0))
    lab.produce(topic, "a", "b", partition=0)
    lab.produce(topic, "c", "d", partition=1)

    assert values(lab.take(consumer, 2)) == [b"c", b"d"]
    lab.silence(consumer)
    consumer.resume(parts(topic, 0))
    assert values(lab.take(consumer, 2)) == [b"a", b"b"]


def test_a_consumer_paused_at_the_end_misses_nothing(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic, END, enable_partition_eof=True)
    assert lab.event(consumer).offset() == 10

    consumer.pause(parts(topic, 0))
    lab.produce(topic, "while paused")
    consumer.resume(parts(topic, 0))

    while (message := consumer.poll(PATIENCE_S)) is not None and message.error():
        assert message.offset() == 10  # the end is reported once more if it was seen before the record
    assert message is not None
    assert message.value() == b"while paused"


def test_a_pause_outlasts_the_assignment(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)
    lab.take(consumer, 1)
    consumer.pause(parts(topic, 0))

    def again() -> None:
        lab.silence(consumer)
        consumer.resume(parts(topic, 0))
        assert taken(lab, consumer, 1) == [5]
        consumer.pause(parts(topic, 0))

    consumer.assign([TopicPartition(topic, 0, 5)])
    again()
    consumer.unassign()
    consumer.assign([TopicPartition(topic, 0, 5)])
    again()
    consumer.incremental_unassign(parts(topic, 0))
    consumer.incremental_assign([TopicPartition(topic, 0, 5)])
    again()
    consumer.resume(parts(topic, 0))
    consumer.assign([TopicPartition(topic, 0, 6)])
    assert taken(lab, consumer, 1) == [6]
    consumer.unassign()
    consumer.pause(parts(topic, 0))
    consumer.assign([TopicPartition(topic, 0, 5)])
    again()


@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
def test_a_pause_outlasts_a_rebalance(lab: Lab, assignor: str) -> None:
    topic, group = ten(lab, 2), lab.group()
    first, second = (lab.consumer(group, partition_assignment_strategy=assignor) for _ in range(2))
    first.subscribe([topic])
    lab.take(first, 20)
    first.pause(parts(topic, 0, 1))

    second.subscribe([topic])
    lab.until(lambda: len(first.assignment()) == len(second.assignment()) == 1, first, second)
    [(mine, _)] = offsets(first.assignment())
    lab.produce(topic, "new", partition=mine)

    lab.silence(first)
    first.resume(parts(topic, mine))
    assert values(lab.take(first, 1)) == [b"new"]


def test_pausing_what_is_unknown_is_no_error_and_has_no_effect(lab: Lab) -> None:
    topic = ten(lab)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    for change in (consumer.pause, consumer.resume, consumer.pause):
        change([*parts(topic, 0, 5), *parts(f"{topic}-not", 0)])

    consumer.assign(parts(topic, 0))

    assert taken(lab, consumer, 10) == [*range(10)]


def test_a_paused_consumer_serves_callbacks(lab: Lab) -> None:
    topic = ten(lab)
    reports: list[Any] = []
    consumer = reader(lab, topic, on_commit=lambda *report: reports.append(report))
    lab.take(consumer, 1)
    consumer.pause(parts(topic, 0))

    consumer.commit()

    assert lab.until(lambda: reports, consumer) == []
