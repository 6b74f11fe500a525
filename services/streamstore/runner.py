"""The loop of a service that consumes orders: one for all four.

Consume a batch; effects and marks in one transaction; only then store the offsets for committing. Whatever dies
in between, the records come again, and the marks make the repeat harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from streamadapter import Consumer, KafkaException
from streamstore.database import Database, Service, handle, persistently
from streamstore.orders import Order, decode

if TYPE_CHECKING:
    from streamadapter import Message
    from streamstore.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # how soon an idle service notices that it is to stop
COMMIT_MS = 200  # how much is delivered again, at most, after a crash


def consume_orders(service: Service, database: Database, settings: Settings, stop: Event) -> None:
    """Handle orders until `stop` is set, then commit and leave the group.

    Raises StoppedError if it had to stop while the database could not be used, KafkaException for a fatal error.
    """
    consumer = Consumer(
        {
            "group.id": service.name,
            "client.id": f"streamstore-{service.name}",
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,  # stored below, when their effect is in the database
            "auto.commit.interval.ms": COMMIT_MS,
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": settings.session_timeout_ms // 4,
        }
    )
    try:
        consumer.subscribe([settings.topic])
        log.info("%s consumes %s", service.name, settings.topic)
        while not stop.is_set():
            orders, last = _split(_next_batch(consumer, settings.batch_size))
            if orders:
                persistently(partial(handle, database, service, orders), service.name, stop)
            _store(consumer, last)
    finally:
        consumer.close()
    log.info("%s has left its group", service.name)


def _next_batch(consumer: Consumer, size: int) -> list[Message]:
    """What is there, up to `size` records; waits only for the first (consume would wait out its whole time)."""
    first = consumer.poll(POLL_SECONDS)
    if first is None:
        return []
    return [first, *(consumer.consume(size - 1, 0) if size > 1 else [])]


def _split(messages: Sequence[Message]) -> tuple[list[Order], list[Message]]:
    """The orders in the messages, and the last message of each partition."""
    orders: list[Order] = []
    last: dict[tuple[str | None, int | None], Message] = {}
    for message in messages:
        error = message.error()
        if error is not None:
            if error.fatal():
                raise KafkaException(error)
            log.warning("consuming: %s", error)
            continue
        last[message.topic(), message.partition()] = message
        try:
            orders.append(decode(message.value() or b""))
        except ValueError as problem:
            # It stays in the log where it is; stopping here would stop the shop for one foreign record.
            log.error("not an order, skipped: %s: %s", _place(message), problem)
    return orders, list(last.values())


def _store(consumer: Consumer, handled: Sequence[Message]) -> None:
    """Hand the offsets to the consumer, which commits them in the background, on a rebalance, and on close."""
    for message in handled:
        try:
            consumer.store_offsets(message=message)
        except KafkaException as error:
            # The partition went to another member meanwhile; it will find the marks.
            log.info("%s is not ours any more: %s", _place(message), error)


def _place(message: Message) -> str:
    return f"{message.topic()}[{message.partition()}]@{message.offset()}"
