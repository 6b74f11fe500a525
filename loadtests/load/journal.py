"""What happened, line by line: every request with its time, every order with its outcome.

Each process that makes load appends to a file of its own; whoever judges the run reads all of them. A line is
written before the user goes on, so an acknowledged order is on record even if Locust is killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

SAMPLE, ORDER, UNKNOWN = "S", "O", "U"


class Sample(NamedTuple):
    """One request: when it was sent (seconds since 1970), what, how long it took, and why it failed, if it did."""

    at: float
    name: str
    ms: float
    error: str


class Promise(NamedTuple):
    """What an acknowledged order or cancellation must have led to: cancellations count negatively."""

    units: int
    total: Decimal


@dataclass
class Record:
    """All journals of a run."""

    samples: list[Sample] = field(default_factory=list)  # by their time
    acknowledged: dict[str, Promise] = field(default_factory=dict)  # by event id
    unknown: set[str] = field(default_factory=set)  # event ids that were refused with their number (503)


class Journal:
    """One process's file."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = (directory / f"{os.getpid()}.journal").open("ab", buffering=0)

    def sample(self, at: float, name: str, ms: float, error: str) -> None:
        """A request and its answer."""
        self._write(SAMPLE, f"{at:.4f}", name, f"{ms:.3f}", " ".join(error.split()))

    def acknowledged(self, event_id: str, promise: Promise) -> None:
        """The shop has promised to do this."""
        self._write(ORDER, event_id, str(promise.units), format(promise.total, "f"))

    def unknown(self, event_id: str) -> None:
        """The shop said that it could not tell whether this will happen."""
        self._write(UNKNOWN, event_id)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, *fields: str) -> None:
        self._file.write(("\t".join(fields) + "\n").encode())


def read_journals(directory: Path) -> Record:
    """Everything that the processes of a run have written."""
    record = Record()
    for fields in _lines(directory):
        match fields:
            case [kind, at, name, ms, error] if kind == SAMPLE:
                record.samples.append(Sample(float(at), name, float(ms), error))
            case [kind, event_id, units, total] if kind == ORDER:
                record.acknowledged[event_id] = Promise(int(units), Decimal(total))
            case [kind, event_id] if kind == UNKNOWN:
                record.unknown.add(event_id)
            case _:
                raise ValueError(f"not a line of a journal: {fields}")
    record.samples.sort()
    return record


def count_acknowledged(directory: Path) -> int:
    """How many orders and cancellations are on record so far; for showing progress."""
    return sum((b"\n" + path.read_bytes()).count(b"\nO\t") for path in directory.glob("*.journal"))


def _lines(directory: Path) -> Iterator[list[str]]:
    for path in sorted(directory.glob("*.journal")):
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n").split("\t")
