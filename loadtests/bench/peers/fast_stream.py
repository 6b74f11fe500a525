"""FastStream on Redis Streams, as its documentation publishes and subscribes: a message an await, a handler a message.

It knows no keys, so the values go without.
"""

from __future__ import annotations

import asyncio

import redis
from faststream.redis import RedisBroker, StreamSub

from bench.case import Figures
from bench.peers.clock import Clock
from bench.records import chunked, records_of, turns

STREAM = "orders"
AT_ONCE = 1000  # entries an XREADGROUP; without it, it would read all there is before the first is handled
TIMEOUT_S = 60.0


def publish(url: str, records: int) -> Figures:
    """await broker.publish() a record."""
    return asyncio.run(_publish(url, records))


def subscribe(url: str, records: int) -> Figures:
    """A handler a record, which FastStream acknowledges; the clock starts at the first."""
    return asyncio.run(_subscribe(url, records))


async def _publish(url: str, records: int) -> Figures:
    values = chunked(records_of("100").values)
    async with RedisBroker(url, logger=None) as broker:
        await broker.publish(b"first", stream=STREAM)
        clock = Clock()
        for chunk in turns(values, records):
            for value in chunk:
                await broker.publish(value, stream=STREAM)
        return clock.figures(records)


async def _subscribe(url: str, records: int) -> Figures:
    values = chunked(records_of("100").values)
    async with RedisBroker(url, logger=None) as broker:
        for chunk in turns(values, records):
            for value in chunk:
                await broker.publish(value, stream=STREAM)
    redis.Redis.from_url(url).xgroup_create(
        STREAM, "benchmark", "0"
    )  # else it reads what comes, not what is there
    broker = RedisBroker(url, logger=None)
    clock: Clock | None = None
    seen = 0
    ended = asyncio.Event()

    @broker.subscriber(stream=StreamSub(STREAM, group="benchmark", consumer="one", max_records=AT_ONCE))
    async def handle(message: bytes) -> None:
        nonlocal clock, seen
        clock = clock or Clock()
        seen += bool(message)
        if seen == records:
            ended.set()

    async with broker:
        await broker.start()
        await asyncio.wait_for(ended.wait(), TIMEOUT_S)
        if clock is None:
            raise RuntimeError("no record came")
        return clock.figures(records - 1)
