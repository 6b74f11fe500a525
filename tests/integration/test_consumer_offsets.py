"""Commits, positions, seeks and what the log knows about offsets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    KafkaError,
    KafkaException,
    TopicPartition,
)

if TYPE_CHECKING:
    from streamadapter import Consumer
    from tests.integration.conftest import Cluster


@pytest.fixture
def ready(cluster: Cluster, topic: str) -> str:
    """A topic with one partition and the records 0 to 9."""
    cluster.create(topic)
    cluster.produce(topic, *(str(i) for i in range(10)))
    return topic


def by_hand(cluster: Cluster, group: str, topic: str, **properties: Any) -> Consumer:
    """A subscribed consumer that commits only what it is told to."""
    consumer = cluster.consumer(group, enable_auto_commit=False, **properties)
    consumer.subscribe([topic])
    return consumer


def code_of(caught: pytest.ExceptionInfo[KafkaException]) -> int:
    code: int = caught.value.args[0].code()
    return code


def position(consumer: Consumer, topic: str) -> int:
    offset: int = consumer.position([TopicPartition(topic, 0)])[0].offset
    return offset


# -- commit


def test_commit_of_a_message_commits_the_offset_after_it(cluster: Cluster, ready: str, group: str) -> None:
    consumer = by_hand(cluster, group, ready)
    messages = cluster.take(consumer, 4)

    committed = consumer.commit(message=messages[2], asynchronous=False)

    assert committed is not None
    assert [(tp.topic, tp.partition, tp.offset, tp.error) for tp in committed] == [(ready, 0, 3, None)]
    assert cluster.committed(group) == {(ready, 0): 3}


def test_commit_of_offsets_keeps_their_metadata(cluster: Cluster, ready: str, group: str) -> None:
    consumer = by_hand(cluster, group, ready)
    cluster.take(consumer, 4)

    for given in (
        TopicPartition(ready, 0, 2, metadata="why"),
        TopicPartition(ready, 0, 2, metadata=""),
        TopicPartition(ready, 0, 2),
    ):
        consumer.commit(offsets=[given], asynchronous=False)

        (found,) = consumer.committed([TopicPartition(ready, 0)], 30)
        assert (found.offset, found.metadata) == (2, given.metadata)


def test_commit_without_arguments_commits_what_was_handed_over(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = by_hand(cluster, group, ready)
    cluster.take(consumer, 4)

    committed = consumer.commit(asynchronous=False)

    assert committed is not None
    assert [tp.offset for tp in committed] == [4]
    assert cluster.committed(group) == {(ready, 0): 4}


def test_commit_of_nothing_raises_no_offset(cluster: Cluster, ready: str, group: str) -> None:
    consumer = by_hand(cluster, group, ready)
    with pytest.raises(KafkaException) as caught:
        consumer.commit(asynchronous=False)
    assert code_of(caught) == KafkaError._NO_OFFSET

    cluster.take(consumer, 1)
    consumer.commit(asynchronous=False)
    with pytest.raises(KafkaException) as caught:  # it is committed already
        consumer.commit(asynchronous=False)
    assert code_of(caught) == KafkaError._NO_OFFSET


def test_an_asynchronous_commit_reports_to_on_commit_in_poll(
    cluster: Cluster, ready: str, group: str
) -> None:
    reports: list[tuple[KafkaError | None, list[TopicPartition]]] = []
    consumer = by_hand(cluster, group, ready, on_commit=lambda error, tps: reports.append((error, tps)))
    (message,) = cluster.take(consumer, 1)

    assert consumer.commit(message=message) is None
    cluster.until(lambda: cluster.committed(group) == {(ready, 0): 1})
    assert reports == []  # no callback outside of poll

    cluster.until(lambda: reports, consumer)
    ((error, tps),) = reports
    assert error is None
    assert [(tp.topic, tp.partition, tp.offset) for tp in tps] == [(ready, 0, 1)]


def test_a_synchronous_commit_does_not_call_on_commit(cluster: Cluster, ready: str, group: str) -> None:
    reports: list[Any] = []
    consumer = by_hand(cluster, group, ready, on_commit=lambda *report: reports.append(report))
    cluster.take(consumer, 1)

    consumer.commit(asynchronous=False)

    consumer.poll(0.3)
    assert reports == []


def test_an_asynchronous_commit_of_nothing_reports_no_offset(
    cluster: Cluster, ready: str, group: str
) -> None:
    reports: list[Any] = []
    consumer = by_hand(cluster, group, ready, on_commit=lambda error, tps: reports.append((error, tps)))

    assert consumer.commit() is None

    cluster.until(lambda: reports, consumer)
    ((error, tps),) = reports
    assert error.code() == KafkaError._NO_OFFSET
    assert tps == []


def test_an_exception_in_on_commit_propagates_from_poll(cluster: Cluster, ready: str, group: str) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    consumer = by_hand(cluster, group, ready, on_commit=fail)
    (message,) = cluster.take(consumer, 1)
    consumer.commit(message=message)

    with pytest.raises(ZeroDivisionError):
        cluster.until(lambda: False, consumer)
    consumer.seek(TopicPartition(ready, 0, 0))
    assert len(cluster.take(consumer, 10)) == 10


def test_commits_take_effect_in_the_order_they_were_made(cluster: Cluster, ready: str, group: str) -> None:
    consumer = by_hand(cluster, group, ready)
    messages = cluster.take(consumer, 10)

    for message in messages:
        consumer.commit(message=message)
    consumer.commit(message=messages[4], asynchronous=False)

    assert cluster.committed(group) == {(ready, 0): 5}


def test_synchronous_commits_from_a_busy_consumer_all_succeed(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = by_hand(cluster, group, ready, auto_commit_interval_ms=10)
    (message,) = cluster.take(consumer, 1)

    for i in range(300):  # both threads carry out commits
        consumer.commit(message=message)
        consumer.commit(offsets=[TopicPartition(ready, 0, i)], asynchronous=False)

    assert cluster.committed(group) == {(ready, 0): 299}


def test_partitions_outside_the_assignment_may_be_committed(cluster: Cluster, ready: str, group: str) -> None:
    cluster.create(other := f"{ready}-other", 2)
    consumer = by_hand(cluster, group, ready)
    cluster.take(consumer, 1)

    consumer.commit(offsets=[TopicPartition(other, 1, 7)], asynchronous=False)

    assert cluster.committed(group) == {(other, 1): 7}


def test_a_consumer_without_subscription_commits_for_an_empty_group_only(
    cluster: Cluster, ready: str, group: str
) -> None:
    outsider = cluster.consumer(group)
    outsider.commit(offsets=[TopicPartition(ready, 0, 5)], asynchronous=False)
    assert cluster.committed(group) == {(ready, 0): 5}
    member = by_hand(cluster, group, ready)
    cluster.until(member.assignment, member)

    with pytest.raises(KafkaException) as caught:
        outsider.commit(offsets=[TopicPartition(ready, 0, 1)], asynchronous=False)

    assert code_of(caught) == KafkaError.UNKNOWN_MEMBER_ID
    assert cluster.committed(group) == {(ready, 0): 5}


def test_committed_without_a_commit_is_invalid(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)

    found = consumer.committed([TopicPartition(ready, 0), TopicPartition(ready, 99)], 30)

    assert [(tp.partition, tp.offset) for tp in found] == [(0, OFFSET_INVALID), (99, OFFSET_INVALID)]


def test_a_restarted_consumer_goes_on_at_the_committed_offset(
    cluster: Cluster, ready: str, group: str
) -> None:
    first = by_hand(cluster, group, ready)
    cluster.take(first, 8)
    first.commit(offsets=[TopicPartition(ready, 0, 6)], asynchronous=False)
    first.close()

    second = by_hand(cluster, group, ready)

    assert [m.offset() for m in cluster.take(second, 4)] == [6, 7, 8, 9]


# -- automatic commits


def test_after_one_poll_one_offset_is_committed_without_another_poll(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = cluster.consumer(group, auto_commit_interval_ms=50)
    consumer.subscribe([ready])
    cluster.take(consumer, 1)

    cluster.until(lambda: cluster.committed(group) == {(ready, 0): 1})


def test_close_commits_what_was_handed_over(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)
    consumer.subscribe([ready])
    cluster.take(consumer, 7)
    assert cluster.committed(group) == {}

    consumer.close()

    assert cluster.committed(group) == {(ready, 0): 7}


def test_close_commits_nothing_without_auto_commit(cluster: Cluster, ready: str, group: str) -> None:
    consumer = by_hand(cluster, group, ready)
    cluster.take(consumer, 7)

    consumer.close()

    assert cluster.committed(group) == {}


def test_unsubscribe_commits_what_was_handed_over(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)
    consumer.subscribe([ready])
    cluster.take(consumer, 7)

    consumer.unsubscribe()
    cluster.until(lambda: not consumer.assignment(), consumer)

    cluster.until(lambda: cluster.committed(group) == {(ready, 0): 7})


def test_automatic_commits_call_on_commit(cluster: Cluster, ready: str, group: str) -> None:
    reports: list[Any] = []
    consumer = cluster.consumer(
        group, auto_commit_interval_ms=50, on_commit=lambda error, tps: reports.append((error, tps))
    )
    consumer.subscribe([ready])
    cluster.take(consumer, 10)

    cluster.until(lambda: any(tp.offset == 10 for _, tps in reports for tp in tps), consumer)
    assert {error for error, _ in reports} == {None}


# -- stored offsets


def test_stored_offsets_are_what_is_committed(cluster: Cluster, ready: str, group: str) -> None:
    consumer = by_hand(cluster, group, ready, enable_auto_offset_store=False)
    messages = cluster.take(consumer, 5)
    with pytest.raises(KafkaException) as caught:
        consumer.commit(asynchronous=False)
    assert code_of(caught) == KafkaError._NO_OFFSET

    consumer.store_offsets(message=messages[1])
    consumer.commit(asynchronous=False)
    assert cluster.committed(group) == {(ready, 0): 2}

    consumer.store_offsets(offsets=[TopicPartition(ready, 0, 4, metadata="m")])
    consumer.commit(asynchronous=False)
    assert cluster.committed(group) == {(ready, 0): 4}
    assert consumer.committed([TopicPartition(ready, 0)], 30)[0].metadata == "m"


def test_stored_offsets_are_committed_by_close(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group, enable_auto_offset_store=False)
    consumer.subscribe([ready])
    messages = cluster.take(consumer, 5)

    consumer.store_offsets(message=messages[1])
    consumer.close()

    assert cluster.committed(group) == {(ready, 0): 2}


def test_storing_offsets_needs_the_property_and_an_assigned_partition(
    cluster: Cluster, ready: str, group: str
) -> None:
    automatic = cluster.consumer(group)
    with pytest.raises(KafkaException) as caught:
        automatic.store_offsets(offsets=[TopicPartition(ready, 0, 1)])
    assert code_of(caught) == KafkaError._INVALID_ARG

    manual = cluster.consumer(f"{group}-2", enable_auto_offset_store=False)
    with pytest.raises(KafkaException) as caught:
        manual.store_offsets(offsets=[TopicPartition(ready, 0, 1)])
    assert code_of(caught) == KafkaError._UNKNOWN_PARTITION


# -- position, seek, pause


def test_position_is_invalid_until_a_message_and_then_the_offset_after_it(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = by_hand(cluster, group, ready)
    assert position(consumer, ready) == OFFSET_INVALID

    cluster.take(consumer, 1)
    assert position(consumer, ready) == 1
    cluster.take(consumer, 5)
    assert position(consumer, ready) == 6


def test_after_a_seek_the_position_is_invalid_until_the_next_message(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = by_hand(cluster, group, ready)
    cluster.take(consumer, 6)

    consumer.seek(TopicPartition(ready, 0, 2))

    assert position(consumer, ready) == OFFSET_INVALID
    assert [m.offset() for m in cluster.take(consumer, 1)] == [2]
    assert position(consumer, ready) == 3


@pytest.mark.parametrize(
    ("target", "first"),
    [(0, 0), (9, 9), (OFFSET_BEGINNING, 0), (OFFSET_STORED, 4), (-2000 - 3, 7), (-2000 - 50, 0)],
    ids=["0", "9", "beginning", "stored", "tail 3", "tail beyond the start"],
)
def test_seek_knows_offsets_and_logical_offsets(
    cluster: Cluster, ready: str, group: str, target: int, first: int
) -> None:
    consumer = by_hand(cluster, group, ready)
    cluster.take(consumer, 6)
    consumer.commit(offsets=[TopicPartition(ready, 0, 4)], asynchronous=False)

    consumer.seek(TopicPartition(ready, 0, target))

    assert [m.offset() for m in cluster.take(consumer, 1)] == [first]


def test_seek_to_the_end_skips_what_is_there(cluster: Cluster, ready: str, group: str) -> None:
    consumer = by_hand(cluster, group, ready)
    cluster.take(consumer, 2)

    consumer.seek(TopicPartition(ready, 0, OFFSET_END))
    cluster.silence(consumer)
    cluster.produce(ready, "new")

    assert [m.offset() for m in cluster.take(consumer, 1)] == [10]


def test_many_seeks_in_a_row_each_read_from_where_they_point(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = by_hand(cluster, group, ready)
    cluster.take(consumer, 1)

    for offset in (5, 0, 9, 3, 3, 8, 1):
        consumer.seek(TopicPartition(ready, 0, offset))
        assert [m.offset() for m in cluster.take(consumer, 1)] == [offset]


def test_seek_of_an_unassigned_partition_is_an_erroneous_state(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = cluster.consumer(group)

    with pytest.raises(KafkaException) as caught:
        consumer.seek(TopicPartition(ready, 0, 0))

    assert code_of(caught) == KafkaError._STATE


def test_a_paused_partition_stands_still_and_loses_nothing(cluster: Cluster, ready: str, group: str) -> None:
    consumer = by_hand(cluster, group, ready)
    cluster.take(consumer, 3)

    consumer.pause([TopicPartition(ready, 0)])
    cluster.produce(ready, "new")
    cluster.silence(consumer)
    assert position(consumer, ready) == 3
    consumer.resume([TopicPartition(ready, 0)])

    assert [m.offset() for m in cluster.take(consumer, 8)] == list(range(3, 11))


def test_pausing_one_partition_leaves_the_others_alone(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 2)
    consumer = by_hand(cluster, group, topic)
    cluster.until(consumer.assignment, consumer)

    consumer.pause([TopicPartition(topic, 0)])
    cluster.produce(topic, "a", "b", partition=0)
    cluster.produce(topic, "c", "d", partition=1)

    assert [m.value() for m in cluster.take(consumer, 2)] == [b"c", b"d"]
    cluster.silence(consumer)
    consumer.resume([TopicPartition(topic, 0)])
    assert [m.value() for m in cluster.take(consumer, 2)] == [b"a", b"b"]


def test_a_consumer_at_the_end_that_is_paused_at_once_misses_nothing(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = by_hand(cluster, group, ready, auto_offset_reset="latest")
    cluster.until(lambda: consumer.lag() == {(ready, 0): 0}, consumer)

    consumer.pause([TopicPartition(ready, 0)])
    cluster.produce(ready, "while paused")
    consumer.resume([TopicPartition(ready, 0)])

    assert [m.value() for m in cluster.take(consumer, 1)] == [b"while paused"]


def test_pausing_what_is_not_assigned_is_no_error(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)

    consumer.pause([TopicPartition(ready, 0), TopicPartition("unknown", 5)])
    consumer.resume([TopicPartition(ready, 0), TopicPartition("unknown", 5)])


def test_a_paused_consumer_still_serves_callbacks(cluster: Cluster, ready: str, group: str) -> None:
    reports: list[Any] = []
    consumer = by_hand(cluster, group, ready, on_commit=lambda *report: reports.append(report))
    (message,) = cluster.take(consumer, 1)
    consumer.pause([TopicPartition(ready, 0)])

    consumer.commit(message=message)

    cluster.until(lambda: reports, consumer)


# -- what the log knows


def test_watermarks_are_start_and_end_of_the_log(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)
    assert consumer.get_watermark_offsets(TopicPartition(ready, 0), 30) == (0, 10)

    cluster.trim(ready, 0, 4)
    cluster.produce(ready, "new")

    assert consumer.get_watermark_offsets(TopicPartition(ready, 0), timeout=30) == (4, 11)


@pytest.mark.parametrize("partition", [1, 99, -1])
def test_watermarks_of_an_unknown_partition(cluster: Cluster, ready: str, group: str, partition: int) -> None:
    consumer = cluster.consumer(group)
    for unknown in (TopicPartition(ready, partition), TopicPartition("unknown", 0)):
        with pytest.raises(KafkaException) as caught:
            consumer.get_watermark_offsets(unknown, 30)
        assert code_of(caught) == KafkaError._UNKNOWN_PARTITION


def test_cached_watermarks_are_those_last_seen(cluster: Cluster, ready: str, group: str) -> None:
    consumer = by_hand(cluster, group, ready)
    tp = TopicPartition(ready, 0)
    assert consumer.get_watermark_offsets(tp, cached=True) == (OFFSET_INVALID, OFFSET_INVALID)

    cluster.take(consumer, 1)

    cluster.until(lambda: consumer.get_watermark_offsets(tp, cached=True) == (0, 10))


def test_offsets_for_times_finds_the_first_record_that_is_as_late(
    cluster: Cluster, topic: str, group: str
) -> None:
    """Timestamps that do not rise: the answer is still the first offset with timestamp >= t."""
    cluster.create(topic)
    stamps = [100, 300, 200, 500, 400, 400, 600, 50]
    for stamp in stamps:
        cluster.produce(topic, "x", timestamp=stamp)
    consumer = cluster.consumer(group)

    for asked in (1, 50, 100, 101, 200, 300, 301, 400, 450, 500, 501, 600, 601):
        (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, asked)], 30)
        expected = next((i for i, stamp in enumerate(stamps) if stamp >= asked), OFFSET_END)
        assert (asked, found.offset) == (asked, expected)


def test_offsets_for_times_within_one_batch(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    now = int(time.time() * 1000)
    cluster.produce(topic, *"abc", timestamp=now)
    cluster.produce(topic, *"def", timestamp=now + 1000)
    consumer = cluster.consumer(group)

    found = [
        consumer.offsets_for_times([TopicPartition(topic, 0, now + later)], timeout=30)[0].offset
        for later in (-5000, 0, 1, 1000, 1001)
    ]

    assert found == [0, 0, 3, 3, OFFSET_END]


def test_offsets_for_times_of_an_unknown_partition(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)

    with pytest.raises(KafkaException) as caught:
        consumer.offsets_for_times([TopicPartition(ready, 5, 1)], 30)

    assert code_of(caught) == KafkaError._UNKNOWN_PARTITION
