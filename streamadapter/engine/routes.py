"""Where a topic's records go: its queues, and what waits for its metadata. Guarded by the sender's lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError

from streamadapter.backend import TopicInfo
from streamadapter.engine.accumulator import Accumulator, GivenUp
from streamadapter.engine.queues import Queue
from streamadapter.partitioners import Partitioner, Sticky

UNASSIGNED = -1


@dataclass(frozen=True, slots=True)
class Routing:
    """What the routes of a producer share. grace: how long (s) a topic may be missing before records fail."""

    accumulator: Accumulator
    partitioner: Partitioner
    sticky_linger: float
    grace: float


class Route:
    """One topic as a producer sees it.

    count is 0 while the topic is not known to exist; its records then wait in a blocked queue for each partition
    asked for, UNASSIGNED among them. They fail once the topic has been in use for `grace` and is not there;
    `missing` is then true, and produce() fails at once.
    """

    __slots__ = (
        "_routing",
        "_since",
        "_sticky",
        "_waiting",
        "count",
        "info",
        "missing",
        "name",
        "queues",
        "stale",
    )

    def __init__(self, name: str, routing: Routing, now: float) -> None:
        self.name = name
        self.info: TopicInfo | None = None
        self.count = 0
        self.queues: list[Queue] = []
        self.missing = False
        self.stale = True  # a look at the metadata is wanted
        self._routing = routing
        self._since = now
        self._sticky = Sticky(routing.sticky_linger)
        self._waiting: dict[int, Queue] = {}

    def choose(self, key: bytes | None, now: float) -> int:
        """The partition of a record that names none, in a known topic."""
        if self._routing.partitioner.is_sticky(key):
            return self._sticky.choose(self.count, now)
        return self._routing.partitioner.place(key or b"", self.count)

    def waiting(self, partition: int) -> Queue:
        """The queue of records that wait for metadata, for an explicit partition or UNASSIGNED."""
        queue = self._waiting.get(partition)
        if queue is None:
            queue = self._routing.accumulator.queue(self.name, partition, blocked=True)
            self._waiting[partition] = queue
        return queue

    def known(self, info: TopicInfo, now: float) -> list[GivenUp]:
        """The topic exists: route what waited. Returns records for partitions that do not exist."""
        accumulator = self._routing.accumulator
        surplus, self.queues = self.queues[info.partitions :], self.queues[: info.partitions]
        for partition in range(len(self.queues), info.partitions):
            self.queues.append(accumulator.queue(self.name, partition))
        self.info, self.count, self.missing, self.stale = info, info.partitions, False, False
        for queue in self.queues:
            queue.blocked = False
        for partition, queue in list(self._waiting.items()):
            if partition == UNASSIGNED:
                accumulator.distribute(queue, self.queues, lambda key: self.choose(key, now))
            elif partition in range(self.count):
                accumulator.distribute(queue, self.queues, partial(_fixed, partition))
            else:
                surplus.append(queue)
        self._waiting.clear()
        return accumulator.fail_open(surplus, KafkaError(KafkaError._UNKNOWN_PARTITION))

    def unknown(self, now: float) -> list[GivenUp]:
        """The topic does not exist, for now or for good. Returns the records that will not wait any longer."""
        self.stale = True
        for queue in self.queues:
            queue.blocked = True
        if now - self._since < self._routing.grace:
            return []
        error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        queues, self.queues = self.queues, []
        self.info, self.count, self.missing = None, 0, True
        return self._routing.accumulator.fail_open(queues, error) + self.fail_waiting(error)

    def fail_waiting(self, error: KafkaError) -> list[GivenUp]:
        """Give up the records that wait for metadata: it is known that none will come."""
        queues = list(self._waiting.values())
        self._waiting.clear()
        return self._routing.accumulator.fail_open(queues, error)


def apply_metadata(routes: Mapping[str, Route], topics: Mapping[str, TopicInfo], now: float) -> list[GivenUp]:
    """Tell every route what a look at the registry has shown; returns the records given up."""
    given_up: list[GivenUp] = []
    for route in routes.values():
        info = topics.get(route.name)
        if info is None:
            given_up += route.unknown(now)
        elif info != route.info or route.stale:
            given_up += route.known(info, now)
    return given_up


def _fixed(partition: int, _key: bytes | None) -> int:
    return partition
