"""`EngineAdmin`: confluent_kafka's AdminClient over a `LogStore`.

A method checks its arguments at once (TypeError, ValueError; admin_checks.py), then starts a request (calls.py)
whose work is in admin_topics.py, admin_groups.py or admin_offsets.py.
"""

# ruff: noqa: ARG002  the signatures are confluent_kafka's, with options that mean nothing here

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import DescribeClusterResult  # type: ignore[attr-defined]  # public, not marked so

from streamadapter.engine import admin_checks as checks
from streamadapter.engine import admin_groups, admin_offsets, admin_topics
from streamadapter.engine.admin_unsupported import UnsupportedRequests
from streamadapter.engine.calls import Calls, once, refused, repeats
from streamadapter.engine.metadata import broker_node, cluster_id, cluster_metadata
from streamadapter.errors import StoreError, kafka_exception

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # as above
        ClusterMetadata,
        ConfigEntry,
        ConfigResource,
        ConsumerGroupDescription,
        DeletedRecords,
        GroupMetadata,
        ListConsumerGroupsResult,
        ListOffsetsResultInfo,
        NewPartitions,
        NewTopic,
        OffsetSpec,
        TopicDescription,
    )

    from streamadapter.backend import LogStore, Settings
    from streamadapter.engine.calls import Work

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class EngineAdmin(UnsupportedRequests):
    """Thread-safe. Methods and results are those of confluent_kafka.admin.AdminClient.

    request_timeout: seconds until a request's futures fail with _TIMED_OUT at the latest; default
    socket.timeout.ms. Until then, what may succeed later is repeated. operation_timeout is checked and not
    needed: what a request did is visible to every client when its future is done.

    settings: socket.timeout.ms, retry.backoff.ms and retry.backoff.max.ms are used. The client owns the store.
    """

    def __init__(self, store: LogStore, settings: Settings) -> None:
        self._store = store
        self._default_timeout: float = settings["socket.timeout.ms"] / 1000
        self._calls = Calls(settings["retry.backoff.ms"], settings["retry.backoff.max.ms"])
        self._closed = threading.Event()

    # -- topics

    def create_topics(
        self,
        new_topics: list[NewTopic],
        *,
        validate_only: bool = False,
        request_timeout: float | None = None,
        operation_timeout: float | None = None,
    ) -> dict[str, Future[None]]:
        """Create topics: {name: future of None}."""
        checks.check_new_topics(new_topics)
        work = admin_topics.creation(self._store, new_topics, bool(validate_only))
        return self._start([new.topic for new in new_topics], work, request_timeout, operation_timeout)

    def delete_topics(
        self,
        topics: list[str],
        *,
        request_timeout: float | None = None,
        operation_timeout: float | None = None,
    ) -> dict[str, Future[None]]:
        """Delete topics, their records and what groups committed of them: {name: future of None}."""
        checks.check_topic_names(topics)
        work = admin_topics.deletion(self._store, topics)
        return self._start(topics, work, request_timeout, operation_timeout)

    def create_partitions(
        self,
        new_partitions: list[NewPartitions],
        *,
        validate_only: bool = False,
        request_timeout: float | None = None,
        operation_timeout: float | None = None,
    ) -> dict[str, Future[None]]:
        """Raise the number of partitions: {topic: future of None}."""
        checks.check_new_partitions(new_partitions)
        work = admin_topics.growth(self._store, new_partitions, bool(validate_only))
        return self._start([new.topic for new in new_partitions], work, request_timeout, operation_timeout)

    def describe_topics(
        self,
        topics: TopicCollection,
        *,
        include_authorized_operations: bool = False,
        request_timeout: float | None = None,
    ) -> dict[str, Future[TopicDescription]]:
        """Describe topics: {name: future}. Authorized operations are never known (None)."""
        if not isinstance(topics, TopicCollection):
            raise TypeError("Expected input to be instance of TopicCollection")
        names = checks.check_described_topics(topics.topic_names)
        checks.check_flag("include_authorized_operations", include_authorized_operations)
        work = once(names, "topics", admin_topics.description(self._store))
        return self._start(names, work, request_timeout)

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterMetadata:
        """The broker and all topics, or the one asked for. Waits `timeout` seconds, socket.timeout.ms if negative.

        Raises KafkaException(_TRANSPORT) when the server cannot be reached in time.
        """
        if topic is not None and not isinstance(topic, str):
            raise TypeError(f"argument 1 must be str or None, not {type(topic).__name__}")
        return self._wait("Failed to get metadata", lambda: cluster_metadata(self._store, topic), timeout)

    # -- configs

    def describe_configs(
        self, resources: list[ConfigResource], *, request_timeout: float | None = None, broker: int = -1
    ) -> dict[ConfigResource, Future[dict[str, ConfigEntry]]]:
        """Configs of topics, broker and groups: {resource: future of {name: ConfigEntry}}."""
        checks.check_resources(resources)
        return self._start(resources, admin_topics.config_description(self._store), request_timeout)

    def alter_configs(
        self,
        resources: list[ConfigResource],
        *,
        validate_only: bool = False,
        request_timeout: float | None = None,
        broker: int = -1,
    ) -> dict[ConfigResource, Future[None]]:
        """Replace all configs of topics; those left out return to their defaults."""
        _deprecated("alter_configs has been deprecated. Use incremental_alter_configs instead.")
        checks.check_resources(resources)
        work = admin_topics.config_change(self._store, bool(validate_only), incremental=False)
        return self._start(resources, work, request_timeout)

    def incremental_alter_configs(
        self,
        resources: list[ConfigResource],
        *,
        validate_only: bool = False,
        request_timeout: float | None = None,
        broker: int = -1,
    ) -> dict[ConfigResource, Future[None]]:
        """Set or delete single configs of topics."""
        checks.check_incremental(resources)
        work = admin_topics.config_change(self._store, bool(validate_only), incremental=True)
        if any(repeats(entry.name for entry in resource.incremental_configs) for resource in resources):
            work = refused("Duplicate ConfigEntry found")
        elif repeats(resources):
            work = refused("Duplicate ConfigResource found")
        return self._start(resources, work, request_timeout)

    # -- cluster

    def describe_cluster(
        self, *, include_authorized_operations: bool = False, request_timeout: float | None = None
    ) -> Future[DescribeClusterResult]:
        """The one broker, which is the controller."""
        checks.check_flag("include_authorized_operations", include_authorized_operations)

        def describe() -> DescribeClusterResult:
            self._store.topics_version()  # answer only if the server does
            node = broker_node(self._store)
            return DescribeClusterResult(node, [node], cluster_id(self._store))

        return self._start_one(describe, request_timeout)

    def cluster_id(self, timeout: float = -1) -> str:
        """A name for the server; the same for all clients that use the same address."""
        what = "Failed to retrieve cluster id"
        return self._wait(what, lambda: cluster_metadata(self._store).cluster_id or "", timeout)

    # -- consumer groups

    def list_groups(self, group: str | None = None, timeout: float = -1) -> list[GroupMetadata]:
        """Deprecated by Kafka: use list_consumer_groups and describe_consumer_groups."""
        _deprecated(
            "list_groups() is deprecated, use list_consumer_groups() and describe_consumer_groups() instead."
        )
        return self._wait(
            "Failed to list groups", lambda: admin_groups.legacy_groups(self._store, group), timeout
        )

    def list_consumer_groups(
        self,
        *,
        states: set[ConsumerGroupState] | None = None,
        types: set[ConsumerGroupType] | None = None,
        request_timeout: float | None = None,
    ) -> Future[ListConsumerGroupsResult]:
        """Groups, those that only have committed offsets too."""
        checks.check_enums("states", states, ConsumerGroupState)
        checks.check_enums("types", types, ConsumerGroupType)
        return self._start_one(
            lambda: admin_groups.list_groups(self._store, states or (), types or ()), request_timeout
        )

    def describe_consumer_groups(
        self,
        group_ids: list[str],
        *,
        include_authorized_operations: bool = False,
        request_timeout: float | None = None,
    ) -> dict[str, Future[ConsumerGroupDescription]]:
        """Members and what they own: {group: future}. A group that does not exist is DEAD."""
        checks.check_groups(group_ids, "described")
        checks.check_flag("include_authorized_operations", include_authorized_operations)
        work = once(group_ids, "groups", admin_groups.describe_groups(self._store))
        return self._start(group_ids, work, request_timeout)

    def delete_consumer_groups(
        self, group_ids: list[str], *, request_timeout: float | None = None
    ) -> dict[str, Future[None]]:
        """Delete groups without live members: {group: future of None}."""
        checks.check_groups(group_ids, "deleted")
        work = once(group_ids, "groups", admin_groups.delete_groups(self._store))
        return self._start(group_ids, work, request_timeout)

    def list_consumer_group_offsets(
        self,
        list_consumer_group_offsets_request: list[ConsumerGroupTopicPartitions],
        *,
        require_stable: bool = False,
        request_timeout: float | None = None,
    ) -> dict[str, Future[ConsumerGroupTopicPartitions]]:
        """Committed offsets of one group: {group: future}."""
        checks.Checks._check_list_consumer_group_offsets_request(list_consumer_group_offsets_request)
        (request,) = list_consumer_group_offsets_request
        group, tps = request.group_id, request.topic_partitions
        return {
            group: self._start_one(
                lambda: admin_offsets.committed_offsets(self._store, group, tps), request_timeout, tps or ()
            )
        }

    def alter_consumer_group_offsets(
        self,
        alter_consumer_group_offsets_request: list[ConsumerGroupTopicPartitions],
        *,
        request_timeout: float | None = None,
    ) -> dict[str, Future[ConsumerGroupTopicPartitions]]:
        """Commit for one group without live members: {group: future}; errors are in the partitions of the result."""
        checks.Checks._check_alter_consumer_group_offsets_request(alter_consumer_group_offsets_request)
        (request,) = alter_consumer_group_offsets_request
        group, tps = request.group_id, list(request.topic_partitions or ())
        return {
            group: self._start_one(
                lambda: admin_offsets.alter_offsets(self._store, group, tps), request_timeout, tps
            )
        }

    def delete_consumer_group_offsets(
        self, group_id: str, topic_partitions: list[TopicPartition], *, request_timeout: float | None = None
    ) -> dict[str, Future[None]]:
        """Forget committed offsets: {group: future of None}. Kafka has this, confluent_kafka does not.

        Fails with GROUP_SUBSCRIBED_TO_TOPIC while live members are subscribed to one of the topics.
        """
        checks.check_objects(topic_partitions, TopicPartition)
        tps = [(tp.topic, tp.partition) for tp in topic_partitions]
        return {
            group_id: self._start_one(
                lambda: admin_groups.delete_offsets(self._store, group_id, tps), request_timeout
            )
        }

    # -- offsets

    def list_offsets(
        self,
        topic_partition_offsets: dict[TopicPartition, OffsetSpec],
        *,
        isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        request_timeout: float | None = None,
    ) -> dict[TopicPartition, Future[ListOffsetsResultInfo]]:
        """Ends of logs, and offsets by time: {partition: future}. There are no transactions to be isolated from."""
        options = {"isolation_level": isolation_level}
        checks.Checks._check_list_offsets_request(topic_partition_offsets, options)
        work = admin_offsets.list_offsets(self._store, dict(topic_partition_offsets))
        if any(not admin_offsets.is_valid(spec) for spec in topic_partition_offsets.values()):
            work = refused("A timestamp is not negative")
        return self._start(topic_partition_offsets, work, request_timeout)

    def delete_records(
        self,
        topic_partition_offsets: list[TopicPartition],
        *,
        request_timeout: float | None = None,
        operation_timeout: float | None = None,
    ) -> dict[TopicPartition, Future[DeletedRecords]]:
        """Delete the records before each partition's offset, -1: all: {partition: future}."""
        checks.Checks._check_delete_records(topic_partition_offsets)
        work = once(topic_partition_offsets, "partitions", admin_offsets.delete_records(self._store))
        return self._start(topic_partition_offsets, work, request_timeout, operation_timeout)

    # -- life

    def poll(self, timeout: float = -1) -> int:
        """Wait `timeout` seconds and return 0: this client has no callbacks to serve. Negative: do not wait."""
        if not isinstance(timeout, int | float):
            raise TypeError(f"must be real number, not {type(timeout).__name__}")
        self._check_open("AdminClient")
        self._closed.wait(max(timeout, 0.0))
        return 0

    def __len__(self) -> int:
        """Number of results still to come."""
        return len(self._calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; requests under way fail. Idempotent."""
        self._closed.set()
        self._store.close()

    # -- requests

    def _start(
        self,
        keys: Iterable[K],
        work: Work[K, T],
        request_timeout: float | None,
        operation_timeout: float | None = None,
    ) -> dict[K, Future[T]]:
        self._check_open("AdminClient")
        checks.seconds("operation_timeout", operation_timeout, -1, minimum=-1)
        timeout = checks.seconds("request_timeout", request_timeout, self._default_timeout)
        return self._calls.start(keys, work, timeout)

    def _start_one(
        self, work: Callable[[], T], request_timeout: float | None, partitions: Sequence[TopicPartition] = ()
    ) -> Future[T]:
        def attempt(_: list[None]) -> dict[None, T | StoreError]:
            return {None: work()}

        work_once = refused("Duplicate partitions not allowed") if repeats(partitions) else attempt
        return self._start((None,), work_once, request_timeout)[None]

    def _wait(self, what: str, work: Callable[[], T], timeout: float) -> T:
        """A blocking request. A timeout is _TIMED_OUT only if the server took the request and never answered."""
        if not isinstance(timeout, int | float):
            raise TypeError(f"must be real number, not {type(timeout).__name__}")
        self._check_open("Handle")
        try:
            return self._calls.start_one(work, self._default_timeout if timeout < 0 else timeout).result()
        except KafkaException as e:
            error: KafkaError = e.args[0]
            unreachable = isinstance(e.__cause__, StoreError) and e.__cause__.code == KafkaError._TRANSPORT
            code = KafkaError._TRANSPORT if unreachable else error.code()
            raise kafka_exception(code, f"{what}: {error.str()}", fatal=error.fatal()) from None

    def _check_open(self, what: str) -> None:
        if self._closed.is_set():
            raise RuntimeError(f"{what} has been closed")


def _deprecated(text: str) -> None:
    """As confluent_kafka's; the warning names the line that called streamadapter.AdminClient."""
    warnings.warn(text, DeprecationWarning, stacklevel=4)
