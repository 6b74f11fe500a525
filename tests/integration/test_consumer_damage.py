"""Logs that were cut, replaced or damaged: seen, said, and never a crash loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from streamadapter.backend import Append

if TYPE_CHECKING:
    from streamadapter import Consumer
    from tests.integration.conftest import Cluster


def raw(cluster: Cluster, *command: str | int | bytes) -> Any:
    """A command on the server, past the store's protocol."""
    return cluster.store._one(*command)  # type: ignore[attr-defined]  # RedisStore's own; memory:// has no other way in


def log_key(cluster: Cluster, topic: str, partition: int = 0) -> str:
    key: str = cluster.store.keys.log(topic, partition)  # type: ignore[attr-defined]  # as above
    return key


def append_broken(cluster: Cluster, topic: str, payload: bytes, count: int) -> None:
    """A batch with a payload that nobody can read, at the right id, by the script that appends."""
    info = cluster.store.topics().topics[topic]
    (answer,) = cluster.store.append([Append(info, 0, 77, 0, 0, count, 0, payload)], 1, 10_000)
    assert not isinstance(answer, Exception)


def keep_below(cluster: Cluster, topic: str, end: int) -> None:
    """Remove what is in the log from an offset on, foreign entries too. XSETID would do, but fakeredis lacks it."""
    log = log_key(cluster, topic)
    kept = raw(cluster, "XRANGE", log, "-", f"({end}-0")
    raw(cluster, "DEL", log)
    for entry_id, fields in kept:
        raw(cluster, "XADD", log, entry_id, *fields)


def lose_the_tail(cluster: Cluster, topic: str, end: int) -> None:
    """As a failover to a replica that lagged: the newest batches are gone, another process is the primary."""
    meta: str = cluster.store.keys.meta(topic, 0)  # type: ignore[attr-defined]  # as above
    keep_below(cluster, topic, end)
    raw(cluster, "HSET", meta, "end", end, "run", "another-process")
    for key in raw(cluster, "KEYS", f"*{{{topic}:0}}:producer:*"):
        raw(cluster, "DEL", key)


@pytest.fixture
def errors() -> list[KafkaError]:
    return []


def reader(cluster: Cluster, group: str, topic: str, errors: list[KafkaError], **properties: Any) -> Consumer:
    consumer = cluster.consumer(group, error_cb=errors.append, **properties)
    consumer.subscribe([topic])
    return consumer


# -- truncation


def test_a_topic_made_anew_under_a_reader_is_another_log(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    cluster.create(topic)
    cluster.produce(topic, *"older one")
    consumer = cluster.consumer(group, error_cb=errors.append, topic_metadata_refresh_interval_ms=100)
    consumer.subscribe([topic])
    cluster.take(consumer, 9)
    consumer.commit(asynchronous=False)

    cluster.delete(topic)
    cluster.create(topic)
    cluster.produce(topic, *"newer")

    values: list[bytes] = []
    while values[-5:] != [b"n", b"e", b"w", b"e", b"r"]:
        message = consumer.poll(30)
        assert message is not None
        if message.error() is None:
            values.append(message.value())
    assert values == [b"n", b"e", b"w", b"e", b"r"]
    consumer.commit(asynchronous=False)  # though it is a lower offset than was committed of the old one
    assert cluster.committed(group) == {(topic, 0): 5}


def test_the_end_of_the_log_below_the_committed_offset_is_a_truncation(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    cluster.create(topic)
    for i in range(5):
        cluster.produce(topic, str(i))
    first = reader(cluster, group, topic, errors)
    cluster.take(first, 5)
    first.close()
    lose_the_tail(cluster, topic, 3)

    second = reader(cluster, group, topic, errors)

    assert [m.offset() for m in cluster.take(second, 3)] == [0, 1, 2]
    assert [e.code() for e in errors] == [KafkaError._LOG_TRUNCATION]


def test_offsets_used_again_after_a_lost_tail_are_a_truncation(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    """The log is as long as before, so only the leader epoch shows that it is not the same."""
    cluster.create(topic)
    for i in range(5):
        cluster.produce(topic, str(i))
    first = reader(cluster, group, topic, errors)
    cluster.take(first, 5)
    first.close()
    lose_the_tail(cluster, topic, 3)
    for i in range(5):
        cluster.produce(topic, f"again {i}")

    second = reader(cluster, group, topic, errors)

    assert [m.offset() for m in cluster.take(second, 8)] == list(range(8))
    assert [e.code() for e in errors] == [KafkaError._LOG_TRUNCATION]


def test_a_tail_lost_under_a_reader_is_a_truncation(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    cluster.create(topic)
    for i in range(5):
        cluster.produce(topic, str(i))
    consumer = reader(cluster, group, topic, errors)
    cluster.take(consumer, 5)
    lose_the_tail(cluster, topic, 3)

    for i in range(5):
        cluster.produce(topic, f"again {i}")

    values = [m.value() for m in cluster.until(lambda: bool(errors), consumer)]
    while len(values) < 8:
        values += [m.value() for m in cluster.take(consumer, 1)]
    assert values[-5:] == [f"again {i}".encode() for i in range(5)]
    assert {e.code() for e in errors} == {KafkaError._LOG_TRUNCATION}


def test_a_new_leader_that_lost_nothing_is_no_truncation(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    cluster.create(topic)
    cluster.produce(topic, "1")
    consumer = reader(cluster, group, topic, errors)
    cluster.take(consumer, 1)

    lose_the_tail(cluster, topic, 1)  # nothing is beyond 1
    cluster.produce(topic, "2")
    (second,) = cluster.take(consumer, 1)
    consumer.commit(message=second, asynchronous=False)
    consumer.close()
    lose_the_tail(cluster, topic, 2)
    cluster.produce(topic, "3")

    again = reader(cluster, group, topic, errors)
    (third,) = cluster.take(again, 1)
    assert (second.value(), third.value()) == (b"2", b"3")
    epochs = [m.leader_epoch() for m in (second, third)]
    assert None not in epochs
    assert epochs[0] < epochs[1]  # type: ignore[operator]  # the line before
    assert errors == []


# -- damage


def test_a_corrupt_batch_is_an_event_and_the_records_after_it_follow(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    cluster.create(topic)
    cluster.produce(topic, "before")
    append_broken(cluster, topic, b"\x00not a batch at all\xff" * 3, 4)
    cluster.produce(topic, "after")
    consumer = reader(cluster, group, topic, errors)

    before = cluster.take(consumer, 1)
    event = cluster.event(consumer)
    after = cluster.take(consumer, 1)

    assert [m.offset() for m in before + after] == [0, 5]
    assert event.error().code() == KafkaError._BAD_MSG  # type: ignore[union-attr]  # event() saw it
    assert (event.topic(), event.partition(), event.offset()) == (topic, 0, 1)
    assert "4 records" in event.error().str()  # type: ignore[union-attr]  # as above
    consumer.close()
    assert cluster.committed(group) == {(topic, 0): 6}


def test_one_flipped_byte_is_found_by_the_checksum(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    cluster.create(topic)
    cluster.produce(topic, "precious" * 10)
    ((_, fields),) = raw(cluster, "XRANGE", log_key(cluster, topic), "-", "+")
    payload = bytearray(fields[1])
    payload[-3] ^= 1
    append_broken(cluster, topic, bytes(payload), 1)
    consumer = reader(cluster, group, topic, errors)

    assert [m.offset() for m in cluster.take(consumer, 1)] == [0]
    event = cluster.event(consumer)
    assert event.error().code() == KafkaError._BAD_MSG  # type: ignore[union-attr]  # event() saw it
    assert event.offset() == 1


def test_a_foreign_entry_stops_its_partition_only_and_is_said_once(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    cluster.create(topic, 2)
    cluster.produce(topic, "before", partition=0)
    raw(cluster, "XADD", log_key(cluster, topic), "*", "x", "y")
    consumer = reader(cluster, group, topic, errors)

    got = [consumer.poll(30), consumer.poll(30)]
    assert [m.error().code() if m and m.error() else None for m in got] == [None, KafkaError._BAD_MSG]  # type: ignore[union-attr]  # just asked
    cluster.silence(consumer, 2.5)  # it is looked at again each second
    cluster.produce(topic, *"abc", partition=1)
    assert [m.value() for m in cluster.take(consumer, 3)] == [b"a", b"b", b"c"]

    keep_below(cluster, topic, 1)
    cluster.produce(topic, "after", partition=0)
    assert [m.value() for m in cluster.take(consumer, 1)] == [b"after"]


def test_a_batch_that_is_missing_in_the_middle_is_an_event(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    cluster.create(topic)
    for i in range(3):
        cluster.produce(topic, str(i))
    raw(cluster, "XDEL", log_key(cluster, topic), "1-1")
    consumer = reader(cluster, group, topic, errors)

    first = cluster.take(consumer, 1)
    event = cluster.event(consumer)
    third = cluster.take(consumer, 1)

    assert [m.offset() for m in first + third] == [0, 2]
    assert event.error().code() == KafkaError._BAD_MSG  # type: ignore[union-attr]  # event() saw it
    assert "1 to 1" in event.error().str()  # type: ignore[union-attr]  # as above


def test_a_destroyed_cursor_is_made_again_and_nothing_is_skipped(
    cluster: Cluster, topic: str, group: str, errors: list[KafkaError]
) -> None:
    """A Redis group is no truth of ours: whoever removes it costs a round trip."""
    cluster.create(topic)
    consumer = reader(cluster, group, topic, errors)
    cluster.until(lambda: consumer.lag() == {(topic, 0): 0}, consumer)  # it reads: the cursor exists
    expected = []
    for i in range(10):
        for info in raw(cluster, "XINFO", "GROUPS", log_key(cluster, topic)):
            raw(cluster, "XGROUP", "DESTROY", log_key(cluster, topic), info[1])
        raw(cluster, "HDEL", cluster.store.keys.owners(topic, 0), group)  # type: ignore[attr-defined]  # as above
        cluster.produce(topic, str(i))
        expected.append(i)
        assert [m.offset() for m in cluster.take(consumer, 1)] == [i]
    assert consumer.assignment() == [TopicPartition(topic, 0)]
