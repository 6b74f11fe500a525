"""Topics as clients ask for them: checked before they are created, found in a snapshot of the registry."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from streamadapter import topic_config
from streamadapter.backend import TopicInfo
from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_PARTITIONS = 1

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def new_topic(name: str, partitions: int = -1, config: Mapping[str, str | None] | None = None) -> TopicInfo:
    """A topic to create, with a new id; -1 partitions is the default number.

    Raises StoreError(TOPIC_EXCEPTION, INVALID_PARTITIONS, INVALID_CONFIG).
    """
    check_name(name)
    if partitions == -1:
        partitions = DEFAULT_PARTITIONS
    if partitions < 1:
        raise StoreError(
            KafkaError.INVALID_PARTITIONS,
            f"Number of partitions must be at least 1, or -1 for the default of "
            f"{DEFAULT_PARTITIONS}; not {partitions}",
        )
    return TopicInfo(name, uuid.uuid4().hex, partitions, topic_config.validate(config or {}))


def check_name(name: str) -> None:
    """StoreError(TOPIC_EXCEPTION) for a name that no topic can have."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise StoreError(
            KafkaError.TOPIC_EXCEPTION,
            f'Invalid topic name "{name}": use 1 to 249 of the characters '
            'a-z A-Z 0-9 . _ - and not "." or ".."',
        )


def check_collision(known: Iterable[str], name: str) -> None:
    """StoreError(TOPIC_EXCEPTION) for a name that differs from another topic's in "." and "_" only, as in Kafka."""
    for other in known:
        if other != name and other.replace(".", "_") == name.replace(".", "_"):
            raise StoreError(
                KafkaError.TOPIC_EXCEPTION,
                f'Topic "{name}" collides with "{other}": use one of "." and "_" in names, not both',
            )


def described_topic(known: Mapping[str, TopicInfo], name: str) -> TopicInfo:
    """As `find_topic`, but TOPIC_EXCEPTION for a name that no topic can have: whoever describes is told so."""
    check_name(name)
    return find_topic(known, name)


def find_topic(known: Mapping[str, TopicInfo], name: str) -> TopicInfo:
    """The topic, or StoreError(UNKNOWN_TOPIC_OR_PART)."""
    try:
        return known[name]
    except KeyError:
        raise StoreError(KafkaError.UNKNOWN_TOPIC_OR_PART, f'Topic "{name}" does not exist') from None


def find_partition(known: Mapping[str, TopicInfo], name: str, partition: int) -> TopicInfo:
    """The topic that has this partition, or StoreError(UNKNOWN_TOPIC_OR_PART)."""
    topic = find_topic(known, name)
    if not 0 <= partition < topic.partitions:
        raise StoreError(
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            f'Topic "{name}" has partitions 0 to {topic.partitions - 1}, not {partition}',
        )
    return topic
