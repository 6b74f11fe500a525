"""Shows a replay's progress: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from streamstore.app import CONSUMERS
from streamstore.replaying.observer import Snapshot

LINE_SECONDS = 1.0  # between two lines where there is no terminal


class View(Protocol):
    """Where progress is shown."""

    def update(self, now: Snapshot) -> None:
        """Show how far things are."""
        ...

    def note(self, text: str) -> None:
        """Say something that stays visible."""
        ...


@contextmanager
def progress_view(console: Console, total: int) -> Iterator[View]:
    """A view of the progress towards `total` events, fit for the console."""
    if not console.is_terminal:
        yield _Lines(console, total)
        return
    with Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[lag]}"),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        yield _Bars(progress, total)


class _Bars:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._accepted = progress.add_task("[bold]orders accepted", total=total, lag="")
        self._handled: dict[str, TaskID] = {
            name: progress.add_task(name, total=total, lag="") for name in CONSUMERS
        }

    def update(self, now: Snapshot) -> None:
        self._progress.update(self._accepted, completed=now.accepted)
        for name, task in self._handled.items():
            lag = "" if now.lag is None else f"lag {now.lag[name]}"
            self._progress.update(task, completed=now.handled[name], lag=lag)

    def note(self, text: str) -> None:
        self._progress.console.print(text)


class _Lines:
    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._shown = 0.0
        self._last = ""

    def update(self, now: Snapshot) -> None:
        line = f"{now.accepted}/{self._total} orders accepted; handled: " + ", ".join(
            f"{name} {count}" for name, count in now.handled.items()
        )
        finished = now.arrived and now.events == self._total
        if line != self._last and (finished or time.monotonic() - self._shown >= LINE_SECONDS):
            self._console.print(line, highlight=False, soft_wrap=True)
            self._shown, self._last = time.monotonic(), line

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)
