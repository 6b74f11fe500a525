"""Assignment by hand, logical offsets, and where reading begins."""

from __future__ import annotations

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
    """A topic with three partitions and the records 0 to 9 in each."""
    cluster.create(topic, 3)
    for partition in range(3):
        cluster.produce(topic, *(f"{partition}:{i}" for i in range(10)), partition=partition)
    return topic


def tps(topic: str, *partitions: int) -> list[TopicPartition]:
    return [TopicPartition(topic, p) for p in partitions]


def assigned(consumer: Consumer) -> list[int]:
    return [tp.partition for tp in consumer.assignment()]


def code_of(caught: pytest.ExceptionInfo[KafkaException]) -> int:
    code: int = caught.value.args[0].code()
    return code


# -- assign, unassign


def test_an_assigned_partition_is_read_without_a_group(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)

    consumer.assign(tps(ready, 1))

    assert {m.partition() for m in cluster.take(consumer, 10)} == {1}
    assert consumer.memberid() is None
    cluster.silence(consumer)


def test_assign_replaces_the_assignment(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)
    consumer.assign(tps(ready, 0, 1))
    cluster.take(consumer, 20)

    consumer.assign(tps(ready, 2))

    assert assigned(consumer) == [2]
    assert {m.partition() for m in cluster.take(consumer, 10)} == {2}


def test_after_unassign_nothing_comes(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)
    consumer.assign(tps(ready, 0))
    cluster.take(consumer, 3)

    consumer.unassign()

    assert consumer.assignment() == []
    cluster.silence(consumer)


def test_assign_commits_what_was_handed_over_of_the_partitions_before(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = cluster.consumer(group)
    consumer.assign(tps(ready, 0))
    cluster.take(consumer, 4)

    consumer.assign(tps(ready, 1))

    cluster.until(lambda: cluster.committed(group) == {(ready, 0): 4})


def test_incremental_assign_and_unassign_change_only_what_they_name(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = cluster.consumer(group)
    consumer.incremental_assign(tps(ready, 0))
    cluster.take(consumer, 4)

    consumer.incremental_assign(tps(ready, 2))

    assert assigned(consumer) == [0, 2]
    got = cluster.take(consumer, 16)
    assert [m.offset() for m in got if m.partition() == 0] == [4, 5, 6, 7, 8, 9]
    assert [m.offset() for m in got if m.partition() == 2] == list(range(10))

    consumer.incremental_unassign(tps(ready, 0))
    cluster.produce(ready, "gone", partition=0)
    cluster.produce(ready, "here", partition=2)
    assert assigned(consumer) == [2]
    assert [m.value() for m in cluster.take(consumer, 1)] == [b"here"]


def test_wrong_incremental_changes_are_refused_and_change_nothing(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = cluster.consumer(group)
    consumer.incremental_assign(tps(ready, 0))

    with pytest.raises(KafkaException) as caught:
        consumer.incremental_assign(tps(ready, 1, 0))
    assert code_of(caught) == KafkaError._CONFLICT
    with pytest.raises(KafkaException) as caught:
        consumer.incremental_unassign(tps(ready, 0, 1))
    assert code_of(caught) == KafkaError._INVALID_ARG
    with pytest.raises(KafkaException) as caught:
        consumer.assign(tps(ready, 1, 1))
    assert code_of(caught) == KafkaError._INVALID_ARG

    assert assigned(consumer) == [0]


def test_assignment_shows_stored_until_an_offset_is_given(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)

    consumer.assign([TopicPartition(ready, 0), TopicPartition(ready, 1, 5)])

    assert [(tp.partition, tp.offset) for tp in consumer.assignment()] == [(0, OFFSET_STORED), (1, 5)]


def test_a_partition_that_does_not_exist_is_an_event(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)

    consumer.assign([TopicPartition(ready, 7), TopicPartition("unknown", 0), TopicPartition(ready, 1)])

    events: dict[tuple[str | None, int | None], int] = {}
    records = 0
    while len(events) < 2 or records < 10:
        message = consumer.poll(30)
        assert message is not None
        error = message.error()
        if error is None:
            records += 1
        else:
            events[message.topic(), message.partition()] = error.code()
    assert events == {
        (ready, 7): KafkaError._UNKNOWN_PARTITION,
        ("unknown", 0): KafkaError.UNKNOWN_TOPIC_OR_PART,
    }


def test_manual_partitions_are_committed_and_resumed(cluster: Cluster, ready: str, group: str) -> None:
    first = cluster.consumer(group)
    first.assign(tps(ready, 0))
    cluster.take(first, 4)
    first.close()
    assert cluster.committed(group) == {(ready, 0): 4}

    second = cluster.consumer(group)
    second.assign(tps(ready, 0))

    assert [m.offset() for m in cluster.take(second, 1)] == [4]


def test_a_subscriber_may_not_assign_what_the_group_has_not_given_it(
    cluster: Cluster, ready: str, group: str
) -> None:
    """Differs from Kafka, where it is possible and reads what another member reads: here reads are fenced."""
    other = cluster.create(f"{ready}-other")
    consumer = cluster.consumer(group)
    consumer.subscribe([ready])
    cluster.until(consumer.assignment, consumer)

    with pytest.raises(KafkaException) as caught:
        consumer.assign([TopicPartition(other, 0)])

    assert code_of(caught) == KafkaError._STATE


def test_from_manual_assignment_to_a_subscription_and_back(cluster: Cluster, ready: str, group: str) -> None:
    consumer = cluster.consumer(group)
    consumer.assign(tps(ready, 0))
    cluster.take(consumer, 10)

    consumer.subscribe([ready])
    assert len(cluster.take(consumer, 20)) == 20  # partition 0 goes on at what was committed
    assert assigned(consumer) == [0, 1, 2]

    consumer.unsubscribe()
    cluster.until(lambda: not consumer.assignment(), consumer)
    consumer.assign([TopicPartition(ready, 1, 8)])
    assert [m.offset() for m in cluster.take(consumer, 2)] == [8, 9]


# -- where reading begins


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        (0, 0),
        (3, 3),
        (OFFSET_BEGINNING, 0),
        (OFFSET_STORED, 5),
        (OFFSET_INVALID, 5),
        (-2000 - 1, 9),
        (-2000 - 10, 0),
        (-2000 - 11, 0),
    ],
    ids=["0", "3", "beginning", "stored", "invalid", "tail 1", "tail all", "tail more than all"],
)
def test_an_offset_in_assign_says_where_to_start(
    cluster: Cluster, ready: str, group: str, wanted: int, first: int
) -> None:
    consumer = cluster.consumer(group, auto_offset_reset="latest")
    consumer.commit(offsets=[TopicPartition(ready, 0, 5)], asynchronous=False)

    consumer.assign([TopicPartition(ready, 0, wanted)])

    assert [m.offset() for m in cluster.take(consumer, 10 - first)] == list(range(first, 10))


@pytest.mark.parametrize("wanted", [OFFSET_END, -2000], ids=["end", "tail 0"])
def test_assign_at_the_end_reads_only_what_comes_later(
    cluster: Cluster, ready: str, group: str, wanted: int
) -> None:
    consumer = cluster.consumer(group)
    consumer.assign([TopicPartition(ready, 0, wanted)])
    cluster.until(lambda: consumer.lag() == {(ready, 0): 0})

    cluster.produce(ready, "new")

    assert [m.offset() for m in cluster.take(consumer, 1)] == [10]


@pytest.mark.parametrize("policy", ["earliest", "smallest", "beginning"])
def test_without_a_commit_earliest_begins_at_the_log_start(
    cluster: Cluster, ready: str, group: str, policy: str
) -> None:
    cluster.trim(ready, 0, 3)
    consumer = cluster.consumer(group, auto_offset_reset=policy)
    consumer.assign(tps(ready, 0))

    assert [m.offset() for m in cluster.take(consumer, 7)] == list(range(3, 10))


def test_without_a_commit_error_is_an_event_and_a_seek_mends_it(
    cluster: Cluster, ready: str, group: str
) -> None:
    consumer = cluster.consumer(group, auto_offset_reset="error")
    consumer.assign(tps(ready, 0))

    event = cluster.event(consumer)
    assert event.error().code() == KafkaError._AUTO_OFFSET_RESET  # type: ignore[union-attr]  # event() saw it
    assert (event.topic(), event.partition()) == (ready, 0)
    cluster.silence(consumer)

    consumer.seek(TopicPartition(ready, 0, 4))
    assert [m.offset() for m in cluster.take(consumer, 6)] == list(range(4, 10))


def test_an_offset_beyond_the_end_is_reset(cluster: Cluster, ready: str, group: str) -> None:
    errors: list[KafkaError] = []
    consumer = cluster.consumer(group, error_cb=errors.append)
    consumer.assign([TopicPartition(ready, 0, 500)])

    assert [m.offset() for m in cluster.take(consumer, 10)] == list(range(10))
    assert [e.code() for e in errors] == [KafkaError.OFFSET_OUT_OF_RANGE]


# -- records deleted before they were read


def behind(cluster: Cluster, group: str, topic: str, policy: str, errors: list[KafkaError]) -> Consumer:
    """A consumer that has read to offset 2, whose log now begins at 6."""
    consumer: Any = cluster.consumer(group, auto_offset_reset=policy, error_cb=errors.append)
    consumer.assign([TopicPartition(topic, 0, 0)])
    cluster.take(consumer, 2)
    consumer.commit(asynchronous=False)
    consumer.unassign()
    cluster.trim(topic, 0, 6)
    return consumer  # type: ignore[no-any-return]  # Any above for one line's sake


def test_earliest_goes_on_at_the_log_start_and_says_how_many_were_skipped(
    cluster: Cluster, ready: str, group: str
) -> None:
    errors: list[KafkaError] = []
    consumer = behind(cluster, group, ready, "earliest", errors)

    consumer.assign(tps(ready, 0))

    assert [m.offset() for m in cluster.take(consumer, 4)] == [6, 7, 8, 9]
    (error,) = errors
    assert error.code() == KafkaError.OFFSET_OUT_OF_RANGE
    assert "4 records" in error.str()


def test_latest_goes_on_at_the_log_end(cluster: Cluster, ready: str, group: str) -> None:
    errors: list[KafkaError] = []
    consumer = behind(cluster, group, ready, "latest", errors)

    consumer.assign(tps(ready, 0))
    cluster.until(lambda: errors, consumer)
    cluster.produce(ready, "new")

    assert [m.offset() for m in cluster.take(consumer, 1)] == [10]
    assert [e.code() for e in errors] == [KafkaError.OFFSET_OUT_OF_RANGE]


def test_error_stops_the_partition(cluster: Cluster, ready: str, group: str) -> None:
    errors: list[KafkaError] = []
    consumer = behind(cluster, group, ready, "error", errors)

    consumer.assign(tps(ready, 0))

    event = cluster.event(consumer)
    assert event.error().code() == KafkaError._AUTO_OFFSET_RESET  # type: ignore[union-attr]  # event() saw it
    assert "4 records" in event.error().str()  # type: ignore[union-attr]  # as above
    cluster.silence(consumer)


def test_records_deleted_under_a_reader_are_noticed(cluster: Cluster, ready: str, group: str) -> None:
    """What the consumer holds already is delivered; of the rest it says how much is gone."""
    errors: list[KafkaError] = []
    consumer = cluster.consumer(group, error_cb=errors.append)
    consumer.assign(tps(ready, 0))
    cluster.take(consumer, 10)
    consumer.pause(tps(ready, 0))
    for i in range(10):
        cluster.produce(ready, str(i))
    cluster.trim(ready, 0, 17)

    consumer.resume(tps(ready, 0))

    assert [m.offset() for m in cluster.take(consumer, 3)] == [17, 18, 19]
    (error,) = errors
    assert error.code() == KafkaError.OFFSET_OUT_OF_RANGE
    assert "7 records" in error.str()


def test_a_log_emptied_under_a_paused_reader_is_noticed_without_a_new_record(
    cluster: Cluster, ready: str, group: str
) -> None:
    errors: list[KafkaError] = []
    consumer = cluster.consumer(group, error_cb=errors.append)
    consumer.assign(tps(ready, 0))
    cluster.take(consumer, 10)
    consumer.pause(tps(ready, 0))
    cluster.produce(ready, *"abc")
    cluster.trim(ready, 0, -1)

    consumer.resume(tps(ready, 0))

    cluster.until(lambda: errors, consumer)
    assert [e.code() for e in errors] == [KafkaError.OFFSET_OUT_OF_RANGE]
    cluster.produce(ready, "new")
    assert [m.offset() for m in cluster.take(consumer, 1)] == [13]
