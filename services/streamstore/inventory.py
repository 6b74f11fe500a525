"""Inventory: the stock of each product, counted from an opening stock of 0; sales lower it, cancellations raise it."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from streamstore.database import accumulate, handled_table, insert_rows, running_total
from streamstore.orders import Order

NAME = "inventory"
METADATA = sa.MetaData()
HANDLED = handled_table(METADATA, NAME)
STOCK = running_total(
    METADATA, "inventory_stock", "stock_code", sa.Column("on_hand", sa.BigInteger, nullable=False)
)
DISPATCHES = sa.Table(  # what each event took out of the stock; STOCK is minus its sum
    "inventory_dispatches",
    METADATA,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("units", sa.BigInteger, nullable=False),
)


class Inventory:
    """Keeps stock a product."""

    name = NAME
    metadata = METADATA
    handled = HANDLED

    def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
        """Lower the stock by what was sold; a cancellation's quantities are negative."""
        taken: Counter[str] = Counter()
        for order in orders:
            for line in order.lines:
                taken[line.stock_code] += line.quantity
        accumulate(connection, STOCK, {code: -units for code, units in taken.items()}, operator.add)
        insert_rows(connection, DISPATCHES, [(order.event_id, order.units) for order in orders])
