"""The order service's view: what it says of an order, and that it loses nothing whoever dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from streamadapter import AdminClient, Producer
from streamstore import status
from streamstore.app import ensure_topics
from streamstore.database import Database, StoppedError
from streamstore.lag import group_lags, log_extents
from streamstore.order import METADATA
from streamstore.order.requests import make_cancellation
from streamstore.order.view import (
    MAX_LENGTH,
    STATES,
    TELLERS,
    VIEW,
    Batch,
    OrderState,
    find,
    keep_view,
    write,
)
from streamstore.orders import Line, Order, encode
from streamstore.settings import Settings
from streamstore.status import Status

Await = Callable[..., None]

NOON = datetime(2026, 1, 31, 12)
DONE = dict(zip(TELLERS, ("reserved", "invoiced", "sent", "counted"), strict=True))


def order(number: str, placed_at: datetime = NOON) -> Order:
    return Order(number, "17850", "EIRE", placed_at, (Line("A", None, 2, Decimal("1.50")),))


def batch(*orders: Order, states: dict[tuple[str, str], str] | None = None) -> Batch:
    return Batch({each.invoice_no: encode(each) for each in orders}, states or {})


def told(event: Order, **states: str) -> dict[tuple[str, str], str]:
    return {(event.event_id, service): state for service, state in states.items()}


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url("order"), METADATA)
    yield database
    database.close()


@pytest.fixture
def look(database: Database) -> Callable[..., OrderState | None]:
    def looked(number: str, recent: dict[str, bytes] | None = None) -> OrderState | None:
        with database.read() as connection:
            return find(connection, number, recent)

    return looked


def test_an_order_is_accepted_until_the_last_service_has_told(
    database: Database, look: Callable[..., OrderState]
) -> None:
    write(database, batch(order("1")))
    for service, state in DONE.items():
        assert look("1").state == "accepted"
        assert look("1").services[service] == "pending"
        write(database, batch(states=told(order("1"), **{service: state})))

    assert look("1").state == "confirmed"
    assert look("1").services == DONE
    assert look("1").cancellation is None


def test_a_cancelled_order_is_cancelling_until_the_last_service_has_told(
    database: Database, look: Callable[..., OrderState]
) -> None:
    cancellation = make_cancellation(order("1"), NOON)
    write(database, batch(order("1"), states=told(order("1"), **DONE)))

    write(database, batch(cancellation))

    assert look("1").state == "cancelling"
    write(database, batch(states=told(cancellation, **DONE)))
    assert look("1").state == "cancelled"
    assert look("1").services == look("1").cancellation == DONE


def test_a_state_may_come_before_its_order(
    database: Database, look: Callable[..., OrderState | None]
) -> None:
    write(database, batch(states=told(order("1"), **DONE)))
    assert look("1") is None

    write(database, batch(order("1")))

    found = look("1")
    assert found is not None
    assert found.state == "confirmed"


def test_the_first_of_two_events_counts_and_the_last_of_two_states(
    database: Database, look: Callable[..., OrderState]
) -> None:
    write(database, batch(order("1"), states=told(order("1"), inventory="short", billing="invoiced")))

    again = batch(order("1", datetime(2027, 1, 1)), states=told(order("1"), inventory="reserved"))
    write(database, again)
    write(database, again)

    assert look("1").order.placed_at == NOON
    assert look("1").services["inventory"] == "reserved"
    assert look("1").services["billing"] == "invoiced"
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(VIEW)) == 1
        assert connection.scalar(sa.select(sa.func.count()).select_from(STATES)) == 2


def test_what_the_view_does_not_have_yet_is_taken_from_elsewhere(
    database: Database, look: Callable[..., OrderState]
) -> None:
    recent = {"1": encode(order("1")), "C1": encode(make_cancellation(order("1"), NOON))}
    write(database, batch(states=told(order("1"), **DONE)))

    assert look("1", recent).state == "cancelling"
    assert look("1", recent).services == DONE


def test_a_cancellation_is_no_order(database: Database, look: Callable[..., OrderState | None]) -> None:
    write(database, batch(make_cancellation(order("1"), NOON)))

    assert look("C1") is None
    assert look("1") is None


@pytest.fixture(params=["embedded", "redis", "kafka"])
def busy_shop(request: pytest.FixtureRequest, open_shop: Callable[..., Any]) -> Any:
    """A shop with small transactions: more moments to die between."""
    url = "" if request.param == "embedded" else request.getfixturevalue(f"own_{request.param}").url
    return open_shop(request.param, url, batch_size=5)


@contextmanager
def keeping(database: Database, settings: Settings) -> Iterator[None]:
    """Keeps the view meanwhile; raises what that raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        kept = pool.submit(keep_view, database, settings, stop)
        try:
            yield
        finally:
            stop.set()
            kept.result(60)


def lag(settings: Settings) -> int:
    """Records that the view's group has not committed."""
    topics = [settings.topic, settings.status_topic]
    with AdminClient({}) as admin:
        found = group_lags(admin, log_extents(admin, topics, 30), {"order": topics}, 30)
    return sum(partition.lag for partition in found["order"])


def publish(settings: Settings, orders: list[Order], states: dict[tuple[str, str], str]) -> None:
    with Producer({}) as producer:
        for each in orders:
            producer.produce(settings.topic, encode(each), each.key)
        for (event_id, service), state in states.items():
            producer.produce(settings.status_topic, status.encode(Status(event_id, service, state)), event_id)


def test_foreign_records_are_passed_over(open_shop: Callable[..., Any], await_condition: Await) -> None:
    settings = open_shop("memory").settings
    ensure_topics(settings)
    with Producer({}) as producer:
        for topic in (settings.topic, settings.status_topic):
            for value in (
                None,
                b"",
                b"\xff",
                b"[]",
                b"[" * 10_000,
                encode(order("x\0y")),
                encode(order("x" * 256)),
            ):
                producer.produce(topic, value)
        for event_id in ("order:\0", "x" * (MAX_LENGTH + 1)):
            producer.produce(settings.status_topic, status.encode(Status(event_id, "billing", "invoiced")))
    publish(settings, [order("1")], told(order("1"), **DONE))
    database = Database(settings.database_url("order"), METADATA)

    def confirmed() -> bool:
        with database.read() as connection:
            found = find(connection, "1")
        return found is not None and found.state == "confirmed"

    with keeping(database, settings):
        await_condition(confirmed)
    assert lag(settings) == 0
    with database.read() as connection:
        assert [*connection.scalars(sa.select(VIEW.c.number))] == ["1"]
    database.close()


def test_a_database_that_cannot_be_used_is_waited_for(
    open_shop: Callable[..., Any], await_condition: Await, caplog: pytest.LogCaptureFixture
) -> None:
    settings = open_shop("memory").settings
    ensure_topics(settings)
    database = Database(settings.database_url("order"), METADATA)
    with database.write() as connection:
        VIEW.drop(connection)
    publish(settings, [order("1")], {})

    with keeping(database, settings):
        await_condition(lambda: "keeping its view failed" in caplog.text)
        with database.write() as connection:
            VIEW.create(connection)

        def there() -> bool:
            with database.read() as connection:
                return find(connection, "1") is not None

        await_condition(there)
    database.close()


def test_what_was_read_and_not_written_is_read_again(
    open_shop: Callable[..., Any], await_condition: Await, caplog: pytest.LogCaptureFixture
) -> None:
    settings = open_shop("memory").settings
    ensure_topics(settings)
    database = Database(settings.database_url("order"), METADATA)
    with database.write() as connection:
        VIEW.drop(connection)
    publish(settings, [order("1")], {})
    with pytest.raises(StoppedError), keeping(database, settings):
        await_condition(lambda: "keeping its view failed" in caplog.text)
    with database.write() as connection:
        VIEW.create(connection)

    with keeping(database, settings):

        def there() -> bool:
            with database.read() as connection:
                return find(connection, "1") is not None

        await_condition(there)
    database.close()


def test_instances_that_are_killed_leave_no_order_and_no_state_out(
    busy_shop: Any, start_instance: Callable[..., Any], await_condition: Await
) -> None:
    settings = busy_shop.settings
    ensure_topics(settings)
    orders = [order(f"{i}") for i in range(400)]
    states = {key: state for each in orders for key, state in told(each, **DONE).items()}
    instances = [start_instance(busy_shop, "order", f"order-{i}") for i in (1, 2)]
    database = Database(settings.database_url("order"), METADATA)

    def count(table: sa.Table) -> int:
        with database.read() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    for i, victim in enumerate([*instances, instances[0]]):
        publish(settings, orders[i * 100 : (i + 1) * 100], {})
        await_condition(lambda least=i * 100 + 20: count(VIEW) > least, "the view grows")
        victim.kill()
        victim.start()
    publish(settings, orders[300:], states)

    await_condition(
        lambda: count(VIEW) == len(orders) and count(STATES) == len(states), "the view is complete"
    )
    with database.read() as connection:
        assert {find(connection, each.invoice_no).state for each in orders} == {"confirmed"}  # type: ignore[union-attr]  # they are there
    database.close()
