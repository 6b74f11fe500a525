"""Offsets that are committed without being asked to: when, and what on_commit hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamadapter import KafkaError, TopicPartition
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


def test_what_poll_hands_over_is_committed_at_the_interval_without_another_poll(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    consumer = lab.consumer(group, auto_commit_interval_ms=100)
    consumer.subscribe([topic])
    lab.take(consumer, 1)
    lab.until(lambda: committed(consumer, topic) == [1])

    lab.take(consumer, 3)

    lab.until(lambda: committed(consumer, topic) == [4])


def test_automatic_commits_call_on_commit_once_for_what_is_new(lab: Lab) -> None:
    topic, reports = one_of_two(lab), Reports()
    consumer = lab.consumer(
        lab.group(),
        auto_commit_interval_ms=100,
        on_commit=lambda error, tps: reports.append((error, tps)),
    )
    consumer.subscribe([topic])
    lab.take(consumer, 10)

    lab.until(lambda: reports and offsets(reports[-1][1])[0] == (0, 10), consumer)
    lab.silence(consumer, 0.5)  # several intervals without anything new

    assert {error for error, _ in reports} == {None}
    assert offsets(reports[-1][1]) == [(0, 10), (1, NONE)]
    firsts = [tps[0].offset for _, tps in reports]
    assert firsts == sorted(set(firsts))


def test_close_commits_what_was_handed_over_and_calls_on_commit(lab: Lab) -> None:
    topic, group, reports = ten(lab), lab.group(), Reports()
    consumer = lab.consumer(group, on_commit=lambda error, tps: reports.append((error, tps)))
    consumer.subscribe([topic])
    lab.take(consumer, 7)
    assert committed(consumer, topic) == [NONE]

    consumer.close()

    assert [(error, offsets(tps)) for error, tps in reports] == [(None, [(0, 7)])]
    assert committed(lab.consumer(group), topic) == [7]


def test_unsubscribe_commits_what_was_handed_over(lab: Lab) -> None:
    topic, reports = one_of_two(lab), Reports()
    consumer = lab.consumer(lab.group(), on_commit=lambda error, tps: reports.append((error, tps)))
    consumer.subscribe([topic])
    lab.take(consumer, 7)

    consumer.unsubscribe()

    lab.until(lambda: reports, consumer)
    assert [(error, offsets(tps)) for error, tps in reports] == [(None, [(0, 7), (1, NONE)])]
    assert committed(consumer, topic, 0, 1) == [7, NONE]


def test_assign_commits_what_was_handed_over_of_the_partitions_before(lab: Lab) -> None:
    topic = one_of_two(lab)
    consumer = lab.consumer(lab.group())
    consumer.assign([TopicPartition(topic, 0)])
    lab.take(consumer, 4)

    consumer.assign([TopicPartition(topic, 1)])

    lab.until(lambda: committed(consumer, topic, 0, 1) == [4, NONE], consumer)


def test_incremental_unassign_commits_what_was_handed_over(lab: Lab) -> None:
    topic, reports = one_of_two(lab), Reports()
    consumer = lab.consumer(lab.group(), on_commit=lambda error, tps: reports.append((error, tps)))
    consumer.incremental_assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    lab.take(consumer, 4)

    consumer.incremental_unassign([TopicPartition(topic, 0)])

    lab.until(lambda: reports, consumer)
    assert [(error, offsets(tps)) for error, tps in reports] == [(None, [(0, 4)])]
    assert committed(consumer, topic, 0, 1) == [4, NONE]


def test_without_automatic_commits_nothing_is_committed_by_itself(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    consumer = manual(lab, topic, group, auto_commit_interval_ms=100)
    lab.take(consumer, 10)
    lab.silence(consumer)
    consumer.unsubscribe()
    lab.until(lambda: not consumer.assignment(), consumer)
    assert committed(consumer, topic) == [NONE]

    consumer.subscribe([topic])
    lab.take(consumer, 10)
    consumer.close()

    assert committed(lab.consumer(group), topic) == [NONE]


def test_on_revoke_finds_stored_what_was_handed_over(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    seen: list[list[tuple[int, int]]] = []
    consumer = lab.consumer(group)

    def on_revoke(consumer: Consumer, _: list[TopicPartition]) -> None:
        seen.append(offsets(consumer.commit(asynchronous=False)))
        assert nothing_to_commit(consumer)

    consumer.subscribe([topic], on_revoke=on_revoke)
    lab.take(consumer, 3)
    consumer.close()

    assert seen == [[(0, 3)]]
    assert committed(lab.consumer(group), topic) == [3]


def test_the_last_automatic_commit_goes_backwards_after_a_seek(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    consumer = lab.consumer(group)
    consumer.subscribe([topic])
    lab.take(consumer, 6)
    consumer.commit(asynchronous=False)

    consumer.seek(TopicPartition(topic, 0, 0))
    lab.take(consumer, 2)
    consumer.close()

    assert committed(lab.consumer(group), topic) == [2]
