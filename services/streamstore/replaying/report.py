"""What the services made of a file's orders, read from their databases.

The figures are about the file that was replayed, whatever else the databases hold; replaying it again gives the
same ones. They come from rows written an event. Running totals (stock, revenue) have no event to choose by, so
the books are balanced instead: over the whole database, each total must equal the sum of those rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from streamstore import analytics, billing, inventory, notification
from streamstore.analytics import sum_by_key
from streamstore.database import Database
from streamstore.orders import add, as_text

HANDLED: Mapping[str, sa.Table] = {
    module.NAME: module.HANDLED for module in (inventory, billing, notification, analytics)
}


class BooksError(RuntimeError):
    """A running total is not the sum of its parts: an effect was lost or applied twice."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a replay; `as_json` has the keys that scripts may rely on."""

    backend: str
    rows: int
    rows_rejected: int
    orders: int  # without cancellations
    cancellations: int
    inventory: dict[str, int]
    billing: dict[str, int | str]
    notification: dict[str, int]
    analytics: dict[str, Any]
    duplicates_seen: int  # repeated deliveries during this replay, over all services
    lag: int  # records, over all groups
    seconds: float  # from the first order handed over until everything had arrived
    duplicates: dict[str, int] = field(default_factory=dict)  # a service

    @property
    def orders_per_second(self) -> float:
        """Orders (without cancellations) from being handed over to being handled by every service."""
        return round(self.orders / self.seconds, 1) if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """The report as it is written to a file."""
        table = asdict(self) | {"orders_per_second": self.orders_per_second}
        del table["duplicates"]
        return table


def handled_events(database: Database, service: str) -> dict[str, int]:
    """The service's marks: event id to the number of repeated deliveries."""
    table = HANDLED[service]
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(sa.select(table.c.event_id, table.c.repeats))}


def inventory_figures(database: Database, events: Collection[str]) -> dict[str, int]:
    """`orders`: events handled; `units`: the sum of their quantities. Raises BooksError."""
    stock, dispatches = inventory.STOCK, inventory.DISPATCHES
    with database.read() as connection:
        taken = sum(connection.scalars(sa.select(stock.c.opening - stock.c.on_hand)))
        units = {row[0]: row[1] for row in connection.execute(sa.select(dispatches))}
    _balance("inventory_stock", taken, sum(units.values()))
    mine = [units[event] for event in units.keys() & events]
    return {"orders": len(mine), "units": sum(mine)}


def billing_figures(database: Database, events: Collection[str]) -> dict[str, int | str]:
    """Documents issued, and their exact total. Raises BooksError if lines and documents differ."""
    documents, lines = billing.DOCUMENTS, billing.LINES
    with database.read() as connection:
        issued = {
            row[0]: (row[1], row[2])
            for row in connection.execute(
                sa.select(documents.c.event_id, documents.c.kind, documents.c.total)
            )
        }
        rows = connection.execute(sa.select(lines.c.quantity, lines.c.unit_price))
        by_line = add(Decimal(quantity) * price for quantity, price in rows)
    _balance("billing_lines", by_line, add(total for _, total in issued.values()))
    mine = [issued[event] for event in issued.keys() & events]
    kinds = [kind for kind, _ in mine]
    return {
        "invoices": kinds.count(billing.INVOICE),
        "credit_notes": kinds.count(billing.CREDIT_NOTE),
        "total": as_text(add(total for _, total in mine)),
    }


def notification_figures(database: Database, events: Collection[str]) -> dict[str, int]:
    """Confirmations sent, and events without a customer to send one to."""
    with database.read() as connection:
        states = {row[0]: row[1] for row in connection.execute(sa.select(notification.MAILS))}
    mine = [states[event] for event in states.keys() & events]
    return {
        "sent": mine.count(notification.SENT),
        "skipped_no_customer": mine.count(notification.SKIPPED),
    }


def analytics_figures(database: Database, events: Collection[str]) -> dict[str, Any]:
    """Events handled and their exact revenue, in all and by country. Raises BooksError."""
    tables = (analytics.BY_DAY, analytics.BY_COUNTRY, analytics.BY_PRODUCT)
    with database.read() as connection:
        sales = {row[0]: (row[1], row[2]) for row in connection.execute(sa.select(analytics.SALES))}
        totals = {table.name: add(connection.scalars(sa.select(table.c.revenue))) for table in tables}
    revenue = add(amount for _, amount in sales.values())
    for name, total in totals.items():
        _balance(name, total, revenue)
    mine = [sales[event] for event in sales.keys() & events]
    return {
        "orders": len(mine),
        "revenue": as_text(add(amount for _, amount in mine)),
        "revenue_by_country": {
            country: as_text(amount) for country, amount in sorted(sum_by_key(mine).items())
        },
    }


def _balance(what: str, total: Decimal | int, parts: Decimal | int) -> None:
    if total != parts:
        raise BooksError(f"{what} adds up to {total}, but what the events brought is {parts}")
