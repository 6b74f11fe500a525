"""Where a consumer reads: positions, seeks, and the end of a partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import KafkaError, TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, code_of
from streamadapter.testing.contract.offsets import (
    BEGINNING,
    END,
    NONE,
    STORED,
    TAIL,
    parts,
    position,
    reader,
    taken,
    ten,
)

if TYPE_CHECKING:
    from streamadapter import Consumer
    from streamadapter.testing.contract.lab import Lab


# -- position


def test_the_position_is_the_offset_after_the_last_message(lab: Lab) -> None:
    topic = ten(lab)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    asked = [TopicPartition(topic, 7), TopicPartition(f"{topic}-not", 0), TopicPartition(topic, 0)]
    answer = consumer.position(asked)
    assert [(tp.topic, tp.partition, tp.offset, tp.error) for tp in answer] == [
        (topic, 7, NONE, None),
        (f"{topic}-not", 0, NONE, None),
        (topic, 0, NONE, None),
    ]
    assert consumer.position([]) == []

    consumer.assign([TopicPartition(topic, 0, 2)])
    assert position(consumer, topic) == NONE
    [message] = lab.take(consumer, 1)
    [tp] = consumer.position(parts(topic, 0))
    assert (tp.offset, tp.leader_epoch) == (3, message.leader_epoch())
    lab.take(consumer, 5)
    assert position(consumer, topic) == 8

    consumer.assign(parts(topic, 0))
    lab.until(lambda: position(consumer, topic) == NONE)  # librdkafka forgets it a little later


def test_after_a_seek_the_position_is_unknown_until_the_next_message(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)
    lab.take(consumer, 6)

    consumer.seek(TopicPartition(topic, 0, 2))

    assert position(consumer, topic) == NONE
    assert taken(lab, consumer, 1) == [2]
    assert position(consumer, topic) == 3


# -- seek


def test_seeks_go_forward_back_and_to_logical_offsets(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)
    lab.take(consumer, 1)

    for target, first in (
        (5, 5),
        (0, 0),
        (9, 9),
        (3, 3),
        (3, 3),
        (BEGINNING, 0),
        (TAIL - 3, 7),
        (TAIL - 50, 0),
        (8, 8),
    ):
        consumer.seek(TopicPartition(topic, 0, target))
        assert taken(lab, consumer, 1) == [first]


@pytest.mark.parametrize("target", [END, TAIL, 10], ids=["end", "tail 0", "10"])
def test_a_seek_to_the_end_skips_what_is_there(lab: Lab, target: int) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic, enable_partition_eof=True)
    lab.take(consumer, 2)

    consumer.seek(TopicPartition(topic, 0, target))

    assert lab.event(consumer).offset() == 10
    lab.produce(topic, "new")
    assert taken(lab, consumer, 1) == [10]


def test_a_seek_beyond_the_end_is_reset(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)
    lab.take(consumer, 2)

    consumer.seek(TopicPartition(topic, 0, 100))

    assert taken(lab, consumer, 3) == [0, 1, 2]


def test_a_seek_voids_what_was_prefetched(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, *map(str, range(1000)))
    consumer = reader(lab, topic)

    for target in (0, 500, 10, 900, 20, 20, 990):
        lab.take(consumer, 1)
        consumer.seek(TopicPartition(topic, 0, target))
        consumed = consumer.consume(3, PATIENCE_S)
        assert [message.offset() for message in consumed] == [target, target + 1, target + 2]


def test_a_seek_while_paused_takes_effect_on_resume(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)
    lab.take(consumer, 2)
    consumer.pause(parts(topic, 0))

    consumer.seek(TopicPartition(topic, 0, 6))

    lab.silence(consumer)
    assert position(consumer, topic) == NONE
    consumer.resume(parts(topic, 0))
    assert taken(lab, consumer, 4) == [6, 7, 8, 9]


def test_a_seek_inside_on_commit_takes_effect(lab: Lab) -> None:
    topic = ten(lab)
    done: list[bool] = []

    def on_commit(*_: Any) -> None:
        consumer.seek(TopicPartition(topic, 0, 4))
        done.append(True)

    consumer = reader(lab, topic, on_commit=on_commit)
    lab.take(consumer, 10)
    consumer.commit()

    before = lab.until(lambda: done, consumer)

    assert [*(message.offset() for message in before), *taken(lab, consumer, 6 - len(before))] == [
        *range(4, 10)
    ]


def test_what_is_not_assigned_cannot_be_sought(lab: Lab) -> None:
    topic = ten(lab, 2)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)

    def seek(name: str, partition: int) -> int:
        return code_of(lambda: consumer.seek(TopicPartition(name, partition, 0)))

    assert seek(topic, 0) == KafkaError._UNKNOWN_PARTITION  # of a topic it has never had to do with
    consumer.assign(parts(topic, 0))
    lab.take(consumer, 1)
    assert seek(topic, 1) == KafkaError._STATE
    assert seek(topic, 9) == KafkaError._STATE
    assert seek(f"{topic}-not", 0) == KafkaError._UNKNOWN_PARTITION
    consumer.unassign()
    assert seek(topic, 0) == KafkaError._STATE


def test_a_seek_to_the_stored_offset_is_refused(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)
    lab.take(consumer, 2)

    assert code_of(lambda: consumer.seek(TopicPartition(topic, 0, STORED))) == KafkaError._INVALID_ARG


def test_a_seek_before_fetching_has_begun(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)

    if lab.features.early_seek:
        consumer.seek(TopicPartition(topic, 0, 5))
        assert taken(lab, consumer, 1) == [5]
    else:
        assert code_of(lambda: consumer.seek(TopicPartition(topic, 0, 5))) == KafkaError._STATE
        assert taken(lab, consumer, 1) == [0]


# -- the end of a partition


def ends(lab: Lab, consumer: Consumer, count: int) -> list[tuple[int | None, int | None, int | None]]:
    """(partition, offset, error code) of the next messages."""
    found = consumer.consume(count, PATIENCE_S)
    assert len(found) == count
    lab.silence(consumer)
    return [(m.partition(), m.offset(), e.code() if (e := m.error()) else None) for m in found]


def test_the_end_of_a_partition_is_an_event_each_time_it_is_reached(lab: Lab) -> None:
    topic, eof = lab.topic(), KafkaError._PARTITION_EOF
    lab.produce(topic, *"abc")
    consumer = reader(lab, topic, enable_partition_eof=True)

    assert ends(lab, consumer, 4) == [(0, 0, None), (0, 1, None), (0, 2, None), (0, 3, eof)]
    lab.produce(topic, "d")
    assert ends(lab, consumer, 2) == [(0, 3, None), (0, 4, eof)]
    assert position(consumer, topic) == 4
    consumer.seek(TopicPartition(topic, 0, 3))
    assert ends(lab, consumer, 2) == [(0, 3, None), (0, 4, eof)]
    for target in (END, 4):
        consumer.seek(TopicPartition(topic, 0, target))
        assert ends(lab, consumer, 1) == [(0, 4, eof)]
        assert position(consumer, topic) == NONE
    consumer.pause(parts(topic, 0))
    consumer.resume(parts(topic, 0))
    assert ends(lab, consumer, 1) == [(0, 4, eof)]
    lab.silence(consumer, 1.2)  # more than one fetch.wait.max.ms


def test_the_end_of_an_empty_partition_is_an_event_too(lab: Lab) -> None:
    topic = lab.topic(2)
    consumer = lab.consumer(lab.group(), enable_partition_eof=True)
    consumer.subscribe([topic])

    assert sorted(ends(lab, consumer, 2)) == [
        (0, 0, KafkaError._PARTITION_EOF),
        (1, 0, KafkaError._PARTITION_EOF),
    ]


def test_the_event_of_an_end_says_where_and_why(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic, END, enable_partition_eof=True)

    event = lab.event(consumer)

    error = event.error()
    assert error is not None
    assert (error.code(), error.fatal(), error.retriable()) == (KafkaError._PARTITION_EOF, False, False)
    assert (event.topic(), event.partition(), event.offset()) == (topic, 0, 10)
    assert (event.key(), event.headers()) == (None, None)
    assert event.value() == error.str().encode()


def test_without_the_property_an_end_is_no_event(lab: Lab) -> None:
    topic = ten(lab)
    consumer = reader(lab, topic)

    assert taken(lab, consumer, 10) == [*range(10)]

    lab.silence(consumer)
