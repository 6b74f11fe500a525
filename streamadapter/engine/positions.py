"""Where to read from: pure rules for starting, for resets, and for noticing that a log was cut.

Sources: librdkafka's offset reset; KIP-320 for truncation (an epoch after one's own that began below one's position
means that offsets were used again).
"""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, OFFSET_STORED, KafkaError

from streamadapter.backend import Committed, LogState
from streamadapter.errors import StoreError

OFFSET_TAIL_BASE = -2000
"""librdkafka's OFFSET_TAIL(n) is this minus n: n records before the end."""


@dataclass(frozen=True, slots=True)
class Start:
    """A resolved position. `notice`: what the application must be told though reading goes on (None: nothing)."""

    offset: int
    leader_epoch: int = -1
    notice: StoreError | None = None


def resolve(name: str, wanted: int, committed: Committed | None, log: LogState, policy: str) -> Start:
    """The position for `wanted` (an offset, or one of Kafka's logical ones) in this log.

    name: of the partition, for messages. policy: auto.offset.reset as earliest, latest or error.
    Raises StoreError(_AUTO_OFFSET_RESET) if a reset is needed and the policy is error.
    """
    if wanted == OFFSET_BEGINNING:
        return Start(log.start)
    if wanted == OFFSET_END:
        return Start(log.end)
    if wanted <= OFFSET_TAIL_BASE:
        return Start(max(log.start, log.end - (OFFSET_TAIL_BASE - wanted)))
    if wanted in (OFFSET_STORED, OFFSET_INVALID):
        if committed is None or committed.offset < 0:
            return reset(name, log, policy, None)
        problem = check(name, committed.offset, committed.leader_epoch, committed.log_id, log)
        position = Start(committed.offset, committed.leader_epoch)
    else:
        problem = check(name, wanted, -1, "", log)
        position = Start(wanted)
    return position if problem is None else reset(name, log, policy, problem)


def check(name: str, offset: int, leader_epoch: int, log_id: str, log: LogState) -> StoreError | None:
    """Why `offset` cannot be read from this log; None if it can. Unknown epoch (-1) or log id ('') is not checked."""
    if log_id and log_id != log.log_id:
        return StoreError(
            KafkaError._LOG_TRUNCATION, f"{name}: offset {offset} belongs to an earlier log of that name"
        )
    if leader_epoch >= 0:
        cut = min((first for epoch, first in log.epochs if epoch > leader_epoch), default=log.end)
        if cut < offset:
            return StoreError(
                KafkaError._LOG_TRUNCATION,
                f"{name}: the log was cut at offset {cut} below position {offset}, and offsets were used again",
            )
    if offset > log.end:
        return StoreError(
            KafkaError.OFFSET_OUT_OF_RANGE,
            f"{name}: position {offset} is beyond the log end offset {log.end}",
        )
    if offset < log.start:
        return StoreError(
            KafkaError.OFFSET_OUT_OF_RANGE,
            f"{name}: position {offset} is below the log start offset {log.start}: "
            f"{log.start - offset} records were deleted before they were read",
        )
    return None


def reset(name: str, log: LogState, policy: str, problem: StoreError | None) -> Start:
    """Apply auto.offset.reset; `problem` None means that there simply was no committed offset."""
    if policy == "error":
        why = problem.reason if problem else f"{name}: no committed offset"
        raise StoreError(KafkaError._AUTO_OFFSET_RESET, f"{why} (auto.offset.reset=error)")
    return Start(log.start if policy == "earliest" else log.end, notice=problem)


def verify(name: str, offset: int, leader_epoch: int, log_id: str, log: LogState, policy: str) -> Start:
    """Where to read on from `offset` after a look at the log: there, with the epoch now known, or after a reset.

    Raises StoreError(_AUTO_OFFSET_RESET) if a reset is needed and the policy is error.
    """
    problem = check(name, offset, leader_epoch, log_id, log)
    if problem is not None:
        return reset(name, log, policy, problem)
    return Start(offset, max((epoch for epoch, first in log.epochs if first <= offset), default=leader_epoch))
