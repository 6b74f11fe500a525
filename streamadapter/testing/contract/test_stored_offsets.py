"""store_offsets(): what the next commit is to commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import KafkaError, TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, code_of
from streamadapter.testing.contract.offsets import (
    NONE,
    committed,
    manual,
    nothing_to_commit,
    offsets,
    one_of_two,
    ten,
)

if TYPE_CHECKING:
    from streamadapter import Consumer, Message
    from streamadapter.testing.contract.lab import Lab


def storing(lab: Lab, topic: str, **properties: Any) -> tuple[Consumer, list[Message]]:
    """A consumer that stores offsets only when told to, and the five messages that it has taken."""
    consumer = manual(lab, topic, enable_auto_offset_store=False, **properties)
    return consumer, lab.take(consumer, 5)


def test_only_stored_offsets_are_committed(lab: Lab) -> None:
    topic = one_of_two(lab)
    consumer, messages = storing(lab, topic)
    assert nothing_to_commit(consumer)

    consumer.store_offsets(message=messages[1])
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 2), (1, NONE)]

    consumer.store_offsets(offsets=[TopicPartition(topic, 0, 4, metadata="m"), TopicPartition(topic, 1, 7)])
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 4), (1, 7)]
    found = consumer.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], PATIENCE_S)
    assert [(tp.offset, tp.metadata) for tp in found] == [(4, "m"), (7, None)]


def test_a_lower_offset_can_be_stored_but_not_below_what_is_committed(lab: Lab) -> None:
    topic = ten(lab)
    consumer, _ = storing(lab, topic)
    consumer.store_offsets(offsets=[TopicPartition(topic, 0, 4)])
    consumer.store_offsets(offsets=[TopicPartition(topic, 0, 3)])
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 3)]

    consumer.store_offsets(offsets=[TopicPartition(topic, 0, 1)])
    assert nothing_to_commit(consumer)
    assert committed(consumer, topic) == [3]


def test_a_stored_offset_below_a_commit_made_since_is_not_committed(lab: Lab) -> None:
    topic = ten(lab)
    consumer, messages = storing(lab, topic)
    consumer.store_offsets(message=messages[2])

    consumer.commit(message=messages[4], asynchronous=False)

    assert nothing_to_commit(consumer)
    assert committed(consumer, topic) == [5]


def test_stored_offsets_are_committed_automatically_and_by_close(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    consumer = lab.consumer(group, enable_auto_offset_store=False, auto_commit_interval_ms=100)
    consumer.subscribe([topic])
    messages = lab.take(consumer, 5)
    consumer.store_offsets(message=messages[1])
    lab.until(lambda: committed(consumer, topic) == [2])

    consumer.store_offsets(message=messages[2])
    consumer.close()

    assert committed(lab.consumer(group), topic) == [3]


def test_storing_by_hand_needs_the_property(lab: Lab) -> None:
    topic = ten(lab)
    consumer = manual(lab, topic)
    [message] = lab.take(consumer, 1)

    for store in (
        lambda: consumer.store_offsets(message=message),
        lambda: consumer.store_offsets(offsets=[TopicPartition(topic, 0, 1)]),
    ):
        assert code_of(store) == KafkaError._INVALID_ARG


def test_offsets_of_partitions_that_are_not_assigned_are_not_stored(lab: Lab) -> None:
    topic = one_of_two(lab)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False, enable_auto_offset_store=False)

    def store(*partitions: int) -> None:
        consumer.store_offsets(offsets=[TopicPartition(topic, partition, 1) for partition in partitions])

    assert (
        code_of(lambda: store(0)) == KafkaError._UNKNOWN_PARTITION
    )  # of a topic it has never had to do with
    consumer.assign([TopicPartition(topic, 0)])
    lab.take(consumer, 1)
    assert code_of(lambda: store(1)) == KafkaError._STATE
    store(0, 1)  # it is enough if one can be stored
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 1)]
    consumer.unassign()
    assert code_of(lambda: store(0)) == KafkaError._STATE


def test_arguments_of_store_offsets_are_checked(lab: Lab) -> None:
    topic = ten(lab)
    taken, messages = storing(lab, topic)
    consumer: Any = taken

    with pytest.raises(ValueError, match="either"):
        consumer.store_offsets()
    with pytest.raises(ValueError, match="mutually exclusive"):
        consumer.store_offsets(message=messages[0], offsets=[])
    for wrong in ({"message": 3}, {"offsets": 3}, {"offsets": [3]}):
        with pytest.raises(TypeError):
            consumer.store_offsets(**wrong)
    consumer.store_offsets(offsets=[])
    assert nothing_to_commit(consumer)
