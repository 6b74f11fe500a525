"""The same wrong call on confluent_kafka and on ours: the same exception type, and the same KafkaError code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaException, TopicPartition

import streamadapter
from streamadapter.testing.servers import free_port

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster

TOPIC = "bad-input"
TP = TopicPartition(TOPIC, 0, 1)
UNKNOWN = TopicPartition("unknown-topic", 0, 1)


@dataclass(frozen=True)
class Side:
    """One of the two libraries, on a server with the topic TOPIC."""

    library: Any
    servers: str

    def consumer(self, **properties: Any) -> Any:
        return self.library.Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "bad",
                "auto.offset.reset": "earliest",
                **properties,
            }
        )

    def producer(self, **properties: Any) -> Any:
        return self.library.Producer({"bootstrap.servers": self.servers, **properties})


@pytest.fixture(scope="module")
def theirs() -> Iterator[Side]:
    """confluent_kafka on librdkafka's mock cluster."""
    host = confluent_kafka.Producer({"test.mock.num.brokers": 1})
    servers = ",".join(f"{b.host}:{b.port}" for b in host.list_topics(timeout=30).brokers.values())
    host.produce(TOPIC, b"x", partition=0)  # creates it
    assert host.flush(30) == 0
    yield Side(confluent_kafka, servers)
    host.close()


@pytest.fixture
def ours(cluster: Cluster) -> Side:
    if TOPIC not in cluster.store.topics().topics:  # the shared server has it from the test before
        cluster.create(TOPIC, 4)
    return Side(streamadapter, cluster.url)


def outcome(call: Callable[[], Any]) -> str:
    """What a call does, as far as the contract goes: its exception's type and code."""
    try:
        call()
    except KafkaException as error:
        return f"KafkaException {error.args[0].name()}"
    except Exception as error:  # noqa: BLE001 - every exception is an answer here
        return type(error).__name__
    return "no error"


def closing(client: Any, call: Callable[[Any], Any]) -> str:
    try:
        return outcome(lambda: call(client))
    finally:
        client.close()


CONSUMER_CALLS: dict[str, Callable[[Any], Any]] = {
    "subscribe()": lambda c: c.subscribe(),
    "subscribe(str)": lambda c: c.subscribe(TOPIC),
    "subscribe(None)": lambda c: c.subscribe(None),
    "subscribe(tuple)": lambda c: c.subscribe((TOPIC,)),
    "subscribe([])": lambda c: c.subscribe([]),
    "subscribe(empty name)": lambda c: c.subscribe([""]),
    "subscribe(bad pattern)": lambda c: c.subscribe(["^("]),
    "subscribe(duplicates)": lambda c: c.subscribe([TOPIC, TOPIC]),
    "subscribe(on_assign=3)": lambda c: c.subscribe([TOPIC], on_assign=3),
    "subscribe(on_revoke=3)": lambda c: c.subscribe([TOPIC], on_revoke=3),
    "subscribe(on_lost=3)": lambda c: c.subscribe([TOPIC], on_lost=3),
    "subscribe(unknown keyword)": lambda c: c.subscribe([TOPIC], on_nothing=print),
    "unsubscribe()": lambda c: c.unsubscribe(),
    "poll(str)": lambda c: c.poll("1"),
    "poll(None)": lambda c: c.poll(None),
    "poll(0)": lambda c: c.poll(0),
    "consume(-1)": lambda c: c.consume(-1, 0),
    "consume(too many)": lambda c: c.consume(1_000_001, 0),
    "consume(str)": lambda c: c.consume("1", 0),
    "consume(float)": lambda c: c.consume(1.5, 0),
    "consume(timeout=str)": lambda c: c.consume(1, "0"),
    "consume(0)": lambda c: c.consume(0, 0),
    "assign(str)": lambda c: c.assign("x"),
    "assign(None)": lambda c: c.assign(None),
    "assign(tuple)": lambda c: c.assign((TP,)),
    "assign([str])": lambda c: c.assign(["x"]),
    "assign(duplicates)": lambda c: c.assign([TP, TP]),
    "assign([])": lambda c: c.assign([]),
    "assign(keyword)": lambda c: c.assign(partitions=[]),
    "incremental_assign(str)": lambda c: c.incremental_assign("x"),
    "incremental_assign(duplicates)": lambda c: c.incremental_assign([TP, TP]),
    "incremental_assign(twice)": lambda c: (c.incremental_assign([TP]), c.incremental_assign([TP])),
    "incremental_unassign(str)": lambda c: c.incremental_unassign("x"),
    "incremental_unassign(absent)": lambda c: c.incremental_unassign([TP]),
    "unassign()": lambda c: c.unassign(),
    "seek(str)": lambda c: c.seek("x"),
    "seek(unassigned)": lambda c: (c.assign([TopicPartition(TOPIC, 1)]), c.poll(0.5), c.seek(TP)),
    "seek()": lambda c: c.seek(),
    "pause(str)": lambda c: c.pause("x"),
    "pause(tuple)": lambda c: c.pause((TP,)),
    "pause(unassigned)": lambda c: c.pause([TP]),
    "resume(str)": lambda c: c.resume("x"),
    "resume(unassigned)": lambda c: c.resume([TP]),
    "position(str)": lambda c: c.position("x"),
    "position(unassigned)": lambda c: c.position([TP]),
    "committed(str)": lambda c: c.committed("x"),
    "committed([])": lambda c: c.committed([], 30),
    "committed(nothing committed)": lambda c: c.committed([TP], 30),
    "committed(unknown topic)": lambda c: c.committed([UNKNOWN], 30),
    "committed(timeout=str)": lambda c: c.committed([TP], "30"),
    "commit(both)": lambda c: c.commit(message=1, offsets=[TP]),
    "commit(message=str)": lambda c: c.commit(message="x"),
    "commit(offsets=str)": lambda c: c.commit(offsets="x"),
    "commit(offsets=[str])": lambda c: c.commit(offsets=["x"]),
    "commit() of nothing": lambda c: c.commit(),
    "commit(sync) of nothing": lambda c: c.commit(asynchronous=False),
    "commit(sync) of []": lambda c: c.commit(offsets=[], asynchronous=False),
    "commit(sync) of no offset": lambda c: c.commit(offsets=[TopicPartition(TOPIC, 0)], asynchronous=False),
    "commit(sync) of a bad offset": lambda c: c.commit(
        offsets=[TopicPartition(TOPIC, 0, -5)], asynchronous=False
    ),
    "commit(sync) unassigned": lambda c: c.commit(offsets=[TP], asynchronous=False),
    "commit(sync) unknown topic": lambda c: c.commit(offsets=[UNKNOWN], asynchronous=False),
    "commit(async=False)": lambda c: c.commit(offsets=[TP], **{"async": False}),
    "commit(unknown keyword)": lambda c: c.commit(when="now"),
    "store_offsets()": lambda c: c.store_offsets(),
    "store_offsets(both)": lambda c: c.store_offsets(message=1, offsets=[TP]),
    "store_offsets(message=str)": lambda c: c.store_offsets(message="x"),
    "store_offsets(offsets=str)": lambda c: c.store_offsets(offsets="x"),
    "store_offsets() while automatic": lambda c: c.store_offsets(offsets=[TP]),
    "get_watermark_offsets(str)": lambda c: c.get_watermark_offsets("x"),
    "get_watermark_offsets(unknown topic)": lambda c: c.get_watermark_offsets(UNKNOWN, 30),
    "get_watermark_offsets(unknown partition)": lambda c: c.get_watermark_offsets(
        TopicPartition(TOPIC, 77), 30
    ),
    "get_watermark_offsets(cached, unknown)": lambda c: c.get_watermark_offsets(UNKNOWN, cached=True),
    "get_watermark_offsets(timeout=str)": lambda c: c.get_watermark_offsets(TP, "30"),
    "offsets_for_times(str)": lambda c: c.offsets_for_times("x"),
    "offsets_for_times([])": lambda c: c.offsets_for_times([], 30),
    "offsets_for_times(unknown topic)": lambda c: c.offsets_for_times([UNKNOWN], 30),
    "list_topics(int)": lambda c: c.list_topics(5),
    "list_topics(timeout=str)": lambda c: c.list_topics(TOPIC, "30"),
    "list_topics(unknown topic)": lambda c: c.list_topics("unknown-topic", 30),
    "memberid(argument)": lambda c: c.memberid(1),
    "len()": len,
    "iter()": iter,
}


@pytest.mark.parametrize("call", CONSUMER_CALLS)
def test_a_wrong_call_of_a_consumer_fails_alike(theirs: Side, ours: Side, call: str) -> None:
    function = CONSUMER_CALLS[call]

    assert closing(ours.consumer(), function) == closing(theirs.consumer(), function)


def test_storing_offsets_of_an_unassigned_partition_fails_alike(theirs: Side, ours: Side) -> None:
    found = [
        closing(side.consumer(**{"enable.auto.offset.store": False}), lambda c: c.store_offsets(offsets=[TP]))
        for side in (ours, theirs)
    ]

    assert found[0] == found[1]


CLOSED_CALLS: dict[str, Callable[[Any], Any]] = {
    "subscribe": lambda c: c.subscribe([TOPIC]),
    "unsubscribe": lambda c: c.unsubscribe(),
    "poll": lambda c: c.poll(0),
    "consume": lambda c: c.consume(1, 0),
    "assign": lambda c: c.assign([]),
    "unassign": lambda c: c.unassign(),
    "incremental_assign": lambda c: c.incremental_assign([]),
    "incremental_unassign": lambda c: c.incremental_unassign([]),
    "assignment": lambda c: c.assignment(),
    "commit": lambda c: c.commit(),
    "store_offsets": lambda c: c.store_offsets(offsets=[]),
    "committed": lambda c: c.committed([]),
    "position": lambda c: c.position([]),
    "seek": lambda c: c.seek(TP),
    "pause": lambda c: c.pause([]),
    "resume": lambda c: c.resume([]),
    "get_watermark_offsets": lambda c: c.get_watermark_offsets(TP),
    "offsets_for_times": lambda c: c.offsets_for_times([]),
    "list_topics": lambda c: c.list_topics(),
    "memberid": lambda c: c.memberid(),
    "consumer_group_metadata": lambda c: c.consumer_group_metadata(),
    "cluster_id": lambda c: c.cluster_id(),
    "set_sasl_credentials": lambda c: c.set_sasl_credentials("a", "b"),
    "with": lambda c: c.__enter__(),
    "close": lambda c: c.close(),
}


def test_every_call_of_a_closed_consumer_fails_alike(theirs: Side, ours: Side) -> None:
    found = []
    for side in (ours, theirs):
        consumer = side.consumer()
        consumer.close()
        answers = {}
        for name, call in CLOSED_CALLS.items():
            try:
                call(consumer)
                answers[name] = "no error"
            except RuntimeError as error:
                answers[name] = str(error)
        found.append(answers)

    assert found[0] == found[1]


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "unknown property": {"no.such.property": 1},
    "underscores": {"session_timeout_ms": 6000},
    "bad enum": {"auto.offset.reset": "none"},
    "not a number": {"session.timeout.ms": "soon"},
    "number too small": {"session.timeout.ms": -1},
    "number too large": {"session.timeout.ms": 10**12},
    "session longer than the poll interval": {"session.timeout.ms": 400_000},
    "not a bool": {"enable.auto.commit": "maybe"},
    "sticky": {"partition.assignment.strategy": "sticky"},
    "eager and cooperative": {"partition.assignment.strategy": "range,cooperative-sticky"},
    "session timeout with the new protocol": {"group.protocol": "consumer", "session.timeout.ms": 6000},
    "error_cb not callable": {"error_cb": 3},
    "stats_cb not callable": {"stats_cb": 3},
    "text where a number is meant": {"session.timeout.ms": "6000"},
    "text where a bool is meant": {"enable.auto.commit": "true"},
    "a producer's property": {"linger.ms": 5},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_wrong_configuration_fails_alike(theirs: Side, ours: Side, name: str) -> None:
    def make(side: Side) -> str:
        return outcome(lambda: side.consumer(**CONFIGURATIONS[name]).close())

    assert make(ours) == make(theirs)


def test_a_consumer_without_a_group_fails_alike(theirs: Side, ours: Side) -> None:
    for side in (ours, theirs):
        assert outcome(partial(side.library.Consumer, {"bootstrap.servers": side.servers})) == "ValueError"


PRODUCER_CALLS: dict[str, Callable[[Any], Any]] = {
    "produce()": lambda p: p.produce(),
    "produce(None)": lambda p: p.produce(None),
    "produce(topic=int)": lambda p: p.produce(5),
    "produce(value=int)": lambda p: p.produce(TOPIC, 5),
    "produce(value=bytearray)": lambda p: p.produce(TOPIC, bytearray(b"x")),
    "produce(key=int)": lambda p: p.produce(TOPIC, b"x", 5),
    "produce(headers=tuple)": lambda p: p.produce(TOPIC, b"x", headers=(("a", b"1"),)),
    "produce(callback=3)": lambda p: p.produce(TOPIC, b"x", callback=3),
    "produce(oversized)": lambda p: p.produce(TOPIC, b"x" * 1_100_000),
    "poll(None)": lambda p: p.poll(None),
    "flush(str)": lambda p: p.flush("1"),
    "list_topics(int)": lambda p: p.list_topics(5),
    "commit_transaction()": lambda p: p.commit_transaction(),
}

PRODUCER_DIFFERENCES = {
    "produce(callback=3)": "theirs crashes when the report comes, or says nothing; api.md: not to be copied"
}


@pytest.mark.parametrize("call", [call for call in PRODUCER_CALLS if call not in PRODUCER_DIFFERENCES])
def test_a_wrong_call_of_a_producer_fails_alike(theirs: Side, ours: Side, call: str) -> None:
    function = PRODUCER_CALLS[call]

    assert closing(ours.producer(), function) == closing(theirs.producer(), function)


@pytest.mark.parametrize("call", ["produce", "poll", "flush", "list_topics"])
def test_calls_of_a_closed_producer_fail_alike(theirs: Side, ours: Side, call: str) -> None:
    found = []
    for side in (ours, theirs):
        producer = side.producer()
        producer.close()
        arguments = (TOPIC,) if call == "produce" else ()
        try:
            getattr(producer, call)(*arguments)
            found.append("no error")
        except RuntimeError as error:
            found.append(str(error))

    assert found[0] == found[1]


# -- where ours differs on purpose


DIFFERENCES: dict[str, tuple[Callable[[Any], Any], str, str, str]] = {
    "subscribe([int])": (
        lambda c: c.subscribe([1]),
        "no error",
        "TypeError",
        "theirs subscribes to str(1): a mistake that would only show as an unknown topic",
    ),
    "set_sasl_credentials()": (
        lambda c: c.set_sasl_credentials("user", "password"),
        "no error",
        "KafkaException _UNSUPPORTED_FEATURE",
        "credentials are part of the URL; to accept and ignore them would hide that they are not used",
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_intended_differences_are_these(theirs: Side, ours: Side, name: str) -> None:
    call, their_answer, our_answer, _reason = DIFFERENCES[name]

    assert closing(theirs.consumer(), call) == their_answer
    assert closing(ours.consumer(), call) == our_answer


def test_a_callback_that_cannot_be_called_is_refused_at_once(ours: Side) -> None:
    """Theirs crashes when the report comes."""
    assert closing(ours.producer(), PRODUCER_CALLS["produce(callback=3)"]) == "TypeError"


@pytest.mark.parametrize("group_id", [None, ""])
def test_an_empty_group_id_is_refused(ours: Side, group_id: str | None) -> None:
    """Theirs aborts the interpreter, which no test can compare with."""
    assert outcome(lambda: ours.consumer(**{"group.id": group_id})) == "ValueError"


# -- nobody there


@pytest.mark.parametrize(
    "question",
    [
        lambda c: c.list_topics(timeout=1),
        lambda c: c.get_watermark_offsets(TP, 1),
        lambda c: c.offsets_for_times([TP], 1),
        lambda c: c.committed([TP], 1),
    ],
    ids=["list_topics", "watermarks", "offsets_for_times", "committed"],
)
def test_without_a_server_questions_fail_in_time_with_a_transport_or_timeout_error(
    question: Callable[[Any], Any],
) -> None:
    """Which of the two it is depends on theirs on the call and the moment; both are what applications check for."""
    port = free_port()
    allowed = {
        "KafkaException _TRANSPORT",
        "KafkaException _TIMED_OUT",
        "KafkaException _ALL_BROKERS_DOWN",
        "KafkaException _UNKNOWN_PARTITION",
    }
    for library, servers in (
        (confluent_kafka, f"127.0.0.1:{port}"),
        (streamadapter, f"redis://127.0.0.1:{port}"),
    ):
        consumer = Side(library, servers).consumer(error_cb=lambda _: None)
        started = time.monotonic()
        assert outcome(partial(question, consumer)) in allowed
        assert time.monotonic() - started < 10
        consumer.close()
