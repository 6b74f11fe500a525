"""Locks on files, which end with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock on this file, against other processes. TimeoutError if it is not to be had in time."""
    deadline = time.monotonic() + timeout_s
    with path.open("a") as file:
        while not lock(file.fileno()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another process has held {path} for {timeout_s:.0f} s")
            time.sleep(0.05)
        yield


def lock(descriptor: int) -> bool:
    """Lock an open file, until its last duplicate is closed; false if somebody else has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
