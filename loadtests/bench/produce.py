"""Sending: records/s and CPU time a record, until all is delivered."""

from __future__ import annotations

from typing import Any

from bench.case import Case, ServerKind, both, pure, with_more

RECORDS = 500_000
# Name, `values` and number of records, so that a case takes a second or two.
SIZES = (
    ("10-B", "10", RECORDS),
    ("1-kB", "1000", 200_000),
    ("10-kB", "10000", 20_000),
    ("json", "json", 50_000),
)
PARTITIONS = (1, 16, 64)
COMPRESSIONS = ("lz4", "zstd")


def cases() -> list[Case]:
    """Those of the targets, then with --full sizes, partitions, producers and compression."""
    targets = [
        *_both("plain"),
        *_both("callback", how="callback"),
        _peer("callback", "aiokafka", "kafka", "aio_kafka:produce", 50_000),
        _both("batch", how="batch")[0],
        *(pure(_both(name, how=name)[0]) for name in ("callback", "batch")),
        _both("columns", how="columns")[0],
        _both("callback-64-partitions", how="callback", partitions=64)[0],
        _both("batch-64-partitions", how="batch", partitions=64)[0],
        _peer("one-by-one", "redis-py", "redis", "redis_py:one_by_one", 20_000),
        _peer("one-by-one", "faststream", "redis", "fast_stream:publish", 10_000),
        _peer("pipelined", "redis-py", "redis", "redis_py:pipelined", 100_000),
        _peer("redis-benchmark", "limit", "redis", "limits:redis_benchmark", RECORDS),
        _peer("opaque-64k", "limit", "redis", "limits:opaque", 4 * RECORDS),
        _peer("codec", "limit", "none", "limits:codec", 2 * RECORDS),
    ]
    return with_more(targets, _full())


def _full() -> list[Case]:
    found = [
        *_both("batch", how="batch", full=True),
        *both(
            "produce",
            "four-producers",
            "bench.peers.kafka_api:produce_together",
            records=4 * RECORDS,
            processes=4,
            full=True,
        ),
    ]
    for how in ("plain", "callback", "batch"):
        for name, values, records in SIZES:
            found += _both(f"{how}-{name}", how=how, values=values, records=records, full=True)
        for partitions in PARTITIONS:
            found += _both(f"{how}-{partitions}-partitions", how=how, partitions=partitions, full=True)
    for how in ("plain", "batch"):
        for name in COMPRESSIONS:
            found += _both(
                f"{how}-json-{name}", how=how, values="json", records=50_000, compression=name, full=True
            )
    return found


def _both(name: str, *, full: bool = False, records: int = RECORDS, **arguments: Any) -> list[Case]:
    function = "bench.peers.kafka_api:produce"
    return both("produce", name, function, full=full, records=records, **arguments)


def _peer(name: str, subject: str, server: ServerKind, function: str, records: int) -> Case:
    return Case(
        chapter="produce",
        name=name,
        subject=subject,
        server=server,
        function=f"bench.peers.{function}",
        arguments={"records": records},
    )
