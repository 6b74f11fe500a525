"""Inventory: the stock of each product; sales lower it, cancellations raise it.

Every product begins with the opening stock of the settings. An order that takes more than there is gets what is
missing later: its stock goes below zero, and its state is short.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from streamstore.database import handled_table, insert_rows, lookup, read_column, update_rows
from streamstore.orders import Order
from streamstore.settings import Settings

NAME = "inventory"
METADATA = sa.MetaData()
HANDLED = handled_table(METADATA, NAME)
RESERVED, SHORT = "reserved", "short"
STOCK = sa.Table(
    "inventory_stock",
    METADATA,
    sa.Column("stock_code", sa.Text, primary_key=True),
    sa.Column("on_hand", sa.BigInteger, nullable=False),
    sa.Column("opening", sa.BigInteger, nullable=False),
)
DISPATCHES = sa.Table(  # what each event took out of the stock; STOCK is the opening stock minus its sum
    "inventory_dispatches",
    METADATA,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("missing", sa.BigInteger, nullable=False),  # of them, units that were not there
)


class Inventory:
    """Keeps stock a product."""

    name = NAME
    metadata = METADATA
    handled = HANDLED

    def __init__(self, settings: Settings) -> None:
        self._opening = settings.opening_stock

    def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
        """Lower the stock by what was sold; a cancellation's quantities are negative."""
        codes = {line.stock_code for order in orders for line in order.lines}
        known = lookup(connection, STOCK, codes)
        on_hand = {code: known.get(code, self._opening) for code in codes}
        dispatches = [(order.event_id, order.units, _take(on_hand, order)) for order in orders]
        update_rows(connection, STOCK, {code: on_hand[code] for code in known})
        insert_rows(
            connection, STOCK, [(code, on_hand[code], self._opening) for code in sorted(codes - known.keys())]
        )
        insert_rows(connection, DISPATCHES, dispatches)

    def outcomes(self, connection: sa.Connection, event_ids: Collection[str]) -> dict[str, str]:
        """Reserved, or short."""
        missing = read_column(connection, DISPATCHES.c.event_id, DISPATCHES.c.missing, event_ids)
        return {event_id: SHORT if units else RESERVED for event_id, units in missing.items()}


def _take(on_hand: dict[str, int], order: Order) -> int:
    """Take an order's units out of the stock; returns how many were not there."""
    missing = 0
    for line in order.lines:
        on_hand[line.stock_code] -= line.quantity
        missing += max(0, min(line.quantity, -on_hand[line.stock_code]))
    return missing
