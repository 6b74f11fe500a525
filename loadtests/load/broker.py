"""Users that speak the adapter's API, on whatever server the config file says.

Their `produce` is the time from `produce()` until the record is acknowledged, their `e2e` until a consumer of the
same process has it. All users of a process share a producer and a consumer, as the threads of a program would.

Locust runs on gevent: one thread, whose blocking calls let other greenlets run. That holds for our own client, which
is Python throughout; its clients are polled by greenlets. librdkafka blocks the thread, so its clients are polled by
threads of gevent's pool, and their results come over to Locust's thread. Either way the time is taken by who polls,
the moment there is an answer, and no polling interval is in it. What is in it is the rest of the process: one
thread that also serves all other users. Against the same records without Locust that adds some 0.1 ms (docs/load.md).
`linger.ms` of the config file is part of the figures: 5 ms unless it says otherwise, as in librdkafka.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult
from locust import User, task

from load.pace import Paced
from load.session import session
from streamadapter import Consumer, KafkaError, KafkaException, Producer
from streamadapter.config import load

if TYPE_CHECKING:
    from streamadapter import Message

POLL_SECONDS = 0.1  # how soon the pollers notice the end
VALUE_BYTES = 200
PATIENCE_SECONDS = 30.0


@dataclass
class _Record:
    """A record on its way, and when it got where."""

    key: bytes
    produced: float
    acknowledged: AsyncResult = field(default_factory=AsyncResult)
    consumed: AsyncResult = field(default_factory=AsyncResult)


class Clients:
    """The producer and the consumer of this process, and the greenlet that polls them."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._name = f"load-{os.getpid()}-{random.randrange(10**6)}"
        self._sent = 0
        self._on_the_way: dict[bytes, _Record] = {}
        self._producer = Producer({"acks": "all", "enable.idempotence": True})
        self._consumer = Consumer({"group.id": self._name, "auto.offset.reset": "earliest"})
        self._consumer.subscribe([topic])
        self._closing = False
        hub = gevent.get_hub()
        self._cross = hub.loop.run_callback_threadsafe
        spawn = hub.threadpool.spawn if load().backend == "kafka" else gevent.spawn
        self._pollers = [spawn(self._serve_reports), spawn(self._consume)]

    def close(self) -> None:
        """Stop polling and leave the group."""
        self._closing = True
        for poller in self._pollers:
            poller.get()  # raises what it ended with
        self._consumer.close()
        self._producer.close()

    def send(self) -> _Record:
        """Produce a record; its results come by themselves. Raises KafkaException, BufferError."""
        self._sent += 1
        key = f"{self._name}/{self._sent}".encode()
        record = self._on_the_way[key] = _Record(key, time.perf_counter())
        try:
            self._producer.produce(self._topic, os.urandom(VALUE_BYTES), key, on_delivery=self._delivered)
        except (BufferError, KafkaException):
            del self._on_the_way[key]
            raise
        return record

    def forget(self, record: _Record) -> None:
        """Nobody waits for it any more."""
        del self._on_the_way[record.key]

    def _serve_reports(self) -> None:
        while not self._closing:
            self._producer.poll(POLL_SECONDS)

    def _consume(self) -> None:
        while not self._closing:
            message = self._consumer.poll(POLL_SECONDS)
            if message is not None and message.error() is None:
                self._settle(message, "consumed", None)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        self._settle(message, "acknowledged", error)

    def _settle(self, message: Message, what: str, error: KafkaError | None) -> None:
        """In the thread that polls: all but looking the record up is left to Locust's."""
        record = self._on_the_way.get(message.key() or b"")
        if record is None:  # given up, or another process's
            return
        result: AsyncResult = getattr(record, what)
        if error is None:
            self._cross(result.set, time.perf_counter())
        else:
            self._cross(result.set_exception, KafkaException(error))


class BrokerUser(Paced, User):
    """Produces a record, waits until it is acknowledged and until it has been consumed."""

    @task
    def produce(self) -> None:
        """One record."""
        started = time.time()
        clients = session.clients
        try:
            record = clients.send()
        except (BufferError, KafkaException) as error:
            self._report("produce", started, 0.0, error)
            return
        if self._await("produce", started, record.produced, record.acknowledged):
            self._await("e2e", started, record.produced, record.consumed)
        clients.forget(record)

    def _await(self, what: str, started: float, produced: float, result: AsyncResult) -> bool:
        error: Exception | None = None
        try:
            at = result.get(timeout=PATIENCE_SECONDS)
        except gevent.Timeout:
            at, error = time.perf_counter(), TimeoutError(f"not within {PATIENCE_SECONDS:.0f} s")
        except KafkaException as problem:
            at, error = time.perf_counter(), problem
        self._report(what, started, (at - produced) * 1000, error)
        return error is None

    def _report(self, what: str, started: float, ms: float, error: Exception | None) -> None:
        report: Any = self.environment.events.request
        report.fire(
            request_type=what,
            name="record",
            response_time=ms,
            response_length=VALUE_BYTES,
            exception=error,
            context={},
            start_time=started,
        )
