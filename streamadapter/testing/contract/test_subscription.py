"""What a consumer subscribes to: names and patterns, and topics that come, grow and go."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import KafkaError, KafkaException, TopicPartition
from streamadapter.testing.contract.lab import assigned, values
from streamadapter.testing.contract.rebalances import (
    KIP_848,
    RANGE,
    Diary,
    by_partition,
    classic,
    every,
    every_protocol,
    fill,
    numbered,
    share,
)

if TYPE_CHECKING:
    from streamadapter import Consumer, Message
    from streamadapter.testing.contract.lab import Lab

WATCHFUL = {"topic_metadata_refresh_interval_ms": 300}
"""Changes of topics are noticed soon. (librdkafka notices some changes of its own subscription no sooner.)"""


def _name() -> str:
    return f"n-{uuid.uuid4().hex[:12]}"


def _missing(message: Message) -> tuple[int, str | None, int | None, int | None]:
    """An event's code and place."""
    error = message.error()
    assert error is not None
    return error.code(), message.topic(), message.partition(), message.offset()


def _events(messages: list[Message]) -> list[tuple[int, str | None, int | None, int | None]]:
    return [_missing(message) for message in messages if message.error()]


def _told(lab: Lab, consumer: Consumer, *names: str) -> set[tuple[int, str | None, int | None, int | None]]:
    """The events up to where all these names were in one. Of a pattern's topics librdkafka may repeat them."""
    told: set[tuple[int, str | None, int | None, int | None]] = set()

    def all_told() -> bool:
        told.update(_events(consumer.consume(1, 0.05)))
        return {name for _, name, _, _ in told} >= set(names)

    lab.until(all_told)
    return told


# -- subscribe and unsubscribe


@every_protocol
def test_all_topics_of_a_subscription_are_read(lab: Lab, protocol: dict[str, Any]) -> None:
    one, two = lab.topic(2), lab.topic(1)
    fill(lab, one, range(2), range(3))
    lab.produce(two, "x")
    consumer = lab.consumer(lab.group(), **protocol)

    consumer.subscribe([one, two])

    got = lab.take(consumer, 7)
    assert assigned(consumer) == {*every(one, 2), (two, 0)}
    assert by_partition(m for m in got if m.topic() == one) == numbered(range(2), range(3))
    assert values(m for m in got if m.topic() == two) == [b"x"]


@every_protocol
def test_subscribe_replaces_the_subscription(lab: Lab, protocol: dict[str, Any]) -> None:
    one, two = lab.topic(), lab.topic()
    lab.produce(one, "1")
    lab.produce(two, "2")
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)
    consumer.subscribe([one])
    assert values(lab.take(consumer, 1)) == [b"1"]

    consumer.subscribe([two])

    assert assigned(consumer) == {(one, 0)}  # it takes effect through poll
    assert values(lab.take(consumer, 1)) == [b"2"]
    assert assigned(consumer) == {(two, 0)}
    lab.produce(one, "never")
    lab.silence(consumer)


@every_protocol
def test_a_wider_and_a_narrower_subscription_are_told_to_its_own_callbacks(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    one, two = sorted([lab.topic(), lab.topic()])
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)
    first, wider, narrower = Diary(), Diary(), Diary()
    consumer.subscribe([one], **first.callbacks())
    lab.until(consumer.assignment, consumer)

    consumer.subscribe([one, two], **wider.callbacks())
    lab.until(lambda: len(consumer.assignment()) == 2, consumer)
    consumer.subscribe([two], **narrower.callbacks())
    lab.until(lambda: assigned(consumer) == {(two, 0)}, consumer)

    both = [(one, 0), (two, 0)]
    assert first.entries == [("assign", [(one, 0)])]
    if protocol is RANGE:
        assert wider.entries == [("revoke", [(one, 0)]), ("assign", both)]
        assert narrower.entries == [("revoke", both), ("assign", [(two, 0)])]
    else:
        assert wider.moves == [("assign", [(two, 0)])]
        assert narrower.moves == [("revoke", [(one, 0)])]


@every_protocol
def test_after_unsubscribe_nothing_comes_and_a_new_subscription_goes_on_from_the_commit(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic = lab.topic()
    lab.produce(topic, *"abc")
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)
    consumer.subscribe([topic])
    assert values(lab.take(consumer, 1)) == [b"a"]

    consumer.unsubscribe()

    lab.silence(consumer)
    assert consumer.assignment() == []
    consumer.subscribe([topic])
    assert values(lab.take(consumer, 2)) == [b"b", b"c"]  # unsubscribe had committed


def test_an_empty_subscription_is_invalid(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, "x")
    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])

    with pytest.raises(KafkaException) as caught:
        consumer.subscribe([])

    assert caught.value.args[0].code() == KafkaError._INVALID_ARG
    assert values(lab.take(consumer, 1)) == [b"x"]  # the former subscription holds


def test_unsubscribe_without_a_subscription_does_nothing(lab: Lab) -> None:
    consumer = lab.consumer(lab.group())

    consumer.unsubscribe()

    lab.silence(consumer)
    assert consumer.memberid() is None


# -- topics that come, grow and go


@classic
def test_a_topic_that_does_not_exist_is_an_event_and_is_read_once_it_does(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic = _name()
    diary = Diary()
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)
    consumer.subscribe([topic], **diary.callbacks())

    assert _missing(lab.event(consumer)) == (KafkaError.UNKNOWN_TOPIC_OR_PART, topic, 0, None)
    lab.topic()
    lab.silence(consumer, 1)  # told once, however often it looks, and whatever has changed

    lab.create(topic, 2)
    lab.produce(topic, *"ab", partition=1)
    assert values(lab.take(consumer, 2)) == [b"a", b"b"]
    assert diary.entries == [("assign", every(topic, 2))]  # it was no member of the group before


def test_a_missing_topic_is_no_event_with_the_consumer_protocol(lab: Lab) -> None:
    topic, there = _name(), lab.topic()
    lab.produce(there, "x")
    consumer = lab.consumer(lab.group(), **WATCHFUL, **KIP_848)
    consumer.subscribe([topic, there])

    assert values(lab.take(consumer, 1)) == [b"x"]

    lab.silence(consumer)
    lab.create(topic)
    lab.produce(topic, "y")
    assert values(lab.take(consumer, 1)) == [b"y"]


@classic
def test_a_missing_topic_does_not_hold_the_others_up(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, there = _name(), lab.topic()
    lab.produce(there, "x")
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)
    consumer.subscribe([topic, there])

    got = lab.until(lambda: assigned(consumer) == {(there, 0)}, consumer)
    while len(got) < 2:
        got += consumer.consume(2, 0.05)

    assert _events(got) == [(KafkaError.UNKNOWN_TOPIC_OR_PART, topic, 0, None)]
    assert values(m for m in got if not m.error()) == [b"x"]


@classic
def test_a_deleted_topic_is_an_event_and_what_is_created_in_its_place_is_read(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    topic = lab.topic(2)
    fill(lab, topic, range(2), range(1))
    diary = Diary()
    consumer = lab.consumer(lab.group(), enable_auto_commit=False, **WATCHFUL, **protocol)
    consumer.subscribe([topic], **diary.callbacks())
    assert by_partition(lab.take(consumer, 2)) == numbered(range(2), range(1))

    lab.delete(topic)
    told = _told(lab, consumer, topic)
    lab.until(lambda: not consumer.assignment(), consumer)

    assert told == {(KafkaError.UNKNOWN_TOPIC_OR_PART, topic, 0, None)}
    lab.create(topic)
    lab.produce(topic, "new")
    assert values(lab.take(consumer, 1)) == [b"new"]
    kinds, partitions = zip(*diary.entries, strict=True)
    assert partitions == (every(topic, 2), every(topic, 2), [(topic, 0)])
    # With cooperative-sticky librdkafka 2.16 says "lost" of what it gives up because no topic is left.
    assert kinds == ("assign", "revoke" if protocol is RANGE else kinds[1], "assign")


@every_protocol
def test_new_partitions_are_noticed_and_read_from_their_beginning(lab: Lab, protocol: dict[str, Any]) -> None:
    topic = lab.topic(1)
    # By another producer than what comes later: one does not see at once that a topic has grown.
    lab.clients_of(lab.url).produce(topic, *"ab")
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)
    consumer.subscribe([topic])
    assert values(lab.take(consumer, 2)) == [b"a", b"b"]

    lab.grow(topic, 3)
    fill(lab, topic, (1, 2), range(3))

    assert by_partition(lab.take(consumer, 6)) == numbered((1, 2), range(3))
    assert assigned(consumer) == set(every(topic, 3))
    lab.produce(topic, "c")
    assert values(lab.take(consumer, 1)) == [b"c"]


def test_what_stood_in_a_new_partition_before_it_was_noticed_is_subject_to_the_reset_policy(lab: Lab) -> None:
    topic = lab.topic(1)
    consumer = lab.consumer(lab.group(), auto_offset_reset="latest", partition_assignment_strategy="range")
    consumer.subscribe([topic])
    lab.until(consumer.assignment, consumer)
    lab.grow(topic, 2)
    lab.produce(topic, "before", partition=1)  # it looks at topics every few seconds

    consumer.subscribe([topic])  # it looks now
    got = lab.until(lambda: assigned(consumer) == set(every(topic, 2)), consumer)
    after = 0
    while not got:
        after += 1
        lab.produce(topic, f"after-{after}", partition=1)
        got = consumer.consume(1, 0.1)

    [message] = got
    assert message.offset() != 0
    assert message.value() == b"after-%d" % (message.offset() or 0)


# -- patterns


@every_protocol
def test_a_pattern_matches_the_topics_that_exist(lab: Lab, protocol: dict[str, Any]) -> None:
    name = _name()
    one, two, other = (
        lab.create(f"{name}-1"),
        lab.create(f"{name}-2", 2),
        lab.create(f"other-{name}-1"),
    )
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)

    consumer.subscribe([f"^{name}.*"])

    lab.until(lambda: assigned(consumer) == {(one, 0), *every(two, 2)}, consumer)
    lab.produce(other, "never")
    lab.produce(two, *"ab", partition=1)
    assert values(lab.take(consumer, 2)) == [b"a", b"b"]


@classic
def test_a_pattern_and_a_name_are_subscribed_to_together(lab: Lab, protocol: dict[str, Any]) -> None:
    name, other = _name(), lab.topic()
    one = lab.create(f"{name}-1")
    consumer = lab.consumer(lab.group(), **protocol)

    consumer.subscribe([f"^{name}.*", other, one])

    lab.until(lambda: assigned(consumer) == {(one, 0), (other, 0)}, consumer)


@classic
def test_new_topics_of_a_pattern_are_noticed_and_deleted_ones_vanish(
    lab: Lab, protocol: dict[str, Any]
) -> None:
    name = _name()
    one = lab.create(f"{name}-1")
    lab.produce(one, "1")
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)
    consumer.subscribe([f"^{name}.*"])
    assert values(lab.take(consumer, 1)) == [b"1"]

    two = lab.create(f"{name}-2")
    lab.produce(two, "2")
    assert values(lab.take(consumer, 1)) == [b"2"]
    assert assigned(consumer) == {(one, 0), (two, 0)}

    lab.delete(one)
    told = _told(lab, consumer, one)
    lab.until(lambda: assigned(consumer) == {(two, 0)}, consumer)
    assert told == {(KafkaError.UNKNOWN_TOPIC_OR_PART, one, 0, None)}
    lab.produce(two, "3")
    got = lab.until(lambda: consumer.position([TopicPartition(two, 0)])[0].offset == 2, consumer)
    assert values(m for m in got if not m.error()) == [b"3"]


@classic
def test_a_pattern_without_a_match_is_an_event(lab: Lab, protocol: dict[str, Any]) -> None:
    name = _name()
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)
    consumer.subscribe([f"^{name}.*"])

    assert _missing(lab.event(consumer)) == (KafkaError.UNKNOWN_TOPIC_OR_PART, f"^{name}.*", 0, None)
    lab.silence(consumer, 1)

    topic = lab.create(f"{name}-1")
    lab.produce(topic, "x")
    assert values(lab.take(consumer, 1)) == [b"x"]


@classic
def test_when_the_last_topic_of_a_pattern_goes_both_are_events(lab: Lab, protocol: dict[str, Any]) -> None:
    name = _name()
    topic = lab.create(f"{name}-1")
    lab.produce(topic, "x")
    consumer = lab.consumer(lab.group(), **WATCHFUL, **protocol)
    consumer.subscribe([f"^{name}.*"])
    assert values(lab.take(consumer, 1)) == [b"x"]

    lab.delete(topic)

    assert _told(lab, consumer, topic, f"^{name}.*") == {
        (KafkaError.UNKNOWN_TOPIC_OR_PART, topic, 0, None),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, f"^{name}.*", 0, None),
    }
    lab.until(lambda: not consumer.assignment(), consumer)


def test_members_with_different_patterns_get_their_own(lab: Lab) -> None:
    name, group = _name(), lab.group()
    one, two = lab.create(f"{name}-a"), lab.create(f"{name}-b")
    a, b = lab.consumer(group, **RANGE), lab.consumer(group, **RANGE)
    a.subscribe([f"^{name}-a"])
    b.subscribe([f"^{name}-b"])

    lab.until(lambda: assigned(a) == {(one, 0)} and assigned(b) == {(two, 0)}, a, b)


@every_protocol
def test_new_partitions_are_shared_among_the_members(lab: Lab, protocol: dict[str, Any]) -> None:
    topic, group = lab.topic(2), lab.group()
    a, b = (lab.consumer(group, **WATCHFUL, **protocol) for _ in range(2))
    a.subscribe([topic])
    b.subscribe([topic])
    share(lab, topic, 2, a, b)

    lab.grow(topic, 4)

    share(lab, topic, 4, a, b)
