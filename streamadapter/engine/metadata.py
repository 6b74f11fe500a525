"""confluent_kafka's descriptions of the cluster, built from a store: one broker that leads all partitions."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING

from confluent_kafka import Node
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked as re-exported
    BrokerMetadata,
    ClusterMetadata,
    PartitionMetadata,
    TopicMetadata,
)

from streamadapter.engine.topics import described_topic
from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamadapter.backend import LogStore, TopicInfo

BROKER_ID = 1


def cluster_metadata(store: LogStore, topic: str | None = None) -> ClusterMetadata:
    """What list_topics returns: all topics, or the one asked for, with an error in it if it is unknown.

    Raises StoreError.
    """
    known = store.topics().topics
    broker = broker_metadata(store)
    cluster = ClusterMetadata()
    cluster.cluster_id = cluster_id(store)  # type: ignore[assignment]  # None at first
    cluster.controller_id = cluster.orig_broker_id = BROKER_ID
    cluster.orig_broker_name = str(broker)  # type: ignore[assignment]  # None at first
    cluster.brokers = {BROKER_ID: broker}
    names = sorted(known) if topic is None else [topic]
    cluster.topics = {name: _topic_metadata(known, name) for name in names}
    return cluster


def cluster_id(store: LogStore) -> str:
    """A name for the server, in the form of Kafka's cluster ids; the same for all clients of one address."""
    name = "{}:{}".format(*store.address())
    return base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, name).bytes).decode().rstrip("=")


def broker_metadata(store: LogStore) -> BrokerMetadata:
    """The one broker, as list_topics and list_groups show it."""
    broker = BrokerMetadata()
    broker.id = BROKER_ID
    broker.host, broker.port = store.address()  # type: ignore[assignment]  # None at first
    return broker


def broker_node(store: LogStore) -> Node:
    """The one broker, as the admin client's descriptions show it."""
    host, port = store.address()
    return Node(BROKER_ID, host, port)


def _topic_metadata(known: Mapping[str, TopicInfo], name: str) -> TopicMetadata:
    metadata = TopicMetadata()
    metadata.topic = name
    try:
        topic = described_topic(known, name)
    except StoreError as error:
        metadata.error = error.kafka_error()
        return metadata
    for index in range(topic.partitions):
        partition = PartitionMetadata()
        partition.id, partition.leader = index, BROKER_ID
        partition.replicas, partition.isrs = [BROKER_ID], [BROKER_ID]
        metadata.partitions[index] = partition
    return metadata
