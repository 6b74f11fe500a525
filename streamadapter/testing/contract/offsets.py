"""What the scenarios about offsets share: a topic with records, consumers of it, and numbers out of TopicPartitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamadapter import KafkaError, TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, code_of

if TYPE_CHECKING:
    from streamadapter import Consumer
    from streamadapter.testing.contract.lab import Lab

BEGINNING, END, STORED, NONE = -2, -1, -1000, -1001
"""OFFSET_BEGINNING, OFFSET_END, OFFSET_STORED and OFFSET_INVALID, as numbers that read better in lists."""
TAIL = -2000
"""librdkafka's OFFSET_TAIL(n) is this minus n: n records before the end."""


def ten(lab: Lab, partitions: int = 1) -> str:
    """A topic with ten records in each partition: "0:0" to "0:9" in the first."""
    topic = lab.topic(partitions)
    for partition in range(partitions):
        lab.produce(topic, *(f"{partition}:{i}" for i in range(10)), partition=partition)
    return topic


def one_of_two(lab: Lab) -> str:
    """A topic with two partitions, of which the first has ten records, and the second none."""
    topic = lab.topic(2)
    lab.produce(topic, *map(str, range(10)))
    return topic


def manual(lab: Lab, topic: str, group: str | None = None, **properties: Any) -> Consumer:
    """A subscribed consumer that commits only what it is told to."""
    consumer = lab.consumer(group or lab.group(), enable_auto_commit=False, **properties)
    consumer.subscribe([topic])
    return consumer


def reader(lab: Lab, topic: str, start: int = NONE, **properties: Any) -> Consumer:
    """A consumer that has assigned itself the first partition, and commits nothing by itself."""
    consumer = lab.consumer(lab.group(), enable_auto_commit=False, **properties)
    consumer.assign([TopicPartition(topic, 0, start)])
    return consumer


def parts(topic: str, *partitions: int) -> list[TopicPartition]:
    """Without offsets."""
    return [TopicPartition(topic, partition) for partition in partitions]


def taken(lab: Lab, consumer: Consumer, count: int) -> list[int | None]:
    """Offsets of the next records."""
    return [message.offset() for message in lab.take(consumer, count)]


def by_partition(lab: Lab, consumer: Consumer, count: int) -> dict[int | None, list[int | None]]:
    """Offsets of the next records, partition by partition."""
    found: dict[int | None, list[int | None]] = {}
    for message in lab.take(consumer, count):
        found.setdefault(message.partition(), []).append(message.offset())
    return found


def offsets(tps: list[TopicPartition] | None) -> list[tuple[int, int]]:
    """(partition, offset), in the order of the list. Of an asynchronous commit's answer there is none."""
    return [(tp.partition, tp.offset) for tp in tps or ()]


def position(consumer: Consumer, topic: str) -> int:
    """In the first partition."""
    [tp] = consumer.position([TopicPartition(topic, 0)])
    return tp.offset


def committed(consumer: Consumer, topic: str, *partitions: int) -> list[int]:
    """What its group has committed, of partition 0 by default."""
    return [tp.offset for tp in consumer.committed(parts(topic, *(partitions or (0,))), PATIENCE_S)]


def nothing_to_commit(consumer: Consumer) -> bool:
    """A synchronous commit() finds nothing stored."""
    return code_of(lambda: consumer.commit(asynchronous=False)) == KafkaError._NO_OFFSET
