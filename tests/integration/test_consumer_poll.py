"""Records on their way to the application: subscribe, poll, consume, and what a message says."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import (
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    KafkaError,
    TopicPartition,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Cluster


def test_a_subscriber_gets_every_record_in_order(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    cluster.produce(topic, *(str(i) for i in range(100)))
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])

    messages = cluster.take(consumer, 100)

    assert [m.value() for m in messages] == [str(i).encode() for i in range(100)]
    assert [m.offset() for m in messages] == list(range(100))
    assert {(m.topic(), m.partition()) for m in messages} == {(topic, 0)}


def test_the_first_message_comes_within_two_seconds_of_subscribe(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic, 4)
    cluster.produce(topic, "x", partition=3)
    consumer = cluster.consumer(group)

    started = time.monotonic()
    consumer.subscribe([topic])
    message = consumer.poll(30)
    taken = time.monotonic() - started

    assert message is not None
    assert message.value() == b"x"
    assert taken < 2


def test_a_record_produced_while_poll_waits_ends_the_wait(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])
    cluster.until(consumer.assignment, consumer)
    delays = []
    for i in range(5):
        later = threading.Timer(0.05, cluster.produce, (topic, str(i)))
        started = time.monotonic()
        later.start()

        message = consumer.poll(30)

        delays.append(time.monotonic() - started)
        later.join()
        assert message is not None
        assert message.value() == str(i).encode()
    assert min(delays) < 0.5  # far less than any polling interval


def test_poll_answers_none_when_nothing_comes_within_the_timeout(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])

    started = time.monotonic()
    assert consumer.poll(0.4) is None
    assert 0.4 <= time.monotonic() - started < 5
    started = time.monotonic()
    assert consumer.poll(0) is None
    assert time.monotonic() - started < 1


def test_consume_waits_the_whole_timeout_unless_it_has_as_many(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    cluster.produce(topic, *"abcde")
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])
    assert consumer.poll(30) is not None

    started = time.monotonic()
    assert len(consumer.consume(2, 30)) == 2
    assert time.monotonic() - started < 10
    started = time.monotonic()
    assert len(consumer.consume(100, 0.5)) == 2
    assert time.monotonic() - started >= 0.5
    assert consumer.consume(0, 30) == []


def test_consume_spans_batches_and_partitions(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 2)
    for partition in (0, 1):
        for i in range(5):
            cluster.produce(topic, str(i), str(i), partition=partition)
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])

    messages = consumer.consume(20, 30)

    for partition in (0, 1):
        assert [m.offset() for m in messages if m.partition() == partition] == list(range(10))


def test_null_and_empty_keys_and_values_stay_apart(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    cluster.produce(topic, None, key=None)
    cluster.produce(topic, "", key="")
    cluster.produce(topic, "v", key="k")
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])

    null, empty, full = cluster.take(consumer, 3)

    assert (null.key(), null.value()) == (None, None)
    assert (empty.key(), empty.value()) == (b"", b"")
    assert (full.key(), full.value()) == (b"k", b"v")
    assert (len(null), len(empty), len(full)) == (0, 0, 1)
    assert (bool(null), bool(empty), bool(full)) == (False, False, True)


def test_falsy_messages_are_committed_like_others(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    cluster.produce(topic, None, "", None)
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])

    for offset in range(3):
        message = consumer.poll(30)
        assert message is not None
        assert not message
        assert message.offset() == offset
    consumer.close()

    assert cluster.committed(group) == {(topic, 0): 3}


def test_headers_arrive_in_order_with_nulls_and_repetitions(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    headers = [("a", b"1"), ("a", b"2"), ("empty", b""), ("null", None), ("ü", b"\xff\x00")]
    cluster.produce(topic, "with", headers=headers)
    cluster.produce(topic, "without")
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])

    with_headers, without = cluster.take(consumer, 2)

    assert with_headers.headers() == headers
    assert without.headers() is None


def test_timestamps_are_the_producers_own(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    cluster.produce(topic, "old", timestamp=1_000_000_000_000)
    before = int(time.time() * 1000)
    cluster.produce(topic, "now")
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])

    old, now = cluster.take(consumer, 2)

    assert old.timestamp() == (TIMESTAMP_CREATE_TIME, 1_000_000_000_000)
    kind, stamp = now.timestamp()
    assert kind == TIMESTAMP_CREATE_TIME
    assert before - 1000 <= stamp <= before + 60_000


def test_a_consumed_message_has_no_error_no_latency_and_a_leader_epoch(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    cluster.produce(topic, "x")
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])

    (message,) = cluster.take(consumer, 1)

    assert message.error() is None
    assert message.latency() is None
    assert message.leader_epoch() is not None


def test_latest_is_the_default_and_skips_what_was_there(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    cluster.produce(topic, "before")
    consumer = cluster.consumer(group, auto_offset_reset="latest")
    consumer.subscribe([topic])
    # It stands at the end once it knows the watermarks; the record before is not for it.
    cluster.until(lambda: consumer.lag() == {(topic, 0): 0}, consumer)

    cluster.produce(topic, "after")

    assert [m.value() for m in cluster.take(consumer, 1)] == [b"after"]


# -- events


def test_an_unknown_topic_is_an_event_with_librdkafkas_text(cluster: Cluster, topic: str, group: str) -> None:
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])

    event = cluster.event(consumer)

    error = event.error()
    assert error is not None
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert error.str() == f"Subscribed topic not available: {topic}: Broker: Unknown topic or partition"
    assert event.value() == error.str().encode()
    assert event.topic() == topic
    cluster.silence(consumer)


# -- what is subscribed


def test_a_deleted_topic_is_reported_and_the_others_go_on(cluster: Cluster, topic: str, group: str) -> None:
    doomed, other = cluster.create(f"{topic}-doomed"), cluster.create(f"{topic}-other")
    consumer = cluster.consumer(group, topic_metadata_refresh_interval_ms=100)
    consumer.subscribe([doomed, other])
    cluster.until(lambda: len(consumer.assignment()) == 2, consumer)

    cluster.delete(doomed)

    event = cluster.event(consumer)
    assert event.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART  # type: ignore[union-attr]  # event() saw it
    assert event.topic() == doomed
    cluster.produce(other, "x")
    got = cluster.until(lambda: [tp.topic for tp in consumer.assignment()] == [other], consumer)
    if not got:
        got = cluster.take(consumer, 1)
    assert [m.value() for m in got] == [b"x"]


# -- questions


def test_group_metadata_names_group_and_member(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    consumer = cluster.consumer(group)
    before = consumer.consumer_group_metadata()
    consumer.subscribe([topic])
    cluster.until(consumer.assignment, consumer)

    assert isinstance(before, bytes)
    assert consumer.consumer_group_metadata() != before
    assert group.encode() in before


def test_list_topics_shows_topics_partitions_and_the_broker(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 3)
    consumer = cluster.consumer(group)

    everything = consumer.list_topics(timeout=30)
    one = consumer.list_topics(topic, 30)
    unknown = consumer.list_topics(f"{topic}-no", timeout=30)

    assert sorted(everything.topics[topic].partitions) == [0, 1, 2]
    assert list(one.topics) == [topic]
    assert len(one.brokers) == 1
    assert unknown.topics[f"{topic}-no"].error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART  # type: ignore[union-attr]  # it is unknown


# -- threads and signals


@pytest.fixture
def heard_ctrl_c() -> Iterator[None]:
    """Processes that a shell starts in the background ignore SIGINT: here it shall be heard all the same."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_poll_without_timeout(
    cluster: Cluster, topic: str, group: str, heard_ctrl_c: None
) -> None:
    cluster.create(topic)
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])
    cluster.until(consumer.assignment, consumer)
    interrupt = threading.Timer(0.3, _thread.interrupt_main, (signal.SIGINT,))
    interrupt.start()

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        consumer.poll()

    assert time.monotonic() - started < 5
    interrupt.join()
    cluster.produce(topic, "still alive")
    assert [m.value() for m in cluster.take(consumer, 1)] == [b"still alive"]


def test_two_threads_may_poll_one_consumer(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 2)
    count = 2000
    for partition in (0, 1):
        cluster.produce(topic, *(f"{partition}:{i}" for i in range(count // 2)), partition=partition)
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])
    taken: list[bytes] = []
    failures: list[BaseException] = []

    def poll_on() -> None:
        try:
            while len(taken) < count and time.monotonic() < deadline:
                message = consumer.poll(0.05)
                if message is not None:
                    taken.append(message.value())
        except BaseException as failure:  # noqa: BLE001 - shown by the main thread
            failures.append(failure)

    deadline = time.monotonic() + 60
    threads = [threading.Thread(target=poll_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert not failures
    assert sorted(taken) == sorted(f"{p}:{i}".encode() for p in (0, 1) for i in range(count // 2))


def test_a_waiting_poll_does_not_keep_other_threads_from_asking(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    consumer = cluster.consumer(group)
    consumer.subscribe([topic])
    cluster.until(consumer.assignment, consumer)
    waiting = threading.Thread(target=consumer.poll, args=(1.0,))
    waiting.start()

    started = time.monotonic()
    assert consumer.position([TopicPartition(topic, 0)])[0].offset == OFFSET_INVALID
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), 30) == (0, 0)
    asked = time.monotonic() - started

    waiting.join()
    assert asked < 10


# -- memory


def test_what_is_fetched_ahead_is_bounded_in_messages(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    for _ in range(20):
        cluster.produce(topic, *["x"] * 50)
    consumer = cluster.consumer(group, queued_min_messages=100, max_partition_fetch_bytes=1000)
    consumer.subscribe([topic])
    cluster.take(consumer, 1)

    queue = consumer._client._state.queue
    cluster.until(lambda: queue.messages >= 100)
    time.sleep(0.5)  # whatever it will fetch without being asked
    assert queue.messages <= 400  # 100, and the batches of one fetch

    assert len(cluster.take(consumer, 999)) == 999


def test_what_is_fetched_ahead_is_bounded_in_bytes(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    for _ in range(30):
        cluster.produce(topic, b"x" * 100_000)
    consumer = cluster.consumer(group, queued_max_messages_kbytes=500, max_partition_fetch_bytes=200_000)
    consumer.subscribe([topic])
    cluster.take(consumer, 1)

    queue = consumer._client._state.queue
    cluster.until(lambda: queue.bytes >= 400_000)
    time.sleep(0.5)  # as above
    assert queue.bytes <= 1_000_000

    assert len(cluster.take(consumer, 29)) == 29
