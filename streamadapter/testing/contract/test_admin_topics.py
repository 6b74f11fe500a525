"""Topics as the admin client makes, grows, describes and deletes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import TopicCollection

from streamadapter import KafkaError
from streamadapter.admin import NewPartitions, NewTopic
from streamadapter.testing.contract.lab import PATIENCE_S, failure, only, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamadapter.admin import TopicDescription
    from streamadapter.testing.contract.lab import Lab


def unused(lab: Lab) -> str:
    """The name of a topic that does not exist."""
    return lab.group().replace("g-", "t-", 1)


def described(lab: Lab, topic: str) -> TopicDescription:
    return only(lab.admin.describe_topics(TopicCollection([topic])))


def exists(lab: Lab, topic: str) -> bool:
    return topic in lab.admin.list_topics(timeout=PATIENCE_S).topics


# -- create


@pytest.mark.parametrize("replication_factor", [-1, 1])
def test_a_topic_is_created_with_as_many_partitions_as_it_was_asked_for(
    lab: Lab, replication_factor: int
) -> None:
    topic = unused(lab)

    futures = lab.admin.create_topics([NewTopic(topic, 3, replication_factor)])

    assert list(futures) == [topic]
    assert only(futures) is None
    lab.until(lambda: len(lab.admin.list_topics(topic).topics[topic].partitions) == 3)


def test_the_number_of_partitions_may_be_left_to_the_server(lab: Lab) -> None:
    topic = unused(lab)

    only(lab.admin.create_topics([NewTopic(topic)]))

    lab.until(lambda: list(lab.admin.list_topics(topic).topics[topic].partitions) == [0])


def test_every_character_of_the_longest_name_may_be_any_of_those_allowed(lab: Lab) -> None:
    topic = f"aZ09._-{unused(lab)}".ljust(249, "x")

    lab.create(topic)

    assert exists(lab, topic)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "new\nline", "a/b", "ü", "x" * 250])
def test_a_name_that_no_topic_can_have_is_a_topic_exception(lab: Lab, name: str) -> None:
    assert failure(lab.admin.create_topics([NewTopic(name, 1)])[name]) == KafkaError.TOPIC_EXCEPTION
    assert lab.admin.list_topics(name).topics[name].error == KafkaError.TOPIC_EXCEPTION
    if name:
        futures = lab.admin.describe_topics(TopicCollection([name]))
        assert failure(futures[name]) == KafkaError.TOPIC_EXCEPTION


def test_a_name_that_differs_from_another_in_dot_and_underscore_only_is_a_topic_exception(lab: Lab) -> None:
    base = unused(lab)
    lab.create(f"{base}.a_b")

    [future] = lab.admin.create_topics([NewTopic(f"{base}_a.b", 1)]).values()

    assert failure(future) == KafkaError.TOPIC_EXCEPTION


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"num_partitions": 0}, KafkaError.INVALID_PARTITIONS),
        ({"num_partitions": 1, "replication_factor": 0}, KafkaError.INVALID_REPLICATION_FACTOR),
        ({"num_partitions": 1, "replication_factor": 100}, KafkaError.INVALID_REPLICATION_FACTOR),
        ({"num_partitions": 1, "config": {"retention.msec": "1"}}, KafkaError.INVALID_CONFIG),
        ({"num_partitions": 1, "config": {"retention.ms": "soon"}}, KafkaError.INVALID_CONFIG),
        ({"num_partitions": 1, "config": {"retention.ms": "-7"}}, KafkaError.INVALID_CONFIG),
        ({"num_partitions": 1, "config": {"retention.ms": None}}, KafkaError.INVALID_CONFIG),
        ({"num_partitions": 1, "config": {"cleanup.policy": "burn"}}, KafkaError.INVALID_CONFIG),
    ],
    ids=str,
)
def test_a_topic_that_cannot_be_is_refused_and_not_created(
    lab: Lab, arguments: dict[str, Any], code: int
) -> None:
    topic = unused(lab)

    futures = lab.admin.create_topics([NewTopic(topic, **arguments)])

    assert failure(futures[topic]) == code
    assert not exists(lab, topic)


def test_a_topic_that_exists_is_not_created_again(lab: Lab) -> None:
    topic = lab.topic(2)
    identity = str(described(lab, topic).topic_id)

    again = lab.admin.create_topics([NewTopic(topic, 1)])
    tried = lab.admin.create_topics([NewTopic(topic, 1)], validate_only=True)

    assert failure(again[topic]) == KafkaError.TOPIC_ALREADY_EXISTS
    assert failure(tried[topic]) == KafkaError.TOPIC_ALREADY_EXISTS
    assert str(described(lab, topic).topic_id) == identity
    assert len(described(lab, topic).partitions) == 2


def test_topics_of_one_request_succeed_and_fail_each_for_itself(lab: Lab) -> None:
    good, bad = unused(lab), "no/slash"

    futures = lab.admin.create_topics([NewTopic(bad, 1), NewTopic(good, 1)])

    assert list(futures) == [bad, good]
    assert futures[good].result(PATIENCE_S) is None
    assert failure(futures[bad]) == KafkaError.TOPIC_EXCEPTION
    lab.until(lambda: exists(lab, good))


def test_a_topic_named_twice_in_one_request_is_refused(lab: Lab) -> None:
    topic = unused(lab)

    futures = lab.admin.create_topics([NewTopic(topic, 1), NewTopic(topic, 2)])

    assert failure(futures[topic]) == KafkaError.INVALID_REQUEST
    assert len(futures) == 1
    lab.until(lambda: len(lab.admin) == 0)
    assert not exists(lab, topic)


def test_a_creation_can_be_tried_without_doing_it(lab: Lab) -> None:
    topic = unused(lab)

    assert only(lab.admin.create_topics([NewTopic(topic, 1)], validate_only=True)) is None

    only(lab.admin.create_topics([NewTopic(topic, 1)]))


def test_replicas_can_be_placed_on_brokers_that_exist(lab: Lab) -> None:
    [broker, *_] = lab.admin.list_topics(timeout=PATIENCE_S).brokers
    good, unknown, twice = unused(lab), unused(lab), unused(lab)

    futures = lab.admin.create_topics(
        [
            NewTopic(good, 2, replica_assignment=[[broker], [broker]]),
            NewTopic(unknown, 1, replica_assignment=[[broker + 76]]),
            NewTopic(twice, 1, replica_assignment=[[broker, broker]]),
        ]
    )

    assert futures[good].result(PATIENCE_S) is None
    assert failure(futures[unknown]) == KafkaError.INVALID_REPLICA_ASSIGNMENT
    assert failure(futures[twice]) == KafkaError.INVALID_REPLICA_ASSIGNMENT


# -- delete


def test_a_deleted_topic_is_gone_and_its_name_begins_anew(lab: Lab) -> None:
    topic = lab.topic(2)
    lab.produce(topic, "old 1", "old 2")
    before = described(lab, topic).topic_id

    assert only(lab.admin.delete_topics([topic])) is None

    lab.until(lambda: not exists(lab, topic))
    assert lab.admin.list_topics(topic).topics[topic].error == KafkaError.UNKNOWN_TOPIC_OR_PART
    lab.create(topic)
    assert str(described(lab, topic).topic_id) != str(before)
    # A producer that knew the old topic may take a while to learn of the new one.
    with_new_eyes = lab.clients_of(lab.url)
    assert with_new_eyes.produce(topic, "new") == [0]
    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])
    assert values(lab.take(consumer, 1)) == [b"new"]


def test_topics_are_deleted_each_for_itself(lab: Lab) -> None:
    first, second, unknown = lab.topic(), lab.topic(), unused(lab)

    futures = lab.admin.delete_topics([first, unknown, second])

    assert list(futures) == [first, unknown, second]
    assert (futures[first].result(PATIENCE_S), futures[second].result(PATIENCE_S)) == (None, None)
    assert failure(futures[unknown]) == KafkaError.UNKNOWN_TOPIC_OR_PART


@pytest.mark.parametrize("name", ["", "a b"])
def test_deleting_what_cannot_be_a_topic_is_an_unknown_topic(lab: Lab, name: str) -> None:
    assert failure(lab.admin.delete_topics([name])[name]) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topic_named_twice_is_not_deleted(lab: Lab) -> None:
    topic = lab.topic()

    assert failure(lab.admin.delete_topics([topic, topic])[topic]) == KafkaError.INVALID_REQUEST
    assert exists(lab, topic)


# -- grow


def test_added_partitions_can_be_written_to(lab: Lab) -> None:
    topic = lab.topic(1)

    assert only(lab.admin.create_partitions([NewPartitions(topic, 3)])) is None

    lab.until(lambda: len(lab.admin.list_topics(topic).topics[topic].partitions) == 3)
    assert lab.clients_of(lab.url).produce(topic, "new", partition=2) == [0]


def test_adding_partitions_can_be_tried_without_doing_it(lab: Lab) -> None:
    topic = lab.topic(2)

    assert only(lab.admin.create_partitions([NewPartitions(topic, 5)], validate_only=True)) is None

    assert len(described(lab, topic).partitions) == 2


@pytest.mark.parametrize("total", [1, 2])
def test_partitions_can_only_become_more(lab: Lab, total: int) -> None:
    topic = lab.topic(2)

    futures = lab.admin.create_partitions([NewPartitions(topic, total)])

    assert failure(futures[topic]) == KafkaError.INVALID_PARTITIONS
    assert len(described(lab, topic).partitions) == 2


def test_partitions_of_an_unknown_topic_cannot_be_added(lab: Lab) -> None:
    for name in (unused(lab), "", "a b"):
        futures = lab.admin.create_partitions([NewPartitions(name, 2)])
        assert failure(futures[name]) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topic_named_twice_does_not_grow(lab: Lab) -> None:
    topic = lab.topic()

    futures = lab.admin.create_partitions([NewPartitions(topic, 2), NewPartitions(topic, 3)])

    assert failure(futures[topic]) == KafkaError.INVALID_REQUEST
    assert len(described(lab, topic).partitions) == 1


def test_the_placement_of_added_partitions_must_fit(lab: Lab) -> None:
    topic = lab.topic(1)
    place = lab.admin.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions[0].replicas

    def grow(*replicas: list[int]) -> Any:
        new = NewPartitions(topic, 3, replica_assignment=list(replicas))
        return lab.admin.create_partitions([new], validate_only=True)[topic]

    assert grow(place, place).result(PATIENCE_S) is None
    assert failure(grow(place)) == KafkaError.INVALID_REPLICA_ASSIGNMENT
    assert failure(grow(place, place, place)) == KafkaError.INVALID_REPLICA_ASSIGNMENT
    assert failure(grow(place, [*place[1:], 77])) == KafkaError.INVALID_REPLICA_ASSIGNMENT


# -- describe


def test_a_description_has_the_topics_id_and_its_partitions(lab: Lab) -> None:
    topic, unknown = lab.topic(2), unused(lab)

    futures = lab.admin.describe_topics(TopicCollection([unknown, topic]))

    description: Any = futures[topic].result(PATIENCE_S)  # its authorized_operations are declared a list
    assert (description.name, description.is_internal) == (topic, False)
    assert description.authorized_operations is None
    assert len(str(description.topic_id)) == 22
    assert [partition.id for partition in description.partitions] == [0, 1]
    nodes = {
        node.id: (node.host, node.port) for node in lab.admin.describe_cluster().result(PATIENCE_S).nodes
    }
    for partition in description.partitions:
        leader = partition.leader
        assert (leader.host, leader.port) == nodes[leader.id]
        replicas, in_sync = ({node.id for node in some} for some in (partition.replicas, partition.isr))
        assert leader.id in in_sync
        assert in_sync <= replicas <= nodes.keys()
    assert failure(futures[unknown]) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topic_named_twice_is_not_described(lab: Lab) -> None:
    [future] = lab.admin.describe_topics(TopicCollection(["t", "t"])).values()

    assert failure(future) == KafkaError._INVALID_ARG


def test_describing_nothing_answers_nothing(lab: Lab) -> None:
    assert lab.admin.describe_topics(TopicCollection([])) == {}


BAD_CALLS: list[tuple[type[Exception], Callable[[Any], object]]] = [
    (ValueError, lambda a: a.create_topics([])),
    (TypeError, lambda a: a.create_topics(None)),
    (ValueError, lambda a: a.create_topics((NewTopic("t", 1),))),
    (ValueError, lambda a: a.create_topics([NewTopic("t", -2)])),
    (ValueError, lambda a: a.create_topics([NewTopic("t", 100_001)])),
    (ValueError, lambda a: a.create_topics([NewTopic("t", 1, -2)])),
    (ValueError, lambda a: a.create_topics([NewTopic("t", 1, 1, replica_assignment=[[1]])])),
    (ValueError, lambda a: a.create_topics([NewTopic("t", replica_assignment=[[1]])])),
    (ValueError, lambda a: a.create_topics([NewTopic("t", 2, replica_assignment=[[1]])])),
    (ValueError, lambda a: a.create_topics([NewTopic("t", 1)], request_timeout=-5)),
    (TypeError, lambda a: a.create_topics([NewTopic("t", 1)], request_timeout="1")),
    (ValueError, lambda a: a.create_topics([NewTopic("t", 1)], operation_timeout=-5)),
    (TypeError, lambda a: a.create_topics([NewTopic("t", 1)], unknown_option=1)),
    (ValueError, lambda a: a.delete_topics([])),
    (TypeError, lambda a: a.delete_topics("topic")),
    (ValueError, lambda a: a.create_partitions([])),
    (ValueError, lambda a: a.create_partitions([NewPartitions("t", 0)])),
    (TypeError, lambda a: a.describe_topics(["t"])),
    (ValueError, lambda a: a.describe_topics(TopicCollection([""]))),
    (TypeError, lambda a: a.describe_topics(TopicCollection([1]))),  # type: ignore[list-item]  # that is the point
    (TypeError, lambda a: a.describe_topics(TopicCollection(["t"]), include_authorized_operations="yes")),
]


@pytest.mark.parametrize(("error", "call"), BAD_CALLS, ids=range(len(BAD_CALLS)))
def test_arguments_of_topic_requests_are_checked_at_once(
    lab: Lab, error: type[Exception], call: Callable[[Any], object]
) -> None:
    with pytest.raises(error):
        call(lab.admin)
