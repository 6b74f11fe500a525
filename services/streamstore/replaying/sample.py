"""Generates `sample.csv`, the order file that ships with the package: ``python -m streamstore.replaying.sample``.

Invented orders in the format, and with the dirt, of the UCI data set: cancellations, guests, missing
descriptions, zero prices, negative quantities, a few rows nobody can parse. The same on every Python: of the
generator only `random()` is used, whose sequence is promised not to change.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from streamstore.replaying.online_retail import COLUMNS

T = TypeVar("T")

SAMPLE = Path(__file__).with_name("sample.csv")
ORDERS = 400
SEED = 20101201
COUNTRIES = ("United Kingdom",) * 12 + ("Germany", "France", "EIRE", "Norway", "Portugal")
MATERIALS = ("WOODEN", "ENAMEL", "GLASS", "KNITTED", "PAPER", "WICKER", "CERAMIC", "TIN", "FELT")
COLOURS = ("RED", "IVORY", "SKY BLUE", "PINK", "GREEN", "RETROSPOT", "POLKADOT")
THINGS = ("LANTERN", "MUG", "HEART HOLDER", "CAKE STAND", "BUNTING", "DOORMAT", "COAT HANGER", "TEA TOWEL")
PRICES = ("0.42", "0.85", "1.25", "1.65", "2.1", "2.55", "3.39", "4.25", "7.95", "12.75", "0.001")


def generate() -> str:
    """The sample as CSV text."""
    dice = _Dice(SEED)
    products = [
        (
            f"{21000 + 7 * number}{'ABC'[number % 3] if number % 9 == 0 else ''}",
            f"{dice.one_of(COLOURS)} {dice.one_of(MATERIALS)} {dice.one_of(THINGS)}",
            dice.one_of(PRICES),
        )
        for number in range(150)
    ]
    customers = [(f"{12346 + 13 * number}.0", dice.one_of(COUNTRIES)) for number in range(90)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    now = datetime(2024, 12, 2, 8, 30)
    for number in range(ORDERS):
        now += timedelta(minutes=dice.up_to(5))
        writer.writerows(_order(dice, 600001 + number, now, products, customers))
        if number in _BROKEN:
            writer.writerow(_BROKEN[number])
    return out.getvalue()


_BROKEN = {
    30: ("", "21007", "RED TIN MUG", "3", "2024-12-02 09:01:00", "1.25", "12346.0", "United Kingdom"),
    150: ("600900", "21014", "GREEN FELT BUNTING", "six", "2024-12-02 12:10:00", "0.85", "", "France"),
    260: ("600901", "21021", "IVORY GLASS LANTERN", "2", "2024-12-02 15:40:00", "POA", "", "Germany"),
    390: ("600902", "21028", "PINK PAPER BUNTING", "1", "02.12.24 18 Uhr", "4.25", "12359.0", "Germany"),
}


class _Dice:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a repeatable sample, not a secret

    def up_to(self, limit: int) -> int:
        """0 .. limit - 1."""
        return int(self._random.random() * limit)

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.up_to(len(choices))]

    def happens(self, probability: float) -> bool:
        return self._random.random() < probability


def _order(
    dice: _Dice,
    number: int,
    placed_at: datetime,
    products: Sequence[tuple[str, str, str]],
    customers: Sequence[tuple[str, str]],
) -> list[tuple[str, ...]]:
    customer, country = dice.one_of(customers)
    if dice.happens(0.1):
        customer = ""
    cancelled = dice.happens(0.07)
    invoice_no = f"{'C' if cancelled else ''}{number}"
    written_off = not cancelled and dice.happens(0.02)  # damaged goods: a guest, no price, no description
    rows: list[tuple[str, ...]] = []
    for _ in range(1 + dice.up_to(8)):
        code, description, price = dice.one_of(products)
        quantity = 1 + dice.up_to(dice.one_of((3, 6, 12, 48)))
        if cancelled or written_off:
            quantity = -quantity
        if written_off:
            customer, description, price = "", "", "0.0"
        elif dice.happens(0.01):
            price = "0.0"
        elif dice.happens(0.01):
            description = ""
        rows.append(
            (invoice_no, code, description, str(quantity), placed_at.isoformat(" "), price, customer, country)
        )
    return rows


if __name__ == "__main__":
    SAMPLE.write_text(generate(), encoding="utf-8", newline="")
