"""Keeps a shop's processes running: starts them, restarts what crashes, scales and stops them.

What to do is decided in `plan.py`; here is the thread that does it, every 50 ms and when a command comes. The
plan and the children belong to one lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Condition, Thread
from types import TracebackType
from typing import Self

from streamstore.running.child import Child
from streamstore.running.locks import is_running
from streamstore.running.plan import Action, Plan, Verb
from streamstore.settings import Settings

log = logging.getLogger(__name__)

TRAFFIC = "traffic"  # a supervised process beside the services: `streamstore traffic`
LOOK_SECONDS = 0.05
HURRY_SECONDS = 2.0
CLOSE_SECONDS = 30.0  # more than any process may take to leave


class UnknownServiceError(LookupError):
    """There is no such service in this shop."""


class NotPossibleError(RuntimeError):
    """The command does not fit the state things are in; the text says why."""


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One process of a service, or the place for it."""

    id: str
    pid: int | None
    state: str  # running, starting, waiting (to be started again) or stopped

    @property
    def up(self) -> bool:
        """Whether it is at work."""
        return self.state == "running"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service with its instances, in the order of their numbers."""

    name: str
    restarts: int  # after ends that nobody here asked for
    instances: tuple[InstanceStatus, ...]

    @property
    def up(self) -> bool:
        """Whether any instance is at work."""
        return any(instance.up for instance in self.instances)


class Supervisor:
    """A context manager; leaving it stops all. Thread-safe; commands return before they have taken effect.

    `counts` says how many instances of each service there are to be. Commands raise UnknownServiceError, and
    NotPossibleError. `notices` gets a line for everything that somebody should know.
    """

    def __init__(self, settings: Settings, counts: Mapping[str, int]) -> None:
        self.notices: SimpleQueue[str] = SimpleQueue()
        self._settings = settings
        self._plan = Plan(counts, time.monotonic())
        self._children: dict[str, Child] = {}
        self._changed = Condition()  # its lock guards all of the above
        self._closing = False
        self._thread = Thread(target=self._work, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def log_path(self, instance_id: str) -> Path:
        """Where an instance's output goes."""
        return self._settings.data_dir / "logs" / f"{instance_id}.log"

    @property
    def names(self) -> list[str]:
        """All that it supervises."""
        return self._plan.names

    def statuses(self) -> list[ServiceStatus]:
        """All services as they are now."""
        with self._changed:
            return [
                ServiceStatus(
                    view.name,
                    view.restarts,
                    tuple(InstanceStatus(id_, self._pid(id_), state) for id_, state in view.instances),
                )
                for view in self._plan.views()
            ]

    def scale(self, name: str, count: int) -> None:
        """So many instances; what is stopped is started."""
        with self._commanded(name) as plan:
            plan.scale(name, count, time.monotonic())
        self.notices.put(f"{name}: scaled to {count}")

    def start(self, name: str) -> None:
        """As many instances as before it was stopped, at least one."""
        with self._commanded(name) as plan:
            plan.start(name, time.monotonic())
        self.notices.put(f"{name}: started")

    def stop(self, name: str) -> None:
        """SIGTERM to all instances, which stay down."""
        with self._commanded(name) as plan:
            plan.stop(name)
        self.notices.put(f"{name}: stopped")

    def kill(self, name: str) -> str:
        """SIGKILL to one instance, which is started again; returns its id."""
        with self._commanded(name) as plan:
            victims = [id_ for id_ in plan.alive(name) if id_ in self._children]
            if not victims:
                raise NotPossibleError(f"{name} has no process to kill")
            self._children[victims[0]].kill()
            return victims[0]

    def is_idle(self, name: str) -> bool:
        """Whether the service, once told to stop, has left."""
        with self._changed:
            return self._plan.is_idle(name)

    @property
    def has_left(self) -> bool:
        """Whether all processes have ended after `leave`."""
        return not self._thread.is_alive()

    def leave(self) -> None:
        """Begin to stop all; no command is taken from now on."""
        with self._changed:
            self._closing = True
            self._plan.stop_all()
            self._changed.notify_all()

    def hurry(self) -> None:
        """As `leave`, and what has not left within two seconds is killed."""
        with self._changed:
            self._closing = True
            self._plan.stop_all()
            self._act(time.monotonic())
            self._plan.hurry(time.monotonic() + HURRY_SECONDS)

    def close(self) -> None:
        """Stop all, and wait until they have left. Idempotent."""
        self.leave()
        self._thread.join(CLOSE_SECONDS)

    @contextmanager
    def _commanded(self, name: str) -> Iterator[Plan]:
        """The plan, locked for one command about that service."""
        with self._changed:
            if name not in self._plan.names:
                raise UnknownServiceError(f"there is no service {name!r} in this shop")
            if self._closing:
                raise NotPossibleError("the shop is closing")
            yield self._plan
            self._act(time.monotonic())

    def _pid(self, instance_id: str) -> int | None:
        child = self._children.get(instance_id)
        return None if child is None else child.pid

    def _work(self) -> None:
        with self._changed:
            while not (self._closing and not self._children):
                now = time.monotonic()
                self._reap(now)
                self._act(now)
                self._changed.notify_all()
                self._changed.wait(LOOK_SECONDS)

    def _reap(self, now: float) -> None:
        for id_, child in [*self._children.items()]:
            status = child.status()
            if status is not None:
                del self._children[id_]
                self._ended(id_, _how(status, child), now)
        for id_ in self._plan.starting():
            if is_running(self._settings.data_dir, id_):
                self._plan.came_up(id_)

    def _ended(self, instance_id: str, how: str, now: float) -> None:
        delay = self._plan.ended(instance_id, now)
        if delay is not None:
            self.notices.put(f"{instance_id} {how}; starting it again in {delay:.1f} s")

    def _act(self, now: float) -> None:
        for action in self._plan.due(now):
            if action.verb is Verb.START:
                self._start(action, now)
            elif action.verb is Verb.TERMINATE:
                self._children[action.instance].terminate()
            else:
                self.notices.put(f"{action.instance} does not leave and is killed")
                self._children[action.instance].kill()

    def _start(self, action: Action, now: float) -> None:
        name = action.instance.rpartition("-")[0]
        arguments = [TRAFFIC] if name == TRAFFIC else ["run", name]
        environment = {
            "STREAMSTORE_INSTANCE": action.instance,
            "STREAMSTORE_ARCHITECTURE": self._settings.architecture,
            "STREAMSTORE_PORT": str(self._settings.port),
        }
        try:
            child = Child(arguments, self.log_path(action.instance), environment)
        except OSError as error:  # no more processes, a full disk: it may go later
            self._ended(action.instance, f"could not be started: {error}", now)
        else:
            self._children[action.instance] = child


def _how(status: int, child: Child) -> str:
    """A signal says all; a status is explained in the log."""
    if status < 0:
        return f"was killed by signal {-status}"
    return f"ended with status {status}: {child.last_words()}"
