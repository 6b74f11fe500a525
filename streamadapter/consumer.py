"""`Consumer`: confluent_kafka's consumer on whichever backend the configuration names."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import TopicPartition
from confluent_kafka.admin import ClusterMetadata  # type: ignore[attr-defined]  # public, but not marked as re-exported

from streamadapter.delegation import adopt, open_client
from streamadapter.message import Message

OnRebalance = Callable[["Consumer", list[TopicPartition]], Any]


class Consumer:
    """confluent_kafka's Consumer on any backend: the same methods, arguments, results, errors and properties.

    conf: dotted Kafka properties, as a dict and as keyword arguments, which win. bootstrap.servers is a URL
    (redis://, memory://, embedded://) or Kafka's host:port; without it the config file decides. group.id is
    required (ValueError). Unknown and unsupported properties raise KafkaException(_INVALID_ARG).

    Thread-safe: concurrent calls are serialised. Callbacks run in poll(), consume() and close(), in the caller's
    thread, and may call the consumer's methods; their exceptions propagate. After close(): RuntimeError.
    """

    def __init__(self, conf: Mapping[str, Any] | None = None, /, **kwargs: Any) -> None:
        self._client: Any = open_client("consumer", conf, kwargs)
        adopt(self, Consumer, self._client, "poll", "consume")

    def _wrap(self, callback: Any) -> Any:
        """Rebalance callbacks are given this object, not the backend's client."""
        if not callable(callback):
            return callback  # an error that the client reports
        facade = weakref.ref(self)
        return lambda client, partitions: callback(facade() or client, partitions)

    # -- subscription and assignment

    def subscribe(
        self,
        topics: list[str],
        on_assign: OnRebalance | None = None,
        on_revoke: OnRebalance | None = None,
        on_lost: OnRebalance | None = None,
    ) -> None:
        """Join the group for these topics (names, and ^regular expressions), in place of an earlier subscription.

        Callbacks are called with (consumer, partitions): eager assignors give on_revoke and on_assign the full
        list, cooperative-sticky and group.protocol=consumer only what moves. on_lost defaults to on_revoke. A
        callback that does not call (incremental_)assign or unassign itself has that done for it.
        """
        callbacks = {"on_assign": on_assign, "on_revoke": on_revoke, "on_lost": on_lost}
        # confluent_kafka takes no None.
        given = {name: self._wrap(callback) for name, callback in callbacks.items() if callback is not None}
        self._client.subscribe(topics, **given)

    def unsubscribe(self) -> None:
        """Leave the group; the next poll() calls on_revoke."""
        self._client.unsubscribe()

    def assign(self, partitions: list[TopicPartition], /) -> None:
        """Replace the assignment; the offset of a TopicPartition says where to start (default: committed)."""
        self._client.assign(partitions)

    def unassign(self) -> None:
        """Empty the assignment."""
        self._client.unassign()

    def incremental_assign(self, partitions: list[TopicPartition], /) -> None:
        """Extend the assignment. _CONFLICT for a partition that is in it."""
        self._client.incremental_assign(partitions)

    def incremental_unassign(self, partitions: list[TopicPartition], /) -> None:
        """Shrink the assignment. _INVALID_ARG for a partition that is not in it."""
        self._client.incremental_unassign(partitions)

    def assignment(self) -> list[TopicPartition]:
        """The partitions assigned now."""
        return self._client.assignment()  # type: ignore[no-any-return]  # the client's class is the backend's

    def memberid(self) -> str | None:
        """This member's id in its group; None before it has joined."""
        return self._client.memberid()  # type: ignore[no-any-return]  # as above

    def consumer_group_metadata(self) -> Any:
        """Opaque: for Producer.send_offsets_to_transaction()."""
        return self._client.consumer_group_metadata()

    # -- messages

    def poll(self, timeout: float = -1) -> Message | None:
        """One message or event (message.error() is set), or None after `timeout` s; negative: wait for ever."""
        return self._client.poll(timeout)  # type: ignore[no-any-return]  # as above

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Up to `num_messages` (at most 1,000,000); waits the whole `timeout` (s) unless there are as many."""
        return self._client.consume(num_messages, timeout)  # type: ignore[no-any-return]  # as above

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Stop delivery of these partitions until resume(), even if they are assigned anew.

        Those of topics that this consumer has never had an assignment of are ignored.
        """
        self._client.pause(partitions)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Undo pause()."""
        self._client.resume(partitions)

    def seek(self, partition: TopicPartition) -> None:
        """Read an assigned partition on from another offset. _STATE if it is not assigned."""
        self._client.seek(partition)

    # -- offsets

    def commit(
        self,
        message: Message | None = None,
        offsets: list[TopicPartition] | None = None,
        asynchronous: bool = True,
        **kwargs: Any,
    ) -> list[TopicPartition] | None:
        """Commit message.offset() + 1, or `offsets`, or without arguments what is stored.

        What is stored is the whole assignment's, but only where it is ahead of what is committed: OFFSET_INVALID
        elsewhere. Synchronous: returns the list, or raises (_NO_OFFSET if there was nothing; UNKNOWN_MEMBER_ID if
        this consumer was fenced). Asynchronous: returns None, on_commit is called from poll(). `async` is accepted
        as a keyword for `asynchronous`.
        """
        if kwargs:  # `async` is a keyword of Python since
            if kwargs.keys() != {"async"}:
                raise TypeError(f"commit() got an unexpected keyword argument {next(iter(kwargs))!r}")
            asynchronous = kwargs["async"]
        return self._client.commit(  # type: ignore[no-any-return]  # as above
            message=message, offsets=offsets, asynchronous=asynchronous
        )

    def store_offsets(
        self, message: Message | None = None, offsets: list[TopicPartition] | None = None
    ) -> None:
        """Mark offsets for the next commit. Needs enable.auto.offset.store=false (_INVALID_ARG)."""
        self._client.store_offsets(message=message, offsets=offsets)

    def committed(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """Committed offsets; OFFSET_INVALID where there is none."""
        return self._client.committed(partitions, timeout)  # type: ignore[no-any-return]  # as above

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Offset of the last message handed out + 1; OFFSET_INVALID before the first one and after a seek."""
        return self._client.position(partitions)  # type: ignore[no-any-return]  # as above

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, cached: bool = False
    ) -> tuple[int, int]:
        """(first offset, log end offset). _UNKNOWN_PARTITION if there is no such partition."""
        return self._client.get_watermark_offsets(  # type: ignore[no-any-return]  # as above
            partition, timeout=timeout, cached=cached
        )

    def offsets_for_times(
        self, partitions: list[TopicPartition], timeout: float = -1
    ) -> list[TopicPartition]:
        """First offsets with timestamps >= the `offset` fields (ms); OFFSET_END where there is none.

        Instead of a timestamp: -1 log end offset, -2 first offset, -3 offset of the largest timestamp.
        """
        return self._client.offsets_for_times(partitions, timeout)  # type: ignore[no-any-return]  # as above

    def lag(self) -> dict[tuple[str, int], int]:
        """Records still to be handed out, by (topic, partition), as last seen. Not in confluent_kafka.

        Partitions of which it is not known yet where reading begins are left out.
        """
        return self._client.lag()  # type: ignore[no-any-return]  # as above

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterMetadata:
        """Metadata of all topics, or of one."""
        return self._client.list_topics(topic, timeout)  # type: ignore[no-any-return]  # as above

    # -- life

    def cluster_id(self, timeout: float = -1) -> str:
        """Identity of the cluster."""
        return self._client.cluster_id(timeout)  # type: ignore[no-any-return]  # as above

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """On Kafka only."""
        self._client.set_sasl_credentials(username, password)

    def close(self) -> None:
        """Commit what is stored (with auto-commit), call on_revoke, leave the group. Idempotent, bounded."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
