"""Locks on files that end with their holder, however it ends: flock(2) on a local file system.

A flock belongs to an open file description, which a forked child shares. Children therefore let go of all of
them at once (`_after_fork`), and need their own; a lock that is handed to a server is shared on purpose.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_POLL_S = 0.01
_open_locks: set[FileLock] = set()


class FileLock:
    """A held lock on the file `name` in an open directory. OSError from any method: the file system's own."""

    def __init__(self, directory: int, name: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(name, flags, 0o600, dir_fd=directory)
        _open_locks.add(self)

    @classmethod
    def attempt(cls, directory: int, name: str, *, shared: bool = False) -> FileLock | None:
        """The lock, or None if somebody else has it."""
        lock = cls(directory, name)
        try:
            fcntl.flock(lock._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.hand_over()
            return None
        except BaseException:
            lock.hand_over()
            raise
        return lock

    @classmethod
    def acquire(cls, directory: int, name: str, timeout_s: float, *, shared: bool = False) -> FileLock:
        """The lock, as soon as it is free; TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while (lock := cls.attempt(directory, name, shared=shared)) is None:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{name} was locked for {timeout_s:g} s")
            time.sleep(_POLL_S)
        return lock

    @property
    def held(self) -> bool:
        """False once released, and in a process forked since."""
        return self._fd >= 0

    def fileno(self) -> int:
        """To pass to a child process, which then holds the lock too."""
        return self._fd

    def release(self) -> None:
        """Unlock, for every process that shares the lock; idempotent."""
        if self.held:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            self.hand_over()

    def hand_over(self) -> None:
        """Close without unlocking: another process that shares the lock keeps it; idempotent."""
        _open_locks.discard(self)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _after_fork() -> None:
    for lock in list(_open_locks):
        lock.hand_over()


os.register_at_fork(after_in_child=_after_fork)
