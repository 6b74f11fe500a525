"""An order as the services know it, its event on the wire, and exact money.

Wire format, the value of a record of `order-events`: one JSON object,
``{"invoice_no", "customer", "country", "placed_at", "lines": [{"stock_code", "description", "quantity",
"unit_price"}, ...]}``, and in a cancellation perhaps ``"cancels"``; prices are decimal strings and are never
rounded. The record's key is `Order.key`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Annotated

import msgspec

MAX_QUANTITY = 10**12
MAX_PRICE = Decimal(10**12)
MAX_DECIMALS = 12

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])
"""Arithmetic that raises where the default context would silently round to 28 digits."""


def add(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum; it keeps the decimal places of its most precise term, as Python's own sum does."""
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def as_text(amount: Decimal) -> str:
    """An amount without an exponent: what databases, reports and mails hold."""
    return format(amount, "f")


def is_price(value: Decimal) -> bool:
    """Whether exact sums of such prices stay of reasonable size: finite, at most 12 digits on either side."""
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -MAX_DECIMALS and abs(value) < MAX_PRICE


class Line(msgspec.Struct, frozen=True):
    """One position of an order. Negative quantities are goods returned or written off."""

    stock_code: str
    description: str | None
    quantity: Annotated[int, msgspec.Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)]
    unit_price: Decimal

    def __post_init__(self) -> None:
        """Raise ValueError (on the wire: msgspec.ValidationError) for a price no sum could stay exact with."""
        if not is_price(self.unit_price):
            raise ValueError(f"unit price {self.unit_price!s:.40} is out of range")

    @property
    def amount(self) -> Decimal:
        """Quantity x unit price, exactly."""
        return EXACT.multiply(Decimal(self.quantity), self.unit_price)


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """All rows of one invoice number: an order, or a cancellation."""

    invoice_no: str
    customer: str | None  # None: a guest
    country: str
    placed_at: datetime  # the shop's local time, without a zone
    lines: tuple[Line, ...]
    cancels: str | None = None  # the invoice number of the order that this one takes back, if known

    @property
    def is_cancellation(self) -> bool:
        """The data set's rule: the invoice number starts with C."""
        return self.invoice_no.startswith("C")

    @property
    def event_id(self) -> str:
        """What a repeated delivery is known by: the same invoice always has the same one."""
        return f"{'cancellation' if self.is_cancellation else 'order'}:{self.invoice_no}"

    @property
    def key(self) -> str:
        """The record's key: one customer's orders stay in order; a guest's is followed by its cancellation."""
        return self.customer or self.cancels or self.invoice_no

    @property
    def units(self) -> int:
        """Sum of the quantities."""
        return sum(line.quantity for line in self.lines)

    @property
    def total(self) -> Decimal:
        """Exact sum of the lines' amounts."""
        return add(line.amount for line in self.lines)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Order)


def encode(order: Order) -> bytes:
    """The event's wire format. Deterministic: equal orders have equal bytes."""
    return _encoder.encode(order)


def decode(value: bytes) -> Order:
    """The order in a record's value. Raises ValueError (msgspec's errors are) if it is not one."""
    try:
        return _decoder.decode(value)
    except RecursionError as error:  # nesting without end is bad input, not our failure
        raise ValueError("nested too deeply") from error
