"""Reading order files: what is an order, and what is rejected and why."""

from __future__ import annotations

import csv
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from streamstore.replaying.online_retail import COLUMNS, FormatError, OrderFile, read_orders, write_rejects
from streamstore.replaying.sample import SAMPLE, generate

if TYPE_CHECKING:
    from pathlib import Path

HEADER = ",".join(COLUMNS)
GOOD = "536365,85123A,WHITE HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"


def _read(tmp_path: Path, *lines: str, header: str = HEADER) -> OrderFile:
    path = tmp_path / "orders.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return read_orders(path)


def test_rows_with_one_invoice_number_are_one_order_wherever_they_stand(tmp_path: Path) -> None:
    file = _read(tmp_path, GOOD, GOOD.replace("536365", "536366"), GOOD.replace("85123A", "71053"))

    assert [(o.invoice_no, [line.stock_code for line in o.lines]) for o in file.orders] == [
        ("536365", ["85123A", "71053"]),
        ("536366", ["85123A"]),
    ]
    assert file.rows == 3


def test_an_order_has_the_fields_of_its_rows(tmp_path: Path) -> None:
    (order,) = _read(tmp_path, GOOD).orders

    assert (order.customer, order.country) == ("17850", "United Kingdom")
    assert order.placed_at == datetime(2010, 12, 1, 8, 26)
    assert order.total == Decimal("15.30")
    assert (order.event_id, order.key) == ("order:536365", "17850")


def test_dirt_that_is_normal_is_not_rejected(tmp_path: Path) -> None:
    file = _read(
        tmp_path,
        "C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom",
        "536414,22139,,56,2010-12-01 11:52:00,0.0,,United Kingdom",
        "",
        "536415,22140,WRITTEN OFF,-9,2010-12-01 11:53:00,0.001,,EIRE",
    )

    cancelled, guest, written_off = file.orders
    assert (cancelled.event_id, cancelled.total) == ("cancellation:C536379", Decimal("-27.5"))
    assert (guest.customer, guest.key, guest.lines[0].description) == (None, "536414", None)
    assert (written_off.is_cancellation, written_off.total) == (False, Decimal("-0.009"))
    assert (file.rows, file.rejects) == (3, [])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (GOOD.replace("536365", ""), "no invoice number"),
        (GOOD.replace("536365", "  "), "no invoice number"),
        (GOOD.replace("536365", "5" * 65), "invoice number is not one: too long, or with control characters"),
        (GOOD.replace(",6,", ",six,"), "quantity is not an integer: 'six'"),
        (GOOD.replace(",6,", ",6.5,"), "quantity is not an integer: '6.5'"),
        (GOOD.replace(",6,", ",1_000,"), "quantity is not an integer: '1_000'"),
        (GOOD.replace(",6,", ",,"), "quantity is not an integer: ''"),
        (GOOD.replace(",6,", ",9999999999999,"), "quantity is out of range: '9999999999999'"),
        (GOOD.replace("2.55", "POA"), "price is not a number: 'POA'"),
        (GOOD.replace("2.55", "nan"), "price is not a number: 'nan'"),
        (GOOD.replace("2.55", "1e99"), "price is out of range: '1e99'"),
        (GOOD.replace("2.55", ""), "price is not a number: ''"),
        (GOOD.replace("2010-12-01", "2010-13-01"), "bad date: '2010-13-01 08:26:00'"),
        (GOOD.replace("2010-12-01 08:26:00", ""), "bad date: ''"),
        (GOOD + ",more", "9 fields instead of 8"),
        ("536365", "1 field instead of 8"),
    ],
)
def test_a_row_that_cannot_be_parsed_is_rejected_with_line_and_reason(
    tmp_path: Path, row: str, reason: str
) -> None:
    file = _read(tmp_path, GOOD, row, GOOD)

    assert [(reject.line, reject.reason) for reject in file.rejects] == [(3, reason)]
    assert (file.rows, len(file.orders), len(file.orders[0].lines)) == (3, 1, 2)


def test_lines_are_counted_as_an_editor_does_when_a_field_has_line_breaks(tmp_path: Path) -> None:
    file = _read(tmp_path, GOOD.replace("WHITE HOLDER", '"WHITE\nHOLDER"'), "", ",x")

    assert [reject.line for reject in file.rejects] == [5]
    assert file.orders[0].lines[0].description == "WHITE HOLDER"


def test_a_quote_that_is_never_closed_costs_no_more_than_the_reader_buffers(tmp_path: Path) -> None:
    file = _read(tmp_path, '536365,"85123A', *[GOOD.replace("536365", f"{n}") for n in range(4000)])

    assert file.rejects[0].line == 2
    assert file.rejects[0].reason.endswith("instead of 8")
    assert len(file.orders) > 1000


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252"])
def test_both_encodings_in_which_the_data_set_goes_round_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(f"{HEADER}\r\n{GOOD.replace('WHITE', '£5 CAFÉ')}\r\n", encoding=encoding, newline="")

    assert read_orders(path).orders[0].lines[0].description == "£5 CAFÉ HOLDER"


def test_the_spreadsheet_s_date_format_is_read_too(tmp_path: Path) -> None:
    (order,) = _read(tmp_path, GOOD.replace("2010-12-01 08:26:00", "12/1/2010 8:26")).orders

    assert order.placed_at == datetime(2010, 12, 1, 8, 26)


@pytest.mark.parametrize("header", ["", "a,b,c", HEADER.replace("Quantity", "Menge")])
def test_a_file_of_another_format_is_refused_as_a_whole(tmp_path: Path, header: str) -> None:
    with pytest.raises(FormatError, match="Quantity"):
        _read(tmp_path, GOOD, header=header)


def test_the_rejects_file_has_line_reason_and_the_row(tmp_path: Path) -> None:
    file = _read(tmp_path, GOOD.replace("2.55", "POA"))

    write_rejects(tmp_path / "deep" / "rejects.csv", file.rejects)

    with (tmp_path / "deep" / "rejects.csv").open(newline="") as written:
        (row,) = csv.DictReader(written)
    assert (row["Line"], row["Reason"]) == ("2", "price is not a number: 'POA'")
    assert (row["InvoiceNo"], row["UnitPrice"]) == ("536365", "POA")


def test_the_bundled_sample_is_what_its_generator_makes_with_all_kinds_of_dirt() -> None:
    file = read_orders(SAMPLE)

    assert SAMPLE.read_text(encoding="utf-8") == generate()
    lines = [line for order in file.orders for line in order.lines]
    assert len(file.orders) == 400
    assert [reject.reason.split(":")[0] for reject in file.rejects] == [
        "no invoice number",
        "quantity is not an integer",
        "price is not a number",
        "bad date",
    ]
    assert any(order.is_cancellation for order in file.orders)
    assert any(order.customer is None for order in file.orders)
    assert any(line.description is None for line in lines)
    assert any(line.unit_price == 0 for line in lines)
    assert any(
        line.quantity < 0 for order in file.orders if not order.is_cancellation for line in order.lines
    )
