"""Batching policy: which records form which batch, when it is sent, and what its failure means. Pure.

No clock, thread or socket: time is an argument (seconds, monotonic), randomness is injected. The owner serialises
the calls (the producer: under one lock).

Rules, and their reason:

* At most one batch of a partition is under way, so batches arrive in order, and a failed one has no successor.
* A batch is closed at the moment it is sent. Until then records time out one by one and cost no sequence number.
* A batch that is known not to be on the server is opened again: its records return to the head of the queue, and
  the sequence goes back. One that may be there is kept as it is, sequence and all, so that a retry is deduplicated.
* If such a batch is given up (timed out, purged), the epoch of its partition rises and the sequence restarts at 0
  before anything else is sent there: should the old request still arrive, it is refused, and order holds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError

from streamadapter.engine.queues import COLUMNS, Batch, Queue, Records, record_size
from streamadapter.errors import StoreError

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Records that will not be delivered, and why. `partition` is -1 if none was ever chosen."""

    topic: str
    partition: int
    records: Records
    error: KafkaError


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that matter here. Times in seconds; a delivery_timeout of 0 is none."""

    linger: float
    batch_size: int
    batch_messages: int
    delivery_timeout: float
    retries: int
    backoff: float
    backoff_max: float


class Accumulator:
    """All queues of a producer and the decisions about them. See the module for the rules.

    `jitter` returns numbers in [0, 1). Queues with anything in them are active; only those are looked at.
    """

    def __init__(self, policy: Policy, jitter: Callable[[], float] = random.random) -> None:
        self.policy = policy
        self._jitter = jitter
        self._active: dict[Queue, None] = {}  # an ordered set: whoever was served goes to the end

    def queue(self, topic: str, partition: int, blocked: bool = False) -> Queue:
        """A new queue."""
        return Queue(topic, partition, self.policy.batch_size, self.policy.batch_messages, blocked)

    def activate(self, queue: Queue) -> float:
        """Take note of a queue that was added to; returns when it is due."""
        self._active[queue] = None
        return self._due(queue, flushing=False)

    def ready(self, now: float, flushing: bool, limit: int) -> list[Batch]:
        """Batches to be sent now, at most one a partition and about `limit` bytes together; they are under way."""
        batches: list[Batch] = []
        total = 0
        for queue in [q for q in self._active if self._due(q, flushing) <= now]:
            batch = queue.retry or queue.close()
            queue.retry, queue.under_way = None, batch
            del self._active[queue]
            self._active[queue] = None
            batches.append(batch)
            total += batch.records.size
            if total >= limit:
                break
        return batches

    def next_event(self, flushing: bool) -> float:
        """When `ready` or `expire` will next have something, if nothing is added until then; may be in the past."""
        due = min((self._due(q, flushing) for q in self._active), default=NEVER)
        return min(due, min((self._deadline(q) for q in self._active), default=NEVER))

    def succeeded(self, batch: Batch) -> bool:
        """The batch is in the log. Returns whether its records are still to be reported."""
        queue = batch.queue
        queue.under_way = None
        queue.attempts = 0
        queue.not_before = 0.0
        self._tidy(queue)
        return not batch.abandoned

    def failed(self, batch: Batch, error: StoreError, now: float) -> GivenUp | None:
        """The batch was refused, or its fate is unknown. Returns its records if they are given up."""
        queue = batch.queue
        queue.under_way = None
        batch.maybe_stored |= error.indeterminate
        given_up = None
        if batch.abandoned:
            pass
        elif error.code == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER and self._may_retry(queue):
            # The server has lost what it knew of us (the log's tail, on a failover): begin a new epoch.
            batch.maybe_stored = True
            queue.reopen(batch)
        elif error.code == KafkaError.MSG_SIZE_TOO_LARGE and len(batch.records) > 1:
            queue.batch_size = max(1, batch.records.size // 2)
            queue.reopen(batch)
        elif error.retriable and self._may_retry(queue):
            if batch.maybe_stored:
                queue.retry = batch
            else:
                queue.reopen(batch)
        else:
            queue.withdraw(batch)
            given_up = GivenUp(queue.topic, queue.partition, batch.records, error.kafka_error())
        if given_up is None and error.code != KafkaError.MSG_SIZE_TOO_LARGE:
            queue.not_before = now + self.backoff(queue.attempts)
            queue.attempts += 1
        else:
            queue.attempts = 0
        self._tidy(queue)
        return given_up

    def expire(self, now: float, why: str = "") -> list[GivenUp]:
        """Give up what is older than delivery_timeout. A batch goes as a whole, with its oldest record.

        why: the trouble with the server that made them late, if any is known; it goes into the reports.
        """
        late = [q for q in self._active if self._deadline(q) <= now]
        if not late:
            return []
        expired: list[GivenUp] = []
        error = KafkaError(KafkaError._MSG_TIMED_OUT)
        if why:
            error = KafkaError(KafkaError._MSG_TIMED_OUT, f"{error.str()}: {why}")
        for queue in late:
            oldest = now - self.policy.delivery_timeout
            sent = [batch for batch in queue.unanswered() if batch.records.born[0] <= oldest]
            expired += [self._abandon(batch, error) for batch in sent]
            expired += _given_up(queue, queue.take_until(oldest), error)
            self._tidy(queue)
        return expired

    def purge(self, in_queue: bool, in_flight: bool) -> list[GivenUp]:
        """Give up what waits, and what was sent and is not yet answered. A batch that may be stored is in flight."""
        purged: list[GivenUp] = []
        for queue in list(self._active):
            if in_flight:
                error = KafkaError(KafkaError._PURGE_INFLIGHT)
                purged += [self._abandon(batch, error) for batch in queue.unanswered()]
            if in_queue:
                purged += _given_up(queue, queue.take_all(), KafkaError(KafkaError._PURGE_QUEUE))
            self._tidy(queue)
        return purged

    def fail_open(self, queues: Iterable[Queue], error: KafkaError) -> list[GivenUp]:
        """Give up everything in these queues that is not under way."""
        failed: list[GivenUp] = []
        for queue in queues:
            if queue.retry is not None:
                failed.append(self._abandon(queue.retry, error))
            failed += _given_up(queue, queue.take_all(), error)
            self._tidy(queue)
        return failed

    def distribute(
        self, source: Queue, targets: Sequence[Queue], choose: Callable[[bytes | None], int]
    ) -> None:
        """Move records that waited for metadata to the queues that `choose` names by their key, oldest first."""
        waiting = source.take_all()
        self._tidy(source)
        touched = set()
        for records in waiting:
            for value, key, timestamp, headers, callback, born in zip(
                *(getattr(records, column) for column in COLUMNS), strict=True
            ):
                queue = targets[choose(key)]
                queue.add(value, key, timestamp, headers, callback, born, record_size(value, key, headers))
                touched.add(queue)
        for queue in sorted(touched, key=lambda q: q.partition):
            self.activate(queue)

    def _due(self, queue: Queue, flushing: bool) -> float:
        if queue.under_way is not None or queue.blocked:
            return NEVER
        if queue.retry is not None or flushing or queue.is_full():
            return queue.not_before
        if not queue.open.values:
            return NEVER
        return max(queue.not_before, queue.open.born[0] + self.policy.linger)

    def _deadline(self, queue: Queue) -> float:
        timeout = self.policy.delivery_timeout
        if not timeout:
            return NEVER
        sent = queue.unanswered()
        oldest = sent[0].records if sent else queue.oldest()
        return oldest.born[0] + timeout if oldest.born else NEVER

    def _abandon(self, batch: Batch, error: KafkaError) -> GivenUp:
        queue = batch.queue
        if queue.under_way is batch:
            batch.abandoned = batch.maybe_stored = True
        else:
            queue.retry = None
        queue.withdraw(batch)
        return GivenUp(queue.topic, queue.partition, batch.records, error)

    def _may_retry(self, queue: Queue) -> bool:
        return queue.attempts < self.policy.retries

    def backoff(self, attempts: int) -> float:
        """Exponential with a jitter of 20 % either way (KIP-580)."""
        raw = min(self.policy.backoff * 2.0 ** min(attempts, 30), self.policy.backoff_max)
        return raw * (0.8 + 0.4 * self._jitter())

    def _tidy(self, queue: Queue) -> None:
        if queue.is_empty():
            self._active.pop(queue, None)


def _given_up(queue: Queue, dropped: Iterable[Records], error: KafkaError) -> list[GivenUp]:
    return [GivenUp(queue.topic, queue.partition, records, error) for records in dropped]
