"""The loop of a service that consumes orders: one for all four.

Consume a batch; effects and marks in one transaction; then publish what became of it; only then store the offsets for
committing. Whatever dies in between, the records come again: the marks make the repeat harmless, and what was not
published is published then.

A record that is no order is a dead letter at once. A batch that fails is tried again record by record, so that one
bad order holds up nobody else's; an order that keeps failing becomes a dead letter. What to do with a record is
decided by `sort_batch` and `after_failure`, which do no I/O.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count, starmap
from threading import Event
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from streamadapter import Consumer, KafkaError, KafkaException
from streamstore import status
from streamstore.consuming import next_batch, place, records, store
from streamstore.database import Database, Service, StoppedError, handle, is_transient, persistently
from streamstore.dead_letters import dead_letter, is_for, without_contents
from streamstore.orders import Order, decode
from streamstore.outlet import Outlet, Record

if TYPE_CHECKING:
    from streamadapter import Message
    from streamstore.settings import Settings

log = logging.getLogger(__name__)

COMMIT_MS = 200  # how much is delivered again, at most, after a crash
LONGEST_RETRY_SECONDS = 30.0
WORK_MS, LONGEST_POLL_INTERVAL_MS = 300_000, 86_400_000  # max.poll.interval.ms: its default, its maximum
COLLISIONS = 5  # of a transaction with another instance's, before we doubt that this is what it is
TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.INVALID_MSG)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record, and what to do with it: handle its order, keep it as a dead letter, or, without both, pass it."""

    message: Message
    order: Order | None = None
    reason: str | None = None  # why it is a dead letter
    attempts: int = 0  # made in vain
    failed: str | None = None  # the event id of an order that is a dead letter


def consume_orders(service: Service, database: Database, settings: Settings, stop: Event) -> None:
    """Handle orders until `stop` is set, then commit and leave the group.

    Raises StoppedError if it had to stop while database or broker could not be used, KafkaException for a fatal
    error of a client.
    """
    client_id = settings.client_id(service.name)
    consumer = Consumer(
        {
            "group.id": service.name,
            "client.id": client_id,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,  # stored below, when their effect is in the database
            "auto.commit.interval.ms": COMMIT_MS,
            "max.poll.interval.ms": _poll_interval_ms(settings),
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": settings.session_timeout_ms // 4,
        }
    )
    try:
        with Outlet({"client.id": client_id}) as outlet:
            worker = _Worker(service, database, settings, stop, consumer, outlet)
            consumer.subscribe([settings.topic])
            log.info("%s consumes %s", service.name, settings.topic)
            while not stop.is_set():
                worker.work_off(sort_batch(next_batch(consumer, settings.batch_size), service.name))
    finally:
        consumer.close()
    log.info("%s has left its group", service.name)


def sort_batch(messages: Iterable[Message], service: str) -> list[Entry]:
    """What to do with each record. Raises KafkaException for a fatal error among them."""
    return [_entry(message, service) for message in records(messages)]


def _entry(message: Message, service: str) -> Entry:
    if not is_for(message, service):
        return Entry(message)
    try:
        return Entry(message, decode(message.value() or b""))
    except ValueError as problem:
        return Entry(message, reason=f"not an order: {problem}", attempts=1)


def after_failure(batch: Sequence[Entry], reason: str, attempts: int) -> list[list[Entry]]:
    """What to do instead of a batch that failed: its records one by one, in their order.

    An order that failed alone, and failed `attempts` times in all, is a dead letter.
    """
    alone = sum(entry.order is not None for entry in batch) == 1
    return [[_after_attempt(entry, reason, attempts if alone else None)] for entry in batch]


def _after_attempt(entry: Entry, reason: str, limit: int | None) -> Entry:
    if entry.order is None:
        return entry
    tried = replace(entry, attempts=entry.attempts + 1)
    if limit is None or tried.attempts < limit:
        return tried
    return replace(tried, order=None, reason=reason, failed=entry.order.event_id)


def retry_delay(attempts: int, first: float) -> float:
    """Seconds to wait after so many attempts in vain: `first`, doubled for each further one."""
    return min(LONGEST_RETRY_SECONDS, first * 2.0 ** min(attempts - 1, 30))  # no float is that large


class _Worker:
    def __init__(
        self,
        service: Service,
        database: Database,
        settings: Settings,
        stop: Event,
        consumer: Consumer,
        outlet: Outlet,
    ) -> None:
        self._service = service
        self._database = database
        self._settings = settings
        self._stop = stop
        self._consumer = consumer
        self._outlet = outlet

    def work_off(self, batch: list[Entry]) -> None:
        """Handle, publish, store; what fails is done in pieces. After a stop half-way the rest comes again."""
        pieces = deque([batch])
        while pieces and not self._stop.is_set():
            piece = pieces.popleft()
            try:
                outcomes = self._handle([entry.order for entry in piece if entry.order is not None])
            except StoppedError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a service chokes on must not stop it
                again = after_failure(piece, _reason(error), self._settings.attempts)
                pieces.extendleft(reversed(again))
                self._back_off(piece, [entry for [entry] in again if entry.order], error)
            else:
                self._publish(piece, outcomes)
                store(self._consumer, [entry.message for entry in piece])

    def _handle(self, orders: Sequence[Order]) -> Mapping[str, str]:
        if not orders:
            return {}
        action = partial(handle, self._database, self._service, orders)
        return persistently(action, self._service.name, self._stop, _transient())

    def _back_off(self, failed: Sequence[Entry], again: Sequence[Entry], error: Exception) -> None:
        """Say what failed, and wait if it is to be tried again."""
        first = next(entry for entry in failed if entry.order)
        what = f"{self._service.name}: {len(failed)} records from {place(first.message)}"
        log.error("%s failed: %s", what, _reason(error), exc_info=None if again else error)
        if again:
            self._stop.wait(retry_delay(again[0].attempts, self._settings.retry_seconds))

    def _publish(self, batch: Sequence[Entry], outcomes: Mapping[str, str]) -> None:
        """Return when the broker has the statuses and the dead letters."""
        waiting = [*self._statuses(batch, outcomes), *self._dead_letters(batch)]
        while waiting:
            errors = self._outlet.publish(waiting, self._stop.is_set)
            refused = [(record, error) for record, error in zip(waiting, errors, strict=True) if error]
            waiting = [record for record in starmap(_instead, refused) if record]

    def _statuses(self, batch: Iterable[Entry], outcomes: Mapping[str, str]) -> Iterator[Record]:
        failed = {entry.failed: status.DEAD_LETTER for entry in batch if entry.failed is not None}
        for event_id, state in (failed | dict(outcomes)).items():
            value = status.encode(status.Status(event_id, self._service.name, state))
            yield Record(self._settings.status_topic, value, event_id)

    def _dead_letters(self, batch: Iterable[Entry]) -> Iterator[Record]:
        for entry in batch:
            if entry.reason is not None:
                log.error("%s is a dead letter: %s", place(entry.message), entry.reason)
                yield dead_letter(
                    self._settings.dead_letter_topic,
                    entry.message,
                    self._service.name,
                    entry.reason,
                    entry.attempts,
                    datetime.now(UTC),
                )


def _transient() -> Callable[[Exception], bool]:
    """What is tried again without end: as everywhere, but no collision that repeats itself, for it is none."""
    collisions = count(1)

    def transient(error: Exception) -> bool:
        if isinstance(error, IntegrityError):
            return next(collisions) <= COLLISIONS
        return is_transient(error)

    return transient


def _instead(record: Record, error: KafkaError) -> Record | None:
    """What to publish in place of a record that was not taken. Raises KafkaException if nothing would be."""
    if error.code() == KafkaError._QUEUE_FULL:
        return record
    if error.code() not in TOO_LARGE:
        raise KafkaException(error)
    log.error("a record for %s is too large: %s", record.topic, error)
    return without_contents(record)


def _poll_interval_ms(settings: Settings) -> int:
    """Long enough for a batch all of whose orders fail: no member is taken for dead while it tries."""
    retries = settings.attempts - 1
    waiting = settings.batch_size * retries * retry_delay(max(retries, 1), settings.retry_seconds)
    return min(LONGEST_POLL_INTERVAL_MS, WORK_MS + int(waiting * 1000))


def _reason(error: Exception) -> str:
    """The kind of the error and its first line; what follows may be the customer's data."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
