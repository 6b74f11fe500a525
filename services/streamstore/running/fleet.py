"""Starts and stops services for a replay: as processes, or as threads where the log lives in one process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Event, Thread
from types import TracebackType
from typing import Protocol, Self

from streamstore.app import run_service
from streamstore.running.child import STOP_SECONDS, Child, end
from streamstore.running.locks import is_running
from streamstore.settings import Settings

log = logging.getLogger(__name__)

MAX_RESTARTS = 50  # of one service, after signals nobody here sent


class ServiceError(RuntimeError):
    """A service ended by itself; the text says which, how, and where its log is."""


class Fleet(Protocol):
    """Services under our care; `close` stops those that `start` started, and leaves all others alone."""

    def start(self, name: str) -> None:
        """Start one that is not running; returns before it is up."""
        ...

    def stop(self, name: str) -> None:
        """Ask one to leave cleanly and wait until it has."""
        ...

    def is_up(self, name: str) -> bool:
        """Whether it runs, started by us or by somebody else."""
        ...

    def check(self) -> None:
        """Start again what was killed. Raises ServiceError if one gave up by itself."""
        ...

    def close(self) -> None:
        """Stop all that were started here. Idempotent."""
        ...


class Processes:
    """Every service an operating-system process, its output in `<data_dir>/logs/<service>.log`."""

    def __init__(self, settings: Settings) -> None:
        self._data_dir = settings.data_dir
        self._children: dict[str, Child] = {}
        self._restarts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, name: str) -> None:
        """Start the process; `is_up` tells when it has taken its lock."""
        log_path = self._data_dir / "logs" / f"{name}.log"
        self._children[name] = Child(["run", name, "--no-http"], log_path)

    def stop(self, name: str) -> None:
        """SIGTERM, and SIGKILL if that does not help within 20 s."""
        end({name: self._children.pop(name)})

    def is_up(self, name: str) -> bool:
        """By its lock."""
        return is_running(self._data_dir, name)

    def check(self) -> None:
        """A signal is somebody's test or the system's doing, an exit status the service's own word."""
        for name, child in self._children.items():
            status = child.status()
            if status is None:
                continue
            if status >= 0 or self._restarts >= MAX_RESTARTS:
                raise ServiceError(f"{name} ended with status {status}: {child.last_words()}")
            log.warning("%s was killed by signal %d; starting it again", name, -status)
            self._restarts += 1
            self.start(name)

    def close(self) -> None:
        """Stop all of ours, at the same time."""
        children, self._children = self._children, {}
        end(children)

    def pid(self, name: str) -> int:
        """Of one of ours."""
        return self._children[name].pid


class Threads:
    """Every service a thread of this process: `memory://` logs are seen by one process only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads: dict[str, tuple[Thread, Event]] = {}
        self._failed: dict[str, BaseException] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, name: str) -> None:
        """Start the thread."""
        stop = Event()
        thread = Thread(target=self._run, args=(name, stop), name=f"streamstore-{name}", daemon=True)
        self._threads[name] = (thread, stop)
        thread.start()

    def stop(self, name: str) -> None:
        """Let it leave, and wait for it."""
        self._end([self._threads.pop(name)])

    def is_up(self, name: str) -> bool:
        """Whether the thread runs."""
        return name in self._threads and self._threads[name][0].is_alive()

    def check(self) -> None:
        """A thread ends by itself only by an exception."""
        for name, error in self._failed.items():
            raise ServiceError(f"{name} failed: {error}") from error

    def close(self) -> None:
        """Stop all."""
        threads, self._threads = [*self._threads.values()], {}
        self._end(threads)

    def _run(self, name: str, stop: Event) -> None:
        try:
            run_service(name, self._settings, stop, http=False)
        except BaseException as error:  # noqa: BLE001 - handed to whoever calls check()
            self._failed[name] = error

    @staticmethod
    def _end(threads: Sequence[tuple[Thread, Event]]) -> None:
        for _, stop in threads:
            stop.set()
        for thread, _ in threads:
            thread.join(STOP_SECONDS)
            if thread.is_alive():
                log.warning("%s did not leave within %.0f s", thread.name, STOP_SECONDS)
