"""Offsets that are committed because somebody said so: what, by whom, and what the calls say of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import KafkaError, TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, code_of
from streamadapter.testing.contract.offsets import (
    NONE,
    committed,
    manual,
    nothing_to_commit,
    offsets,
    one_of_two,
    ten,
)

if TYPE_CHECKING:
    from streamadapter import Consumer
    from streamadapter.testing.contract.lab import Lab

Reports = list[tuple[KafkaError | None, list[TopicPartition]]]


# -- what is committed


def test_a_messages_commit_is_the_offset_after_it(lab: Lab) -> None:
    topic = ten(lab)
    consumer = manual(lab, topic)
    messages = lab.take(consumer, 4)

    answer = consumer.commit(message=messages[2], asynchronous=False)

    assert answer is not None
    [tp] = answer
    assert (tp.topic, tp.partition, tp.offset, tp.error) == (topic, 0, 3, None)
    assert tp.leader_epoch == messages[2].leader_epoch()
    [found] = consumer.committed([TopicPartition(topic, 0)], PATIENCE_S)
    assert (found.topic, found.partition, found.offset, found.error) == (topic, 0, 3, None)
    assert (found.metadata, found.leader_epoch) == (None, messages[2].leader_epoch())


def test_a_bare_commit_answers_with_the_whole_assignment(lab: Lab) -> None:
    """Partitions of which nothing new was stored are in it too, without an offset."""
    topic = lab.topic(3)
    consumer = manual(lab, topic)
    lab.produce(topic, "a", "b", partition=1)
    lab.take(consumer, 2)

    assert offsets(consumer.commit(asynchronous=False)) == [(0, NONE), (1, 2), (2, NONE)]

    lab.produce(topic, "c", partition=0)
    lab.take(consumer, 1)
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 1), (1, NONE), (2, NONE)]
    assert committed(consumer, topic, 0, 1, 2) == [1, 2, NONE]


def test_given_offsets_are_committed_and_answered_sorted(lab: Lab) -> None:
    topic, consumer = lab.topic(3), lab.consumer(lab.group())
    given = [TopicPartition(topic, 2, 1), TopicPartition(topic, 0, 2), TopicPartition(topic, 1, 1000)]

    assert offsets(consumer.commit(offsets=given, asynchronous=False)) == [(0, 2), (1, 1000), (2, 1)]

    assert committed(consumer, topic, 1, 2, 0) == [1000, 1, 2]  # in the order asked
    assert offsets(given) == [(2, 1), (0, 2), (1, 1000)]


def test_given_offsets_that_are_none_are_answered_but_not_committed(lab: Lab) -> None:
    topic, consumer = lab.topic(2), lab.consumer(lab.group())
    consumer.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)

    given = [TopicPartition(topic, 0, NONE), TopicPartition(topic, 1, 3)]
    assert offsets(consumer.commit(offsets=given, asynchronous=False)) == [(0, NONE), (1, 3)]
    assert committed(consumer, topic, 0, 1) == [7, 3]

    for nothing in ([], [TopicPartition(topic, 0, NONE)], [TopicPartition(topic, 0, -1)]):
        commit = partial(consumer.commit, offsets=nothing, asynchronous=False)
        assert code_of(commit) == KafkaError._NO_OFFSET
    assert committed(consumer, topic, 0, 1) == [7, 3]


def test_the_last_of_two_offsets_of_a_partition_is_committed(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    twice = [TopicPartition(topic, 0, 2), TopicPartition(topic, 0, 1)]

    assert offsets(consumer.commit(offsets=twice, asynchronous=False)) == [(0, 2), (0, 1)]

    assert committed(consumer, topic) == [1]


def test_a_commit_may_go_backwards_when_it_is_told_to(lab: Lab) -> None:
    topic = ten(lab)
    consumer = manual(lab, topic)
    messages = lab.take(consumer, 6)
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 6)]

    consumer.commit(message=messages[1], asynchronous=False)

    assert committed(consumer, topic) == [2]
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 6)]  # what was handed over is ahead again
    assert nothing_to_commit(consumer)


def test_a_bare_commit_never_goes_backwards(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    consumer = manual(lab, topic, group)
    lab.take(consumer, 6)
    consumer.commit(asynchronous=False)

    consumer.seek(TopicPartition(topic, 0, 0))
    lab.take(consumer, 2)
    assert nothing_to_commit(consumer)
    lab.take(consumer, 6)
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 8)]
    consumer.close()

    later = manual(lab, topic, group)  # what was committed before it came counts as well
    lab.take(later, 1)
    later.seek(TopicPartition(topic, 0, 0))
    lab.take(later, 4)
    assert nothing_to_commit(later)
    later.assign([TopicPartition(topic, 0, 0)])
    lab.take(later, 4)
    assert nothing_to_commit(later)
    assert committed(later, topic) == [8]


def test_with_nothing_stored_there_is_nothing_to_commit(lab: Lab) -> None:
    topic = ten(lab)
    consumer = manual(lab, topic)
    assert nothing_to_commit(consumer)
    lab.take(consumer, 10)
    consumer.commit(asynchronous=False)

    assert nothing_to_commit(consumer)


def test_a_paused_or_sought_partition_keeps_what_is_stored(lab: Lab) -> None:
    topic = ten(lab)
    consumer = manual(lab, topic)
    lab.take(consumer, 4)
    consumer.pause([TopicPartition(topic, 0)])
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 4)]

    consumer.resume([TopicPartition(topic, 0)])
    lab.take(consumer, 2)
    consumer.seek(TopicPartition(topic, 0, 9))
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 6)]


def test_after_unassign_nothing_is_stored(lab: Lab) -> None:
    topic = ten(lab)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    consumer.assign([TopicPartition(topic, 0)])
    lab.take(consumer, 5)

    consumer.unassign()
    assert nothing_to_commit(consumer)
    consumer.assign([TopicPartition(topic, 0)])
    assert nothing_to_commit(consumer)

    assert [message.offset() for message in lab.take(consumer, 1)] == [0]
    assert offsets(consumer.commit(asynchronous=False)) == [(0, 1)]


def test_metadata_and_epochs_of_committed_offsets_are_kept(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    for given in (
        TopicPartition(topic, 0, 1, metadata="ünïcode ☃"),
        TopicPartition(topic, 0, 2, metadata=""),
        TopicPartition(topic, 0, 3),
        TopicPartition(topic, 0, 4, leader_epoch=0),
        TopicPartition(topic, 0, 5, metadata="x" * 4095),
    ):
        answer = consumer.commit(offsets=[given], asynchronous=False)
        assert answer is not None
        for tp in (*answer, *consumer.committed([TopicPartition(topic, 0)], PATIENCE_S)):
            assert (tp.offset, tp.metadata, tp.leader_epoch) == (
                given.offset,
                given.metadata,
                given.leader_epoch,
            )


def test_metadata_that_are_too_long_are_refused_alone(lab: Lab) -> None:
    topic, consumer = lab.topic(2), lab.consumer(lab.group())
    both = [TopicPartition(topic, 0, 1, metadata="x" * 4096), TopicPartition(topic, 1, 1)]

    assert (
        code_of(lambda: consumer.commit(offsets=both, asynchronous=False))
        == KafkaError.OFFSET_METADATA_TOO_LARGE
    )

    assert committed(consumer, topic, 0, 1) == [NONE, 1]


def test_metadata_hold_no_nul(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())

    with pytest.raises(ValueError, match="null"):
        consumer.commit(offsets=[TopicPartition(topic, 0, 1, metadata="a\0b")], asynchronous=False)


# -- who may commit what


def test_partitions_outside_the_assignment_may_be_committed(lab: Lab) -> None:
    topic, other = ten(lab), lab.topic(2)
    consumer = manual(lab, topic)
    lab.take(consumer, 1)

    consumer.commit(offsets=[TopicPartition(other, 1, 7)], asynchronous=False)

    assert committed(consumer, other, 0, 1) == [NONE, 7]
    assert committed(consumer, topic) == [NONE]


def test_a_consumer_without_subscription_commits_while_its_group_is_empty(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    outsider = lab.consumer(group, enable_auto_commit=False)
    outsider.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    member = manual(lab, topic, group)
    assert [message.offset() for message in lab.take(member, 1)] == [5]

    late = [TopicPartition(topic, 0, 1)]
    assert code_of(lambda: outsider.commit(offsets=late, asynchronous=False)) == KafkaError.UNKNOWN_MEMBER_ID
    outsider.assign([TopicPartition(topic, 0, 0)])
    lab.take(outsider, 1)
    assert code_of(lambda: outsider.commit(asynchronous=False)) == KafkaError.UNKNOWN_MEMBER_ID

    assert committed(outsider, topic) == [5]


def test_assigned_partitions_are_committed_and_resumed_without_a_subscription(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    first = lab.consumer(group)
    first.assign([TopicPartition(topic, 0)])
    lab.take(first, 4)
    first.close()

    second = lab.consumer(group)
    second.assign([TopicPartition(topic, 0)])

    assert [message.offset() for message in lab.take(second, 6)] == [4, 5, 6, 7, 8, 9]


def test_a_member_resumes_exactly_where_its_group_has_committed(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    first = manual(lab, topic, group)
    messages = lab.take(first, 8)
    first.commit(message=messages[5], asynchronous=False)
    first.close()

    second = manual(lab, topic, group)

    assert [message.offset() for message in lab.take(second, 4)] == [6, 7, 8, 9]
    lab.silence(second)


@pytest.mark.parametrize("partition", [1, -1])
def test_an_unknown_partition_is_refused_and_the_others_are_committed(lab: Lab, partition: int) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    for unknown in (TopicPartition(topic, partition, 1), TopicPartition(f"{topic}-not", 0, 1)):
        both = [unknown, TopicPartition(topic, 0, 2)]
        for wrong in ([unknown], both):
            commit = partial(consumer.commit, offsets=wrong, asynchronous=False)
            assert code_of(commit) == KafkaError.UNKNOWN_TOPIC_OR_PART
        assert committed(consumer, topic, 0, partition) == [2, NONE]


def test_committed_knows_nothing_of_what_does_not_exist(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    asked = [TopicPartition(f"{topic}-not", 0), TopicPartition(topic, 9), TopicPartition(topic, 0)]

    answer = consumer.committed(asked, PATIENCE_S)

    assert [(tp.topic, tp.partition, tp.offset, tp.error) for tp in answer] == [
        (f"{topic}-not", 0, NONE, None),
        (topic, 9, NONE, None),
        (topic, 0, NONE, None),
    ]
    assert consumer.committed([], PATIENCE_S) == []


def test_arguments_of_commits_are_checked(lab: Lab) -> None:
    topic = ten(lab)
    consumer: Any = manual(lab, topic)
    [message] = lab.take(consumer, 1)

    for both in ([], [TopicPartition(topic, 0, 1)]):
        with pytest.raises(ValueError, match="mutually exclusive"):
            consumer.commit(message=message, offsets=both)
    for wrong in (
        {"message": 3},
        {"offsets": 3},
        {"offsets": [3]},
        {"offsets": (TopicPartition(topic, 0, 1),)},
        {"messages": message},
    ):
        with pytest.raises(TypeError):
            consumer.commit(**wrong)
    for wrong_question in (3, [3]):
        with pytest.raises(TypeError):
            consumer.committed(wrong_question, PATIENCE_S)
    assert offsets(consumer.commit(message, None, False)) == [(0, 1)]
    assert offsets(consumer.commit(message=message, **{"async": False})) == [(0, 1)]


def test_an_event_has_no_offset_to_commit(lab: Lab) -> None:
    consumer = manual(lab, lab.topic(), enable_partition_eof=True)
    end = lab.event(consumer)

    assert code_of(lambda: consumer.commit(message=end, asynchronous=False)) == KafkaError._INVALID_ARG
    assert code_of(lambda: consumer.commit(message=end)) == KafkaError._INVALID_ARG


# -- asynchronous commits


def reporting(lab: Lab, topic: str, **properties: Any) -> tuple[Consumer, Reports]:
    reports: Reports = []
    consumer = manual(lab, topic, on_commit=lambda error, tps: reports.append((error, tps)), **properties)
    return consumer, reports


def test_an_asynchronous_commit_calls_on_commit_from_poll(lab: Lab) -> None:
    topic = one_of_two(lab)
    consumer, reports = reporting(lab, topic)
    [message, _] = lab.take(consumer, 2)

    assert consumer.commit(message=message) is None
    lab.until(lambda: committed(consumer, topic) == [1])
    assert reports == []
    lab.until(lambda: reports, consumer)
    [(error, tps)] = reports
    assert error is None
    assert [(tp.topic, tp.partition, tp.offset, tp.error) for tp in tps] == [(topic, 0, 1, None)]


def test_a_bare_asynchronous_commit_reports_the_whole_assignment(lab: Lab) -> None:
    topic = one_of_two(lab)
    consumer, reports = reporting(lab, topic)
    lab.take(consumer, 10)

    for _ in range(2):
        before = len(reports)
        consumer.commit()
        lab.until(lambda before=before: len(reports) > before, consumer)  # type: ignore[misc]  # a default that binds the loop's variable

    assert [(error.code() if error else None, offsets(tps)) for error, tps in reports] == [
        (None, [(0, 10), (1, NONE)]),
        (KafkaError._NO_OFFSET, [(0, NONE), (1, NONE)]),
    ]


def test_a_failed_asynchronous_commit_is_reported(lab: Lab) -> None:
    topic = ten(lab)
    consumer, reports = reporting(lab, topic)
    lab.take(consumer, 1)

    consumer.commit(offsets=[TopicPartition(topic, 1, 1), TopicPartition(topic, 0, 2)])

    lab.until(lambda: reports, consumer)
    [(error, tps)] = reports
    assert error is not None
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert offsets(tps) == [(0, 2), (1, 1)]
    expected = KafkaError.UNKNOWN_TOPIC_OR_PART if lab.features.offset_errors else None
    assert [tp.error.code() if tp.error else None for tp in tps][1] == expected
    assert committed(consumer, topic) == [2]


@pytest.mark.parametrize("given", [None, []], ids=["bare", "empty list"])
def test_an_asynchronous_commit_of_nothing_is_reported(lab: Lab, given: list[TopicPartition] | None) -> None:
    reports: Reports = []
    consumer = lab.consumer(lab.group(), on_commit=lambda error, tps: reports.append((error, tps)))

    assert consumer.commit(offsets=given) is None

    lab.until(lambda: reports, consumer)
    [(error, tps)] = reports
    assert error is not None
    assert (error.code(), tps) == (KafkaError._NO_OFFSET, [])


def test_a_synchronous_commit_does_not_call_on_commit(lab: Lab) -> None:
    consumer, reports = reporting(lab, ten(lab))
    lab.take(consumer, 10)

    consumer.commit(asynchronous=False)

    lab.silence(consumer)
    assert reports == []


def test_an_exception_in_on_commit_propagates_from_poll(lab: Lab) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    topic = ten(lab)
    consumer = manual(lab, topic, on_commit=fail)
    lab.take(consumer, 10)
    consumer.commit()

    with pytest.raises(ZeroDivisionError):
        lab.until(lambda: False, consumer)
    consumer.seek(TopicPartition(topic, 0, 8))
    assert [message.offset() for message in lab.take(consumer, 2)] == [8, 9]


def test_commits_take_effect_and_are_reported_in_the_order_they_were_made(lab: Lab) -> None:
    topic = ten(lab)
    consumer, reports = reporting(lab, topic)
    messages = lab.take(consumer, 10)

    for message in reversed(messages):
        consumer.commit(message=message)
    consumer.commit(message=messages[4], asynchronous=False)

    assert committed(consumer, topic) == [5]
    lab.until(lambda: len(reports) == 10, consumer)
    assert [offsets(tps) for _, tps in reports] == [[(0, offset)] for offset in range(10, 0, -1)]
    assert {error for error, _ in reports} == {None}
