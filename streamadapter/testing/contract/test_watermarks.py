"""What a consumer can ask about a log: watermarks, offsets by time, lag. And from a closed one, or many threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import KafkaError, TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, code_of
from streamadapter.testing.contract.offsets import END, NONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamadapter import Consumer
    from streamadapter.testing.contract.lab import Lab


# -- watermarks


def test_watermarks_are_the_first_offset_and_the_one_after_the_last(lab: Lab) -> None:
    topic = lab.topic(2)
    consumer, tp = lab.consumer(lab.group()), TopicPartition(topic, 0)

    def watermarks() -> tuple[int, int]:
        return consumer.get_watermark_offsets(tp, PATIENCE_S)

    assert watermarks() == (0, 0)
    lab.produce(topic, *"abcde")
    assert watermarks() == (0, 5)
    lab.trim(topic, 0, 2)
    assert watermarks() == (2, 5)
    lab.trim(topic, 0, -1)
    assert watermarks() == (5, 5)
    lab.produce(topic, "f")
    assert watermarks() == (5, 6)
    assert consumer.get_watermark_offsets(TopicPartition(topic, 1), timeout=PATIENCE_S) == (0, 0)
    assert consumer.get_watermark_offsets(tp) == (5, 6)


def test_watermarks_of_what_does_not_exist(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())

    for unknown in (
        TopicPartition(topic, 1),
        TopicPartition(topic, -1),
        TopicPartition(f"{topic}-not", 0),
    ):

        def ask(tp: TopicPartition = unknown) -> Any:
            return consumer.get_watermark_offsets(tp, PATIENCE_S)

        assert code_of(ask) == KafkaError._UNKNOWN_PARTITION
        assert consumer.get_watermark_offsets(unknown, cached=True) == (NONE, NONE)


def test_cached_watermarks_are_those_that_were_last_fetched(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    tp = TopicPartition(topic, 0)
    lab.produce(topic, *"abc")

    def cached() -> tuple[int, int]:
        return consumer.get_watermark_offsets(tp, cached=True)

    assert cached() == (NONE, NONE)
    assert consumer.get_watermark_offsets(tp, PATIENCE_S) == (0, 3)
    assert cached() == (NONE, NONE)  # a question fills no cache

    consumer.assign([tp])
    lab.take(consumer, 3)
    assert cached() == (0, 3)
    lab.produce(topic, "d")
    lab.take(consumer, 1)
    assert cached() == (0, 4)
    consumer.unassign()
    assert cached() == (0, 4)


# -- offsets by time


def by_time(consumer: Consumer, topic: str, *timestamps: int) -> list[int]:
    """Answers of one partition, each asked for alone."""
    asked = [[TopicPartition(topic, 0, timestamp)] for timestamp in timestamps]
    return [consumer.offsets_for_times(one, PATIENCE_S)[0].offset for one in asked]


def test_a_time_finds_the_first_record_that_is_as_late(lab: Lab) -> None:
    """Whatever the order of the timestamps: the first offset with a timestamp >= the one asked for."""
    stamps = [100, 300, 200, 500, 400, 400, 600, 50]
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    assert by_time(consumer, topic, 0, 1) == [END, END]
    for stamp in stamps:
        lab.produce(topic, "x", timestamp=stamp)

    for asked in (0, 1, 50, 100, 101, 200, 300, 301, 400, 450, 500, 501, 600, 601):
        expected = next((i for i, stamp in enumerate(stamps) if stamp >= asked), END)
        assert (asked, by_time(consumer, topic, asked)) == (asked, [expected])


def test_a_time_finds_the_first_of_equal_timestamps_within_a_batch(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    lab.produce(topic, *"abc", timestamp=1000)
    lab.produce(topic, *"def", timestamp=2000)

    assert by_time(consumer, topic, 999, 1000, 1001, 2000, 2001) == [0, 0, 3, 3, END]


def test_a_time_finds_only_what_was_not_deleted(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    for stamp in (100, 300, 200, 500, 400, 400, 600, 50):
        lab.produce(topic, "x", timestamp=stamp)
    lab.trim(topic, 0, 4)
    assert by_time(consumer, topic, 50, 100, 500, 600, 601) == [4, 4, 6, 6, END]

    lab.trim(topic, 0, -1)
    assert by_time(consumer, topic, 0, 50, 601) == [END, END, END]


def test_a_time_finds_append_times(lab: Lab) -> None:
    topic, consumer = lab.topic(message_timestamp_type="LogAppendTime"), lab.consumer(lab.group())
    consumer.assign([TopicPartition(topic, 0)])
    lab.produce(topic, "a", timestamp=5)
    [first] = lab.take(consumer, 1)
    at = first.timestamp()[1]
    while True:  # until a record of a later millisecond
        lab.produce(topic, "b", timestamp=7)
        [second] = lab.take(consumer, 1)
        if second.timestamp()[1] > at:
            break

    later, offset = second.timestamp()[1], second.offset()
    assert by_time(consumer, topic, 1, at, at + 1, later, later + 1) == [0, 0, offset, offset, END]


def test_three_negative_times_ask_for_the_end_the_start_and_the_newest(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    for stamp in (100, 300, 900, 500):
        lab.produce(topic, "x", timestamp=stamp)
    lab.trim(topic, 0, 1)

    assert by_time(consumer, topic, -1, -2, -3) == [4, 1, 2]
    assert code_of(lambda: by_time(consumer, topic, -1000)) == KafkaError.UNSUPPORTED_VERSION


def test_times_of_several_partitions_are_answered_in_the_order_asked(lab: Lab) -> None:
    topic, other, consumer = lab.topic(2), lab.topic(), lab.consumer(lab.group())
    for partition in range(2):
        lab.produce(topic, "a", partition=partition, timestamp=100)
        lab.produce(topic, "b", partition=partition, timestamp=200)
    lab.produce(other, "c", timestamp=300)

    answer = consumer.offsets_for_times(
        [TopicPartition(topic, 1, 150), TopicPartition(other, 0, 1), TopicPartition(topic, 0, 201)],
        PATIENCE_S,
    )

    assert [(tp.topic, tp.partition, tp.offset, tp.error) for tp in answer] == [
        (topic, 1, 1, None),
        (other, 0, 0, None),
        (topic, 0, END, None),
    ]


def test_times_of_what_does_not_exist(lab: Lab) -> None:
    topic, consumer = lab.topic(), lab.consumer(lab.group())
    lab.produce(topic, "x", timestamp=100)
    for unknown in (TopicPartition(topic, 5, 1), TopicPartition(f"{topic}-not", 0, 1)):

        def alone(tp: TopicPartition = unknown) -> Any:
            return consumer.offsets_for_times([tp], PATIENCE_S)

        assert code_of(alone) == KafkaError._UNKNOWN_PARTITION

    both = [TopicPartition(topic, 0, 50), TopicPartition(topic, 5, 1)]
    if lab.features.offset_errors:
        known, unknown = consumer.offsets_for_times(both, PATIENCE_S)
        assert (known.offset, known.error) == (0, None)
        assert unknown.error is not None
        assert unknown.error.code() == KafkaError._UNKNOWN_PARTITION
    else:
        assert code_of(lambda: consumer.offsets_for_times(both, PATIENCE_S)) == KafkaError._UNKNOWN_PARTITION
    assert code_of(lambda: consumer.offsets_for_times([], PATIENCE_S)) == KafkaError._INVALID_ARG


def test_arguments_of_questions_are_checked(lab: Lab) -> None:
    consumer: Any = lab.consumer(lab.group())
    tp = TopicPartition(lab.topic(), 0, 1)

    calls: list[Callable[[], Any]] = [
        consumer.get_watermark_offsets,
        lambda: consumer.get_watermark_offsets(3),
        lambda: consumer.get_watermark_offsets(tp, "soon"),
        lambda: consumer.offsets_for_times(3),
        lambda: consumer.offsets_for_times([3]),
        lambda: consumer.offsets_for_times([tp], "soon"),
        lambda: consumer.committed([tp], "soon"),
        lambda: consumer.list_topics(3),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()


def test_a_question_without_time_times_out(lab: Lab) -> None:
    consumer, tp = lab.consumer(lab.group()), TopicPartition(lab.topic(), 0, 1)
    assert consumer.get_watermark_offsets(tp, PATIENCE_S) == (0, 0)  # connected

    assert code_of(lambda: consumer.get_watermark_offsets(tp, 0)) == KafkaError._TIMED_OUT
    assert code_of(lambda: consumer.committed([tp], 0)) == KafkaError._TIMED_OUT
    assert code_of(lambda: consumer.offsets_for_times([tp], 0)) == KafkaError._TIMED_OUT


# -- lag, which confluent_kafka does not have


def test_lag_counts_what_was_not_handed_over(lab: Lab) -> None:
    topic = lab.topic(2)
    lab.produce(topic, *map(str, range(10)))
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    assert consumer.lag() == {}

    consumer.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    lab.until(lambda: consumer.lag() == {(topic, 0): 10, (topic, 1): 0})
    lab.take(consumer, 4)
    assert consumer.lag() == {(topic, 0): 6, (topic, 1): 0}
    lab.take(consumer, 6)
    lab.produce(topic, "new", partition=1)
    lab.until(lambda: consumer.lag() == {(topic, 0): 0, (topic, 1): 1})
    lab.take(consumer, 1)
    assert consumer.lag() == {(topic, 0): 0, (topic, 1): 0}

    consumer.unassign()
    assert consumer.lag() == {}


def test_lag_counts_from_where_reading_begins(lab: Lab) -> None:
    topic, group = lab.topic(), lab.group()
    lab.produce(topic, *map(str, range(10)))
    consumer = lab.consumer(group, enable_auto_commit=False)
    consumer.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)

    for start, lag in ((NONE, 6), (3, 7), (-2, 10)):
        consumer.assign([TopicPartition(topic, 0, start)])
        lab.until(lambda lag=lag: consumer.lag() == {(topic, 0): lag})  # type: ignore[misc]  # a default that binds the loop's variable
    lab.take(consumer, 1)
    consumer.seek(TopicPartition(topic, 0, 8))
    lab.until(lambda: consumer.lag() == {(topic, 0): 2})
    consumer.pause([TopicPartition(topic, 0)])
    assert consumer.lag() == {(topic, 0): 2}

    consumer.assign([TopicPartition(topic, 0, 3)])
    consumer.resume([TopicPartition(topic, 0)])
    lab.until(lambda: consumer.lag() == {(topic, 0): 7})


def test_lag_of_a_subscriber_counts_from_what_its_group_has_committed(lab: Lab) -> None:
    topic, group = lab.topic(), lab.group()
    lab.produce(topic, *map(str, range(10)))
    consumer = lab.consumer(group)
    consumer.subscribe([topic])
    lab.take(consumer, 4)
    consumer.seek(TopicPartition(topic, 0, 9))
    consumer.unsubscribe()  # commits the 4 that were handed over
    lab.until(lambda: not consumer.assignment(), consumer)
    consumer.subscribe([topic])
    consumer.pause([TopicPartition(topic, 0)])

    lab.until(lambda: consumer.lag() == {(topic, 0): 6}, consumer)


# -- isolation


@pytest.mark.parametrize("level", ["read_committed", "read_uncommitted"])
def test_isolation_levels_are_accepted(lab: Lab, level: str) -> None:
    topic = lab.topic()
    lab.produce(topic, "a")
    consumer = lab.consumer(lab.group(), isolation_level=level)
    consumer.assign([TopicPartition(topic, 0)])

    assert [message.value() for message in lab.take(consumer, 1)] == [b"a"]


def test_there_is_no_other_isolation_level(lab: Lab) -> None:
    assert (
        code_of(lambda: lab.consumer(lab.group(), isolation_level="serializable")) == KafkaError._INVALID_ARG
    )


# -- a closed consumer, and many threads


def test_a_closed_consumer_answers_nothing(lab: Lab) -> None:
    consumer, tp = lab.consumer(lab.group()), TopicPartition(lab.topic(), 0, 1)
    consumer.close()
    calls: list[Callable[[], Any]] = [
        lambda: consumer.poll(0),
        lambda: consumer.consume(1, 0),
        lambda: consumer.subscribe([tp.topic]),
        consumer.unsubscribe,
        lambda: consumer.assign([tp]),
        consumer.unassign,
        lambda: consumer.incremental_assign([tp]),
        lambda: consumer.incremental_unassign([tp]),
        consumer.assignment,
        lambda: consumer.pause([tp]),
        lambda: consumer.resume([tp]),
        lambda: consumer.seek(tp),
        consumer.commit,
        lambda: consumer.commit(asynchronous=False),
        lambda: consumer.store_offsets(offsets=[tp]),
        lambda: consumer.committed([tp], 1),
        lambda: consumer.position([tp]),
        lambda: consumer.get_watermark_offsets(tp, 1),
        lambda: consumer.get_watermark_offsets(tp, cached=True),
        lambda: consumer.offsets_for_times([tp], 1),
        consumer.lag,
        consumer.memberid,
        consumer.consumer_group_metadata,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="Consumer closed"):
            call()
    for shared in (
        lambda: consumer.list_topics(timeout=1),
        lambda: consumer.cluster_id(1),
        lambda: consumer.set_sasl_credentials("user", "password"),
    ):
        with pytest.raises(RuntimeError, match="Handle has been closed"):
            shared()
    consumer.close()


def test_threads_may_share_a_consumer(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, *map(str, range(300)))
    consumer, tp = lab.consumer(lab.group(), enable_auto_commit=False), TopicPartition(topic, 0)
    consumer.assign([tp])
    got: list[int | None] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        while len(got) < 300:
            message = consumer.poll(PATIENCE_S)
            assert message is not None
            got.append(message.offset())

    def ask() -> None:
        while not stop.is_set():
            [at] = consumer.position([tp])
            assert at.offset == NONE or 0 < at.offset <= 300
            assert consumer.get_watermark_offsets(tp, PATIENCE_S) == (0, 300)
            consumer.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
            assert [found.offset for found in consumer.committed([tp], PATIENCE_S)] == [7]

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the scenario's thread shows it
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (read, ask, ask)]
    for thread in threads:
        thread.start()
    threads[0].join(PATIENCE_S * 2)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert failures == []
    assert got == [*range(300)]
