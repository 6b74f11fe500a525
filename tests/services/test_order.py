"""Handing orders over to the order service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from streamstore.database import Database
from streamstore.order import METADATA
from streamstore.order.outbox import ORDERS, ConflictError, State, count_unaccepted, submit
from streamstore.orders import Line, Order
from streamstore.settings import Settings


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url("order"), METADATA)
    yield database
    database.close()


def _order(number: str, quantity: int = 1) -> Order:
    return Order(number, None, "EIRE", datetime(2010, 12, 1), (Line("A", None, quantity, Decimal("1.5")),))


def _numbers(database: Database) -> list[tuple[str, int]]:
    with database.read() as connection:
        rows = connection.execute(sa.select(ORDERS.c.event_id, ORDERS.c.state).order_by(ORDERS.c.number))
        return [(row[0], row[1]) for row in rows]


def _accept_all(database: Database) -> None:
    with database.write() as connection:
        connection.execute(ORDERS.update().values(state=State.ACCEPTED))


def test_orders_wait_in_the_order_in_which_they_came(database: Database) -> None:
    submit(database, [_order("2"), _order("1")])
    submit(database, [_order("0")])

    assert [event for event, _ in _numbers(database)] == ["order:2", "order:1", "order:0"]


def test_an_order_handed_over_again_is_published_again_but_is_still_one(database: Database) -> None:
    submit(database, [_order("1"), _order("2")])
    _accept_all(database)

    submit(database, [_order("1")])

    assert _numbers(database) == [("order:1", State.RECEIVED), ("order:2", State.ACCEPTED)]
    with database.read() as connection:
        assert count_unaccepted(connection) == 1


def test_other_contents_under_a_known_number_are_refused_and_nothing_is_taken(database: Database) -> None:
    submit(database, [_order("1")])
    _accept_all(database)

    with pytest.raises(ConflictError, match="order:1 was handed over before with other contents"):
        submit(database, [_order("0"), _order("1", quantity=2)])

    assert _numbers(database) == [("order:1", State.ACCEPTED)]
