"""The service's work behind its HTTP interface: through the log, or directly on the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from threading import Event
from typing import Protocol

import anyio

from streamstore.chat.hub import Hub
from streamstore.chat.messages import BEFORE_ALL, HISTORY, ChatMessage, encode
from streamstore.database import Database
from streamstore.publisher import Publisher
from streamstore.streaming.history import (
    Place,
    Row,
    append,
    read_after,
    read_latest,
    read_newest,
    read_newest_of,
)
from streamstore.streaming.writer import coordinates

PAGE = 500  # messages that are read at once for a listener
POLL_SECONDS = 0.25  # how often the direct way looks for a listener's messages


class Chat(Protocol):
    """What the HTTP interface offers. Reading blocks and may be done by any thread; rows come oldest first."""

    async def post(self, message: ChatMessage) -> Place:
        """Returns when it cannot be lost any more; raises KafkaException, or the database's errors."""
        ...

    def channels(self) -> list[Row]:
        """The newest message of each channel, by name."""
        ...

    def newest(self, channel: str, limit: int) -> list[Row]:
        """A channel's newest messages."""
        ...

    def after(self, channel: str, place: Place, limit: int) -> list[Row]:
        """A channel's messages that follow a place."""
        ...

    def listen(self, channel: str, after: Place | None, silence: float) -> AsyncIterator[list[Row]]:
        """What follows `after`, or comes from now on, as it comes; [] after `silence` seconds without any.

        Ends when the service does, or when the listener is too slow.
        """
        ...


class LoggedChat:
    """Messages go to the topic; what is read is the database's history and what it has not yet."""

    def __init__(self, publisher: Publisher, topic: str, hub: Hub, database: Database) -> None:
        self._publisher = publisher
        self._topic = topic
        self._hub = hub
        self._database = database

    async def post(self, message: ChatMessage) -> Place:
        """If it raises, the message may be in the topic all the same."""
        record = await self._publisher.publish(self._topic, encode(message), message.channel)
        partition, offset = coordinates(record)
        return Place(self._hub.log_of(partition), offset, partition)

    def channels(self) -> list[Row]:
        """See Chat."""
        return self._hub.latest()

    def newest(self, channel: str, limit: int) -> list[Row]:
        """See Chat."""
        unstored = self._hub.unstored(channel)  # first: what is stored meanwhile is then in the database
        with self._database.read() as connection:
            stored = read_newest(connection, HISTORY, channel, limit)
        return sorted({*stored, *unstored})[-limit:]

    def after(self, channel: str, place: Place, limit: int) -> list[Row]:
        """See Chat."""
        unstored = self._hub.unstored(channel)  # first, as above
        with self._database.read() as connection:
            stored = read_after(connection, HISTORY, channel, place, limit)
        return sorted({*stored, *(row for row in unstored if row.place > place)})[:limit]

    async def listen(self, channel: str, after: Place | None, silence: float) -> AsyncIterator[list[Row]]:
        """See Chat. Listening begins before the history is read, so that nothing falls in between."""
        with self._hub.listening(channel) as listener:
            last = after
            while last is not None:
                page = await anyio.to_thread.run_sync(self.after, channel, last, PAGE)
                if page:
                    last = page[-1].place
                    yield page
                if len(page) < PAGE:
                    break
            while (rows := await listener.take(silence)) is not None:
                fresh = [row for row in rows if last is None or row.place > last]
                if fresh:
                    last = fresh[-1].place
                if fresh or not rows:
                    yield fresh


class DirectChat:
    """One transaction a message, on the same tables; listeners ask the database again and again."""

    def __init__(self, database: Database, partitions: int, stop: Event) -> None:
        self._database = database
        self._partitions = partitions
        self._stop = stop

    async def post(self, message: ChatMessage) -> Place:
        """See Chat."""
        return await anyio.to_thread.run_sync(self._write, message)

    def channels(self) -> list[Row]:
        """See Chat."""
        with self._database.read() as connection:
            return sorted(read_latest(connection, HISTORY))

    def newest(self, channel: str, limit: int) -> list[Row]:
        """See Chat."""
        with self._database.read() as connection:
            return read_newest(connection, HISTORY, channel, limit)[::-1]

    def after(self, channel: str, place: Place, limit: int) -> list[Row]:
        """See Chat."""
        with self._database.read() as connection:
            return read_after(connection, HISTORY, channel, place, limit)

    async def listen(self, channel: str, after: Place | None, silence: float) -> AsyncIterator[list[Row]]:
        """See Chat."""
        last = after if after is not None else await anyio.to_thread.run_sync(self._end_of, channel)
        spoken = time.monotonic()
        while not self._stop.is_set():
            page = await anyio.to_thread.run_sync(partial(self.after, channel, last, PAGE))
            if page:
                last = page[-1].place
            if page or time.monotonic() - spoken >= silence:
                spoken = time.monotonic()
                yield page
            if len(page) < PAGE:
                await asyncio.sleep(POLL_SECONDS)

    def _write(self, message: ChatMessage) -> Place:
        entry = (message.channel, (message.author, message.text))
        with self._database.write() as connection:
            (row,) = append(connection, HISTORY, self._partitions, int(time.time() * 1000), [entry])
        return row.place

    def _end_of(self, channel: str) -> Place:
        with self._database.read() as connection:
            row = read_newest_of(connection, HISTORY, channel)
        return BEFORE_ALL if row is None else row.place
