"""A scenario's laboratory: the clients it uses on the server under test, and how it waits for things."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from streamadapter import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from streamadapter.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec
from streamadapter.backend import Features
from streamadapter.testing.contract.member import Member
from streamadapter.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from streamadapter.backend import TP
    from streamadapter.testing.contract.subject import OwnServer, Subject

T = TypeVar("T")

PATIENCE_S = 30.0
"""How long a condition may take on a loaded machine before the scenario has failed."""

MEMBER = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 500}
"""Properties of group members that are to be missed soon; 6 s is the least that Kafka's brokers take by default."""


class Clients:
    """Clients of one server. Whatever this makes is closed with it. For one thread, but for `until`'s conditions.

    Keyword arguments are properties, with underscores for dots: `group_instance_id="a"`.
    """

    def __init__(self, url: str, create_topic: Callable[[str, int], None] | None = None) -> None:
        self.url = url
        self._create_topic = create_topic
        self._consumers: list[Consumer] = []
        self._sender: Producer | None = None
        self._producers: list[Producer] = []
        self._exits = ExitStack()
        self.admin = self._exits.enter_context(AdminClient({"bootstrap.servers": url}))

    # -- topics

    def create(self, topic: str, partitions: int = 1, **config: str) -> str:
        """Create a topic; returns its name. On return its partitions can be written to."""
        if self._create_topic is not None:
            self._create_topic(topic, partitions)
            return topic
        self._done(self.admin.create_topics([NewTopic(topic, partitions, config=_dotted(config))]))
        self.until(lambda: self._partitions(topic) == partitions)
        return topic

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        self._done(self.admin.delete_topics([topic]))

    def grow(self, topic: str, partitions: int) -> None:
        """Raise its number of partitions."""
        self._done(self.admin.create_partitions([NewPartitions(topic, partitions)]))
        self.until(lambda: self._partitions(topic) == partitions)

    def trim(self, topic: str, partition: int, before: int) -> None:
        """Delete the records before an offset."""
        self._done(self.admin.delete_records([TopicPartition(topic, partition, before)]))

    def _partitions(self, topic: str) -> int:
        """How many partitions have a leader that knows it: Kafka's brokers hear of a new topic a little later."""
        found = self.admin.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions.values()
        led = [TopicPartition(topic, part.id) for part in found if part.leader >= 0 and part.error is None]
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # it has no annotations
        ends = self.admin.list_offsets(dict.fromkeys(led, latest)) if led else {}
        return sum(future.exception(PATIENCE_S) is None for future in ends.values())

    @staticmethod
    def _done(futures: dict[Any, Any]) -> None:
        for future in futures.values():
            future.result(PATIENCE_S)

    # -- records

    def producer(self, **properties: Any) -> Producer:
        """A producer that does not linger."""
        producer = Producer({"bootstrap.servers": self.url, "linger.ms": 0, **_dotted(properties)})
        self._producers.append(producer)
        return producer

    def produce(self, topic: str, *values: str | bytes | None, partition: int = 0, **rest: Any) -> list[int]:
        """Append records to one partition, wait until all are acknowledged, and return their offsets."""
        if self._sender is None:
            self._sender = self.producer(enable_idempotence=True)
        reports: list[Message] = []

        def report(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            reports.append(message)

        for value in values:
            self._sender.produce(topic, value, partition=partition, on_delivery=report, **rest)
        assert self._sender.flush(PATIENCE_S) == 0
        return [offset for message in reports if (offset := message.offset()) is not None]

    def warm(self, producer: Producer, topic: str) -> None:
        """Produce a record, b"first", to partition 0: from then on the producer knows the topic's partitions."""
        producer.produce(topic, b"first", partition=0)
        assert producer.flush(PATIENCE_S) == 0
        assert values(self.log(topic)) == [b"first"]

    def log(self, topic: str, partition: int = 0) -> list[Message]:
        """Every record of a partition, in the order of the log, whose offsets have no holes."""
        reader = self.consumer("readers-of-logs", enable_auto_commit=False)
        low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), PATIENCE_S)
        reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        messages = self.take(reader, high - low)
        assert [message.offset() for message in messages] == list(range(low, high))
        self.forget(reader)
        reader.close()
        return messages

    def consumer(self, group: str, /, **properties: Any) -> Consumer:
        """A consumer that reads from the beginning."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.url,
                "group.id": group,
                "auto.offset.reset": "earliest",
                **_dotted(properties),
            }
        )
        self._consumers.append(consumer)
        return consumer

    def forget(self, client: Consumer | Producer) -> None:
        """The scenario ends this client by itself."""
        self._consumers = [c for c in self._consumers if c is not client]
        self._producers = [p for p in self._producers if p is not client]

    # -- waiting

    @staticmethod
    def take(consumer: Consumer, count: int) -> list[Message]:
        """The next `count` records; an event in their place fails the scenario."""
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

    # -- life

    def close(self) -> None:
        """Close every client. A producer's records are given up: a scenario that needs them has flushed."""
        for consumer in self._consumers:
            consumer.close()
        for producer in self._producers:
            producer.purge()
            producer.close()
        self._exits.close()


class Lab(Clients):
    """The clients of one scenario on the server under test, with names that nobody else uses."""

    def __init__(self, subject: Subject, directory: Path) -> None:
        super().__init__(subject.url, subject.create_topic)
        self.features = subject.features
        self._subject = subject
        self._directory = directory

    def need(self, feature: str) -> None:
        """Skip the scenario unless the backend has this feature, a field of `Features`."""
        if not getattr(self.features, feature):
            [doc] = [field.metadata["doc"] for field in fields(Features) if field.name == feature]
            pytest.skip(f"{self.features.name}: does not hold here: {doc}")

    def topic(self, partitions: int = 1, **config: str) -> str:
        """A new topic."""
        return self.create(f"t-{uuid.uuid4().hex[:12]}", partitions, **config)

    def group(self) -> str:
        """The name of a group that does not exist yet."""
        return f"g-{uuid.uuid4().hex[:12]}"

    def member(self, group: str, topics: list[str], /, **properties: Any) -> Member:
        """A member in a process of its own, that does not commit by itself. Skips if others cannot see the log."""
        self.need("processes")
        conf = {
            "bootstrap.servers": self.url,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **_dotted(properties),
        }
        member = Member(conf, topics)
        self._exits.callback(member.kill)
        return member

    def own_server(self, *, proxied: bool = False) -> OwnServer:
        """A server of this scenario's own. Skips the scenario if the backend's fixture starts none."""
        self.need("survives_restart")
        if self._subject.own_server is None:
            pytest.skip(f"{self.features.name}: the `subject` fixture gives no server that may be killed")
        server = self._exits.enter_context(self._subject.own_server(self._directory / "own-server"))
        if proxied and server.proxy is None:
            pytest.skip(f"{self.features.name}: its connections cannot be led through a proxy")
        return server

    def unreachable_url(self) -> str:
        """Where a server of this backend could be, but none is. Skips if its clients need no server's address."""
        scheme, _, rest = self.url.rpartition("://")
        if not self.features.processes or not rest.partition("/")[0]:
            pytest.skip(f"{self.features.name}: its URL names no server that could be missing")
        return f"{scheme or 'kafka'}://127.0.0.1:{free_port()}"

    def clients_of(self, url: str) -> Clients:
        """More clients, of another server or by another way; closed with the rest."""
        clients = Clients(url)
        self._exits.callback(clients.close)
        return clients


def assigned(consumer: Consumer) -> set[TP]:
    """Its assignment, as (topic, partition)."""
    return {(tp.topic, tp.partition) for tp in consumer.assignment()}


def values(messages: Iterable[Message]) -> list[bytes | None]:
    """Their values, in order."""
    return [message.value() for message in messages]


def only(futures: Mapping[Any, Future[T]]) -> T:
    """The answer to an admin request about one thing."""
    [future] = futures.values()
    return future.result(PATIENCE_S)


def failure(future: Future[Any]) -> KafkaError:
    """The error that an admin request ended with; it must have one."""
    with pytest.raises(KafkaException) as caught:
        future.result(PATIENCE_S)
    error: KafkaError = caught.value.args[0]
    return error


class Reports(list[Message]):
    """An on_delivery callback that keeps the messages, which hold the error that was reported."""

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Keep one."""
        assert (error and error.code()) == ((own := message.error()) and own.code())
        self.append(message)

    def codes(self) -> list[int | None]:
        """The code of each error, None for a record that was delivered."""
        return [error.code() if (error := message.error()) else None for message in self]


def code_of(call: Callable[[], object]) -> int:
    """The code of the KafkaException that a call must raise."""
    with pytest.raises(KafkaException) as caught:
        call()
    code: int = caught.value.args[0].code()
    return code


def _dotted(properties: dict[str, Any]) -> dict[str, Any]:
    callbacks = ("error_cb", "on_commit", "on_delivery", "stats_cb", "throttle_cb", "oauth_cb", "logger")
    return {n if n in callbacks else n.replace("_", "."): value for n, value in properties.items()}
