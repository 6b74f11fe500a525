"""Commits that two threads carry out: in order, and done when they are said to be."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, TopicPartition

from streamadapter.backend import Committed
from streamadapter.engine.commits import Committer
from streamadapter.engine.consumer_state import CommitRequest, ConsumerState
from streamadapter.properties import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamadapter.errors import StoreError
    from tests.integration.conftest import Cluster


def committer(cluster: Cluster, group: str) -> tuple[Committer, ConsumerState]:
    state = ConsumerState(parse({"group.id": group}, "consumer"))
    return Committer(cluster.store, group, state), state


def request(
    topic: str, offset: int, done: Callable[[StoreError | None], None], member_id: str | None = ""
) -> CommitRequest:
    return CommitRequest({(topic, 0): Committed(offset)}, member_id, time.monotonic() + 30, done)


def test_a_commit_that_another_thread_carries_out_is_waited_for(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    committing, state = committer(cluster, group)
    under_way, finish = threading.Event(), threading.Event()

    def slow(_: StoreError | None) -> None:
        under_way.set()
        finish.wait(30)

    state.commits.append(request(topic, 1, slow))
    first = threading.Thread(target=committing.run)
    second = threading.Thread(target=committing.run)
    first.start()
    assert under_way.wait(30)

    second.start()
    second.join(0.3)
    waited = second.is_alive()
    finish.set()
    first.join(30)
    second.join(30)

    assert waited
    assert cluster.committed(group) == {(topic, 0): 1}


def test_synchronous_commits_among_asynchronous_ones_all_succeed_in_order(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    cluster.produce(topic, "x")
    consumer = cluster.consumer(group, enable_auto_commit=False)
    consumer.subscribe([topic])
    (message,) = cluster.take(consumer, 1)

    for i in range(300):  # both threads carry out commits
        consumer.commit(message=message)
        consumer.commit(offsets=[TopicPartition(topic, 0, i)], asynchronous=False)

    assert cluster.committed(group) == {(topic, 0): 299}


def test_commits_that_were_queued_before_are_carried_out_first(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    committing, state = committer(cluster, group)
    order: list[int] = []
    for offset in (1, 2, 3):
        state.commits.append(request(topic, offset, lambda _, offset=offset: order.append(offset)))  # type: ignore[misc]  # a default that binds the loop's variable

    committing.run_now(request(topic, 4, lambda _: order.append(4)), 0.01)

    assert order == [1, 2, 3, 4]
    assert cluster.committed(group) == {(topic, 0): 4}


def test_a_commit_of_one_that_is_no_member_at_the_moment_is_not_sent(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    committing, _ = committer(cluster, group)
    outcomes: list[StoreError | None] = []

    committing.run_now(request(topic, 4, outcomes.append, member_id=None), 0.01)

    assert [error.code if error else None for error in outcomes] == [KafkaError.UNKNOWN_MEMBER_ID]
    assert cluster.committed(group) == {}


def test_a_topic_that_is_gone_does_not_cost_the_others_their_commit(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    committing, _ = committer(cluster, group)
    outcomes: list[StoreError | None] = []
    both = CommitRequest(
        {(topic, 0): Committed(4), ("gone", 0): Committed(2), (topic, 9): Committed(1)},
        "",
        time.monotonic() + 30,
        outcomes.append,
    )

    committing.run_now(both, 0.01)

    (error,) = outcomes
    assert error is not None
    assert error.code == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert "gone [0]" in error.reason
    assert cluster.committed(group) == {(topic, 0): 4}
