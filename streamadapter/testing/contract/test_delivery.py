"""Every subscriber gets every record, in order, however many there are; and may have it again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from streamadapter import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, Reports, values

if TYPE_CHECKING:
    from streamadapter.testing.contract.lab import Lab

MANY_SUBSCRIBERS = 50
MANY_TOPICS = 20
MANY_PRODUCERS = 20


def _numbers(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(first, first + count)]


# -- many at once


def test_fifty_concurrent_subscribers_each_get_every_record_in_order(lab: Lab) -> None:
    topic = lab.topic()
    consumers = [lab.consumer(lab.group()) for _ in range(MANY_SUBSCRIBERS)]
    for consumer in consumers:
        consumer.subscribe([topic])

    with ThreadPoolExecutor(MANY_SUBSCRIBERS) as threads:
        taking = [threads.submit(lab.take, consumer, 101) for consumer in consumers]
        lab.produce(topic, *_numbers(100))
        lab.produce(topic, b"last")

    for taken in taking:
        assert values(taken.result()) == [*_numbers(100), b"last"]
        assert [message.offset() for message in taken.result()] == list(range(101))


def test_twenty_topics_are_published_and_consumed_concurrently(lab: Lab) -> None:
    topics = [lab.topic() for _ in range(MANY_TOPICS)]
    producer = lab.producer()
    consumer = lab.consumer(lab.group())
    consumer.subscribe(topics)

    def publish(topic: str) -> None:
        for i in range(100):
            producer.produce(topic, f"{topic} {i}")

    with ThreadPoolExecutor(MANY_TOPICS) as threads:
        published = [threads.submit(publish, topic) for topic in topics]
        messages = lab.take(consumer, 100 * MANY_TOPICS)

    assert [future.exception() for future in published] == [None] * MANY_TOPICS
    assert producer.flush(PATIENCE_S) == 0
    for topic in topics:
        mine = [message for message in messages if message.topic() == topic]
        assert values(mine) == [f"{topic} {i}".encode() for i in range(100)]
        assert [message.offset() for message in mine] == list(range(100))
    lab.silence(consumer)


def test_ten_thousand_records_from_twenty_producers_arrive_once_and_in_order(lab: Lab) -> None:
    topic = lab.topic(partitions=4)
    producers = [lab.producer(enable_idempotence=True, linger_ms=5) for _ in range(MANY_PRODUCERS)]
    reports = Reports()

    def publish(number: int) -> int:
        for i in range(500):
            producers[number].produce(topic, b"%d %d" % (number, i), partition=i % 4, on_delivery=reports)
        return producers[number].flush(PATIENCE_S)

    with ThreadPoolExecutor(MANY_PRODUCERS) as threads:
        unflushed = list(threads.map(publish, range(MANY_PRODUCERS)))

    assert unflushed == [0] * MANY_PRODUCERS
    logs = [lab.log(topic, partition) for partition in range(4)]
    for partition, log in enumerate(logs):
        assert len(log) == 125 * MANY_PRODUCERS
        for number in range(MANY_PRODUCERS):
            mine = [value for value in values(log) if (value or b"").startswith(b"%d " % number)]
            assert mine == [b"%d %d" % (number, i) for i in range(partition, 500, 4)]
    assert len(reports) == 500 * MANY_PRODUCERS
    for message in reports:
        assert message.error() is None
        assert logs[message.partition() or 0][message.offset() or 0].value() == message.value()


# -- groups


def test_groups_each_get_all_and_members_of_one_share(lab: Lab) -> None:
    topic = lab.topic(partitions=2)
    first, second = lab.group(), lab.group()
    pair = [lab.consumer(first), lab.consumer(first)]
    alone = lab.consumer(second)
    for consumer in (*pair, alone):
        consumer.subscribe([topic])
    lab.until(lambda: all(len(consumer.assignment()) == 1 for consumer in pair), *pair)

    for partition in range(2):
        lab.produce(topic, *_numbers(50), partition=partition)

    for consumer in pair:
        assert values(lab.take(consumer, 50)) == _numbers(50)
    everything = lab.take(alone, 100)
    for partition in range(2):
        assert values(m for m in everything if m.partition() == partition) == _numbers(50)
    for consumer in (*pair, alone):
        lab.silence(consumer)


def test_a_new_group_begins_at_the_end_by_default(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, *_numbers(3))

    with Consumer(
        {"bootstrap.servers": lab.url, "group.id": lab.group(), "enable.partition.eof": True}
    ) as consumer:
        consumer.subscribe([topic])
        end = lab.event(consumer)
        lab.produce(topic, b"new")
        [message] = lab.take(consumer, 1)

    error = end.error()
    assert error is not None
    assert (error.code(), end.offset()) == (KafkaError._PARTITION_EOF, 3)
    assert (message.offset(), message.value()) == (3, b"new")


def test_a_topic_younger_than_the_consumer_can_be_subscribed_to_at_once(lab: Lab) -> None:
    older = lab.topic()
    lab.produce(older, b"old")
    consumer = lab.consumer(lab.group())
    consumer.subscribe([older])
    assert values(lab.take(consumer, 1)) == [b"old"]

    younger = lab.topic()
    lab.produce(younger, b"young")
    consumer.subscribe([younger])

    assert values(lab.take(consumer, 1)) == [b"young"]


# -- again


def test_a_group_goes_on_where_its_last_member_committed(lab: Lab) -> None:
    topic, group = lab.topic(), lab.group()
    lab.produce(topic, *_numbers(5))
    consumer = lab.consumer(group, enable_auto_commit=False)
    consumer.subscribe([topic])
    read = lab.take(consumer, 4)
    consumer.commit(read[1], asynchronous=False)  # of what follows the processing has failed
    lab.forget(consumer)
    consumer.close()

    successor = lab.consumer(group, enable_auto_commit=False)
    successor.subscribe([topic])

    assert [(m.offset(), m.value()) for m in lab.take(successor, 3)] == [(2, b"2"), (3, b"3"), (4, b"4")]
    lab.silence(successor)


def test_a_record_whose_processing_failed_comes_again_after_a_seek(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, *_numbers(6))
    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])
    processed: list[bytes | None] = []
    failures = 0

    while len(processed) < 6:
        [message] = lab.take(consumer, 1)
        if message.value() == b"2" and failures < 3:
            failures += 1
            consumer.seek(TopicPartition(topic, 0, message.offset() or 0))
        else:
            processed.append(message.value())

    assert failures == 3
    assert processed == _numbers(6)
    lab.silence(consumer)


def test_a_log_is_replayed_by_a_new_group_by_a_seek_and_by_an_assignment(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, *_numbers(20))
    group = lab.group()
    reader = lab.consumer(group)
    reader.subscribe([topic])
    assert values(lab.take(reader, 20)) == _numbers(20)

    reader.seek(TopicPartition(topic, 0, OFFSET_BEGINNING))
    assert values(lab.take(reader, 20)) == _numbers(20)
    reader.seek(TopicPartition(topic, 0, 15))
    assert values(lab.take(reader, 5)) == _numbers(5, 15)
    lab.silence(reader)
    lab.forget(reader)
    reader.close()

    same_group = lab.consumer(group)
    same_group.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert values(lab.take(same_group, 20)) == _numbers(20)

    new_group = lab.consumer(lab.group())
    new_group.subscribe([topic])
    assert values(lab.take(new_group, 20)) == _numbers(20)
    lab.silence(new_group)


def test_reading_changes_nothing_for_later_readers(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, *_numbers(30))

    first = lab.log(topic)
    lab.produce(topic, b"more")
    second = lab.log(topic)

    assert second[:30] == first
    assert values(second) == [*_numbers(30), b"more"]
