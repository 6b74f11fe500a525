"""Records deleted before they were read: noticed, and said how many. What is read then, the contract suite shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

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


def test_after_a_reset_to_before_the_committed_offset_commits_go_on_from_there(
    cluster: Cluster, ready: str, group: str
) -> None:
    """Here librdkafka commits nothing until it has passed the offset that was out of range."""
    consumer = cluster.consumer(group, enable_auto_commit=False)
    consumer.commit(offsets=[TopicPartition(ready, 0, 50)], asynchronous=False)
    consumer.assign(tps(ready, 0))
    cluster.take(consumer, 2)

    consumer.commit(asynchronous=False)

    assert cluster.committed(group) == {(ready, 0): 2}
