"""The figures of this release: produce and consume beside raw redis-py and confluent_kafka, in one run.

    python loadtests/bench.py                    # a table
    python loadtests/bench.py --json out.json    # and a file for machines

Each measurement runs in a process of its own, turn by turn, several rounds; the table shows medians and ratios.
The server is a standalone redis-server with appendonly yes, appendfsync everysec, started for the run.
confluent_kafka's produce goes to librdkafka's mock cluster, which stores nothing and runs in the same process.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import redis
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from streamadapter import AdminClient, Consumer, Producer
from streamadapter.admin import NewTopic
from streamadapter.testing.servers import RedisServer

PARTITIONS = 4
VALUE_BYTES = 100
Figures = dict[str, float]

VALUES = [os.urandom(VALUE_BYTES) for _ in range(1000)]
KEYS = [b"customer-%03d" % i for i in range(1000)]


def new_topic(url: str) -> str:
    name = f"bench-{time.monotonic_ns()}"
    admin = AdminClient({"bootstrap.servers": url})
    admin.create_topics([NewTopic(name, PARTITIONS)])[name].result()
    return name


def producer(url: str, **conf: Any) -> Producer:
    return Producer({"bootstrap.servers": url, "queue.buffering.max.messages": 2_000_000, **conf})


def fill(url: str, records: int) -> str:
    topic = new_topic(url)
    with producer(url) as p:
        for start in range(0, records, 1000):
            p.produce_columns(topic, VALUES[: records - start], KEYS[: records - start])
        p.flush(60)
    return topic


def rate(records: int, started: float) -> Figures:
    return {"rate": records / (time.perf_counter() - started)}


# -- what is measured; each takes the server's URL and a number of records


def produce(url: str, records: int) -> Figures:
    topic = new_topic(url)
    p = producer(url)
    started = time.perf_counter()
    for i in range(records):
        p.produce(topic, VALUES[i % 1000], KEYS[i % 1000])
    assert p.flush(60) == 0
    return rate(records, started)


def produce_with_callback(url: str, records: int) -> Figures:
    topic = new_topic(url)
    p = producer(url)
    delivered = 0

    def count(error: Any, _: Any) -> None:
        nonlocal delivered
        assert error is None
        delivered += 1

    started = time.perf_counter()
    for i in range(records):
        p.produce(topic, VALUES[i % 1000], KEYS[i % 1000], on_delivery=count)
        if i % 1000 == 0:
            p.poll(0)
    assert p.flush(60) == 0
    assert delivered == records
    return rate(records, started)


def produce_columns(url: str, records: int) -> Figures:
    topic = new_topic(url)
    p = producer(url)
    started = time.perf_counter()
    for _ in range(0, records, 1000):
        p.produce_columns(topic, VALUES, KEYS)
    assert p.flush(60) == 0
    return rate(records, started)


def confluent_produce(_: str, records: int) -> Figures:
    import confluent_kafka

    p = confluent_kafka.Producer(
        {"test.mock.num.brokers": 1, "queue.buffering.max.messages": 2_000_000, "log_level": 0}
    )
    p.produce("bench", b"x", b"y")
    p.flush(10)
    started = time.perf_counter()
    for i in range(records):
        p.produce("bench", VALUES[i % 1000], KEYS[i % 1000])
    assert p.flush(60) == 0
    return rate(records, started)


def xadd_one_by_one(url: str, records: int) -> Figures:
    client = redis.Redis.from_url(url)
    started = time.perf_counter()
    for i in range(records // 20):
        client.xadd(f"raw-{i % PARTITIONS}", {"k": KEYS[i % 1000], "v": VALUES[i % 1000]})
    return rate(records // 20, started)


def xadd_pipelined(url: str, records: int) -> Figures:
    client = redis.Redis.from_url(url)
    count = records // 4
    started = time.perf_counter()
    for start in range(0, count, 500):
        pipeline = client.pipeline(transaction=False)
        for i in range(start, start + 500):
            pipeline.xadd(f"piped-{i % PARTITIONS}", {"k": KEYS[i % 1000], "v": VALUES[i % 1000]})
        pipeline.execute()
    return rate(count, started)


def _consumer(url: str, topic: str, **conf: Any) -> Consumer:
    c = Consumer({"bootstrap.servers": url, "group.id": topic, "auto.offset.reset": "earliest", **conf})
    c.subscribe([topic])
    return c


def consume(url: str, records: int) -> Figures:
    topic = fill(url, records)
    started = time.perf_counter()  # joining the group is part of it
    with _consumer(url, topic) as c:
        seen = 0
        while seen < records:
            seen += len(c.consume(min(10_000, records - seen), 30))
    return rate(records, started)


def poll(url: str, records: int) -> Figures:
    topic = fill(url, records)
    started = time.perf_counter()
    with _consumer(url, topic) as c:
        seen = 0
        while seen < records:
            seen += c.poll(30) is not None
    return rate(records, started)


def xread(url: str, records: int) -> Figures:
    client = redis.Redis.from_url(url)
    count = records // 10
    pipeline = client.pipeline(transaction=False)
    for i in range(count):
        pipeline.xadd("to-read", {"k": KEYS[i % 1000], "v": VALUES[i % 1000]})
    pipeline.execute()
    client.xgroup_create("to-read", "g", "0")
    started = time.perf_counter()
    seen = 0
    while seen < count:
        seen += sum(len(entries) for _, entries in client.xreadgroup("g", "c", {"to-read": ">"}, count=1000))
    return rate(count, started)


def memory(url: str, records: int) -> Figures:
    client = redis.Redis.from_url(url)
    client.flushall()
    before = client.info("memory")["used_memory"]
    fill(url, records)
    return {"bytes": (client.info("memory")["used_memory"] - before) / records}


def latency(url: str, records: int) -> Figures:
    """End to end at 1,000 records/s, linger 0: from before produce() to after poll(), in two processes."""
    topic = new_topic(url)
    count = min(records, 5000)
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    reader = context.Process(target=_receive, args=(url, topic, count, answers))
    reader.start()
    assert answers.get(timeout=30) == "ready"
    p = producer(url, **{"linger.ms": 0})
    began = time.monotonic()
    for i in range(count):
        while (left := began + i / 1000 - time.monotonic()) > 0:
            p.poll(left)
        p.produce(topic, time.monotonic_ns().to_bytes(8, "big").ljust(VALUE_BYTES, b"."), KEYS[i % 1000])
    p.flush(30)
    delays = sorted(answers.get(timeout=60))
    reader.join(30)
    return {"p50": delays[count // 2] / 1e6, "p99": delays[count * 99 // 100] / 1e6}


def latency_bare(url: str, records: int) -> Figures:
    """The same way without us: XADD in one process, a blocking XREAD in another."""
    count = min(records, 5000)
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    reader = context.Process(target=_read_bare, args=(url, count, answers))
    reader.start()
    assert answers.get(timeout=30) == "ready"
    client = redis.Redis.from_url(url)
    client.xadd("bare", {"v": 0})  # the first entry only connects both
    began = time.monotonic()
    for i in range(count):
        while (left := began + i / 1000 - time.monotonic()) > 0:
            time.sleep(left)
        client.xadd("bare", {"v": time.monotonic_ns().to_bytes(8, "big").ljust(VALUE_BYTES, b".")})
    delays = sorted(answers.get(timeout=60))
    reader.join(30)
    return {"p50": delays[count // 2] / 1e6, "p99": delays[count * 99 // 100] / 1e6}


def _read_bare(url: str, count: int, answers: Any) -> None:
    client = redis.Redis.from_url(url)
    last, delays = b"0-0", []
    answers.put("ready")
    last = client.xread({"bare": last}, block=4000)[0][1][-1][0]
    while len(delays) < count:
        for entry, fields in client.xread({"bare": last}, block=4000)[0][1]:
            last = entry
            delays.append(time.monotonic_ns() - int.from_bytes(fields[b"v"][:8], "big"))
    answers.put(delays)


def _receive(url: str, topic: str, count: int, answers: Any) -> None:
    with _consumer(url, topic) as c:
        while not c.assignment():
            c.poll(0.1)
        answers.put("ready")
        delays = []
        while len(delays) < count:
            message = c.poll(30)
            if message is not None:
                delays.append(time.monotonic_ns() - int.from_bytes(message.value()[:8], "big"))
    answers.put(delays)


MEASUREMENTS: dict[str, tuple[str, Callable[[str, int], Figures]]] = {
    "produce": ("produce(), keyed 100 B", produce),
    "produce_callback": ("produce() with a delivery callback", produce_with_callback),
    "produce_columns": ("produce_columns(), 1,000 a call", produce_columns),
    "confluent": ("confluent_kafka produce(), mock cluster", confluent_produce),
    "xadd": ("redis-py XADD, one by one", xadd_one_by_one),
    "xadd_pipelined": ("redis-py XADD, 500 a pipeline", xadd_pipelined),
    "consume": ("consume(10,000)", consume),
    "poll": ("poll(), one by one", poll),
    "xreadgroup": ("redis-py XREADGROUP, 1,000 a call", xread),
    "memory": ("Redis memory a record, 100 B and a 12 B key", memory),
    "latency": ("end to end at 1,000/s, linger 0", latency),
    "latency_bare": ("bare XADD to blocking XREAD at 1,000/s", latency_bare),
}


def _isolated(name: str, url: str, records: int, answers: Any) -> None:
    answers.put(MEASUREMENTS[name][1](url, records))


def measure(name: str, url: str, records: int) -> Figures:
    """One measurement in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    process = context.Process(target=_isolated, args=(name, url, records, answers))
    process.start()
    process.join(300)
    if process.exitcode != 0:
        raise click.ClickException(f"{name} failed with exit code {process.exitcode}")
    figures: Figures = answers.get(timeout=10)
    return figures


def report(medians: dict[str, Figures]) -> Table:
    table = Table(title="One process, median of all rounds")
    table.add_column("measurement")
    table.add_column("result", justify="right")
    table.add_column("of confluent_kafka", justify="right")
    table.add_column("of redis-py pipelined", justify="right")
    for name, figures in medians.items():
        label = MEASUREMENTS[name][0]
        if "rate" in figures:
            ratios = [
                f"{figures['rate'] / medians[peer]['rate']:.2f} x" if peer in medians else "-"
                for peer in ("confluent", "xadd_pipelined")
            ]
            table.add_row(label, f"{figures['rate']:,.0f} records/s", *ratios)
        elif "bytes" in figures:
            table.add_row(label, f"{figures['bytes']:.1f} bytes", "", "")
        else:
            table.add_row(label, f"p50 {figures['p50']:.2f} ms, p99 {figures['p99']:.2f} ms", "", "")
    return table


@click.command(epilog="Example: python loadtests/bench.py --rounds 5 --only produce --only confluent")
@click.option("--records", default=500_000, show_default=True, help="Records a measurement.")
@click.option("--rounds", default=3, show_default=True, help="Turns of each measurement.")
@click.option("--only", multiple=True, type=click.Choice(list(MEASUREMENTS)), help="Just these (repeatable).")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write all figures to this file.")
def main(records: int, rounds: int, only: tuple[str, ...], output: Path | None) -> None:
    """Measure and print a table."""
    names = [name for name in MEASUREMENTS if not only or name in only]
    results: dict[str, list[Figures]] = {name: [] for name in names}
    console = Console(width=None if Console().is_terminal else 120)
    options = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("measuring", total=rounds * len(names))
        for _ in range(rounds):
            for name in names:
                progress.update(task, description=MEASUREMENTS[name][0])
                with (
                    tempfile.TemporaryDirectory() as directory,
                    RedisServer(Path(directory), options) as server,
                ):
                    results[name].append(measure(name, server.url, records))
                progress.advance(task)
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in results.items()
    }
    console.print(report(medians))
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in ("redis", "hiredis", "confluent-kafka", "msgspec")},
    }
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()))
    if output is not None:
        document = {"machine": machine, "records": records, "medians": medians, "rounds": results}
        output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
