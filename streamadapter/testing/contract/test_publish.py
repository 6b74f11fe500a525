"""Records arrive as they were sent."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest

from streamadapter import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    Message,
)
from streamadapter.testing.contract.lab import PATIENCE_S, Reports, code_of, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamadapter.testing.contract.lab import Lab

HOUR_MS = 3600 * 1000
LARGEST = 1_000_000 - 36
"""Key and value of the largest record with message.max.bytes=1000000; librdkafka reckons with 36 bytes around them."""


# -- what a record holds


def test_payload_key_and_headers_arrive_intact(lab: Lab) -> None:
    topic = lab.topic()
    headers = [("trace", b"\x00\xff"), ("empty", b""), ("null", None)]
    lab.produce(topic, b"\x00value\xff", key=b"\x01key", headers=headers)
    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])

    [message] = lab.take(consumer, 1)

    assert (message.key(), message.value()) == (b"\x01key", b"\x00value\xff")
    assert message.headers() == headers
    assert (message.topic(), message.partition(), message.offset()) == (topic, 0, 0)


def test_null_and_empty_keys_and_values_stay_apart(lab: Lab) -> None:
    topic = lab.topic()
    sent = [(key, value) for key in (None, b"", b"k") for value in (None, b"", b"v")]

    for key, value in sent:
        lab.produce(topic, value, key=key)

    assert [(message.key(), message.value()) for message in lab.log(topic)] == sent


def test_text_is_sent_as_utf_8(lab: Lab) -> None:
    topic = lab.topic()

    lab.produce(topic, "Käse 🧀", key="schlüssel", headers=[("größe", "süß")])
    lab.produce(topic, "", key="", headers={"é": "日本"})

    first, second = lab.log(topic)
    assert (first.key(), first.value()) == ("schlüssel".encode(), "Käse 🧀".encode())
    assert first.headers() == [("größe", "süß".encode())]
    assert (second.key(), second.value()) == (b"", b"")
    assert second.headers() == [("é", "日本".encode())]


def test_headers_keep_their_order_and_may_repeat_be_empty_or_null(lab: Lab) -> None:
    topic = lab.topic()
    cases: list[tuple[Any, Any]] = [
        (None, None),
        ([], None),
        ({}, None),
        ([("a", b"1"), ("b", b"2"), ("a", b"3")], [("a", b"1"), ("b", b"2"), ("a", b"3")]),
        ([("", b""), ("", None)], [("", b""), ("", None)]),
        ({"b": b"1", "a": None, "c": "text"}, [("b", b"1"), ("a", None), ("c", b"text")]),
        ([("n", b"%d" % n) for n in range(300)], [("n", b"%d" % n) for n in range(300)]),
    ]

    for given, _ in cases:
        lab.produce(topic, b"v", headers=given)

    assert [message.headers() for message in lab.log(topic)] == [expected for _, expected in cases]


def test_a_consumed_message_says_all_about_itself(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, b"four", b"", None)

    four, empty, null = lab.log(topic)
    again = lab.log(topic)[0]

    assert all(isinstance(message, Message) for message in (four, empty, null))
    assert [len(message) for message in (four, empty, null)] == [4, 0, 0]
    assert [bool(message) for message in (four, empty, null)] == [True, False, False]
    assert (four.error(), four.latency()) == (None, None)
    assert isinstance(four.leader_epoch(), int)
    assert (four.leader_epoch() or 0) >= 0
    assert four == again
    assert four != empty
    with pytest.raises(TypeError):
        hash(four)


# -- time


def test_a_record_keeps_the_time_it_was_given(lab: Lab) -> None:
    topic = lab.topic()
    soon = int(time.time() * 1000) + HOUR_MS // 2
    given = [1, 1_500_000_000_000, 1_400_000_000_000, -1, soon]

    for timestamp in given:
        lab.produce(topic, b"v", timestamp=timestamp)

    assert [m.timestamp() for m in lab.log(topic)] == [(TIMESTAMP_CREATE_TIME, stamp) for stamp in given]


def test_a_record_without_a_time_has_that_of_its_production(lab: Lab) -> None:
    topic = lab.topic()
    before = int(time.time() * 1000)

    lab.produce(topic, b"default")
    lab.produce(topic, b"zero", timestamp=0)

    after = int(time.time() * 1000)
    for message in lab.log(topic):
        kind, stamp = message.timestamp()
        assert kind == TIMESTAMP_CREATE_TIME
        assert before <= stamp <= after


def test_with_log_append_time_a_record_has_the_time_of_its_arrival(lab: Lab) -> None:
    topic = lab.topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)

    lab.produce(topic, b"old", timestamp=5)
    lab.produce(topic, b"far", timestamp=before + 24 * HOUR_MS)

    after = int(time.time() * 1000)
    messages = lab.log(topic)
    assert values(messages) == [b"old", b"far"]
    assert {message.timestamp()[0] for message in messages} == {TIMESTAMP_LOG_APPEND_TIME}
    assert before <= messages[0].timestamp()[1] <= messages[1].timestamp()[1] <= after


def test_a_record_from_the_far_future_is_refused(lab: Lab) -> None:
    now = int(time.time() * 1000)

    assert _refusal(lab, lab.topic(), now + 2 * HOUR_MS) == KafkaError.INVALID_TIMESTAMP
    assert (
        _refusal(lab, lab.topic(message_timestamp_after_max_ms=str(3 * HOUR_MS)), now + 2 * HOUR_MS) is None
    )


def test_a_record_older_than_its_topic_allows_is_refused(lab: Lab) -> None:
    now = int(time.time() * 1000)
    topic = lab.topic(message_timestamp_before_max_ms=str(HOUR_MS))

    assert _refusal(lab, topic, now - 2 * HOUR_MS) == KafkaError.INVALID_TIMESTAMP
    assert _refusal(lab, topic, now - HOUR_MS // 2) is None


def _refusal(lab: Lab, topic: str, timestamp: int) -> int | None:
    """The code that a record with this timestamp fails with."""
    reports = Reports()
    producer = lab.producer()
    producer.produce(topic, b"v", timestamp=timestamp, on_delivery=reports)
    assert producer.flush(PATIENCE_S) == 0
    [code] = reports.codes()
    return code


# -- size


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_batches_of_every_compression_and_of_mixed_sizes_arrive(lab: Lab, codec: str) -> None:
    topic = lab.topic()
    sizes = (0, 1, 100, 10_000, 0, 70_000, 3)
    sent = [bytes([i % 251]) * size for i in range(20) for size in sizes]
    producer = lab.producer(compression_type=codec, linger_ms=20, batch_size=50_000)

    for i, value in enumerate(sent):
        producer.produce(topic, value, b"%d" % i, headers=[("size", b"%d" % len(value))])
    assert producer.flush(PATIENCE_S) == 0

    messages = lab.log(topic)
    assert values(messages) == sent
    assert [message.key() for message in messages] == [b"%d" % i for i in range(len(sent))]
    assert [message.headers() for message in messages] == [[("size", b"%d" % len(value))] for value in sent]


def test_the_largest_record_arrives_and_a_larger_one_is_refused(lab: Lab) -> None:
    topic = lab.topic()
    producer = lab.producer(message_max_bytes=1_000_000)
    key = b"k" * 1000

    producer.produce(topic, b"a" * LARGEST)
    producer.produce(topic, b"b" * (LARGEST - len(key)), key)
    for value, large_key in ((b"a" * (LARGEST + 1), None), (b"b" * (LARGEST - len(key) + 1), key)):
        assert code_of(partial(producer.produce, topic, value, large_key)) == KafkaError.MSG_SIZE_TOO_LARGE
    assert producer.flush(PATIENCE_S) == 0

    assert values(lab.log(topic)) == [b"a" * LARGEST, b"b" * (LARGEST - len(key))]


def test_records_up_to_a_raised_limit_arrive(lab: Lab) -> None:
    topic = lab.topic(max_message_bytes="5000000")
    producer = lab.producer(message_max_bytes=5_000_000)
    sent = [bytes([65 + i]) * 3_000_000 for i in range(3)]

    for value in sent:
        producer.produce(topic, value)
    assert producer.flush(PATIENCE_S) == 0

    consumer = lab.consumer(lab.group())  # whose max.partition.fetch.bytes is less than one record
    consumer.subscribe([topic])
    assert values(lab.take(consumer, 3)) == sent


# -- partitions

_consistent = confluent_kafka.consistent
_murmur2 = confluent_kafka.murmur2
_fnv1a = confluent_kafka.fnv1a


@pytest.mark.parametrize(
    ("partitioner", "hashed", "keys"),
    [
        ("consistent_random", _consistent, ()),
        ("consistent", _consistent, (None, b"")),
        ("murmur2_random", _murmur2, (b"",)),
        ("murmur2", _murmur2, (None, b"")),
        ("fnv1a_random", _fnv1a, (b"",)),
        ("fnv1a", _fnv1a, (None, b"")),
    ],
)
def test_the_partitioner_places_a_record_by_its_key(
    lab: Lab, partitioner: str, hashed: Callable[[bytes, int], int], keys: tuple[bytes | None, ...]
) -> None:
    """`keys`: which of the null and the empty key are hashed, too; the others go anywhere."""
    topic = lab.topic(partitions=5)
    every = (*keys, b"\x00", "käse".encode(), b"x" * 300, *(b"key-%d" % i for i in range(40)))
    producer = lab.producer(partitioner=partitioner)
    placed: list[tuple[bytes | None, int | None]] = []

    for _ in range(2):  # before the topic's metadata are known, and after
        for key in every:
            producer.produce(
                topic, b"v", key, on_delivery=lambda _, m: placed.append((m.key(), m.partition()))
            )
        assert producer.flush(PATIENCE_S) == 0

    assert len(placed) == 2 * len(every)
    assert set(placed) == {(key, hashed(key or b"", 5)) for key in every}


def test_records_of_one_key_are_in_one_partition_in_order(lab: Lab) -> None:
    topic = lab.topic(partitions=4)
    producer = lab.producer(enable_idempotence=True)
    keys = [b"k%d" % i for i in range(10)]

    for i in range(1000):
        producer.produce(topic, b"%d" % i, keys[i % 10])
    assert producer.flush(PATIENCE_S) == 0

    for partition in range(4):
        expected = [
            (keys[i % 10], b"%d" % i)
            for i in range(1000)
            if confluent_kafka.consistent(keys[i % 10], 4) == partition
        ]
        assert [(m.key(), m.value()) for m in lab.log(topic, partition)] == expected


def test_an_explicit_partition_wins_over_the_key(lab: Lab) -> None:
    topic = lab.topic(partitions=3)

    for partition in (2, 0, 1, 2):
        lab.produce(topic, b"%d" % partition, partition=partition, key=b"the same")

    assert [values(lab.log(topic, partition)) for partition in range(3)] == [[b"0"], [b"1"], [b"2", b"2"]]
