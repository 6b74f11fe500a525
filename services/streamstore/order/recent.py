"""The events an instance has delivered lately: known at once, before its view has them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

MAX_BYTES = 64 * 1024 * 1024
OVERHEAD_BYTES = 400  # an entry's, beside its payload


class Entry(NamedTuple):
    """An event; not acknowledged means that nobody knows whether it was delivered."""

    payload: bytes
    acknowledged: bool


class Recent:
    """Events by order number; above `max_bytes` the one that was not used for longest goes. Not thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def put(self, number: str, entry: Entry) -> None:
        """Note it, in place of what was noted before."""
        self.discard(number)
        self._entries[number] = entry
        self._bytes += len(entry.payload) + OVERHEAD_BYTES
        while self._bytes > self._max_bytes:
            self.discard(next(iter(self._entries)))

    def get(self, number: str) -> Entry | None:
        """What was noted; asking counts as use."""
        if number in self._entries:
            self._entries.move_to_end(number)
        return self._entries.get(number)

    def discard(self, number: str) -> None:
        """Forget it."""
        if entry := self._entries.pop(number, None):
            self._bytes -= len(entry.payload) + OVERHEAD_BYTES

    def acknowledged(self, numbers: Iterable[str]) -> dict[str, bytes]:
        """The payloads of those that were delivered."""
        found = ((number, self.get(number)) for number in numbers)
        return {number: entry.payload for number, entry in found if entry and entry.acknowledged}
