"""The records that are sent, the same in every process: as columns, which the cases cycle over."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "online_retail"
CUSTOMERS = 1000
SEED = 20101201


@dataclass(frozen=True, slots=True)
class Records:
    """Keys and values, of equal length."""

    keys: list[bytes]
    values: list[bytes]

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """(value, key), in the order of produce()'s arguments."""
        return list(zip(self.values, self.keys, strict=True))

    def dicts(self) -> list[dict[str, Any]]:
        """As produce_batch() takes them."""
        return [{"value": value, "key": key} for value, key in self.pairs()]

    def key_bytes(self, records: int) -> int:
        """Of so many records, taken in turn."""
        return _sum_in_turn(self.keys, records)

    def value_bytes(self, records: int) -> int:
        """Of so many records, taken in turn."""
        return _sum_in_turn(self.values, records)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, part: slice) -> Records:
        return Records(self.keys[part], self.values[part])


def _sum_in_turn(column: list[bytes], records: int) -> int:
    whole, rest = divmod(records, len(column))
    return whole * sum(map(len, column)) + sum(map(len, column[:rest]))


class Sliceable(Protocol):
    """Pairs and dicts in lists, Records."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Any: ...


T = TypeVar("T", bound=Sliceable)


def chunked(items: T, size: int = 1000) -> list[T]:
    """Cut into parts of at most `size`: made before the clock starts."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def turns(chunks: Sequence[T], records: int) -> Iterator[T]:
    """Go round the chunks until there were so many records; the last chunk is cut."""
    for chunk in itertools.cycle(chunks):
        if records <= len(chunk):
            yield chunk[:records]
            return
        yield chunk
        records -= len(chunk)


def random_records(size: int, count: int = 1000) -> Records:
    """Values of `size` bytes that no compression can make smaller; a thousand customers' keys of 12 bytes."""
    dice = random.Random(SEED)
    keys = [b"customer-%03d" % (i % CUSTOMERS) for i in range(count)]
    return Records(keys, [dice.randbytes(size) for _ in range(count)])


def json_orders(count: int = 10_000) -> Records:
    """Order events as the shop writes them, of real orders; keyed by customer.

    There are some hundred real orders, far fewer than fit into a batch, and orders that come twice would flatter a
    compression. So their lines are dealt anew to each turn of them: every order has as many as the real one had.
    """
    # Here, for a process that measures a client alone shall not import the shop.
    from streamstore.orders import encode
    from streamstore.replaying.online_retail import read_orders

    orders = [order for file in order_files() for order in read_orders(file).orders]
    lines = [line for order in orders for line in order.lines]
    dice = random.Random(SEED)
    records = Records([], [])
    for number in range(count):
        if number % len(orders) == 0:
            dice.shuffle(lines)
            dealt = iter(lines)
        order = orders[number % len(orders)]
        order = msgspec.structs.replace(
            order,
            invoice_no=f"{'C' if order.is_cancellation else ''}{536365 + number}",
            lines=tuple(next(dealt) for _ in order.lines),
        )
        records.keys.append(order.key.encode())
        records.values.append(encode(order))
    return records


def order_files() -> list[Path]:
    """Two days of the UCI data set if they are beside the project, else the sample that ships with the shop."""
    from streamstore.replaying.sample import SAMPLE

    return sorted(SHARED.glob("*.csv")) or [SAMPLE]


def records_of(values: str) -> Records:
    """By the name that a case's arguments use: a size in bytes, or "json"."""
    return json_orders() if values == "json" else random_records(int(values))
