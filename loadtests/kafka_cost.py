"""What the adapter costs over bare confluent_kafka, on a real Kafka: the same program, the import changed.

    make kafka
    python loadtests/kafka_cost.py                       # a table; ratios are medians over the rounds
    python loadtests/kafka_cost.py --json - --rounds 15

Each measurement runs in a process of its own. A round goes bare, adapter, adapter, bare, so that neither has the warmer
broker, and the ratio is taken within the round, since the machine's speed changes between rounds. Consumers have
prefetched everything before the clock starts: librdkafka's fetching pauses for whole seconds, which would drown what is
to be seen here.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import streamadapter

PREFETCH_S = 2.0
VALUES = [os.urandom(100) for _ in range(1000)]
KEYS = [b"customer-%03d" % i for i in range(1000)]
SIDES: dict[str, ModuleType] = {"confluent_kafka": confluent_kafka, "streamadapter": streamadapter}


def new_topic(servers: str) -> str:
    name = f"cost-{time.monotonic_ns()}"
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(name, 4, config={"retention.ms": "600000"})])[name].result(60)
    return name


def producer(client: ModuleType, servers: str) -> Any:
    return client.Producer({"bootstrap.servers": servers, "queue.buffering.max.messages": 2_000_000})


def consumer(client: ModuleType, servers: str, topic: str, records: int) -> Any:
    with_records = producer(confluent_kafka, servers)
    for i in range(records):
        with_records.produce(topic, VALUES[i % 1000], KEYS[i % 1000])
    assert with_records.flush(120) == 0
    c = client.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 10_000_000,
            "queued.max.messages.kbytes": 1_000_000,
        }
    )
    c.subscribe([topic])
    while c.poll(1) is None:  # until it has joined
        pass
    time.sleep(PREFETCH_S)
    return c


def produce(client: ModuleType, servers: str, topic: str, records: int) -> float:
    p = producer(client, servers)
    p.list_topics(topic, 30)
    started = time.perf_counter()
    for i in range(records):
        p.produce(topic, VALUES[i % 1000], KEYS[i % 1000])
    assert p.flush(120) == 0
    return records / (time.perf_counter() - started)


def produce_with_callback(client: ModuleType, servers: str, topic: str, records: int) -> float:
    p = producer(client, servers)
    p.list_topics(topic, 30)
    delivered = 0

    def count(error: Any, _: Any) -> None:
        nonlocal delivered
        assert error is None
        delivered += 1

    started = time.perf_counter()
    for i in range(records):
        p.produce(topic, VALUES[i % 1000], KEYS[i % 1000], on_delivery=count)
        p.poll(0)
    assert p.flush(120) == 0
    assert delivered == records
    return records / (time.perf_counter() - started)


def poll(client: ModuleType, servers: str, topic: str, records: int) -> float:
    c = consumer(client, servers, topic, records)
    got = 1
    started = time.perf_counter()
    while got < records:
        if (message := c.poll(30)) is not None and not message.error():
            got += 1
    seconds = time.perf_counter() - started
    c.close()
    return records / seconds


def consume(client: ModuleType, servers: str, topic: str, records: int) -> float:
    c = consumer(client, servers, topic, records)
    got = 1
    started = time.perf_counter()
    while got < records:
        got += len(c.consume(min(1000, records - got), 30))
    seconds = time.perf_counter() - started
    c.close()
    return records / seconds


MEASURES: dict[str, Callable[[ModuleType, str, str, int], float]] = {
    "produce()": produce,
    "produce(on_delivery), poll(0)": produce_with_callback,
    "poll()": poll,
    "consume(1000)": consume,
}


def _measure(name: str, side: str, servers: str, records: int) -> float:
    return MEASURES[name](SIDES[side], servers, new_topic(servers), records)


@click.command()
@click.option(
    "--bootstrap-servers",
    default="127.0.0.1:9092",
    show_default=True,
    help="A Kafka; `make kafka` starts one.",
)
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1))
@click.option("--records", default=300_000, show_default=True, type=click.IntRange(1000))
@click.option(
    "--json", "json_path", type=click.Path(allow_dash=True, path_type=Path), help="Also write JSON (-: only)."
)
def main(bootstrap_servers: str, rounds: int, records: int, json_path: Path | None) -> None:
    """Throughput through streamadapter as a share of bare confluent_kafka's."""
    rates: dict[str, dict[str, list[float]]] = {name: {side: [] for side in SIDES} for name in MEASURES}
    spawn = multiprocessing.get_context("spawn")
    bare, ours = SIDES
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("measuring", total=rounds * len(MEASURES) * 4)
        for _ in range(rounds):
            for name in MEASURES:
                found: dict[str, list[float]] = {bare: [], ours: []}
                for side in (bare, ours, ours, bare):
                    with spawn.Pool(1) as pool:
                        found[side].append(pool.apply(_measure, (name, side, bootstrap_servers, records)))
                    progress.advance(task)
                for side in SIDES:
                    rates[name][side].append(statistics.mean(found[side]))
    rows = {
        name: {
            bare: statistics.median(found[bare]),
            ours: statistics.median(found[ours]),
            "ratio": statistics.median(b / a for a, b in zip(found[bare], found[ours], strict=True)),
        }
        for name, found in rates.items()
    }
    report = {
        "confluent_kafka": version("confluent-kafka"),
        "python": sys.version.split()[0],
        "records": records,
        "rounds": rounds,
        "rates": rows,
    }
    if json_path is not None:
        click.open_file(str(json_path), "w").write(json.dumps(report, indent=1) + "\n")
    if str(json_path) == "-":
        return
    table = Table(title=f"records/s, 100 B values, one process, medians of {rounds} rounds of {records:,}")
    for heading in ("", bare, ours, "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in rows.items():
        table.add_row(name, f"{row[bare]:,.0f}", f"{row[ours]:,.0f}", f"{row['ratio']:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
