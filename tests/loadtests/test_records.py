"""What is sent: the same in every process, and as much as the figures say."""

from __future__ import annotations

import zlib

import msgspec
from bench.records import Records, chunked, json_orders, random_records, records_of, turns

from streamstore.orders import decode


def test_random_values_have_their_size_and_cannot_be_compressed() -> None:
    records = random_records(100)
    assert {len(value) for value in records.values} == {100}
    assert {len(key) for key in records.keys} == {12}
    assert len(zlib.compress(b"".join(records.values))) >= 100 * len(records)


def test_every_process_sends_the_same() -> None:
    assert random_records(10) == random_records(10)
    assert json_orders(50) == json_orders(50)


def test_orders_are_the_shops_own_and_none_comes_twice() -> None:
    # given more than there are real ones
    records = json_orders(1000)
    # when
    orders = [decode(value) for value in records.values]
    # then
    assert [order.key.encode() for order in orders] == records.keys
    assert len({order.invoice_no for order in orders}) == len(orders)
    assert len({msgspec.json.encode(order.lines) for order in orders if len(order.lines) > 1}) > 700


def test_values_are_named_by_size_or_as_orders() -> None:
    assert len(records_of("10").values[0]) == 10
    assert records_of("json").values[0].startswith(b'{"invoice_no"')


def test_going_round_gives_exactly_as_many_records_as_asked_for() -> None:
    records = random_records(10, 2500)
    for wanted in (1, 999, 1000, 1001, 2500, 2501, 6000):
        chunks = list(turns(chunked(records), wanted))
        assert sum(map(len, chunks)) == wanted
        keys = [key for chunk in chunks for key in chunk.keys]
        assert keys[:2500] == records.keys[:wanted]
        assert sum(map(len, keys)) == records.key_bytes(wanted)


def test_bytes_are_counted_in_turn() -> None:
    records = Records([b"a", b"bb"], [b"ccc", b"dddd"])
    assert [records.key_bytes(n) for n in (1, 2, 3, 4)] == [1, 3, 4, 6]
    assert [records.value_bytes(n) for n in (1, 2, 3)] == [3, 7, 10]


def test_pairs_and_dicts_hold_the_same_records() -> None:
    records = Records([b"k"], [b"v"])
    assert records.pairs() == [(b"v", b"k")]
    assert records.dicts() == [{"value": b"v", "key": b"k"}]
