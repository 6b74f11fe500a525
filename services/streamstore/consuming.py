"""What consumers share: a batch without waiting for more, offsets of what is done, a topic as far as it goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from streamadapter import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

if TYPE_CHECKING:
    from streamadapter import Message

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # how soon an idle service notices that it is to stop
READ_RECORDS = 500


def next_batch(consumer: Consumer, size: int) -> list[Message]:
    """What is there, up to `size` records; waits only for the first (consume would wait out its whole time)."""
    first = consumer.poll(POLL_SECONDS)
    if first is None:
        return []
    return [first, *(consumer.consume(size - 1, 0) if size > 1 else [])]


def records(messages: Iterable[Message]) -> list[Message]:
    """The messages that are records; errors are logged. Raises KafkaException for a fatal one."""
    found = []
    for message in messages:
        error = message.error()
        if error is None:
            found.append(message)
        elif error.fatal():
            raise KafkaException(error)
        else:
            log.warning("consuming: %s", error)
    return found


def store(consumer: Consumer, done: Iterable[Message]) -> None:
    """Hand the offsets to the consumer, which commits them in the background, on a rebalance, and on close."""
    last = {(message.topic(), message.partition()): message for message in done}
    for message in last.values():
        try:
            consumer.store_offsets(message=message)
        except KafkaException as error:
            # The partition went to another member meanwhile; it will find what was done.
            log.info("%s is not ours any more: %s", place(message), error)


def read_to_end(topic: str, patience: float, properties: Mapping[str, Any]) -> Iterator[Message]:
    """All records of a topic, those of a partition in order; none if there is no such topic.

    `properties` are the Consumer's, a group.id among them, which is neither joined nor committed for. Raises
    KafkaException if the server cannot be reached, or nothing comes for `patience` seconds.
    """
    reading = {"enable.auto.commit": False, "enable.partition.eof": True}
    with Consumer({**properties, **reading}) as consumer:
        topics = consumer.list_topics(timeout=patience).topics
        left = set(topics[topic].partitions) if topic in topics else set()
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
        deadline = time.monotonic() + patience
        while left:
            for message in consumer.consume(READ_RECORDS, POLL_SECONDS):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(error)
                deadline = time.monotonic() + patience
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic} cannot be read to its end"))


def place(message: Message) -> str:
    """Where the record is, for logs."""
    return f"{message.topic()}[{message.partition()}]@{message.offset()}"
