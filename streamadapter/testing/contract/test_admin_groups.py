"""Consumer groups as the admin client lists, describes, resets and deletes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import (
    OFFSET_INVALID,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
)

from streamadapter import KafkaError, TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, assigned, failure, only

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamadapter import Consumer
    from streamadapter.admin import ConsumerGroupDescription
    from streamadapter.testing.contract.lab import Lab

PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


def join(lab: Lab, group: str, topic: str, **properties: Any) -> Consumer:
    """A member that owns the topic's two partitions."""
    consumer = lab.consumer(group, enable_auto_commit=False, **properties)
    consumer.subscribe([topic])
    lab.until(lambda: assigned(consumer) == {(topic, 0), (topic, 1)}, consumer)
    return consumer


def leave(lab: Lab, consumer: Consumer) -> None:
    consumer.close()
    lab.forget(consumer)


def described(lab: Lab, group: str) -> ConsumerGroupDescription:
    return only(lab.admin.describe_consumer_groups([group]))


def commit(lab: Lab, group: str, *partitions: TopicPartition) -> list[TopicPartition]:
    """Through the admin client, for a group without members; returns the answer."""
    request = ConsumerGroupTopicPartitions(group, list(partitions))
    return only(lab.admin.alter_consumer_group_offsets([request])).topic_partitions or []


def committed(lab: Lab, group: str, *asked: TopicPartition) -> list[tuple[str, int, int]]:
    request = ConsumerGroupTopicPartitions(group, list(asked) or None)
    answer = only(lab.admin.list_consumer_group_offsets([request]))
    assert answer.group_id == group
    assert [tp.error for tp in answer.topic_partitions or []] == [None] * len(answer.topic_partitions or [])
    return [(tp.topic, tp.partition, tp.offset) for tp in answer.topic_partitions or []]


# -- describe and list


@PROTOCOLS
def test_a_group_with_a_member_is_described(lab: Lab, protocol: str) -> None:
    topic, group = lab.topic(2), lab.group()
    consumer = join(lab, group, topic, group_protocol=protocol, client_id="shop", group_instance_id="till-1")
    lab.until(lambda: described(lab, group).state is ConsumerGroupState.STABLE, consumer)

    found = described(lab, group)

    assert (found.group_id, found.is_simple_consumer_group) == (group, False)
    assert found.type is ConsumerGroupType[protocol.upper()]
    assert found.partition_assignor == {"classic": "range", "consumer": "uniform"}[protocol]
    nodes = {
        node.id: (node.host, node.port) for node in lab.admin.describe_cluster().result(PATIENCE_S).nodes
    }
    coordinator = found.coordinator
    assert (coordinator.host, coordinator.port) == nodes[coordinator.id]
    [member] = found.members
    assert (member.member_id, member.client_id) == (consumer.memberid(), "shop")
    assert member.group_instance_id == "till-1"
    assert member.host
    own = [(topic, 0), (topic, 1)]
    assert [(tp.topic, tp.partition) for tp in member.assignment.topic_partitions] == own
    target = member.target_assignment
    if protocol == "classic":
        assert target is None
    else:
        assert target is not None
        assert [(tp.topic, tp.partition) for tp in target.topic_partitions] == own


@PROTOCOLS
def test_a_group_whose_members_have_left_is_empty(lab: Lab, protocol: str) -> None:
    topic, group = lab.topic(2), lab.group()
    consumer = join(lab, group, topic, group_protocol=protocol)
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)

    leave(lab, consumer)

    lab.until(lambda: described(lab, group).state is ConsumerGroupState.EMPTY)
    found = described(lab, group)
    assert (found.members, found.is_simple_consumer_group) == ([], False)
    assert found.type is ConsumerGroupType[protocol.upper()]
    assert committed(lab, group) == [(topic, 0, 0)]


def test_a_group_that_only_keeps_offsets_is_simple_and_one_that_does_not_exist_is_dead(lab: Lab) -> None:
    topic, group, unknown = lab.topic(), lab.group(), lab.group()
    commit(lab, group, TopicPartition(topic, 0, 0))

    futures = lab.admin.describe_consumer_groups([group, unknown])

    simple, dead = futures[group].result(PATIENCE_S), futures[unknown].result(PATIENCE_S)
    assert (simple.state, simple.is_simple_consumer_group) == (ConsumerGroupState.EMPTY, True)
    assert (dead.state, dead.is_simple_consumer_group) == (ConsumerGroupState.DEAD, True)
    for found in (simple, dead):
        assert (found.members, found.partition_assignor) == ([], "")
        assert found.type is ConsumerGroupType.CLASSIC
        assert found.authorized_operations is None


@PROTOCOLS
def test_groups_are_listed_by_state_and_type(lab: Lab, protocol: str) -> None:
    topic, stable, empty = lab.topic(2), lab.group(), lab.group()
    consumer = join(lab, stable, topic, group_protocol=protocol)
    lab.until(lambda: described(lab, stable).state is ConsumerGroupState.STABLE, consumer)
    commit(lab, empty, TopicPartition(topic, 0, 0))

    def listed(**filters: Any) -> dict[str, tuple[Any, ...]]:
        answer = lab.admin.list_consumer_groups(**filters).result(PATIENCE_S)
        assert answer.errors == []
        return {
            one.group_id: (one.state, one.type, one.is_simple_consumer_group)
            for one in answer.valid or []
            if one.group_id in (stable, empty)
        }

    kind = ConsumerGroupType[protocol.upper()]
    one = {stable: (ConsumerGroupState.STABLE, kind, False)}
    other = {empty: (ConsumerGroupState.EMPTY, ConsumerGroupType.CLASSIC, True)}
    classic = one | other if protocol == "classic" else other
    assert listed() == listed(states=None, types=None) == listed(states=set(), types=set()) == one | other
    assert listed(states={ConsumerGroupState.STABLE}) == one
    assert listed(states={ConsumerGroupState.EMPTY}) == other
    assert listed(states={ConsumerGroupState.EMPTY, ConsumerGroupState.STABLE}) == one | other
    assert listed(states={ConsumerGroupState.DEAD}) == {}
    assert listed(types={ConsumerGroupType.CLASSIC}) == classic
    assert listed(types={ConsumerGroupType.CONSUMER}) == (one if protocol == "consumer" else {})
    assert listed(types={kind}, states={ConsumerGroupState.STABLE}) == one


def test_the_deprecated_list_groups_shows_members(lab: Lab) -> None:
    topic, group = lab.topic(2), lab.group()
    consumer = join(lab, group, topic, client_id="shop")
    lab.until(lambda: described(lab, group).state is ConsumerGroupState.STABLE, consumer)

    def listed(name: str | None = None) -> list[Any]:
        with pytest.warns(DeprecationWarning, match="list_consumer_groups"):
            return list(lab.admin.list_groups(name, PATIENCE_S))

    [found] = listed(group)
    assert (found.id, found.error, found.state) == (group, None, "Stable")
    assert (found.protocol_type, found.protocol) == ("consumer", "range")
    assert found.broker.id in lab.admin.list_topics(timeout=PATIENCE_S).brokers
    [member] = found.members
    assert (member.id, member.client_id) == (consumer.memberid(), "shop")
    assert isinstance(member.metadata, bytes)
    assert isinstance(member.assignment, bytes)
    assert listed(lab.group()) == []
    assert group in [one.id for one in listed()]


# -- delete


@PROTOCOLS
def test_only_a_group_without_members_can_be_deleted(lab: Lab, protocol: str) -> None:
    topic, active, empty, unknown = lab.topic(2), lab.group(), lab.group(), lab.group()
    consumer = join(lab, active, topic, group_protocol=protocol)
    commit(lab, empty, TopicPartition(topic, 0, 0))

    futures = lab.admin.delete_consumer_groups([active, empty, unknown])

    assert list(futures) == [active, empty, unknown]
    assert failure(futures[active]) == KafkaError.NON_EMPTY_GROUP
    assert futures[empty].result(PATIENCE_S) is None
    assert failure(futures[unknown]) == KafkaError.GROUP_ID_NOT_FOUND
    assert described(lab, empty).state is ConsumerGroupState.DEAD
    assert committed(lab, empty) == []
    leave(lab, consumer)
    lab.until(lambda: described(lab, active).state is ConsumerGroupState.EMPTY)
    assert only(lab.admin.delete_consumer_groups([active])) is None


def test_a_deleted_group_begins_anew(lab: Lab) -> None:
    topic, group = lab.topic(2), lab.group()
    lab.produce(topic, "0", "1")
    commit(lab, group, TopicPartition(topic, 0, 1))
    only(lab.admin.delete_consumer_groups([group]))

    consumer = lab.consumer(group)
    consumer.subscribe([topic])

    assert [message.offset() for message in lab.take(consumer, 2)] == [0, 1]


# -- offsets


def test_altered_offsets_are_what_the_group_has_committed(lab: Lab) -> None:
    topic, group = lab.topic(3), lab.group()
    lab.produce(topic, *"0123456", partition=2)

    done = commit(lab, group, TopicPartition(topic, 2, 5), TopicPartition(topic, 0, 0, "why", 0))

    assert [(tp.partition, tp.offset, tp.error) for tp in done] == [(0, 0, None), (2, 5, None)]
    assert committed(lab, group) == [(topic, 0, 0), (topic, 2, 5)]
    [answer] = lab.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
    found: Any = answer.result(PATIENCE_S).topic_partitions  # their metadata are declared str
    first, second = found
    assert (first.metadata, first.leader_epoch) == ("why", 0)
    assert second.metadata is None
    assert second.leader_epoch is None
    consumer = lab.consumer(group)
    consumer.subscribe([topic])
    assert [message.offset() for message in lab.take(consumer, 2)] == [5, 6]


def test_offsets_of_named_partitions_are_answered_in_order_committed_or_not(lab: Lab) -> None:
    topic, group = lab.topic(3), lab.group()
    commit(lab, group, TopicPartition(topic, 1, 7))
    asked = [TopicPartition(topic, partition) for partition in (2, 1, 0)]

    assert committed(lab, group, *asked) == [
        (topic, 0, OFFSET_INVALID),
        (topic, 1, 7),
        (topic, 2, OFFSET_INVALID),
    ]
    assert committed(lab, lab.group(), *asked) == [(topic, p, OFFSET_INVALID) for p in range(3)]


def test_a_group_that_has_committed_nothing_has_no_offsets(lab: Lab) -> None:
    assert committed(lab, lab.group()) == []


@PROTOCOLS
def test_offsets_are_not_altered_under_a_member(lab: Lab, protocol: str) -> None:
    topic, group = lab.topic(2), lab.group()
    join(lab, group, topic, group_protocol=protocol)

    unknown, refused = commit(lab, group, TopicPartition(topic, 0, 7), TopicPartition("no-such-topic", 0, 7))

    assert [unknown.topic, refused.topic] == ["no-such-topic", topic]
    assert [unknown.error, refused.error] == [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_MEMBER_ID]
    assert committed(lab, group) == []


def test_offsets_are_altered_only_of_partitions_that_exist(lab: Lab) -> None:
    topic, group = lab.topic(), lab.group()

    done = commit(
        *(lab, group),
        *(TopicPartition(topic, 0, 7), TopicPartition(topic, 5, 7), TopicPartition("no-such-topic", 0, 7)),
    )

    assert [(tp.topic, tp.partition, tp.error) for tp in done] == [
        ("no-such-topic", 0, KafkaError.UNKNOWN_TOPIC_OR_PART),
        (topic, 0, None),
        (topic, 5, KafkaError.UNKNOWN_TOPIC_OR_PART),
    ]
    assert committed(lab, group) == [(topic, 0, 7)]


def test_metadata_of_an_offset_has_at_most_4095_characters(lab: Lab) -> None:
    topic, group = lab.topic(2), lab.group()

    done = commit(
        lab, group, TopicPartition(topic, 0, 1, "m" * 4095), TopicPartition(topic, 1, 1, "m" * 4096)
    )

    assert [tp.error for tp in done] == [None, KafkaError.OFFSET_METADATA_TOO_LARGE]
    assert committed(lab, group) == [(topic, 0, 1)]


def test_the_offsets_of_a_deleted_topic_are_forgotten(lab: Lab) -> None:
    topic, other, group = lab.topic(), lab.topic(), lab.group()
    commit(lab, group, TopicPartition(topic, 0, 7), TopicPartition(other, 0, 8))

    lab.delete(topic)

    lab.until(lambda: committed(lab, group) == [(other, 0, 8)])


def test_committed_offsets_are_deleted_where_that_can_be_asked_for(lab: Lab) -> None:
    topic, other, group = lab.topic(2), lab.topic(2), lab.group()
    consumer = join(lab, group, other)
    consumer.commit(
        offsets=[TopicPartition(topic, 0, 1), TopicPartition(topic, 1, 2), TopicPartition(other, 0, 3)],
        asynchronous=False,
    )

    def delete(name: str, of_group: str = group) -> Any:
        [future] = lab.admin.delete_consumer_group_offsets(of_group, [TopicPartition(name, 0)]).values()
        return future

    if not lab.features.offset_deletion:
        assert failure(delete(topic)) == KafkaError._UNSUPPORTED_FEATURE
        return
    assert delete(topic).result(PATIENCE_S) is None
    assert failure(delete(other)) == KafkaError.GROUP_SUBSCRIBED_TO_TOPIC
    assert failure(delete(topic, lab.group())) == KafkaError.GROUP_ID_NOT_FOUND
    assert committed(lab, group) == sorted([(topic, 1, 2), (other, 0, 3)])


# -- arguments


TP = TopicPartition("t", 0)
BAD_CALLS: list[tuple[type[Exception], Callable[[Any], object]]] = [
    (TypeError, lambda a: a.list_consumer_groups(states=[ConsumerGroupState.EMPTY])),
    (TypeError, lambda a: a.list_consumer_groups(states={1})),
    (TypeError, lambda a: a.list_consumer_groups(types={1})),
    (ValueError, lambda a: a.list_consumer_groups(types={ConsumerGroupType.UNKNOWN})),
    (ValueError, lambda a: a.describe_consumer_groups([])),
    (TypeError, lambda a: a.describe_consumer_groups("g")),
    (ValueError, lambda a: a.delete_consumer_groups([])),
    (ValueError, lambda a: a.delete_consumer_groups([5])),
    (ValueError, lambda a: a.list_consumer_group_offsets([])),
    (ValueError, lambda a: a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("")])),
    (ValueError, lambda a: a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("g", [])])),
    (ValueError, lambda a: a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("g")] * 2)),
    (
        ValueError,
        lambda a: a.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions("g", [TopicPartition("t", 0, 1)])]
        ),
    ),
    (ValueError, lambda a: a.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("g")])),
    (ValueError, lambda a: a.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("g", [TP])])),
]


@pytest.mark.parametrize(("error", "call"), BAD_CALLS, ids=range(len(BAD_CALLS)))
def test_arguments_of_group_requests_are_checked_at_once(
    lab: Lab, error: type[Exception], call: Callable[[Any], object]
) -> None:
    with pytest.raises(error):
        call(lab.admin)


def test_a_group_without_a_name_is_described_as_an_error_and_unknown_to_deletion(lab: Lab) -> None:
    assert failure(lab.admin.describe_consumer_groups([""])[""]) == KafkaError.INVALID_GROUP_ID
    assert failure(lab.admin.delete_consumer_groups([""])[""]) == KafkaError.GROUP_ID_NOT_FOUND


REPEATED: list[Callable[[Any], Any]] = [
    lambda a: a.describe_consumer_groups(["g", "g"]),
    lambda a: a.delete_consumer_groups(["g", "g"]),
    lambda a: a.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions("g", [TopicPartition("t", 0, 1), TopicPartition("t", 0, 2)])]
    ),
]


@pytest.mark.parametrize("call", REPEATED, ids=range(len(REPEATED)))
def test_what_is_named_twice_in_a_group_request_is_refused(lab: Lab, call: Callable[[Any], Any]) -> None:
    [future] = call(lab.admin).values()

    assert failure(future) == KafkaError._INVALID_ARG
