"""Partitions' logs: append, limits, search, trimming."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError

from streamadapter.backend import Append, Appended, LogState, StoredBatch, TopicInfo
from streamadapter.errors import StoreError
from streamadapter.topic_config import TopicConfig
from streamadapter_redis import scripts
from streamadapter_redis.entries import parse_entry, parse_log_state
from streamadapter_redis.errors import translate
from streamadapter_redis.link import Command, Reply
from streamadapter_redis.scripts import AppendStatus
from streamadapter_redis.topics import TopicStore

PRODUCER_TTL_MS = 24 * 60 * 60 * 1000
"""An idle producer is forgotten after a day, as Kafka does (producer.id.expiration.ms)."""

MAX_WAIT_MS = 4000
"""Bound of one WAIT, below the socket timeout; the engine tries again. 0 would wait for ever."""


class LogPart(TopicStore):
    """Logs: see `streamadapter.backend.LogStore`."""

    def append(self, batches: Sequence[Append], acks: int, timeout_ms: int) -> list[Appended | StoreError]:
        """One pipeline; for acks=-1 with a WAIT at its end, on the same connection."""
        configs = [TopicConfig.of(batch.topic) for batch in batches]
        copies = max((c.min_insync_replicas - 1 for c in configs), default=0) if acks == -1 else 0
        if copies and not self.features.replicas:
            refusal = StoreError(KafkaError.NOT_ENOUGH_REPLICAS, f"{self.features.name} has no replicas")
            return [refusal for _ in batches]
        with self._links.borrow() as link:
            commands: list[Command] = [
                scripts.APPEND.call(
                    [
                        self.keys.log(batch.topic.name, batch.partition),
                        self.keys.meta(batch.topic.name, batch.partition),
                        self.keys.producer(batch.topic.name, batch.partition, batch.producer_id),
                    ],
                    batch.topic.topic_id,
                    batch.producer_epoch,
                    batch.sequence,
                    batch.count,
                    batch.max_timestamp,
                    link.run_id,
                    config.max_message_bytes,
                    config.retention_ms,
                    config.retention_bytes,
                    PRODUCER_TTL_MS,
                    batch.payload,
                )
                for batch, config in zip(batches, configs, strict=True)
            ]
            if copies:
                commands.append(("WAIT", copies, max(1, min(timeout_ms, MAX_WAIT_MS))))
            replies = link.execute(commands)
        received = replies.pop() if copies else 0
        if isinstance(received, Exception):
            raise translate(received, self._where)
        return [
            self._appended(batch, reply, received, config.min_insync_replicas - 1 if copies else 0)
            for batch, config, reply in zip(batches, configs, replies, strict=True)
        ]

    def _appended(self, batch: Append, reply: Reply, received: int, needed: int) -> Appended | StoreError:
        if isinstance(reply, Exception):
            return translate(reply, self._where)
        status, base_offset, append_time, leader_epoch = reply
        name = f"{batch.topic.name} [{batch.partition}]"
        match AppendStatus(status):
            case AppendStatus.OK | AppendStatus.DUPLICATE:
                if received < needed:
                    return StoreError(
                        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                        f"{name}: {received} of {needed} replicas acknowledged in time",
                        retriable=True,
                        indeterminate=True,
                    )
                return Appended(base_offset, append_time, leader_epoch, status == AppendStatus.DUPLICATE)
            case AppendStatus.UNKNOWN_TOPIC:
                return self.missing_log(batch.topic, batch.partition)
            case AppendStatus.OUT_OF_ORDER:
                return StoreError(
                    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"{name}: a batch before {batch.sequence} is missing",
                )
            case AppendStatus.OLD_EPOCH:
                return StoreError(
                    KafkaError.INVALID_PRODUCER_EPOCH, f"{name}: a newer epoch of this producer has written"
                )
            case AppendStatus.TOO_LARGE:
                return StoreError(
                    KafkaError.MSG_SIZE_TOO_LARGE,
                    f"{name}: a batch of {len(batch.payload)} bytes exceeds the topic's max.message.bytes",
                )
            case AppendStatus.BLOCKED_BY_FOREIGN_ENTRY:
                return StoreError(
                    KafkaError.KAFKA_STORAGE_ERROR,
                    f"{name}: an entry that streamadapter did not write blocks the stream "
                    f"{self.keys.log(batch.topic.name, batch.partition)}: remove it with XDEL, then set the last "
                    f"offset with XSETID",
                )

    def log_states(self, tps: Sequence[tuple[TopicInfo, int]]) -> list[LogState | StoreError]:
        """One HMGET a partition."""
        replies = self._execute(
            [
                ("HMGET", self.keys.meta(t.name, p), "topic", "log", "start", "end", "epochs", "timestamp")
                for t, p in tps
            ]
        )
        found: list[LogState | StoreError] = []
        for (topic, partition), reply in zip(tps, replies, strict=True):
            if isinstance(reply, Exception):
                found.append(translate(reply, self._where))
            elif reply[0] is None or reply[0].decode() != topic.topic_id:
                found.append(self.missing_log(topic, partition))
            else:
                found.append(parse_log_state(reply[1:]))
        return found

    def search_timestamp(self, topic: TopicInfo, partition: int, timestamp: int) -> StoredBatch | None:
        """Bisection on the server."""
        entry = self._call(
            scripts.SEARCH_TIMESTAMP,
            self._partition_keys(topic.name, partition)[:2],
            topic.topic_id,
            timestamp,
        )
        if entry is None:
            raise self.missing_log(topic, partition)
        return parse_entry(entry) if entry else None

    def delete_records(self, topic: TopicInfo, partition: int, before: int) -> int:
        """Trim, and note the exact log start."""
        status, start = self._call(
            scripts.DELETE_RECORDS, self._partition_keys(topic.name, partition)[:2], topic.topic_id, before
        )
        if status == 1:
            raise self.missing_log(topic, partition)
        if status == 2:
            raise StoreError(
                KafkaError.OFFSET_OUT_OF_RANGE,
                f"{topic.name} [{partition}]: {before} is beyond the log end offset",
            )
        return int(start)

    def enforce_retention(self, topic: TopicInfo, partition: int) -> None:
        """Trim by age and size, at most 16 batches."""
        config = TopicConfig.of(topic)
        self._call(
            scripts.RETAIN,
            self._partition_keys(topic.name, partition)[:2],
            topic.topic_id,
            config.retention_ms,
            config.retention_bytes,
        )
