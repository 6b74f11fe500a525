"""Reads orders from CSV files in the format of the UCI data set "Online Retail", with all their dirt.

The columns stand in the header, in any order. All rows with one InvoiceNo are one order, wherever in the file
they are; its customer is the first one given, its date and country are the first row's. A row that cannot be
parsed is rejected with its line number and reason, and the rest is read on.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from streamstore.orders import MAX_QUANTITY, Line, Order, is_price

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
# The first is the data set's as CSV exports have it, the second as its spreadsheet shows it.
DATE_FORMATS = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M")
# int() and Decimal() also take "1_000" and digits of other scripts.
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,2})?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class FormatError(ValueError):
    """The file as a whole is not in the format; the text says why."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be parsed: the line it begins on (the header is line 1), why, and its fields."""

    line: int
    reason: str
    row: tuple[str, ...]


@dataclass(slots=True)
class OrderFile:
    """What a file holds: `rows` counts all data rows, rejected ones too; orders stand in order of first row."""

    rows: int = 0
    orders: list[Order] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


class _Row(NamedTuple):
    invoice_no: str
    placed_at: datetime
    customer: str | None
    country: str
    line: Line


def read_orders(path: Path) -> OrderFile:
    """Read a whole file into memory (540,000 rows of the full data set: about 10 s).

    Raises FormatError if the header is missing, OSError if the file cannot be read.
    """
    result = OrderFile()
    invoices: dict[str, list[_Row]] = {}
    with path.open("rb") as file:
        rows = _records(file)
        parse = _parser(next(rows, None))
        for number, fields in rows:
            result.rows += 1
            try:
                row = parse(fields)
            except ValueError as error:
                result.rejects.append(Reject(number, str(error), tuple(fields)))
            else:
                invoices.setdefault(row.invoice_no, []).append(row)
    result.orders = [_order(rows) for rows in invoices.values()]
    return result


def write_rejects(path: Path, rejects: list[Reject]) -> None:
    """Write the rejected rows as CSV: line, reason, then the row's fields as they were read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Line", "Reason", *COLUMNS])
        writer.writerows([reject.line, reject.reason, *reject.row] for reject in rejects)


def _records(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Every CSV record that is not blank, with the number of the line it begins on."""
    reader = csv.reader(_decoded(file))
    while True:
        begins = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # e.g. a quote never closed; the reader starts afresh on the next line
            fields = [f"(unreadable: {error})"]
        if fields:
            yield begins, fields


def _decoded(file: BinaryIO) -> Iterator[str]:
    """Lines as text. Copies of the data set go round in UTF-8 and in Windows' code page; pound signs tell."""
    for number, raw in enumerate(file):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 0 else raw
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            yield line.decode("cp1252", errors="replace")


def _parser(header: tuple[int, list[str]] | None) -> Callable[[list[str]], _Row]:
    names = [name.strip() for name in header[1]] if header else []
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise FormatError(f"no column {', '.join(missing)} in its first line; expected {','.join(COLUMNS)}")
    width = len(names)
    invoice, stock, description, quantity, date, price, customer, country = map(names.index, COLUMNS)

    def parse(fields: list[str]) -> _Row:
        if len(fields) != width:
            raise ValueError(f"{len(fields)} field{'s'[: len(fields) != 1]} instead of {width}")
        return _Row(
            _invoice_no(fields[invoice]),
            _date(fields[date].strip()),
            _customer(fields[customer]),
            _text(fields[country]),
            Line(
                stock_code=_text(fields[stock]),
                description=_text(fields[description]) or None,
                quantity=_quantity(fields[quantity].strip()),
                unit_price=_price(fields[price].strip()),
            ),
        )

    return parse


def _order(rows: list[_Row]) -> Order:
    first = rows[0]
    return Order(
        invoice_no=first.invoice_no,
        customer=next((row.customer for row in rows if row.customer), None),
        country=first.country,
        placed_at=first.placed_at,
        lines=tuple(row.line for row in rows),
    )


def _text(value: str) -> str:
    """One line of printable text: a line break in a quoted field must not reach a mail header."""
    return _CONTROL.sub(" ", value).strip()


def _invoice_no(value: str) -> str:
    invoice_no = value.strip()
    if not invoice_no:
        raise ValueError("no invoice number")
    if len(invoice_no) > 64 or _CONTROL.search(invoice_no):
        raise ValueError("invoice number is not one: too long, or with control characters")
    return invoice_no


def _customer(value: str) -> str | None:
    """Spreadsheets made floats of the ids: 17850.0 is customer 17850."""
    return _text(value).removesuffix(".0") or None


def _quantity(value: str) -> int:
    if not _INTEGER.fullmatch(value):
        raise ValueError(f"quantity is not an integer: {value!r:.40}")
    quantity = int(value)
    if abs(quantity) > MAX_QUANTITY:
        raise ValueError(f"quantity is out of range: {value!r:.40}")
    return quantity


def _price(value: str) -> Decimal:
    if not _NUMBER.fullmatch(value):
        raise ValueError(f"price is not a number: {value!r:.40}")
    price = Decimal(value)
    if not is_price(price):
        raise ValueError(f"price is out of range: {value!r:.40}")
    return price


@lru_cache(maxsize=4096)
def _date(value: str) -> datetime:
    for form in DATE_FORMATS:
        try:
            return datetime.strptime(value, form)
        except ValueError:
            continue
    raise ValueError(f"bad date: {value!r:.40}")
