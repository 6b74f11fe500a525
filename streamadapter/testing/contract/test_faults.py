"""What networks that fail and servers that stop may cost: time, and an error that says so; never a record."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from streamadapter import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from streamadapter.testing.contract.lab import MEMBER, PATIENCE_S, values
from streamadapter.testing.proxy import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamadapter import Consumer, Message, Producer
    from streamadapter.testing.contract.lab import Clients, Lab

HASTY = {"reconnect_backoff_ms": 10, "reconnect_backoff_max_ms": 100, "retry_backoff_ms": 10}
"""Properties of clients that are to find their server again soon."""

OUTAGE_S = 2.0
FAULTS = {
    "lost replies": (Faults(seed=1, drop_reply=0.1), "replies dropped"),
    "lost requests": (Faults(seed=1, drop_request=0.1), "requests dropped"),
    "resets": (Faults(seed=1, reset=0.05), "resets"),
    "latency": (Faults(latency_s=0.02), "replies"),
}
through_faults = pytest.mark.parametrize(("faults", "counted"), FAULTS.values(), ids=FAULTS.keys())


class Reports:
    """Delivery reports, in the order they come."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self.all: list[tuple[KafkaError | None, Message]] = []
        self._producer = producer
        self._topic = topic

    def produce(self, *records: bytes) -> None:
        """Hand records over."""
        for record in records:
            self._producer.produce(self._topic, record, on_delivery=lambda *report: self.all.append(report))

    @property
    def errors(self) -> list[int]:
        """Codes of those that failed."""
        return [error.code() for error, _ in self.all if error is not None]

    @property
    def stored(self) -> list[tuple[int | None, bytes | None]]:
        """Offset and value of those that did not."""
        return [(message.offset(), message.value()) for error, message in self.all if error is None]

    def await_count(self, count: int) -> None:
        """Until so many have come."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.all) < count:
            assert time.monotonic() < deadline, f"{len(self.all)} of {count} reports came"
            self._producer.poll(0.05)


def numbered(start: int, end: int) -> list[bytes]:
    """Records that can be told apart."""
    return [b"%d" % number for number in range(start, end)]


def read_all(clients: Clients, topic: str) -> list[tuple[int | None, bytes | None]]:
    """Offset and value of everything in the first partition."""
    consumer = clients.consumer("reader", enable_auto_commit=False)
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), PATIENCE_S)
    return [(message.offset(), message.value()) for message in clients.take(consumer, end)]


def commit(consumer: Consumer) -> list[int]:
    """Commit what was read; the offsets."""
    committed = consumer.commit(asynchronous=False)
    assert committed is not None
    return [tp.offset for tp in committed]


def commit_through_faults(consumer: Consumer, message: Message) -> None:
    """Commit up to a message: librdkafka leaves it to its caller to repeat a commit whose connection was lost."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            consumer.commit(message, asynchronous=False)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError._TRANSPORT or time.monotonic() > deadline:
                raise
        else:
            return


@contextmanager
def returning_within(seconds: float) -> Iterator[None]:
    """What is done here must not take longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


# -- the network


@through_faults
def test_an_idempotent_producer_stores_each_record_once_and_in_order_through(
    lab: Lab, faults: Faults, counted: str
) -> None:
    server = lab.own_server(proxied=True)
    assert server.proxy is not None
    assert server.proxied_url is not None
    direct = lab.clients_of(server.url)
    topic = direct.create("orders")
    # One record a request: more requests and replies to lose.
    producer = lab.clients_of(server.proxied_url).producer(
        enable_idempotence=True, batch_num_messages=1, **HASTY
    )
    reports = Reports(producer, topic)
    sent = numbered(0, 100)

    server.proxy.set_faults(faults)
    reports.produce(*sent)
    unreported = producer.flush(PATIENCE_S)
    server.proxy.heal()

    assert unreported == 0
    assert server.proxy.counts[counted] > 0
    assert reports.errors == []
    assert reports.stored == list(enumerate(sent))
    assert read_all(direct, topic) == list(enumerate(sent))


def test_a_lost_reply_doubles_a_record_only_where_idempotence_has_to_be_asked_for(lab: Lab) -> None:
    server = lab.own_server(proxied=True)
    assert server.proxy is not None
    assert server.proxied_url is not None
    direct = lab.clients_of(server.url)
    topic = direct.create("orders")
    producer = lab.clients_of(server.proxied_url).producer(**HASTY)
    reports = Reports(producer, topic)
    reports.produce(b"first")
    assert producer.flush(PATIENCE_S) == 0

    server.proxy.drop_replies(1)
    reports.produce(b"second")
    assert producer.flush(PATIENCE_S) == 0

    assert server.proxy.counts["replies dropped"] == 1
    assert reports.errors == []
    stored = [value for _, value in read_all(direct, topic)]
    assert stored == [b"first", b"second"] + ([] if lab.features.always_idempotent else [b"second"])


@through_faults
def test_a_consumer_gets_each_record_once_and_in_order_through(
    lab: Lab, faults: Faults, counted: str
) -> None:
    server = lab.own_server(proxied=True)
    assert server.proxy is not None
    assert server.proxied_url is not None
    direct = lab.clients_of(server.url)
    topic = direct.create("orders")
    assignments: list[list[TopicPartition]] = []
    clients = lab.clients_of(server.proxied_url)
    consumer = clients.consumer("group", fetch_error_backoff_ms=10, enable_auto_commit=False, **HASTY)
    consumer.subscribe([topic], on_assign=lambda _, partitions: assignments.append(partitions))
    direct.produce(topic, "first")
    got = clients.take(consumer, 1)

    server.proxy.set_faults(faults)
    number = 0
    while number < 30 or server.proxy.counts[counted] < 5:
        direct.produce(topic, str(number))
        got += clients.take(consumer, 1)
        number += 1
        if number % 10 == 0:
            commit_through_faults(consumer, got[-1])
    commit_through_faults(consumer, got[-1])
    server.proxy.heal()
    direct.produce(topic, "last")
    got += clients.take(consumer, 1)

    assert values(got) == [b"first", *numbered(0, number), b"last"]
    assert len(assignments) == 1
    [committed] = direct.consumer("group").committed([TopicPartition(topic, 0)], PATIENCE_S)
    assert committed.offset == 1 + number


# -- the server ends, and is started again


def test_producer_and_consumer_go_on_through_two_restarts_of_the_server(lab: Lab) -> None:
    server = lab.own_server()
    clients = lab.clients_of(server.url)
    topic = clients.create("orders")
    producer = clients.producer(enable_idempotence=True, batch_num_messages=1, **HASTY)
    reports = Reports(producer, topic)
    assignments: list[list[TopicPartition]] = []
    consumer = clients.consumer("group", enable_auto_commit=False, **HASTY)
    consumer.subscribe([topic], on_assign=lambda _, partitions: assignments.append(partitions))
    got: list[Message] = []

    for first in (0, 200):
        reports.produce(*numbered(first, first + 100))
        reports.await_count(first + 1)  # the others are on their way
        server.kill()
        reports.produce(*numbered(first + 100, first + 200))
        server.start()
        reports.await_count(first + 200)
        got += clients.take(consumer, 200)
        assert commit(consumer) == [first + 200]

    sent = numbered(0, 400)
    assert reports.errors == []
    assert reports.stored == list(enumerate(sent))
    assert values(got) == sent
    assert [message.offset() for message in got] == list(range(400))
    assert len(assignments) == 1  # its session outlived the server


def test_topics_and_committed_offsets_survive_a_restart(lab: Lab) -> None:
    server = lab.own_server()
    clients = lab.clients_of(server.url)
    topic = clients.create("orders", 3, retention_ms="86400000")
    clients.produce(topic, *numbered(0, 10))
    consumer = clients.consumer("group", enable_auto_commit=False)
    consumer.subscribe([topic])
    clients.take(consumer, 4)
    consumer.commit(
        offsets=[TopicPartition(topic, 0, 4), TopicPartition(topic, 1, 0, "none yet")], asynchronous=False
    )
    consumer.close()

    server.kill()
    server.start()

    later = lab.clients_of(server.url)
    assert sorted(later.admin.list_topics(timeout=PATIENCE_S).topics[topic].partitions) == [0, 1, 2]
    consumer = later.consumer("group", enable_auto_commit=False)
    asked = [TopicPartition(topic, partition) for partition in range(3)]
    committed = [(tp.offset, tp.metadata) for tp in consumer.committed(asked, PATIENCE_S)]
    assert committed == [(4, None), (0, "none yet"), (-1001, None)]
    consumer.subscribe([topic])
    assert values(later.take(consumer, 6)) == numbered(4, 10)


def test_a_consumer_opened_again_midway_loses_and_repeats_nothing(lab: Lab) -> None:
    topic, group = lab.topic(), lab.group()
    lab.produce(topic, *numbered(0, 100))
    got: list[Message] = []
    for count in (17, 40, 43):
        consumer = lab.consumer(group, enable_auto_commit=False)
        consumer.subscribe([topic])

        got += lab.take(consumer, count)

        assert commit(consumer) == [len(got)]
        consumer.close()
    assert values(got) == numbered(0, 100)


# -- the server is down


def test_what_is_produced_while_the_server_is_down_for_longer_than_its_timeout_is_reported_and_not_stored(
    lab: Lab,
) -> None:
    lab.need("stays_down")
    server = lab.own_server()
    clients = lab.clients_of(server.url)
    topic = clients.create("orders")
    producer = clients.producer(enable_idempotence=True, message_timeout_ms=5000, **HASTY)
    reports = Reports(producer, topic)
    reports.produce(b"before")
    assert producer.flush(PATIENCE_S) == 0

    server.kill()
    reports.produce(*numbered(0, 5))
    reports.await_count(6)
    server.start()
    reports.produce(b"after")
    assert producer.flush(PATIENCE_S) == 0

    assert reports.errors == [KafkaError._MSG_TIMED_OUT] * 5
    assert reports.stored == [(0, b"before"), (1, b"after")]
    assert read_all(clients, topic) == [(0, b"before"), (1, b"after")]


def test_a_commit_while_the_server_is_down_fails_once_the_session_is_over(lab: Lab) -> None:
    lab.need("stays_down")
    lab.need("bounded_commits")  # librdkafka's ends in time in most runs, and in some never
    server = lab.own_server()
    clients = lab.clients_of(server.url)
    topic = clients.create("orders")
    clients.produce(topic, "value")
    consumer = clients.consumer("group", enable_auto_commit=False, **MEMBER, **HASTY)
    consumer.subscribe([topic])
    clients.take(consumer, 1)

    server.kill()
    with returning_within(PATIENCE_S), pytest.raises(KafkaException) as failure:
        consumer.commit(asynchronous=False)

    assert failure.value.args[0].code() == KafkaError._WAIT_COORD


def test_clients_close_while_the_server_is_down(lab: Lab) -> None:
    lab.need("stays_down")
    server = lab.own_server()
    clients = lab.clients_of(server.url)
    topic = clients.create("orders")
    clients.produce(topic, "value")
    consumer = clients.consumer("group", **MEMBER)
    consumer.subscribe([topic])
    clients.take(consumer, 1)  # its offset is still to be committed
    producer = clients.producer()

    server.kill()
    producer.produce(topic, "never delivered")
    with returning_within(PATIENCE_S):
        consumer.close()
        producer.purge()
        producer.close()
    clients.forget(producer)


# -- the server hangs


def test_a_server_that_hangs_for_less_than_the_timeouts_costs_only_time(lab: Lab) -> None:
    server = lab.own_server()
    clients = lab.clients_of(server.url)
    topic = clients.create("orders")
    producer = clients.producer(enable_idempotence=True, batch_num_messages=1)
    reports = Reports(producer, topic)
    assignments: list[list[TopicPartition]] = []
    consumer = clients.consumer("group")
    consumer.subscribe([topic], on_assign=lambda _, partitions: assignments.append(partitions))
    reports.produce(b"0")
    got = clients.take(consumer, 1)
    reports.await_count(1)

    server.pause()
    reports.produce(*numbered(1, 100))
    hung_until = time.monotonic() + OUTAGE_S
    while time.monotonic() < hung_until:
        producer.poll(0.05)
        got += consumer.consume(100, 0.05)
        assert (len(reports.all), len(got)) == (1, 1)
    server.resume()
    assert producer.flush(PATIENCE_S) == 0
    got += clients.take(consumer, 99)

    assert reports.errors == []
    assert reports.stored == list(enumerate(numbered(0, 100)))
    assert values(got) == numbered(0, 100)
    assert len(assignments) == 1


def test_a_record_sent_to_a_server_that_hangs_too_long_is_reported_once_and_stored_once_or_not_at_all(
    lab: Lab,
) -> None:
    server = lab.own_server()
    clients = lab.clients_of(server.url)
    topic = clients.create("orders")
    timeout_ms = int(OUTAGE_S * 1000)
    producer = clients.producer(enable_idempotence=True, message_timeout_ms=timeout_ms, **HASTY)
    reports = Reports(producer, topic)
    reports.produce(b"before")
    assert producer.flush(PATIENCE_S) == 0

    server.pause()
    reports.produce(*numbered(0, 20))
    reports.await_count(21)
    server.resume()
    assert reports.errors == [KafkaError._MSG_TIMED_OUT] * 20
    producer.poll(0)
    clients.produce(
        topic, "by another producer"
    )  # it serves again: the timeout must not strike the next one, too
    reports.produce(b"after")
    assert producer.flush(PATIENCE_S) == 0

    assert reports.errors == [KafkaError._MSG_TIMED_OUT] * 20  # none is reported a second time
    assert [value for _, value in reports.stored] == [b"before", b"after"]
    stored = read_all(clients, topic)
    assert [reports.stored[0], reports.stored[1]] == [stored[0], stored[-1]]
    late = [value for _, value in stored[1:-1] if value != b"by another producer"]
    assert late == numbered(0, 20)[: len(late)]  # what was on its way when the server hung
