"""The service's work behind its HTTP interface: through the log, or directly on the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import anyio

from streamstore.database import Database
from streamstore.delivery_tracking.locations import HISTORY, Location, encode
from streamstore.publisher import Publisher
from streamstore.streaming.history import Row, append, read_latest, read_newest, read_newest_of
from streamstore.streaming.live import Latest


class Tracking(Protocol):
    """What the HTTP interface offers. Reading blocks and may be done by any thread."""

    async def accept(self, locations: Sequence[Location]) -> None:
        """Returns when they cannot be lost any more; raises KafkaException, or the database's errors."""
        ...

    def couriers(self) -> list[Location]:
        """The latest position of each, by name."""
        ...

    def courier(self, name: str) -> Location | None:
        """The latest position of one."""
        ...

    def history(self, name: str, limit: int) -> list[Location]:
        """A courier's newest positions in the database, newest first."""
        ...


class LoggedTracking:
    """Positions go to the topic; the latest ones are in memory, the history is in the database a little later."""

    def __init__(self, publisher: Publisher, topic: str, latest: Latest, database: Database) -> None:
        self._publisher = publisher
        self._topic = topic
        self._latest = latest
        self._database = database

    async def accept(self, locations: Sequence[Location]) -> None:
        """If it raises, some may be in the topic all the same: a repeat of the request harms nobody."""
        publish = self._publisher.publish
        results = await asyncio.gather(
            *(publish(self._topic, encode(location), location.courier) for location in locations),
            return_exceptions=True,  # all are waited for; the first failure speaks for them
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def couriers(self) -> list[Location]:
        """See Tracking."""
        return [_location(row) for row in self._latest.all()]

    def courier(self, name: str) -> Location | None:
        """See Tracking."""
        row = self._latest.get(name)
        return None if row is None else _location(row)

    def history(self, name: str, limit: int) -> list[Location]:
        """See Tracking."""
        return _history(self._database, name, limit)


class DirectTracking:
    """One transaction a request, on the same tables."""

    def __init__(self, database: Database, partitions: int) -> None:
        self._database = database
        self._partitions = partitions

    async def accept(self, locations: Sequence[Location]) -> None:
        """See Tracking."""
        await anyio.to_thread.run_sync(partial(self._write, locations))

    def couriers(self) -> list[Location]:
        """See Tracking."""
        with self._database.read() as connection:
            return [_location(row) for row in sorted(read_latest(connection, HISTORY))]

    def courier(self, name: str) -> Location | None:
        """See Tracking."""
        with self._database.read() as connection:
            row = read_newest_of(connection, HISTORY, name)
        return None if row is None else _location(row)

    def history(self, name: str, limit: int) -> list[Location]:
        """See Tracking."""
        return _history(self._database, name, limit)

    def _write(self, locations: Sequence[Location]) -> None:
        entries = [(each.courier, (each.latitude, each.longitude, each.at)) for each in locations]
        with self._database.write() as connection:
            append(connection, HISTORY, self._partitions, int(time.time() * 1000), entries)


def _history(database: Database, name: str, limit: int) -> list[Location]:
    with database.read() as connection:
        return [_location(row) for row in read_newest(connection, HISTORY, name, limit)]


def _location(row: Row) -> Location:
    return Location(row.key, *row.values)
