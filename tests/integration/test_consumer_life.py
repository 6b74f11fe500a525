"""The life of a consumer: close, collection, fork, and servers that are not there."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streamadapter import Consumer
from streamadapter.engine import coordinator
from streamadapter.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamadapter.testing.servers import Server
    from tests.integration.conftest import Cluster


def threads() -> list[str]:
    import threading

    return [thread.name for thread in threading.enumerate() if thread.name == "streamadapter-consumer"]


# -- close


def test_close_is_quick_in_every_state(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 2)
    cluster.produce(topic, *"abc")

    def untouched(_: Consumer) -> None: ...
    def joining(consumer: Consumer) -> None:
        consumer.subscribe([topic])

    def reading(consumer: Consumer) -> None:
        consumer.subscribe([topic])
        cluster.take(consumer, 1)

    def with_a_rebalance_unserved(consumer: Consumer) -> None:
        reading(consumer)
        cluster.consumer(group).subscribe([topic])
        time.sleep(0.2)

    def by_hand(consumer: Consumer) -> None:
        consumer.assign([TopicPartition(topic, 0)])
        cluster.take(consumer, 1)

    def left(consumer: Consumer) -> None:
        reading(consumer)
        consumer.unsubscribe()

    states: list[Callable[[Consumer], None]] = [
        untouched, joining, reading, with_a_rebalance_unserved, by_hand, left,
    ]  # fmt: skip
    for number, state in enumerate(states):
        consumer = cluster.consumer(f"{group}-{number}")
        state(consumer)
        started = time.monotonic()

        consumer.close()

        assert time.monotonic() - started < 5, state


def test_a_context_manager_closes(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    cluster.produce(topic, "x")

    with cluster.consumer(group) as consumer:
        consumer.subscribe([topic])
        cluster.take(consumer, 1)

    with pytest.raises(RuntimeError):
        consumer.poll(0)
    assert cluster.committed(group) == {(topic, 0): 1}


def test_a_context_manager_closes_after_an_exception_too(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    cluster.produce(topic, "x")

    def work(consumer: Consumer) -> None:
        consumer.subscribe([topic])
        cluster.take(consumer, 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), cluster.consumer(group) as consumer:
        work(consumer)

    assert cluster.committed(group) == {(topic, 0): 1}


def test_close_from_within_a_callback_does_not_hang(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic)
    consumer = cluster.consumer(group)
    consumer.subscribe([topic], on_assign=lambda c, _: c.close())

    started = time.monotonic()
    with pytest.raises(RuntimeError):
        consumer.poll(30)

    assert time.monotonic() - started < 5
    assert coordinator.decode(cluster.store.group_heartbeat(group, "", -1, 0).state or b"").members == {}


def test_a_consumer_that_is_dropped_unclosed_is_collected_and_its_thread_ends(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic)
    cluster.produce(topic, "x")
    consumer = cluster.consumer(group, error_cb=print, on_commit=print)
    consumer.subscribe([topic], on_assign=print)
    cluster.take(consumer, 1)
    assert len(threads()) == 1
    reference = weakref.ref(consumer)

    cluster.forget(consumer)
    del consumer
    gc.collect()

    assert reference() is None
    cluster.until(lambda: not threads())
    assert cluster.committed(group) == {}  # neither committed nor left, as with librdkafka


# -- fork

FORK = """
    import os, sys, threading, time
    from streamadapter import Consumer, KafkaError, KafkaException, Producer
    from streamadapter.admin import AdminClient, NewTopic
    url, topic, group = sys.argv[1:]
    with AdminClient({"bootstrap.servers": url}) as admin:
        admin.create_topics([NewTopic(topic, 1)])[topic].result(30)
    with Producer({"bootstrap.servers": url}) as producer:
        producer.produce(topic, b"1")
    consumer = Consumer({"bootstrap.servers": url, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    assert consumer.poll(30).value() == b"1"
    # The background thread may hold the lock at the moment of the fork; here another one does, and for sure.
    held, release = threading.Event(), threading.Event()

    def hold():
        with consumer._client._state.lock:
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        try:
            consumer.poll(0)
        except KafkaException as error:
            refused = error.args[0].code() == KafkaError._STATE and "fork" in error.args[0].str()
        consumer.close()
        sys.exit(7 if refused else 1)  # with all that runs at exit
    release.set()
    holder.join()
    deadline = time.monotonic() + 30
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(status[1]) == 7, status
    with Producer({"bootstrap.servers": url}) as producer:
        producer.produce(topic, b"2")
    assert consumer.poll(30).value() == b"2"  # the parent is as it was
    consumer.close()
"""


def test_a_forked_child_is_told_and_the_parent_goes_on(cluster: Cluster, topic: str, group: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK), cluster.url, topic, group],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert process.returncode == 0, process.stderr


# -- servers that are not there


def unreachable(**properties: Any) -> Consumer:
    conf = {"bootstrap.servers": f"redis://127.0.0.1:{free_port()}", "group.id": "g", **properties}
    return Consumer(conf)


def test_an_unreachable_server_is_reported_and_poll_keeps_its_timeout() -> None:
    errors: list[KafkaError] = []
    consumer = unreachable(error_cb=errors.append)
    consumer.subscribe(["t"])

    started = time.monotonic()
    assert consumer.poll(1.0) is None

    assert 1.0 <= time.monotonic() - started < 5
    assert {e.code() for e in errors} == {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}
    assert "127.0.0.1" in errors[0].str()
    consumer.close()


@pytest.mark.parametrize(
    "question",
    [
        lambda c: c.committed([TopicPartition("t", 0)], 0.5),
        lambda c: c.get_watermark_offsets(TopicPartition("t", 0), 0.5),
        lambda c: c.offsets_for_times([TopicPartition("t", 0, 1)], 0.5),
        lambda c: c.list_topics(timeout=0.5),
    ],
    ids=["committed", "watermarks", "offsets_for_times", "list_topics"],
)
def test_a_question_to_an_unreachable_server_fails_within_its_timeout(
    question: Callable[[Consumer], Any],
) -> None:
    consumer = unreachable()

    started = time.monotonic()
    with pytest.raises(KafkaException) as caught:
        question(consumer)

    assert time.monotonic() - started < 5
    assert caught.value.args[0].code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT)
    assert "127.0.0.1" in caught.value.args[0].str()
    consumer.close()


def test_close_is_bounded_without_a_server(own_redis: Server, topic: str, group: str) -> None:
    consumer = Consumer({"bootstrap.servers": own_redis.url, "group.id": group})
    consumer.subscribe([topic])
    assert consumer.poll(1) is not None  # it has no such topic: an event
    own_redis.kill()

    started = time.monotonic()
    consumer.close()

    assert time.monotonic() - started < 25


def test_a_wrong_password_is_fatal_at_once(tmp_path: Any, topic: str) -> None:
    from streamadapter.testing.servers import RedisServer

    with RedisServer(tmp_path, {"requirepass": "secret"}) as server:
        where = server.url.rpartition("@")[2].removeprefix("redis://")
        errors: list[KafkaError] = []
        consumer = Consumer(
            {"bootstrap.servers": f"redis://:wrong@{where}", "group.id": "g", "error_cb": errors.append}
        )
        consumer.assign([TopicPartition(topic, 0)])  # subscribe() may already be refused

        message = consumer.poll(30)

        assert message is not None
        error = message.error()
        assert error is not None
        assert error.code() == KafkaError._AUTHENTICATION
        assert error.fatal()
        assert "wrong" not in error.str().replace("WRONGPASS", "")
        assert consumer.poll(0.5) is None  # said once, and not tried again
        assert [e.code() for e in errors] == [KafkaError._AUTHENTICATION]
        consumer.close()


def test_a_consumer_goes_on_when_its_server_comes_back(own_redis: Server, topic: str, group: str) -> None:
    from streamadapter import Producer
    from streamadapter.admin import AdminClient, NewTopic

    errors: list[KafkaError] = []
    conf: dict[str, Any] = {"bootstrap.servers": own_redis.url}
    with AdminClient(conf) as admin, Producer(conf) as producer:
        admin.create_topics([NewTopic(topic, 1)])[topic].result(30)
        consumer = Consumer(
            conf, **{"group.id": group, "auto.offset.reset": "earliest", "error_cb": errors.append}
        )
        consumer.subscribe([topic])
        producer.produce(topic, b"before")
        producer.flush(30)
        first = consumer.poll(30)
        consumer.commit(asynchronous=False)

        own_redis.kill()
        consumer.poll(0.5)
        own_redis.start()
        producer.produce(topic, b"after")
        producer.flush(30)
        second = consumer.poll(30)

        assert [m.value() if m else None for m in (first, second)] == [b"before", b"after"]
        codes = [e.code() for e in errors]
        assert codes.count(KafkaError._ALL_BROKERS_DOWN) <= 3  # said, not repeated with each attempt
        assert KafkaError._TRANSPORT in codes
        consumer.commit(asynchronous=False)
        consumer.close()
