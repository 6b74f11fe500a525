"""What produce(), produce_batch() and produce_columns() take and refuse, compiled or not."""

from __future__ import annotations

import threading
from collections import defaultdict
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamadapter import AdminClient, Producer
from streamadapter.admin import NewTopic

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "memory://intake"
PATIENCE_S = 20


class Name(str):
    """A str of the program's own."""

    __slots__ = ()


class Blob(bytes):
    """Bytes of the program's own."""


class Place(IntEnum):
    """Partitions by name."""

    SECOND = 1


class Log:
    """Delivery reports."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, Any, int | None, int | None]] = []

    def __call__(self, error: KafkaError | None, message: Any) -> None:
        self.told.append(
            (message.key(), message.value(), message.partition(), error.code() if error else None)
        )


@pytest.fixture(scope="module")
def topic() -> str:
    with AdminClient({"bootstrap.servers": URL}) as admin:
        admin.create_topics([NewTopic("intake", 2)])["intake"].result(PATIENCE_S)
    return "intake"


@pytest.fixture
def producer(topic: str) -> Iterator[Producer]:
    with Producer({"bootstrap.servers": URL}) as producer:
        producer.produce(topic, b"so that the topic is known")
        assert producer.flush(PATIENCE_S) == 0
        yield producer


def test_subclasses_of_the_types_are_as_welcome_as_the_types(producer: Producer, topic: str) -> None:
    log = Log()

    producer.produce(Name(topic), Blob(b"v"), Name("k"), Place.SECOND, on_delivery=log)
    message = defaultdict(list, {"value": Name("w"), "key": Blob(b"k"), "partition": Place.SECOND})
    assert producer.produce_batch(Name(topic), [message], on_delivery=log) == 1
    plain = defaultdict(list, {"value": b"x"})
    assert producer.produce_batch(topic, [plain], Place.SECOND, on_delivery=log) == 1

    assert producer.flush(PATIENCE_S) == 0
    assert log.told == [(b"k", b"v", 1, None), (b"k", b"w", 1, None), (None, b"x", 1, None)]
    assert dict(plain) == {"value": b"x"}


def test_a_topic_that_is_used_first_by_a_subclass_of_str_is_known_by_its_text(topic: str) -> None:
    log = Log()
    with Producer({"bootstrap.servers": URL}) as producer:
        producer.produce(Name(topic), b"v", partition=0, on_delivery=log)
        producer.produce(topic, b"w", partition=0, on_delivery=log)
        assert producer.flush(PATIENCE_S) == 0
    assert [value for _, value, _, _ in log.told] == [b"v", b"w"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((5,), "must be str"),
        (("intake", bytearray(b"v")), "argument 2 must be read-only"),
        (("intake", 5), "bytes-like object is required"),
        (("intake", b"v", 5), "bytes-like object is required"),
        (("intake", b"v", b"k", "0"), "cannot be interpreted as an integer"),
        (("intake", b"v", b"k", 0, "callback"), "must be callable"),
    ],
)
def test_other_types_are_refused_by_name(producer: Producer, arguments: tuple[Any, ...], error: str) -> None:
    with pytest.raises(TypeError, match=error):
        producer.produce(*arguments)
    assert len(producer) == 0


def test_a_bad_message_of_a_batch_is_refused_before_any_is_queued(producer: Producer, topic: str) -> None:
    for bad in (
        {"value": 5},
        {"key": 5},
        {"partition": "0"},
        {"timestamp": "0"},
        {"callback": "f"},
        ["value"],
    ):
        with pytest.raises(TypeError, match=r"Message .*at index 1"):
            producer.produce_batch(topic, [{"value": b"good"}, bad])  # type: ignore[list-item]  # that is the point
    with pytest.raises(ValueError, match="Invalid headers at index 0"):
        producer.produce_batch(topic, [{"value": b"v", "headers": 5}])
    with pytest.raises(TypeError, match="must be a list"):
        producer.produce_batch(topic, ({"value": b"v"},))  # type: ignore[arg-type]  # as above
    assert len(producer) == 0


def test_what_cannot_be_queued_is_marked_and_the_rest_of_the_batch_goes_on(topic: str) -> None:
    conf = {"bootstrap.servers": URL, "queue.buffering.max.messages": 3, "linger.ms": 60_000}
    messages: list[dict[str, Any]] = [
        {"value": b"0"},
        {"value": b"1", "partition": 9},
        {"value": b"x" * 2_000_000},
        {"value": b"3", "key": b"k"},
        {"value": b"4"},
        {"value": b"5"},
    ]
    with Producer(conf) as producer:
        producer.list_topics(topic, PATIENCE_S)
        producer.produce(topic, b"so that the topic is known")
        assert producer.flush(PATIENCE_S) == 0

        assert producer.produce_batch(topic, messages) == 3

        codes = [message["_error"].code() if "_error" in message else None for message in messages]
        assert codes == [
            *(None, KafkaError._UNKNOWN_PARTITION, KafkaError.MSG_SIZE_TOO_LARGE),
            *(None, None, KafkaError._QUEUE_FULL),
        ]


def test_columns_are_queued_from_the_first_on_as_far_as_there_is_room(topic: str) -> None:
    conf = {"bootstrap.servers": URL, "queue.buffering.max.messages": 700, "linger.ms": 60_000}
    values = [b"%d" % i for i in range(1200)]
    log = Log()
    with Producer(conf) as producer:
        assert producer.produce_columns(topic, values, partition=0, on_delivery=log) == 700
        assert producer.produce_columns(topic, values[700:], partition=0, on_delivery=log) == 0
        assert producer.flush(PATIENCE_S) == 0
        assert producer.produce_columns(topic, values[700:], partition=0, on_delivery=log) == 500
        assert producer.flush(PATIENCE_S) == 0
    assert [value for _, value, _, _ in log.told] == values


def test_columns_with_one_record_too_large_are_refused_whole(producer: Producer, topic: str) -> None:
    with pytest.raises(KafkaException) as raised:
        producer.produce_columns(topic, [b"v", b"x" * 2_000_000])
    assert raised.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert len(producer) == 0


def test_threads_that_produce_together_lose_and_reorder_nothing(producer: Producer, topic: str) -> None:
    log = Log()
    count, threads = 2_000, 4

    def work(name: int) -> None:
        for i in range(0, count, 100):
            key = b"%d" % name
            for j in range(i, i + 50):
                producer.produce(topic, b"%d" % j, key, on_delivery=log)
            batch = [{"value": b"%d" % j, "key": key} for j in range(i + 50, i + 100)]
            assert producer.produce_batch(topic, batch, on_delivery=log) == 50

    workers = [threading.Thread(target=work, args=(name,)) for name in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert producer.flush(60) == 0

    for name in range(threads):
        assert [int(v) for k, v, _, _ in log.told if k == b"%d" % name] == list(range(count))


def test_poll_of_zero_serves_what_there_is_and_a_closed_producer_refuses_it(topic: str) -> None:
    log = Log()
    with Producer({"bootstrap.servers": URL, "linger.ms": 0}) as producer:
        producer.produce(topic, b"v", partition=0, on_delivery=log)
        served = 0
        for _ in range(2000):
            served += producer.poll(0)
            if served:
                break
            threading.Event().wait(0.01)
        assert (served, len(log.told)) == (1, 1)
        assert producer.poll(0) == 0
    with pytest.raises(RuntimeError, match="closed"):
        producer.poll(0)
