"""Billing: an invoice for each order, a credit note for each cancellation, in exact decimals."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from streamstore.database import Money, handled_table, insert_rows, read_column
from streamstore.orders import Order

NAME = "billing"
METADATA = sa.MetaData()
HANDLED = handled_table(METADATA, NAME)
INVOICE, CREDIT_NOTE = "invoice", "credit note"
OUTCOMES = {INVOICE: "invoiced", CREDIT_NOTE: "credited"}
DOCUMENTS = sa.Table(
    "billing_documents",
    METADATA,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("customer", sa.Text),
    sa.Column("country", sa.Text, nullable=False),
    sa.Column("issued_at", sa.DateTime, nullable=False, index=True),  # the dashboard asks for the latest
    sa.Column("cancels", sa.Text),  # of a credit note: the number of the order it takes back, if known
    sa.Column("total", Money, nullable=False),
)
LINES = sa.Table(
    "billing_lines",
    METADATA,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("stock_code", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("unit_price", Money, nullable=False),
)


class Billing:
    """Issues invoices and credit notes, numbered as the shop numbered the orders."""

    name = NAME
    metadata = METADATA
    handled = HANDLED

    def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
        """Issue one document an order, with all its lines; nothing is rounded."""
        insert_rows(
            connection,
            DOCUMENTS,
            [
                (
                    order.event_id,
                    order.invoice_no,
                    CREDIT_NOTE if order.is_cancellation else INVOICE,
                    order.customer,
                    order.country,
                    order.placed_at,
                    order.cancels,
                    order.total,
                )
                for order in orders
            ],
        )
        insert_rows(
            connection,
            LINES,
            [
                (
                    order.event_id,
                    position,
                    line.stock_code,
                    line.description,
                    line.quantity,
                    line.unit_price,
                )
                for order in orders
                for position, line in enumerate(order.lines, start=1)
            ],
        )

    def outcomes(self, connection: sa.Connection, event_ids: Collection[str]) -> dict[str, str]:
        """Invoiced, or credited."""
        kinds = read_column(connection, DOCUMENTS.c.event_id, DOCUMENTS.c.kind, event_ids)
        return {event_id: OUTCOMES[kind] for event_id, kind in kinds.items()}
