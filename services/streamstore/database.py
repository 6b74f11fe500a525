"""The services' databases: opening them, the mark "handled", running totals, and what may be tried again.

Any SQLAlchemy URL will do. SQLite, the default, is set to write-ahead logging with a sync at each commit
(an offset committed to the broker must not outlive the effect it stands for), and write transactions take the
write lock when they begin, so that none fails half-way for having read before it wrote. On PostgreSQL they run
side by side, and one that collides with another is repeated.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc

from streamstore.orders import Order, as_text

log = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_SECONDS = 30  # SQLite: how long to wait for another process's transaction
CHUNK = 500  # values of one IN (...)
SQLITE_READS: Mapping[str, Any] = {"streamstore_reads": True}  # see `_begin`
# Unasked, PostgreSQL shows each statement of a transaction the newest state.
POSTGRESQL_READS: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
MAKING_TABLES = 0x53686F70  # the PostgreSQL advisory lock of who makes tables: a number others will not use


class UnavailableError(Exception):
    """Something outside cannot be used now and may be later (a mail server): the transaction is repeated."""


TRANSIENT = (
    exc.OperationalError,  # locked, disk full, connection lost, server restarting, deadlock
    exc.InterfaceError,
    exc.TimeoutError,
    exc.IntegrityError,  # two instances inserted the same row at once: the second look finds it
    UnavailableError,
)


class StoppedError(Exception):
    """The service was told to stop before it could do what it was doing; nothing of it took effect."""


class Money(sa.TypeDecorator[Decimal]):
    """An exact decimal as text: SQLite has none, and a fixed NUMERIC scale would round."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """To the database."""
        return None if value is None else as_text(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Decimal | None:  # noqa: ARG002 - as above
        """From the database."""
        return None if value is None else Decimal(value)


class Service(Protocol):
    """A service that consumes orders: tables, and the effect of an order on them.

    Its tables are named `<service>_...`, so that all services can also share one database.
    """

    name: str
    metadata: sa.MetaData
    handled: sa.Table  # made by `handled_table`

    def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
        """Write the effects of orders that were never handled before; the caller commits them with their marks.

        It may run again after it has returned, if the transaction fails: effects outside the database must be
        repeatable. Raises UnavailableError, or the database's errors, to be tried again.
        """
        ...

    def outcomes(self, connection: sa.Connection, event_ids: Collection[str]) -> dict[str, str]:
        """What became of events that were handled, a word each: the state that others are told."""
        ...


class Database:
    """A connection pool to one service's database, with its tables made. Thread-safe."""

    def __init__(self, url: str, metadata: sa.MetaData) -> None:
        self._engine = _engine(url)
        postgresql = self._engine.dialect.name == "postgresql"
        self._reading = POSTGRESQL_READS if postgresql else SQLITE_READS
        with self.write() as connection:
            if postgresql:  # two instances would both find a table missing, and both make it
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MAKING_TABLES)))
            metadata.create_all(connection)

    @property
    def concurrent(self) -> bool:
        """Whether transactions that write can run at the same time; SQLite's wait for each other."""
        return self._engine.dialect.name != "sqlite"

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction: committed at the end, rolled back on any exception."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent look that neither waits for writers nor makes them wait."""
        with self._engine.connect().execution_options(**self._reading) as connection:
            yield connection

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()


def _engine(url: str) -> sa.Engine:
    if sa.make_url(url).get_backend_name() != "sqlite":
        # After a restart each idle connection is dead, and would be found out by an operation that fails.
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url)
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        reads = connection.get_execution_options().get("streamstore_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def handled_table(metadata: sa.MetaData, service: str) -> sa.Table:
    """The marks: a row an event, written in the same transaction as its effect; `repeats` counts later deliveries."""
    return sa.Table(
        f"{service}_handled",
        metadata,
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("repeats", sa.Integer, nullable=False),
    )


def handle(database: Database, service: Service, orders: Sequence[Order]) -> dict[str, str]:
    """Apply orders as they were delivered: effects and marks in one transaction; repeats are only counted.

    Returns the outcome of each event, whether it was new or a repeat.
    """
    deliveries = Counter(order.event_id for order in orders)
    with database.write() as connection:
        known = lookup(connection, service.handled, deliveries)
        fresh: dict[str, Order] = {}
        for order in orders:
            if order.event_id not in known:
                fresh.setdefault(order.event_id, order)
        # Marks first: of two instances with one event, the second fails here and not after it has sent a mail.
        insert_rows(connection, service.handled, [(event_id, deliveries[event_id] - 1) for event_id in fresh])
        service.apply(connection, list(fresh.values()))
        update_rows(
            connection,
            service.handled,
            {event_id: repeats + deliveries[event_id] for event_id, repeats in known.items()},
        )
        return service.outcomes(connection, deliveries)


def running_total(metadata: sa.MetaData, name: str, key: str, value: sa.Column[Any]) -> sa.Table:
    """A table of one amount a key, to be added to with `accumulate`."""
    return sa.Table(name, metadata, sa.Column(key, sa.Text, primary_key=True), value)


def accumulate(
    connection: sa.Connection, table: sa.Table, amounts: Mapping[str, T], plus: Callable[[T, T], T]
) -> None:
    """Add to running totals. Reads, adds in Python, writes back: no database adds decimals in text columns."""
    current = lookup(connection, table, amounts)
    update_rows(connection, table, {key: plus(value, amounts[key]) for key, value in current.items()})
    insert_rows(
        connection, table, sorted((key, amount) for key, amount in amounts.items() if key not in current)
    )


def lookup(connection: sa.Connection, table: sa.Table, keys: Iterable[str]) -> dict[str, Any]:
    """A table's second column by its first, for those keys that are there; the rows stay locked till the end.

    Keys are locked in their order, so that two transactions cannot wait for each other.
    """
    key, value = list(table.c)[:2]
    return _chosen(connection, sa.select(key, value).order_by(key).with_for_update(), key, keys)


def read_column(
    connection: sa.Connection, key: sa.Column[Any], value: sa.Column[Any], keys: Iterable[str]
) -> dict[str, Any]:
    """One column by another of the same table, for those keys that are there; nothing is locked."""
    return _chosen(connection, sa.select(key, value), key, keys)


def _chosen(
    connection: sa.Connection, query: sa.Select[Any], key: sa.Column[Any], keys: Iterable[str]
) -> dict[str, Any]:
    ordered = sorted(keys)
    found: dict[str, Any] = {}
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        found.update((row[0], row[1]) for row in connection.execute(query.where(key.in_(chunk))))
    return found


def insert_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows given in the order of the table's columns."""
    if rows:
        names = table.c.keys()
        connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])


def update_rows(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> None:
    """Set the table's second column where the first is the key."""
    if values:
        key, value = list(table.c)[:2]
        statement = (
            table.update().where(key == sa.bindparam("the_key")).values({value: sa.bindparam("the_value")})
        )
        parameters = [{"the_key": name, "the_value": new} for name, new in values.items()]
        connection.execute(statement, parameters)


def is_transient(error: Exception) -> bool:
    """Whether the same transaction may succeed later."""
    return isinstance(error, TRANSIENT)


def persistently(
    action: Callable[[], T], what: str, stop: Event, transient: Callable[[Exception], bool] = is_transient
) -> T:
    """The action's result, repeated with exponential back-off while it fails transiently.

    Raises StoppedError once `stop` is set and it fails again; any other exception at once.
    """
    for delay in _delays():
        try:
            return action()
        except Exception as error:
            if not transient(error):
                raise
            if stop.is_set():
                raise StoppedError from error
            log.warning("%s failed, trying again in %.2f s: %s", what, delay, _one_line(error))
            stop.wait(delay)
    raise AssertionError("the delays never end")


def _delays(first: float = 0.05, longest: float = 5.0) -> Iterator[float]:
    """Exponential back-off with jitter, in seconds."""
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
        delay = min(longest, delay * 2)


def _one_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
