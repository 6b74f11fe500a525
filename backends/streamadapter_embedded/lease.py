"""A store's share in the server of a data directory: the first starts it, the last one shuts it down."""

from __future__ import annotations

import atexit
from contextlib import contextmanager
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from streamadapter.errors import StoreError
from streamadapter_embedded.directory import (
    KEEP,
    TRANSITION_LOCK,
    USERS_LOCK,
    DataDirectory,
    Target,
    file_errors,
)
from streamadapter_embedded.locks import FileLock
from streamadapter_embedded.server import (
    START_TIMEOUT_S,
    STARTS,
    STOP_TIMEOUT_S,
    ensure_running,
    failed,
    is_alive,
    is_loaded,
    shut_down,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TRANSITION_TIMEOUT_S = START_TIMEOUT_S + STOP_TIMEOUT_S

_leases: set[Lease] = set()


@contextmanager
def transition(directory: DataDirectory) -> Iterator[None]:
    """Alone, among all processes and threads, in starting, joining, leaving and stopping. StoreError."""
    with file_errors(directory.path):
        try:
            lock = FileLock.acquire(directory.fd, TRANSITION_LOCK, TRANSITION_TIMEOUT_S)
        except TimeoutError as error:
            raise StoreError(
                KafkaError._TIMED_OUT,
                f"another process has been starting or stopping the server of {directory.path} "
                f"for {TRANSITION_TIMEOUT_S:g} s",
                retriable=True,
            ) from error
    with lock:
        yield


def in_use(directory: DataDirectory) -> bool:
    """Whether any store is open. Reliable under `transition` only."""
    with file_errors(directory.path):
        lock = FileLock.attempt(directory.fd, USERS_LOCK)
    if lock is None:
        return True
    lock.release()
    return False


class Lease:
    """Keeps the server running until released; thread-safe. `socket` is where it listens.

    The kernel drops the lease of a process that is killed; a process that forgets to release it does so at exit.
    A forked child has none until it calls `revive`.
    """

    def __init__(self, target: Target) -> None:
        self._fsync = target.fsync
        self._directory = DataDirectory(target.path)
        self._users: FileLock | None = None
        self._released = False
        self.socket = self._directory.socket
        _leases.add(self)
        try:
            for _ in range(STARTS):
                self._join()
                if is_loaded(self._directory):
                    return
            raise failed(self._directory, self._directory.log_tail())
        except BaseException:
            self.release()
            raise

    def revive(self) -> None:
        """Start the server if it has died. Cheap if it has not; StoreError(retriable) if it cannot be started."""
        if self._released or (self._holds() and is_alive(self._directory)):
            return
        self._join()

    def release(self) -> None:
        """Shut the server down if nobody else needs it; idempotent.

        Never fails: at worst the server stays up, and the next client adopts it.
        """
        if self._released:
            return
        self._released = True
        _leases.discard(self)
        try:
            if self._holds():
                with transition(self._directory):
                    self._drop()
                    if not self._directory.exists(KEEP) and not in_use(self._directory):
                        shut_down(self._directory)
        except StoreError:
            pass  # as documented; the caller's own work is done and safe
        finally:
            self._drop()
            self._directory.close()

    def _join(self) -> None:
        with transition(self._directory):
            if self._released:
                return
            if not self._holds():
                with file_errors(self._directory.path):
                    self._users = FileLock.acquire(
                        self._directory.fd, USERS_LOCK, TRANSITION_TIMEOUT_S, shared=True
                    )
            ensure_running(self._directory, self._fsync)

    def _holds(self) -> bool:
        return self._users is not None and self._users.held

    def _drop(self) -> None:
        if self._users is not None:
            self._users.release()


@atexit.register
def _release_all() -> None:
    for lease in list(_leases):
        lease.release()
