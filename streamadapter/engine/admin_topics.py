"""What the admin client does to topics and their configs, as `Work`: attempts that may be repeated.

Each checks as Kafka's controller does and answers StoreError with Kafka's codes. An attempt whose reply was
lost is recognised by the next one, so that repeating it does not turn success into an error.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, TopicPartitionInfo, Uuid
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked as re-exported
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from streamadapter import topic_config
from streamadapter.engine.calls import each
from streamadapter.engine.metadata import BROKER_ID, broker_node
from streamadapter.engine.topics import (
    DEFAULT_PARTITIONS,
    check_collision,
    described_topic,
    find_topic,
    new_topic,
)
from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamadapter.backend import LogStore, TopicInfo
    from streamadapter.engine.calls import Work

_BROKER_NAMES = {
    "max.message.bytes": "message.max.bytes",
    "min.insync.replicas": "min.insync.replicas",
    "compression.type": "compression.type",
}
"""Topic config to the broker config that is its default in Kafka; for all others that is ``log.`` and the name."""


# -- topics


def creation(store: LogStore, new_topics: Sequence[NewTopic], validate_only: bool) -> Work[str, None]:
    """Create topics. An attempt that took effect is recognised by the topic id."""
    wanted = {new.topic: new for new in new_topics}
    ids = {name: uuid.uuid4().hex for name in wanted}
    repeated = _repeated(new.topic for new in new_topics)

    def attempt(names: list[str]) -> Mapping[str, StoreError | None]:
        known = store.topics().topics

        def create(name: str) -> None:
            _check_once(name, repeated)
            existing = known.get(name)
            if existing and existing.topic_id == ids[name]:
                return
            topic = replace(_planned(wanted[name]), topic_id=ids[name])
            check_collision(known, name)
            if existing:
                raise StoreError(KafkaError.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
            if not validate_only:
                store.create_topic(topic)

        return each(names, create)

    return attempt


def _planned(new: NewTopic) -> TopicInfo:
    topic = new_topic(new.topic, new.num_partitions, {k: _text(v) for k, v in (new.config or {}).items()})
    if new.replication_factor not in (-1, 1):
        raise StoreError(
            KafkaError.INVALID_REPLICATION_FACTOR,
            f"Replication factor {new.replication_factor} is not possible: to a client the server is one "
            "broker. Use 1 or -1: copies are the server's own affair, and min.insync.replicas waits for them",
        )
    _check_assignment(new.replica_assignment or [], topic.partitions)
    return topic


def deletion(store: LogStore, topics: Sequence[str]) -> Work[str, None]:
    """Delete topics, and what groups have committed of them, as Kafka does.

    A topic that an earlier attempt saw, and that is gone, was deleted by it. If only the offsets stay behind, nothing
    is unsafe: each names the log that it is of.
    """
    repeated = _repeated(topics)
    seen: dict[str, TopicInfo] = {}

    def attempt(names: list[str]) -> Mapping[str, StoreError | None]:
        known = store.topics().topics

        def delete(name: str) -> None:
            _check_once(name, repeated)
            if name in known or name not in seen:
                seen[name] = find_topic(known, name)
                store.delete_topic(name)
            store.delete_offsets(store.groups(), [(name, p) for p in range(seen[name].partitions)])

        return each(names, delete)

    return attempt


def growth(store: LogStore, new_partitions: Sequence[NewPartitions], validate_only: bool) -> Work[str, None]:
    """Add partitions. Their number is the wanted one after an attempt asked for it: then that took effect."""
    wanted = {new.topic: new for new in new_partitions}
    repeated = _repeated(new.topic for new in new_partitions)
    asked: set[str] = set()

    def attempt(names: list[str]) -> Mapping[str, StoreError | None]:
        known = store.topics().topics

        def grow(name: str) -> None:
            _check_once(name, repeated)
            topic, total = find_topic(known, name), wanted[name].new_total_count
            if name in asked and topic.partitions == total:
                return
            if total <= topic.partitions:
                raise StoreError(
                    KafkaError.INVALID_PARTITIONS,
                    f"The topic {name} currently has {topic.partitions} partition(s); "
                    f"{total} would not be an increase.",
                )
            _check_assignment(wanted[name].replica_assignment or [], total - topic.partitions)
            if not validate_only:
                asked.add(name)
                _replace(store, topic, replace(topic, partitions=total))

        return each(names, grow)

    return attempt


def description(store: LogStore) -> Work[str, TopicDescription]:
    """Describe topics."""

    def attempt(names: list[str]) -> Mapping[str, TopicDescription | StoreError]:
        known = store.topics().topics
        node = broker_node(store)

        def describe(name: str) -> TopicDescription:
            topic = described_topic(known, name)
            identity = uuid.UUID(topic.topic_id).int
            partitions = [
                TopicPartitionInfo(index, node, [node], [node]) for index in range(topic.partitions)
            ]
            return TopicDescription(name, Uuid(*_signed_halves(identity)), False, partitions)

        return each(names, describe)

    return attempt


def _signed_halves(identity: int) -> tuple[int, int]:
    """Most and least significant 64 bits as the signed numbers that Uuid takes."""
    data = identity.to_bytes(16, "big")
    return int.from_bytes(data[:8], "big", signed=True), int.from_bytes(data[8:], "big", signed=True)


# -- configs


def config_description(store: LogStore) -> Work[ConfigResource, dict[str, ConfigEntry]]:
    """Describe the configs of topics, of the broker, and of groups (which have none here)."""

    def attempt(
        resources: list[ConfigResource],
    ) -> Mapping[ConfigResource, dict[str, ConfigEntry] | StoreError]:
        known = store.topics().topics

        def describe(resource: ConfigResource) -> dict[str, ConfigEntry]:
            match resource.restype:
                case ResourceType.TOPIC:
                    return _topic_entries(described_topic(known, resource.name))
                case ResourceType.BROKER:
                    return _broker_entries(resource.name)
                case ResourceType.GROUP:
                    return {}  # a group's timeouts are properties of its members
            raise _unexpected_type(resource)

        return each(resources, describe)

    return attempt


def config_change(store: LogStore, validate_only: bool, incremental: bool) -> Work[ConfigResource, None]:
    """Change topic configs: all of them at once, or entry by entry."""

    def attempt(pending: list[ConfigResource]) -> Mapping[ConfigResource, StoreError | None]:
        known = store.topics().topics

        def change(resource: ConfigResource) -> None:
            if resource.restype is not ResourceType.TOPIC:
                raise _unexpected_type(resource)
            topic = described_topic(known, resource.name)
            given = _merged(topic, resource) if incremental else resource.set_config_dict
            config = topic_config.validate({name: _text(value) for name, value in given.items()})
            if config != topic.config and not validate_only:
                _replace(store, topic, replace(topic, config=config))

        return each(pending, change)

    return attempt


def _topic_entries(topic: TopicInfo) -> dict[str, ConfigEntry]:
    names = [*topic_config.KEYS, *(name for name in topic.config if name not in topic_config.KEYS)]
    return {name: _topic_entry(topic, name) for name in names}


def _topic_entry(topic: TopicInfo, name: str) -> ConfigEntry:
    sources = []
    if name in topic.config:
        sources.append((name, topic.config[name], ConfigSource.DYNAMIC_TOPIC_CONFIG))
    if name in topic_config.KEYS:
        sources.append((_broker_name(name), topic_config.KEYS[name].default, ConfigSource.DEFAULT_CONFIG))
    return _entry(name, sources)


def _broker_name(name: str) -> str:
    return _BROKER_NAMES.get(name, f"log.{name}")


def _broker_entries(name: str) -> dict[str, ConfigEntry]:
    if not name.removeprefix("-").isdecimal():
        raise StoreError(KafkaError._INVALID_ARG, f'Expected the number of a broker, not "{name}"')
    if int(name) != BROKER_ID:
        # Retriable, because confluent_kafka waits for a broker it has not heard of, until the timeout.
        raise StoreError(
            KafkaError.BROKER_NOT_AVAILABLE, f"There is one broker, {BROKER_ID}; not {name}", retriable=True
        )
    values = {"num.partitions": str(DEFAULT_PARTITIONS), "default.replication.factor": "1"}
    values |= {_broker_name(key.name): key.default for key in topic_config.KEYS.values()}
    return {
        name: _entry(name, [(name, value, ConfigSource.DEFAULT_CONFIG)], read_only=True)
        for name, value in values.items()
    }


def _entry(
    name: str, sources: Sequence[tuple[str, str, ConfigSource]], *, read_only: bool = False
) -> ConfigEntry:
    """sources: (config name, value, where it is set): the one in force, then what it hides."""
    _, value, source = sources[0]
    return ConfigEntry(
        name,
        value,
        source.value,  # type: ignore[arg-type]  # confluent_kafka's C code passes the number, too
        is_read_only=read_only,
        is_default=source is ConfigSource.DEFAULT_CONFIG,
        synonyms={
            synonym: ConfigEntry(synonym, hidden, where.value, is_synonym=True)  # type: ignore[arg-type]  # as above
            for synonym, hidden, where in sources
        },
    )


def _merged(topic: TopicInfo, resource: ConfigResource) -> dict[str, str | None]:
    config: dict[str, str | None] = dict(topic.config)
    for entry in resource.incremental_configs:
        match entry.incremental_operation:
            case AlterConfigOpType.SET:
                config[entry.name] = entry.value
            case AlterConfigOpType.DELETE:
                config.pop(entry.name, None)
            case _:
                raise StoreError(
                    KafkaError.INVALID_CONFIG,
                    f'APPEND and SUBTRACT need a list, which topic config "{entry.name}" is not; use SET',
                )
    return config


# -- helpers


def _replace(store: LogStore, old: TopicInfo, new: TopicInfo) -> None:
    if not store.update_topic(old, new):
        raise StoreError(
            KafkaError.INVALID_UPDATE_VERSION,
            f'Topic "{old.name}" is being changed elsewhere',
            retriable=True,
        )


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _check_once(name: str, repeated: set[str]) -> None:
    if name in repeated:
        raise StoreError(KafkaError.INVALID_REQUEST, f'Topic "{name}" is named twice in one request')


def _check_assignment(assignment: Sequence[Sequence[int]], partitions: int) -> None:
    if assignment and list(assignment) != [[BROKER_ID]] * partitions:
        raise StoreError(
            KafkaError.INVALID_REPLICA_ASSIGNMENT,
            f"Replicas cannot be placed: to a client the server is one broker. Leave replica_assignment out, or "
            f"give [{BROKER_ID}] for each of the {partitions} new partitions",
        )


def _unexpected_type(resource: ConfigResource) -> StoreError:
    return StoreError(
        KafkaError.INVALID_REQUEST,
        f"{resource} has no configs to show or change here: topics have; a server's are set in its own "
        "configuration, a group's in the properties of its consumers",
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
