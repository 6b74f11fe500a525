"""A server, and what a test of clients needs around it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError

from streamadapter import Consumer, Producer, TopicPartition, registry
from streamadapter.admin import AdminClient, NewPartitions, NewTopic
from streamadapter.properties import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamadapter.backend import LogStore
    from streamadapter.message import Message

PATIENCE_S = 30.0
"""How long a condition may take on a loaded machine before the test has failed."""


class Cluster:
    """The clients that one test has on one server. Whatever it makes is closed with it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._consumers: list[Consumer] = []
        self._producer: Producer | None = None
        self._store: LogStore | None = None
        self._exits = ExitStack()
        self.admin = self._exits.enter_context(AdminClient({"bootstrap.servers": url}))

    def create(self, topic: str, partitions: int = 1, **config: str) -> str:
        """Create a topic; retention_ms stands for retention.ms. Returns its name."""
        names = {name.replace("_", "."): value for name, value in config.items()}
        self._done(self.admin.create_topics([NewTopic(topic, partitions, config=names)]))
        return topic

    def delete(self, topic: str) -> None:
        self._done(self.admin.delete_topics([topic]))

    def grow(self, topic: str, partitions: int) -> None:
        self._done(self.admin.create_partitions([NewPartitions(topic, partitions)]))

    def trim(self, topic: str, partition: int, before: int) -> None:
        self._done(self.admin.delete_records([TopicPartition(topic, partition, before)]))

    @staticmethod
    def _done(futures: dict[Any, Any]) -> None:
        for future in futures.values():
            future.result(PATIENCE_S)

    def produce(self, topic: str, *values: str | bytes | None, partition: int = 0, **rest: Any) -> None:
        """Append records and wait until all are acknowledged."""
        if self._producer is None:
            self._producer = Producer({"bootstrap.servers": self.url, "linger.ms": 0})
        failures: list[KafkaError] = []

        def report(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        for value in values:
            self._producer.produce(topic, value, partition=partition, on_delivery=report, **rest)
        assert self._producer.flush(PATIENCE_S) == 0
        assert not failures

    def consumer(self, group: str, /, **properties: Any) -> Consumer:
        """A consumer that reads from the beginning; auto_offset_reset stands for auto.offset.reset."""
        callbacks = ("error_cb", "on_commit")
        names = {n if n in callbacks else n.replace("_", "."): value for n, value in properties.items()}
        consumer = Consumer(
            {"bootstrap.servers": self.url, "group.id": group, "auto.offset.reset": "earliest", **names}
        )
        self._consumers.append(consumer)
        return consumer

    def forget(self, consumer: Consumer) -> None:
        """The test drops this consumer by itself."""
        self._consumers = [c for c in self._consumers if c is not consumer]

    @property
    def store(self) -> LogStore:
        """The server without a client, for what no client does."""
        if self._store is None:
            open_store = registry.backend_of(self.url).open_store
            assert open_store
            self._store = open_store(self.url, parse({}, "admin"))
        return self._store

    @staticmethod
    def take(consumer: Consumer, count: int) -> list[Message]:
        """The next `count` records; an event in their place fails the test."""
        taken: list[Message] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(taken) < count and time.monotonic() < deadline:
            taken += consumer.consume(count - len(taken), 0.05)
        errors = [message.error() for message in taken if message.error()]
        assert not errors
        assert len(taken) == count, f"{len(taken)} of {count} records arrived"
        return taken

    @staticmethod
    def event(consumer: Consumer) -> Message:
        """The next message, which must come within the deadline and carry an error."""
        message = consumer.poll(PATIENCE_S)
        assert message is not None, "no event arrived"
        assert message.error() is not None, f"a record arrived instead of an event: {message}"
        return message

    @staticmethod
    def until(condition: Callable[[], object], *consumers: Consumer) -> list[Message]:
        """Poll the consumers in turn until the condition holds; returns what they got meanwhile."""
        got: list[Message] = []
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            for consumer in consumers:
                got += consumer.consume(100, 0.01)
            if not consumers:
                time.sleep(0.005)
        return got

    @staticmethod
    def silence(consumer: Consumer, seconds: float = 0.3) -> None:
        """Nothing more arrives. The only way to see that something does not happen is to wait a while."""
        message = consumer.poll(seconds)
        assert message is None, f"{message} arrived"

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        return {tp: found.offset for tp, found in self.store.committed(group).items()}

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()
        if self._producer is not None:
            self._producer.close()
        if self._store is not None:
            self._store.close()
        self._exits.close()


def _client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("streamadapter-")]


@pytest.fixture
def cluster(store_url: str) -> Iterator[Cluster]:
    """Each backend in turn. Closed clients must leave no thread behind."""
    before = len(_client_threads())
    cluster = Cluster(store_url)
    yield cluster
    cluster.close()
    Cluster.until(lambda: len(_client_threads()) <= before)
