"""The admin client on every backend, and next to the real one where that can be asked without a broker."""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import confluent_kafka.admin
import pytest
from confluent_kafka import (
    OFFSET_END,
    OFFSET_INVALID,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    ElectionType,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)

from streamadapter import registry
from streamadapter.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)
from streamadapter.backend import Append, Committed, LogStore
from streamadapter.codec import encode_batch
from streamadapter.engine import coordinator
from streamadapter.properties import parse
from streamadapter.testing.proxy import Faults, Proxy

if TYPE_CHECKING:
    from streamadapter.testing.servers import Server

DEADLINE = 60

LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent_kafka gives these no types
EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # as above
MAX_TIMESTAMP: OffsetSpec = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]  # as above


@pytest.fixture
def admin(store_url: str) -> Iterator[AdminClient]:
    with AdminClient({"bootstrap.servers": store_url}) as client:
        yield client


@pytest.fixture
def store(store_url: str) -> Iterator[LogStore]:
    """The same server, for what an admin client cannot do: produce, and be a member of a group."""
    open_store = registry.backend_of(store_url).open_store
    assert open_store
    store = open_store(store_url, parse({}, "admin"))
    yield store
    store.close()


def only(futures: dict[Any, Future[Any]]) -> Any:
    """The result of a request about one thing."""
    (future,) = futures.values()
    return future.result(DEADLINE)


def error(futures: dict[Any, Future[Any]]) -> KafkaError:
    """The error of a request about one thing."""
    with pytest.raises(KafkaException) as caught:
        only(futures)
    found: KafkaError = caught.value.args[0]
    return found


def create(admin: AdminClient, topic: str, partitions: int = 1, **config: str) -> None:
    only(
        admin.create_topics(
            [NewTopic(topic, partitions, config={k.replace("_", "."): v for k, v in config.items()})]
        )
    )


def append(store: LogStore, topic: str, *timestamps: int) -> None:
    """Append one batch with records of these timestamps to partition 0."""
    values = [b"v"] * len(timestamps)
    nothing = [None] * len(timestamps)
    producer_id = uuid.uuid4().int >> 80
    batch = encode_batch(
        values, nothing, timestamps, nothing, producer_id=producer_id, producer_epoch=0, sequence=0
    )
    info = store.topics().topics[topic]
    (answer,) = store.append(
        [Append(info, 0, producer_id, 0, 0, len(values), max(timestamps), batch)], acks=1, timeout_ms=10_000
    )
    assert not isinstance(answer, Exception)


def join(store: LogStore, group: str, topic: str, session_timeout_ms: int = 60_000) -> str:
    """Make a member of the group that owns the whole topic, as a consumer would."""
    member_id = f"member-{uuid.uuid4().hex[:8]}"
    spec = coordinator.MemberSpec(
        "client-1", "10.0.0.1", (topic,), ("range",), False, session_timeout_ms, 60_000, "instance-1"
    )
    view = store.group_heartbeat(group, "", -1, 0)
    state = coordinator.join(coordinator.decode(view.state or b""), member_id, spec)
    state = coordinator.settle(coordinator.set_topics(state, store.topics()), view.now)
    answer = store.group_update(
        group, view.version, coordinator.encode(state), coordinator.sessions(state), ()
    )
    assert answer.applied
    return member_id


def offsets_of(admin: AdminClient, group: str) -> dict[int, int]:
    request = ConsumerGroupTopicPartitions(group)
    result = only(admin.list_consumer_group_offsets([request]))
    return {tp.partition: tp.offset for tp in result.topic_partitions}


# -- topics


def test_a_created_topic_is_listed_with_its_partitions(admin: AdminClient, topic: str) -> None:
    create(admin, topic, 3)

    metadata = admin.list_topics(timeout=DEADLINE)

    assert list(metadata.topics[topic].partitions) == [0, 1, 2]
    assert metadata.topics[topic].error is None
    (broker,) = metadata.brokers
    assert metadata.controller_id == broker
    assert metadata.topics[topic].partitions[2].leader == broker
    assert metadata.topics[topic].partitions[2].isrs == [broker]
    assert metadata.orig_broker_name == str(metadata.brokers[broker])


def test_the_number_of_partitions_is_one_unless_it_is_given(admin: AdminClient, topic: str) -> None:
    only(admin.create_topics([NewTopic(topic)]))

    assert list(admin.list_topics(topic).topics[topic].partitions) == [0]


def test_listing_an_unknown_topic_gives_it_with_an_error(admin: AdminClient, topic: str) -> None:
    metadata = admin.list_topics(topic, timeout=DEADLINE)

    assert list(metadata.topics) == [topic]
    assert metadata.topics[topic].error == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_creating_a_topic_twice_is_an_error(admin: AdminClient, topic: str) -> None:
    create(admin, topic)

    assert error(admin.create_topics([NewTopic(topic, 1)])) == KafkaError.TOPIC_ALREADY_EXISTS


def test_topics_of_one_request_succeed_and_fail_each_for_itself(admin: AdminClient, topic: str) -> None:
    futures = admin.create_topics([NewTopic("no/slash", 1), NewTopic(topic, 1)])

    assert futures[topic].result(DEADLINE) is None
    with pytest.raises(KafkaException, match="no/slash"):
        futures["no/slash"].result(DEADLINE)


@pytest.mark.parametrize(
    ("new", "code"),
    [
        (NewTopic("", 1), KafkaError.TOPIC_EXCEPTION),
        (NewTopic("..", 1), KafkaError.TOPIC_EXCEPTION),
        (NewTopic("a b", 1), KafkaError.TOPIC_EXCEPTION),
        (NewTopic("newline\n", 1), KafkaError.TOPIC_EXCEPTION),
        (NewTopic("x" * 250, 1), KafkaError.TOPIC_EXCEPTION),
        (NewTopic("t", 0), KafkaError.INVALID_PARTITIONS),
        (NewTopic("t", 1, 0), KafkaError.INVALID_REPLICATION_FACTOR),
        (NewTopic("t", 1, 3), KafkaError.INVALID_REPLICATION_FACTOR),
        (NewTopic("t", 1, replica_assignment=[[2]]), KafkaError.INVALID_REPLICA_ASSIGNMENT),
        (NewTopic("t", 1, config={"retention.msec": "1"}), KafkaError.INVALID_CONFIG),
        (NewTopic("t", 1, config={"cleanup.policy": "compact"}), KafkaError.INVALID_CONFIG),
    ],
)
def test_a_topic_that_cannot_be_is_refused(admin: AdminClient, new: NewTopic, code: int) -> None:
    assert error(admin.create_topics([new])) == code


def test_the_longest_name_and_every_allowed_character_are_accepted(admin: AdminClient) -> None:
    name = f"aZ09._-{uuid.uuid4().hex}".ljust(249, "x")

    create(admin, name)

    assert name in admin.list_topics().topics


def test_a_topic_named_twice_in_one_request_is_refused(admin: AdminClient, topic: str) -> None:
    assert error(admin.create_topics([NewTopic(topic, 1), NewTopic(topic, 2)])) == KafkaError.INVALID_REQUEST
    assert topic not in admin.list_topics().topics


def test_validate_only_checks_and_creates_nothing(admin: AdminClient, topic: str) -> None:
    only(admin.create_topics([NewTopic(topic, 1)], validate_only=True))

    assert topic not in admin.list_topics().topics
    create(admin, topic)
    assert (
        error(admin.create_topics([NewTopic(topic, 1)], validate_only=True))
        == KafkaError.TOPIC_ALREADY_EXISTS
    )


def test_a_deleted_topic_is_gone_with_its_records(admin: AdminClient, store: LogStore, topic: str) -> None:
    create(admin, topic)
    append(store, topic, 1, 2, 3)

    only(admin.delete_topics([topic]))

    assert topic not in admin.list_topics().topics
    create(admin, topic)
    assert only(admin.list_offsets({TopicPartition(topic, 0): LATEST})).offset == 0


def test_deleting_an_unknown_topic_is_an_error(admin: AdminClient, topic: str) -> None:
    assert error(admin.delete_topics([topic])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_partitions_can_be_added_and_hold_records(admin: AdminClient, topic: str) -> None:
    create(admin, topic, 2)

    only(admin.create_partitions([NewPartitions(topic, 5)], validate_only=True))
    assert len(admin.list_topics(topic).topics[topic].partitions) == 2
    only(admin.create_partitions([NewPartitions(topic, 5)]))

    assert len(admin.list_topics(topic).topics[topic].partitions) == 5
    assert only(admin.list_offsets({TopicPartition(topic, 4): LATEST})).offset == 0


@pytest.mark.parametrize("total", [1, 2])
def test_partitions_cannot_be_removed(admin: AdminClient, topic: str, total: int) -> None:
    create(admin, topic, 2)

    assert error(admin.create_partitions([NewPartitions(topic, total)])) == KafkaError.INVALID_PARTITIONS


def test_partitions_of_an_unknown_topic_cannot_be_added(admin: AdminClient, topic: str) -> None:
    assert error(admin.create_partitions([NewPartitions(topic, 2)])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topics_description_has_its_id_and_partitions(
    admin: AdminClient, store: LogStore, topic: str
) -> None:
    create(admin, topic, 2)

    futures = admin.describe_topics(TopicCollection([topic, "unknown"]))

    description = futures[topic].result(DEADLINE)
    assert description.name == topic
    assert [p.id for p in description.partitions] == [0, 1]
    assert description.partitions[1].leader.id == description.partitions[1].isr[0].id
    bits = base64.b64decode(f"{description.topic_id}==", altchars=b"-_")
    assert bits.hex() == store.topics().topics[topic].topic_id
    assert error({"unknown": futures["unknown"]}) == KafkaError.UNKNOWN_TOPIC_OR_PART


# -- configs


def configs(admin: AdminClient, topic: str) -> dict[str, ConfigEntry]:
    found: dict[str, ConfigEntry] = only(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    return found


def alter(
    admin: AdminClient, topic: str, *entries: ConfigEntry, **options: Any
) -> dict[ConfigResource, Future[None]]:
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=list(entries))
    return admin.incremental_alter_configs([resource], **options)


def setting(
    name: str, value: str | None, operation: AlterConfigOpType = AlterConfigOpType.SET
) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=operation)


def test_described_configs_tell_defaults_from_what_was_set(admin: AdminClient, topic: str) -> None:
    create(admin, topic, retention_ms="1000", segment_ms="5")

    found = configs(admin, topic)

    assert (found["retention.ms"].value, found["retention.ms"].is_default) == ("1000", False)
    assert ConfigSource(found["retention.ms"].source) is ConfigSource.DYNAMIC_TOPIC_CONFIG
    assert (found["max.message.bytes"].value, found["max.message.bytes"].is_default) == ("1048588", True)
    assert ConfigSource(found["max.message.bytes"].source) is ConfigSource.DEFAULT_CONFIG
    assert found["segment.ms"].value == "5"


def test_incremental_changes_touch_only_what_they_name(admin: AdminClient, topic: str) -> None:
    create(admin, topic, retention_ms="1000", retention_bytes="5")

    only(
        alter(
            admin,
            topic,
            setting("retention.ms", "2000"),
            setting("retention.bytes", None, AlterConfigOpType.DELETE),
        )
    )

    found = configs(admin, topic)
    assert found["retention.ms"].value == "2000"
    assert found["retention.bytes"].is_default


def test_altering_all_configs_returns_the_others_to_their_defaults(admin: AdminClient, topic: str) -> None:
    create(admin, topic, retention_ms="1000", retention_bytes="5")

    only(admin.alter_configs([ConfigResource(ResourceType.TOPIC, topic, {"retention.ms": "3000"})]))

    found = configs(admin, topic)
    assert found["retention.ms"].value == "3000"
    assert found["retention.bytes"].is_default


def test_a_config_change_can_be_tried(admin: AdminClient, topic: str) -> None:
    create(admin, topic)

    only(alter(admin, topic, setting("retention.ms", "2000"), validate_only=True))

    assert configs(admin, topic)["retention.ms"].is_default


@pytest.mark.parametrize(
    "entry",
    [
        setting("retention.ms", "-7"),
        setting("retention.hours", "1"),
        setting("cleanup.policy", "compact", AlterConfigOpType.APPEND),
    ],
)
def test_a_bad_config_change_is_refused_and_changes_nothing(
    admin: AdminClient, topic: str, entry: ConfigEntry
) -> None:
    create(admin, topic)

    assert error(alter(admin, topic, setting("retention.bytes", "9"), entry)) == KafkaError.INVALID_CONFIG
    assert configs(admin, topic)["retention.bytes"].is_default


def test_configs_of_an_unknown_topic_are_an_error(admin: AdminClient, topic: str) -> None:
    resource = ConfigResource(ResourceType.TOPIC, topic)

    assert error(admin.describe_configs([resource])) == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert error(alter(admin, topic, setting("retention.ms", "1"))) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_the_brokers_configs_are_read_only_defaults(admin: AdminClient) -> None:
    broker = str(admin.list_topics().controller_id)

    found = only(admin.describe_configs([ConfigResource(ResourceType.BROKER, broker)]))

    assert found["num.partitions"].value == "1"
    assert all(entry.is_read_only and entry.is_default for entry in found.values())
    resource = ConfigResource(ResourceType.BROKER, broker, {"num.partitions": "3"})
    assert error(admin.alter_configs([resource])) == KafkaError.INVALID_REQUEST


def test_a_group_has_no_configs(admin: AdminClient, group: str) -> None:
    assert only(admin.describe_configs([ConfigResource(ResourceType.GROUP, group)])) == {}


def test_concurrent_changes_of_one_topic_all_take_effect(
    store_url: str, admin: AdminClient, topic: str
) -> None:
    create(admin, topic)
    names = ["retention.ms", "retention.bytes", "max.message.bytes", "segment.ms", "flush.ms", "preallocate"]

    changes = [alter(admin, topic, setting(name, "77")) for name in names]
    for change in changes:
        only(change)

    found = configs(admin, topic)
    assert [found[name].value for name in names] == ["77"] * len(names)


# -- cluster


def test_the_cluster_is_one_broker_and_has_an_id(admin: AdminClient) -> None:
    described: Any = admin.describe_cluster().result(DEADLINE)

    assert [node.id for node in described.nodes] == [described.controller.id]
    assert described.cluster_id == admin.cluster_id(DEADLINE) == admin.list_topics().cluster_id
    assert len(described.cluster_id or "") == 22


# -- offsets of logs


def test_the_ends_of_a_log(admin: AdminClient, store: LogStore, topic: str) -> None:
    create(admin, topic, 2)
    append(store, topic, 10, 20, 30)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)

    latest = admin.list_offsets({first: LATEST, second: LATEST})
    earliest = admin.list_offsets({first: EARLIEST})

    assert latest[first].result(DEADLINE).offset == 3
    assert latest[first].result(DEADLINE).timestamp == -1
    assert latest[second].result(DEADLINE).offset == 0
    assert only(earliest).offset == 0


def by_time(admin: AdminClient, topic: str, spec: OffsetSpec) -> tuple[int, int]:
    found = only(admin.list_offsets({TopicPartition(topic, 0): spec}))
    return found.offset, found.timestamp


def test_the_first_offset_at_or_after_a_time_is_exact_for_any_order_of_timestamps(
    admin: AdminClient, store: LogStore, topic: str
) -> None:
    create(admin, topic)
    timestamps = [[10, 30, 20], [5, 6], [40, 15, 40], [7], [25]]
    for batch in timestamps:
        append(store, topic, *batch)
    flat = [t for batch in timestamps for t in batch]

    for wanted in range(45):
        expected = next(((offset, t) for offset, t in enumerate(flat) if t >= wanted), (-1, -1))
        assert by_time(admin, topic, OffsetSpec.for_timestamp(wanted)) == expected


def test_times_before_and_after_the_log_start_are_told_apart_after_records_were_deleted(
    admin: AdminClient, store: LogStore, topic: str
) -> None:
    # The record with timestamp 100 raised the largest one so far, and is deleted; those behind it are older.
    create(admin, topic)
    timestamps = [[10, 100, 20], [30], [60, 50], [90], [120]]
    for batch in timestamps:
        append(store, topic, *batch)
    flat = [t for batch in timestamps for t in batch]
    only(admin.delete_records([TopicPartition(topic, 0, 2)]))

    for wanted in (0, 20, 25, 40, 55, 61, 90, 95, 101, 120, 121):
        expected = next(((o, t) for o, t in enumerate(flat) if o >= 2 and t >= wanted), (-1, -1))
        assert by_time(admin, topic, OffsetSpec.for_timestamp(wanted)) == expected


def test_the_largest_timestamp_is_found_even_after_a_larger_one_was_deleted(
    admin: AdminClient, store: LogStore, topic: str
) -> None:
    create(admin, topic)
    assert by_time(admin, topic, MAX_TIMESTAMP) == (-1, -1)
    for batch in ([10, 100], [60, 90, 90], [70]):
        append(store, topic, *batch)
    assert by_time(admin, topic, MAX_TIMESTAMP) == (1, 100)

    only(admin.delete_records([TopicPartition(topic, 0, 2)]))

    assert by_time(admin, topic, MAX_TIMESTAMP) == (3, 90)
    only(admin.delete_records([TopicPartition(topic, 0, OFFSET_END)]))
    assert by_time(admin, topic, MAX_TIMESTAMP) == (-1, -1)


@pytest.mark.parametrize("partition", [1, 99])
def test_offsets_of_an_unknown_partition_are_an_error_and_leave_the_others_alone(
    admin: AdminClient, topic: str, partition: int
) -> None:
    create(admin, topic)
    known, unknown = TopicPartition(topic, 0), TopicPartition(topic, partition)

    futures = admin.list_offsets({unknown: LATEST, known: LATEST})

    assert futures[known].result(DEADLINE).offset == 0
    assert error({unknown: futures[unknown]}) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_deleting_records_raises_the_low_watermark(admin: AdminClient, store: LogStore, topic: str) -> None:
    create(admin, topic)
    append(store, topic, 1, 2, 3)
    append(store, topic, 4)

    assert only(admin.delete_records([TopicPartition(topic, 0, 2)])).low_watermark == 2
    assert only(admin.delete_records([TopicPartition(topic, 0, 1)])).low_watermark == 2
    assert only(admin.delete_records([TopicPartition(topic, 0, OFFSET_END)])).low_watermark == 4
    assert error(admin.delete_records([TopicPartition(topic, 0, 5)])) == KafkaError.OFFSET_OUT_OF_RANGE
    assert error(admin.delete_records([TopicPartition(topic, 1, 0)])) == KafkaError.UNKNOWN_TOPIC_OR_PART


# -- consumer groups


def test_a_group_with_members_is_described(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic, 2)
    member_id = join(store, group, topic)

    described = only(admin.describe_consumer_groups([group]))

    assert described.state is ConsumerGroupState.STABLE
    assert described.type is ConsumerGroupType.CLASSIC
    assert described.partition_assignor == "range"
    assert not described.is_simple_consumer_group
    assert described.coordinator.id == admin.list_topics().controller_id
    (member,) = described.members
    assert (member.member_id, member.client_id, member.host) == (member_id, "client-1", "10.0.0.1")
    assert member.group_instance_id == "instance-1"
    assert [tp.partition for tp in member.assignment.topic_partitions] == [0, 1]
    assert [tp.partition for tp in member.target_assignment.topic_partitions] == [0, 1]


def test_a_member_whose_session_has_ended_is_not_shown(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic)
    join(store, group, topic, session_timeout_ms=1)

    deadline = time.monotonic() + DEADLINE
    while only(admin.describe_consumer_groups([group])).members:
        assert time.monotonic() < deadline

    assert only(admin.describe_consumer_groups([group])).state is ConsumerGroupState.EMPTY
    only(admin.delete_consumer_groups([group]))


def test_a_group_that_only_has_offsets_is_empty_and_one_that_has_nothing_is_dead(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic)
    assert only(admin.describe_consumer_groups([group])).state is ConsumerGroupState.DEAD

    store.commit(group, "", {(topic, 0): Committed(0)})

    described = only(admin.describe_consumer_groups([group]))
    assert described.state is ConsumerGroupState.EMPTY
    assert described.is_simple_consumer_group


def test_groups_are_listed_by_state_and_type(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic)
    join(store, f"{group}-1", topic)
    store.commit(f"{group}-2", "", {(topic, 0): Committed(0)})

    def names(**options: Any) -> list[str]:
        result = admin.list_consumer_groups(**options).result(DEADLINE)
        assert result.errors == []
        return sorted(g.group_id for g in result.valid or () if g.group_id.startswith(group))

    assert names() == [f"{group}-1", f"{group}-2"]
    assert names(states={ConsumerGroupState.STABLE}) == [f"{group}-1"]
    assert names(states={ConsumerGroupState.EMPTY}) == [f"{group}-2"]
    assert names(types={ConsumerGroupType.CLASSIC}, states=set()) == [f"{group}-1", f"{group}-2"]
    assert names(types={ConsumerGroupType.CONSUMER}) == []


def test_the_deprecated_list_groups_shows_members(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic)
    member_id = join(store, group, topic)

    groups: list[Any] = admin.list_groups(group, timeout=DEADLINE)
    (found,) = groups

    assert (found.id, found.state, found.protocol) == (group, "Stable", "range")
    assert [member.id for member in found.members] == [member_id]
    assert admin.list_groups(f"{group}-unknown") == []


def test_only_a_group_without_live_members_can_be_deleted(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic)
    join(store, f"{group}-1", topic)
    store.commit(f"{group}-2", "", {(topic, 0): Committed(0)})

    futures = admin.delete_consumer_groups([f"{group}-1", f"{group}-2", f"{group}-3"])

    assert error({0: futures[f"{group}-1"]}) == KafkaError.NON_EMPTY_GROUP
    assert futures[f"{group}-2"].result(DEADLINE) is None
    assert error({0: futures[f"{group}-3"]}) == KafkaError.GROUP_ID_NOT_FOUND
    assert only(admin.describe_consumer_groups([f"{group}-2"])).state is ConsumerGroupState.DEAD


def test_altered_offsets_are_what_the_group_has_committed(admin: AdminClient, topic: str, group: str) -> None:
    create(admin, topic, 3)
    new = [TopicPartition(topic, 0, 7, "why", 4), TopicPartition(topic, 2, 9)]

    result = only(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, new)]))

    assert [tp.error for tp in result.topic_partitions] == [None, None]
    assert offsets_of(admin, group) == {0: 7, 2: 9}
    asked = [TopicPartition(topic, 0), TopicPartition(topic, 1), TopicPartition(topic, 2)]
    listed = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)]))
    first, second, third = listed.topic_partitions
    assert (first.offset, first.metadata, first.leader_epoch) == (7, "why", 4)
    assert (second.offset, second.error) == (OFFSET_INVALID, None)
    assert (third.offset, third.metadata, third.leader_epoch) == (9, None, None)


def test_offsets_are_not_altered_under_a_live_member(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic)
    join(store, group, topic)
    new = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 7)])

    result = only(admin.alter_consumer_group_offsets([new]))

    assert result.topic_partitions[0].error == KafkaError.UNKNOWN_MEMBER_ID
    assert offsets_of(admin, group) == {}


def test_offsets_are_altered_only_of_partitions_that_exist(
    admin: AdminClient, topic: str, group: str
) -> None:
    create(admin, topic)
    new = [TopicPartition(topic, 0, 7), TopicPartition(topic, 5, 7), TopicPartition("unknown", 0, 7)]

    result = only(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, new)]))

    assert [tp.error and tp.error.code() for tp in result.topic_partitions] == [
        None,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    ]
    assert offsets_of(admin, group) == {0: 7}


def test_a_group_that_has_committed_nothing_has_no_offsets(admin: AdminClient, group: str) -> None:
    assert offsets_of(admin, group) == {}


def test_deleted_offsets_are_forgotten_and_the_others_stay(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic, 2)
    store.commit(group, "", {(topic, 0): Committed(1), (topic, 1): Committed(2)})

    only(admin.delete_consumer_group_offsets(group, [TopicPartition(topic, 0)]))

    assert offsets_of(admin, group) == {1: 2}


def test_offsets_are_not_deleted_under_a_subscribed_member(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic)
    store.commit(group, "", {(topic, 0): Committed(1), ("other", 0): Committed(1)})
    join(store, group, topic)

    refused = admin.delete_consumer_group_offsets(group, [TopicPartition(topic, 0)])
    only(admin.delete_consumer_group_offsets(group, [TopicPartition("other", 0)]))

    assert error(refused) == KafkaError.GROUP_SUBSCRIBED_TO_TOPIC
    assert list(store.committed(group)) == [(topic, 0)]


def test_offsets_of_an_unknown_group_cannot_be_deleted(admin: AdminClient, topic: str, group: str) -> None:
    futures = admin.delete_consumer_group_offsets(group, [TopicPartition(topic, 0)])

    assert error(futures) == KafkaError.GROUP_ID_NOT_FOUND


# -- the client


def test_what_is_not_supported_says_so_through_its_future(admin: AdminClient) -> None:
    anything = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # any name
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type]  # any principal
        None,  # type: ignore[arg-type]  # any host
        AclOperation.ANY,
        AclPermissionType.ANY,
    )

    assert error({0: admin.describe_acls(anything)}) == KafkaError._UNSUPPORTED_FEATURE
    assert error(admin.delete_acls([anything])) == KafkaError._UNSUPPORTED_FEATURE
    assert error({0: admin.elect_leaders(ElectionType.PREFERRED)}) == KafkaError._UNSUPPORTED_FEATURE
    assert error(admin.describe_user_scram_credentials(["a"])) == KafkaError._UNSUPPORTED_FEATURE  # type: ignore[arg-type]  # a dict, for a list
    with pytest.raises(KafkaException, match="new client"):
        admin.set_sasl_credentials("user", "secret")


def test_a_closed_client_says_so(store_url: str, topic: str) -> None:
    with AdminClient({"bootstrap.servers": store_url}) as admin:
        pass

    with pytest.raises(RuntimeError, match="AdminClient has been closed"):
        admin.create_topics([NewTopic(topic, 1)])
    with pytest.raises(RuntimeError, match="Handle has been closed"):
        admin.list_topics()


def test_poll_waits_and_serves_nothing(admin: AdminClient) -> None:
    before = time.monotonic()

    assert admin.poll(0.2) == 0

    assert time.monotonic() - before >= 0.2
    assert len(admin) == 0


# -- a server that cannot be reached


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def elapsed(call: Callable[[], Any]) -> float:
    before = time.monotonic()
    call()
    return time.monotonic() - before


def test_a_server_that_does_not_answer_ends_a_request_at_its_timeout(silent_server: str, topic: str) -> None:
    with AdminClient({"bootstrap.servers": silent_server}) as admin:
        futures = admin.create_topics([NewTopic(topic, 1)], request_timeout=0.5)
        assert len(admin) == 1

        found: list[KafkaError] = []
        took = elapsed(lambda: found.append(error(futures)))

        assert found == [KafkaError._TIMED_OUT]
        assert took < 4  # of the socket's 5 s
        assert len(admin) == 0


def test_listing_topics_of_an_unreachable_server_is_a_transport_error(own_redis: Server) -> None:
    with AdminClient({"bootstrap.servers": own_redis.url}) as admin:
        own_redis.kill()

        with pytest.raises(KafkaException) as caught:
            admin.list_topics(timeout=0.5)

    assert caught.value.args[0] == KafkaError._TRANSPORT
    assert "Failed to get metadata" in caught.value.args[0].str()


def test_a_request_outlasts_a_restart_of_the_server(own_redis: Server, topic: str) -> None:
    with AdminClient({"bootstrap.servers": own_redis.url}) as admin:
        own_redis.kill()
        futures = admin.create_topics([NewTopic(topic, 1)], request_timeout=DEADLINE)

        own_redis.start()

        assert only(futures) is None
        assert topic in admin.list_topics().topics


def test_a_program_ends_though_a_request_is_under_way(silent_server: str) -> None:
    program = (
        "from streamadapter.admin import AdminClient, NewTopic\n"
        f"admin = AdminClient({{'bootstrap.servers': {silent_server!r}}})\n"
        "admin.create_topics([NewTopic('t', 1)], request_timeout=3000)\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE)


@pytest.mark.parametrize("seed", range(3))
def test_lost_requests_and_replies_are_made_up_for_and_no_success_is_reported_as_an_error(
    redis_server: Server, seed: int
) -> None:
    names = [f"t-{uuid.uuid4().hex[:12]}" for _ in range(5)]
    with (
        Proxy(("127.0.0.1", redis_server.port)) as proxy,
        AdminClient(
            {"bootstrap.servers": proxy.url, "retry.backoff.ms": 1, "retry.backoff.max.ms": 5}
        ) as admin,
    ):
        proxy.set_faults(Faults(seed, drop_request=0.1, drop_reply=0.3))
        for name in names:
            create(admin, name, 2)
            only(admin.create_partitions([NewPartitions(name, 3)]))
            only(alter(admin, name, setting("retention.ms", "5")))
            only(admin.delete_topics([name]))
        proxy.heal()

        assert not set(names) & set(admin.list_topics().topics)


# -- the same checks as the real client's


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Any, Any]]:
    """The real client and ours, neither with a server."""
    nowhere = "127.0.0.1:1"
    real = confluent_kafka.admin.AdminClient({"bootstrap.servers": nowhere, "log_level": 0})
    with real, AdminClient({"bootstrap.servers": f"redis://{nowhere}/0"}) as ours:
        yield real, ours


TP = TopicPartition("t", 0)
BAD_CALLS: Sequence[Callable[[Any], Any]] = [
    lambda a: a.create_topics([]),
    lambda a: a.create_topics(None),
    lambda a: a.create_topics((NewTopic("t", 1),)),
    lambda a: a.create_topics([NewTopic("t", -2)]),
    lambda a: a.create_topics([NewTopic("t", 100_001)]),
    lambda a: a.create_topics([NewTopic("t", 1, 1, replica_assignment=[[0]])]),
    lambda a: a.create_topics([NewTopic("t", 1)], request_timeout="1"),
    lambda a: a.create_topics([NewTopic("t", 1)], request_timeout=-5),
    lambda a: a.create_topics([NewTopic("t", 1)], operation_timeout=-5),
    lambda a: a.create_topics([NewTopic("t", 1)], unknown_option=1),
    lambda a: a.delete_topics([]),
    lambda a: a.delete_topics("topic"),
    lambda a: a.delete_topics(None),
    lambda a: a.create_partitions([]),
    lambda a: a.create_partitions([NewPartitions("t", 0)]),
    lambda a: a.describe_configs([]),
    lambda a: a.describe_configs(["t"]),
    lambda a: a.describe_configs([ConfigResource("topic", 5)]),  # type: ignore[arg-type]  # that is the point
    lambda a: a.incremental_alter_configs([]),
    lambda a: a.incremental_alter_configs(["t"]),
    lambda a: a.incremental_alter_configs([ConfigResource("topic", "t")]),
    lambda a: alter(a, "t", ConfigEntry("retention.ms", "1")),
    lambda a: alter(a, "t", setting("retention.ms", None)),
    lambda a: a.describe_topics(["t"]),
    lambda a: a.describe_topics(TopicCollection([""])),
    lambda a: a.describe_topics(TopicCollection([1])),  # type: ignore[list-item]  # as above
    lambda a: a.describe_topics(TopicCollection(["t"]), include_authorized_operations="yes"),
    lambda a: a.describe_cluster(include_authorized_operations=5),
    lambda a: a.list_topics(5),
    lambda a: a.list_topics(timeout=None),
    lambda a: a.list_consumer_groups(states=[ConsumerGroupState.EMPTY]),
    lambda a: a.list_consumer_groups(states={1}),
    lambda a: a.list_consumer_groups(types={1}),
    lambda a: a.describe_consumer_groups([]),
    lambda a: a.describe_consumer_groups("g"),
    lambda a: a.delete_consumer_groups([]),
    lambda a: a.delete_consumer_groups([5]),
    lambda a: a.list_consumer_group_offsets([]),
    lambda a: a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("")]),
    lambda a: a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("g", [TopicPartition("t", 0, 1)])]),
    lambda a: a.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("g")]),
    lambda a: a.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("g", [TP])]),
    lambda a: a.list_offsets([TP]),
    lambda a: a.list_offsets({TP: 1}),
    lambda a: a.list_offsets({TP: LATEST}, isolation_level=1),
    lambda a: a.delete_records([TopicPartition("t", -1, 0)]),
    lambda a: a.delete_records("t"),
    lambda a: a.poll(None),
]


@pytest.mark.parametrize("call", BAD_CALLS, ids=range(len(BAD_CALLS)))
def test_bad_arguments_raise_at_once_what_the_real_client_raises(
    pair: tuple[Any, Any], call: Callable[[Any], Any]
) -> None:
    real, ours = pair
    with pytest.raises((TypeError, ValueError)) as expected:
        call(real)

    with pytest.raises((TypeError, ValueError)) as found:
        call(ours)

    assert found.type is expected.type


REPEATED: Sequence[Callable[[Any], Any]] = [
    lambda a: a.describe_topics(TopicCollection(["t", "t"]), request_timeout=30),
    lambda a: a.describe_consumer_groups(["g", "g"], request_timeout=30),
    lambda a: a.delete_consumer_groups(["g", "g"], request_timeout=30),
    lambda a: a.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions("g", [TopicPartition("t", 0, 1), TopicPartition("t", 0, 2)])],
        request_timeout=30,
    ),
    lambda a: a.delete_records([TopicPartition("t", 0, 1), TopicPartition("t", 0, 2)], request_timeout=30),
]


@pytest.mark.parametrize("call", REPEATED, ids=range(len(REPEATED)))
def test_what_is_named_twice_fails_the_future_as_with_the_real_client(
    pair: tuple[Any, Any], call: Callable[[Any], Any]
) -> None:
    expected, found = (error(call(client)) for client in pair)

    assert found == expected == KafkaError._INVALID_ARG
    assert found.str() == expected.str()


def test_every_public_name_of_the_real_module_can_be_imported_from_ours() -> None:
    import streamadapter.admin as ours

    names = {
        name
        for name, value in vars(confluent_kafka.admin).items()
        if getattr(value, "__module__", "").startswith(("confluent_kafka", "cimpl")) or name.isupper()
    }
    missing = {name for name in names if not name.startswith("_") and name not in ours.__all__}

    assert missing == set()


def test_every_method_of_the_real_client_is_there() -> None:
    real = {name for name in dir(confluent_kafka.admin.AdminClient) if not name.startswith("_")}

    assert real <= set(dir(AdminClient))
