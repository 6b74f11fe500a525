"""Invoices and credit notes for people: a page of HTML without anything external, made to be printed on A4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

import sqlalchemy as sa
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from streamstore.billing import CREDIT_NOTE, DOCUMENTS, LINES
from streamstore.database import Database
from streamstore.orders import EXACT, Line

MIN_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class Document:
    """An invoice or a credit note as it was issued."""

    number: str
    kind: str
    customer: str | None
    country: str
    issued_at: datetime
    cancels: str | None
    total: Decimal
    lines: Sequence[Line]

    @property
    def is_credit_note(self) -> bool:
        """Whether the shop owes the total to the customer."""
        return self.kind == CREDIT_NOTE


def invoice_html(database: Database, number: str) -> str | None:
    """The invoice or credit note of that number out of billing's database as a page of HTML, or None."""
    document = find_document(database, number)
    return None if document is None else _template().render(document=document)


def find_document(database: Database, number: str) -> Document | None:
    """The document of that number with its lines in their order, or None if none was issued."""
    of_number = sa.select(DOCUMENTS).where(DOCUMENTS.c.number == number)
    with database.read() as connection:
        found = connection.execute(of_number).mappings().one_or_none()
        if found is None:
            return None
        of_document = sa.select(LINES).where(LINES.c.event_id == found["event_id"]).order_by(LINES.c.position)
        rows = connection.execute(of_document).mappings().all()
    document: dict[str, Any] = {name: value for name, value in found.items() if name != "event_id"}
    return Document(**document, lines=[_line(row) for row in rows])


def amount_text(amount: Decimal) -> str:
    """Exact, with thousands separators, and at least two decimals: 1,234.50 or 0.001."""
    plain = EXACT.add(amount, Decimal(0))  # what is given away backwards is not -0.00
    exponent = EXACT.normalize(plain).as_tuple().exponent
    assert isinstance(exponent, int)  # noqa: S101 - EXACT has no infinities
    return f"{plain:,.{max(MIN_DECIMALS, -exponent)}f}"


def css_text(text: str) -> str:
    r"""For a string in a style sheet, where HTML's escapes mean nothing: each character as \hex."""
    return "".join(f"\\{ord(character):x} " for character in text)


def _line(row: sa.RowMapping) -> Line:
    return Line(row["stock_code"], row["description"], row["quantity"], row["unit_price"])


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("streamstore"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"amount": amount_text, "css": css_text}
    return environment.get_template("invoice.html")
