"""Argument checks of the consumer, with confluent_kafka's exception types and texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    KafkaError,
    TopicPartition,
)

from streamadapter.backend import TP, Committed
from streamadapter.engine.consumer_state import public_offset
from streamadapter.engine.positions import OFFSET_TAIL_BASE
from streamadapter.errors import kafka_exception
from streamadapter.message import Message

MAX_CONSUME = 1_000_000
LOGICAL_OFFSETS = (OFFSET_BEGINNING, OFFSET_END, OFFSET_STORED, OFFSET_INVALID)


def topic_list(topics: Any) -> list[str]:
    """A subscription: a non-empty list of names and ^patterns."""
    if not isinstance(topics, list):
        raise TypeError("expected list of topic unicode strings")
    if not all(isinstance(topic, str) for topic in topics):
        raise TypeError("expected list of topic unicode strings")
    if not topics or not all(topics):
        raise kafka_exception(
            KafkaError._INVALID_ARG,
            "Failed to set subscription: no topics; use unsubscribe() to leave the group",
        )
    if len(set(topics)) < len(topics):
        raise kafka_exception(KafkaError._INVALID_ARG, "Failed to set subscription: a topic is named twice")
    for pattern in topics:
        if pattern.startswith("^"):
            try:
                re.compile(pattern)
            except re.error as error:
                raise kafka_exception(
                    KafkaError._INVALID_ARG, f"Failed to set subscription: bad pattern {pattern!r}: {error}"
                ) from error
    return cast("list[str]", topics)


def callback(name: str, function: Any) -> Callable[..., Any] | None:
    """A callback or None."""
    if function is not None and not callable(function):
        raise TypeError(f"{name} expects a callable")
    return cast("Callable[..., Any] | None", function)


def partition(value: Any) -> TopicPartition:
    """One TopicPartition."""
    if not isinstance(value, TopicPartition):
        raise TypeError("expected cimpl.TopicPartition")
    return value


def partition_list(values: Any) -> list[TopicPartition]:
    """A list of TopicPartitions."""
    if not isinstance(values, list):
        raise TypeError("requires list of TopicPartition")
    return [partition(value) for value in values]


def key(tp: TopicPartition) -> TP:
    """As the maps are keyed."""
    return (tp.topic, tp.partition)


def echo(tps: Iterable[TopicPartition]) -> list[TopicPartition]:
    """What was given to commit(), as librdkafka gives it back: sorted copies."""
    return [public_offset(key(tp), tp.offset, tp.leader_epoch, tp.metadata) for tp in sorted(tps)]


def distinct(tps: Iterable[TopicPartition]) -> dict[TP, int]:
    """Partitions and where to start. Raises KafkaException(_INVALID_ARG) for one named twice or a wrong offset."""
    found: dict[TP, int] = {}
    for tp in tps:
        if key(tp) in found:
            raise kafka_exception(
                KafkaError._INVALID_ARG,
                f"Failed to set assignment: {tp.topic} [{tp.partition}] is named twice",
            )
        if not (tp.offset >= 0 or tp.offset in LOGICAL_OFFSETS or tp.offset <= OFFSET_TAIL_BASE):
            raise kafka_exception(
                KafkaError._INVALID_ARG,
                f"Failed to set assignment: {tp.topic} [{tp.partition}] cannot start at offset {tp.offset}",
            )
        found[key(tp)] = tp.offset
    return found


def to_commit(message: Any, offsets: Any, log_id: Callable[[TP], str]) -> dict[TP, Committed] | None:
    """What commit() and store_offsets() were given; None: neither message nor offsets.

    log_id: identity of a partition's log as far as it is known, '' otherwise.
    """
    if message is not None and offsets is not None:
        raise ValueError("message and offsets are mutually exclusive")
    if message is not None:
        if not isinstance(message, Message):
            raise TypeError("expected confluent_kafka.cimpl.Message")
        if message.error() is not None:
            raise kafka_exception(
                KafkaError._INVALID_ARG, "a message that carries an error has no offset to commit"
            )
        tp = (message.topic(), cast("int", message.partition()))
        epoch = message.leader_epoch()
        offset = cast("int", message.offset()) + 1
        return {tp: Committed(offset, -1 if epoch is None else epoch, None, log_id(tp))}
    if offsets is None:
        return None
    return {
        key(tp): Committed(
            tp.offset, -1 if tp.leader_epoch is None else tp.leader_epoch, tp.metadata, log_id(key(tp))
        )
        for tp in partition_list(offsets)
        if tp.offset >= 0
    }
