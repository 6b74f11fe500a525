"""Group members that die, stop, do not poll, or come back under the name of another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from streamadapter.testing.contract.lab import MEMBER, assigned, values
from streamadapter.testing.contract.rebalances import (
    KIP_848,
    Diary,
    by_partition,
    classic,
    committed,
    every_protocol,
    fill,
    gather,
    share,
)

if TYPE_CHECKING:
    from streamadapter.testing.contract.lab import Lab

SESSION_S = MEMBER["session_timeout_ms"] / 1000


# -- members that die, stop, or do not poll


@classic
def test_a_killed_member_is_replaced_after_its_session_from_its_committed_offset(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(2), lab.group()
    fill(lab, topic, range(2), range(5))
    victim = lab.member(group, [topic], **protocol)
    lab.until(lambda: len(victim.of("read")) == 10)
    victim.tell("commit", offsets=[[topic, 0, 3], [topic, 1, 1]])
    lab.until(lambda: victim.of("committed"))
    heir = lab.consumer(group, **protocol)
    heir.subscribe([topic])
    share_of_heir = lab.until(heir.assignment, heir)  # the victim lives, and has one of the two

    victim.kill()
    killed = time.monotonic()
    got = share_of_heir + share(lab, topic, 2, heir)

    assert time.monotonic() - killed < SESSION_S + 4
    assert by_partition(gather(lab, 6, heir, got=got)) == {
        0: [b"0:3", b"0:4"],
        1: [b"1:1", b"1:2", b"1:3", b"1:4"],
    }


@classic
def test_a_stopped_member_that_wakes_cannot_commit_and_joins_again(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(1), lab.group()
    lab.produce(topic, *"abc")
    zombie = lab.member(group, [topic], **protocol)
    lab.until(lambda: len(zombie.of("read")) == 3)
    zombie.tell("hold")
    lab.until(lambda: zombie.of("holding"))
    zombie.pause()
    heir = lab.consumer(group, enable_auto_commit=False, **protocol)
    heir.subscribe([topic])
    assert values(lab.take(heir, 3)) == [b"a", b"b", b"c"]
    heir.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)

    zombie.tell("commit", offsets=[[topic, 0, 3]])
    zombie.resume()
    lab.until(lambda: zombie.of("refused") or zombie.of("committed"), heir)

    assert (zombie.of("refused"), zombie.of("committed")) == (["UNKNOWN_MEMBER_ID"], [])
    assert committed(heir, topic, 1) == [1]
    zombie.tell("poll")
    lab.until(lambda: zombie.of("lost") == [[[topic, 0]]], heir)
    heir.close()
    lab.until(lambda: zombie.of("assign")[-1] == [[topic, 0]] and len(zombie.of("assign")) > 1)
    lab.until(lambda: len(zombie.of("read")) == 5)
    assert zombie.of("read")[3:] == [[[topic, 0, 1]], [[topic, 0, 2]]]


@classic
def test_a_member_that_does_not_poll_loses_its_partitions_and_joins_again_when_it_does(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(2), lab.group()
    diary = Diary()
    slow = lab.consumer(group, max_poll_interval_ms=MEMBER["session_timeout_ms"], **protocol)
    other = lab.consumer(group, **protocol)
    slow.subscribe([topic], **diary.callbacks())
    other.subscribe([topic])
    share(lab, topic, 2, slow, other)
    mine = sorted(assigned(slow))
    former = slow.memberid()

    lab.until(lambda: len(other.assignment()) == 2, other)  # only the other one polls

    assert sorted(assigned(slow)) == mine  # callbacks run in poll
    error = lab.event(slow).error()
    assert error is not None
    assert error.code() == KafkaError._MAX_POLL_EXCEEDED
    told = len(diary.entries)
    assert not any(kind == "lost" for kind, _ in diary.entries)  # the event comes before the callback
    lab.until(lambda: len(slow.assignment()) == 1 == len(other.assignment()), slow, other)
    assert next(entry for entry in diary.entries[told:] if entry[1]) == ("lost", mine)
    assert slow.memberid() not in (None, former)
    share(lab, topic, 2, slow, other)


# -- static members


@every_protocol
def test_a_static_member_that_restarts_keeps_its_partitions_and_disturbs_nobody(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(2), lab.group()
    diary = Diary()
    a, b = (lab.consumer(group, group_instance_id=name, **protocol) for name in "ab")
    a.subscribe([topic])
    b.subscribe([topic], **diary.callbacks())
    share(lab, topic, 2, a, b)
    mine, told = assigned(a), list(diary.entries)
    partition = next(p for _, p in mine)
    lab.produce(topic, *"xyz", partition=partition)
    lab.take(a, 2)

    a.close()  # commits, and does not leave
    again = lab.consumer(group, group_instance_id="a", **protocol)
    again.subscribe([topic])
    got = lab.until(lambda: assigned(again) == mine, again, b)

    assert values(gather(lab, 1, again, got=got)) == [b"z"]
    lab.silence(b)
    assert diary.entries == told


@classic
def test_a_second_consumer_with_the_same_instance_id_fences_the_first(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic, group = lab.topic(2), lab.group()
    first = lab.consumer(group, group_instance_id="i", **protocol)
    first.subscribe([topic])
    lab.until(lambda: len(first.assignment()) == 2, first)

    second = lab.consumer(group, group_instance_id="i", **protocol)
    second.subscribe([topic])
    lab.until(lambda: len(second.assignment()) == 2, second)

    error = lab.event(first).error()
    assert error is not None
    assert error.code() == KafkaError._FATAL
    with pytest.raises(KafkaException) as caught:
        first.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    assert caught.value.args[0].code() == KafkaError._FATAL
    with pytest.raises(KafkaException) as caught:
        first.subscribe([topic])
    assert caught.value.args[0].code() == KafkaError._FATAL
    first.close()
    lab.produce(topic, "x")
    assert values(lab.take(second, 1)) == [b"x"]
    assert committed(second, topic, 2) == [OFFSET_INVALID, OFFSET_INVALID]


def test_with_the_consumer_protocol_an_instance_id_that_is_in_use_is_refused(lab: Lab) -> None:
    topic, group = lab.topic(), lab.group()
    first, second = (lab.consumer(group, group_instance_id="i", **KIP_848) for _ in range(2))
    first.subscribe([topic])
    lab.until(first.assignment, first)

    second.subscribe([topic])

    refused, owner = (second, first) if lab.features.instance_id_refused else (first, second)
    error = lab.event(refused).error()
    assert error is not None
    assert error.code() == KafkaError._FATAL
    lab.until(owner.assignment, owner)
    lab.produce(topic, "x")
    assert values(lab.take(owner, 1)) == [b"x"]
