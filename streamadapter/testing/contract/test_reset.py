"""Positions that cannot be read: without a commit, beyond the end, deleted, of a topic that was made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import KafkaError, TopicPartition
from streamadapter.admin import OffsetSpec
from streamadapter.testing.contract.lab import PATIENCE_S, code_of, values
from streamadapter.testing.contract.offsets import NONE, committed, position, ten

if TYPE_CHECKING:
    from streamadapter import Consumer, Message
    from streamadapter.testing.contract.lab import Lab

EARLIEST = ("earliest", "smallest", "beginning")
LATEST = ("latest", "largest", "end")


class Reader:
    """A consumer of the first partition, that commits nothing by itself, and what error_cb was told."""

    def __init__(self, lab: Lab, topic: str, policy: str, **properties: Any) -> None:
        self.errors: list[KafkaError] = []
        self.topic = topic
        self.consumer = lab.consumer(
            lab.group(),
            enable_auto_commit=False,
            auto_offset_reset=policy,
            enable_partition_eof=True,
            error_cb=self.errors.append,
            **properties,
        )

    def assign(self, start: int = NONE) -> Reader:
        """Begin there."""
        self.consumer.assign([TopicPartition(self.topic, 0, start)])
        return self

    def committed(self, offset: int) -> Reader:
        """Begin at a committed offset."""
        self.consumer.commit(offsets=[TopicPartition(self.topic, 0, offset)], asynchronous=False)
        return self.assign()

    def next(self) -> Message:
        """The next message or event."""
        message = self.consumer.poll(PATIENCE_S)
        assert message is not None, "nothing came"
        return message


def read_to_end(reader: Reader) -> list[int | None]:
    """Offsets up to the end of the partition; its own is the last."""
    found = []
    while True:
        message = reader.next()
        found.append(message.offset())
        if (error := message.error()) is not None:
            assert error.code() == KafkaError._PARTITION_EOF
            return found


def reset_error(reader: Reader) -> tuple[str | None, int | None, int | None]:
    """(topic, partition, offset) of the next message, which must say that there is no reset."""
    event = reader.next()
    error = event.error()
    assert error is not None
    assert error.code() == KafkaError._AUTO_OFFSET_RESET
    assert not error.fatal()
    return event.topic(), event.partition(), event.offset()


def reported(lab: Lab, reader: Reader, resets: int) -> bool:
    """error_cb was told of exactly so many resets, if the backend tells of them."""
    expected = [KafkaError.OFFSET_OUT_OF_RANGE] * resets if lab.features.reset_reports else []
    return [error.code() for error in reader.errors] == expected


# -- without a commit


@pytest.mark.parametrize("policy", EARLIEST)
def test_without_a_commit_earliest_begins_at_the_first_record_left(lab: Lab, policy: str) -> None:
    topic = ten(lab)
    lab.trim(topic, 0, 3)

    reader = Reader(lab, topic, policy).assign()

    assert read_to_end(reader) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert reported(lab, reader, 0)


@pytest.mark.parametrize("policy", LATEST)
def test_without_a_commit_latest_begins_at_the_end(lab: Lab, policy: str) -> None:
    topic = ten(lab)

    reader = Reader(lab, topic, policy).assign()

    assert read_to_end(reader) == [10]
    lab.produce(topic, "new")
    assert read_to_end(reader) == [10, 11]
    assert reported(lab, reader, 0)


def test_without_a_commit_error_is_an_event_and_nothing_is_read(lab: Lab) -> None:
    topic = ten(lab)
    reader = Reader(lab, topic, "error").assign()

    assert reset_error(reader) == (topic, 0, None)
    lab.silence(reader.consumer)
    assert position(reader.consumer, topic) == NONE

    if lab.features.early_seek:
        reader.consumer.seek(TopicPartition(topic, 0, 7))
        assert read_to_end(reader) == [7, 8, 9, 10]
    else:
        assert code_of(lambda: reader.consumer.seek(TopicPartition(topic, 0, 7))) == KafkaError._STATE
    reader.assign(4)
    assert read_to_end(reader) == [4, 5, 6, 7, 8, 9, 10]


def test_a_subscriber_without_a_commit_is_told_of_each_partition(lab: Lab) -> None:
    topic = lab.topic(2)
    consumer = lab.consumer(lab.group(), auto_offset_reset="error")
    consumer.subscribe([topic])

    events = [lab.event(consumer) for _ in range(2)]

    assert sorted((e.partition(), e.error().code()) for e in events if e.error()) == [  # type: ignore[union-attr]  # checked in the same line
        (0, KafkaError._AUTO_OFFSET_RESET),
        (1, KafkaError._AUTO_OFFSET_RESET),
    ]


def test_there_is_no_other_policy(lab: Lab) -> None:
    assert code_of(lambda: lab.consumer(lab.group(), auto_offset_reset="none")) == KafkaError._INVALID_ARG


# -- out of range


@pytest.mark.parametrize("start", ["committed", "assigned"])
@pytest.mark.parametrize("policy", ["earliest", "latest", "error"])
def test_a_start_beyond_the_end_is_reset(lab: Lab, policy: str, start: str) -> None:
    topic = ten(lab)
    reader = Reader(lab, topic, policy)
    (reader.committed if start == "committed" else reader.assign)(50)

    if policy == "error":
        assert reset_error(reader) == (topic, 0, 50)
        lab.silence(reader.consumer)
        return
    assert read_to_end(reader) == ([*range(11)] if policy == "earliest" else [10])
    assert reported(lab, reader, 1)


@pytest.mark.parametrize("policy", ["earliest", "latest", "error"])
def test_a_start_at_the_end_is_in_range(lab: Lab, policy: str) -> None:
    topic = ten(lab)

    reader = Reader(lab, topic, policy).committed(10)

    assert read_to_end(reader) == [10]
    assert reported(lab, reader, 0)


@pytest.mark.parametrize("policy", ["earliest", "latest", "error"])
def test_a_commit_below_what_was_deleted_is_reset(lab: Lab, policy: str) -> None:
    topic = ten(lab)
    lab.trim(topic, 0, 6)

    reader = Reader(lab, topic, policy).committed(3)

    if policy == "error":
        assert reset_error(reader) == (topic, 0, 3)
        reader.assign(7)
        assert read_to_end(reader) == [7, 8, 9, 10]
        return
    assert read_to_end(reader) == ([6, 7, 8, 9, 10] if policy == "earliest" else [10])
    assert reported(lab, reader, 1)


def test_a_commit_at_the_first_record_left_is_in_range(lab: Lab) -> None:
    topic = ten(lab)
    lab.trim(topic, 0, 6)

    assert read_to_end(Reader(lab, topic, "error").committed(6)) == [6, 7, 8, 9, 10]


@pytest.mark.parametrize("policy", ["earliest", "latest", "error"])
def test_records_deleted_under_a_paused_reader_are_not_delivered(lab: Lab, policy: str) -> None:
    topic = ten(lab)
    reader = Reader(lab, topic, policy).assign(0)
    assert read_to_end(reader) == [*range(11)]
    reader.consumer.pause([TopicPartition(topic, 0)])
    lab.produce(topic, *map(str, range(10, 20)))
    lab.trim(topic, 0, 17)

    reader.consumer.resume([TopicPartition(topic, 0)])

    if policy == "error":
        assert reset_error(reader) == (topic, 0, 10)
        lab.silence(reader.consumer)
        return
    assert read_to_end(reader) == ([17, 18, 19, 20] if policy == "earliest" else [20])
    assert reported(lab, reader, 1)


def test_records_that_were_fetched_before_they_were_deleted_are_delivered(lab: Lab) -> None:
    topic = ten(lab)
    reader = Reader(lab, topic, "error").assign(0)
    assert reader.next().offset() == 0
    lab.until(lambda: high(reader.consumer, topic) == 10)

    lab.trim(topic, 0, 8)

    assert read_to_end(reader) == [*range(1, 11)]


def high(consumer: Consumer, topic: str) -> int:
    """The log end offset as last seen."""
    return consumer.get_watermark_offsets(TopicPartition(topic, 0), cached=True)[1]


def test_a_reader_at_the_end_of_an_emptied_log_reads_on(lab: Lab) -> None:
    topic = ten(lab)
    reader = Reader(lab, topic, "error").assign(0)
    assert read_to_end(reader) == [*range(11)]

    lab.trim(topic, 0, -1)
    lab.produce(topic, "new")

    assert read_to_end(reader) == [10, 11]


def test_the_offset_that_was_committed_is_the_one_that_is_left_after_a_reset(lab: Lab) -> None:
    """A reset is no commit: whoever comes next is told of it again."""
    topic = ten(lab)
    lab.trim(topic, 0, 6)
    reader = Reader(lab, topic, "earliest").committed(3)
    assert read_to_end(reader) == [6, 7, 8, 9, 10]

    assert committed(reader.consumer, topic) == [3]
    reader.consumer.commit(asynchronous=False)

    assert committed(reader.consumer, topic) == [10]


# -- a topic made anew


def make_anew(lab: Lab, topic: str) -> None:
    """Create what was deleted. A Kafka broker may append to the old log until it has put the new one in its place."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # it has no annotations

    def empty() -> bool:
        [future] = lab.admin.list_offsets({TopicPartition(topic, 0): latest}).values()
        return future.exception(PATIENCE_S) is None and future.result().offset == 0

    lab.create(topic)
    lab.until(empty)


def test_a_reader_of_a_topic_made_anew_begins_at_its_first_record(lab: Lab) -> None:
    topic = ten(lab)
    consumer = lab.consumer(lab.group(), enable_auto_commit=False, topic_metadata_refresh_interval_ms=500)
    consumer.assign([TopicPartition(topic, 0)])
    lab.take(consumer, 10)

    lab.delete(topic)
    if lab.features.missing_events:
        error = lab.event(consumer).error()
        assert error is not None
        assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    make_anew(lab, topic)
    lab.produce(topic, "n0", "n1", "n2")

    messages = lab.take(consumer, 3)
    assert values(messages) == [b"n0", b"n1", b"n2"]
    assert [message.offset() for message in messages] == [0, 1, 2]


def test_a_group_that_read_a_topic_before_it_was_made_anew_reads_all_of_the_new_one(lab: Lab) -> None:
    topic, group = ten(lab), lab.group()
    first = lab.consumer(group)
    first.subscribe([topic])
    lab.take(first, 10)
    first.close()

    lab.delete(topic)
    make_anew(lab, topic)
    lab.produce(topic, *(f"n{i}" for i in range(12)))  # more than it has committed of the old one
    second = lab.consumer(group)
    second.subscribe([topic])

    assert values(lab.take(second, 12)) == [f"n{i}".encode() for i in range(12)]
