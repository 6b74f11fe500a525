"""aiokafka, as its documentation sends and reads: send() gives a future of the delivery, getmany() lists of records."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.case import Figures
from bench.peers import kafka_api
from bench.peers.clock import Clock
from bench.records import Records, chunked, records_of, turns
from bench.topic import new_topic


def produce(url: str, records: int, partitions: int = 4, values: str = "100") -> Figures:
    """send() with a callback on its future."""
    with new_topic(url, partitions) as topic:
        return asyncio.run(_produce(url, topic, partitions, records_of(values), records))


def consume(url: str, records: int, at_once: int = 1000, partitions: int = 4) -> Figures:
    """getmany(); the clock starts at the first records."""
    sent = records_of("100")
    with new_topic(url, partitions) as topic:
        kafka_api.fill("confluent_kafka", url, topic, sent, records)
        return asyncio.run(_consume(url, topic, records, at_once))


async def _produce(url: str, topic: str, partitions: int, sent: Records, records: int) -> Figures:
    chunks = chunked(sent.pairs())
    delivered = 0

    def count(future: asyncio.Future[Any]) -> None:
        nonlocal delivered
        future.result()
        delivered += 1

    async with AIOKafkaProducer(bootstrap_servers=url) as p:
        for partition in range(partitions):
            await p.send_and_wait(topic, b"first", b"first", partition)
        clock = Clock()
        for chunk in turns(chunks, records):
            for value, key in chunk:
                (await p.send(topic, value, key)).add_done_callback(count)
        await p.flush()
        await asyncio.sleep(0)  # callbacks of futures run in the loop's next turn
        figures = clock.figures(records)
    if delivered != records:
        raise RuntimeError(f"{delivered} of {records} records were reported")
    return figures


async def _consume(url: str, topic: str, records: int, at_once: int) -> Figures:
    subscribed = time.perf_counter()
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=url, group_id=topic, auto_offset_reset="earliest"
    ) as c:
        await c.getone()
        join_ms = (time.perf_counter() - subscribed) * 1000
        left, size = records - 1, 0
        clock = Clock()
        while left:
            found = await c.getmany(timeout_ms=5000, max_records=at_once)
            if not found:
                raise RuntimeError(f"{left} records did not come within 5 s")
            for messages in found.values():
                for message in messages:
                    size += len(message.value)
                left -= len(messages)
        figures = clock.figures(records - 1)
    return {**figures, "join_ms": join_ms}
