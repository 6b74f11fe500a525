"""Topic configs: the table of keys, validation, and typed values for the engine and the stores.

Names, types, defaults and limits are Kafka's (org.apache.kafka.common.config.TopicConfig, LogConfig). What a
key does here is one of three things, and `describe_configs` shows the first two:

* it is honoured (`KEYS` with `fixed` false);
* the log behaves as if it had one value, and any other is refused (`fixed` true);
* it tunes files on a Kafka broker's disk, which this log does not have (`NO_EFFECT`): accepted, so that
  scripts made for Kafka run, and without effect.

Everything else is refused: a config that is silently not honoured is worse than an error.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamadapter.backend import TopicInfo


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One topic config. `parse` returns the typed value or raises ValueError saying what would be valid."""

    name: str
    default: str
    parse: Callable[[str], int | str]
    fixed: bool = False


def _integer(minimum: int, maximum: int) -> Callable[[str], int | str]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"must be between {minimum} and {maximum}")
        return value

    return parse


def _one_of(*values: str, why: str = "") -> Callable[[str], int | str]:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(f"must be {' or '.join(values)}{why}")
        return text

    return parse


_INT32 = 2**31 - 1
_INT64 = 2**63 - 1

KEYS: Mapping[str, ConfigKey] = {
    key.name: key
    for key in (
        ConfigKey("retention.ms", "604800000", _integer(-1, _INT64)),
        ConfigKey("retention.bytes", "-1", _integer(-1, _INT64)),
        ConfigKey("max.message.bytes", "1048588", _integer(0, _INT32)),
        ConfigKey("min.insync.replicas", "1", _integer(1, _INT32)),
        ConfigKey("message.timestamp.type", "CreateTime", _one_of("CreateTime", "LogAppendTime")),
        ConfigKey("message.timestamp.before.max.ms", str(_INT64), _integer(0, _INT64)),
        ConfigKey("message.timestamp.after.max.ms", "3600000", _integer(0, _INT64)),
        ConfigKey(
            "cleanup.policy",
            "delete",
            _one_of("delete", why=": this log has no compaction; keep the latest value by key in a database"),
            fixed=True,
        ),
        ConfigKey(
            "compression.type",
            "producer",
            _one_of("producer", why=": batches are stored as the producer made them (its compression.type)"),
            fixed=True,
        ),
    )
}
"""Topic configs with a meaning here, in the order they are shown."""

NO_EFFECT = frozenset(
    {
        "delete.retention.ms",
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "index.interval.bytes",
        "max.compaction.lag.ms",
        "message.downconversion.enable",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "preallocate",
        "segment.bytes",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
    }
)
"""Segment files, their indexes, flushing and the compactor: accepted, stored, without effect."""


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic's configs, typed, defaults filled in. Sizes in bytes, times in ms; -1 is no limit."""

    retention_ms: int
    retention_bytes: int
    max_message_bytes: int
    min_insync_replicas: int
    log_append_time: bool
    timestamp_before_max_ms: int
    timestamp_after_max_ms: int

    @staticmethod
    def of(topic: TopicInfo) -> TopicConfig:
        """The configs of a topic; cached by value, so it may be called for each batch. Thread-safe.

        Raises StoreError(INVALID_CONFIG) if the registry holds a value that `validate` would have refused.
        """
        return _typed(frozenset(topic.config.items())) if topic.config else _DEFAULTS


@lru_cache(maxsize=1024)
def _typed(config: frozenset[tuple[str, str]]) -> TopicConfig:
    given = dict(config)

    def value(name: str) -> int:
        return int(_parse(name, given.get(name, KEYS[name].default)))

    return TopicConfig(
        retention_ms=value("retention.ms"),
        retention_bytes=value("retention.bytes"),
        max_message_bytes=value("max.message.bytes"),
        min_insync_replicas=value("min.insync.replicas"),
        log_append_time=given.get("message.timestamp.type") == "LogAppendTime",
        timestamp_before_max_ms=value("message.timestamp.before.max.ms"),
        timestamp_after_max_ms=value("message.timestamp.after.max.ms"),
    )


def validate(config: Mapping[str, str | None]) -> dict[str, str]:
    """The configs as they are to be stored: trimmed, as Kafka does.

    Raises StoreError(INVALID_CONFIG) for an unknown key (naming the nearest one), a value out of range, or a
    value this log cannot honour.
    """
    checked = {}
    for name, text in config.items():
        if name not in KEYS and name not in NO_EFFECT:
            raise _invalid(f'Unknown topic config "{name}"{_hint(name)}')
        if text is None:
            raise _invalid(f'Topic config "{name}" has no value; leave it out for the default')
        checked[name] = text.strip()
        if name in KEYS:
            _parse(name, checked[name])
    return checked


def _parse(name: str, text: str) -> int | str:
    try:
        return KEYS[name].parse(text)
    except ValueError as e:
        raise _invalid(f'Invalid value "{text}" for topic config "{name}": {e}') from None


def _hint(name: str) -> str:
    known = (*KEYS, *sorted(NO_EFFECT))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f': did you mean "{near[0]}"?' if near else f"; known are {', '.join(KEYS)}"


def _invalid(reason: str) -> StoreError:
    return StoreError(KafkaError.INVALID_CONFIG, reason)


_DEFAULTS = _typed(frozenset())
