"""What the scenarios about groups share: the protocols, a diary of callbacks, and what a group's members read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import KafkaException, TopicPartition
from streamadapter.testing.contract.lab import MEMBER, assigned
from streamadapter.testing.history import Cell, Event, Log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamadapter import Consumer, Message
    from streamadapter.backend import TP
    from streamadapter.testing.contract.lab import Lab
    from streamadapter.testing.history import Kind, Op

RANGE = {"partition_assignment_strategy": "range", **MEMBER}
ROUNDROBIN = {"partition_assignment_strategy": "roundrobin", **MEMBER}
COOPERATIVE = {"partition_assignment_strategy": "cooperative-sticky", **MEMBER}
KIP_848 = {"group_protocol": "consumer"}
"""Its sessions and heartbeats are the broker's to set: Kafka's defaults are 45 s and 5 s. So a change of the group
takes some seconds there, and scenarios that wait for the end of a session leave this protocol out."""

_IDS = {"range": RANGE, "roundrobin": ROUNDROBIN, "cooperative": COOPERATIVE, "kip-848": KIP_848}


def protocols(*names: str) -> pytest.MarkDecorator:
    """Run a scenario once for each of these protocols."""
    return pytest.mark.parametrize("protocol", [_IDS[name] for name in names], ids=names)


every_protocol = protocols("range", "cooperative", "kip-848")
every_assignor = protocols("range", "roundrobin", "cooperative", "kip-848")
eager = protocols("range", "roundrobin")
incremental = protocols("cooperative", "kip-848")
classic = protocols("range", "cooperative")


class Diary:
    """Rebalance callbacks that write down what they are told, and what assignment() says meanwhile."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, list[TP]]] = []
        self.meanwhile: list[set[TP]] = []
        self.offsets: set[int] = set()

    def callbacks(self, *kinds: str) -> dict[str, Any]:
        """Arguments for subscribe(); without kinds all three of them."""
        return {f"on_{kind}": self._writer(kind) for kind in kinds or ("assign", "revoke", "lost")}

    @property
    def moves(self) -> list[tuple[str, list[TP]]]:
        """The entries without empty on_assign calls.

        With an incremental protocol those only say that a rebalance is over, and how many rebalances a change of
        the group takes is the coordinator's to decide.
        """
        return [entry for entry in self.entries if entry != ("assign", [])]

    def _writer(self, kind: str) -> Any:
        def write(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self.entries.append((kind, sorted((tp.topic, tp.partition) for tp in partitions)))
            self.meanwhile.append(assigned(consumer))
            self.offsets |= {tp.offset for tp in partitions}

        return write


class Recorder:
    """A consumer that commits what it has read, and notes all it does for `streamadapter.testing.history`."""

    def __init__(self, name: str, history: list[Event], consumer: Consumer, topic: str) -> None:
        self.name = name
        self.consumer = consumer
        self._history = history
        self._read: dict[int, int] = {}  # partition -> next offset, not committed
        consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked)

    def step(self) -> list[Message]:
        """Read something and commit it."""
        messages = self.consumer.consume(20, 0.01)
        assert not [error for m in messages if (error := m.error())]
        if messages:
            cells = [Cell(m.partition() or 0, m.offset() or 0, (m.value() or b"").decode()) for m in messages]
            self._note("poll", "ok", cells)
            self._read |= {cell.partition: cell.offset + 1 for cell in cells}
        self._commit()
        return messages

    def _commit(self) -> None:
        if not self._read:
            return
        cells = [Cell(partition, offset) for partition, offset in self._read.items()]
        self._note("commit", "invoke", cells)
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException:
            self._note("commit", "fail", cells)  # in the middle of a rebalance; on_revoke does it again
        else:
            self._note("commit", "ok", cells)
            self._read.clear()

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._note("assign", "ok", [Cell(tp.partition) for tp in partitions])

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit()
        for tp in partitions:
            self._read.pop(tp.partition, None)
        self._note("revoke", "ok", [Cell(tp.partition) for tp in partitions])

    def _note(self, op: Op, kind: Kind, cells: list[Cell]) -> None:
        self._history.append(Event(time.monotonic(), self.name, op, kind, tuple(cells)))


def every(topic: str, partitions: int) -> list[TP]:
    """All partitions of a topic."""
    return [(topic, partition) for partition in range(partitions)]


def share(lab: Lab, topic: str, partitions: int, *consumers: Consumer) -> list[Message]:
    """Poll until these consumers have all of the topic, evenly. No partition may have two owners meanwhile."""

    def shared() -> bool:
        owned = [assigned(consumer) for consumer in consumers]
        everything = sorted(tp for one in owned for tp in one)
        assert len(set(everything)) == len(everything), f"a partition has two owners: {owned}"
        sizes = [len(one) for one in owned]
        return everything == every(topic, partitions) and max(sizes) - min(sizes) <= 1

    return lab.until(shared, *consumers)


def gather(lab: Lab, count: int, *consumers: Consumer, got: Iterable[Message] = ()) -> list[Message]:
    """Read until there are `count` records, with those that came before."""
    found = list(got)

    def read() -> bool:
        if len(found) < count:
            found.extend(message for consumer in consumers for message in consumer.consume(100, 0.02))
        return len(found) >= count

    lab.until(read)
    assert not [error for message in found if (error := message.error())]
    return found


def by_partition(messages: Iterable[Message]) -> dict[int, list[bytes]]:
    """Values, in the order in which they came."""
    found: dict[int, list[bytes]] = {}
    for message in messages:
        found.setdefault(message.partition() or 0, []).append(message.value() or b"")
    return found


def numbered(partitions: Iterable[int], numbers: range) -> dict[int, list[bytes]]:
    """What `fill` appends, as `by_partition` gives it."""
    return {partition: [b"%d:%d" % (partition, i) for i in numbers] for partition in partitions}


def fill(lab: Lab, topic: str, partitions: Iterable[int], numbers: range) -> None:
    """Append records `partition:number`."""
    for partition, values in numbered(partitions, numbers).items():
        lab.produce(topic, *values, partition=partition)


def committed(consumer: Consumer, topic: str, partitions: int) -> list[int]:
    """The group's committed offsets."""
    asked = [TopicPartition(*tp) for tp in every(topic, partitions)]
    return [tp.offset for tp in consumer.committed(asked, 30)]


def final_logs(lab: Lab, topic: str, ends: dict[int, int]) -> dict[int, Log]:
    """The topic as it is now, for the checker of histories."""
    reader = lab.consumer(lab.group())
    reader.assign([TopicPartition(topic, partition, 0) for partition in ends])
    records: dict[int, list[tuple[int, str]]] = {partition: [] for partition in ends}
    for message in lab.take(reader, sum(ends.values())):
        records[message.partition() or 0].append((message.offset() or 0, (message.value() or b"").decode()))
    return {partition: Log(0, end, records[partition]) for partition, end in ends.items()}
