"""librdkafka's partitioners, by the name that the property ``partitioner`` takes.

The hashes are librdkafka's own, from the confluent_kafka package. Which records are placed at random is a rule of
each partitioner (rd_kafka_msg_partitioner_*): ``consistent_random`` does it without a key or with an empty one, the
other ``*_random`` without a key only; ``random`` always. A record with no key sticks to one random partition for
sticky.partitioning.linger.ms, so that batches fill.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from confluent_kafka import fnv1a, murmur2


def _consistent(key: bytes, partitions: int) -> int:
    return crc32(key) % partitions  # confluent_kafka.consistent, at half its time


@dataclass(frozen=True, slots=True)
class Partitioner:
    """How records without an explicit partition are placed.

    place: (key, number of partitions) -> partition, for a non-empty key. sticky_null and sticky_empty: whether a
    record with no key, or an empty one, goes to the sticky partition; otherwise `place` hashes b"".
    """

    name: str
    place: Callable[[bytes, int], int]
    sticky_null: bool
    sticky_empty: bool

    def is_sticky(self, key: bytes | None) -> bool:
        """Whether this record goes wherever the sticky partition is."""
        return self.sticky_null if key is None else (not key and self.sticky_empty)


def _random(_key: bytes, partitions: int) -> int:
    return random.randrange(partitions)  # noqa: S311  # spreads load, keeps no secret


PARTITIONERS = {
    p.name: p
    for p in (
        Partitioner("random", _random, sticky_null=True, sticky_empty=False),
        Partitioner("consistent", _consistent, sticky_null=False, sticky_empty=False),
        Partitioner("consistent_random", _consistent, sticky_null=True, sticky_empty=True),
        Partitioner("murmur2", murmur2, sticky_null=False, sticky_empty=False),
        Partitioner("murmur2_random", murmur2, sticky_null=True, sticky_empty=False),
        Partitioner("fnv1a", fnv1a, sticky_null=False, sticky_empty=False),
        Partitioner("fnv1a_random", fnv1a, sticky_null=True, sticky_empty=False),
    )
}


class Sticky:
    """The sticky partition of one topic: chosen at random, kept for `linger` seconds of the given clock.

    With a linger of 0 each record gets a random partition of its own. Not thread-safe.
    """

    __slots__ = ("_linger", "_partition", "_until")

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._partition = 0
        self._until = float("-inf")

    def choose(self, partitions: int, now: float) -> int:
        """The partition, below `partitions`, for a record produced at `now` (seconds, monotonic)."""
        if now >= self._until or self._partition >= partitions:
            self._partition = random.randrange(partitions)  # noqa: S311  # spreads load, keeps no secret
            self._until = now + self._linger
        return self._partition
