"""What the order service takes and answers over HTTP, and the events it makes of it. No I/O."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from streamstore.order.view import OrderState, cancellation_of
from streamstore.orders import Line, Order, as_text

MAX_LINES = 1000
MAX_UNITS = 1_000_000  # of one line
MAX_KEY = 255
NAMESPACE = uuid.UUID(
    "5a3fcbc1-5f0b-4d56-8a2e-0e0a3c1f6f3b"
)  # of order numbers made from keys; never to be changed

_PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"  # no control characters: it goes into mails, paths and databases
Word = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_PLAIN)]
Text = Annotated[str, StringConstraints(max_length=200, pattern=_PLAIN)]
Price = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,12}(\.[0-9]{1,12})?$")
]  # a part of orders.is_price

EXAMPLE: dict[str, Any] = {
    "customer": "17850",
    "country": "United Kingdom",
    "lines": [
        {
            "stock_code": "85123A",
            "description": "WHITE HANGING HEART T-LIGHT HOLDER",
            "quantity": 6,
            "unit_price": "2.55",
        },
        {"stock_code": "71053", "description": "WHITE METAL LANTERN", "quantity": 6, "unit_price": "3.39"},
    ],
}
_ID = "W2d2f6d8c0c3e5c55b1a4a2c3d4e5f607"


class NewLine(BaseModel):
    """One position of an order."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    stock_code: Word
    description: Text | None = None
    quantity: Annotated[int, Field(gt=0, le=MAX_UNITS)]
    unit_price: Annotated[
        Price, Field(description="An exact decimal, as text: at most 12 digits on either side")
    ]


class NewOrder(BaseModel):
    """An order as a customer sends it."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra={"example": EXAMPLE}
    )

    customer: Annotated[Word | None, Field(description="The customer's number; null for a guest")] = None
    country: Word
    lines: Annotated[list[NewLine], Field(min_length=1, max_length=MAX_LINES)]


class Taken(BaseModel):
    """An order, or its cancellation, that the shop has."""

    id: Annotated[str, Field(description="The order's number", examples=[_ID])]
    event_id: Annotated[
        str, Field(description="What all services know the event by", examples=[f"order:{_ID}"])
    ]
    href: Annotated[str, Field(description="Where its state is", examples=[f"/orders/{_ID}"])]


class Services(BaseModel):
    """What each service made of it; `pending` until it has told."""

    inventory: Annotated[str, Field(examples=["reserved"])]
    billing: Annotated[str, Field(examples=["invoiced"])]
    notification: Annotated[str, Field(examples=["sent"])]
    analytics: Annotated[str, Field(examples=["counted"])]


class Cancellation(BaseModel):
    """How far the order's cancellation is."""

    services: Services


class OrderView(BaseModel):
    """An order and how far it is."""

    id: Annotated[str, Field(examples=[_ID])]
    state: Annotated[
        str, Field(description="accepted, confirmed, cancelling, cancelled or failed", examples=["confirmed"])
    ]
    customer: Annotated[str | None, Field(examples=["17850"])]
    country: Annotated[str, Field(examples=["United Kingdom"])]
    placed_at: Annotated[str, Field(description="The shop's local time", examples=["2026-01-31T12:30:00"])]
    total: Annotated[str, Field(description="Exact, as text", examples=["35.64"])]
    services: Services
    cancellation: Cancellation | None


class Problem(BaseModel):
    """What went wrong, in words."""

    detail: str


class Undelivered(Problem):
    """Nobody knows whether, or how far, the order was delivered."""

    id: Annotated[str, Field(description="The number under which it may appear all the same", examples=[_ID])]
    event_id: Annotated[str, Field(examples=[f"order:{_ID}"])]
    href: Annotated[str, Field(examples=[f"/orders/{_ID}"])]


class FieldProblem(BaseModel):
    """What is wrong with one field, or with the header named in `loc`."""

    type: Annotated[str, Field(examples=["greater_than"])]
    loc: Annotated[list[str | int], Field(examples=[["body", "lines", 0, "quantity"]])]
    msg: Annotated[str, Field(examples=["Input should be greater than 0"])]


class Invalid(BaseModel):
    """The request cannot be an order; up to 20 reasons."""

    detail: list[FieldProblem]


def order_number(customer: str | None, key: str | None) -> str:
    """A new number, or with a key the one number that the customer's orders under this key have."""
    if key is None:
        return f"W{uuid.uuid4().hex}"
    return f"W{uuid.uuid5(NAMESPACE, json.dumps([customer, key])).hex}"


def make_order(new: NewOrder, number: str, now: datetime) -> Order:
    """The event of a validated order; times are kept to the second."""
    return Order(
        number,
        new.customer,
        new.country,
        now.replace(microsecond=0),
        tuple(
            Line(line.stock_code, line.description, line.quantity, Decimal(line.unit_price))
            for line in new.lines
        ),
    )


def make_cancellation(order: Order, now: datetime) -> Order:
    """The event that takes the order back: the same lines with negated quantities."""
    return Order(
        cancellation_of(order.invoice_no),
        order.customer,
        order.country,
        now.replace(microsecond=0),
        tuple(msgspec.structs.replace(line, quantity=-line.quantity) for line in order.lines),
        cancels=order.invoice_no,
    )


def same_order(one: Order, other: Order) -> bool:
    """Whether both ask for the same, whenever they came."""
    return msgspec.structs.replace(one, placed_at=other.placed_at) == other


def as_taken(event: Order) -> dict[str, str]:
    """A `Taken`."""
    number = event.cancels or event.invoice_no
    return {"id": number, "event_id": event.event_id, "href": f"/orders/{number}"}


def as_view(state: OrderState, *, delivered: bool) -> dict[str, object]:
    """An `OrderView`; an order in the view that was not delivered has failed half-way."""
    order, cancellation = state.order, state.cancellation
    return {
        "id": order.invoice_no,
        "state": state.state if delivered else "failed",
        "customer": order.customer,
        "country": order.country,
        "placed_at": order.placed_at.isoformat(),
        "total": as_text(order.total),
        "services": state.services,
        "cancellation": _services(cancellation),
    }


def _services(told: Mapping[str, str] | None) -> dict[str, Mapping[str, str]] | None:
    return None if told is None else {"services": told}
