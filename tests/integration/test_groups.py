"""Consumer groups: who reads what, and what the application is told about it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

if TYPE_CHECKING:
    from streamadapter import Consumer
    from streamadapter.message import Message
    from tests.integration.conftest import Cluster

EAGER = {"partition_assignment_strategy": "range"}
COOPERATIVE = {"partition_assignment_strategy": "cooperative-sticky"}
KIP_848 = {"group_protocol": "consumer"}

every_protocol = pytest.mark.parametrize(
    "protocol", [EAGER, COOPERATIVE, KIP_848], ids=["eager", "cooperative", "kip-848"]
)
incremental = pytest.mark.parametrize("protocol", [COOPERATIVE, KIP_848], ids=["cooperative", "kip-848"])


class Diary:
    """Rebalance callbacks that write down what they are told, and what assignment() says meanwhile."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, list[int]]] = []
        self.meanwhile: list[list[int]] = []
        self.offsets: set[int] = set()

    def _note(self, kind: str, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.entries.append((kind, [tp.partition for tp in partitions]))
        self.meanwhile.append([tp.partition for tp in consumer.assignment()])
        self.offsets |= {tp.offset for tp in partitions}

    def subscribe(self, consumer: Consumer, topic: str, *, lost: bool = True) -> None:
        consumer.subscribe(
            [topic],
            on_assign=lambda c, tps: self._note("assign", c, tps),
            on_revoke=lambda c, tps: self._note("revoke", c, tps),
            on_lost=(lambda c, tps: self._note("lost", c, tps)) if lost else None,
        )


def assigned(consumer: Consumer) -> list[int]:
    return [tp.partition for tp in consumer.assignment()]


def shared(*consumers: Consumer) -> bool:
    """Four partitions are spread evenly over these consumers."""
    sets = [assigned(c) for c in consumers]
    return (
        sorted(p for s in sets for p in s) == [0, 1, 2, 3] and max(map(len, sets)) - min(map(len, sets)) <= 1
    )


# -- sharing


@every_protocol
def test_two_members_share_the_partitions_and_each_record_is_read_once(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    cluster.create(topic, 4)
    a, b = (cluster.consumer(group, **protocol) for _ in range(2))
    a.subscribe([topic])
    b.subscribe([topic])
    cluster.until(lambda: shared(a, b), a, b)

    for partition in range(4):
        cluster.produce(topic, *(f"{partition}:{i}" for i in range(10)), partition=partition)

    got: list[Message] = []
    cluster.until(lambda: _drain(got, 40, a, b))
    assert sorted(m.value() for m in got) == sorted(f"{p}:{i}".encode() for p in range(4) for i in range(10))


def _drain(got: list[Message], count: int, *consumers: Consumer) -> bool:
    for consumer in consumers:
        got += consumer.consume(count, 0.02)
    return len(got) >= count


@every_protocol
def test_of_five_members_on_four_partitions_one_is_idle(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    cluster.create(topic, 4)
    members = [cluster.consumer(group, **protocol) for _ in range(5)]
    for member in members:
        member.subscribe([topic])

    cluster.until(lambda: sorted(len(m.assignment()) for m in members) == [0, 1, 1, 1, 1], *members)

    assert sorted(p for m in members for p in assigned(m)) == [0, 1, 2, 3]
    # The idle one is ready: it takes over when another leaves.
    leaver = next(m for m in members if m.assignment())
    leaver.close()
    rest = [m for m in members if m is not leaver]
    cluster.until(lambda: [len(m.assignment()) for m in rest] == [1, 1, 1, 1], *rest)


def test_two_groups_each_see_every_record(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 2)
    consumers = [cluster.consumer(f"{group}-{i}") for i in range(2)]
    for consumer in consumers:
        consumer.subscribe([topic])
    for partition in (0, 1):
        cluster.produce(topic, *(f"{partition}:{i}" for i in range(20)), partition=partition)

    for consumer in consumers:
        values = sorted(m.value() for m in cluster.take(consumer, 40))
        assert values == sorted(f"{p}:{i}".encode() for p in (0, 1) for i in range(20))


@every_protocol
def test_a_member_that_closes_is_replaced_at_once_and_nothing_is_read_twice(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    cluster.create(topic, 4)
    a, b = (cluster.consumer(group, **protocol) for _ in range(2))
    a.subscribe([topic])
    b.subscribe([topic])
    cluster.until(lambda: shared(a, b), a, b)
    for partition in range(4):
        cluster.produce(topic, *(str(i) for i in range(10)), partition=partition)
    got = [m for c in (a, b) for m in cluster.take(c, 3)]

    started = time.monotonic()
    b.close()
    got += cluster.take(a, 34)

    assert time.monotonic() - started < 10  # the session has 45 s
    assert sorted((m.partition(), m.offset()) for m in got) == [(p, i) for p in range(4) for i in range(10)]
    assert assigned(a) == [0, 1, 2, 3]


def test_members_with_different_topics_get_their_own(cluster: Cluster, topic: str, group: str) -> None:
    one, two = cluster.create(f"{topic}-1", 2), cluster.create(f"{topic}-2", 2)
    a, b = cluster.consumer(group), cluster.consumer(group)
    a.subscribe([one])
    b.subscribe([two])

    cluster.until(lambda: len(a.assignment()) == 2 and len(b.assignment()) == 2, a, b)

    assert {tp.topic for tp in a.assignment()} == {one}
    assert {tp.topic for tp in b.assignment()} == {two}


def test_members_without_a_common_assignor_are_refused(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 2)
    a = cluster.consumer(group, partition_assignment_strategy="range")
    a.subscribe([topic])
    cluster.until(a.assignment, a)
    b = cluster.consumer(group, partition_assignment_strategy="roundrobin")

    b.subscribe([topic])

    event = cluster.event(b)
    error = event.error()
    assert error is not None
    assert error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL
    assert error.fatal()
    assert len(a.assignment()) == 2


# -- callbacks, eager


def test_eager_members_are_told_all_they_lose_and_all_they_get(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic, 4)
    a, b = cluster.consumer(group, **EAGER), cluster.consumer(group, **EAGER)
    of_a, of_b = Diary(), Diary()

    of_a.subscribe(a, topic)
    cluster.until(lambda: of_a.entries, a)
    of_b.subscribe(b, topic)
    cluster.until(lambda: shared(a, b), a, b)
    mine, others = assigned(a), assigned(b)
    b.close()
    cluster.until(lambda: assigned(a) == [0, 1, 2, 3], a)
    a.close()

    everything = [0, 1, 2, 3]
    assert of_a.entries == [
        ("assign", everything),
        ("revoke", everything),
        ("assign", mine),
        ("revoke", mine),
        ("assign", everything),
        ("revoke", everything),
    ]
    # Inside on_assign the assignment is still empty, inside on_revoke it is still the old one.
    assert of_a.meanwhile == [[], everything, [], mine, [], everything]
    assert of_b.entries == [("assign", others), ("revoke", others)]
    assert of_a.offsets == {OFFSET_INVALID}


@incremental
def test_cooperative_members_are_told_only_what_moves(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    cluster.create(topic, 4)
    a, b = cluster.consumer(group, **protocol), cluster.consumer(group, **protocol)
    of_a, of_b = Diary(), Diary()

    of_a.subscribe(a, topic)
    cluster.until(lambda: of_a.entries, a)
    of_b.subscribe(b, topic)
    cluster.until(lambda: shared(a, b), a, b)
    kept, moved = assigned(a), assigned(b)
    b.close()
    cluster.until(lambda: assigned(a) == [0, 1, 2, 3], a)
    a.close()

    assert [e for e in of_a.entries if e != ("assign", [])] == [
        ("assign", [0, 1, 2, 3]),
        ("revoke", moved),
        ("assign", moved),
        ("revoke", [0, 1, 2, 3]),
    ]
    assert [e for e in of_b.entries if e != ("assign", [])] == [("assign", moved), ("revoke", moved)]
    assert sorted(kept + moved) == [0, 1, 2, 3]


@incremental
def test_what_a_cooperative_member_keeps_is_read_on_without_a_break(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    cluster.create(topic, 4)
    a, b = cluster.consumer(group, **protocol), cluster.consumer(group, **protocol)
    a.subscribe([topic])
    cluster.until(a.assignment, a)
    for partition in range(4):
        cluster.produce(topic, "1", partition=partition)
    cluster.take(a, 4)

    b.subscribe([topic])
    cluster.until(lambda: shared(a, b), a, b)

    positions = {tp.partition: tp.offset for tp in a.position(a.assignment())}
    assert set(positions.values()) == {1}  # no restart: it would be OFFSET_INVALID


def test_callbacks_may_assign_and_say_where_to_begin(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 2)
    for partition in (0, 1):
        cluster.produce(topic, *"abcde", partition=partition)

    def from_three(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            tp.offset = 3
        consumer.assign(partitions)

    consumer = cluster.consumer(group)
    consumer.subscribe([topic], on_assign=from_three, on_revoke=lambda c, _: c.unassign())

    assert sorted((m.partition(), m.offset()) for m in cluster.take(consumer, 4)) == [
        (0, 3), (0, 4), (1, 3), (1, 4),
    ]  # fmt: skip


@incremental
def test_cooperative_callbacks_may_assign_incrementally(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    cluster.create(topic, 4)
    a, b = cluster.consumer(group, **protocol), cluster.consumer(group, **protocol)
    for consumer in (a, b):
        consumer.subscribe(
            [topic],
            on_assign=lambda c, tps: c.incremental_assign(tps),
            on_revoke=lambda c, tps: c.incremental_unassign(tps),
        )
        cluster.until(consumer.assignment, a, b)

    cluster.until(lambda: shared(a, b), a, b)


def test_seek_inside_on_assign_is_an_unknown_partition(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    codes: list[int] = []

    def seek(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            consumer.seek(TopicPartition(topic, 0, 3))
        except KafkaException as error:
            codes.append(error.args[0].code())

    consumer = cluster.consumer(group)
    consumer.subscribe([topic], on_assign=seek)
    cluster.until(consumer.assignment, consumer)

    assert codes == [KafkaError._UNKNOWN_PARTITION]


@every_protocol
@pytest.mark.parametrize("asynchronous", [False, True])
def test_offsets_committed_inside_on_revoke_are_where_the_next_owner_begins(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str], asynchronous: bool
) -> None:
    cluster.create(topic, 4)
    for partition in range(4):
        cluster.produce(topic, *(str(i) for i in range(10)), partition=partition)

    a = cluster.consumer(group, enable_auto_commit=False, **protocol)
    b = cluster.consumer(group, enable_auto_commit=False, **protocol)

    def commit(consumer: Consumer, _: list[TopicPartition]) -> None:
        try:
            consumer.commit(asynchronous=asynchronous)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:  # nothing was read since the last commit
                raise

    a.subscribe([topic], on_revoke=commit)
    first = cluster.take(a, 12)

    b.subscribe([topic])
    got = cluster.until(lambda: shared(a, b), a, b)
    while len(got) < 28:
        got += a.consume(28, 0.02) + b.consume(28, 0.02)

    assert sorted((m.partition(), m.offset()) for m in first + got) == [
        (p, i) for p in range(4) for i in range(10)
    ]


def test_offsets_can_be_committed_inside_on_revoke_during_close(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    cluster.produce(topic, *"abc")
    committed: list[Any] = []
    consumer = cluster.consumer(group, enable_auto_commit=False)
    consumer.subscribe([topic], on_revoke=lambda c, _: committed.append(c.commit(asynchronous=False)))
    cluster.take(consumer, 2)

    consumer.close()

    assert [[tp.offset for tp in tps] for tps in committed] == [[2]]
    assert cluster.committed(group) == {(topic, 0): 2}


def test_unsubscribe_and_close_call_on_revoke(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 2)
    diary = Diary()
    consumer = cluster.consumer(group)
    diary.subscribe(consumer, topic)
    cluster.until(consumer.assignment, consumer)
    consumer.unsubscribe()
    cluster.until(lambda: not consumer.assignment(), consumer)
    assert diary.entries == [("assign", [0, 1]), ("revoke", [0, 1])]

    diary.subscribe(consumer, topic)
    cluster.until(consumer.assignment, consumer)
    consumer.close()
    assert diary.entries[2:] == [("assign", [0, 1]), ("revoke", [0, 1])]


@pytest.mark.parametrize("protocol", [EAGER, COOPERATIVE], ids=["eager", "cooperative"])
def test_an_exception_in_a_callback_propagates_and_the_assignment_is_applied_anyway(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    cluster.create(topic, 4)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    a = cluster.consumer(group, **protocol)
    a.subscribe([topic], on_assign=fail, on_revoke=fail)
    with pytest.raises(ZeroDivisionError):
        cluster.until(lambda: False, a)
    assert assigned(a) == [0, 1, 2, 3]
    cluster.produce(topic, "x")
    assert [m.value() for m in cluster.take(a, 1)] == [b"x"]

    b = cluster.consumer(group, **protocol)
    b.subscribe([topic])
    with pytest.raises(ZeroDivisionError):
        cluster.until(lambda: False, a, b)
    cluster.until(lambda: _swallowing(a) and shared(a, b), b)

    with pytest.raises(ZeroDivisionError):
        a.close()
    cluster.until(lambda: assigned(b) == [0, 1, 2, 3], b)
    with pytest.raises(RuntimeError):
        a.poll(0)


def _swallowing(consumer: Consumer) -> bool:
    with suppress(ZeroDivisionError):
        consumer.poll(0.01)
    return True


def test_callbacks_are_given_the_object_that_subscribed(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    given: list[Any] = []
    consumer = cluster.consumer(group)
    consumer.subscribe([topic], on_assign=lambda c, _: given.append(c))

    cluster.until(lambda: given, consumer)

    assert given == [consumer]


def test_without_on_lost_a_lost_assignment_is_told_to_on_revoke(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic, 2)
    diary = Diary()
    consumer = cluster.consumer(group, heartbeat_interval_ms=200)
    diary.subscribe(consumer, topic, lost=False)
    cluster.until(consumer.assignment, consumer)

    view = cluster.store.group_heartbeat(group, "", -1, 0)
    assert cluster.store.group_update(group, view.version, b"", {}, ()).applied  # an administrator's blow

    cluster.until(lambda: len(diary.entries) >= 3, consumer)
    assert diary.entries == [("assign", [0, 1]), ("revoke", [0, 1]), ("assign", [0, 1])]


@incremental
def test_what_a_member_gave_up_leaves_no_cursor_on_the_server(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    old, new = cluster.create(f"{topic}-old"), cluster.create(f"{topic}-new")

    def cursors() -> list[int]:
        keys = (cluster.store.keys.log(name, 0) for name in (old, new))  # type: ignore[attr-defined]  # RedisStore's own
        return [len(cluster.store._one("XINFO", "GROUPS", key)) for key in keys]  # type: ignore[attr-defined]  # as above

    for name in (old, new):
        cluster.produce(name, "x")  # XINFO wants a stream
    consumer = cluster.consumer(group, **protocol)
    consumer.subscribe([old, new])
    cluster.until(lambda: cursors() == [1, 1], consumer)

    consumer.subscribe([new])
    cluster.until(lambda: cursors() == [0, 1], consumer)
    consumer.unsubscribe()
    cluster.until(lambda: cursors() == [0, 0], consumer)


# -- order


@every_protocol
def test_the_order_of_each_key_holds_across_rebalances_and_nothing_is_read_twice(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    cluster.create(topic, 4)
    keys, rounds = 12, 60
    stop = threading.Event()

    def produce() -> None:
        for i in range(rounds):
            for key in range(keys):
                cluster.produce(topic, str(i), key=f"k{key}", partition=-1)
            stop.wait(0.01)

    producing = threading.Thread(target=produce)
    producing.start()
    seen: dict[bytes, list[int]] = {}
    consumers: list[Consumer] = []
    deadline = time.monotonic() + 60
    changes = 0
    try:
        while sum(map(len, seen.values())) < keys * rounds and time.monotonic() < deadline:
            if changes < 8:
                changes += 1
                if len(consumers) < 3:
                    consumers.append(cluster.consumer(group, **protocol))
                    consumers[-1].subscribe([topic])
                else:
                    consumers.pop(0).close()
            for _ in range(5):
                for consumer in consumers:
                    for message in consumer.consume(20, 0.01):
                        seen.setdefault(message.key(), []).append(int(message.value()))
    finally:
        stop.set()
        producing.join()

    assert seen == {f"k{key}".encode(): list(range(rounds)) for key in range(keys)}


# -- static members


def test_a_static_member_that_restarts_keeps_its_partitions_and_disturbs_nobody(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic, 4)
    a = cluster.consumer(group, group_instance_id="a")
    b = cluster.consumer(group, group_instance_id="b")
    diary = Diary()
    a.subscribe([topic])
    diary.subscribe(b, topic)
    cluster.until(lambda: shared(a, b), a, b)
    mine, entries = assigned(a), list(diary.entries)
    cluster.produce(topic, *"xyz", partition=mine[0])
    cluster.take(a, 2)

    a.close()
    again = cluster.consumer(group, group_instance_id="a")
    again.subscribe([topic])

    got = cluster.until(lambda: assigned(again) == mine, again, b)
    got += cluster.take(again, 1) if not got else []
    assert [m.value() for m in got] == [b"z"]
    assert diary.entries == entries


def test_a_second_consumer_with_the_same_instance_id_fences_the_first(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic, 2)
    diary = Diary()
    first = cluster.consumer(group, group_instance_id="i", heartbeat_interval_ms=200)
    diary.subscribe(first, topic)
    cluster.until(first.assignment, first)

    second = cluster.consumer(group, group_instance_id="i")
    second.subscribe([topic])
    cluster.until(second.assignment, second)

    event = cluster.event(first)
    error = event.error()
    assert error is not None
    assert error.code() == KafkaError.FENCED_INSTANCE_ID
    assert error.fatal()
    assert ("lost", [0, 1]) in diary.entries
    with pytest.raises(KafkaException):
        first.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    cluster.produce(topic, "x")
    assert [m.value() for m in cluster.take(second, 1)] == [b"x"]
    started = time.monotonic()
    first.close()
    assert time.monotonic() - started < 10
    assert assigned(second) == [0, 1]
