"""The history of a topic: what is new, what is a repeat, and what only looks like one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from streamadapter import AdminClient, Producer
from streamadapter.admin import NewTopic
from streamstore.app import ensure_topics
from streamstore.database import Database
from streamstore.delivery_tracking import METADATA
from streamstore.delivery_tracking.locations import HISTORY, Location, encode
from streamstore.streaming.history import (
    BEGINNING,
    Place,
    Position,
    Record,
    Row,
    append,
    place,
    prepare,
    read_after,
    read_latest,
    read_newest,
    read_positions,
    write,
)
from streamstore.streaming.live import Latest, follow
from streamstore.streaming.writer import write_history


def record(offset: int, published_at: int, key: str = "c", partition: int = 0) -> Record:
    return Record(partition, offset, published_at, key, (0.0, 0.0, published_at))


# -- the decision


def test_records_that_continue_the_log_are_added() -> None:
    following, rows = place(Position(0, 5), [record(5, 50), record(6, 60)], ())

    assert following == Position(0, 7)
    assert [row.place for row in rows] == [Place(0, 5, 0), Place(0, 6, 0)]


def test_a_gap_in_the_offsets_is_passed_over() -> None:
    assert place(Position(0, 5), [record(9, 50)], ())[0] == Position(0, 10)


def test_a_record_that_is_delivered_again_is_left_out() -> None:
    following, rows = place(Position(0, 7), [record(5, 50), record(6, 60), record(7, 70)], {(5, 50), (6, 60)})

    assert following == Position(0, 8)
    assert [row.place.offset for row in rows] == [7]


def test_an_offset_that_is_used_again_begins_a_new_log() -> None:
    following, rows = place(
        Position(0, 7), [record(5, 50), record(6, 99), record(7, 100)], {(5, 50), (6, 60)}
    )

    assert following == Position(1, 8)
    assert [row.place for row in rows] == [Place(1, 6, 0), Place(1, 7, 0)]


def test_later_records_have_larger_places_whatever_their_offsets() -> None:
    _, before = place(BEGINNING, [record(0, 1), record(1000, 2)], ())
    _, after = place(Position(0, 1001), [record(0, 3), record(1, 4)], ())

    places = [row.place for row in (*before, *after)]
    assert places == sorted(places)
    assert len(set(places)) == 4


# -- the tables


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/history.db", METADATA)
    yield opened
    opened.close()


def times(database: Database) -> list[int]:
    with database.read() as connection:
        return sorted(connection.scalars(sa.select(HISTORY.rows.c.published_at)))


def written(database: Database, records: list[Record]) -> int:
    with database.write() as connection:
        return write(connection, HISTORY, records)


def test_records_of_several_keys_and_partitions_are_stored_once(database: Database) -> None:
    records = [record(i, 10 * p + i, f"c-{p}-{i % 3}", p) for i in range(7) for p in range(3)]

    assert written(database, records) == 21
    assert written(database, records[6:]) == 0
    assert times(database) == sorted(r.published_at for r in records)


def test_a_topic_made_anew_is_stored_beside_the_old_one_and_also_only_once(database: Database) -> None:
    old = [record(i, i) for i in range(10)]
    new = [record(i, 100 + i) for i in range(5)]

    assert [written(database, batch) for batch in (old, new, new, new[2:])] == [10, 5, 0, 0]

    assert times(database) == [*range(10), *range(100, 105)]
    with database.read() as connection:
        assert read_positions(connection, HISTORY) == {0: Position(1, 5)}
        assert [row.published_at for row in read_newest(connection, HISTORY, "c", 6)] == [
            104, 103, 102, 101, 100, 9,
        ]  # fmt: skip


def test_a_log_that_lost_its_tail_is_stored_on_from_there_when_all_of_it_is_delivered_again(
    database: Database,
) -> None:
    written(database, [record(i, i) for i in range(10)])
    lost_from = 6
    again = [record(i, i) for i in range(lost_from)]
    new = [record(i, 100 + i) for i in range(lost_from, 12)]

    assert written(database, again + new) == 6
    assert written(database, again + new) == 0

    assert times(database) == [*range(10), *range(106, 112)]


def test_the_newest_row_of_each_key_is_kept_by_its_place_and_not_by_a_clock(database: Database) -> None:
    written(database, [record(0, 100, "a"), record(1, 100, "b")])
    written(database, [record(2, 50, "a")])

    with database.read() as connection:
        assert {row.key: row.published_at for row in read_latest(connection, HISTORY)} == {"a": 50, "b": 100}


def test_pages_follow_each_other_without_a_gap(database: Database) -> None:
    written(database, [record(i, i) for i in range(10)])
    written(database, [record(i, 100 + i) for i in range(5)])

    seen: list[int] = []
    after = Place(0, -1, 0)
    with database.read() as connection:
        while page := read_after(connection, HISTORY, "c", after, 4):
            seen += [row.published_at for row in page]
            after = page[-1].place

    assert seen == [*range(10), *range(100, 105)]


def test_rows_that_come_from_no_topic_continue_the_tables_and_a_topic_may_follow(database: Database) -> None:
    prepare(database, HISTORY, 1)
    with database.write() as connection:
        rows = append(connection, HISTORY, 1, 7, [("c", (0.0, 0.0, 7))] * 3)
    assert [row.place for row in rows] == [Place(0, 0, 0), Place(0, 1, 0), Place(0, 2, 0)]

    assert written(database, [record(0, 100), record(1, 101)]) == 2

    assert times(database) == [7, 7, 7, 100, 101]


# -- from a topic


def publish(*locations: Location) -> None:
    with Producer({}) as producer:
        for location in locations:
            producer.produce("delivery-locations", encode(location), location.courier)
        assert producer.flush(30) == 0


@pytest.fixture
def shop(open_shop: Callable[..., Any]) -> Any:
    shop = open_shop("memory", partitions=2)
    ensure_topics(shop.settings)
    return shop


@pytest.fixture
def background() -> Iterator[Callable[..., None]]:
    """Runs functions whose last argument is an event that ends them."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def run(function: Callable[..., None], *arguments: object) -> None:
        threads.append(threading.Thread(target=function, args=(*arguments, stop), daemon=True))
        threads[-1].start()

    yield run
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_a_record_that_is_none_is_passed_over(
    shop: Any, database: Database, background: Callable[..., None], await_condition: Callable[..., None]
) -> None:
    with Producer({}) as producer:
        nested = b'{"x":' + b"[" * 100_000
        for value in (b"", b"{", nested, b'{"courier": "a b", "latitude": 1, "longitude": 1, "at": 1}'):
            producer.produce("delivery-locations", value, "c-1")
        assert producer.flush(30) == 0
    publish(Location("c-1", 1, 2, 3))

    background(write_history, HISTORY, "delivery-locations", database, shop.settings)

    await_condition(lambda: len(times(database)) == 1)


def test_the_live_view_has_what_no_database_has_yet(
    shop: Any, database: Database, background: Callable[..., None]
) -> None:
    publish(*(Location(f"c-{i}", 1, 2, at) for at in (100, 50) for i in range(8)))
    latest, caught_up = Latest(), threading.Event()

    background(follow, HISTORY, "delivery-locations", database, latest, shop.settings, caught_up)

    assert caught_up.wait(60)
    assert {row.key: row.values[2] for row in latest.all()} == {f"c-{i}": 50 for i in range(8)}


def test_a_topic_made_anew_is_followed_and_written_without_losing_a_record(
    shop: Any,
    database: Database,
    background: Callable[..., None],
    await_condition: Callable[..., None],
) -> None:
    latest, caught_up = Latest(), threading.Event()
    background(write_history, HISTORY, "delivery-locations", database, shop.settings)
    background(follow, HISTORY, "delivery-locations", database, latest, shop.settings, caught_up)
    publish(*(Location(f"c-{i}", 1, 2, 1) for i in range(20)))
    await_condition(lambda: len(times(database)) == 20)

    with AdminClient({}) as admin:
        admin.delete_topics(["delivery-locations"])["delivery-locations"].result(30)
        admin.create_topics([NewTopic("delivery-locations", 2)])["delivery-locations"].result(30)
    publish(*(Location(f"c-{i}", 1, 2, 2) for i in range(20)))

    await_condition(lambda: len(times(database)) == 40)
    await_condition(lambda: {row.values[2] for row in latest.all()} == {2})


class Recorder(Latest):
    """A view that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Place] = []
        self.restarts = 0

    def add(self, rows: Sequence[Row]) -> None:
        super().add(rows)
        self.seen += [row.place for row in rows]

    def loaded(self, latest: Sequence[Row]) -> None:
        super().add(latest)

    def restarted(self) -> None:
        self.restarts += 1


def test_records_of_a_new_log_are_shown_only_when_the_history_says_which_log_it_is(
    shop: Any, database: Database, background: Callable[..., None], await_condition: Callable[..., None]
) -> None:
    # given a history that is further than the log
    written(database, [record(i, i, partition=p) for i in range(10) for p in range(2)])
    publish(*(Location("c-1", 1, 2, 3) for _ in range(3)))
    view = Recorder()

    background(follow, HISTORY, "delivery-locations", database, view, shop.settings, threading.Event())
    await_condition(lambda: view.restarts > 0)
    assert view.seen == []

    background(write_history, HISTORY, "delivery-locations", database, shop.settings)
    await_condition(lambda: len(times(database)) == 23)
    publish(Location("c-1", 1, 2, 4))
    await_condition(lambda: {row.key: row.place for row in view.all()}.get("c-1") == Place(1, 3, 0))
    assert all(each.log == 1 for each in view.seen)
