"""`streamstore demo`: the five services at work, and one of them stopped and started again half-way.

Everything lives in a temporary directory: the embedded server, the databases, the outbox.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from streamstore.app import CONSUMERS, SERVICES, ensure_topics
from streamstore.orders import Order
from streamstore.replaying.observer import Observer, observing
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.progress import View, progress_view
from streamstore.replaying.replay import (
    chunks,
    report_on,
    report_table,
    services_table,
    start_services,
    wait_until_arrived,
)
from streamstore.replaying.sample import SAMPLE
from streamstore.running.fleet import Processes
from streamstore.settings import Settings, load_settings

PAUSED = "billing"  # the service that takes a break
STEP = 5  # orders handed over at once ...
STEP_SECONDS = 0.1  # ... and the time between: slow enough to watch


def demo(console: Console) -> None:
    """Play it, print the tables, leave nothing behind. Raises what a replay raises."""
    began = time.monotonic()
    with _temporary_shop() as settings:
        file = read_orders(SAMPLE)
        console.print("Starting the embedded server and five services, each a process of its own ...")
        ensure_topics(settings)
        with observing(settings) as observer, Processes(settings) as fleet:
            start_services(fleet, SERVICES)
            with progress_view(console, len(file.orders)) as view:
                rest = _play(file.orders, observer, fleet, view, settings.patience_seconds)
                rush = time.monotonic()
                observer.submit(rest)
                last = wait_until_arrived(observer, fleet, view, settings.patience_seconds)
                rush = time.monotonic() - rush
            report = report_on(file, observer, "embedded", time.monotonic() - began)
        pace = f"{len(rest) / rush:,.0f} (last {len(rest)}, at full speed)"
        console.print(report_table(report, pace), services_table(last, report))


def _play(
    orders: Sequence[Order], observer: Observer, fleet: Processes, view: View, patience: float
) -> Sequence[Order]:
    """The slow part; returns the orders that are left for the quick one."""
    first, second = len(orders) * 4 // 10, len(orders) * 7 // 10
    _stroll(orders[:first], observer, fleet, view)
    wait_until_arrived(observer, fleet, view, patience)
    view.note(f"SIGTERM to {PAUSED}: it commits, leaves its group and ends; the others go on")
    fleet.stop(PAUSED)
    _stroll(orders[first:second], observer, fleet, view)
    others = [name for name in CONSUMERS if name != PAUSED]
    now = wait_until_arrived(
        observer, fleet, view, patience, lambda now: all(now.handled[name] == now.events for name in others)
    )
    view.note(f"{PAUSED} is started again, {now.events - now.handled[PAUSED]} orders behind")
    began = time.monotonic()
    start_services(fleet, [PAUSED])
    wait_until_arrived(observer, fleet, view, patience)
    view.note(f"{PAUSED} has caught up in {time.monotonic() - began:.1f} s; now the rest at full speed")
    return orders[second:]


def _stroll(orders: Sequence[Order], observer: Observer, fleet: Processes, view: View) -> None:
    """Hand orders over a few at a time."""
    for step in chunks(orders, STEP):
        observer.submit(step)
        view.update(observer.snapshot())
        fleet.check()
        time.sleep(STEP_SECONDS)


@contextmanager
def _temporary_shop() -> Iterator[Settings]:
    """A directory with a config file in it, which this process and its children use."""
    with tempfile.TemporaryDirectory(prefix="streamstore-") as name:
        config = Path(name) / "streamadapter.toml"
        config.write_text(
            'backend = "embedded"\n[embedded]\npath = "log"\n[streamstore]\ndata_dir = "shop"\n'
        )
        os.environ["STREAMADAPTER_CONFIG"] = str(config)
        yield load_settings({"data_dir": "shop"}, Path(name))
