"""The order service's view: every order of the log, and what each service said about it.

A consumer of `order-events` and `order-status` in group "order" keeps two tables. A state may come before its order
and both may come again: of an event the first one counts, as it does for the services, of a service's states the
last. Offsets are stored after the transaction, so that the view is behind the log, never beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from streamadapter import Consumer
from streamstore import analytics, billing, inventory, notification, status
from streamstore.consuming import next_batch, place, records, store
from streamstore.database import CHUNK, Database, insert_rows, lookup, persistently
from streamstore.order import METADATA, NAME
from streamstore.orders import Order, decode

if TYPE_CHECKING:
    from streamadapter import Message
    from streamstore.settings import Settings

log = logging.getLogger(__name__)

TELLERS = (inventory.NAME, billing.NAME, notification.NAME, analytics.NAME)
"""The services whose word is awaited."""
PENDING = "pending"
MAX_LENGTH = 255  # of a number, a service, a state: PostgreSQL indexes some 2,700 bytes
COMMIT_MS = 1000  # how much is read again, at most, after a crash

VIEW = sa.Table(
    "order_view",
    METADATA,
    sa.Column("number", sa.Text, primary_key=True),
    sa.Column("payload", sa.LargeBinary, nullable=False),  # the record's value
)
STATES = sa.Table(
    "order_states",
    METADATA,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class OrderState:
    """An order, its cancellation if there is one, and the state that each service gave them, or `pending`."""

    order: Order
    services: Mapping[str, str]
    cancellation: Mapping[str, str] | None

    @property
    def state(self) -> str:
        """Accepted, confirmed when all services have told; cancelling, cancelled when they have told that."""
        if self.cancellation is None:
            return "accepted" if PENDING in self.services.values() else "confirmed"
        return "cancelling" if PENDING in self.cancellation.values() else "cancelled"


@dataclass(slots=True)
class Batch:
    """What records say, made ready for the tables."""

    payloads: dict[str, bytes] = field(default_factory=dict)  # by order number
    states: dict[tuple[str, str], str] = field(default_factory=dict)  # by event id and service


def cancellation_of(number: str) -> str:
    """The number of the order that takes back this one."""
    return f"C{number}"


def find(
    connection: sa.Connection, number: str, recent: Mapping[str, bytes] | None = None
) -> OrderState | None:
    """The order's state, or None for an unknown one and for a cancellation's number.

    `recent` holds payloads by number that are in the log and perhaps not in the view yet.
    """
    numbers = [number, cancellation_of(number)]
    payloads = {**(recent or {}), **_payloads(connection, numbers)}
    if number not in payloads:
        return None
    order = decode(payloads[number])
    if order.is_cancellation:
        return None
    states = read_states(connection, [order.event_id, f"cancellation:{numbers[1]}"])
    cancelled = numbers[1] in payloads
    return OrderState(
        order,
        _complete(states, order.event_id),
        _complete(states, f"cancellation:{numbers[1]}") if cancelled else None,
    )


def read_states(connection: sa.Connection, event_ids: Collection[str]) -> dict[tuple[str, str], str]:
    """What was told about events, by event id and service."""
    ordered = sorted(event_ids)
    found: dict[tuple[str, str], str] = {}
    for start in range(0, len(ordered), CHUNK):
        query = sa.select(STATES).where(STATES.c.event_id.in_(ordered[start : start + CHUNK]))
        found.update(((row[0], row[1]), row[2]) for row in connection.execute(query))
    return found


def keep_view(database: Database, settings: Settings, stop: Event) -> None:
    """Follow the topics until `stop` is set, then commit and leave the group.

    Raises StoppedError if it had to stop while the database could not be used, KafkaException for a fatal error.
    """
    consumer = Consumer(
        {
            "group.id": NAME,
            "client.id": settings.client_id(NAME),
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,  # stored below, when it is in the database
            "auto.commit.interval.ms": COMMIT_MS,
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": settings.session_timeout_ms // 4,
        }
    )
    try:
        consumer.subscribe([settings.topic, settings.status_topic])
        log.info("order follows %s and %s", settings.topic, settings.status_topic)
        while not stop.is_set():
            messages = records(next_batch(consumer, settings.batch_size))
            if messages:
                batch = read_batch(messages, settings.status_topic)
                persistently(partial(write, database, batch), "order: keeping its view", stop)
                store(consumer, messages)
    finally:
        consumer.close()


def read_batch(messages: Iterable[Message], status_topic: str) -> Batch:
    """What the records say; what is neither order nor status is logged and passed over."""
    batch = Batch()
    for message in messages:
        value = message.value() or b""
        try:
            if message.topic() == status_topic:
                told = status.decode(value)
                _require_storable(told.event_id, told.service, told.state)
                batch.states[told.event_id, told.service] = told.state
            else:
                number = decode(value).invoice_no
                _require_storable(number)
                batch.payloads.setdefault(number, value)
        except ValueError as problem:
            log.warning("%s is passed over: %s", place(message), problem)
    return batch


def _require_storable(*texts: str) -> None:
    """Raise ValueError for what PostgreSQL takes in no text, or in no index: it would be tried for ever."""
    if any("\0" in text or len(text) > MAX_LENGTH for text in texts):
        raise ValueError(f"it has a NUL, or more than {MAX_LENGTH} characters")


def write(database: Database, batch: Batch) -> None:
    """Write it in one transaction; what is there already is left or corrected."""
    orders = sorted(batch.payloads.items())
    states = sorted((*key, state) for key, state in batch.states.items())
    try:
        with database.write() as connection:  # looking first would take longer, and nearly all is new
            insert_rows(connection, VIEW, orders)
            insert_rows(connection, STATES, states)
    except IntegrityError:
        with database.write() as connection:
            _merge(connection, orders, states)


def _merge(
    connection: sa.Connection, orders: Sequence[tuple[str, bytes]], states: Sequence[tuple[str, str, str]]
) -> None:
    known = lookup(connection, VIEW, [number for number, _ in orders])
    insert_rows(connection, VIEW, [row for row in orders if row[0] not in known])
    told = read_states(connection, {event_id for event_id, _, _ in states})
    insert_rows(connection, STATES, [row for row in states if row[:2] not in told])
    changed = [row for row in states if told.get(row[:2], row[2]) != row[2]]
    if changed:
        statement = (
            STATES.update()
            .where(
                STATES.c.event_id == sa.bindparam("the_event"),
                STATES.c.service == sa.bindparam("the_service"),
            )
            .values(state=sa.bindparam("the_state"))
        )
        names = ("the_event", "the_service", "the_state")
        connection.execute(statement, [dict(zip(names, row, strict=True)) for row in changed])


def _payloads(connection: sa.Connection, numbers: Collection[str]) -> dict[str, bytes]:
    return {row[0]: row[1] for row in connection.execute(sa.select(VIEW).where(VIEW.c.number.in_(numbers)))}


def _complete(states: Mapping[tuple[str, str], str], event_id: str) -> dict[str, str]:
    return {service: states.get((event_id, service), PENDING) for service in TELLERS}
