"""Synchronous checks of an admin client's arguments: those confluent_kafka's C code makes, same types and texts.

Those its Python code makes are static methods of its AdminClient, and used from there (`Checks`): private names,
so a new version of confluent_kafka may break them, which the contract suite would show.
"""

from __future__ import annotations

from typing import TypeVar

from confluent_kafka import ConsumerGroupType
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked as re-exported
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)

Checks = AdminClient

MAX_PARTITIONS = 100_000
MAX_REPLICATION_FACTOR = 10_000
MAX_SECONDS = 3600

T = TypeVar("T")


def seconds(name: str, value: float | None, default: float, minimum: int = 0) -> float:
    """A timeout in seconds; None is the default."""
    if value is None:
        return default
    if not isinstance(value, int | float):
        raise TypeError(f"must be real number, not {type(value).__name__}")
    if not minimum <= value <= MAX_SECONDS:
        raise ValueError(
            f'Invalid value type for "{name}": expecting integer in range {minimum}..{MAX_SECONDS * 1000}'
        )
    return float(value)


def check_flag(name: str, value: object) -> None:
    """A boolean option."""
    if not isinstance(value, bool):
        raise TypeError(f"Expected {name} to be bool type, not {type(value).__name__}")


def check_objects(values: list[T], kind: type[T], wrong: type[Exception] = TypeError) -> None:
    """A non-empty list of one type; `wrong` is the exception for an element of another one."""
    if values is None:
        raise TypeError(f"Expected non-empty list of {kind.__name__} objects, not None")
    if not isinstance(values, list) or not values:
        raise ValueError(f"Expected non-empty list of {kind.__name__} objects")
    for value in values:
        if not isinstance(value, kind):
            raise wrong(f"Expected list of {kind!r}")


def check_new_topics(new_topics: list[NewTopic]) -> None:
    """Arguments of create_topics."""
    check_objects(new_topics, NewTopic)
    for new in new_topics:
        if not -1 <= new.num_partitions <= MAX_PARTITIONS:
            raise ValueError(
                f"Invalid NewTopic({new.topic}): num_partitions out of expected range "
                f"1..{MAX_PARTITIONS} or -1 for broker default"
            )
        if not -1 <= new.replication_factor <= MAX_REPLICATION_FACTOR:
            raise ValueError(
                f"Invalid NewTopic({new.topic}): replication_factor out of expected range "
                f"-1..{MAX_REPLICATION_FACTOR}"
            )
        if new.replica_assignment:
            _check_assignment(new)


def _check_assignment(new: NewTopic) -> None:
    if new.replication_factor != -1:
        raise ValueError("replication_factor and replica_assignment are mutually exclusive")
    if new.num_partitions == -1:
        raise ValueError(
            "Specifying a default partition count and a replica assignment are mutually exclusive"
        )
    if len(new.replica_assignment or ()) != new.num_partitions:
        raise ValueError(
            "replica_assignment must be a list of int lists with an outer size of num_partitions"
        )


def check_new_partitions(new_partitions: list[NewPartitions]) -> None:
    """Arguments of create_partitions."""
    check_objects(new_partitions, NewPartitions)
    for new in new_partitions:
        if not 1 <= new.new_total_count <= MAX_PARTITIONS:
            raise ValueError(
                f"Invalid NewPartitions({new.topic}): new_total_cnt out of expected range 1..{MAX_PARTITIONS}"
            )


def check_topic_names(topics: list[str]) -> None:
    """Arguments of delete_topics."""
    if not isinstance(topics, list):
        raise TypeError(f"argument 1 must be list, not {type(topics).__name__}")
    if not topics:
        raise ValueError("Expected non-empty list of topic strings")
    for topic in topics:
        if not isinstance(topic, str):
            raise TypeError(f"Expected list of topics strings, not {type(topic).__name__}")


def check_described_topics(names: object) -> list[str]:
    """The names in describe_topics' TopicCollection."""
    if not isinstance(names, list):
        raise TypeError("Expected list of topic names to be described")
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"Expected list of topics strings, not {type(name).__name__}")
        if not name:
            raise ValueError(f"Empty topic name at index {index} isn't allowed")
    return names


def check_resources(resources: list[ConfigResource]) -> None:
    """Arguments of describe_configs and alter_configs."""
    check_objects(resources, ConfigResource, wrong=ValueError)
    _check_resource_names(resources)


def check_incremental(resources: list[ConfigResource]) -> None:
    """Arguments of incremental_alter_configs."""
    check_objects(resources, ConfigResource)
    _check_resource_names(resources)
    for resource in resources:
        if not resource.incremental_configs:
            raise ValueError(
                "expected non-empty list of ConfigEntry to alter incrementally in incremental_configs field"
            )
        for index, entry in enumerate(resource.incremental_configs):
            _check_incremental_entry(index, entry)


def _check_incremental_entry(index: int, entry: object) -> None:
    if not isinstance(entry, ConfigEntry):
        raise TypeError(f"expected ConfigEntry type in incremental_configs field, index {index}")
    if not isinstance(entry.incremental_operation, AlterConfigOpType):
        raise TypeError(f"Expected .incremental_operation of {entry.name} to be an AlterConfigOpType")
    if entry.incremental_operation is not AlterConfigOpType.DELETE and not isinstance(entry.value, str):
        raise TypeError(f"Expected .value to be str type, not {type(entry.value).__name__}")
    if not entry.name:
        raise ValueError(f'setting config entry "", index {index}, failed: Config name mustn\'t be empty')


def _check_resource_names(resources: list[ConfigResource]) -> None:
    for resource in resources:
        if not isinstance(resource.name, str):
            raise TypeError(f"Expected .name to be str type, not {type(resource.name).__name__}")
        if not resource.name:
            raise ValueError(f"Invalid ConfigResource({resource.restype_int},)")


def check_groups(groups: list[str], to_be: str) -> None:
    """Arguments of describe_consumer_groups and delete_consumer_groups."""
    if not isinstance(groups, list):
        raise TypeError(f"Expected input to be list of group ids to be {to_be}")
    if not groups:
        raise ValueError(f"Expected at least one group to be {to_be}")
    for group in groups:
        if not isinstance(group, str):
            raise ValueError(f"Expected list of {str!r}")


def check_enums(name: str, values: set[T] | None, kind: type[T]) -> None:
    """A filter of list_consumer_groups."""
    if values is None:
        return
    if not isinstance(values, set):
        raise TypeError(f"'{name}' must be a set")
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"All elements of {name} must be of type {kind.__name__}")
        if value is ConsumerGroupType.UNKNOWN:
            raise ValueError("UNKNOWN type is not allowed")
