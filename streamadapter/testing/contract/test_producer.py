"""The producer's promises to its caller: reports, the queue, the end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message, Producer
from streamadapter.testing.contract.lab import PATIENCE_S, Reports, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamadapter.testing.contract.lab import Lab


# -- reports


def test_a_report_says_where_the_record_is(lab: Lab) -> None:
    topic = lab.topic(partitions=2)
    reports = Reports()
    producer = lab.producer()

    for i in range(3):
        producer.produce(
            topic, b"v%d" % i, b"k", 1, timestamp=1000 + i, headers=[("h", b"x")], on_delivery=reports
        )
    assert producer.flush(PATIENCE_S) == 0

    assert [(m.topic(), m.partition(), m.offset(), m.key(), m.value()) for m in reports] == [
        (topic, 1, i, b"k", b"v%d" % i) for i in range(3)
    ]
    assert reports.codes() == [None, None, None]
    assert [m.timestamp() for m in reports] == [(TIMESTAMP_CREATE_TIME, 1000 + i) for i in range(3)]
    assert [m.headers() for m in reports] == [None, None, None]
    assert all(0 <= (m.latency() or 0) < PATIENCE_S for m in reports)
    assert all(isinstance(m, Message) for m in reports)
    assert [(m.offset(), m.value()) for m in lab.log(topic, 1)] == [(i, b"v%d" % i) for i in range(3)]


def test_reports_of_a_partition_come_in_the_order_of_its_log(lab: Lab) -> None:
    topic = lab.topic(partitions=3)
    reports = Reports()
    producer = lab.producer(enable_idempotence=True, batch_num_messages=7)

    for i in range(300):
        producer.produce(topic, b"%d" % i, partition=i % 3, on_delivery=reports)
    assert producer.flush(PATIENCE_S) == 0

    for partition in range(3):
        mine = [m for m in reports if m.partition() == partition]
        assert [(m.offset(), m.value()) for m in mine] == [
            (n, b"%d" % (3 * n + partition)) for n in range(100)
        ]


def test_with_log_append_time_the_report_has_the_log_s_time(lab: Lab) -> None:
    topic = lab.topic(message_timestamp_type="LogAppendTime")
    reports = Reports()
    producer = lab.producer()

    producer.produce(topic, b"v", timestamp=5, on_delivery=reports)
    assert producer.flush(PATIENCE_S) == 0

    [message], [stored] = reports, lab.log(topic)
    assert message.timestamp() == stored.timestamp()
    assert message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME


@pytest.mark.parametrize(("acks", "offset"), [(0, None), (1, 0), ("all", 0)])
def test_every_level_of_acks_is_reported(lab: Lab, acks: int | str, offset: int | None) -> None:
    topic = lab.topic()
    reports = Reports()
    producer = lab.producer(acks=acks)

    producer.produce(topic, b"v", on_delivery=reports)
    assert producer.flush(PATIENCE_S) == 0

    assert [(m.partition(), m.offset(), m.timestamp()[0]) for m in reports] == [
        (0, offset, TIMESTAMP_CREATE_TIME)
    ]
    lab.until(lambda: values(lab.log(topic)) == [b"v"])


def test_callbacks_run_in_the_thread_that_polls_and_never_before(lab: Lab) -> None:
    topic = lab.topic()
    threads: list[threading.Thread] = []
    producer = lab.producer()
    producer.produce(topic, b"v", on_delivery=lambda *_: threads.append(threading.current_thread()))
    lab.until(lambda: lab.log(topic))

    assert threads == []
    assert len(producer) >= 1
    lab.until(lambda: producer.poll(0.1))
    assert threads == [threading.current_thread()]
    assert (len(producer), producer.poll(0), producer.flush(0)) == (0, 0, 0)


def test_the_default_callback_is_used_where_a_record_has_none(lab: Lab) -> None:
    topic = lab.topic()
    default, own, alias = Reports(), Reports(), Reports()
    producer = lab.producer(on_delivery=default)

    producer.produce(topic, b"default")
    producer.produce(topic, b"callback", callback=own, on_delivery=alias)
    producer.produce(topic, b"on_delivery", on_delivery=alias)
    assert producer.flush(PATIENCE_S) == 0

    assert (values(default), values(own), values(alias)) == ([b"default"], [b"callback"], [b"on_delivery"])


def test_only_errors_are_reported_if_so_configured(lab: Lab) -> None:
    topic = lab.topic()
    reports = Reports()
    producer = lab.producer(on_delivery=reports, delivery_report_only_error=True)

    producer.produce(topic, b"fine")
    producer.produce(topic, b"lost", partition=9)
    assert producer.flush(PATIENCE_S) == 0

    assert [(m.value(), code) for m, code in zip(reports, reports.codes(), strict=True)] == [
        (b"lost", KafkaError._UNKNOWN_PARTITION)
    ]
    assert values(lab.log(topic)) == [b"fine"]


def test_an_exception_in_a_callback_ends_poll_and_the_rest_is_served_next(lab: Lab) -> None:
    topic = lab.topic()
    served: list[bytes | None] = []

    def callback(_: KafkaError | None, message: Message) -> None:
        served.append(message.value())
        if message.value() in (b"1", b"2"):
            raise LookupError(message.value())

    producer = lab.producer(linger_ms=50)  # one batch
    for i in range(5):
        producer.produce(topic, b"%d" % i, on_delivery=callback)

    for last in (1, 2):
        with pytest.raises(LookupError) as caught:
            lab.until(lambda: producer.poll(0.1) < 0)
        assert caught.value.args == (b"%d" % last,)
        assert served == [b"%d" % i for i in range(last + 1)]
        assert len(producer) > 0
    assert producer.flush(PATIENCE_S) == 0
    assert served == [b"0", b"1", b"2", b"3", b"4"]


def test_an_exception_in_a_callback_leaves_flush_when_all_is_served(lab: Lab) -> None:
    topic = lab.topic()
    served: list[bytes | None] = []

    def callback(_: KafkaError | None, message: Message) -> None:
        served.append(message.value())
        if message.value() in (b"1", b"2"):
            raise LookupError(message.value())

    producer = lab.producer()
    for i in range(5):
        producer.produce(topic, b"%d" % i, on_delivery=callback)

    with pytest.raises(LookupError) as caught:
        producer.flush(PATIENCE_S)

    assert caught.value.args == (b"2",)  # the last one
    assert served == [b"0", b"1", b"2", b"3", b"4"]
    assert producer.flush(0) == 0


def test_a_callback_may_produce(lab: Lab) -> None:
    topic = lab.topic()
    producer = lab.producer()

    def again(_: KafkaError | None, message: Message) -> None:
        if message.value() != b"....":
            producer.produce(topic, (message.value() or b"") + b".", on_delivery=again)

    producer.produce(topic, b".", on_delivery=again)

    assert producer.flush(PATIENCE_S) == 0
    assert values(lab.log(topic)) == [b".", b"..", b"...", b"...."]


# -- the queue


def test_a_full_queue_raises_buffer_error_until_reports_are_served(lab: Lab) -> None:
    topic = lab.topic()
    producer = lab.producer(queue_buffering_max_messages=2)
    producer.produce(topic, b"0")
    producer.produce(topic, b"1")
    with pytest.raises(BufferError):
        producer.produce(topic, b"refused")

    lab.until(lambda: len(lab.log(topic)) == 2)
    with pytest.raises(BufferError):  # what is delivered counts until it is reported
        producer.produce(topic, b"refused")

    assert producer.flush(PATIENCE_S) == 0
    producer.produce(topic, b"2")
    assert producer.flush(PATIENCE_S) == 0
    assert values(lab.log(topic)) == [b"0", b"1", b"2"]


def test_the_queue_is_limited_in_bytes_too(lab: Lab) -> None:
    topic = lab.topic()
    producer = lab.producer(queue_buffering_max_kbytes=1, linger_ms=1000)
    producer.produce(topic, b"x" * 600)

    with pytest.raises(BufferError):
        producer.produce(topic, b"y" * 600)

    assert producer.flush(PATIENCE_S) == 0
    producer.produce(topic, b"z" * 600)
    assert producer.flush(PATIENCE_S) == 0
    assert values(lab.log(topic)) == [b"x" * 600, b"z" * 600]


def test_flush_returns_what_is_left_when_its_time_is_over(lab: Lab) -> None:
    producer = lab.producer()
    for _ in range(3):
        producer.produce(lab.group(), b"to a topic that does not exist")

    began = time.monotonic()
    assert producer.flush(0.5) == 3
    assert 0.45 <= time.monotonic() - began < PATIENCE_S
    assert producer.flush(0) == 3
    assert len(producer) == 3


def test_flush_does_not_linger(lab: Lab) -> None:
    topic = lab.topic()
    producer = lab.producer(linger_ms=2 * PATIENCE_S * 1000)
    producer.produce(topic, b"v")

    assert producer.flush(PATIENCE_S) == 0
    assert values(lab.log(topic)) == [b"v"]


def test_an_idle_poll_waits_its_time(lab: Lab) -> None:
    producer = lab.producer()
    lab.warm(producer, lab.topic())

    began = time.monotonic()
    assert producer.poll(0.4) == 0
    assert time.monotonic() - began >= 0.35
    assert (producer.poll(0), producer.flush(), len(producer)) == (0, 0, 0)


def test_purge_gives_up_what_waits(lab: Lab) -> None:
    topic = lab.topic()
    reports = Reports()
    producer = lab.producer(linger_ms=60_000)
    lab.warm(producer, topic)
    producer.produce(topic, b"0", on_delivery=reports)
    producer.produce(topic, b"1", on_delivery=reports)

    producer.purge(in_queue=False)
    assert (producer.poll(0.1), reports) == (0, [])
    producer.purge(in_flight=False)
    assert reports == []
    assert producer.flush(PATIENCE_S) == 0

    assert reports.codes() == [KafkaError._PURGE_QUEUE] * 2
    assert [(m.value(), m.partition(), m.offset()) for m in reports] == [(b"0", 0, None), (b"1", 0, None)]
    producer.produce(topic, b"2")
    assert producer.flush(PATIENCE_S) == 0
    assert values(lab.log(topic)) == [b"first", b"2"]


def test_purge_gives_up_what_is_in_flight(lab: Lab) -> None:
    server = lab.own_server()
    clients = lab.clients_of(server.url)
    topic = clients.create("purged")
    reports = Reports()
    producer = clients.producer()
    producer.produce(topic, b"first")
    assert producer.flush(PATIENCE_S) == 0
    server.pause()
    try:
        producer.produce(topic, b"sent", on_delivery=reports)
        assert producer.flush(2) == 1  # it is on its way: flushing does not linger
        producer.purge(in_queue=False)
        assert reports == []
        assert producer.flush(PATIENCE_S) == 0
    finally:
        server.resume()

    assert reports.codes() == [KafkaError._PURGE_INFLIGHT]
    assert [(m.value(), m.partition(), m.offset()) for m in reports] == [(b"sent", 0, None)]


# -- the end


def test_close_delivers_and_a_closed_producer_refuses_everything_else(lab: Lab) -> None:
    topic = lab.topic()
    reports = Reports()
    producer = lab.producer(linger_ms=60_000)
    lab.forget(producer)
    producer.produce(topic, b"v", on_delivery=reports)

    assert producer.close() is True
    assert producer.close() is True

    assert reports.codes() == [None]
    assert values(lab.log(topic)) == [b"v"]
    assert (len(producer), bool(producer)) == (0, True)
    calls: list[Callable[[], Any]] = [
        lambda: producer.produce(topic, b"v"),
        lambda: producer.produce_batch(topic, [{"value": b"v"}]),
        lambda: producer.produce_columns(topic, [b"v"]),
        lambda: producer.poll(0),
        producer.flush,
        producer.purge,
        producer.list_topics,
        producer.begin_transaction,
    ]
    for call in calls:
        with pytest.raises(RuntimeError):
            call()


def test_leaving_a_with_block_closes_the_producer(lab: Lab) -> None:
    topic = lab.topic()

    with Producer({"bootstrap.servers": lab.url, "linger.ms": 60_000}) as producer:
        producer.produce(topic, b"v")

    assert values(lab.log(topic)) == [b"v"]
    with pytest.raises(RuntimeError):
        producer.produce(topic, b"v")


def test_an_exception_in_a_callback_leaves_close_which_has_closed(lab: Lab) -> None:
    topic = lab.topic()
    producer = lab.producer()
    lab.forget(producer)

    def fail(*_: object) -> None:
        raise LookupError("from the callback")

    producer.produce(topic, b"v", on_delivery=fail)

    with pytest.raises(LookupError):
        producer.close()

    assert producer.close() is True
    with pytest.raises(RuntimeError):
        producer.poll(0)
    assert values(lab.log(topic)) == [b"v"]
