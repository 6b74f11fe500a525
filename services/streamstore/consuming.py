"""What consumers of batches share: fetching without waiting for more, storing offsets of what is done."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamadapter import Consumer, KafkaException

if TYPE_CHECKING:
    from streamadapter import Message

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # how soon an idle service notices that it is to stop


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


def place(message: Message) -> str:
    """Where the record is, for logs."""
    return f"{message.topic()}[{message.partition()}]@{message.offset()}"
