"""The background half of a producer: one thread that sends batches, and the state it shares with the callers.

The thread knows this object and never the producer, so a producer that is dropped without close() can be collected,
and ends the thread. All fields but `reports` and `errors` (deques with one atomic operation at a time), `stopping`
and `forked` (flags) are guarded by `lock`, which is never held over I/O or encoding.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, KafkaError

from streamadapter.backend import Append, Appended, LogStore, Settings, TopicInfo
from streamadapter.codec import encode_batch
from streamadapter.compression import Compression
from streamadapter.engine.accumulator import NEVER, Accumulator, GivenUp, Policy
from streamadapter.engine.queues import AUTO_TIMESTAMP, NO_LIMIT, Batch, Queue, Records, Room
from streamadapter.engine.reports import Report
from streamadapter.engine.routes import Route, Routing, apply_metadata
from streamadapter.errors import StoreError
from streamadapter.partitioners import PARTITIONERS
from streamadapter.topic_config import TopicConfig

log = logging.getLogger(__name__)

MAX_REQUEST_SIZE = 8 * 1024 * 1024
"""Bytes of batches that one request carries, about: bounds the time in which nothing else is sent."""

MAX_IDLE = 1.0
"""Seconds after which an idle thread looks whether its producer was dropped."""

_TOPIC_GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID)


class Sender:
    """See the module. `store` is this object's own: its thread closes it at the end."""

    def __init__(self, store: LogStore, settings: Settings) -> None:
        self.store = store
        self.lock = threading.Lock()
        self.accumulator = Accumulator(_policy(settings))
        self.routes: dict[str, Route] = {}
        self.room = Room(
            settings["queue.buffering.max.messages"] or NO_LIMIT,
            settings["queue.buffering.max.kbytes"] * 1024,
        )
        self.flushing = 0  # callers in flush(): linger does not count
        self.reports: deque[Report] = deque()
        self.errors: deque[KafkaError] = deque()  # for error_cb
        self.progress = threading.Condition(self.lock)  # something was reported
        self.stopping = False
        self.forked = False
        self._wake = threading.Condition(self.lock)
        self._wake_at = 0.0  # until when the thread sleeps; 0 while it does not
        self._routing = Routing(
            self.accumulator,
            PARTITIONERS[settings["partitioner"]],
            settings["sticky.partitioning.linger.ms"] / 1000,
            settings["topic.metadata.propagation.max.ms"] / 1000,
        )
        self._producer_id = random.SystemRandom().getrandbits(63)
        self._acks: int = settings["acks"]
        self._request_timeout_ms: int = settings["request.timeout.ms"]
        self._compression = Compression[settings["compression.type"].upper()]
        self._level: int = settings["compression.level"]
        self._only_errors: bool = settings["delivery.report.only.error"]
        interval_ms: int = settings["topic.metadata.refresh.interval.ms"]
        self._refresh_interval = interval_ms / 1000 if interval_ms > 0 else NEVER
        self._refresh_at = NEVER
        self._refresh_not_before = 0.0
        self._topics: Mapping[str, TopicInfo] = {}  # as last seen
        self._refresh_failures = 0
        self._buffers: list[bytearray] = []  # of the last request's payloads, to be filled again
        self._trouble = ""  # with the server, while it lasts
        self._last_error: int | None = None
        _live.add(self)

    # -- for the producer; the caller holds the lock

    def route(self, topic: str) -> Route:
        """The route of a topic, a new one if need be."""
        route = self.routes.get(topic)
        if route is None:
            now = time.monotonic()
            route = self.routes[topic] = Route(topic, self._routing, now)
            if topic in self._topics:
                route.known(self._topics[topic], now)
            else:
                self.refresh_soon()
        return route

    def refresh_soon(self) -> None:
        """Look at the metadata as soon as the back-off since the last look allows."""
        self._refresh_at = min(self._refresh_at, self._refresh_not_before)
        self.nudge(self._refresh_at)

    def added(self, queue: Queue) -> None:
        """Queue.add has returned True."""
        self.nudge(self.accumulator.activate(queue))

    def nudge(self, due: float) -> None:
        """Something is due then; wake the thread if it would sleep longer."""
        if due < self._wake_at:
            self._wake_at = 0.0
            self._wake.notify()

    def expire(self) -> None:
        """Report what has timed out. Callers that wait do it too: the thread may be waiting for the server."""
        self._give_up(self.accumulator.expire(time.monotonic(), self._trouble))

    def purge(self, in_queue: bool, in_flight: bool) -> None:
        """Give up records; see Accumulator.purge."""
        self._give_up(self.accumulator.purge(in_queue, in_flight))

    # -- the thread

    def stop(self) -> None:
        """End the thread soon; what is queued is dropped. Takes no lock: the garbage collector may call it."""
        self.stopping = True

    def run(self) -> None:
        """The thread. Ends after stop()."""
        try:
            while self._turn():
                pass
        finally:
            self.store.close()

    def _turn(self) -> bool:
        with self.lock:
            batches, refresh = self._await_work()
        if self.stopping:
            return False
        if refresh:
            self._refresh()
        if batches:
            self._send(batches)
        return True

    def _await_work(self) -> tuple[list[Batch], bool]:
        """Batches to send and whether metadata are to be read, at least one of them unless stopping."""
        while not self.stopping:
            self.expire()
            now = time.monotonic()
            batches = self.accumulator.ready(now, self.flushing > 0, MAX_REQUEST_SIZE)
            refresh = self._refresh_at <= now
            if batches or refresh:
                return batches, refresh
            self._wake_at = min(
                self.accumulator.next_event(self.flushing > 0), self._refresh_at, now + MAX_IDLE
            )
            self._wake.wait(max(0.0, self._wake_at - now))
            self._wake_at = 0.0
        return [], False

    def _refresh(self) -> None:
        try:
            topics = self.store.topics().topics
        except StoreError as error:
            with self.lock:
                self._note(error)
                if not error.retriable:
                    for route in self.routes.values():
                        self._give_up(route.fail_waiting(error.kafka_error()))
                self._plan_refresh(wanted=error.retriable)
            return
        with self.lock:
            self._last_error, self._trouble = None, ""
            self._topics = topics
            self._give_up(apply_metadata(self.routes, topics, time.monotonic()))
            self._plan_refresh(wanted=any(r.stale and not r.missing for r in self.routes.values()))

    def _plan_refresh(self, wanted: bool) -> None:
        self._refresh_failures = self._refresh_failures + 1 if wanted else 0
        now = time.monotonic()
        self._refresh_not_before = now + self.accumulator.backoff(self._refresh_failures)
        self._refresh_at = self._refresh_not_before if wanted else now + self._refresh_interval

    def _send(self, batches: Sequence[Batch]) -> None:
        """One request. The answers decide each batch."""
        answers: dict[Batch, Appended | StoreError] = {}
        appends: list[Append] = []
        del self._buffers[len(batches) :]
        self._buffers += (bytearray() for _ in range(len(batches) - len(self._buffers)))
        for batch, buffer in zip(batches, self._buffers, strict=True):
            try:
                appends.append(self._encode(batch, buffer))
            except StoreError as error:
                answers[batch] = error
        sent = [batch for batch in batches if batch not in answers]
        answers.update(zip(sent, self._append(appends), strict=True))
        with self.lock:
            now = time.monotonic()
            for batch, answer in answers.items():
                if isinstance(answer, StoreError):
                    self._refused(batch, answer, now)
                else:
                    self._delivered(batch, answer, now)
            self.progress.notify_all()

    def _append(self, appends: Sequence[Append]) -> Sequence[Appended | StoreError]:
        if not appends:
            return []
        try:
            return self.store.append(appends, self._acks, self._request_timeout_ms)
        except StoreError as error:
            return [error] * len(appends)
        except Exception as bug:  # if it ended this thread, no record would ever be reported
            log.exception("the store failed in an unexpected way")
            return [StoreError(KafkaError._FAIL, f"append: {bug!r}", indeterminate=True)] * len(appends)

    def _encode(self, batch: Batch, buffer: bytearray) -> Append:
        """Raises StoreError."""
        queue, records = batch.queue, batch.records
        route = self.routes.get(queue.topic)
        if route is None or route.info is None or queue.partition >= route.info.partitions:
            raise StoreError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{queue.topic} [{queue.partition}] is gone")
        config = TopicConfig.of(route.info)
        append_time = config.log_append_time
        records.timestamps, oldest, newest = create_times(records, time.time() - time.monotonic())
        if not append_time:
            check_create_times(oldest, newest, config, int(time.time() * 1000))
        try:
            payload = encode_batch(
                records.values,
                records.keys,
                records.timestamps,
                records.headers,
                producer_id=self._producer_id,
                producer_epoch=batch.epoch,
                sequence=batch.sequence,
                timestamp_type=TIMESTAMP_LOG_APPEND_TIME if append_time else TIMESTAMP_CREATE_TIME,
                compression=self._compression,
                level=self._level,
                into=buffer,
            )
        except ValueError as error:
            raise StoreError(KafkaError.MSG_SIZE_TOO_LARGE, str(error)) from error
        return Append(
            topic=route.info,
            partition=queue.partition,
            producer_id=self._producer_id,
            producer_epoch=batch.epoch,
            sequence=batch.sequence,
            count=len(records),
            max_timestamp=-1 if append_time else newest,
            payload=payload,
        )

    # -- outcomes; the lock is held

    def _delivered(self, batch: Batch, place: Appended, now: float) -> None:
        self._last_error, self._trouble = None, ""
        if not self.accumulator.succeeded(batch):
            return
        route = self.routes.get(batch.queue.topic)
        append_time = None
        if route is not None and route.info is not None and TopicConfig.of(route.info).log_append_time:
            append_time = place.append_time
        offset = place.base_offset if self._acks else None  # acks=0 asks for no answer, so there is none
        self._report(Report.delivered(batch, offset, append_time, now), batch.records.size)

    def _refused(self, batch: Batch, error: StoreError, now: float) -> None:
        if error.code in _TOPIC_GONE:
            # Deleted, perhaps created anew: the metadata will say, and the records wait for them.
            error = StoreError(error.code, error.reason, retriable=True)
            batch.queue.blocked = True
            route = self.routes.get(batch.queue.topic)
            if route is not None:
                route.stale = True
            self.refresh_soon()
        else:
            self._note(error)
        given_up = self.accumulator.failed(batch, error, now)
        if given_up is not None:
            self._give_up([given_up])

    def _give_up(self, given_up: Sequence[GivenUp]) -> None:
        now = time.monotonic()
        for item in given_up:
            self._report(Report.failed(item, now), item.records.size)
        if given_up:
            self.progress.notify_all()

    def _report(self, report: Report, size: int) -> None:
        self.room.size -= size
        if self._only_errors and report.error is None:
            report.mute()
        self.reports.append(report)

    def _note(self, error: StoreError) -> None:
        """Tell error_cb of trouble with the server, once until something works again or the trouble changes."""
        self._trouble = error.reason
        if error.code == self._last_error or not (error.retriable or error.fatal):
            return
        self._last_error = error.code
        self.errors.append(error.kafka_error())
        if error.code == KafkaError._TRANSPORT:
            self.errors.append(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        self.progress.notify_all()


_live: weakref.WeakSet[Sender] = weakref.WeakSet()


def _after_fork() -> None:
    """A child has no sender threads, and any lock may be held for ever: callers must be refused before they take one.

    produce() looks for its route first and asks why there is none, the other methods ask first.
    """
    for sender in _live:
        sender.forked = True
        sender.routes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _policy(settings: Settings) -> Policy:
    return Policy(
        linger=settings["linger.ms"] / 1000,
        batch_size=min(settings["batch.size"], settings["message.max.bytes"]),
        batch_messages=settings["batch.num.messages"],
        delivery_timeout=settings["delivery.timeout.ms"] / 1000,
        retries=settings["retries"],
        backoff=settings["retry.backoff.ms"] / 1000,
        backoff_max=settings["retry.backoff.max.ms"] / 1000,
    )


def check_create_times(oldest: int, newest: int, config: TopicConfig, now: int) -> None:
    """Refuse a batch for one timestamp (ms) too far from now, as a Kafka broker does, by the producer's clock."""
    if newest - now > config.timestamp_after_max_ms:
        raise StoreError(
            KafkaError.INVALID_TIMESTAMP,
            f"{newest} is too far in the future: see the topic's message.timestamp.after.max.ms",
        )
    if now - oldest > config.timestamp_before_max_ms:
        raise StoreError(
            KafkaError.INVALID_TIMESTAMP,
            f"{oldest} is too far in the past: see the topic's message.timestamp.before.max.ms",
        )


def create_times(records: Records, wall_offset: float) -> tuple[list[int], int, int]:
    """The records' timestamps in ms, their minimum and maximum; wall_offset: wall clock minus that of `born`, in s.

    Records are born in order, so those of one millisecond stand together: found by bisection, they cost next to
    nothing. (With several producing threads the order may be off by microseconds, and so may the result.)
    """
    born, timestamps = records.born, records.timestamps
    count = len(born)
    if timestamps.count(AUTO_TIMESTAMP) < count:
        given = [t or int((b + wall_offset) * 1000) for t, b in zip(timestamps, born, strict=True)]
        return given, min(given), max(given)
    stamps: list[int] = []
    ms = 0
    while len(stamps) < count:
        start = len(stamps)
        ms = max(ms, int((born[start] + wall_offset) * 1000))
        stop = max(start + 1, bisect_left(born, (ms + 1) / 1000 - wall_offset, start))
        stamps += [ms] * (stop - start)
    return stamps, stamps[0], stamps[-1]
