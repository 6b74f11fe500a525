"""Memory: of Redis a record, and of a client at rest and loaded."""

from __future__ import annotations

import resource
import sys
from importlib import import_module
from typing import Any

import psutil

from bench.case import Case, Figures, both
from bench.records import Records, chunked, json_orders, random_records, turns
from bench.topic import new_topic

RANDOM, ORDERS, LOADED = 200_000, 20_000, 300_000
MB = 1_000_000


def cases() -> list[Case]:
    """Redis with random values and with orders, an entry a record beside it; then clients."""
    return [
        _redis("random-100", "streamadapter", records=RANDOM, values="100"),
        _redis("random-100", "redis-py", records=RANDOM, values="100"),
        _redis("json", "streamadapter", records=ORDERS, values="json"),
        _redis("json-lz4", "streamadapter", records=ORDERS, values="json", compression="lz4"),
        _redis("json-zstd", "streamadapter", records=ORDERS, values="json", compression="zstd"),
        _redis("json", "redis-py", records=ORDERS, values="json"),
        *both("memory", "client", "bench.memory:client", records=LOADED),
    ]


def _redis(name: str, subject: str, **arguments: Any) -> Case:
    return Case(
        chapter="memory",
        name=name,
        subject=subject,
        server="redis",
        function="bench.memory:redis" if subject == "streamadapter" else "bench.memory:redis_bare",
        arguments=arguments,
        rounds=1,  # the same each time
    )


def redis(url: str, records: int, values: str, compression: str = "none") -> Figures:
    """Produced with the default configuration to 4 partitions; everything that Redis then holds for it counts."""
    from bench.peers import kafka_api

    sent = _distinct(values, records)
    with new_topic(url, 4) as topic:
        before = _data_bytes(url)
        kafka_api.fill("streamadapter", url, topic, sent, records, compression)
        return _figures(_data_bytes(url) - before, sent, records)


def redis_bare(url: str, records: int, values: str) -> Figures:
    """One entry a record in one stream, with Redis' default size of a stream's nodes."""
    from bench.peers import redis_py

    sent = _distinct(values, records)
    before = _data_bytes(url)
    redis_py.add_all(redis_py.connect(url), chunked(sent.pairs()), records)
    return _figures(_data_bytes(url) - before, sent, records)


def _distinct(values: str, records: int) -> Records:
    """No record comes twice, or compression would look better than it is."""
    return json_orders(records) if values == "json" else random_records(int(values), records)


def _data_bytes(url: str) -> int:
    """What Redis holds, without buffers of clients and of the append-only file, which come and go."""
    from bench.peers import redis_py

    info: Any = redis_py.connect(url).info("memory")
    return int(info["used_memory_dataset"])


def _figures(size: int, sent: Records, records: int) -> Figures:
    payload = sent.key_bytes(records) + sent.value_bytes(records)
    return {"bytes_per_record": size / records, "payload_bytes": payload / records}


def client(url: str, client: str, records: int) -> Figures:
    """Resident MB of a process: the interpreter, with the module, with a producer and a consumer, and at its peak.

    The peak is of producing as fast as the default queue lets it, then reading all of it.
    """
    sent = random_records(100)
    figures = {"interpreter_mb": _resident_mb()}
    module = import_module(client)
    figures["import_mb"] = _resident_mb()
    with new_topic(url, 4) as topic:
        p = module.Producer({"bootstrap.servers": url})
        c = module.Consumer({"bootstrap.servers": url, "group.id": topic, "auto.offset.reset": "earliest"})
        c.subscribe([topic])
        p.produce(topic, b"first", b"first")
        p.flush(30)
        _read(c, 1)
        figures["rest_mb"] = _resident_mb()
        for chunk in turns(chunked(sent.pairs()), records):
            for value, key in chunk:
                while True:
                    try:
                        p.produce(topic, value, key)
                        break
                    except BufferError:
                        p.poll(0.1)
        p.flush(60)
        _read(c, records)
        figures["loaded_mb"] = _peak_mb()
        c.close()
    return figures


def _read(c: Any, records: int) -> None:
    while records:
        messages = c.consume(min(1000, records), 30)
        if not messages:
            raise RuntimeError(f"{records} records did not come within 30 s")
        records -= len(messages)


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / MB


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak * 1024 / MB
