"""Consumer groups: who owns which partition, and what becomes of it when members join, leave, stop and die."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from streamadapter.testing.contract.lab import MEMBER, assigned, values
from streamadapter.testing.contract.rebalances import (
    KIP_848,
    RANGE,
    ROUNDROBIN,
    Diary,
    Recorder,
    by_partition,
    classic,
    committed,
    every,
    every_assignor,
    every_protocol,
    fill,
    final_logs,
    gather,
    numbered,
    share,
)
from streamadapter.testing.history import Cell, Event, check

if TYPE_CHECKING:
    from streamadapter.testing.contract.lab import Lab

SESSION_S = MEMBER["session_timeout_ms"] / 1000


# -- sharing


@every_assignor
def test_members_share_the_partitions_and_each_record_is_delivered_to_one_of_them(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(4), lab.group()
    a, b = lab.consumer(group, **protocol), lab.consumer(group, **protocol)
    a.subscribe([topic])
    b.subscribe([topic])
    share(lab, topic, 4, a, b)

    fill(lab, topic, range(4), range(10))

    got = gather(lab, 40, a, b)
    assert by_partition(got) == numbered(range(4), range(10))
    lab.silence(a)
    lab.silence(b)


def test_each_group_gets_every_record(lab: Lab) -> None:
    topic = lab.topic(2)
    consumers = [lab.consumer(lab.group()) for _ in range(3)]
    for consumer in consumers:
        consumer.subscribe([topic])
    fill(lab, topic, range(2), range(10))

    for consumer in consumers:
        assert by_partition(lab.take(consumer, 20)) == numbered(range(2), range(10))


def test_members_with_different_topics_get_their_own(lab: Lab) -> None:
    one, two, group = lab.topic(2), lab.topic(2), lab.group()
    a, b = lab.consumer(group, **RANGE), lab.consumer(group, **RANGE)
    a.subscribe([one])
    b.subscribe([two])

    lab.until(lambda: assigned(a) == set(every(one, 2)) and assigned(b) == set(every(two, 2)), a, b)


@every_protocol
def test_many_members_come_to_a_balanced_assignment(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, group = lab.topic(16), lab.group()
    members = [lab.consumer(group, **protocol) for _ in range(8)]
    for member in members:
        member.subscribe([topic])

    share(lab, topic, 16, *members)

    assert [len(assigned(member)) for member in members] == [2] * 8


def test_range_gives_consecutive_partitions_and_roundrobin_deals_them_out(lab: Lab) -> None:
    topic = lab.topic(4)
    found = []
    for protocol in (RANGE, ROUNDROBIN):
        group = lab.group()
        a, b = lab.consumer(group, **protocol), lab.consumer(group, **protocol)
        a.subscribe([topic])
        b.subscribe([topic])
        share(lab, topic, 4, a, b)
        found.append({frozenset(p for _, p in assigned(consumer)) for consumer in (a, b)})

    assert found == [
        {frozenset({0, 1}), frozenset({2, 3})},
        {frozenset({0, 2}), frozenset({1, 3})},
    ]


def test_a_member_without_a_common_assignor_is_refused_until_the_others_have_left(lab: Lab) -> None:
    topic, group = lab.topic(2), lab.group()
    diary = Diary()
    a, b = lab.consumer(group, **RANGE), lab.consumer(group, **ROUNDROBIN)
    a.subscribe([topic], **diary.callbacks())
    lab.until(a.assignment, a)

    b.subscribe([topic])

    error = lab.event(b).error()
    assert error is not None
    assert (error.code(), error.fatal()) == (KafkaError.INCONSISTENT_GROUP_PROTOCOL, False)
    lab.silence(a)
    assert diary.entries == [("assign", every(topic, 2))]
    a.close()
    lab.until(lambda: assigned(b) == set(every(topic, 2)), b)


# -- joining and leaving


@every_protocol
def test_a_joining_member_takes_its_share_and_nothing_is_lost_or_repeated(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(4), lab.group()
    fill(lab, topic, range(4), range(5))
    a, b = lab.consumer(group, **protocol), lab.consumer(group, **protocol)
    a.subscribe([topic])
    got = lab.take(a, 20)
    a.commit(asynchronous=False)

    b.subscribe([topic])
    fill(lab, topic, range(4), range(5, 8))
    got += share(lab, topic, 4, a, b)
    fill(lab, topic, range(4), range(8, 10))

    assert by_partition(gather(lab, 40, a, b, got=got)) == numbered(range(4), range(10))


@pytest.mark.parametrize("leave", [Consumer.close, Consumer.unsubscribe], ids=["close", "unsubscribe"])
@every_protocol
def test_a_member_that_leaves_is_replaced_at_once_from_its_committed_offsets(
    lab: Lab, protocol: dict[str, Any], leave: Any
) -> None:
    topic, group = lab.topic(2), lab.group()
    fill(lab, topic, range(2), range(6))
    conf = {"enable_auto_commit": False, **protocol}
    leaver, heir = lab.consumer(group, **conf), lab.consumer(group, **conf)
    leaver.subscribe([topic])
    lab.take(leaver, 12)
    leaver.commit(
        offsets=[TopicPartition(topic, 0, 4), TopicPartition(topic, 1, 2)], asynchronous=False
    )  # and not what lies behind

    started = time.monotonic()
    leave(leaver)
    heir.subscribe([topic])
    if leave is Consumer.unsubscribe:
        lab.until(lambda: not leaver.assignment(), leaver)
    got = gather(lab, 6, heir)

    assert time.monotonic() - started < SESSION_S
    assert by_partition(got) == {0: [b"0:4", b"0:5"], 1: [b"1:2", b"1:3", b"1:4", b"1:5"]}


@every_protocol
def test_an_idle_member_takes_over_when_another_leaves(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, group = lab.topic(2), lab.group()
    members = [lab.consumer(group, **protocol) for _ in range(3)]
    for member in members:
        member.subscribe([topic])
    lab.until(lambda: sorted(len(assigned(m)) for m in members) == [0, 1, 1], *members)
    fill(lab, topic, range(2), range(3))
    gather(lab, 6, *members)
    leaver = next(member for member in members if member.assignment())
    rest = [member for member in members if member is not leaver]

    leaver.close()

    share(lab, topic, 2, *rest)
    fill(lab, topic, range(2), range(3, 5))
    assert by_partition(gather(lab, 4, *rest)) == numbered(range(2), range(3, 5))


def test_a_consumer_that_has_left_can_no_longer_commit(lab: Lab) -> None:
    topic, group = lab.topic(), lab.group()
    lab.produce(topic, *"abc")
    leaver, heir = (lab.consumer(group, enable_auto_commit=False, **RANGE) for _ in range(2))
    leaver.subscribe([topic])
    lab.take(leaver, 2)
    leaver.unsubscribe()
    lab.until(lambda: leaver.memberid() is None, leaver)

    def refused() -> int:
        with pytest.raises(KafkaException) as caught:
            leaver.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
        return int(caught.value.args[0].code())

    assert refused() == KafkaError.UNKNOWN_MEMBER_ID  # the group is empty
    heir.subscribe([topic])
    assert values(lab.take(heir, 3)) == [b"a", b"b", b"c"]
    assert refused() == KafkaError.UNKNOWN_MEMBER_ID  # the group has a member
    assert committed(heir, topic, 1) == [OFFSET_INVALID]


@classic
def test_a_consumer_has_a_member_id_while_it_is_a_member(lab: Lab, protocol: dict[str, Any]) -> None:
    topic = lab.topic()
    consumer = lab.consumer(lab.group(), **protocol)
    assert consumer.memberid() is None
    consumer.subscribe([topic])
    lab.until(consumer.assignment, consumer)
    member_id = consumer.memberid()

    assert isinstance(member_id, str)
    assert member_id
    consumer.unsubscribe()
    lab.until(lambda: consumer.memberid() is None, consumer)


def test_the_member_id_of_the_consumer_protocol_is_the_clients_own(lab: Lab) -> None:
    topic = lab.topic()
    consumer = lab.consumer(lab.group(), **KIP_848)
    member_ids = [consumer.memberid()]
    for _ in range(2):
        consumer.subscribe([topic])
        lab.until(consumer.assignment, consumer)
        member_ids.append(consumer.memberid())
        consumer.unsubscribe()
        lab.until(lambda: not consumer.assignment(), consumer)

    assert all(member_ids[1:])
    if lab.features.lasting_member_id:
        assert len(set(member_ids)) == 1
    else:
        assert member_ids[0] is None
        assert member_ids[1] != member_ids[2]


def test_consumer_group_metadata_is_opaque_bytes(lab: Lab) -> None:
    topic = lab.topic()
    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])
    lab.until(consumer.assignment, consumer)

    assert isinstance(consumer.consumer_group_metadata(), bytes)


# -- many that come and go


@every_protocol
def test_members_that_come_and_go_lose_repeat_and_reorder_nothing(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, group, dice = lab.topic(4), lab.group(), random.Random(4)  # noqa: S311  no secret
    history: list[Event] = []
    ends = dict.fromkeys(range(4), 0)
    members: list[Recorder] = []
    got = 0
    for life in range(9):
        if len(members) < 2 or (len(members) < 4 and dice.random() < 0.5):
            consumer = lab.consumer(group, enable_auto_commit=False, **protocol)
            members.append(Recorder(f"member-{life}", history, consumer, topic))
        else:
            members.pop(dice.randrange(len(members))).consumer.close()
        for _ in range(dice.randrange(20, 60)):
            if dice.random() < 0.3:
                _send(lab, topic, dice.randrange(4), ends, history)
            got += sum(len(member.step()) for member in members)
    consumers = [member.consumer for member in members]

    def all_read() -> bool:
        nonlocal got
        got += sum(len(member.step()) for member in members)
        return got >= sum(ends.values())

    lab.until(all_read)

    assert got == sum(ends.values())
    assert check(history, final_logs(lab, topic, ends)) == []
    assert committed(consumers[0], topic, 4) == [ends[partition] for partition in range(4)]


def _send(lab: Lab, topic: str, partition: int, ends: dict[int, int], history: list[Event]) -> None:
    """Append one record, noted for the checker."""
    value = f"{partition}:{ends[partition]}"
    history.append(Event(time.monotonic(), "producer", "send", "invoke", (Cell(partition, -1, value),)))
    [offset] = lab.produce(topic, value, partition=partition)
    history.append(Event(time.monotonic(), "producer", "send", "ok", (Cell(partition, offset, value),)))
    ends[partition] += 1
