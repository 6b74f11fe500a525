"""What the server's raw replies about a log mean. Pure."""

from __future__ import annotations

from typing import Any

from streamadapter.backend import LogState, StoredBatch


def parse_entry(entry: Any) -> StoredBatch:
    """A stream entry `[id, [field, value, ...]]`. One that this product did not write has payload None.

    A foreign entry takes the place of no record: base offset one beyond its id's first part, count 0.
    """
    last, _, count = entry[0].partition(b"-")
    values: list[bytes] = entry[1] or []
    # append.lua writes the fields in this order; anything else is not ours.
    if values[::2] != [b"b", b"t", b"m", b"e", b"s"] or count == b"0":
        return StoredBatch(int(last) + 1, 0, -1, -1, None)
    return StoredBatch(int(last) - int(count) + 1, int(count), int(values[3]), int(values[7]), values[1])


def parse_log_state(values: Any) -> LogState:
    """From meta's fields log, start, end, epochs, timestamp."""
    log_id, start, end, epochs, timestamp = values
    pairs = (pair.split(b":") for pair in epochs.split())
    return LogState(
        log_id.decode(),
        int(start),
        int(end),
        tuple((int(epoch), int(first)) for epoch, first in pairs),
        int(timestamp),
    )
