"""redis-py without any of us: an entry a record, key and value its fields, in one stream.

Reading is by a consumer group, with an XACK for every XREADGROUP, as the Redis documentation shows it.
"""

from __future__ import annotations

from typing import Any

import redis

from bench.case import Figures
from bench.peers.clock import Clock
from bench.records import chunked, records_of, turns

STREAM = "orders"
GROUP = "benchmark"


def one_by_one(url: str, records: int) -> Figures:
    """XADD, wait for its id, the next XADD."""
    chunks = chunked(random_pairs())
    client = connect(url)
    clock = Clock()
    for chunk in turns(chunks, records):
        for value, key in chunk:
            client.xadd(STREAM, {"k": key, "v": value})
    return clock.figures(records)


def pipelined(url: str, records: int, at_once: int = 1000) -> Figures:
    """So many XADDs a pipeline, then their ids."""
    client = connect(url)
    chunks = chunked(random_pairs(), at_once)
    clock = Clock()
    add_all(client, chunks, records)
    return clock.figures(records)


def read(url: str, records: int, at_once: int) -> Figures:
    """XREADGROUP COUNT at_once, then XACK; the clock starts at the first entry."""
    client = connect(url)
    add_all(client, chunked(random_pairs()), records)
    client.xgroup_create(STREAM, GROUP, "0")
    _take(client, 1)
    left = records - 1
    clock = Clock()
    while left:
        left -= _take(client, at_once)
    return clock.figures(records - 1)


def connect(url: str) -> redis.Redis:
    """A client that is connected."""
    client = redis.Redis.from_url(url)
    client.ping()
    return client


def add_all(client: redis.Redis, chunks: list[Any], records: int) -> None:
    """(value, key) pairs by pipelines of a chunk each."""
    for chunk in turns(chunks, records):
        pipeline = client.pipeline(transaction=False)
        for value, key in chunk:
            pipeline.xadd(STREAM, {"k": key, "v": value})
        pipeline.execute()


def random_pairs() -> list[tuple[bytes, bytes]]:
    """(value, key) of 100 random bytes."""
    return records_of("100").pairs()


def _take(client: redis.Redis, at_once: int) -> int:
    reply: Any = client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=at_once, block=5000)
    ids = [entry for _, entries in reply for entry, fields in entries if fields[b"v"]]
    if not ids:
        raise RuntimeError("no entry came within 5 s")
    client.xack(STREAM, GROUP, *ids)
    return len(ids)
