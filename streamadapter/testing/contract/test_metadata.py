"""The cluster as clients see it, and the life of an admin client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from streamadapter import KafkaError, KafkaException
from streamadapter.admin import (
    AdminClient,
    BrokerMetadata,
    ClusterMetadata,
    NewTopic,
    PartitionMetadata,
    TopicMetadata,
)
from streamadapter.testing.contract.lab import PATIENCE_S, failure, only

if TYPE_CHECKING:
    from streamadapter.testing.contract.lab import Lab


def test_the_metadata_of_one_topic_has_its_partitions_and_the_brokers(lab: Lab) -> None:
    topic, other = lab.topic(2), lab.topic()

    metadata = lab.admin.list_topics(topic, timeout=PATIENCE_S)

    assert isinstance(metadata, ClusterMetadata)
    assert list(metadata.topics) == [topic]
    found = metadata.topics[topic]
    assert isinstance(found, TopicMetadata)
    assert (found.topic, found.error, str(found)) == (topic, None, topic)
    assert list(found.partitions) == [0, 1]
    for number, broker in metadata.brokers.items():
        assert isinstance(broker, BrokerMetadata)
        assert broker.id == number
    assert metadata.controller_id in metadata.brokers
    for index, partition in found.partitions.items():
        assert isinstance(partition, PartitionMetadata)
        assert (partition.id, partition.error) == (index, None)
        assert partition.leader in partition.isrs
        assert set(partition.isrs) <= set(partition.replicas) <= metadata.brokers.keys()
    assert {topic, other} <= lab.admin.list_topics(timeout=PATIENCE_S).topics.keys()


def test_the_broker_that_answered_is_named(lab: Lab) -> None:
    # On Kafka the first answer may come over the bootstrap connection, which does not know its broker's id yet: -1.
    lab.until(lambda: lab.admin.list_topics(timeout=PATIENCE_S).orig_broker_id != -1)

    metadata = lab.admin.list_topics(timeout=PATIENCE_S)

    assert metadata.orig_broker_id in {-1, *metadata.brokers}
    if metadata.orig_broker_id != -1:
        assert metadata.orig_broker_name == str(metadata.brokers[metadata.orig_broker_id])


def test_an_unknown_topic_is_listed_with_an_error(lab: Lab) -> None:
    unknown = lab.group()

    metadata = lab.admin.list_topics(unknown, timeout=PATIENCE_S)

    assert list(metadata.topics) == [unknown]
    assert metadata.topics[unknown].error == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert metadata.topics[unknown].partitions == {}
    assert unknown not in lab.admin.list_topics(timeout=PATIENCE_S).topics


def test_producers_and_consumers_list_topics_as_the_admin_client_does(lab: Lab) -> None:
    topic = lab.topic(2)
    expected = lab.admin.list_topics(topic, timeout=PATIENCE_S)

    for client in (lab.producer(), lab.consumer(lab.group())):
        found = client.list_topics(topic, timeout=PATIENCE_S)

        assert found.cluster_id == expected.cluster_id
        assert list(found.brokers) == list(expected.brokers)
        assert list(found.topics[topic].partitions) == [0, 1]
        unknown = lab.group()
        assert (
            client.list_topics(unknown, PATIENCE_S).topics[unknown].error == KafkaError.UNKNOWN_TOPIC_OR_PART
        )


def test_all_clients_agree_on_the_clusters_id(lab: Lab) -> None:
    producer, consumer = lab.producer(), lab.consumer(lab.group())

    described = lab.admin.describe_cluster().result(PATIENCE_S)

    assert len(described.cluster_id or "") == 22
    assert {
        described.cluster_id,
        lab.admin.cluster_id(PATIENCE_S),
        producer.cluster_id(PATIENCE_S),
        consumer.cluster_id(PATIENCE_S),
        lab.admin.list_topics(timeout=PATIENCE_S).cluster_id,
    } == {described.cluster_id}


def test_the_cluster_is_described_with_its_brokers(lab: Lab) -> None:
    metadata = lab.admin.list_topics(timeout=PATIENCE_S)

    described = lab.admin.describe_cluster().result(PATIENCE_S)

    assert [node.id for node in described.nodes] == sorted(metadata.brokers)
    assert described.controller.id in metadata.brokers  # of several, any may answer for the controller
    for node in described.nodes:
        assert str(metadata.brokers[node.id]) == f"{node.host}:{node.port}/{node.id}"
        assert node.id_string == str(node.id)


@pytest.mark.parametrize("arguments", [{"topic": 5}, {"timeout": None}, {"timeout": "1"}], ids=str)
def test_arguments_of_list_topics_are_checked_at_once(lab: Lab, arguments: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        lab.admin.list_topics(**arguments)  # type: ignore[arg-type]  # that is the point


def test_operations_that_a_cluster_allows_are_named_only_when_asked_for(lab: Lab) -> None:
    plain = lab.admin.describe_cluster().result(PATIENCE_S)
    asked = lab.admin.describe_cluster(include_authorized_operations=True).result(PATIENCE_S)

    assert not plain.authorized_operations
    assert bool(asked.authorized_operations) is lab.features.server_rights
    with pytest.raises(TypeError):
        lab.admin.describe_cluster(include_authorized_operations=1)  # type: ignore[arg-type]  # that is the point


# -- the client itself


def test_an_admin_client_ends_with_its_block(lab: Lab) -> None:
    with AdminClient({"bootstrap.servers": lab.url}) as admin:
        admin.list_topics(timeout=PATIENCE_S)

    for call in (
        admin.list_topics,
        lambda: admin.create_topics([NewTopic("t", 1)]),
        admin.describe_cluster,
        admin.cluster_id,
        lambda: admin.poll(0),
    ):
        with pytest.raises(RuntimeError, match="has been closed"):
            call()


def test_an_admin_client_counts_what_it_waits_for_and_has_nothing_to_poll(lab: Lab) -> None:
    lab.admin.describe_cluster().result(PATIENCE_S)

    lab.until(lambda: len(lab.admin) == 0)
    assert lab.admin.poll(0) == 0
    with pytest.raises(TypeError):
        lab.admin.poll(None)  # type: ignore[arg-type]  # that is the point


def test_a_server_that_does_not_answer_ends_a_request_at_its_timeout(lab: Lab) -> None:
    server = lab.own_server()
    admin = lab.clients_of(server.url).admin
    topic = lab.group()
    only(admin.create_topics([NewTopic(topic, 1)]))
    server.pause()
    try:
        began = time.monotonic()
        future = admin.create_topics([NewTopic("late", 1)], request_timeout=1)["late"]
        assert failure(future) == KafkaError._TIMED_OUT
        assert time.monotonic() - began < PATIENCE_S / 2

        with pytest.raises(KafkaException) as caught:
            admin.list_topics(timeout=1)
        assert caught.value.args[0] == KafkaError._TIMED_OUT
    finally:
        server.resume()

    assert topic in admin.list_topics(timeout=PATIENCE_S).topics
