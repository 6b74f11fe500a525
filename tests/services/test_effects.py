"""Effects and marks in the databases: a repeated delivery changes nothing, a failed one leaves nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamstore.app import CONSUMERS
from streamstore.billing import DOCUMENTS
from streamstore.database import Database, Service, StoppedError, handle, persistently
from streamstore.inventory import DISPATCHES, STOCK, Inventory
from streamstore.orders import Line, Order
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.report import (
    BooksError,
    analytics_figures,
    billing_figures,
    handled_events,
    inventory_figures,
    notification_figures,
)
from streamstore.replaying.sample import SAMPLE
from streamstore.settings import Settings, load_settings

ORDERS = read_orders(SAMPLE).orders[:60]
EVENTS = {order.event_id for order in ORDERS}


@contextmanager
def _opened(service: Service, settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url(service.name), service.metadata)
    yield database
    database.close()


def _contents(database: Database, service: Service) -> Mapping[str, Any]:
    """Every row of every table but the marks."""
    with database.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table))))
            for table in service.metadata.sorted_tables
            if table is not service.handled
        }


def _files(settings: Settings) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in settings.outbox.glob("*")}


@pytest.fixture(params=list(CONSUMERS))
def service(request: pytest.FixtureRequest, settings: Settings) -> Service:
    return CONSUMERS[request.param](settings)


def test_a_repeated_delivery_changes_nothing_and_is_counted(service: Service, settings: Settings) -> None:
    with _opened(service, settings) as database:
        handle(database, service, ORDERS)
        once, mails = _contents(database, service), _files(settings)

        handle(database, service, ORDERS)
        handle(database, service, [ORDERS[0], ORDERS[0]])

        assert _contents(database, service) == once
        assert _files(settings) == mails
        repeats = handled_events(database, service.name)
        assert repeats == {event: 3 if event == ORDERS[0].event_id else 1 for event in EVENTS}


def test_a_repeat_within_one_batch_is_one_effect(service: Service, settings: Settings) -> None:
    with _opened(service, settings) as database:
        handle(database, service, [*ORDERS, *ORDERS])
        twice = _contents(database, service)
        repeats = handled_events(database, service.name)

    with _opened(service, settings.model_copy(update={"data_dir": settings.data_dir / "b"})) as other:
        handle(other, service, ORDERS)

        assert twice == _contents(other, service)
        assert set(repeats.values()) == {1}


def test_if_the_transaction_fails_neither_effect_nor_mark_stays(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = service.apply

    def apply_and_die(connection: sa.Connection, orders: Sequence[Order]) -> None:
        apply(connection, orders)
        raise RuntimeError("killed between effect and mark")

    with _opened(service, settings) as database:
        monkeypatch.setattr(service, "apply", apply_and_die)
        with pytest.raises(RuntimeError, match="killed between"):
            handle(database, service, ORDERS)

        assert not any(_contents(database, service).values())
        assert handled_events(database, service.name) == {}

        monkeypatch.setattr(service, "apply", apply)
        handle(database, service, ORDERS)
        assert handled_events(database, service.name) == dict.fromkeys(EVENTS, 0)


@hypothesis_settings(max_examples=30, deadline=None)
@given(deliveries=st.lists(st.lists(st.integers(0, 11), max_size=15), max_size=6))
def test_any_grouping_and_repetition_of_deliveries_has_the_effect_of_each_event_once(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list[list[int]]
) -> None:
    delivered = [[ORDERS[i] for i in batch] for batch in deliveries]
    distinct = {order.event_id: order for batch in delivered for order in batch}
    settings = load_settings({}, tmp_path_factory.mktemp("shop"))
    service = CONSUMERS["analytics"](settings)
    with _opened(service, settings) as database:
        for batch in delivered:
            handle(database, service, batch)

        figures = analytics_figures(database, EVENTS)

    assert figures["orders"] == len(distinct)
    assert Decimal(figures["revenue"]) == sum((o.total for o in distinct.values()), Decimal(0))


def test_two_instances_at_once_handle_every_event_once(service: Service, settings: Settings) -> None:
    with _opened(service, settings) as database, _opened(service, settings) as other:

        def work(mine: Database, orders: Sequence[Order]) -> None:
            for order in orders:
                persistently(partial(handle, mine, service, [order]), "test", threading.Event())

        threads = [
            threading.Thread(target=work, args=(database, ORDERS)),
            threading.Thread(target=work, args=(other, ORDERS[::-1])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert handled_events(database, service.name) == dict.fromkeys(EVENTS, 1)


def test_the_figures_are_those_of_the_events_asked_for(settings: Settings) -> None:
    some = ORDERS[:10]
    events = {order.event_id for order in some}
    customers = sum(order.customer is not None for order in some)
    for name, figures, expected in (
        ("inventory", inventory_figures, {"orders": 10, "units": sum(order.units for order in some)}),
        ("notification", notification_figures, {"sent": customers, "skipped_no_customer": 10 - customers}),
        (
            "billing",
            billing_figures,
            {
                "invoices": sum(not order.is_cancellation for order in some),
                "credit_notes": sum(order.is_cancellation for order in some),
                "total": str(sum((order.total for order in some), Decimal(0))),
            },
        ),
    ):
        service = CONSUMERS[name](settings)
        with _opened(service, settings) as database:
            handle(database, service, ORDERS)

            assert figures(database, events) == expected


def test_an_order_for_more_than_there_is_is_short_and_what_comes_back_can_be_reserved(tmp_path: Path) -> None:
    settings = load_settings({"opening_stock": 10}, tmp_path)
    inventory = Inventory(settings)
    orders = [
        Order(number, None, "EIRE", datetime(2024, 1, 1), (Line("A", None, quantity, Decimal(1)),))
        for number, quantity in (("1", 10), ("2", 1), ("C1", -10), ("3", 9))
    ]
    with _opened(inventory, settings) as database:
        first = handle(database, inventory, orders)
        again = handle(database, inventory, orders[:2])

    states = {"order:1": "reserved", "order:2": "short", "cancellation:C1": "reserved", "order:3": "reserved"}
    assert first == states
    assert again == {"order:1": "reserved", "order:2": "short"}


def test_goods_that_are_missing_are_missing_once(tmp_path: Path) -> None:
    inventory = Inventory(load_settings({"opening_stock": 10}, tmp_path))
    orders = [
        Order(number, None, "EIRE", datetime(2024, 1, 1), (Line("A", None, quantity, Decimal(1)),))
        for number, quantity in (("1", 12), ("2", 3))
    ]
    with _opened(inventory, load_settings({"opening_stock": 10}, tmp_path)) as database:
        handle(database, inventory, orders)
        with database.read() as connection:
            missing = connection.execute(sa.select(DISPATCHES.c.missing).order_by(DISPATCHES.c.event_id))
            assert list(missing.scalars()) == [2, 3]


def test_a_cancellation_brings_goods_back_and_is_a_credit_note(settings: Settings) -> None:
    sale = Order("1", "7", "EIRE", datetime(2024, 1, 1), (Line("A", None, 5, Decimal("0.333")),))
    back = Order("C2", "7", "EIRE", datetime(2024, 1, 2), (Line("A", None, -2, Decimal("0.333")),))
    inventory, billing = Inventory(settings), CONSUMERS["billing"](settings)
    with _opened(inventory, settings) as database:
        handle(database, inventory, [sale, back])
        with database.read() as connection:
            assert connection.execute(sa.select(STOCK)).all() == [("A", 999_997, 1_000_000)]
    with _opened(billing, settings) as database:
        handle(database, billing, [sale, back])
        with database.read() as connection:
            rows = connection.execute(sa.select(DOCUMENTS.c.number, DOCUMENTS.c.kind, DOCUMENTS.c.total))
            assert [tuple(row) for row in rows] == [
                ("1", "invoice", Decimal("1.665")),
                ("C2", "credit note", Decimal("-0.666")),
            ]


def test_books_that_do_not_balance_are_noticed(settings: Settings) -> None:
    service = Inventory(settings)
    with _opened(service, settings) as database:
        handle(database, service, ORDERS)
        with database.write() as connection:
            connection.execute(STOCK.update().values(on_hand=STOCK.c.on_hand - 1))

        with pytest.raises(BooksError, match="inventory_stock"):
            inventory_figures(database, EVENTS)


def test_all_services_can_share_one_database(tmp_path: Path) -> None:
    settings = load_settings({"database": "sqlite:///{data_dir}/one.db"}, tmp_path)
    for name, make in CONSUMERS.items():
        service = make(settings)
        with _opened(service, settings) as database:
            handle(database, service, ORDERS)

            assert len(handled_events(database, name)) == len(ORDERS)


def test_a_locked_database_is_tried_again_until_it_is_free(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamstore.database.BUSY_SECONDS", 0)
    service = Inventory(settings)
    with _opened(service, settings) as database, _opened(service, settings) as other:
        handled = threading.Event()

        def work() -> None:
            persistently(partial(handle, other, service, ORDERS), "test", threading.Event())
            handled.set()

        thread = threading.Thread(target=work)
        with database.write():
            thread.start()
            assert not handled.wait(0.3)
        thread.join(30)

        assert handled.is_set()
        assert len(handled_events(database, service.name)) == len(ORDERS)


def test_a_service_told_to_stop_does_not_try_for_ever(settings: Settings) -> None:
    stop = threading.Event()
    stop.set()

    def fail() -> None:
        raise sa.exc.OperationalError("select 1", {}, Exception("down"))

    with pytest.raises(StoppedError):
        persistently(fail, "test", stop)
