"""Rebalance callbacks: which is called when, with what, and what a program may do inside."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from streamadapter.testing.contract.lab import MEMBER, assigned, only, values
from streamadapter.testing.contract.rebalances import (
    COOPERATIVE,
    KIP_848,
    RANGE,
    Diary,
    by_partition,
    classic,
    committed,
    eager,
    every,
    every_protocol,
    fill,
    gather,
    incremental,
    numbered,
    share,
)

if TYPE_CHECKING:
    from streamadapter.testing.contract.lab import Lab


# -- what is told, and in which order


@eager
def test_eager_members_are_told_all_they_lose_and_all_they_get(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, group = lab.topic(4), lab.group()
    everything = every(topic, 4)
    a, b = lab.consumer(group, **protocol), lab.consumer(group, **protocol)
    of_a, of_b = Diary(), Diary()

    a.subscribe([topic], **of_a.callbacks())
    share(lab, topic, 4, a)
    b.subscribe([topic], **of_b.callbacks())
    share(lab, topic, 4, a, b)
    mine, others = sorted(assigned(a)), sorted(assigned(b))
    b.close()
    share(lab, topic, 4, a)
    a.close()

    assert of_a.entries == [
        ("assign", everything),
        ("revoke", everything),
        ("assign", mine),
        ("revoke", mine),
        ("assign", everything),
        ("revoke", everything),
    ]
    # Inside on_assign the assignment is still empty, inside on_revoke it is still the old one.
    assert of_a.meanwhile == [set(), set(everything), set(), set(mine), set(), set(everything)]
    assert of_b.entries == [("assign", others), ("revoke", others)]
    assert of_a.offsets == {OFFSET_INVALID}


@incremental
def test_incremental_members_are_told_only_what_moves(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, group = lab.topic(4), lab.group()
    everything = every(topic, 4)
    a, b = lab.consumer(group, **protocol), lab.consumer(group, **protocol)
    of_a, of_b = Diary(), Diary()

    a.subscribe([topic], **of_a.callbacks())
    share(lab, topic, 4, a)
    b.subscribe([topic], **of_b.callbacks())
    share(lab, topic, 4, a, b)
    kept, moved = sorted(assigned(a)), sorted(assigned(b))
    b.close()
    share(lab, topic, 4, a)
    a.close()

    assert of_a.moves == [
        ("assign", everything),
        ("revoke", moved),
        ("assign", moved),
        ("revoke", everything),
    ]
    assert of_b.moves == [("assign", moved), ("revoke", moved)]
    revoked = of_a.entries.index(("revoke", moved))
    assert of_a.entries[revoked + 1] == (
        "assign",
        [],
    )  # a rebalance ends with an on_assign, also for the loser
    assert of_a.meanwhile[revoked : revoked + 2] == [set(everything), set(kept)]
    assert of_a.meanwhile[-1] == set(everything)


@every_protocol
def test_a_newcomer_for_whom_there_is_nothing_is_told_so_by_classic_protocols_only(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(1), lab.group()
    a, b = lab.consumer(group, **protocol), lab.consumer(group, **protocol)
    of_a, of_b = Diary(), Diary()
    a.subscribe([topic], **of_a.callbacks())
    share(lab, topic, 1, a)

    b.subscribe([topic], **of_b.callbacks())

    lab.until(lambda: len(only(lab.admin.describe_consumer_groups([group])).members) == 2, a, b)
    if protocol == KIP_848:
        lab.silence(b)
        assert (of_a.entries, of_b.entries) == ([("assign", [(topic, 0)])], [])
    elif protocol == COOPERATIVE:
        lab.until(lambda: of_b.entries == [("assign", [])], a, b)
        assert of_a.moves == [("assign", [(topic, 0)])]
    else:  # the newcomer may be the one that gets the partition
        everybody = [[("assign", [])], [("assign", [(topic, 0)])]]
        lab.until(lambda: sorted([of_a.entries[-1:], of_b.entries[-1:]]) == everybody, a, b)


@incremental
def test_what_an_incremental_member_keeps_is_read_on_without_a_break(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(4), lab.group()
    fill(lab, topic, range(4), range(2))
    a, b = lab.consumer(group, **protocol), lab.consumer(group, **protocol)
    a.subscribe([topic])
    lab.take(a, 8)

    b.subscribe([topic])
    share(lab, topic, 4, a, b)

    assert [tp.offset for tp in a.position(a.assignment())] == [2, 2]  # not OFFSET_INVALID, as after a start


@every_protocol
def test_unsubscribe_and_close_call_on_revoke(lab: Lab, protocol: dict[str, Any]) -> None:
    topic = lab.topic(2)
    everything = every(topic, 2)
    diary = Diary()
    consumer = lab.consumer(lab.group(), **protocol)
    consumer.subscribe([topic], **diary.callbacks())
    share(lab, topic, 2, consumer)

    consumer.unsubscribe()
    assert diary.entries == [("assign", everything)]  # callbacks run in poll
    lab.until(lambda: not consumer.assignment(), consumer)
    assert diary.entries == [("assign", everything), ("revoke", everything)]

    consumer.subscribe([topic], **diary.callbacks())
    share(lab, topic, 2, consumer)
    consumer.close()
    assert diary.entries[2:] == [("assign", everything), ("revoke", everything)]


@every_protocol
def test_callbacks_are_given_the_object_that_subscribed(lab: Lab, protocol: dict[str, Any]) -> None:
    topic = lab.topic()
    given: list[Consumer] = []
    consumer = lab.consumer(lab.group(), **protocol)

    def note(who: Consumer, _: Any) -> None:
        given.append(who)

    consumer.subscribe([topic], on_assign=note, on_revoke=note)
    lab.until(consumer.assignment, consumer)
    consumer.close()

    assert given == [consumer, consumer]


@pytest.mark.parametrize(
    "kinds", [("assign", "revoke", "lost"), ("assign", "revoke")], ids=["lost", "revoke"]
)
@classic
def test_a_lost_assignment_is_told_to_on_lost_or_else_to_on_revoke(
    lab: Lab, protocol: dict[str, Any], kinds: tuple[str, ...]
) -> None:
    topic = lab.topic()
    lab.produce(topic, *"abc")
    diary = Diary()
    session = MEMBER["session_timeout_ms"]
    consumer = lab.consumer(lab.group(), enable_auto_commit=False, max_poll_interval_ms=session, **protocol)
    consumer.subscribe([topic], **diary.callbacks(*kinds))
    lab.until(consumer.assignment, consumer)

    lab.until(lambda: consumer.memberid() is None)  # nobody polls
    error = lab.event(consumer).error()
    assert error is not None
    assert error.code() == KafkaError._MAX_POLL_EXCEEDED
    lab.until(lambda: len(diary.entries) == 3, consumer)

    assert diary.entries == [("assign", [(topic, 0)]), (kinds[-1], [(topic, 0)]), ("assign", [(topic, 0)])]
    assert diary.meanwhile == [set(), {(topic, 0)}, set()]


# -- what may be done inside


@eager
def test_on_assign_may_say_where_to_begin(lab: Lab, protocol: dict[str, Any]) -> None:
    topic = lab.topic(2)
    fill(lab, topic, range(2), range(5))

    def from_three(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            tp.offset = 3
        consumer.assign(partitions)

    consumer = lab.consumer(lab.group(), **protocol)
    consumer.subscribe([topic], on_assign=from_three, on_revoke=lambda c, _: c.unassign())

    assert by_partition(lab.take(consumer, 4)) == numbered(range(2), range(3, 5))
    consumer.close()


@incremental
def test_on_assign_may_say_where_to_begin_incrementally(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, group = lab.topic(2), lab.group()
    fill(lab, topic, range(2), range(5))

    def from_three(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            tp.offset = 3
        consumer.incremental_assign(partitions)

    consumers = [lab.consumer(group, **protocol) for _ in range(2)]
    got = []
    for consumer in consumers:
        consumer.subscribe(
            [topic], on_assign=from_three, on_revoke=lambda c, tps: c.incremental_unassign(tps)
        )
        got += gather(lab, 4, consumer) if consumer is consumers[0] else []
    share(lab, topic, 2, *consumers)

    assert by_partition(got) == numbered(range(2), range(3, 5))


@every_protocol
def test_committed_offsets_may_be_asked_for_in_on_assign(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, group = lab.topic(2), lab.group()
    fill(lab, topic, range(2), range(3))
    first = lab.consumer(group, enable_auto_commit=False, **protocol)
    first.subscribe([topic])
    lab.take(first, 6)
    first.commit(offsets=[TopicPartition(topic, 1, 2)], asynchronous=False)
    first.close()
    found: list[list[int]] = []

    def ask(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        found.append([tp.offset for tp in consumer.committed(sorted(partitions), 30)])

    second = lab.consumer(group, **protocol)
    second.subscribe([topic], on_assign=ask)
    lab.until(lambda: found, second)

    assert found == [[OFFSET_INVALID, 2]]


def test_seek_inside_on_assign_is_an_unknown_partition(lab: Lab) -> None:
    topic = lab.topic()
    codes: list[int] = []

    def seek(consumer: Consumer, _: list[TopicPartition]) -> None:
        try:
            consumer.seek(TopicPartition(topic, 0, 3))
        except KafkaException as error:
            codes.append(error.args[0].code())

    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic], on_assign=seek)
    lab.until(consumer.assignment, consumer)

    assert codes == [KafkaError._UNKNOWN_PARTITION]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@every_protocol
def test_offsets_committed_inside_on_revoke_are_where_the_next_owner_begins(
    lab: Lab, protocol: dict[str, Any], asynchronous: bool
) -> None:
    topic, group = lab.topic(4), lab.group()
    fill(lab, topic, range(4), range(5))
    a, b = (lab.consumer(group, enable_auto_commit=False, **protocol) for _ in range(2))

    def commit(consumer: Consumer, _: list[TopicPartition]) -> None:
        with suppress(KafkaException):  # _NO_OFFSET: nothing was read since the last commit
            consumer.commit(asynchronous=asynchronous)

    a.subscribe([topic], on_revoke=commit)
    got = lab.take(a, 20)

    b.subscribe([topic], on_revoke=commit)
    got += share(lab, topic, 4, a, b)
    fill(lab, topic, range(4), range(5, 7))

    assert by_partition(gather(lab, 28, a, b, got=got)) == numbered(range(4), range(7))


@every_protocol
def test_offsets_can_be_committed_inside_on_revoke_during_close(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, group = lab.topic(), lab.group()
    lab.produce(topic, *"abc")
    answers: list[Any] = []
    consumer = lab.consumer(group, enable_auto_commit=False, **protocol)
    consumer.subscribe([topic], on_revoke=lambda c, _: answers.append(c.commit(asynchronous=False)))
    lab.take(consumer, 2)

    consumer.close()

    assert [[(tp.topic, tp.partition, tp.offset) for tp in answer] for answer in answers] == [[(topic, 0, 2)]]
    assert committed(lab.consumer(group), topic, 1) == [2]


# -- callbacks that fail


@every_protocol
def test_an_exception_in_on_assign_propagates_and_the_assignment_is_applied_anyway(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic = lab.topic(2)
    fill(lab, topic, range(2), range(2))

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("on_assign")

    consumer = lab.consumer(lab.group(), **protocol)
    consumer.subscribe([topic], on_assign=fail)
    with pytest.raises(ZeroDivisionError, match="on_assign"):
        lab.until(lambda: False, consumer)

    assert assigned(consumer) == set(every(topic, 2))
    assert by_partition(lab.take(consumer, 4)) == numbered(range(2), range(2))


@every_protocol
def test_an_exception_in_on_revoke_propagates_and_the_partitions_are_given_up_anyway(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(2), lab.group()

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("on_revoke")

    a, b = lab.consumer(group, **protocol), lab.consumer(group, **protocol)
    a.subscribe([topic], on_revoke=fail)
    share(lab, topic, 2, a)
    b.subscribe([topic])
    with pytest.raises(ZeroDivisionError, match="on_revoke"):
        lab.until(lambda: False, a, b)
    share(lab, topic, 2, a, b)

    with pytest.raises(ZeroDivisionError, match="on_revoke"):
        a.close()

    share(lab, topic, 2, b)
    with pytest.raises(RuntimeError):
        a.poll(0)


def test_records_come_after_the_callback_that_assigned_their_partition(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, *"abc")
    diary = Diary()
    consumer = lab.consumer(lab.group(), **RANGE)
    consumer.subscribe([topic], **diary.callbacks())

    first = lab.take(consumer, 1)

    assert diary.entries == [("assign", [(topic, 0)])]
    assert values(first + lab.take(consumer, 2)) == [b"a", b"b", b"c"]
