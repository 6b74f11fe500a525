"""What a producer refuses, at once or by a report."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import TIMESTAMP_NOT_AVAILABLE, KafkaError, TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, Reports, code_of, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamadapter.testing.contract.lab import Lab


# -- what cannot be sent


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        ((), {}, TypeError),
        ((None,), {}, TypeError),
        ((5,), {}, TypeError),
        ((b"t",), {}, TypeError),
        (("t\0",), {}, ValueError),
        (("t", 5), {}, TypeError),
        (("t", True), {}, TypeError),
        (("t", bytearray(b"x")), {}, TypeError),
        (("t", memoryview(b"x")), {}, TypeError),
        (("t", "\ud800"), {}, UnicodeEncodeError),
        (("t", b"x", 5), {}, TypeError),
        (("t", b"x", bytearray(b"x")), {}, TypeError),
        (("t", b"x", "k", "0"), {}, TypeError),
        (("t", b"x", "k", None), {}, TypeError),
        (("t", b"x", "k", 2**40), {}, OverflowError),
        (("t", b"x"), {"timestamp": "1"}, TypeError),
        (("t", b"x"), {"timestamp": 1.5}, TypeError),
        (("t", b"x"), {"timestamp": None}, TypeError),
        (("t", b"x"), {"timestamp": 2**70}, OverflowError),
        (("t", b"x"), {"headers": (("a", b"1"),)}, TypeError),
        (("t", b"x"), {"headers": "ab"}, TypeError),
        (("t", b"x"), {"headers": [1]}, TypeError),
        (("t", b"x"), {"headers": [("a",)]}, TypeError),
        (("t", b"x"), {"headers": [["a", b"b"]]}, TypeError),
        (("t", b"x"), {"headers": [("a", 5)]}, TypeError),
        (("t", b"x"), {"headers": [("a", bytearray(b"x"))]}, TypeError),
        (("t", b"x"), {"headers": {"a": 5}}, TypeError),
        (("t", b"x"), {"unknown": 1}, TypeError),
    ],
)
def test_produce_refuses_arguments_of_the_wrong_type(
    lab: Lab, arguments: Any, keywords: Any, error: type[Exception]
) -> None:
    producer = lab.producer()

    with pytest.raises(error):
        producer.produce(*arguments, **keywords)

    assert len(producer) == 0


@pytest.mark.parametrize("timeout", [None, "1"])
def test_time_outs_are_numbers(lab: Lab, timeout: Any) -> None:
    producer = lab.producer()

    for call in (producer.poll, producer.flush):
        with pytest.raises(TypeError):
            call(timeout)


def test_an_oversized_record_is_refused_and_not_queued(lab: Lab) -> None:
    producer = lab.producer(message_max_bytes=1000)

    for value, key in ((b"x" * 1001, None), (b"x" * 600, b"k" * 600)):
        assert code_of(partial(producer.produce, "t", value, key)) == KafkaError.MSG_SIZE_TOO_LARGE
    assert len(producer) == 0


def test_a_record_above_the_topic_s_limit_fails_alone(lab: Lab) -> None:
    topic = lab.topic(max_message_bytes="1000")
    reports = Reports()
    producer = lab.producer()

    for value in (b"small", b"x" * 2000, b"small, too"):
        producer.produce(topic, value, on_delivery=reports)
        assert producer.flush(PATIENCE_S) == 0

    assert reports.codes() == [None, KafkaError.MSG_SIZE_TOO_LARGE, None]
    assert values(lab.log(topic)) == [b"small", b"small, too"]


def test_a_topic_that_does_not_appear_is_an_error_after_a_grace_and_then_at_once(lab: Lab) -> None:
    topic = lab.group()
    reports = Reports()
    producer = lab.producer(topic_metadata_propagation_max_ms=1000)

    began = time.monotonic()
    producer.produce(topic, b"v", b"k", on_delivery=reports)
    assert producer.flush(PATIENCE_S) == 0

    assert time.monotonic() - began >= 0.9
    [message] = reports
    assert reports.codes() == [KafkaError.UNKNOWN_TOPIC_OR_PART]
    assert (message.topic(), message.partition(), message.offset()) == (topic, None, None)
    assert (message.key(), message.value()) == (b"k", b"v")
    assert message.timestamp() == (TIMESTAMP_NOT_AVAILABLE, -1)
    assert code_of(lambda: producer.produce(topic, b"v")) == KafkaError._UNKNOWN_TOPIC


def test_a_record_for_a_topic_that_does_not_appear_times_out_first_if_that_is_sooner(lab: Lab) -> None:
    reports = Reports()
    producer = lab.producer(message_timeout_ms=500)

    producer.produce(lab.group(), b"v", on_delivery=reports)
    assert producer.flush(PATIENCE_S) == 0

    assert reports.codes() == [KafkaError._MSG_TIMED_OUT]
    assert [m.partition() for m in reports] == [None]


def test_records_wait_for_a_topic_that_is_created_meanwhile(lab: Lab) -> None:
    topic = lab.group()
    reports = Reports()
    producer = lab.producer()
    for i in range(20):
        producer.produce(topic, b"%d" % i, b"one key", on_delivery=reports)
    assert producer.flush(0.3) == 20

    lab.create(topic)

    assert producer.flush(PATIENCE_S) == 0
    assert reports.codes() == [None] * 20
    assert values(lab.log(topic)) == [b"%d" % i for i in range(20)]


def test_a_partition_that_does_not_exist_is_refused_at_once_if_the_topic_is_known(lab: Lab) -> None:
    topic = lab.topic(partitions=2)
    producer = lab.producer()
    lab.warm(producer, topic)

    for partition in (2, -2):
        assert (
            code_of(partial(producer.produce, topic, b"v", partition=partition))
            == KafkaError._UNKNOWN_PARTITION
        )
    assert len(producer) == 0


def test_a_partition_that_does_not_exist_is_reported_if_the_topic_was_not_known(lab: Lab) -> None:
    topic = lab.topic(partitions=2)
    reports = Reports()
    producer = lab.producer()

    producer.produce(topic, b"lost", partition=7, on_delivery=reports)
    producer.produce(topic, b"kept", partition=1, on_delivery=reports)
    assert producer.flush(PATIENCE_S) == 0

    outcomes = {
        m.value(): (code, m.partition(), m.offset()) for m, code in zip(reports, reports.codes(), strict=True)
    }
    assert outcomes == {b"lost": (KafkaError._UNKNOWN_PARTITION, 7, None), b"kept": (None, 1, 0)}


# -- nobody there


def test_an_unreachable_server_is_told_to_error_cb_and_records_time_out(lab: Lab) -> None:
    errors: list[int] = []
    reports = Reports()
    clients = lab.clients_of(lab.unreachable_url())
    producer = clients.producer(message_timeout_ms=700, error_cb=lambda error: errors.append(error.code()))

    producer.produce("t", b"v", b"k", on_delivery=reports)
    assert producer.flush(PATIENCE_S) == 0

    assert reports.codes() == [KafkaError._MSG_TIMED_OUT]
    [message] = reports
    assert (message.key(), message.value(), message.partition(), message.offset()) == (b"k", b"v", None, None)
    assert (message.latency() or 0) >= 0.7
    assert errors[:2] == [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN]


def test_metadata_of_an_unreachable_server_fail_in_time(lab: Lab) -> None:
    producer = lab.clients_of(lab.unreachable_url()).producer()

    for topic in (None, "t"):
        began = time.monotonic()
        assert code_of(partial(producer.list_topics, topic, timeout=1)) == KafkaError._TRANSPORT
        assert time.monotonic() - began < PATIENCE_S / 2


# -- configuration


@pytest.mark.parametrize(
    "properties",
    [
        {"no_such_property": 1},
        {"linger_ms": "soon"},
        {"linger_ms": -1},
        {"linger_ms": ""},
        {"linger_ms": None},
        {"batch_size": 0},
        {"queue_buffering_max_messages": -1},
        {"compression_type": "zip"},
        {"compression_level": 99},
        {"partitioner": "alphabetical"},
        {"acks": -2},
        {"acks": "quorum"},
        {"message_timeout_ms": 100, "linger_ms": 200},
        {"enable_idempotence": "maybe"},
        {"enable_idempotence": True, "acks": 0},
        {"enable_idempotence": True, "acks": 1},
        {"enable_idempotence": True, "max_in_flight": 6},
        {"enable_idempotence": True, "retries": 0},
        {"on_delivery": 5},
    ],
    ids=repr,
)
def test_a_producer_with_a_wrong_property_is_refused(lab: Lab, properties: dict[str, Any]) -> None:
    assert code_of(lambda: lab.producer(**properties)) == KafkaError._INVALID_ARG


@pytest.mark.parametrize("name", ["error_cb", "stats_cb"])
def test_a_callback_that_cannot_be_called_is_refused(lab: Lab, name: str) -> None:
    with pytest.raises(TypeError):
        lab.producer(**{name: 5})


def test_text_and_python_values_mean_the_same(lab: Lab) -> None:
    topic = lab.topic()
    given = ({"enable_idempotence": "true", "linger_ms": "1"}, {"enable_idempotence": True, "linger_ms": 1.0})

    for properties in given:
        producer = lab.producer(**properties)
        producer.produce(topic, b"v")
        assert producer.flush(PATIENCE_S) == 0

    assert values(lab.log(topic)) == [b"v", b"v"]


def test_statistics_are_given_or_refused(lab: Lab) -> None:
    statistics: list[str] = []
    properties = {"statistics_interval_ms": 50, "stats_cb": statistics.append}
    if not lab.features.statistics:
        assert code_of(lambda: lab.producer(**properties)) == KafkaError._INVALID_ARG
        return

    producer = lab.producer(**properties)
    lab.until(lambda: producer.poll(0.05) is not None and statistics)

    assert json.loads(statistics[0])["type"] == "producer"


def test_transactions_need_a_transactional_id(lab: Lab) -> None:
    producer = lab.producer()
    metadata = lab.consumer(lab.group()).consumer_group_metadata()
    calls: list[Callable[[], Any]] = [
        lambda: producer.init_transactions(1),
        producer.begin_transaction,
        producer.commit_transaction,
        producer.abort_transaction,
        lambda: producer.send_offsets_to_transaction([TopicPartition("t", 0, 1)], metadata),
    ]

    assert [code_of(call) for call in calls] == [KafkaError._NOT_CONFIGURED] * 5
