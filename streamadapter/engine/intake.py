"""What a producer does once a record: check it, find its queue, put it there.

It decides what a process can send, so there is one way for every record, without a detour: one look at the clock, one
lock, no object but items of six lists. Where there is a C compiler this module is compiled, with the types that
`intake.pxd` gives; what it does is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import islice, repeat
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from streamadapter.backend import Settings
from streamadapter.codec import MAX_RAW_SIZE, Headers
from streamadapter.engine.produce_args import (
    INT32,
    INT64,
    all_fit,
    as_bytes,
    as_headers,
    as_int,
    as_topic,
    check_columns,
    check_messages,
    is_plain,
)
from streamadapter.engine.queues import RECORD_OVERHEAD, Callback, Queue, record_size
from streamadapter.engine.routes import UNASSIGNED, Route
from streamadapter.engine.sender import Sender
from streamadapter.errors import kafka_exception
from streamadapter.partitioners import PARTITIONERS

_SIZE_MARGIN = 36 - RECORD_OVERHEAD
"""librdkafka counts 36 bytes for a record, beyond its key, value and headers, against message.max.bytes."""

_HELD = 500
"""Records of a batch or of columns that are queued before other threads get the lock."""

_PREFIX = "Unable to produce message: "


class Intake:
    """The three ways to produce, and poll(). `EngineProducer` has the rest, and the thread. Thread-safe."""

    def __init__(self, sender: Sender, settings: Settings) -> None:
        self._sender = sender
        self._lock = sender.lock
        self._acquire, self._release = sender.lock.acquire, sender.lock.release
        self._room = sender.room
        self._routes = sender.routes
        self._reports = sender.reports
        self._errors = sender.errors
        self._place = PARTITIONERS[settings["partitioner"]].place
        self._default_callback: Callback | None = settings["on_delivery"]
        self._max_size = min(settings["message.max.bytes"] - _SIZE_MARGIN, MAX_RAW_SIZE // 2)
        self._closed = False
        self._closer: int | None = None  # the thread that is closing it, whose callbacks may still use it

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
        if callback is None:
            callback = self._default_callback if on_delivery is None else on_delivery
        if callback is not None and not callable(callback):
            raise TypeError("callback and on_delivery must be callable")
        route = self._routes.get(topic) or self._new_route(topic)
        born = monotonic()
        self._acquire()  # `with` would take almost three times as long
        try:
            self._add(route, value, key, partition, callback, timestamp, headers, born)
        finally:
            self._release()

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
        check_messages(messages)
        report = callback if on_delivery is None else on_delivery
        if report is None:
            report = self._default_callback
        route = self._routes.get(topic) or self._new_route(topic)
        taken = 0
        for start in range(0, len(messages), _HELD):
            born = monotonic()
            with self._lock:
                for message in messages[start : start + _HELD]:
                    try:
                        self._add_message(
                            route,
                            message if type(message) is dict else dict(message),
                            partition,
                            report,
                            born,
                        )
                        taken += 1
                    except BufferError:
                        message["_error"] = KafkaError(KafkaError._QUEUE_FULL)
                    except KafkaException as error:
                        message["_error"] = error.args[0]
        return taken

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
        check_columns(values, keys, timestamps, headers)
        if not all_fit(values, keys, headers, self._max_size):
            raise _produce_error(KafkaError.MSG_SIZE_TOO_LARGE)
        callback = self._default_callback if on_delivery is None else on_delivery
        if callback is not None and not callable(callback):
            raise TypeError("on_delivery must be callable")
        route = self._routes.get(topic) or self._new_route(topic)
        nothing: Iterable[Any] = repeat(None)
        rows = zip(
            values,
            nothing if keys is None else keys,
            repeat(0) if timestamps is None else timestamps,
            nothing if headers is None else headers,
            strict=False,
        )
        taken = 0
        try:
            while taken < len(values):
                born = monotonic()
                with self._lock:
                    for value, key, timestamp, heads in islice(rows, _HELD):
                        self._add(route, value, key, partition, callback, timestamp, heads, born)
                        taken += 1
        except BufferError:
            pass
        return taken

    def poll(self, timeout: float = -1.0) -> int:
        """Serve callbacks; returns how many events were served."""
        if self._closed or self._sender.forked:
            self._check_open()
        if timeout == 0 and not self._reports and not self._errors:
            return 0
        return self._poll(timeout)

    def _poll(self, timeout: float) -> int:
        raise NotImplementedError

    def _add_message(
        self, route: Route, message: dict[str, Any], partition: int, report: Callback | None, born: float
    ) -> None:
        """Queue a record given as a dict, as `_add` does."""
        value, key = message.get("value"), message.get("key")
        if is_plain(message, value, key):
            self._add(route, value, key, partition, report, 0, None, born)
        else:
            own = message.get("callback", message.get("on_delivery", report))
            self._add(
                route,
                value,
                key,
                message.get("partition", partition),
                self._default_callback if own is None else own,
                message.get("timestamp", 0),
                message.get("headers"),
                born,
            )

    def _add(
        self,
        route: Route,
        value: str | bytes | None,
        key: str | bytes | None,
        partition: int,
        callback: Callback | None,
        timestamp: int,
        headers: Any,
        born: float,
    ) -> None:
        """Check a record and queue it. The caller holds the lock. BufferError if there is no room for it."""
        if self._closed:
            self._check_open()
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
        room = self._room
        if room.records >= room.max_records or room.size + size > room.max_size:
            raise BufferError("Local: Queue full")
        if partition == -1 and key and route.count:
            queue = route.queues[self._place(key, route.count)]
        else:
            queue = self._queue(route, key, partition, born)
        if queue.add(value, key, timestamp, headers, callback, born, size):
            self._sender.added(queue)
        room.records += 1
        room.size += size

    def _new_route(self, topic: Any) -> Route:
        self._check_open()
        with self._lock:
            return self._sender.route(as_topic(topic))

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

    def _check_open(self, closed: str = "Producer has been closed") -> None:
        if self._closed and self._closer != threading.get_ident():
            raise RuntimeError(closed)
        if self._sender.forked:
            raise kafka_exception(
                KafkaError._STATE, "this producer was made before fork(): make one in the child process"
            )


def _produce_error(code: int) -> KafkaException:
    return kafka_exception(code, _PREFIX + KafkaError(code).str())
