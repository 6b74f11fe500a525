"""Which services run on this machine, over one data directory: a file lock each.

The kernel lets go of a lock the moment its process ends, however it ends; a group's membership would show a
killed service as alive until its session ends. Locks are shared: a service may run in several instances.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(data_dir: Path, service: str) -> Iterator[None]:
    """Be seen as running by `is_running` until the end of the block or of the process."""
    path = _path(data_dir, service)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def is_running(data_dir: Path, service: str) -> bool:
    """Whether any process on this machine is inside `running`."""
    try:
        with _path(data_dir, service).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


class TakenError(RuntimeError):
    """Another process is inside `alone`; the text is what it has to say."""


@contextmanager
def alone(data_dir: Path, name: str, text: str) -> Iterator[None]:
    """Be the only process inside, with a text for whoever comes next. Raises TakenError with the other's text."""
    path = _path(data_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TakenError(path.read_text()) from None
        file.truncate(0)
        file.write(text.encode())
        file.flush()
        yield


def text_of(data_dir: Path, name: str) -> str | None:
    """What the process inside `alone` has to say; None if there is none."""
    return _path(data_dir, name).read_text() if is_running(data_dir, name) else None


def _path(data_dir: Path, service: str) -> Path:
    return data_dir / "run" / f"{service}.lock"
