"""The event on the wire, and exact money."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore.orders import EXACT, MAX_QUANTITY, Line, Order, add, decode, encode

prices = st.decimals(min_value=-(10**6), max_value=10**6, places=4, allow_nan=False)
lines = st.builds(
    Line,
    stock_code=st.text(),
    description=st.none() | st.text(),
    quantity=st.integers(-MAX_QUANTITY, MAX_QUANTITY),
    unit_price=prices,
)
orders = st.builds(
    Order,
    invoice_no=st.text(min_size=1),
    customer=st.none() | st.text(min_size=1),
    country=st.text(),
    placed_at=st.datetimes(),
    lines=st.lists(lines, max_size=5).map(tuple),
)


@given(orders)
def test_an_order_comes_back_from_the_wire_as_it_was(order: Order) -> None:
    back = decode(encode(order))

    assert back == order
    assert [str(line.unit_price) for line in back.lines] == [str(line.unit_price) for line in order.lines]


def test_prices_are_decimal_strings_on_the_wire() -> None:
    line = Line("85123A", None, 6, Decimal("2.550"))
    order = Order("536365", None, "France", datetime(2010, 12, 1, 8, 26), (line,))

    assert json.loads(encode(order)) == {
        "invoice_no": "536365",
        "customer": None,
        "country": "France",
        "placed_at": "2010-12-01T08:26:00",
        "lines": [{"stock_code": "85123A", "description": None, "quantity": 6, "unit_price": "2.550"}],
    }


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"lines":' + b"[" * 100_000,
        b'{"invoice_no":"1","customer":null,"country":"","placed_at":"2010-12-01T08:26:00","lines":'
        b'[{"stock_code":"","description":null,"quantity":1,"unit_price":"NaN"}]}',
        b'{"invoice_no":"1","customer":null,"country":"","placed_at":"2010-12-01T08:26:00","lines":'
        b'[{"stock_code":"","description":null,"quantity":1,"unit_price":"1E+999999"}]}',
    ],
)
def test_what_is_no_order_raises_a_value_error(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(value)


@given(st.lists(lines, max_size=20))
def test_sums_are_exact(some: list[Line]) -> None:
    scale = 10**4

    total = add(line.amount for line in some)

    assert total * scale == sum(line.quantity * int(line.unit_price * scale) for line in some)


def test_arithmetic_raises_rather_than_rounds() -> None:
    with pytest.raises(Inexact):
        EXACT.divide(Decimal(1), Decimal(3))
