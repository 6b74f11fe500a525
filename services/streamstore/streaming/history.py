"""A topic's records in a service's own database: written in batches, nothing lost and nothing twice.

Three tables: every record; the newest record of each key; and for each partition how far its records have come,
written in the same transaction. A record that is delivered again lies below that position and is found by its place
and time of publishing, so it is left out. One that lies below it and is *not* found means that offsets are used
again: the topic was deleted and made anew, or the server lost the log's tail. It is a new record of a new `log` of
its partition. Hence (log, offset) rises in a partition whatever happens to the topic, and nothing that was
published is taken for a repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple
from zlib import crc32

import sqlalchemy as sa

from streamstore.database import CHUNK, Database, insert_rows

KEY_PATTERN = "[A-Za-z0-9._-]{1,64}"  # of the names that are keys: couriers, channels


class Place(NamedTuple):
    """Where a record stands in the history. Of one key's records, the later one has the larger place."""

    log: int  # 0, and one more each time the partition's offsets began to be used again
    offset: int
    partition: int


class Row(NamedTuple):
    """A record of the topic as the tables have it; `values` are the service's columns."""

    key: str
    place: Place
    published_at: int  # the record's timestamp, ms
    values: tuple[Any, ...]


class Position(NamedTuple):
    """What a partition's next record is expected to be; everything before is in the database."""

    log: int
    offset: int


BEGINNING = Position(0, 0)


@dataclass(frozen=True)
class History:
    """A service's tables of a topic, and the reading of a record's value.

    decode: (value) -> key and the values of the service's columns. Raises ValueError for what is none of its records.
    """

    service: str  # its consumer group too
    rows: sa.Table
    latest: sa.Table
    positions: sa.Table
    decode: Callable[[bytes], tuple[str, tuple[Any, ...]]]


def history_tables(
    metadata: sa.MetaData, service: str, key: str, columns: Callable[[], Sequence[sa.Column[Any]]]
) -> tuple[sa.Table, sa.Table, sa.Table]:
    """The tables `<service>_history`, `<service>_latest` and `<service>_positions`.

    Rows are kept in the order of their keys, as they are read; `columns` makes the service's columns, once a table.
    """

    def common(*, all_places: bool) -> list[sa.Column[Any]]:
        return [
            sa.Column(key, sa.Text, primary_key=True),
            sa.Column("log", sa.Integer, primary_key=all_places, nullable=False),
            sa.Column("offset", sa.BigInteger, primary_key=all_places, nullable=False),
            sa.Column("partition", sa.Integer, primary_key=all_places, nullable=False),
            sa.Column("published_at", sa.BigInteger, nullable=False),
        ]

    rows = sa.Table(
        f"{service}_history", metadata, *common(all_places=True), *columns(), sqlite_with_rowid=False
    )
    latest = sa.Table(f"{service}_latest", metadata, *common(all_places=False), *columns())
    positions = sa.Table(
        f"{service}_positions",
        metadata,
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("log", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
    )
    return rows, latest, positions


# -- deciding what is new


class Record(NamedTuple):
    """A decoded record where the topic has it."""

    partition: int
    offset: int
    published_at: int
    key: str
    values: tuple[Any, ...]


def place(
    position: Position, records: Sequence[Record], known: Collection[tuple[int, int]]
) -> tuple[Position, list[Row]]:
    """The rows that records of one partition, in the order of delivery, add to its history; and what comes next.

    `known` has offset and time of publishing of stored records, at least of those that are delivered again.
    """
    current, following = position
    rows: list[Row] = []
    for record in records:
        if record.offset < following:
            if (record.offset, record.published_at) in known:
                continue
            current += 1
        following = record.offset + 1
        rows.append(
            Row(
                record.key,
                Place(current, record.offset, record.partition),
                record.published_at,
                record.values,
            )
        )
    return Position(current, following), rows


# -- reading and writing the tables


def read_positions(connection: sa.Connection, history: History) -> dict[int, Position]:
    """Of the partitions that have a history."""
    return {row[0]: Position(row[1], row[2]) for row in connection.execute(sa.select(history.positions))}


def read_latest(connection: sa.Connection, history: History) -> list[Row]:
    """The newest row of each key."""
    return [_row(row) for row in connection.execute(sa.select(history.latest))]


def read_newest_of(connection: sa.Connection, history: History, key: str) -> Row | None:
    """The newest row of one key."""
    query = sa.select(history.latest).where(next(iter(history.latest.c)) == key)
    row = connection.execute(query).first()
    return None if row is None else _row(row)


def read_after(connection: sa.Connection, history: History, key: str, after: Place, limit: int) -> list[Row]:
    """A key's rows that follow a place, oldest first."""
    columns = history.rows.c
    later = sa.tuple_(columns.log, columns.offset, columns.partition) > sa.tuple_(*map(sa.literal, after))
    return _select(connection, history, key, limit, later, newest_first=False)


def read_newest(connection: sa.Connection, history: History, key: str, limit: int) -> list[Row]:
    """A key's newest rows, newest first."""
    return _select(connection, history, key, limit, sa.true(), newest_first=True)


def write(connection: sa.Connection, history: History, records: Sequence[Record]) -> int:
    """Add delivered records, those of each partition in their order; returns how many were new."""
    by_partition = attrgetter("partition")
    added = 0
    # In the order of partitions: of two instances that lock several, none waits for the other.
    for partition, group in groupby(sorted(records, key=by_partition), by_partition):
        theirs = list(group)
        position = _lock(connection, history, partition)
        known = _known(connection, history, position or BEGINNING, theirs)
        following, rows = place(position or BEGINNING, theirs, known)
        _insert(connection, history, rows)
        _move(connection, history, partition, position, following)
        added += len(rows)
    return added


def prepare(database: Database, history: History, partitions: int) -> None:
    """Make the positions that `append` locks. Repeatable; raises IntegrityError if another instance does so too."""
    with database.write() as connection:
        for partition in range(partitions):
            if _lock(connection, history, partition) is None:
                _move(connection, history, partition, None, BEGINNING)


def append(
    connection: sa.Connection,
    history: History,
    partitions: int,
    published_at: int,
    entries: Sequence[tuple[str, tuple[Any, ...]]],
) -> list[Row]:
    """Add keys and values that come from no topic: where there is no log to order them, the tables do.

    Partitions that were prepared keep writers of different keys out of each other's way.
    """
    added: list[Row] = []
    by_partition = itemgetter(0)
    located = [(crc32(key.encode()) % partitions, key, values) for key, values in entries]
    for partition, group in groupby(sorted(located, key=by_partition), by_partition):
        position = _lock(connection, history, partition) or BEGINNING
        rows = [
            Row(key, Place(position.log, offset, partition), published_at, values)
            for offset, (_, key, values) in enumerate(group, position.offset)
        ]
        _insert(connection, history, rows)
        _move(connection, history, partition, position, Position(position.log, position.offset + len(rows)))
        added += rows
    return added


def _select(
    connection: sa.Connection,
    history: History,
    key: str,
    limit: int,
    condition: sa.ColumnElement[bool],
    *,
    newest_first: bool,
) -> list[Row]:
    columns = list(history.rows.c)
    order = [column.desc() if newest_first else column.asc() for column in columns[1:4]]
    query = sa.select(history.rows).where(columns[0] == key, condition).order_by(*order).limit(limit)
    return [_row(row) for row in connection.execute(query)]


def _row(row: Sequence[Any]) -> Row:
    return Row(row[0], Place(row[1], row[2], row[3]), row[4], tuple(row[5:]))


def _lock(connection: sa.Connection, history: History, partition: int) -> Position | None:
    """Nobody else adds to the partition's history until the transaction ends."""
    columns = history.positions.c
    query = sa.select(columns.log, columns.offset).where(columns.partition == partition).with_for_update()
    row = connection.execute(query).first()
    return None if row is None else Position(*row)


def _move(
    connection: sa.Connection, history: History, partition: int, old: Position | None, new: Position
) -> None:
    table = history.positions
    if old is None:
        insert_rows(connection, table, [(partition, *new)])
    elif old != new:
        connection.execute(
            table.update().where(table.c.partition == partition).values(log=new.log, offset=new.offset)
        )


def _known(
    connection: sa.Connection, history: History, position: Position, records: Sequence[Record]
) -> set[tuple[int, int]]:
    """Offset and time of publishing of those stored records that lie where these do, in any log."""
    again = [record for record in records if record.offset < position.offset]
    if not again:
        return set()
    offsets = [record.offset for record in again]
    key, columns = next(iter(history.rows.c)), history.rows.c
    query = sa.select(columns.offset, columns.published_at).where(
        columns.log.in_(
            range(position.log + 1)
        ),  # all there are: so that the primary key is searched by offset too
        columns.offset.between(min(offsets), max(offsets)),
        columns.partition == records[0].partition,
    )
    return {
        (row[0], row[1])
        for chunk in _chunks(sorted({record.key for record in again}))
        for row in connection.execute(query.where(key.in_(chunk)))
    }


def _insert(connection: sa.Connection, history: History, rows: Sequence[Row]) -> None:
    flat = [(key, *place, published_at, *values) for key, place, published_at, values in rows]
    insert_rows(
        connection, history.rows, sorted(flat, key=lambda row: row[0])
    )  # near each other in the table
    newest = {row[0]: row for row in flat}
    key = next(iter(history.latest.c))
    for chunk in _chunks(sorted(newest)):
        connection.execute(history.latest.delete().where(key.in_(chunk)))
    insert_rows(connection, history.latest, [newest[name] for name in sorted(newest)])


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]
