"""Analytics: revenue by day, by country and by product; cancellations count against it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

import sqlalchemy as sa

from streamstore.database import Money, accumulate, handled_table, insert_rows, running_total
from streamstore.orders import EXACT, Order

NAME = "analytics"
METADATA = sa.MetaData()
HANDLED = handled_table(METADATA, NAME)
COUNTED = "counted"


def _revenue_by(what: str) -> sa.Table:
    return running_total(
        METADATA, f"analytics_revenue_by_{what}", what, sa.Column("revenue", Money, nullable=False)
    )


BY_DAY, BY_COUNTRY, BY_PRODUCT = _revenue_by("day"), _revenue_by("country"), _revenue_by("product")
SALES = sa.Table(  # what each event brought in; every BY_ table sums up to the same
    "analytics_sales",
    METADATA,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("country", sa.Text, nullable=False),
    sa.Column("revenue", Money, nullable=False),
)


class Analytics:
    """Keeps running totals of revenue."""

    name = NAME
    metadata = METADATA
    handled = HANDLED

    def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
        """Add the orders' revenue to the totals."""
        totals = [(order, order.total) for order in orders]
        sums = (
            (BY_DAY, ((order.placed_at.date().isoformat(), total) for order, total in totals)),
            (BY_COUNTRY, ((order.country, total) for order, total in totals)),
            (BY_PRODUCT, ((line.stock_code, line.amount) for order in orders for line in order.lines)),
        )
        for table, amounts in sums:
            accumulate(connection, table, sum_by_key(amounts), EXACT.add)
        insert_rows(connection, SALES, [(order.event_id, order.country, total) for order, total in totals])

    def outcomes(self, connection: sa.Connection, event_ids: Collection[str]) -> dict[str, str]:  # noqa: ARG002 - Service's signature
        """Counted, all of them: an event's mark and its sale are one transaction."""
        return dict.fromkeys(event_ids, COUNTED)


def sum_by_key(amounts: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    """Exact sums of the amounts of each key."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for key, amount in amounts:
        sums[key] = EXACT.add(sums[key], amount)
    return dict(sums)
