"""`EngineProducer`: confluent_kafka's Producer over a log store. The calling half; `sender` has the other one.

What produce() costs decides what a process can send, so its common case (bytes, a known topic, no headers) is one
straight line: one lock, one look at the clock, no object but items of six lists.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ClusterMetadata  # type: ignore[attr-defined]  # public, not marked as re-exported

from streamadapter.backend import LogStore, Settings
from streamadapter.codec import MAX_RAW_SIZE, Headers
from streamadapter.compression import Compression, require
from streamadapter.engine import produce_args
from streamadapter.engine.columns import as_records, by_partition, fitting, largest
from streamadapter.engine.metadata import cluster_id, cluster_metadata
from streamadapter.engine.produce_args import INT32, INT64, as_bytes, as_headers, as_int
from streamadapter.engine.queues import RECORD_OVERHEAD, Callback, Queue, record_size
from streamadapter.engine.routes import UNASSIGNED, Route
from streamadapter.engine.sender import Sender
from streamadapter.errors import StoreError, kafka_exception
from streamadapter.partitioners import PARTITIONERS

SLICE = 0.2
"""Seconds of each wait, so that Ctrl-C and time-outs are seen."""

METADATA_TIMEOUT = 60.0
"""Seconds that list_topics(timeout=-1) keeps trying."""

JOIN_TIMEOUT = 10.0
"""Seconds that close() waits for the thread, which has nothing left to send."""

_SIZE_MARGIN = 36 - RECORD_OVERHEAD
"""librdkafka counts 36 bytes for a record, beyond its key, value and headers, against message.max.bytes."""

_PREFIX = "Unable to produce message: "


class EngineProducer:
    """See `streamadapter.Producer` for the methods. Thread-safe.

    Takes over the store and closes it. Raises KafkaException if the compression library is missing.
    """

    def __init__(self, store: LogStore, settings: Settings) -> None:
        try:
            require(Compression[settings["compression.type"].upper()])
        except KafkaException:
            store.close()
            raise
        self._sender = sender = Sender(store, settings)
        self._lock = sender.lock
        self._routes = sender.routes
        self._place = PARTITIONERS[settings["partitioner"]].place
        self._default_callback: Callback | None = settings["on_delivery"]
        self._error_cb: Callable[[KafkaError], object] | None = settings["error_cb"]
        self._max_size = min(settings["message.max.bytes"] - _SIZE_MARGIN, MAX_RAW_SIZE // 2)
        self._max_queued = settings["queue.buffering.max.messages"] or INT64
        self._max_queued_size = settings["queue.buffering.max.kbytes"] * 1024
        self._closing = threading.RLock()  # one closes, others wait for it
        self._closed = False
        self._closer: int | None = None  # the thread that is closing it, whose callbacks may still use it
        self._thread = threading.Thread(
            target=sender.run, name=f"producer-{settings['client.id']}", daemon=True
        )
        self._thread.start()
        # Dropped without close(): what is queued is lost, as with librdkafka, but the thread must end.
        weakref.finalize(self, sender.stop).atexit = False

    # -- producing

    def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        callback: Callback | None = None,
        on_delivery: Callback | None = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        """Queue a record."""
        size = RECORD_OVERHEAD
        if value is not None:
            if type(value) is not bytes:
                value = as_bytes(value, 2)
            size += len(value)
        if key is not None:
            if type(key) is not bytes:
                key = as_bytes(key, 3)
            size += len(key)
        if headers is not None:
            headers = as_headers(headers)
            size = record_size(value, key, headers)
        if timestamp != 0:
            timestamp = as_int(timestamp, INT64)
        if size > self._max_size:
            raise _produce_error(KafkaError.MSG_SIZE_TOO_LARGE)
        if callback is None:
            callback = self._default_callback if on_delivery is None else on_delivery
        if callback is not None and not callable(callback):
            raise TypeError("callback and on_delivery must be callable")
        born = time.monotonic()
        route = self._routes.get(topic) or self._new_route(topic)
        sender = self._sender
        with self._lock:
            if self._closed:
                self._check_open()
            if sender.queued >= self._max_queued or sender.queued_size + size > self._max_queued_size:
                raise BufferError("Local: Queue full")
            if partition == -1 and key and route.count:
                queue = route.queues[self._place(key, route.count)]
            else:
                queue = self._queue(route, key, partition, born)
            if queue.add(value, key, timestamp, headers, callback, born, size):
                sender.added(queue)
            sender.queued += 1
            sender.queued_size += size

    def _new_route(self, topic: Any) -> Route:
        self._check_open()
        with self._lock:
            return self._sender.route(produce_args.as_topic(topic))

    def _queue(self, route: Route, key: bytes | None, partition: int, now: float) -> Queue:
        """The queue for a record without a key, with an explicit partition, or of a topic not known yet."""
        partition = as_int(partition, INT32)
        if not route.count:
            self._sender.refresh_soon()
            if route.missing:
                raise _produce_error(KafkaError._UNKNOWN_TOPIC)
            return route.waiting(partition)
        if partition == UNASSIGNED:
            return route.queues[route.choose(key, now)]
        if not 0 <= partition < route.count:
            raise _produce_error(KafkaError._UNKNOWN_PARTITION)
        return route.queues[partition]

    def produce_batch(
        self,
        topic: str,
        messages: list[dict[str, Any]],
        partition: int = -1,
        callback: Callback | None = None,
        on_delivery: Callback | None = None,
    ) -> int:
        """Queue records given as dicts; returns how many were queued, the others have `_error` set."""
        self._check_open()
        produce_args.check_messages(messages)
        report = callback if on_delivery is None else on_delivery
        return produce_args.produce_each(self.produce, topic, messages, partition, report)

    def produce_columns(
        self,
        topic: str,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None = None,
        partition: int = -1,
        timestamps: Sequence[int] | None = None,
        headers: Sequence[Headers] | None = None,
        on_delivery: Callback | None = None,
    ) -> int:
        """Queue records given as columns; returns how many were queued, from the first on."""
        self._check_open()
        born = time.monotonic()
        callback = self._default_callback if on_delivery is None else on_delivery
        records = as_records(values, keys, timestamps, headers, callback, born)
        if largest(records) > self._max_size:
            raise _produce_error(KafkaError.MSG_SIZE_TOO_LARGE)
        route = self._routes.get(topic) or self._new_route(topic)
        sender = self._sender
        with self._lock:
            self._check_open()
            count = fitting(
                records, self._max_queued - sender.queued, self._max_queued_size - sender.queued_size
            )
            if not count:
                return 0
            if count < len(records):
                records = records.take(count)
            if keys is None or partition != UNASSIGNED or not route.count:
                parts = [(self._queue(route, None, partition, born), records)]
            else:
                place, partitions = self._place, route.count
                chosen = [place(key, partitions) if key else route.choose(key, born) for key in records.keys]
                parts = [(route.queues[p], part) for p, part in by_partition(records, chosen)]
            for queue, part in parts:
                size = part.size()
                queue.extend(part, size)
                sender.added(queue)
                sender.queued_size += size
            sender.queued += count
        return count

    # -- reports

    def poll(self, timeout: float = -1.0) -> int:
        """Serve callbacks; returns how many events were served."""
        self._check_open()
        until = produce_args.deadline(timeout)
        served = self._serve()
        while not served and self._wait(until):
            served = self._serve()
        return served

    def flush(self, timeout: float = -1.0) -> int:
        """Wait until everything is reported, serving callbacks; returns how many records are still queued."""
        self._check_open()
        until = produce_args.deadline(timeout)
        sender, failure = self._sender, None
        with self._lock:
            sender.flushing += 1
            sender.nudge(0.0)
        try:
            while True:
                try:
                    self._serve()
                except Exception as error:  # noqa: BLE001  # a callback's: raised when everything has been served
                    failure = error
                    continue
                if sender.queued <= 0 or not self._wait(until):
                    break
        finally:
            with self._lock:
                sender.flushing -= 1
        if failure is not None:
            raise failure
        return sender.queued

    def _wait(self, until: float) -> bool:
        """Wait a slice, less if there is progress; False if it is too late for that."""
        sender = self._sender
        remaining = until - time.monotonic()
        if remaining <= 0:
            return False
        with self._lock:
            sender.expire()
            if not (sender.reports or sender.errors):
                sender.progress.wait(min(remaining, SLICE))
        return True

    def _serve(self) -> int:
        """Call callbacks for all that has been reported; returns how many events there were."""
        sender = self._sender
        served = 0
        while sender.errors:
            error = _pop(sender.errors)
            if error is not None and self._error_cb is not None:
                served += 1
                self._error_cb(error)
        while (report := _pop(sender.reports)) is not None:
            # No longer queued while its callbacks run: they may produce again into a queue that was full.
            with self._lock:
                sender.queued -= len(report)
            try:
                served += report.serve()
            finally:
                if len(report):  # an exception from a callback: the rest is for the next call
                    with self._lock:
                        sender.queued += len(report)
                    sender.reports.appendleft(report)
        return served

    def __len__(self) -> int:
        return 0 if self._closed else self._sender.queued

    def __bool__(self) -> Literal[True]:
        return True

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:  # noqa: ARG002  # as in confluent_kafka
        """Give up records; their reports come from the next poll. There is nothing to block for."""
        self._check_open()
        with self._lock:
            self._sender.purge(bool(in_queue), bool(in_flight))

    # -- metadata

    def list_topics(self, topic: str | None = None, timeout: float = -1.0) -> ClusterMetadata:
        """Topics and partitions as they are now."""
        self._check_open("Handle has been closed")
        if topic is not None and not isinstance(topic, str):
            raise TypeError(f"argument 1 must be str or None, not {type(topic).__name__}")
        until = min(produce_args.deadline(timeout), time.monotonic() + METADATA_TIMEOUT)
        while True:
            try:
                return cluster_metadata(self._sender.store, topic)
            except StoreError as error:
                if not error.retriable or time.monotonic() + SLICE >= until:
                    raise kafka_exception(error.code, f"Failed to get metadata: {error.reason}") from error
            time.sleep(SLICE)

    def cluster_id(self, timeout: float = -1.0) -> str:
        """A name for the server, the same for all clients of one address."""
        self._check_open("Handle has been closed")
        produce_args.deadline(timeout)
        return cluster_id(self._sender.store)

    def set_sasl_credentials(self, username: str, password: str) -> None:  # noqa: ARG002  # as in confluent_kafka
        """Refused: a store takes its credentials from the URL."""
        self._check_open("Handle has been closed")
        raise kafka_exception(KafkaError._NOT_IMPLEMENTED, "put the user and password into the URL")

    # -- transactions

    def init_transactions(self, _timeout: float = -1.0, /) -> None:
        """Refused, as without a transactional.id."""
        self._no_transactions()

    def begin_transaction(self) -> None:
        """Refused, as without a transactional.id."""
        self._no_transactions()

    def commit_transaction(self, _timeout: float = -1.0, /) -> None:
        """Refused, as without a transactional.id."""
        self._no_transactions()

    def abort_transaction(self, _timeout: float = -1.0, /) -> None:
        """Refused, as without a transactional.id."""
        self._no_transactions()

    def send_offsets_to_transaction(
        self, _positions: list[Any], group_metadata: object, _timeout: float = -1.0, /
    ) -> None:
        """Refused, as without a transactional.id."""
        if not isinstance(group_metadata, bytes):
            raise TypeError(f"expected bytes, {type(group_metadata).__name__} found")
        self._no_transactions()

    def _no_transactions(self) -> None:
        self._check_open()
        raise kafka_exception(
            KafkaError._NOT_CONFIGURED, "The Transactional API requires transactional.id to be configured"
        )

    # -- life

    def close(self) -> Literal[True]:
        """Refuse records, flush without a limit, then stop, even if a callback has raised. Idempotent."""
        sender = self._sender
        if sender.forked:
            return True
        with self._closing:
            if self._closed:
                return True
            self._closer = threading.get_ident()
            with self._lock:
                self._closed = True
            try:
                self.flush()
            finally:
                self._closer = None
                sender.stop()
                with self._lock:
                    sender.nudge(0.0)
                self._thread.join(JOIN_TIMEOUT)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self, closed: str = "Producer has been closed") -> None:
        if self._closed and self._closer != threading.get_ident():
            raise RuntimeError(closed)
        if self._sender.forked:
            raise kafka_exception(
                KafkaError._STATE, "this producer was made before fork(): make one in the child process"
            )


def _produce_error(code: int) -> KafkaException:
    return kafka_exception(code, _PREFIX + KafkaError(code).str())


def _pop(queue: Any) -> Any:
    """The first item or None: another thread may be faster."""
    try:
        return queue.popleft()
    except IndexError:
        return None
