"""Location updates a second: through the adapter with the database written in batches, and straight into it.

    python loadtests/locations.py                    # a table
    python loadtests/locations.py --json out.json    # and a file for machines

Through the adapter: processes publish single updates, keyed by courier, to one embedded server, each waiting for the
acknowledgement of each; the service `delivery_tracking` runs in a process of its own meanwhile and writes SQLite.
`accepted/s` counts to the last acknowledgement, `in the database/s` to the last committed row. Directly: one process
commits to the same tables of the same database, synced at each commit, an update or a request of them at a time.
After each measurement the rows are counted: all there, none twice.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import sqlalchemy as sa
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from streamadapter import Producer
from streamadapter_embedded import server_control
from streamstore.app import ensure_topics
from streamstore.database import Database
from streamstore.delivery_tracking import METADATA, NAME
from streamstore.delivery_tracking.locations import HISTORY, Location, encode
from streamstore.settings import Settings, load_settings
from streamstore.streaming.history import append, prepare, read_positions

COURIERS = 1000
REQUEST = 100  # updates of one HTTP request
WAIT_SECONDS = 120.0
Figures = dict[str, float]


def update(number: int) -> Location:
    return Location(f"courier-{number % COURIERS}", 51.5 + number % 97 / 1000, -0.12, number)


def through_the_adapter(settings: Settings, updates: int, processes: int) -> Figures:
    ensure_topics(settings)
    database = Database(settings.database_url(NAME), METADATA)
    service = subprocess.Popen(
        [sys.executable, "-m", "streamstore", "run", NAME, "--no-http"],
        stderr=(settings.data_dir / "service.log").open("wb"),
    )
    try:
        context = multiprocessing.get_context("spawn")
        start, ends = context.Barrier(processes + 1), context.Queue()
        shares = [range(number, updates, processes) for number in range(processes)]
        workers = [
            context.Process(target=publish, args=(settings.locations_topic, share, start, ends))
            for share in shares
        ]
        for worker in workers:
            worker.start()
        await_joined(settings)
        start.wait(WAIT_SECONDS)
        began = time.time()
        while stored(database) < updates:
            assert time.time() < began + WAIT_SECONDS, f"{stored(database)} of {updates} in the database"
            time.sleep(0.02)
        done = time.time()
        accepted = max(ends.get(timeout=WAIT_SECONDS) for _ in workers)
        for worker in workers:
            worker.join(WAIT_SECONDS)
    finally:
        service.terminate()
        service.wait(WAIT_SECONDS)
    check(database, updates)
    return {"accepted": updates / (accepted - began), "stored": updates / (done - began)}


def publish(topic: str, numbers: range, start: Any, ends: Any) -> None:
    """One process: every update is produced on its own and acknowledged."""
    delivered = 0

    def count(error: Any, _: Any) -> None:
        nonlocal delivered
        assert error is None, error
        delivered += 1

    with Producer({"acks": "all", "enable.idempotence": True}) as producer:
        producer.list_topics(topic, 10)
        start.wait(WAIT_SECONDS)
        for number in numbers:
            location = update(number)
            value = encode(location)
            while True:
                try:
                    producer.produce(topic, value, location.courier, on_delivery=count)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        assert producer.flush(WAIT_SECONDS) == 0
        ends.put(time.time())
    assert delivered == len(numbers)


def directly(request: int) -> Callable[[Settings, int, int], Figures]:
    def measure(settings: Settings, updates: int, _processes: int) -> Figures:
        database = Database(settings.database_url(NAME), METADATA)
        prepare(database, HISTORY, settings.partitions)
        count = min(updates, 2000 * request)  # it is slow: a rate needs no more
        entries = [
            (each.courier, (each.latitude, each.longitude, each.at)) for each in map(update, range(count))
        ]
        began = time.time()
        for first in range(0, count, request):
            with database.write() as connection:
                chunk = entries[first : first + request]
                append(connection, HISTORY, settings.partitions, int(time.time() * 1000), chunk)
        rate = count / (time.time() - began)
        check(database, count)
        return {"accepted": rate, "stored": rate}

    return measure


def await_joined(settings: Settings) -> None:
    """Until the service has its partitions, so that its start is not measured."""
    from streamadapter import AdminClient

    deadline = time.time() + WAIT_SECONDS
    with AdminClient({}) as admin:
        while True:
            group = admin.describe_consumer_groups([NAME])[NAME]
            try:
                members = group.result(10).members
                owned = sum(len(member.assignment.topic_partitions) for member in members)
            except Exception:  # noqa: BLE001 - the group does not exist yet
                owned = 0
            if owned == settings.partitions:
                return
            assert time.time() < deadline, "the service did not join its group"
            time.sleep(0.1)


def stored(database: Database) -> int:
    """As the service counts: offsets begin at 0 here."""
    with database.read() as connection:
        return sum(position.offset for position in read_positions(connection, HISTORY).values())


def check(database: Database, updates: int) -> None:
    """All there, none twice: each update's number is its time."""
    at = HISTORY.rows.c.at
    with database.read() as connection:
        rows, distinct = connection.execute(
            sa.select(sa.func.count(), sa.func.count(sa.distinct(at))).select_from(HISTORY.rows)
        ).one()
    database.close()
    assert rows == distinct == updates, f"{rows} rows, {distinct} of {updates} updates"


MEASUREMENTS: dict[str, tuple[str, str, Callable[[Settings, int, int], Figures]]] = {
    "adapter": ("through the adapter, embedded server syncs every second", "everysec", through_the_adapter),
    "adapter_synced": (
        "through the adapter, embedded server syncs every write",
        "always",
        through_the_adapter,
    ),
    "direct": ("directly, one update a transaction", "everysec", directly(1)),
    "direct_requests": (f"directly, {REQUEST} updates a transaction", "everysec", directly(REQUEST)),
}


def measure(name: str, updates: int, processes: int) -> Figures:
    """One measurement with a server and a database of its own."""
    _, fsync, run = MEASUREMENTS[name]
    with tempfile.TemporaryDirectory() as directory:
        url = f"embedded://{quote(directory)}/log?fsync={fsync}"
        config = Path(directory) / "streamadapter.toml"
        config.write_text(
            f'backend = "embedded"\n[embedded]\npath = "log"\nfsync = "{fsync}"\n[streamstore]\ndata_dir = "shop"\n'
        )
        (Path(directory) / "shop").mkdir()
        os.environ["STREAMADAPTER_CONFIG"] = str(config)
        try:
            return run(load_settings({"data_dir": "shop"}, Path(directory)), updates, processes)
        finally:
            if (Path(directory) / "log").exists():
                server_control.stop(url, force=True)


def report(medians: dict[str, Figures]) -> Table:
    table = Table(title="Location updates a second, median of all rounds")
    table.add_column("way")
    table.add_column("accepted/s", justify="right")
    table.add_column("in the database/s", justify="right")
    for name, figures in medians.items():
        table.add_row(
            MEASUREMENTS[name][0], *(f"{figures[column]:,.0f}" for column in ("accepted", "stored"))
        )
    return table


@click.command(epilog="Example: python loadtests/locations.py --rounds 5 --only adapter --only direct")
@click.option("--updates", default=200_000, show_default=True, help="Updates a measurement.")
@click.option("--rounds", default=3, show_default=True, help="Turns of each measurement.")
@click.option("--processes", default=2, show_default=True, help="That publish.")
@click.option("--only", multiple=True, type=click.Choice(list(MEASUREMENTS)), help="Just these (repeatable).")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write all figures to this file.")
def main(updates: int, rounds: int, processes: int, only: tuple[str, ...], output: Path | None) -> None:
    """Measure and print a table."""
    names = [name for name in MEASUREMENTS if not only or name in only]
    results: dict[str, list[Figures]] = {name: [] for name in names}
    console = Console(width=None if Console().is_terminal else 120)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("measuring", total=rounds * len(names))
        for _ in range(rounds):
            for name in names:
                progress.update(task, description=MEASUREMENTS[name][0])
                results[name].append(measure(name, updates, processes))
                progress.advance(task)
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in results.items()
    }
    console.print(report(medians))
    machine = {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in ("sqlalchemy", "redis", "msgspec")},
    }
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()))
    if output is not None:
        document = {"machine": machine, "updates": updates, "medians": medians, "rounds": results}
        output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
