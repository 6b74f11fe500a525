"""The consumer's questions and statements about offsets: commit, committed, position, watermarks, times."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import OFFSET_END, OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ClusterMetadata  # type: ignore[attr-defined]  # public, but not marked as re-exported

from streamadapter.backend import TP, Committed, LogState, LogStore, Settings, TopicInfo
from streamadapter.engine import consumer_checks as checks
from streamadapter.engine.calls import Calls
from streamadapter.engine.commits import Committer
from streamadapter.engine.consumer_state import (
    CommitRequest,
    ConsumerState,
    public_offset,
    public_offsets,
)
from streamadapter.engine.metadata import cluster_id, cluster_metadata
from streamadapter.engine.timestamps import offset_for_query
from streamadapter.errors import StoreError, kafka_exception

T = TypeVar("T")

DEFAULT_TIMEOUT_S = 60.0
"""For a negative timeout: Kafka's socket.timeout.ms. Nothing waits for ever on a server."""


class ConsumerOffsets:
    """Part of EngineConsumer that asks the store in the caller's thread."""

    def __init__(
        self, store: LogStore, settings: Settings, state: ConsumerState, committer: Committer
    ) -> None:
        self._store = store
        self._settings = settings
        self._state = state
        self._committer = committer
        self._calls = Calls(settings["retry.backoff.ms"], settings["retry.backoff.max.ms"])
        self._gate = threading.RLock()
        self._closed = False

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("Consumer closed")

    def _check_handle(self) -> None:
        """As `_check_open`, with the text that confluent_kafka has for what all its clients can do."""
        if self._closed:
            raise RuntimeError("Handle has been closed")

    def _ask(self, work: Callable[[], T], timeout: float) -> T:
        """Ask the store, with retries, within `timeout` seconds. Raises KafkaException."""
        return self._calls.start_one(work, timeout if timeout >= 0 else DEFAULT_TIMEOUT_S).result()

    # -- commits

    def commit(
        self, message: Any = None, offsets: Any = None, asynchronous: bool = True
    ) -> list[TopicPartition] | None:
        """Commit a message's offset + 1, given offsets, or (without arguments) what is stored."""
        with self._gate:
            self._check_open()
            asked = checks.to_commit(message, offsets, self._log_id)
            state, on_commit = self._state, self._settings.get("on_commit")
            with state.lock:
                stored = state.uncommitted() if asked is None else asked
                given = {tp: committed for tp, committed in stored.items() if committed is not None}
                shown = public_offsets(stored) if offsets is None else checks.echo(offsets)
                if given and asynchronous:
                    if not state.commits:
                        state.nudge()
                    state.queue_commit(given, shown, on_commit)
            if given and asynchronous:
                self._wake()
                return None
            if given:
                self._commit_now(given)
                return shown
            nothing = kafka_exception(
                KafkaError._NO_OFFSET,
                "Commit failed: no offset stored: poll a message first, or pass message= or offsets=",
            )
            if not asynchronous:
                raise nothing
            if on_commit is not None:
                with state.lock:
                    state.post(lambda: on_commit(nothing.args[0], shown))
            return None

    def _commit_now(self, given: dict[TP, Committed]) -> None:
        outcome: list[StoreError | None] = []
        state = self._state
        with state.lock:
            sent = state.mark_sent(given)
            request = CommitRequest(given, state.member_id, state.commit_deadline(), outcome.append)
        self._committer.run_now(request, self._settings["retry.backoff.ms"] / 1000)
        error = outcome[0]
        if error is not None:
            with state.lock:
                state.unmark_sent(sent)
            raise StoreError(error.code, f"Commit failed: {error.reason}").kafka_exception()

    def store_offsets(self, message: Any = None, offsets: Any = None) -> None:
        """Mark offsets to be committed by the next auto-commit or commit()."""
        with self._gate:
            self._check_open()
            if message is None and offsets is None:
                raise ValueError("expected either message or offsets")
            given = checks.to_commit(message, offsets, self._log_id) or {}
            if self._settings["enable.auto.offset.store"]:
                raise kafka_exception(
                    KafkaError._INVALID_ARG,
                    "StoreOffsets failed: set enable.auto.offset.store=false to store by hand",
                )
            with self._state.lock:
                assigned = self._state.assignment
                here = [(assigned[tp], committed) for tp, committed in given.items() if tp in assigned]
                if given and not here:  # librdkafka is content if it could store one
                    raise self._not_assigned("StoreOffsets failed", next(reversed(given)))
                for partition, committed in here:
                    partition.stored = committed.offset
                    partition.stored_epoch = committed.leader_epoch
                    partition.stored_log_id = committed.log_id
                    partition.stored_metadata = committed.metadata

    def _not_assigned(self, what: str, tp: TP) -> KafkaException:
        """Needs the lock. librdkafka knows the partitions of every topic that it has once read from."""
        code = KafkaError._STATE if tp[0] in self._state.known else KafkaError._UNKNOWN_PARTITION
        return kafka_exception(code, f"{what}: {tp[0]} [{tp[1]}] is not assigned")

    def _log_id(self, tp: TP) -> str:
        partition = self._state.assignment.get(tp)
        return partition.log_id if partition else ""

    def _wake(self) -> None:
        """End the loop's waiting fetch, if somebody asked for that."""
        raise NotImplementedError

    # -- questions

    def committed(self, partitions: Any, timeout: float = -1) -> list[TopicPartition]:
        """Committed offsets of the group; OFFSET_INVALID where there is none."""
        tps = checks.partition_list(partitions)
        self._check_open()
        found = self._ask(lambda: self._store.committed(self._settings["group.id"]), timeout)
        keys = map(checks.key, tps)
        return [offset for key in keys for offset in public_offsets({key: found.get(key)})]

    def position(self, partitions: Any) -> list[TopicPartition]:
        """The offset of the next message of each partition; OFFSET_INVALID before the first one."""
        tps = checks.partition_list(partitions)
        self._check_open()
        with self._state.lock:
            known = [(key, self._state.assignment.get(key)) for key in map(checks.key, tps)]
            return [
                public_offset(key, p.position, p.position_epoch)
                if p is not None and p.position != OFFSET_INVALID
                else public_offset(key, OFFSET_INVALID)
                for key, p in known
            ]

    def get_watermark_offsets(
        self, partition: Any, timeout: float = -1, cached: bool = False
    ) -> tuple[int, int]:
        """(log start offset, log end offset); cached: as last seen, (OFFSET_INVALID, OFFSET_INVALID) if never."""
        tp = checks.partition(partition)
        self._check_open()
        if cached:
            with self._state.lock:
                key, state = checks.key(tp), self._state
                found = state.assignment.get(key) or state.former.get(key)
                return (found.low, found.high) if found else (OFFSET_INVALID, OFFSET_INVALID)

        def look() -> LogState:
            limits = self._store.log_states([(self._topic(tp), tp.partition)])[0]
            if isinstance(limits, StoreError):
                raise limits
            return limits

        limits = self._ask(look, timeout)
        return limits.start, limits.end

    def offsets_for_times(self, partitions: Any, timeout: float = -1) -> list[TopicPartition]:
        """For each partition the first offset with a timestamp >= its `offset` (ms); OFFSET_END if there is none.

        Kafka's own special timestamps are known: -1 the log end, -2 the log start, -3 the largest timestamp.
        """
        tps = checks.partition_list(partitions)
        self._check_open()
        if not tps:
            raise kafka_exception(KafkaError._INVALID_ARG, "Failed to get offsets: no partitions given")

        def search() -> list[TopicPartition]:
            answers = []
            for tp in tps:
                found = offset_for_query(self._store, self._topic(tp), tp.partition, tp.offset)
                answers.append(TopicPartition(tp.topic, tp.partition, OFFSET_END if found is None else found))
            return answers

        return self._ask(search, timeout)

    def lag(self) -> dict[TP, int]:
        """Records between the position (or start) of each assigned partition and its log end offset, as last seen.

        Not in confluent_kafka. Partitions whose position is not resolved yet are left out.
        """
        self._check_open()
        with self._state.lock:
            found = {}
            for tp, p in self._state.assignment.items():
                at = p.position if p.position >= 0 else p.start
                if p.fetch_offset >= 0 and p.high >= 0:
                    found[tp] = max(0, p.high - at)
            return found

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterMetadata:
        """Topics, partitions and the one broker."""
        if topic is not None and not isinstance(topic, str):
            raise TypeError(f"argument 1 must be str or None, not {type(topic).__name__}")
        self._check_handle()
        return self._ask(lambda: cluster_metadata(self._store, topic), timeout)

    def cluster_id(self, timeout: float = -1) -> str:
        """A name for the server."""
        self._check_handle()
        return self._ask(lambda: cluster_id(self._store), timeout)

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Not offered: credentials belong in the URL or the config file."""
        del username, password
        self._check_handle()
        raise kafka_exception(
            KafkaError._UNSUPPORTED_FEATURE, "put the credentials into the URL or the config file"
        )

    def _topic(self, tp: TopicPartition) -> TopicInfo:
        topic = self._store.topics().topics.get(tp.topic)
        if topic is None or not 0 <= tp.partition < topic.partitions:
            raise StoreError(KafkaError._UNKNOWN_PARTITION, f"{tp.topic} [{tp.partition}] does not exist")
        return topic
