"""AdminClient.list_consumer_group_offsets without the end of the process.

librdkafka 2.16 aborts (or crashes) in its admin request when the group's coordinator answers that it is not ready, as
after every restart of a broker: the retry needs a consumer group's handle, and an admin client has none. A consumer
that never joins asks the same question over the same protocol request, and retries it properly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition


def committed_offsets(
    conf: Mapping[str, Any], request: ConsumerGroupTopicPartitions, require_stable: bool, timeout: float
) -> ConsumerGroupTopicPartitions:
    """What the group has committed, of the partitions asked for or of all. Waits `timeout` s; KafkaException."""
    consumer = Consumer(
        {
            **conf,
            "group.id": request.group_id,
            "enable.auto.commit": False,
            "isolation.level": "read_committed" if require_stable else "read_uncommitted",
        }
    )
    try:
        asked = request.topic_partitions
        partitions = asked or _all_partitions(consumer, timeout)
        found = consumer.committed(partitions, timeout=timeout) if partitions else []
    finally:
        consumer.close()
    return ConsumerGroupTopicPartitions(
        request.group_id, sorted(tp for tp in found if asked or tp.offset >= 0)
    )


def _all_partitions(consumer: Consumer, timeout: float) -> list[TopicPartition]:
    topics = consumer.list_topics(timeout=timeout).topics.values()
    for topic in topics:
        if topic.error is not None:
            raise KafkaException(topic.error)
    return [TopicPartition(topic.topic, partition) for topic in topics for partition in topic.partitions]
