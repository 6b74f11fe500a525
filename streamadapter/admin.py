"""`AdminClient` and everything else of confluent_kafka.admin: change the import and nothing else.

from streamadapter.admin import AdminClient, NewTopic

with AdminClient({"bootstrap.servers": "redis://localhost:6379/0"}) as admin:
admin.create_topics([NewTopic("orders", num_partitions=6)])["orders"].result()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    ElectionType,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked as re-exported
    CONFIG_SOURCE_DEFAULT_CONFIG,
    CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG,
    CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER_CONFIG,
    CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG,
    CONFIG_SOURCE_GROUP_CONFIG,
    CONFIG_SOURCE_STATIC_BROKER_CONFIG,
    CONFIG_SOURCE_UNKNOWN_CONFIG,
    OFFSET_INVALID,
    RESOURCE_ANY,
    RESOURCE_BROKER,
    RESOURCE_GROUP,
    RESOURCE_TOPIC,
    RESOURCE_TRANSACTIONAL_ID,
    RESOURCE_UNKNOWN,
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    BrokerMetadata,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ConsumerGroupDescription,
    ConsumerGroupListing,
    DeletedRecords,
    DescribeClusterResult,
    GroupMember,
    GroupMetadata,
    ListConsumerGroupsResult,
    ListOffsetsResultInfo,
    MemberAssignment,
    MemberDescription,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    PartitionMetadata,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    TopicDescription,
    TopicMetadata,
    UserScramCredentialAlteration,
    UserScramCredentialDeletion,
    UserScramCredentialsDescription,
    UserScramCredentialUpsertion,
)

from streamadapter.delegation import open_client

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self

    from streamadapter.engine.admin import EngineAdmin

__all__ = [
    "CONFIG_SOURCE_DEFAULT_CONFIG",
    "CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG",
    "CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER_CONFIG",
    "CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG",
    "CONFIG_SOURCE_GROUP_CONFIG",
    "CONFIG_SOURCE_STATIC_BROKER_CONFIG",
    "CONFIG_SOURCE_UNKNOWN_CONFIG",
    "OFFSET_INVALID",
    "RESOURCE_ANY",
    "RESOURCE_BROKER",
    "RESOURCE_GROUP",
    "RESOURCE_TOPIC",
    "RESOURCE_TRANSACTIONAL_ID",
    "RESOURCE_UNKNOWN",
    "AclBinding",
    "AclBindingFilter",
    "AclOperation",
    "AclPermissionType",
    "AdminClient",
    "AlterConfigOpType",
    "BrokerMetadata",
    "ClusterMetadata",
    "ConfigEntry",
    "ConfigResource",
    "ConfigSource",
    "ConsumerGroupDescription",
    "ConsumerGroupListing",
    "DeletedRecords",
    "DescribeClusterResult",
    "GroupMember",
    "GroupMetadata",
    "KafkaError",
    "KafkaException",
    "ListConsumerGroupsResult",
    "ListOffsetsResultInfo",
    "MemberAssignment",
    "MemberDescription",
    "NewPartitions",
    "NewTopic",
    "OffsetSpec",
    "PartitionMetadata",
    "ResourcePatternType",
    "ResourceType",
    "ScramCredentialInfo",
    "ScramMechanism",
    "TopicDescription",
    "TopicMetadata",
    "UserScramCredentialAlteration",
    "UserScramCredentialDeletion",
    "UserScramCredentialUpsertion",
    "UserScramCredentialsDescription",
]


class _Timeout(TypedDict, total=False):
    request_timeout: float


class _Timeouts(_Timeout, total=False):
    operation_timeout: float


class _Change(_Timeouts, total=False):
    validate_only: bool


class _Alter(_Timeout, total=False):
    validate_only: bool
    broker: int


class _DescribeConfigs(_Timeout, total=False):
    broker: int


class _Describe(_Timeout, total=False):
    include_authorized_operations: bool


class _ListGroups(_Timeout, total=False):
    states: set[ConsumerGroupState] | None
    types: set[ConsumerGroupType] | None


class _ListGroupOffsets(_Timeout, total=False):
    require_stable: bool


class _ListOffsets(_Timeout, total=False):
    isolation_level: IsolationLevel


class AdminClient:
    """confluent_kafka's AdminClient on any backend: the same methods, arguments, results and errors.

    conf: as for a producer; bootstrap.servers is a URL (redis://, memory://, embedded://) or Kafka's host:port.

    Methods check their arguments at once (TypeError, ValueError) and return futures, whose exceptions are
    KafkaException. All take request_timeout, in seconds (default socket.timeout.ms): a future is done by then.
    Thread-safe. Leaving a `with` block disconnects; later calls raise RuntimeError.
    """

    def __init__(self, conf: Mapping[str, Any] | None = None, /, **kwargs: Any) -> None:
        # A backend with whole clients (Kafka) gives another class with the same methods.
        self._client: EngineAdmin = open_client("admin", conf, kwargs)

    # -- topics

    def create_topics(
        self, new_topics: list[NewTopic], **options: Unpack[_Change]
    ) -> dict[str, Future[None]]:
        """Create topics: {name: future of None}."""
        return self._client.create_topics(new_topics, **options)

    def delete_topics(self, topics: list[str], **options: Unpack[_Timeouts]) -> dict[str, Future[None]]:
        """Delete topics with their records: {name: future of None}."""
        return self._client.delete_topics(topics, **options)

    def create_partitions(
        self, new_partitions: list[NewPartitions], **options: Unpack[_Change]
    ) -> dict[str, Future[None]]:
        """Raise the number of partitions of topics: {name: future of None}."""
        return self._client.create_partitions(new_partitions, **options)

    def describe_topics(
        self, topics: TopicCollection, **options: Unpack[_Describe]
    ) -> dict[str, Future[TopicDescription]]:
        """Describe topics: {name: future}."""
        return self._client.describe_topics(topics, **options)

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterMetadata:
        """Brokers and topics (all, or the one asked for). Waits `timeout` seconds; raises KafkaException."""
        return self._client.list_topics(topic, timeout)

    def describe_configs(
        self, resources: list[ConfigResource], **options: Unpack[_DescribeConfigs]
    ) -> dict[ConfigResource, Future[dict[str, ConfigEntry]]]:
        """Configs of topics, brokers and groups: {resource: future of {config name: ConfigEntry}}."""
        return self._client.describe_configs(resources, **options)

    def alter_configs(
        self, resources: list[ConfigResource], **options: Unpack[_Alter]
    ) -> dict[ConfigResource, Future[None]]:
        """Replace all configs; those left out return to their defaults. Deprecated by Kafka."""
        return self._client.alter_configs(resources, **options)

    def incremental_alter_configs(
        self, resources: list[ConfigResource], **options: Unpack[_Alter]
    ) -> dict[ConfigResource, Future[None]]:
        """Set or delete single configs: {resource: future of None}."""
        return self._client.incremental_alter_configs(resources, **options)

    # -- cluster

    def describe_cluster(self, **options: Unpack[_Describe]) -> Future[DescribeClusterResult]:
        """Brokers, controller and id of the cluster."""
        return self._client.describe_cluster(**options)

    def cluster_id(self, timeout: float = -1) -> str:
        """Id of the cluster. Waits `timeout` seconds; raises KafkaException."""
        return self._client.cluster_id(timeout)

    def elect_leaders(
        self,
        election_type: ElectionType,
        partitions: list[TopicPartition] | None = None,
        **options: Unpack[_Timeouts],
    ) -> Future[dict[TopicPartition, KafkaException | None]]:
        """Elect leaders of partitions. Kafka only."""
        return self._client.elect_leaders(election_type, partitions, **options)

    # -- consumer groups

    def list_groups(self, group: str | None = None, timeout: float = -1) -> list[GroupMetadata]:
        """Deprecated by Kafka: use list_consumer_groups and describe_consumer_groups."""
        return self._client.list_groups(group, timeout)

    def list_consumer_groups(self, **options: Unpack[_ListGroups]) -> Future[ListConsumerGroupsResult]:
        """All groups, or those in one of `states` and of one of `types`."""
        return self._client.list_consumer_groups(**options)

    def describe_consumer_groups(
        self, group_ids: list[str], **options: Unpack[_Describe]
    ) -> dict[str, Future[ConsumerGroupDescription]]:
        """State and members of groups: {group: future}. One that does not exist is in state DEAD."""
        return self._client.describe_consumer_groups(group_ids, **options)

    def delete_consumer_groups(
        self, group_ids: list[str], **options: Unpack[_Timeout]
    ) -> dict[str, Future[None]]:
        """Delete groups that have no live member: {group: future of None}."""
        return self._client.delete_consumer_groups(group_ids, **options)

    def list_consumer_group_offsets(
        self,
        list_consumer_group_offsets_request: list[ConsumerGroupTopicPartitions],
        **options: Unpack[_ListGroupOffsets],
    ) -> dict[str, Future[ConsumerGroupTopicPartitions]]:
        """Committed offsets of one group: {group: future}."""
        return self._client.list_consumer_group_offsets(list_consumer_group_offsets_request, **options)

    def alter_consumer_group_offsets(
        self,
        alter_consumer_group_offsets_request: list[ConsumerGroupTopicPartitions],
        **options: Unpack[_Timeout],
    ) -> dict[str, Future[ConsumerGroupTopicPartitions]]:
        """Commit for one group without live members: {group: future}. Look at `error` of each partition."""
        return self._client.alter_consumer_group_offsets(alter_consumer_group_offsets_request, **options)

    def delete_consumer_group_offsets(
        self, group_id: str, topic_partitions: list[TopicPartition], **options: Unpack[_Timeout]
    ) -> dict[str, Future[None]]:
        """Forget committed offsets of a group: {group: future of None}. An addition to confluent_kafka."""
        return self._client.delete_consumer_group_offsets(group_id, topic_partitions, **options)

    # -- offsets

    def list_offsets(
        self, topic_partition_offsets: dict[TopicPartition, OffsetSpec], **options: Unpack[_ListOffsets]
    ) -> dict[TopicPartition, Future[ListOffsetsResultInfo]]:
        """First and next offsets, and offsets by time: {partition: future}."""
        return self._client.list_offsets(topic_partition_offsets, **options)

    def delete_records(
        self, topic_partition_offsets: list[TopicPartition], **options: Unpack[_Timeouts]
    ) -> dict[TopicPartition, Future[DeletedRecords]]:
        """Delete the records before each partition's offset (-1: all of them): {partition: future}."""
        return self._client.delete_records(topic_partition_offsets, **options)

    # -- users and rights: Kafka only

    def create_acls(
        self, acls: list[AclBinding], **options: Unpack[_Timeout]
    ) -> dict[AclBinding, Future[None]]:
        """Create ACLs. Kafka only."""
        return self._client.create_acls(acls, **options)

    def describe_acls(
        self, acl_binding_filter: AclBindingFilter, **options: Unpack[_Timeout]
    ) -> Future[list[AclBinding]]:
        """Find ACLs. Kafka only."""
        return self._client.describe_acls(acl_binding_filter, **options)

    def delete_acls(
        self, acl_binding_filters: list[AclBindingFilter], **options: Unpack[_Timeout]
    ) -> dict[AclBindingFilter, Future[list[AclBinding]]]:
        """Delete ACLs. Kafka only."""
        return self._client.delete_acls(acl_binding_filters, **options)

    def describe_user_scram_credentials(
        self, users: list[str] | None = None, **options: Unpack[_Timeout]
    ) -> (
        Future[dict[str, UserScramCredentialsDescription]]
        | dict[str, Future[UserScramCredentialsDescription]]
    ):
        """Describe SCRAM credentials. Kafka only."""
        return self._client.describe_user_scram_credentials(users, **options)

    def alter_user_scram_credentials(
        self, alterations: list[UserScramCredentialAlteration], **options: Unpack[_Timeout]
    ) -> dict[str, Future[None]]:
        """Change SCRAM credentials. Kafka only."""
        return self._client.alter_user_scram_credentials(alterations, **options)

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Replace the client's own credentials. Kafka only."""
        self._client.set_sasl_credentials(username, password)

    # -- life

    def poll(self, timeout: float = -1) -> int:
        """Serve callbacks for up to `timeout` seconds; their number."""
        return self._client.poll(timeout)

    def __len__(self) -> int:
        """Number of results still to come."""
        return len(self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.__exit__(kind, error, traceback)
