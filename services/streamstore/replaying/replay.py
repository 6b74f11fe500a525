"""Replays an order file through the services, waits until all of it has arrived, and reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from streamstore.app import SERVICES, ensure_topics
from streamstore.database import is_transient, persistently
from streamstore.orders import Order
from streamstore.replaying.observer import Observer, Snapshot, observing
from streamstore.replaying.online_retail import OrderFile, read_orders, write_rejects
from streamstore.replaying.progress import View, progress_view
from streamstore.replaying.report import Report
from streamstore.running.fleet import Fleet
from streamstore.settings import Settings

T = TypeVar("T")

CHUNK = 500  # orders handed over in one transaction
LOOK_SECONDS = 0.1  # between two looks at the progress; or longer, if a look takes long
START_SECONDS = 30.0


class ReplayError(RuntimeError):
    """Not everything arrived; the text says what is missing where."""


def replay(
    path: Path, settings: Settings, backend: str, fleet: Fleet, console: Console
) -> tuple[Report, Snapshot]:
    """Publish every order of a file and wait until every service has handled it.

    Starts the services that are not running, and leaves stopping them to the fleet's owner. Raises ReplayError
    if they make no progress for `patience_seconds`, and what reading the file, reaching the server and the
    fleet raise; a database's error if it is away at the start, or later for as long.
    """
    patience = settings.patience_seconds
    file = read_orders(path)
    if file.rejects:
        rejects = settings.data_dir / "rejects" / f"{path.stem}.csv"
        write_rejects(rejects, file.rejects)
        console.print(f"{len(file.rejects)} of {file.rows} rows rejected: {rejects}", soft_wrap=True)
    ensure_topics(settings)
    with observing(settings) as observer:
        start_services(fleet, SERVICES)
        with progress_view(console, len(file.orders)) as view:
            began = time.monotonic()
            for chunk in chunks(file.orders, CHUNK):
                _patiently(partial(observer.submit, chunk), patience)
                view.update(_patiently(observer.snapshot, patience))
            last = wait_until_arrived(observer, fleet, view, patience)
            seconds = time.monotonic() - began
        return _patiently(partial(report_on, file, observer, backend, seconds), patience), last


def report_on(file: OrderFile, observer: Observer, backend: str, seconds: float) -> Report:
    """The report on a file all of whose orders were handed over."""
    cancellations = sum(order.is_cancellation for order in file.orders)
    return observer.report(backend, file.rows, len(file.rejects), cancellations, seconds)


def start_services(fleet: Fleet, names: Iterable[str]) -> None:
    """Start what is not running, and wait until all are up. Raises ServiceError, ReplayError."""
    names = list(names)
    for name in names:
        if not fleet.is_up(name):
            fleet.start(name)
    deadline = time.monotonic() + START_SECONDS
    while missing := [name for name in names if not fleet.is_up(name)]:
        fleet.check()
        if time.monotonic() > deadline:
            raise ReplayError(f"{', '.join(missing)} did not start within {START_SECONDS:.0f} s")
        time.sleep(0.02)


def wait_until_arrived(
    observer: Observer,
    fleet: Fleet,
    view: View,
    patience: float,
    arrived: Callable[[Snapshot], bool] = lambda now: now.arrived,
) -> Snapshot:
    """Look again and again until `arrived`; returns the last look.

    Raises ReplayError after `patience` seconds without any progress, or at once for an order that can never be
    delivered; ServiceError; a database's error if it is away for so long.
    """
    watch = _Patience(patience)
    while True:
        looked = time.monotonic()
        now = _patiently(observer.snapshot, patience)
        view.update(now)
        if arrived(now):
            return now
        fleet.check()
        for event, reason in _patiently(observer.refusals, patience).items():
            raise ReplayError(f"{event} cannot be delivered: {reason}")
        if watch.is_over(now):
            raise ReplayError(f"no progress for {patience:.0f} s: {_missing(now)}")
        # A look reads every mark: with many, it must not keep the services from writing them.
        time.sleep(max(LOOK_SECONDS, 2 * (time.monotonic() - looked)))


def _patiently(action: Callable[[], T], patience: float) -> T:
    """The action's result; while a database is away it is repeated, for `patience` seconds at most."""
    deadline = time.monotonic() + patience

    def passing(error: Exception) -> bool:
        return is_transient(error) and time.monotonic() < deadline

    return persistently(action, "replay", Event(), passing)


class _Patience:
    """Runs out when nothing got better for so many seconds: more accepted or handled, or a smaller lag."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._done = -1
        self._lag: int | None = None
        self._since = time.monotonic()

    def is_over(self, now: Snapshot) -> bool:
        done = now.accepted + sum(now.handled.values())
        lag = None if now.lag is None else sum(now.lag.values())
        if done > self._done:
            self._done, self._lag = done, lag
            self._since = time.monotonic()
        elif lag is not None and (self._lag is None or lag < self._lag):
            self._lag = lag
            self._since = time.monotonic()
        return time.monotonic() - self._since > self._seconds


def _missing(now: Snapshot) -> str:
    parts = []
    if now.lag is None:
        parts.append("the server cannot be reached, or the topic is gone")
    if now.accepted < now.events:
        parts.append(f"order has {now.events - now.accepted} of {now.events} orders still to publish")
    for name, count in now.handled.items():
        lag = now.lag[name] if now.lag else 0
        if count < now.events or lag:
            parts.append(f"{name} has handled {count} of {now.events}, lag {lag}")
    return "; ".join(parts)


def chunks(orders: Sequence[Order], size: int) -> Iterable[Sequence[Order]]:
    """The orders in pieces of at most `size`."""
    return (orders[start : start + size] for start in range(0, len(orders), size))


def report_table(report: Report, pace: str | None = None) -> Table:
    """The report for people; `pace` says events/s when the whole run's would mislead."""
    events = report.orders + report.cancellations
    table = Table(title=f"StreamStore on {report.backend}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("rows", f"{report.rows:,} ({report.rows_rejected:,} rejected)")
    table.add_row("orders", f"{report.orders:,}")
    table.add_row("cancellations", f"{report.cancellations:,}")
    table.add_row("events/s", pace or f"{events / report.seconds:,.0f} ({report.seconds:.2f} s)")
    table.add_row(
        "invoices, credit notes", f"{report.billing['invoices']:,}, {report.billing['credit_notes']:,}"
    )
    table.add_row("billed", str(report.billing["total"]))
    table.add_row("revenue", str(report.analytics["revenue"]))
    table.add_row("units", f"{report.inventory['units']:,}")
    table.add_row("confirmations sent", f"{report.notification['sent']:,}")
    table.add_row("guests, no confirmation", f"{report.notification['skipped_no_customer']:,}")
    return table


def services_table(now: Snapshot, report: Report) -> Table:
    """Each consumer's share for people."""
    table = Table(title="Services", title_justify="left")
    for heading in ("service", "processed", "lag", "duplicates"):
        table.add_column(heading, justify="left" if heading == "service" else "right")
    for name, count in now.handled.items():
        lag = now.lag[name] if now.lag else 0
        table.add_row(name, f"{count:,}", f"{lag:,}", f"{report.duplicates[name]:,}")
    return table
