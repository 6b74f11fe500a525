"""What a supervisor should do next: decisions only, without a process, a clock or a thread.

Commands say what is wanted, reports say what has happened, and `due` says what is to be done about the difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from streamstore.running.child import STOP_SECONDS

FIRST_DELAY = 0.1  # seconds before what crashed is started again; doubles ...
LONGEST_DELAY = 10.0  # ... up to this ...
STEADY_SECONDS = 10.0  # ... and begins anew once a process has run for so long


class Verb(StrEnum):
    """What can be done to an instance."""

    START = "start"
    TERMINATE = "terminate"
    KILL = "kill"


class Action(NamedTuple):
    """Something the supervisor has to do now; the plan takes it as done."""

    verb: Verb
    instance: str


@dataclass(slots=True)
class Instance:
    """One process of a service, or the place for it. Times are of a monotonic clock, in seconds."""

    id: str
    due: float  # when to start it, while it is wanted and not alive
    wanted: bool = True
    alive: bool = False  # there is a process
    up: bool = False  # it is at work
    since: float = 0.0  # when the process was started
    failures: int = 0  # crashes in a row
    deadline: float | None = None  # asked to leave; killed if still there by then

    @property
    def state(self) -> str:
        """`stopped`, `waiting` (to be started), `starting` or `running`."""
        if not self.wanted:
            return "stopped"
        if not self.alive or self.deadline is not None:
            return "waiting"
        return "running" if self.up else "starting"


@dataclass(slots=True)
class _Service:
    name: str
    count: int = 0
    restarts: int = 0
    instances: dict[int, Instance] = field(default_factory=dict)  # by their number, from 1


class ServiceView(NamedTuple):
    """A service as it is now; its instances in the order of their numbers."""

    name: str
    restarts: int
    instances: tuple[tuple[str, str], ...]  # id and state


class Plan:
    """Of all services and their instances. Raises KeyError for a service it does not have. Not thread-safe."""

    def __init__(self, counts: Mapping[str, int], now: float) -> None:
        self._services = {name: _Service(name) for name in counts}
        for name, count in counts.items():
            self.scale(name, count, now)

    @property
    def names(self) -> list[str]:
        """Of all services; they never change."""
        return [*self._services]

    def scale(self, name: str, count: int, now: float) -> None:
        """So many instances, numbered from 1; the others leave for good. Starts a service that was stopped."""
        service = self._services[name]
        service.count = count
        for number in range(1, count + 1):
            instance = service.instances.setdefault(number, Instance(f"{name}-{number}", now))
            if not instance.wanted:
                instance.wanted, instance.due = True, now
        for number, instance in service.instances.items():
            if number > count:
                instance.wanted = False

    def start(self, name: str, now: float) -> None:
        """As many as before it was stopped, at least one."""
        self.scale(name, max(1, self._services[name].count), now)

    def stop(self, name: str) -> None:
        """All leave, and stay down."""
        for instance in self._services[name].instances.values():
            instance.wanted = False

    def stop_all(self) -> None:
        """Stop every service."""
        for name in self._services:
            self.stop(name)

    def hurry(self, deadline: float) -> None:
        """Whoever was asked to leave has until then."""
        for instance in self._all():
            if instance.deadline is not None:
                instance.deadline = min(instance.deadline, deadline)

    def due(self, now: float) -> list[Action]:
        """What is to be done now."""
        actions = []
        for service in self._services.values():
            for number, instance in [*service.instances.items()]:
                verb = _due(instance, now)
                if verb is not None:
                    actions.append(Action(verb, instance.id))
                elif number > service.count and not instance.alive:
                    del service.instances[number]
        return actions

    def came_up(self, instance_id: str) -> None:
        """The process is at work."""
        self._find(instance_id)[1].up = True

    def ended(self, instance_id: str, now: float) -> float | None:
        """The process has ended; returns in how many seconds it is started again if nobody asked it to end."""
        service, instance = self._find(instance_id)
        asked = instance.deadline is not None or not instance.wanted
        steady = now - instance.since >= STEADY_SECONDS
        instance.alive, instance.up, instance.deadline = False, False, None
        if asked:
            instance.failures, instance.due = 0, now
            return None
        instance.failures = 1 if steady else instance.failures + 1
        service.restarts += 1
        delay: float = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(instance.failures - 1, 10))
        instance.due = now + delay
        return delay

    def alive(self, name: str) -> list[str]:
        """The service's instances that have a process which nobody has asked to leave."""
        instances = self._services[name].instances.values()
        return [i.id for i in instances if i.alive and i.wanted and i.deadline is None]

    def starting(self) -> list[str]:
        """Instances with a process that is not at work yet."""
        return [i.id for i in self._all() if i.alive and not i.up]

    def is_idle(self, name: str) -> bool:
        """Whether the service has no process and wants none."""
        return not any(i.alive or i.wanted for i in self._services[name].instances.values())

    def views(self) -> list[ServiceView]:
        """All services as they are now."""
        return [
            ServiceView(s.name, s.restarts, tuple((i.id, i.state) for _, i in sorted(s.instances.items())))
            for s in self._services.values()
        ]

    def _all(self) -> Iterable[Instance]:
        return (i for service in self._services.values() for i in service.instances.values())

    def _find(self, instance_id: str) -> tuple[_Service, Instance]:
        name, _, number = instance_id.rpartition("-")
        service = self._services[name]
        return service, service.instances[int(number)]


def _due(instance: Instance, now: float) -> Verb | None:
    """What is to be done about an instance, taken as done."""
    if not instance.alive:
        if not instance.wanted or instance.due > now:
            return None
        instance.alive, instance.since = True, now
        return Verb.START
    if instance.deadline is None:
        if instance.wanted:
            return None
        instance.deadline = now + STOP_SECONDS
        return Verb.TERMINATE
    if now < instance.deadline:
        return None
    instance.deadline = math.inf  # killed once is enough
    return Verb.KILL
