"""streamadapter and confluent_kafka: the same code, the module is an argument.

The loops are those of confluent_kafka's documentation: poll(0) after each record that has a delivery callback, and a
full queue (BufferError) is met by poll().
"""

from __future__ import annotations

import importlib
import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench.case import Figures
from bench.peers.clock import Clock
from bench.records import Records, chunked, records_of, turns
from bench.topic import new_topic

TIMEOUT_S = 60.0
ROOM_S = 0.1  # a full queue is tried again after a report, or after this


def producer(client: str, url: str, **conf: Any) -> Any:
    """A Producer with its defaults, but for a queue so long that nobody waits for room in it."""
    module = importlib.import_module(client)
    return module.Producer({"bootstrap.servers": url, "queue.buffering.max.messages": 2_000_000, **conf})


def consumer(client: str, url: str, topic: str, **conf: Any) -> Any:
    """A Consumer with its defaults that reads the topic from its beginning, in a group of the topic's name."""
    module = importlib.import_module(client)
    c = module.Consumer(
        {"bootstrap.servers": url, "group.id": topic, "auto.offset.reset": "earliest", **conf}
    )
    c.subscribe([topic])
    return c


# -- sending


def produce(
    url: str,
    client: str,
    records: int,
    how: str = "plain",
    values: str = "100",
    partitions: int = 4,
    compression: str = "none",
) -> Figures:
    """Send records until all are delivered; how: see HOW."""
    sent = records_of(values)
    with new_topic(url, partitions) as topic:
        return _send(client, url, topic, partitions, sent, records, how, compression)


def produce_together(url: str, client: str, records: int, processes: int, partitions: int = 4) -> Figures:
    """The rate of all processes, each with a producer of its own, from their common start to the last one's end."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(processes)
    answers: Any = context.Queue()
    share = records // processes
    with new_topic(url, partitions) as topic:
        workers = [
            context.Process(
                daemon=True, target=_worker, args=(client, url, topic, partitions, share, start, answers)
            )
            for _ in range(processes)
        ]
        for worker in workers:
            worker.start()
        spans = [answers.get(timeout=TIMEOUT_S) for _ in workers]
        for worker in workers:
            worker.join(TIMEOUT_S)
    seconds = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return {"rate": share * processes / seconds}


def _worker(
    client: str, url: str, topic: str, partitions: int, records: int, start: Any, answers: Any
) -> None:
    began = 0.0

    def begin() -> None:
        nonlocal began
        start.wait(TIMEOUT_S)
        began = time.monotonic()

    _send(client, url, topic, partitions, records_of("100"), records, begin=begin)
    answers.put((began, time.monotonic()))


def _send(
    client: str,
    url: str,
    topic: str,
    partitions: int,
    sent: Records,
    records: int,
    how: str = "plain",
    compression: str = "none",
    begin: Callable[[], None] = lambda: None,
) -> Figures:
    form, send = HOW[how]
    chunks = chunked(form(sent))
    p = producer(client, url, **{"compression.type": compression})
    for partition in range(partitions):  # afterwards it knows the topic, is connected, and each log has begun
        p.produce(topic, b"first", b"first", partition)
    flush(p)
    begin()
    clock = Clock()
    send(p, topic, turns(chunks, records))
    flush(p)
    return clock.figures(records)


def flush(p: Any) -> None:
    """Wait until all is delivered. RuntimeError if it is not within TIMEOUT_S."""
    if left := p.flush(TIMEOUT_S):
        raise RuntimeError(f"{left} records were not delivered within {TIMEOUT_S:.0f} s")


def _plain(p: Any, topic: str, chunks: Iterable[Any]) -> None:
    for chunk in chunks:
        for value, key in chunk:
            while True:
                try:
                    p.produce(topic, value, key)
                    break
                except BufferError:
                    p.poll(ROOM_S)


def _callback(p: Any, topic: str, chunks: Iterable[Any]) -> None:
    sent = delivered = 0

    def count(error: Any, _: Any) -> None:
        nonlocal delivered
        if error is not None:
            raise RuntimeError(str(error))
        delivered += 1

    for chunk in chunks:
        for value, key in chunk:
            while True:
                try:
                    p.produce(topic, value, key, on_delivery=count)
                    break
                except BufferError:
                    p.poll(ROOM_S)
            p.poll(0)
        sent += len(chunk)
    flush(p)
    if delivered != sent:
        raise RuntimeError(f"{delivered} of {sent} records were reported")


def _batch(p: Any, topic: str, chunks: Iterable[Any]) -> None:
    for chunk in chunks:
        left = chunk
        while p.produce_batch(topic, left) < len(left):
            left = [record for record in left if record.pop("_error", None)]
            p.poll(ROOM_S)


def _columns(p: Any, topic: str, chunks: Iterable[Records]) -> None:
    for chunk in chunks:
        left = chunk
        while (queued := p.produce_columns(topic, left.values, left.keys)) < len(left):
            left = left[queued:]
            p.poll(ROOM_S)


Form = Callable[[Records], Any]
Send = Callable[[Any, str, Iterable[Any]], None]
HOW: dict[str, tuple[Form, Send]] = {
    "plain": (Records.pairs, _plain),
    "callback": (Records.pairs, _callback),
    "batch": (Records.dicts, _batch),
    "columns": (lambda records: records, _columns),
}


# -- receiving


def consume(
    url: str,
    client: str,
    records: int,
    at_once: int,
    values: str = "100",
    partitions: int = 4,
    compression: str = "none",
    conf: Mapping[str, Any] | None = None,
) -> Figures:
    """Read a filled log: consume(at_once), or poll() if that is 0. The clock starts at the first record."""
    sent = records_of(values)
    with new_topic(url, partitions) as topic:
        fill(client, url, topic, sent, records, compression)
        subscribed = time.perf_counter()
        c = consumer(client, url, topic, **(conf or {}))
        first = None
        while first is None:
            first = c.poll(TIMEOUT_S)
        join_ms = (time.perf_counter() - subscribed) * 1000
        read = _consume if at_once else _poll
        clock = Clock()
        size = read(c, records - 1, at_once) + len(first.value())
        figures = clock.figures(records - 1)
        c.close()
    if size != (expected := sent.value_bytes(records)):
        raise RuntimeError(f"read {size} bytes of values instead of {expected}")
    return {**figures, "join_ms": join_ms}


def fill(client: str, url: str, topic: str, sent: Records, records: int, compression: str = "none") -> None:
    """Put records into a topic by produce_batch()."""
    p = producer(client, url, **{"compression.type": compression})
    _batch(p, topic, turns(chunked(sent.dicts()), records))
    flush(p)


def _consume(c: Any, records: int, at_once: int) -> int:
    size = 0
    while records:
        messages = c.consume(min(at_once, records), TIMEOUT_S)
        if not messages:
            raise RuntimeError(f"{records} records did not come within {TIMEOUT_S:.0f} s")
        for message in messages:
            if message.error():
                raise RuntimeError(str(message.error()))
            size += len(message.value())
        records -= len(messages)
    return size


def _poll(c: Any, records: int, _: int) -> int:
    size = 0
    for left in range(records, 0, -1):
        message = c.poll(TIMEOUT_S)
        if message is None:
            raise RuntimeError(f"{left} records did not come within {TIMEOUT_S:.0f} s")
        if message.error():
            raise RuntimeError(str(message.error()))
        size += len(message.value())
    return size
