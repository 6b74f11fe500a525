"""The interfaces a backend implements. Read this file first.

A backend is one `Backend` value, named by an entry point of the group ``streamadapter.backends``. It fills
in exactly one of two factories:

* ``open_store``: the backend is a **log store**, some twenty primitives over one server, each atomic and
  each one round trip. The engine (`streamadapter.engine`) does batching, fetching, membership, retries and
  callbacks above it, once for all stores.
* ``clients``: the backend brings **whole clients** of its own (Kafka).

Rules for every store method:

* It may be called from any thread, unless it belongs to a `Reader`, which one thread at a time uses.
* It blocks for at most the socket timeout (plus the wait it is given), then raises. It never retries: the
  engine does, and knows how long it may.
* It raises `streamadapter.errors.StoreError` and nothing else; the flags on the error (retriable,
  indeterminate, fatal) come from the backend's one error table.
* Offsets are dense from 0 in each partition; "end" is the log end offset, the next one to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import msgspec

from streamadapter.errors import StoreError

ENTRY_POINTS = "streamadapter.backends"
"""The group of entry points that backends are found by."""

TP: TypeAlias = tuple[str, int]
"""(topic, partition): the key of every map in here; confluent_kafka.TopicPartition hashes ten times slower."""

Settings: TypeAlias = Mapping[str, Any]
"""Validated properties: Kafka's dotted names to typed values, defaults filled in (see properties.py)."""


def _feature(doc: str, *, default: bool = True) -> bool:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class Features:
    """What a backend can do, as data: the contract suite and docs/compatibility.md read it, and nothing else.

    The defaults are what Apache Kafka does. `doc` is the row's text in the table of differences.
    """

    name: str
    processes: bool = _feature("Clients of several processes see the same log")
    survives_restart: bool = _feature("The log outlives the server process")
    stays_down: bool = _feature("A server that was killed stays down until somebody starts it")
    replicas: bool = _feature("acks=all can wait for copies")
    always_idempotent: bool = _feature(
        "A producer's own retries never write a record twice, whatever enable.idempotence says", default=False
    )
    bounded_commits: bool = _feature(
        "A synchronous commit() always ends, also when the server hangs or stays away", default=False
    )
    transactions: bool = _feature("Transactions (transactional.id)")
    statistics: bool = _feature("Statistics (statistics.interval.ms, stats_cb)")
    compaction: bool = _feature("Topics can be compacted (cleanup.policy=compact)")
    server_configs: bool = _feature("Configs of brokers and groups can be set through the admin client")
    server_rights: bool = _feature("ACLs, SCRAM users and leader elections can be asked for")
    offset_deletion: bool = _feature("delete_consumer_group_offsets() works", default=False)
    offset_errors: bool = _feature(
        "What is wrong with one of several partitions is in its TopicPartition.error"
    )
    foreign_assign: bool = _feature(
        "A subscribed consumer may assign() itself what its group has not given it"
    )
    early_seek: bool = _feature(
        "seek() works before fetching has begun, and where auto.offset.reset=error has ended it",
        default=False,
    )
    missing_events: bool = _feature(
        "An assigned partition that does not exist, or has been deleted, is an event", default=False
    )
    lasting_member_id: bool = _feature(
        "group.protocol=consumer: memberid() is known before joining, and stays"
    )
    instance_id_refused: bool = _feature(
        "group.protocol=consumer: the second consumer with a group.instance.id is refused, not the first fenced"
    )
    reset_reports: bool = _feature(
        "error_cb is told when a position was out of range and reset", default=False
    )


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as the registry knows it. `topic_id` changes when a topic is deleted and created again."""

    name: str
    topic_id: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)  # only what was set; defaults: topic_config.py


@dataclass(frozen=True, slots=True)
class Topics:
    """A snapshot of the registry; `version` rises with every change of it."""

    version: int
    topics: Mapping[str, TopicInfo]


class Append(msgspec.Struct, frozen=True):
    """One encoded record batch on its way to a partition."""

    topic: TopicInfo
    partition: int
    producer_id: int
    producer_epoch: int
    sequence: int  # of the first record; counts up by one a record, per partition, from 0 in each epoch
    count: int
    max_timestamp: int  # ms, the largest record timestamp in the batch; -1: the append time (LogAppendTime)
    payload: (
        bytes | bytearray
    )  # opaque to the store (codec.encode_batch), and the caller's again after append


class Appended(msgspec.Struct, frozen=True):
    """Where a batch is. A duplicate is answered with the place of the first one."""

    base_offset: int
    append_time: int  # ms by the server's clock, never falling within a partition
    leader_epoch: int
    duplicate: bool = False


class StoredBatch(msgspec.Struct, frozen=True):
    """A batch as it was stored; `payload` is None for an entry that this product did not write."""

    base_offset: int
    count: int
    append_time: int
    leader_epoch: int
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class LogState:
    """Limits of one partition's log.

    `epochs` lists (leader epoch, its first offset), oldest first (KIP-101/320). A leader epoch begins with the
    first append after the server process changed (restart, failover), so a reader whose last record has epoch e
    has lost nothing as long as the next epoch began at or after its position.
    """

    log_id: str
    start: int
    end: int
    epochs: tuple[tuple[int, int], ...]
    max_timestamp: int = -1


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed offset: the next one to read, and which log it speaks of."""

    offset: int
    leader_epoch: int = -1
    metadata: str | None = None
    log_id: str = ""


@dataclass(frozen=True, slots=True)
class GroupView:
    """A consumer group as one atomic look at it shows.

    `state` is the coordinator's encoded state (empty: no such group), None when `version` is the one the caller
    already knew. `expired` names members whose session ended by the server's clock `now` (ms).
    """

    version: int
    now: int
    state: bytes | None
    expired: tuple[str, ...] = ()
    applied: bool = False  # of group_update: the write took place


class Fetched(msgspec.Struct, frozen=True):
    """What one fetch brought. Batches of a partition are in offset order.

    `drained` has the partitions whose last batch was, at that moment, the end of the log. `fenced` has those this
    member no longer owns; `unowned` those whose ownership the server has forgotten (acquire again).
    """

    batches: Mapping[TP, Sequence[StoredBatch]]
    drained: frozenset[TP] = frozenset()
    fenced: frozenset[TP] = frozenset()
    unowned: frozenset[TP] = frozenset()
    group_changed: bool = False


class Reader(Protocol):
    """Reads for one consumer, over a connection of its own. Not thread-safe, but for `wake`.

    With a group it is fenced: only acquired partitions can be read, and once another member has acquired one,
    every read of it here fails. Without a group it reads anything (manual assignment).
    """

    def acquire(self, topic: TopicInfo, partition: int, epoch: int, offset: int) -> LogState:
        """Take a partition over from whoever had it, positioned at `offset`. Atomic; repeating it is harmless.

        Raises FencedOwnerError when a member with a higher epoch (or another one with the same) has it, and never
        OFFSET_OUT_OF_RANGE: compare with the LogState returned.
        """
        ...

    def release(self, tps: Sequence[TP]) -> None:
        """Give partitions up; the server forgets this reader's cursors. Never fails for one not owned."""
        ...

    def fetch(self, positions: Mapping[TP, int], max_batches: int, wait_ms: int) -> Fetched:
        """Batches from each position on, at least one if any exists; waits up to `wait_ms` for the first.

        The batch that holds a position may begin before it. The server's own cursor is only an optimisation: it
        is set again whenever it is not known to stand at the position (after a seek, an error, a lost reply).
        Returns early when the group changed or after `wake`.
        """
        ...

    def wake(self) -> None:
        """From any thread: end a waiting fetch soon. Best effort; a fetch not yet waiting may be missed."""
        ...

    def close(self) -> None:
        """Give everything up and close the connection. Idempotent; errors are swallowed (the session expires)."""
        ...


class LogStore(Protocol):
    """One server's logs, groups and topic registry. Thread-safe."""

    features: Features

    # -- topics
    def topics(self) -> Topics: ...
    def topics_version(self) -> int: ...
    def create_topic(self, topic: TopicInfo) -> None:
        """Create partitions, then register. TOPIC_ALREADY_EXISTS if registered; a half-done one is completed."""
        ...

    def delete_topic(self, name: str) -> None:
        """Unregister, then remove logs. UNKNOWN_TOPIC_OR_PART."""
        ...

    def update_topic(self, expected: TopicInfo, new: TopicInfo) -> bool:
        """Change partition count (up only) or config if the registry still holds `expected`; False otherwise."""
        ...

    # -- log
    def append(self, batches: Sequence[Append], acks: int, timeout_ms: int) -> list[Appended | StoreError]:
        """Append each batch atomically, in order, in one round trip; the answers are in the same order.

        acks: 0 and 1 the primary applied it; -1 also min.insync.replicas - 1 replicas received it. A batch that
        was appended before (same producer id, epoch, sequence) is answered with its first place. Raises only when
        no batch's fate is known (then indeterminate); retrying is always safe.
        """
        ...

    def log_states(self, tps: Sequence[tuple[TopicInfo, int]]) -> list[LogState | StoreError]: ...
    def search_timestamp(self, topic: TopicInfo, partition: int, timestamp: int) -> StoredBatch | None:
        """The batch that holds the first record whose timestamp is >= `timestamp` (ms), None if none does."""
        ...

    def delete_records(self, topic: TopicInfo, partition: int, before: int) -> int:
        """Raise the log start to `before` (-1: the end); returns the log start. OFFSET_OUT_OF_RANGE beyond the end."""
        ...

    def enforce_retention(self, topic: TopicInfo, partition: int) -> None:
        """Trim by the topic's retention.ms and retention.bytes; appends do it too, this is for quiet topics."""
        ...

    # -- groups
    def group_heartbeat(
        self, group: str, member_id: str, known_version: int, session_timeout_ms: int
    ) -> GroupView:
        """Extend the member's session (if it is one) and look at the group. member_id "" only looks."""
        ...

    def group_update(
        self,
        group: str,
        expected_version: int,
        state: bytes,
        sessions: Mapping[str, int],
        evict: Sequence[str],
    ) -> GroupView:
        """Replace the state if nothing changed since `expected_version`, and wake all members' readers.

        sessions: the members of the new state and their session timeouts in ms. evict: members being removed
        because their session ended: refused (not applied) if one has heartbeated meanwhile.
        """
        ...

    def groups(self) -> list[str]: ...
    def delete_group(self, group: str) -> None:
        """NON_EMPTY_GROUP while it has live members, GROUP_ID_NOT_FOUND if unknown."""
        ...

    def commit(self, group: str, member_id: str, offsets: Mapping[TP, Committed]) -> None:
        """Store offsets, all or none, if member_id is a live member; "" if the group has no live member.

        Raises UNKNOWN_MEMBER_ID otherwise: a member id is never used twice, so it is the fencing token.
        """
        ...

    def committed(self, group: str) -> dict[TP, Committed]: ...
    def delete_offsets(self, groups: Sequence[str], tps: Sequence[TP]) -> None:
        """Forget what these groups have committed of these partitions, in one round trip for all groups."""
        ...

    # -- life
    def reader(self, group: str | None, member_id: str) -> Reader: ...
    def address(self) -> tuple[str, int]:
        """(host or path, port) as list_topics shows the one broker; never with a password."""
        ...

    def close(self) -> None:
        """Close connections; idempotent."""
        ...


class ClientBackend(Protocol):
    """Factories of whole clients with confluent_kafka's methods; `settings` are validated."""

    def producer(self, url: str, settings: Settings) -> Any: ...
    def consumer(self, url: str, settings: Settings) -> Any: ...
    def admin(self, url: str, settings: Settings) -> Any: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """What an entry point names: URL schemes, features, and one of the two factories."""

    name: str
    schemes: tuple[str, ...]
    features: Features
    open_store: Callable[[str, Settings], LogStore] | None = None
    clients: ClientBackend | None = None
