"""Invoices and credit notes as pages of HTML: what they say, what they escape, and how they print."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamstore.billing import METADATA, Billing
from streamstore.cli import main
from streamstore.database import Database, handle
from streamstore.invoice import amount_text, invoice_html
from streamstore.orders import Line, Order, add
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.sample import SAMPLE
from streamstore.settings import Settings

AT = datetime(2010, 12, 1, 8, 26)
ORDER = Order(
    "W1",
    "17850",
    "United Kingdom",
    AT,
    (
        Line("85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 1200, Decimal("2.55")),
        Line("71053", None, 6, Decimal("0.0015")),
    ),
)
CREDIT = Order("CW1", None, "EIRE", AT, (Line("71053", "LANTERN", -6, Decimal("3.390")),), cancels="W1")


class _Page(HTMLParser):
    """The text of each element that a person looks at, and of each row of the table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.details: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._term = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("meta", "br"):
            return
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in ("td", "th"):
            self.rows[-1][-1] += data
        if inside == "dt":
            self._term = data
        if "dd" in self._open:
            self.details[self._term] = self.details.get(self._term, "") + data
        self.texts[inside] = self.texts.get(inside, "") + data


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url("billing"), METADATA)
    yield database
    database.close()


def _page_of(database: Database, orders: Sequence[Order], number: str) -> _Page:
    handle(database, Billing(), orders)
    html = invoice_html(database, number)
    assert html is not None
    return _Page(html)


def test_an_invoice_says_who_when_what_and_how_much(database: Database) -> None:
    page = _page_of(database, [ORDER, CREDIT], "W1")

    assert page.texts["title"] == "Invoice W1"
    assert page.texts["h1"] == "Invoice"
    assert "Customer 17850" in page.texts["p"]
    assert "United Kingdom" in page.texts["p"]
    assert page.details == {"Number": "W1", "Date": "01 December 2010"}
    assert page.rows == [
        ["Item", "Description", "Quantity", "Unit price", "Amount"],
        ["85123A", "WHITE HANGING HEART T-LIGHT HOLDER", "1,200", "2.55", "3,060.00"],
        ["71053", "", "6", "0.0015", "0.009"],
        ["Total, GBP", "3,060.009"],
    ]


def test_a_credit_note_looks_different_and_names_the_order_it_cancels(database: Database) -> None:
    page = _page_of(database, [ORDER, CREDIT], "CW1")

    assert page.texts["h1"] == "Credit note"
    assert ("main", {"class": "credit-note"}) in page.tags
    assert "Guest" in page.texts["p"]
    assert page.details["Cancels order"] == "W1"
    assert page.rows[1:] == [["71053", "LANTERN", "-6", "3.39", "-20.34"], ["Total credited, GBP", "-20.34"]]


def test_a_number_that_billing_does_not_know_has_no_invoice(database: Database) -> None:
    assert invoice_html(database, "W1") is None


def test_what_customers_wrote_is_text_and_nothing_else(database: Database) -> None:
    nasty = """</style><script>alert("1")</script><img src=x onerror='a'>&amp;"; } * { display: none"""
    order = Order(nasty, nasty, nasty, AT, (Line(nasty, nasty, 1, Decimal(1)),))

    page = _page_of(database, [order], nasty)

    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img"})
    assert page.details["Number"] == nasty
    assert page.rows[1][:2] == [nasty, nasty]
    assert page.texts["p"].count(nasty) == 2
    assert "display: none" not in page.texts["style"]


def test_a_page_needs_nothing_from_elsewhere(database: Database) -> None:
    page = _page_of(database, [ORDER], "W1")

    assert not [attrs for _, attrs in page.tags if {"src", "href", "style"} & attrs.keys()]
    assert not re.search(r"url\(|@import", page.texts["style"])


def test_on_every_document_of_the_sample_the_amounts_add_up_to_the_total(database: Database) -> None:
    orders = read_orders(SAMPLE).orders
    handle(database, Billing(), orders)

    for order in orders:
        html = invoice_html(database, order.invoice_no)
        assert html is not None
        _, *lines, (_, total) = _Page(html).rows
        assert len(lines) == len(order.lines)
        amounts = [Decimal(amount.replace(",", "")) for *_, amount in lines]
        assert add(amounts) == Decimal(total.replace(",", "")) == order.total


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("-0.00", "0.00"),
        ("1E+3", "1,000.00"),
        ("2.5", "2.50"),
        ("2.5500", "2.55"),
        ("1234567.891", "1,234,567.891"),
        ("-1234.5", "-1,234.50"),
        (
            "123456789012345678901234567890.000000000001",
            "123,456,789,012,345,678,901,234,567,890.000000000001",
        ),
    ],
)
def test_amounts_are_exact_with_two_decimals_or_more(amount: str, text: str) -> None:
    assert amount_text(Decimal(amount)) == text


def test_the_command_writes_the_page_or_says_that_there_is_none(
    database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle(database, Billing(), [ORDER])
    config, output = tmp_path / "streamadapter.toml", tmp_path / "W1.html"
    config.write_text('backend = "memory"\n[streamstore]\ndata_dir = "shop"\n')
    monkeypatch.setenv("STREAMADAPTER_CONFIG", str(config))

    written = CliRunner().invoke(main, ["invoice", "W1", "--config", str(config), "--output", str(output)])
    shown = CliRunner().invoke(main, ["invoice", "W1"])
    unknown = CliRunner().invoke(main, ["invoice", "W2"])

    assert (written.exit_code, shown.exit_code, unknown.exit_code) == (0, 0, 1)
    assert output.read_text() == shown.output == f"{invoice_html(database, 'W1')}\n"
    assert unknown.output == "Error: billing has issued no invoice or credit note W2\n"
