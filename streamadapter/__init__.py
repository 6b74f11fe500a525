"""Kafka semantics on the Redis that a team already runs: confluent_kafka's API, unchanged.

    from streamadapter import Consumer, Producer      # was: from confluent_kafka import ...
    producer = Producer({"bootstrap.servers": "redis://localhost:6379/0"})

Errors, TopicPartition, constants and admin types are confluent_kafka's own, so that `except KafkaException` and
`isinstance` hold whatever the backend.
"""

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Node,
    TopicCollection,
    TopicPartition,
    TopicPartitionInfo,
    Uuid,
)

from streamadapter.admin import AdminClient
from streamadapter.consumer import Consumer
from streamadapter.message import Message
from streamadapter.producer import Producer

__version__ = "0.1.0.dev0"

__all__ = [
    "OFFSET_BEGINNING",
    "OFFSET_END",
    "OFFSET_INVALID",
    "OFFSET_STORED",
    "TIMESTAMP_CREATE_TIME",
    "TIMESTAMP_LOG_APPEND_TIME",
    "TIMESTAMP_NOT_AVAILABLE",
    "AdminClient",
    "Consumer",
    "ConsumerGroupState",
    "ConsumerGroupTopicPartitions",
    "ConsumerGroupType",
    "IsolationLevel",
    "KafkaError",
    "KafkaException",
    "Message",
    "Node",
    "Producer",
    "TopicCollection",
    "TopicPartition",
    "TopicPartitionInfo",
    "Uuid",
    "__version__",
]
