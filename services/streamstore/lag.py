"""How far consumer groups are: their committed offsets beside the ends of what they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamadapter import AdminClient, ConsumerGroupTopicPartitions, TopicPartition
from streamadapter.admin import MemberDescription, OffsetSpec

Extents = Mapping[tuple[str, int], tuple[int, int]]
"""Of each topic and partition: the log start offset and the log end offset."""


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far a group is in one partition."""

    topic: str
    partition: int
    committed: int | None  # None: the group has committed nothing yet, everything is still to be read
    log_end: int
    lag: int  # records still to be read, or read and not yet committed


def log_extents(admin: AdminClient, topics: Sequence[str], seconds: float) -> Extents:
    """Of all partitions of those topics that exist. Raises KafkaException after at most some `seconds`."""
    known = admin.list_topics(timeout=seconds).topics
    partitions = [
        TopicPartition(topic, partition)
        for topic in topics
        if topic in known
        for partition in known[topic].partitions
    ]
    if not partitions:
        return {}
    earliest: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent_kafka's
    latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above
    starts = admin.list_offsets(dict.fromkeys(partitions, earliest), request_timeout=seconds)
    ends = admin.list_offsets(dict.fromkeys(partitions, latest), request_timeout=seconds)
    return {
        (tp.topic, tp.partition): (future.result().offset, ends[tp].result().offset)
        for tp, future in starts.items()
    }


def group_lags(
    admin: AdminClient, extents: Extents, groups: Mapping[str, Sequence[str]], seconds: float
) -> dict[str, list[PartitionLag]]:
    """Of each group in the topics that it reads, by topic and partition. Raises KafkaException as above."""
    asked = {}
    for group, topics in groups.items():
        partitions = [TopicPartition(*place) for place in sorted(extents) if place[0] in topics]
        if partitions:
            request = ConsumerGroupTopicPartitions(group, partitions)
            asked[group] = admin.list_consumer_group_offsets([request], request_timeout=seconds)[group]
    lags: dict[str, list[PartitionLag]] = {group: [] for group in groups}
    for group, future in asked.items():
        for tp in future.result().topic_partitions or ():
            start, end = extents[tp.topic, tp.partition]
            committed = tp.offset if tp.offset >= 0 else None  # confluent_kafka: negative if there is none
            lag = end - max(start, start if committed is None else committed)
            lags[group].append(PartitionLag(tp.topic, tp.partition, committed, end, max(0, lag)))
    return lags


def group_members(
    admin: AdminClient, groups: Sequence[str], seconds: float
) -> dict[str, list[MemberDescription]]:
    """Of each group; none of one that does not exist. Raises KafkaException as above."""
    described = admin.describe_consumer_groups(list(groups), request_timeout=seconds)
    return {group: list(future.result().members) for group, future in described.items()}
