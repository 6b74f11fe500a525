"""End-to-end latency: from just before a record is sent to just after its receiver was handed it, in two processes.

The sender keeps to a schedule that does not depend on how long sending takes, and says by how much it was late
(`late_p99_ms`), since a sender that falls behind would hide that records wait. Each record carries the time, by the
machine's monotonic clock, at which it was handed to its client. What is sent in the first `WARM_UP_S` seconds is
received, but not counted. Clients have their default configuration but for linger.ms.
"""

from __future__ import annotations

import multiprocessing
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from load.figures import percentile

from bench.case import Case, Figures
from bench.topic import new_topic

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PARTITIONS = 4
VALUE_BYTES = 100
KEYS = [b"customer-%03d" % i for i in range(1000)]
UNCOUNTED = bytes(VALUE_BYTES)
WARM_UP_S = 2.0
TICK_S = 0.001
"""Records that are due within a tick are sent in one burst: a program that sleeps does not wake more often."""
PATIENCE_S = 30.0
"""For joining, and for the last record after the last was sent; who needs longer has failed."""


def cases() -> list[Case]:
    """At 1,000/s without linger in every run; other rates, and linger, in a full one."""
    peers = ("streamadapter", "confluent_kafka", "aiokafka")
    found = [_case(1000, 0, peer) for peer in (*peers, "bare")]
    found += [
        _case(rate, linger, peer, full=True)
        for rate in (100, 1000, 20_000)
        for linger in (0, 5)
        if (rate, linger) != (1000, 0)
        for peer in peers
    ]
    found.append(_case(100, 0, "bare", full=True))  # one by one it cannot send 20,000/s
    return found


def _case(rate: int, linger_ms: int, peer: str, *, full: bool = False) -> Case:
    arguments: dict[str, Any] = {"rate": rate, "seconds": max(5, 1000 // rate)}  # enough for p99.9
    if peer != "bare":
        arguments["linger_ms"] = linger_ms
    function = peer
    if peer in ("streamadapter", "confluent_kafka"):
        function, arguments["client"] = "kafka_api", peer
    return Case(
        chapter="latency",
        name=f"{rate}-linger{linger_ms}",
        subject=peer,
        server="redis" if peer in ("streamadapter", "bare") else "kafka",
        function=f"bench.latency:{function}",
        arguments=arguments,
        full=full,
    )


# -- what is measured: each sends in this process and receives in another


def kafka_api(url: str, rate: int, seconds: float, linger_ms: int, client: str) -> Figures:
    """streamadapter or confluent_kafka, by the name of the module: produce() and poll(0), poll() in the receiver."""
    with (
        new_topic(url, PARTITIONS) as topic,
        Receiver(_poll, (client, url, topic), rate * seconds) as receiver,
    ):
        producer = import_module(client).Producer({"bootstrap.servers": url, "linger.ms": linger_ms})

        def send(key: bytes, value: bytes) -> None:
            # Between records it sleeps: poll(timeout) would do for us, but confluent_kafka's counts in whole
            # milliseconds, and spins through the rest.
            producer.produce(topic, value, key)
            producer.poll(0)

        late = _send(send, receiver, rate, seconds)
        assert producer.flush(PATIENCE_S) == 0
        return figures(receiver.delays(), late)


def aiokafka(url: str, rate: int, seconds: float, linger_ms: int) -> Figures:
    """aiokafka: send() without awaiting its report, getone() in the receiver."""
    import asyncio

    from aiokafka import AIOKafkaProducer

    async def send(topic: str, receiver: Receiver) -> list[float]:
        late = []
        async with AIOKafkaProducer(bootstrap_servers=url, linger_ms=linger_ms) as producer:
            while not receiver.joined(0):
                await producer.send_and_wait(topic, UNCOUNTED)
                await asyncio.sleep(0.05)
            for due, numbers in schedule(rate, seconds, time.monotonic()):
                while (left := due - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                for i in numbers:
                    late.append(time.monotonic() - due)
                    await producer.send(topic, value(i, rate), KEYS[i % len(KEYS)])
            await producer.flush()
        return late

    with new_topic(url, PARTITIONS) as topic, Receiver(_getone, (url, topic), rate * seconds) as receiver:
        late = asyncio.run(send(topic, receiver))
        return figures(receiver.delays(), late)


def bare(url: str, rate: int, seconds: float) -> Figures:
    """redis-py and nothing else: XADD to one stream, a blocking XREADGROUP of it that acknowledges nothing."""
    import redis

    client = redis.Redis.from_url(url)
    client.xgroup_create("bare", "group", "0", mkstream=True)
    with Receiver(_xreadgroup, (url,), rate * seconds) as receiver:

        def send(key: bytes, value: bytes) -> None:
            client.xadd("bare", {"k": key, "v": value})

        late = _send(send, receiver, rate, seconds)
        return figures(receiver.delays(), late)


# -- sending


def schedule(rate: int, seconds: float, began: float) -> Iterator[tuple[float, range]]:
    """(monotonic time, numbers of the records to be sent then), for the warm-up and `seconds` after it."""
    count, burst = round(rate * (WARM_UP_S + seconds)), max(1, round(rate * TICK_S))
    for first in range(0, count, burst):
        yield began + first / rate, range(first, min(first + burst, count))


def value(number: int, rate: int) -> bytes:
    """A record's value, to be sent at once: it begins with the time, unless it belongs to the warm-up."""
    if number < rate * WARM_UP_S:
        return UNCOUNTED
    return time.monotonic_ns().to_bytes(8, "big").ljust(VALUE_BYTES, b".")


def _send(send: Callable[[bytes, bytes], None], receiver: Receiver, rate: int, seconds: float) -> list[float]:
    """Send to the receiver until it has joined, then on schedule. By how many seconds each record was late."""
    while not receiver.joined(0.05):
        send(KEYS[0], UNCOUNTED)
    late = []
    for due, numbers in schedule(rate, seconds, time.monotonic()):
        while (left := due - time.monotonic()) > 0:
            time.sleep(left)
        for i in numbers:
            late.append(time.monotonic() - due)
            send(KEYS[i % len(KEYS)], value(i, rate))
    return late


def figures(delays_ns: Sequence[int], late_s: Sequence[float]) -> Figures:
    ordered = sorted(delays_ns)
    found = {
        f"{name}_ms": (percentile(ordered, share) or 0) / 1e6
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
    }
    return found | {"late_p99_ms": (percentile(sorted(late_s), 0.99) or 0) * 1000}


# -- receiving


class Receiver:
    """A process that receives `count` records that count, and those of the warm-up before them.

    target: called there with `arguments` and what it shall call with each value; it need not return.
    """

    def __init__(self, target: Callable[..., None], arguments: tuple[str, ...], count: float) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._here, there = spawn.Pipe()
        self._process = spawn.Process(
            target=_receive, args=(target, arguments, round(count), there), daemon=True
        )
        self._process.start()
        there.close()  # so that its end is noticed here

    def joined(self, timeout_s: float) -> bool:
        """Whether the first record has arrived; waits for it. EOFError if the process has ended."""
        return self._here.poll(timeout_s) and bool(self._here.recv())

    def delays(self) -> Sequence[int]:
        """In ns, of the records that count, once all have arrived. TimeoutError, EOFError."""
        if not self._here.poll(PATIENCE_S):
            raise TimeoutError(f"records are missing {PATIENCE_S:.0f} s after the last was sent")
        found: array[int] = self._here.recv()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it is still reading
        self._process.join()


def _receive(target: Callable[..., None], arguments: tuple[str, ...], count: int, there: Connection) -> None:
    delays = array("q")
    joined = False

    def take(value: bytes) -> None:
        nonlocal joined
        arrived = time.monotonic_ns()
        if not joined:
            joined = True
            there.send(True)
        if sent := int.from_bytes(value[:8], "big"):
            delays.append(arrived - sent)
            if len(delays) == count:
                there.send(delays)

    target(*arguments, take)


def _poll(client: str, url: str, topic: str, take: Callable[[bytes], None]) -> None:
    consumer = import_module(client).Consumer(
        {"bootstrap.servers": url, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    while True:
        message = consumer.poll(1)
        if message is not None:
            assert message.error() is None, message.error()
            take(message.value())


def _getone(url: str, topic: str, take: Callable[[bytes], None]) -> None:
    import asyncio

    from aiokafka import AIOKafkaConsumer

    async def receive() -> None:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=url, group_id=topic, auto_offset_reset="earliest"
        )
        await consumer.start()
        while True:
            take((await consumer.getone()).value)

    asyncio.run(receive())


def _xreadgroup(url: str, take: Callable[[bytes], None]) -> None:
    import redis

    client = redis.Redis.from_url(url)
    while True:
        for _, entries in client.xreadgroup("group", "consumer", {"bare": ">"}, block=1000, noack=True):
            for _, fields in entries:
                take(fields[b"v"])
