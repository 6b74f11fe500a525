"""Orders from files: handed over in a table, published to the topic, and accepted once they are delivered.

Orders are handed over in a table of this service's own database (`submit`): from then on they are safe. The
service publishes what is not accepted and marks it accepted when its delivery report comes. Killed in between, it
publishes again what it had not marked; the consumers know the repeat by its event id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from streamadapter import KafkaError, KafkaException, Producer
from streamstore.database import Database, insert_rows, lookup, persistently
from streamstore.order import METADATA, NAME
from streamstore.orders import Order, encode

if TYPE_CHECKING:
    from streamadapter import Message
    from streamstore.settings import Settings

T = TypeVar("T")

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.05  # how long a new order may wait to be noticed
RETRY_SECONDS = 0.5  # after a delivery failed
FLUSH_SECONDS = 10.0  # for what is in flight when the service stops; the rest is published at its next start
REFUSED_CODES = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG)


class State(IntEnum):
    """Where an order is on its way to the topic."""

    RECEIVED = 0
    ACCEPTED = 1  # delivered to the topic: the shop's promise to its customer
    REFUSED = 2  # can never be delivered (too large); `reason` says why


ORDERS = sa.Table(
    "order_orders",
    METADATA,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # publishing goes by it: the order in which they came
    sa.Column("state", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Index("order_orders_by_state", "state", "number"),
)


class ConflictError(ValueError):
    """An order came again with the same number and other contents."""


def submit(database: Database, orders: Sequence[Order]) -> None:
    """Hand orders over, all or none. One that was handed over before is published again.

    Raises ConflictError if that one had other contents.
    """
    payloads = {order.event_id: encode(order) for order in orders}
    with database.write() as connection:
        known = lookup(connection, ORDERS, payloads)
        for event_id, payload in known.items():
            if payload != payloads[event_id]:
                raise ConflictError(
                    f"{event_id} was handed over before with other contents; numbers are used once"
                )
        if known:
            again = ORDERS.update().where(ORDERS.c.event_id == sa.bindparam("the_id"))
            connection.execute(
                again.values(state=State.RECEIVED, reason=None), [{"the_id": event_id} for event_id in known]
            )
        number = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(ORDERS.c.number), 0))) or 0
        new = [order for order in orders if order.event_id not in known]
        insert_rows(
            connection,
            ORDERS,
            [
                (order.event_id, payloads[order.event_id], order.key, number + i, State.RECEIVED, None)
                for i, order in enumerate(new, start=1)
            ],
        )


def count_unaccepted(connection: sa.Connection) -> int:
    """How many orders are still on their way to the topic."""
    query = sa.select(sa.func.count()).select_from(ORDERS).where(ORDERS.c.state == State.RECEIVED)
    return connection.scalar(query) or 0


def refusals(connection: sa.Connection) -> dict[str, str]:
    """Event id and reason of every order that cannot be delivered."""
    query = sa.select(ORDERS.c.event_id, ORDERS.c.reason).where(ORDERS.c.state == State.REFUSED)
    return {row[0]: row[1] for row in connection.execute(query)}


def publish_orders(database: Database, settings: Settings, stop: Event) -> None:
    """Publish handed-over orders until `stop` is set. Raises KafkaException for a fatal error of the producer."""
    publisher = _Publisher(database, settings, stop)
    log.info("order publishes to %s", settings.topic)
    try:
        while not stop.is_set():
            publisher.step()
    finally:
        publisher.close()


class _Publisher:
    def __init__(self, database: Database, settings: Settings, stop: Event) -> None:
        self._database = database
        self._topic = settings.topic
        self._batch = settings.batch_size
        self._stop = stop
        self._producer = Producer(
            {"client.id": settings.client_id(NAME), "acks": "all", "enable.idempotence": True}
        )
        self._in_flight: set[str] = set()
        self._settled: list[tuple[str, State, str | None]] = []  # to be written to the database
        self._failed = False

    def step(self) -> None:
        """Produce what is new, wait for delivery reports, write them down."""
        for event_id, key, payload in self._database_do(self._fresh):
            self._produce(event_id, key, payload)
        self._producer.poll(IDLE_SECONDS)
        self._settle()
        if self._failed:  # it is no longer in flight, so the next step takes it up again
            self._failed = False
            self._stop.wait(RETRY_SECONDS)

    def close(self) -> None:
        """Wait a while for what is in flight; what is not acknowledged by then is published at the next start."""
        if self._producer.flush(FLUSH_SECONDS):
            self._producer.purge()
        self._producer.close()  # after the purge it has nothing to wait for
        self._settle()

    def _fresh(self) -> list[tuple[str, str, bytes]]:
        room = max(self._batch - len(self._in_flight), 0)
        waiting = (
            sa.select(ORDERS.c.event_id)
            .where(ORDERS.c.state == State.RECEIVED)
            .order_by(ORDERS.c.number)
            .limit(self._batch)
        )
        with self._database.read() as connection:
            ids = [i for i in connection.scalars(waiting) if i not in self._in_flight][:room]
            if not ids:
                return []
            chosen = (
                sa.select(ORDERS.c.event_id, ORDERS.c.key, ORDERS.c.payload)
                .where(ORDERS.c.event_id.in_(ids))
                .order_by(ORDERS.c.number)
            )
            return [(row[0], row[1], row[2]) for row in connection.execute(chosen)]

    def _produce(self, event_id: str, key: str, payload: bytes) -> None:
        try:
            self._producer.produce(
                self._topic, payload, key, on_delivery=partial(self._on_delivery, event_id)
            )
        except KafkaException as error:
            self._judge(event_id, error.args[0])
        else:
            self._in_flight.add(event_id)

    def _on_delivery(self, event_id: str, error: KafkaError | None, _message: Message) -> None:
        self._in_flight.discard(event_id)
        if error is None:
            self._settled.append((event_id, State.ACCEPTED, None))
        else:
            self._judge(event_id, error)

    def _judge(self, event_id: str, error: KafkaError) -> None:
        """What becomes of an order that was not delivered: refused for good, or tried again."""
        if error.fatal():
            raise KafkaException(error)
        if error.code() in REFUSED_CODES:
            log.error("%s cannot be delivered: %s", event_id, error)
            self._settled.append((event_id, State.REFUSED, error.str()))
        else:
            log.warning("%s was not delivered, trying again: %s", event_id, error)
            self._failed = True

    def _settle(self) -> None:
        if self._settled:
            self._database_do(self._write_settled)
            self._settled.clear()

    def _write_settled(self) -> None:
        statement = (
            ORDERS.update()
            .where(ORDERS.c.event_id == sa.bindparam("the_id"))
            .values(state=sa.bindparam("the_state"), reason=sa.bindparam("the_reason"))
        )
        rows = [
            {"the_id": event_id, "the_state": int(state), "the_reason": reason}
            for event_id, state, reason in self._settled
        ]
        with self._database.write() as connection:
            connection.execute(statement, rows)

    def _database_do(self, action: Callable[[], T]) -> T:
        return persistently(action, "order", self._stop)
