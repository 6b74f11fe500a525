"""Dead letters: what becomes of a batch that failed, and the records on the wire. No server is needed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from streamadapter import Message
from streamstore.dead_letters import Ledger, dead_letter, is_for, marker, replayed, without_contents
from streamstore.orders import Order
from streamstore.outlet import Record
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.sample import SAMPLE
from streamstore.runner import LONGEST_RETRY_SECONDS, Entry, after_failure, retry_delay

ORDERS = read_orders(SAMPLE).orders[:2]
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def _entries(*orders: Order | None) -> list[Entry]:
    return [
        Entry(Message("order-events", 0, offset), order, None if order else "junk", 0 if order else 1)
        for offset, order in enumerate(orders)
    ]


def test_a_batch_that_failed_is_tried_again_record_by_record_in_its_order() -> None:
    first, junk, second = _entries(ORDERS[0], None, ORDERS[1])

    pieces = after_failure([first, junk, second], "why", attempts=3)

    assert [piece[0].message.offset() for piece in pieces] == [0, 1, 2]
    assert [piece[0].attempts for piece in pieces] == [1, 1, 1]
    assert [piece[0].order for piece in pieces] == [ORDERS[0], None, ORDERS[1]]


def test_an_order_that_failed_alone_is_a_dead_letter_after_its_attempts_and_not_before() -> None:
    [[once]] = after_failure(_entries(ORDERS[0]), "first", attempts=2)
    [[twice]] = after_failure([once], "second", attempts=2)

    assert (once.order, once.reason, once.attempts) == (ORDERS[0], None, 1)
    assert (twice.order, twice.reason, twice.attempts) == (None, "second", 2)
    assert (once.failed, twice.failed) == (None, ORDERS[0].event_id)


def test_of_several_orders_none_is_blamed_before_it_has_failed_alone() -> None:
    pieces = after_failure(_entries(ORDERS[0], ORDERS[1]), "why", attempts=1)

    assert all(entry.order and entry.reason is None for [entry] in pieces)


def test_the_wait_before_a_retry_doubles_up_to_a_limit() -> None:
    assert [retry_delay(attempts, 0.2) for attempts in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert retry_delay(10**9, 0.2) == LONGEST_RETRY_SECONDS


def _kept(
    headers: list[tuple[str, bytes | None]] | None = None, reason: str = "why", attempts: int = 3
) -> Record:
    message = Message("order-events", 2, 14, b"k", b"v", headers)
    return dead_letter("dead-letters", message, "billing", reason, attempts, NOON)


def _delivered(record: Record, offset: int = 5, partition: int = 1) -> Message:
    encoded = [(name, value.encode() if isinstance(value, str) else value) for name, value in record.headers]
    key = record.key.encode() if isinstance(record.key, str) else record.key
    return Message(record.topic, partition, offset, key, record.value, encoded)


def _ledger(*messages: Message) -> Ledger:
    ledger = Ledger()
    for message in messages:
        ledger.add(message)
    return ledger


def test_a_dead_letter_is_its_original_with_headers_that_say_who_failed_where_and_why() -> None:
    record = _kept([("trace", b"7"), ("trace", None)])

    assert (record.topic, record.key, record.value) == ("dead-letters", b"k", b"v")
    assert record.headers == (
        ("trace", b"7"),
        ("trace", None),
        ("dead-letter.service", b"billing"),
        ("dead-letter.topic", b"order-events"),
        ("dead-letter.partition", b"2"),
        ("dead-letter.offset", b"14"),
        ("dead-letter.reason", b"why"),
        ("dead-letter.attempts", b"3"),
        ("dead-letter.at", b"2026-05-04T12:00:00.000+00:00"),
    )


def test_a_reason_is_one_line_of_bounded_length() -> None:
    headers = dict(_kept(reason="a\nb\r\n" + "\ud800" + "x" * 10_000).headers)

    reason = headers["dead-letter.reason"]
    assert isinstance(reason, bytes)
    assert reason.startswith(b"a b \\ud800xxx")
    assert len(reason) < 600


def test_a_replayed_record_is_its_original_again_for_one_service() -> None:
    [letter] = _ledger(_delivered(_kept([("trace", b"7")]))).all()

    again = replayed(letter)

    assert (again.topic, again.partition, again.key, again.value) == ("order-events", 2, b"k", b"v")
    assert again.headers == (
        ("trace", b"7"),
        ("streamstore.only", "billing"),
        ("dead-letter.attempts", "3"),
    )
    assert is_for(_delivered(again), "billing")
    assert not is_for(_delivered(again), "bill")
    assert is_for(Message("order-events", 0, 0), "analytics")


def test_attempts_count_up_over_replays_and_headers_do_not_pile_up() -> None:
    [letter] = _ledger(_delivered(_kept([("trace", b"7")], attempts=3))).all()
    again = _delivered(replayed(letter))

    second = dead_letter("dead-letters", again, "billing", "why", 2, NOON)

    names = Counter(name for name, _ in second.headers)
    assert dict(second.headers)["dead-letter.attempts"] == b"5"
    assert "streamstore.only" not in names
    assert set(names.values()) == {1}


@pytest.mark.parametrize("forged", [b"many", b"\xff", b"", None])
def test_attempts_that_are_no_number_count_as_none(forged: bytes | None) -> None:
    record = _kept([("dead-letter.attempts", forged)], attempts=1)

    assert dict(record.headers)["dead-letter.attempts"] == b"1"


def test_an_original_cannot_pass_its_dead_letter_off_as_replayed() -> None:
    forged = _delivered(_kept([("dead-letter.replayed", b"1:5"), ("dead-letter.service", b"nobody")]))

    [letter] = _ledger(forged).open()

    assert letter.service == "billing"


def test_a_marker_closes_its_dead_letter_alone_whichever_is_read_first() -> None:
    one, other = _delivered(_kept(), 5), _delivered(_kept(), 6)
    [letter] = _ledger(one).all()
    mark = marker("dead-letters", letter)

    for ledger in (_ledger(_delivered(mark, 7), one, other), _ledger(one, other, _delivered(mark, 7))):
        assert [letter.id for letter in ledger.open()] == ["1:6"]
        assert [letter.id for letter in ledger.all()] == ["1:5", "1:6"]
    assert mark.partition == 1


def test_strangers_in_the_topic_are_passed_over() -> None:
    broken = [(name, value) for name, value in _kept().headers if name != "dead-letter.offset"]

    ledger = _ledger(
        Message("dead-letters", 0, 0, b"k", b"v"),
        Message("dead-letters", 0, 1, b"k", b"v", [*broken, ("dead-letter.offset", b"far")]),
        Message("dead-letters", 0, 2, b"k", b"v", broken),
    )

    assert ledger.all() == []


def test_a_dead_letter_without_its_contents_says_so_and_is_not_replayed() -> None:
    smaller = without_contents(_kept([("trace", b"7" * 1000)]))
    assert smaller is not None
    [letter] = _ledger(_delivered(smaller)).all()

    assert letter.omitted
    assert (letter.key, letter.value, letter.headers) == (None, None, ())
    assert letter.origin == "order-events:2:14"
    assert without_contents(smaller) is None
    assert without_contents(Record("order-status", b"v", b"k")) is None
    with pytest.raises(ValueError, match="1:5"):
        replayed(letter)
