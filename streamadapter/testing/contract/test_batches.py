"""Many records by one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import TIMESTAMP_CREATE_TIME, KafkaError
from streamadapter.testing.contract.lab import PATIENCE_S, Reports, values

if TYPE_CHECKING:
    from streamadapter.testing.contract.lab import Lab


def test_produce_batch_queues_what_it_can_and_marks_the_rest(lab: Lab) -> None:
    topic = lab.topic(partitions=2)
    default, own = Reports(), Reports()
    producer = lab.producer(queue_buffering_max_messages=4)
    lab.warm(producer, topic)
    messages: list[dict[str, Any]] = [
        {"value": "text", "key": b"k", "partition": 1, "timestamp": 7, "headers": {"h": "x"}},
        {"value": b"x" * 2_000_000},
        {"partition": 1},
        {"value": b"nowhere", "partition": 9},
        {"value": b"own", "callback": own, "partition": 1, "headers": [("a", None)]},
        {"value": None, "key": "four"},
        {"value": b"too much"},
    ]

    assert producer.produce_batch(topic, messages, partition=0, on_delivery=default) == 4
    assert producer.flush(PATIENCE_S) == 0

    assert [message["_error"].code() if "_error" in message else None for message in messages] == [
        *(None, KafkaError.MSG_SIZE_TOO_LARGE, None, KafkaError._UNKNOWN_PARTITION),
        *(None, None, KafkaError._QUEUE_FULL),
    ]
    assert values(own) == [b"own"]
    assert [m.value() for m in default if m.partition() == 1] == [b"text", None]
    assert [m.key() for m in default if m.partition() == 0] == [b"four"]
    stored = lab.log(topic, 1)
    assert [(m.key(), m.value(), m.headers()) for m in stored] == [
        (b"k", b"text", [("h", b"x")]),
        (None, None, None),
        (None, b"own", [("a", None)]),
    ]
    assert stored[0].timestamp() == (TIMESTAMP_CREATE_TIME, 7)
    assert [(m.key(), m.value()) for m in lab.log(topic)] == [(None, b"first"), (b"four", None)]


def test_produce_batch_goes_by_key_where_no_partition_is_given(lab: Lab) -> None:
    topic = lab.topic(partitions=3)
    by_batch, one_by_one = Reports(), Reports()
    producer = lab.producer()
    keys = [b"k%d" % i for i in range(30)]

    assert producer.produce_batch(topic, [{"value": k, "key": k} for k in keys], callback=by_batch) == 30
    assert producer.produce_batch(topic, []) == 0
    for key in keys:
        producer.produce(topic, key, key, on_delivery=one_by_one)
    assert producer.flush(PATIENCE_S) == 0

    assert {(m.key(), m.partition()) for m in by_batch} == {(m.key(), m.partition()) for m in one_by_one}
    assert len(by_batch) == len(one_by_one) == 30


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        (None, TypeError),
        (({"value": b"x"},), TypeError),
        ([{"value": b"x"}, "x"], TypeError),
        ([{"value": b"x"}, {"value": 5}], TypeError),
        ([{"value": b"x"}, {"key": 5}], TypeError),
        ([{"value": b"x"}, {"partition": "0"}], TypeError),
        ([{"value": b"x"}, {"timestamp": "0"}], TypeError),
        ([{"value": b"x"}, {"headers": [("a", 5)]}], ValueError),
        ([{"value": b"x"}, {"headers": "a", "timestamp": 1}], ValueError),
        ([{"value": b"x"}, {"callback": 5}], TypeError),
    ],
)
def test_produce_batch_with_a_wrong_message_queues_nothing(
    lab: Lab, messages: Any, error: type[Exception]
) -> None:
    producer = lab.producer()

    with pytest.raises(error):
        producer.produce_batch("t", messages)

    assert len(producer) == 0


def test_columns_arrive_as_if_produced_one_by_one(lab: Lab) -> None:
    topic = lab.topic(partitions=2)
    reports = Reports()
    producer = lab.producer()
    sent: list[tuple[bytes | None, bytes | None, int, Any]] = [
        (b"k%d" % (i % 7), b"%d" % i if i % 5 else None, 1000 + i, [("n", b"%d" % i)] if i % 2 else None)
        for i in range(100)
    ]
    keys, column, timestamps, headers = (list(each) for each in zip(*sent, strict=True))

    for _ in range(2):  # before the topic's partitions are known, and after
        queued = producer.produce_columns(
            topic, column, keys, timestamps=timestamps, headers=headers, on_delivery=reports
        )
        assert queued == 100
        assert producer.flush(PATIENCE_S) == 0
    producer.produce_columns(topic, [b"fixed"], partition=1)
    assert producer.flush(PATIENCE_S) == 0

    assert reports.codes() == [None] * 200
    place = {m.key(): m.partition() for m in reports}
    for partition in range(2):
        expected = [row for row in sent if place[row[0]] == partition] * 2
        stored = lab.log(topic, partition)
        assert [
            (m.key(), m.value(), m.timestamp()[1], m.headers()) for m in stored[: len(expected)]
        ] == expected
        assert values(stored[len(expected) :]) == [b"fixed"] * partition


def test_columns_are_cut_to_what_the_queue_has_room_for(lab: Lab) -> None:
    topic = lab.topic()
    producer = lab.producer(queue_buffering_max_messages=5)
    rest = [b"%d" % i for i in range(12)]
    taken = []

    while rest:
        taken.append(producer.produce_columns(topic, rest))
        rest = rest[taken[-1] :]
        assert producer.produce_columns(topic, rest) == 0
        assert producer.flush(PATIENCE_S) == 0

    assert taken == [5, 5, 2]
    assert values(lab.log(topic)) == [b"%d" % i for i in range(12)]
