"""Chat messages in memory: those that the database may not have yet, and those on their way to listeners.

A message is put here and handed to every listener under one lock: whoever listens first and reads the history then
misses nothing and can tell repeats by their place.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock

from streamstore.streaming.history import BEGINNING, Place, Position, Row
from streamstore.streaming.live import Latest

MAX_UNSTORED = 50_000  # messages; then reading waits for the history's writer
MAX_WAITING = 2000  # messages for one listener; one that is slower is cut off and comes again


class Listener:
    """One browser's queue; all but `_put` and `_end` belongs to the event loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._lock = Lock()
        self._waiting: list[Row] = []
        self._ended = False

    async def take(self, timeout: float) -> list[Row] | None:
        """What has come, in order; nothing after `timeout` seconds; None when it is over."""
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError:
            return []
        with self._lock:
            self._arrived.clear()
            rows, self._waiting = self._waiting, []
            return None if self._ended else rows

    def put(self, rows: Sequence[Row]) -> None:
        """From the reader's thread. A queue that grows too long ends."""
        with self._lock:
            if not self._ended:
                self._waiting += rows
            ended = len(self._waiting) > MAX_WAITING
        if ended:
            self.end()
        else:
            self._wake()

    def end(self) -> None:
        """From any thread: what waits is dropped, `take` says None."""
        with self._lock:
            self._ended = True
            self._waiting = []
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop has gone: the service ends
            self._loop.call_soon_threadsafe(self._arrived.set)


class Hub:
    """A live view (streamstore.streaming.live.View) that fans out. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._unstored: dict[str, deque[Row]] = {}
        self._size = 0
        self._listeners: dict[str, set[Listener]] = defaultdict(set)
        self._latest = Latest()
        self._logs: dict[int, int] = {}
        self._closed = False

    @contextmanager
    def listening(self, channel: str) -> Iterator[Listener]:
        """A listener of the channel, from now on. To be called in the event loop."""
        listener = Listener()
        with self._lock:
            self._listeners[channel].add(listener)
            if self._closed:
                listener.end()
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners[channel].discard(listener)
                if not self._listeners[channel]:
                    del self._listeners[channel]

    def unstored(self, channel: str) -> list[Row]:
        """The channel's messages that the database may not have; a database read after this has what is missing."""
        with self._lock:
            return list(self._unstored.get(channel, ()))

    def latest(self) -> list[Row]:
        """The newest message of each channel."""
        return self._latest.all()

    def log_of(self, partition: int) -> int:
        """Which log of the partition is being read."""
        return self._logs.get(partition, BEGINNING.log)

    # -- View

    def loaded(self, latest: Sequence[Row]) -> None:
        """See View."""
        self._latest.add(latest)

    def add(self, rows: Sequence[Row]) -> None:
        """See View."""
        by_channel: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_channel[row.key].append(row)
        self._latest.add(rows)
        with self._lock:
            self._size += len(rows)
            for channel, theirs in by_channel.items():
                self._unstored.setdefault(channel, deque()).extend(theirs)
                for listener in self._listeners.get(channel, ()):
                    listener.put(theirs)

    def stored(self, positions: Mapping[int, Position]) -> None:
        """See View."""
        with self._lock:
            self._logs = {partition: position.log for partition, position in positions.items()}
            for channel, rows in list(self._unstored.items()):
                while rows and _is_stored(rows[0].place, positions):
                    rows.popleft()
                    self._size -= 1
                if not rows:
                    del self._unstored[channel]

    def is_full(self) -> bool:
        """See View."""
        return self._size >= MAX_UNSTORED

    def restarted(self) -> None:
        """See View. Listeners come again, and read on from the database."""
        with self._lock:
            self._unstored.clear()
            self._size = 0
            self._end_all()

    def close(self) -> None:
        """See View. Listeners end, also those to come."""
        with self._lock:
            self._closed = True
            self._end_all()

    def _end_all(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.end()


def _is_stored(place: Place, positions: Mapping[int, Position]) -> bool:
    return (place.log, place.offset) < positions.get(place.partition, BEGINNING)
