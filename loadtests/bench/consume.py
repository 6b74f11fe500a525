"""Receiving: records/s and CPU time a record of a log that is there, from the first record on; `join_ms` until then."""

from __future__ import annotations

from typing import Any

from bench.case import Case, ServerKind, both, pure, with_more
from bench.produce import COMPRESSIONS, PARTITIONS, SIZES

RECORDS = 500_000
AT_ONCE = 1000
# By default librdkafka stops fetching for a second when 100,000 records wait, which a fast reader has had long before.
TUNED = {"queued.min.messages": 1_000_000, "fetch.queue.backoff.ms": 0}


def cases() -> list[Case]:
    """Those of the targets, then with --full sizes, partitions and compression."""
    targets = [
        *_both("consume"),
        *_both("poll", at_once=0),
        pure(_both("consume")[0]),
        pure(_both("poll", at_once=0)[0]),
        _both("consume-tuned", conf=TUNED)[1],
        _both("poll-tuned", at_once=0, conf=TUNED)[1],
        _both("64-partitions", partitions=64)[0],
        _peer("getmany", "aiokafka", "kafka", "aio_kafka:consume", records=100_000, at_once=AT_ONCE),
        _peer("one-by-one", "redis-py", "redis", "redis_py:read", records=10_000, at_once=1),
        _peer("read-1000", "redis-py", "redis", "redis_py:read", records=100_000, at_once=AT_ONCE),
        _peer("one-by-one", "faststream", "redis", "fast_stream:subscribe", records=5_000),
    ]
    return with_more(targets, _full())


def _full() -> list[Case]:
    found: list[Case] = []
    for name, at_once in (("consume", AT_ONCE), ("poll", 0)):
        for size, values, records in SIZES:
            found += _both(f"{name}-{size}", values=values, records=records, at_once=at_once, full=True)
    for partitions in PARTITIONS:
        found += _both(f"{partitions}-partitions", partitions=partitions, full=True)
    for compression in COMPRESSIONS:
        found += _both(
            f"consume-json-{compression}", values="json", records=50_000, compression=compression, full=True
        )
    return found


def _both(
    name: str, *, full: bool = False, records: int = RECORDS, at_once: int = AT_ONCE, **arguments: Any
) -> list[Case]:
    function = "bench.peers.kafka_api:consume"
    return both("consume", name, function, full=full, records=records, at_once=at_once, **arguments)


def _peer(name: str, subject: str, server: ServerKind, function: str, **arguments: Any) -> Case:
    return Case(
        chapter="consume",
        name=name,
        subject=subject,
        server=server,
        function=f"bench.peers.{function}",
        arguments=arguments,
    )
