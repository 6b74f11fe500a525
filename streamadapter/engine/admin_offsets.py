"""What the admin client does with offsets, of logs and of consumer groups, as `Work` (see calls.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import OFFSET_INVALID, ConsumerGroupTopicPartitions, KafkaError, TopicPartition, cimpl
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked as re-exported
    DeletedRecords,
    ListOffsetsResultInfo,
)

from streamadapter.backend import Committed, LogState
from streamadapter.engine.calls import each
from streamadapter.engine.timestamps import latest_timestamp, offset_for_timestamp
from streamadapter.engine.topics import find_partition
from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # as above

    from streamadapter.backend import LogStore, TopicInfo
    from streamadapter.engine.calls import Work

NOT_FOUND = ListOffsetsResultInfo(-1, -1, -1)

MAX_METADATA_CHARACTERS = 4095
"""Of a committed offset. Kafka's offset.metadata.max.bytes (of characters) is one more: librdkafka sends a NUL."""

T = TypeVar("T")


class PartitionResult(TopicPartition):
    """A TopicPartition whose `error` says why nothing was done for it; confluent_kafka's can only be set in C."""

    error: KafkaError | None = None

    @classmethod
    def failed(cls, asked: TopicPartition, error: StoreError) -> PartitionResult:
        """The partition that was asked for, with the error."""
        result = cls(asked.topic, asked.partition, asked.offset)
        result.error = error.kafka_error()
        return result


# -- logs


def list_offsets(
    store: LogStore, specs: Mapping[TopicPartition, OffsetSpec]
) -> Work[TopicPartition, ListOffsetsResultInfo]:
    """Offsets at the ends of logs, and by time."""

    def attempt(tps: list[TopicPartition]) -> Mapping[TopicPartition, ListOffsetsResultInfo | StoreError]:
        def answer(tp: TopicPartition) -> ListOffsetsResultInfo:
            topic, state = _raised(logs[tp])
            match specs[tp]._value:
                case cimpl.OFFSET_SPEC_EARLIEST:
                    return _result(state, state.start, -1)
                case cimpl.OFFSET_SPEC_LATEST:
                    return _result(state, state.end, -1)
                case cimpl.OFFSET_SPEC_MAX_TIMESTAMP:
                    found = latest_timestamp(store, topic, tp.partition)
                case timestamp:
                    found = offset_for_timestamp(store, topic, tp.partition, timestamp)
            return _result(state, *found) if found else NOT_FOUND

        logs = _logs(store, _leaders(store, tps))
        return each(tps, answer)

    return attempt


def is_valid(spec: OffsetSpec) -> bool:
    """Whether it is a time, or one of the three that stand for something else."""
    return bool(spec._value >= cimpl.OFFSET_SPEC_MAX_TIMESTAMP)  # the lowest of them


def delete_records(store: LogStore) -> Work[TopicPartition, DeletedRecords]:
    """Raise log starts to the offsets in the keys."""

    def attempt(tps: list[TopicPartition]) -> Mapping[TopicPartition, DeletedRecords | StoreError]:
        topics = _leaders(store, tps)

        def delete(tp: TopicPartition) -> DeletedRecords:
            topic = _raised(topics[tp])
            return DeletedRecords(store.delete_records(topic, tp.partition, tp.offset))

        return each(tps, delete)

    return attempt


def _leaders(store: LogStore, tps: Sequence[TopicPartition]) -> dict[TopicPartition, TopicInfo | StoreError]:
    """The topic of each partition, with the errors of requests that go to the partitions' leaders.

    librdkafka looks for these first: if none of the partitions has a leader, all fail with _NOENT; else a missing
    partition of a topic that exists is a _UNKNOWN_PARTITION.
    """
    known = store.topics().topics
    topics = each(tps, lambda tp: find_partition(known, tp.topic, tp.partition))
    nowhere = all(isinstance(topic, StoreError) for topic in topics.values())

    def error(tp: TopicPartition, refusal: StoreError) -> StoreError:
        if nowhere:
            return StoreError(KafkaError._NOENT, f"No leaders found: {refusal.reason}")
        return StoreError(KafkaError._UNKNOWN_PARTITION, refusal.reason) if tp.topic in known else refusal

    return {tp: error(tp, topic) if isinstance(topic, StoreError) else topic for tp, topic in topics.items()}


def _logs(
    store: LogStore, topics: Mapping[TopicPartition, TopicInfo | StoreError]
) -> dict[TopicPartition, tuple[TopicInfo, LogState] | StoreError]:
    """Topic and limits of each partition, in one round trip for all that exist."""
    found = [(tp, topic) for tp, topic in topics.items() if not isinstance(topic, StoreError)]
    states = store.log_states([(topic, tp.partition) for tp, topic in found]) if found else []
    logs: dict[TopicPartition, tuple[TopicInfo, LogState] | StoreError] = {
        tp: topic for tp, topic in topics.items() if isinstance(topic, StoreError)
    }
    for (tp, topic), state in zip(found, states, strict=True):
        logs[tp] = state if isinstance(state, StoreError) else (topic, state)
    return logs


def _raised(answer: T | StoreError) -> T:
    if isinstance(answer, StoreError):
        raise answer
    return answer


def _result(state: LogState, offset: int, timestamp: int) -> ListOffsetsResultInfo:
    epoch = max((epoch for epoch, first in state.epochs if first <= offset), default=-1)
    return ListOffsetsResultInfo(offset, timestamp, epoch)


# -- consumer groups


def committed_offsets(
    store: LogStore, group: str, asked: Sequence[TopicPartition] | None
) -> ConsumerGroupTopicPartitions:
    """All committed offsets, or those asked for with OFFSET_INVALID where there is none; sorted."""
    committed = store.committed(group)
    tps = committed if asked is None else [(tp.topic, tp.partition) for tp in asked]
    return ConsumerGroupTopicPartitions(group, [_committed(*tp, committed.get(tp)) for tp in sorted(tps)])


def _committed(topic: str, partition: int, committed: Committed | None) -> TopicPartition:
    if committed is None:
        return TopicPartition(topic, partition, OFFSET_INVALID)
    # leader_epoch -1 reads as None; metadata has no such value and must be left out.
    optional = {} if committed.metadata is None else {"metadata": committed.metadata}
    return TopicPartition(topic, partition, committed.offset, leader_epoch=committed.leader_epoch, **optional)


def alter_offsets(store: LogStore, group: str, tps: Sequence[TopicPartition]) -> ConsumerGroupTopicPartitions:
    """Commit for a group that has no live member, all or none of the partitions that exist.

    As with Kafka the result has the errors: UNKNOWN_MEMBER_ID for all while the group has live members,
    UNKNOWN_TOPIC_OR_PART for the partitions that do not exist, OFFSET_METADATA_TOO_LARGE.
    """
    known = store.topics().topics
    tps = sorted(tps)
    logs = _logs(store, each(tps, lambda tp: _committable(known, tp)))
    errors = {tp: log for tp, log in logs.items() if isinstance(log, StoreError)}
    _raise_retriable(errors.values())
    valid = [tp for tp in tps if tp not in errors]
    offsets = {
        (tp.topic, tp.partition): Committed(
            tp.offset,
            -1 if tp.leader_epoch is None else tp.leader_epoch,
            tp.metadata,
            _raised(logs[tp])[1].log_id,
        )
        for tp in valid
    }
    try:
        if offsets:
            store.commit(group, "", offsets)
    except StoreError as e:
        if e.code != KafkaError.UNKNOWN_MEMBER_ID:
            raise
        errors |= dict.fromkeys(valid, e)
    done = [
        PartitionResult.failed(tp, errors[tp])
        if tp in errors
        else _committed(tp.topic, tp.partition, offsets[tp.topic, tp.partition])
        for tp in tps
    ]
    return ConsumerGroupTopicPartitions(group, done)


def _committable(known: Mapping[str, TopicInfo], tp: TopicPartition) -> TopicInfo:
    if tp.metadata is not None and len(tp.metadata) > MAX_METADATA_CHARACTERS:
        raise StoreError(
            KafkaError.OFFSET_METADATA_TOO_LARGE,
            f"The metadata of an offset has at most {MAX_METADATA_CHARACTERS} characters, not {len(tp.metadata)}",
        )
    return find_partition(known, tp.topic, tp.partition)


def _raise_retriable(errors: Iterable[StoreError]) -> None:
    for error in errors:
        if error.retriable:
            raise error
