"""produce_columns' arguments: checked, cut to what the queue has room for, split by partition. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from streamadapter.codec import Headers
from streamadapter.engine.produce_args import INT64, as_headers, as_int
from streamadapter.engine.queues import AUTO_TIMESTAMP, RECORD_OVERHEAD, Callback, Records, record_size

_BLOBS = {bytes, type(None)}


def as_records(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None,
    timestamps: Sequence[int] | None,
    headers: Sequence[Headers] | None,
    callback: Callback | None,
    born: float,
) -> Records:
    """Columns as records. Raises TypeError or ValueError for a wrong item or length."""
    count = len(values)
    records = Records()
    records.values = list(values)
    records.keys = [None] * count if keys is None else list(keys)
    records.timestamps = [AUTO_TIMESTAMP] * count if timestamps is None else list(timestamps)
    records.headers = [None] * count if headers is None else [h and as_headers(h) for h in headers]
    records.callbacks = [callback] * count
    records.born = [born] * count
    for name in ("keys", "timestamps", "headers"):
        if len(getattr(records, name)) != count:
            raise ValueError(f"{len(getattr(records, name))} {name} for {count} values")
    if not set(map(type, records.values)) | set(map(type, records.keys)) <= _BLOBS:
        raise TypeError("values and keys must be bytes or None")
    for timestamp in timestamps or ():
        as_int(timestamp, INT64)
    if callback is not None and not callable(callback):
        raise TypeError("on_delivery must be callable")
    return records


def largest(records: Records) -> int:
    """The size of the largest record."""
    return max(_sizes(records), default=0)


def fitting(records: Records, max_count: int, max_size: int) -> int:
    """How many records from the first on are at most that many and that large together."""
    if len(records) <= max_count and records.size() <= max_size:
        return len(records)
    return bisect_right(list(accumulate(_sizes(records)[: max(0, max_count)])), max_size)


def by_partition(records: Records, chosen: Sequence[int]) -> Iterator[tuple[int, Records]]:
    """The records of each partition, in their order; chosen: a partition for each record."""
    positions: dict[int, list[int]] = {partition: [] for partition in set(chosen)}
    for position, partition in enumerate(chosen):
        positions[partition].append(position)
    for partition, selected in positions.items():
        part = Records()
        for name in Records.__slots__:
            setattr(part, name, list(map(getattr(records, name).__getitem__, selected)))
        yield partition, part


def _sizes(records: Records) -> list[int]:
    values, keys, headers = records.values, records.keys, records.headers
    if headers.count(None) < len(headers):
        return list(map(record_size, values, keys, headers))
    if keys.count(None) == len(keys):
        return [len(value) + RECORD_OVERHEAD if value else RECORD_OVERHEAD for value in values]
    return [len(v or b"") + len(k or b"") + RECORD_OVERHEAD for v, k in zip(values, keys, strict=True)]
