"""How calls that wait end: by their time-out, by a close(), by Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamadapter.testing.contract.lab import Lab


# -- time-outs


def test_poll_and_consume_take_as_long_as_they_may_and_need(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, *(b"%d" % i for i in range(11)))
    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])
    [first] = lab.take(consumer, 1)
    assert first.value() == b"0"

    def timed(call: Callable[[], Any]) -> tuple[Any, float]:
        began = time.monotonic()
        return call(), time.monotonic() - began

    assert consumer.consume(0) == []  # with no time-out, and nothing to wait for

    messages, took = timed(lambda: consumer.consume(4, PATIENCE_S))
    assert values(messages) == [b"1", b"2", b"3", b"4"]
    assert took < PATIENCE_S / 2

    messages, took = timed(lambda: consumer.consume(100, 1))
    assert values(messages) == [b"%d" % i for i in range(5, 11)]
    assert took >= 0.95

    message, took = timed(lambda: consumer.poll(0.5))
    assert message is None
    assert took >= 0.45

    message, took = timed(lambda: consumer.poll(0))
    assert message is None
    assert took < 1

    messages, took = timed(lambda: consumer.consume(5, 0))
    assert messages == []
    assert took < 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((-1, 0), ValueError),
        ((1_000_001, 0), ValueError),
        (("1", 0), TypeError),
        ((1.5, 0), TypeError),
        ((1, "0"), TypeError),
        ((1, None), TypeError),
    ],
)
def test_consume_refuses_numbers_out_of_bounds(lab: Lab, arguments: Any, error: type[Exception]) -> None:
    consumer = lab.consumer(lab.group())

    with pytest.raises(error):
        consumer.consume(*arguments)


def test_a_waiting_poll_returns_as_soon_as_there_is_a_record(lab: Lab) -> None:
    topic = lab.topic()
    consumer = lab.consumer(lab.group())
    consumer.assign([TopicPartition(topic, 0, 0)])

    with ThreadPoolExecutor(1) as threads:
        began = time.monotonic()
        polled = threads.submit(consumer.poll, PATIENCE_S)
        lab.produce(topic, b"v")
        message = polled.result()

    assert message is not None
    assert message.value() == b"v"
    assert time.monotonic() - began < PATIENCE_S / 2


# -- a consumer is closed


def test_close_waits_for_the_poll_of_another_thread(lab: Lab) -> None:
    consumer = lab.consumer(lab.group())
    polling = threading.Event()
    consumer.subscribe([lab.topic()], on_assign=lambda *_: polling.set())
    polled: list[Any] = []

    began = time.monotonic()
    thread = threading.Thread(target=lambda: polled.append(consumer.poll(3)))
    thread.start()
    assert polling.wait(PATIENCE_S)  # on_assign runs within the poll, which goes on
    consumer.close()
    took = time.monotonic() - began
    thread.join(PATIENCE_S)

    assert polled == [None]
    assert took >= 2.95
    with pytest.raises(RuntimeError):
        consumer.poll(0)


def test_threads_may_close_a_consumer_at_the_same_time(lab: Lab) -> None:
    topic, group = lab.topic(), lab.group()
    lab.produce(topic, b"0", b"1")
    consumer = lab.consumer(group)
    consumer.subscribe([topic])
    lab.take(consumer, 1)

    with ThreadPoolExecutor(4) as threads:
        closing = [threads.submit(consumer.close) for _ in range(4)]

    assert [future.result() for future in closing] == [None] * 4
    with pytest.raises(RuntimeError):
        consumer.consume(1, 0)
    successor = lab.consumer(group)
    successor.subscribe([topic])
    assert values(lab.take(successor, 1)) == [b"1"]  # the first was committed by close(), the group is free


# -- a producer is closed


def test_threads_may_close_a_producer_at_the_same_time(lab: Lab) -> None:
    topic = lab.topic()
    producer = lab.producer(linger_ms=200)
    lab.forget(producer)
    reported: list[bytes | None] = []
    for i in range(100):
        producer.produce(topic, b"%d" % i, on_delivery=lambda _, m: reported.append(m.value()))

    with ThreadPoolExecutor(4) as threads:
        closing = [threads.submit(lambda: (producer.close(), len(reported))) for _ in range(4)]

    assert [future.result() for future in closing] == [(True, 100)] * 4  # each has waited for the end
    assert reported == values(lab.log(topic)) == [b"%d" % i for i in range(100)]


def test_a_producer_closed_while_others_produce_loses_nothing_it_accepted(lab: Lab) -> None:
    topic = lab.topic()
    producer = lab.producer(enable_idempotence=True)
    lab.forget(producer)
    accepted: list[list[bytes]] = [[], [], [], []]
    enough = 20_000  # of which four fit into the queue; a thread may get there before close() gets its turn
    reported: list[bytes | None] = []

    def publish(number: int) -> None:
        mine = accepted[number]
        while len(mine) < enough:
            value = b"%d %d" % (number, len(mine))
            producer.produce(topic, value, on_delivery=lambda _, m: reported.append(m.value()))
            mine.append(value)

    with ThreadPoolExecutor(4) as threads:
        publishing = [threads.submit(publish, number) for number in range(4)]
        lab.until(lambda: sum(map(len, accepted)) >= 1000)
        assert producer.close() is True

    for future, mine in zip(publishing, accepted, strict=True):
        assert isinstance(future.exception(), RuntimeError) or len(mine) == enough
    stored = values(lab.log(topic))
    assert reported == stored
    for number in range(4):
        assert [v for v in stored if (v or b"").startswith(b"%d " % number)] == accepted[number]


# -- Ctrl-C

INTERRUPTED = """
import os, signal, sys, threading, time
from streamadapter import Consumer, Producer

server = {"bootstrap.servers": sys.argv[1]}
consumer = Consumer({**server, "group.id": sys.argv[3]})
consumer.subscribe([sys.argv[2]])
producer = Producer(server)
producer.produce(sys.argv[2] + "-does-not-exist", b"v")  # to be waited for
idle = Producer(server)
for wait in (consumer.poll, producer.flush, idle.poll, lambda: consumer.consume(10, 3)):
    sent = []
    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(0.5, interrupt)
    timer.start()
    try:
        while True:  # an event may end a wait before
            wait()
    except KeyboardInterrupt:
        print(time.monotonic() - sent[0], flush=True)
os._exit(0)
"""


def test_ctrl_c_ends_the_calls_that_wait(lab: Lab) -> None:
    """On Kafka consume() notices it at its time-out only, and without one never."""
    topic = lab.topic()

    done = subprocess.run(  # noqa: S603  this interpreter, on the text above
        [sys.executable, "-W", "ignore", "-c", INTERRUPTED, lab.url, topic, lab.group()],
        stdout=subprocess.PIPE,
        text=True,
        timeout=2 * PATIENCE_S,
        check=True,
    )

    delays = [float(line) for line in done.stdout.splitlines()]
    assert len(delays) == 4
    assert max(delays) < 5  # all but consume() look each 200 ms; the rest is for a loaded machine
