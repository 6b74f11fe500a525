"""Who reads which partition: pure functions from subscriptions to an assignment.

`range` and `roundrobin` give exactly Kafka's results (RangeAssignor and RoundRobinAssignor without racks);
`cooperative-sticky` and `uniform` are one sticky, balanced assignor under the names that the two group
protocols know. All are deterministic: neither the order of a dict nor a clock has any influence. All assign
every partition of every topic that somebody subscribes to exactly once.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias

from streamadapter.backend import TP

Subscriptions: TypeAlias = Mapping[str, Collection[str]]
"""Member id -> the topics it wants. A topic that is not among the partitions does not exist yet."""

Partitions: TypeAlias = Mapping[str, int]
"""Topic -> number of partitions."""

Previous: TypeAlias = Mapping[str, Collection[TP]]
"""Member id -> what it was assigned last; may name members, topics and partitions that are gone."""

InstanceIds: TypeAlias = Mapping[str, str]
"""Member id -> group.instance.id, of static members only. They come first, in the order of their instance
ids: a restart gives a new member id, but the same place."""

Assignment: TypeAlias = dict[str, frozenset[TP]]
"""Member id -> its partitions; every member is in it."""

Assignor: TypeAlias = Callable[[Subscriptions, Partitions, Previous, InstanceIds], Assignment]


def assign_range(
    subscriptions: Subscriptions, partitions: Partitions, _previous: Previous, instance_ids: InstanceIds
) -> Assignment:
    """For each topic, consecutive partitions to each member; the first few get one more if it does not divide.

    Partition n of all topics with the same subscribers and count goes to the same member (co-partitioning).
    """
    order = _in_order(subscriptions, instance_ids)
    assigned: dict[str, list[TP]] = {member: [] for member in order}
    for topic in _topics(subscriptions, partitions):
        members = [member for member in order if topic in subscriptions[member]]
        each, extra = divmod(partitions[topic], len(members))
        start = 0
        for i, member in enumerate(members):
            end = start + each + (i < extra)
            assigned[member].extend((topic, p) for p in range(start, end))
            start = end
    return {member: frozenset(tps) for member, tps in assigned.items()}


def assign_roundrobin(
    subscriptions: Subscriptions, partitions: Partitions, _previous: Previous, instance_ids: InstanceIds
) -> Assignment:
    """All partitions of all topics, in order, dealt out in turn; a member that does not subscribe is skipped."""
    order = _in_order(subscriptions, instance_ids)
    assigned: dict[str, list[TP]] = {member: [] for member in order}
    turn = 0
    for topic in _topics(subscriptions, partitions):
        for p in range(partitions[topic]):
            while topic not in subscriptions[order[turn]]:
                turn = (turn + 1) % len(order)
            assigned[order[turn]].append((topic, p))
            turn = (turn + 1) % len(order)
    return {member: frozenset(tps) for member, tps in assigned.items()}


def assign_sticky(
    subscriptions: Subscriptions, partitions: Partitions, previous: Previous, instance_ids: InstanceIds
) -> Assignment:
    """Balanced, and as few partitions move as balance allows.

    With equal subscriptions the numbers of partitions differ by one at most; if one member leaves, only its
    partitions move; if one joins, partitions move to it only. With unequal subscriptions no single partition
    could be moved to a member that has two fewer (Kafka's sticky assignor stops there too).
    """
    order = _in_order(subscriptions, instance_ids)
    topics = _topics(subscriptions, partitions)
    shares = {member: _Share(rank, subscriptions[member]) for rank, member in enumerate(order)}

    free = {topic: set(range(partitions[topic])) for topic in topics}
    for member, share in shares.items():
        for topic, p in previous.get(member, ()):
            if topic in share.topics and p in free.get(topic, ()):
                free[topic].remove(p)
                share.add(topic, p)
    for topic in topics:
        takers = [share for share in shares.values() if topic in share.topics]
        for p in sorted(free[topic]):
            min(takers, key=_Share.load).add(topic, p)
    while _move_one(shares.values()):
        pass
    return {member: share.partitions() for member, share in shares.items()}


ASSIGNORS: Mapping[str, Assignor] = {
    "range": assign_range,
    "roundrobin": assign_roundrobin,
    "cooperative-sticky": assign_sticky,
    "uniform": assign_sticky,
}
"""By the names of partition.assignment.strategy and group.remote.assignor. ("sticky", eager, is not offered:
librdkafka has none.)"""


class _Share:
    """One member's partitions while they are being balanced."""

    __slots__ = ("by_topic", "count", "rank", "topics")

    def __init__(self, rank: int, topics: Collection[str]) -> None:
        self.rank = rank
        self.topics = frozenset(topics)
        self.by_topic: dict[str, list[int]] = {}  # sorted, never empty
        self.count = 0

    def load(self) -> tuple[int, int]:
        """Sort key: number of partitions, then the member's place, so that no two are equal."""
        return self.count, self.rank

    def add(self, topic: str, partition: int) -> None:
        insort(self.by_topic.setdefault(topic, []), partition)
        self.count += 1

    def pop(self, topic: str) -> int:
        """Remove the last partition of a topic."""
        partition = self.by_topic[topic].pop()
        if not self.by_topic[topic]:
            del self.by_topic[topic]
        self.count -= 1
        return partition

    def partitions(self) -> frozenset[TP]:
        return frozenset((topic, p) for topic, ps in self.by_topic.items() for p in ps)


def _move_one(shares: Iterable[_Share]) -> bool:
    """Move one partition from the fullest share possible to the emptiest that may take it; False: balanced.

    The fullest first is what keeps movement minimal: with equal subscriptions each move ends at a member that
    must gain. Among topics, the one of which the giver has most in excess, so that each topic is spread too.
    """
    by_load = sorted(shares, key=_Share.load)
    for giver in reversed(by_load):
        for taker in by_load:
            if giver.count - taker.count < 2:
                break
            movable = giver.by_topic.keys() & taker.topics
            if movable:
                topic = max(movable, key=lambda t: (_excess(giver, taker, t), t))
                taker.add(topic, giver.pop(topic))
                return True
    return False


def _excess(giver: _Share, taker: _Share, topic: str) -> int:
    return len(giver.by_topic[topic]) - len(taker.by_topic.get(topic, ()))


def _in_order(subscriptions: Subscriptions, instance_ids: InstanceIds) -> list[str]:
    """Kafka's order (MemberInfo.compareTo): static members by instance id, then the others by member id."""
    return sorted(subscriptions, key=lambda m: (0, instance_ids[m]) if m in instance_ids else (1, m))


def _topics(subscriptions: Subscriptions, partitions: Partitions) -> list[str]:
    """The topics to assign, sorted: those that exist and are wanted."""
    wanted = {topic for topics in subscriptions.values() for topic in topics}
    return sorted(wanted & partitions.keys())
