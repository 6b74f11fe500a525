"""Watches the shop while it is under load, twice a second, and makes the outage when its time has come."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any

import gevent
import psutil

from load.shop import Shop

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.5


@dataclass
class Outage:
    """A service is stopped at `start` and started again at `end`, seconds since the load began."""

    service: str
    start: float
    end: float
    stopped_at: float | None = None  # when it was asked to stop, and to start, seconds since 1970
    started_at: float | None = None


@dataclass
class Monitor:
    """What was seen. `lag` is None where the dashboard could not tell, in the synchronous architecture for one."""

    shop: Shop
    began: float
    outage: Outage | None
    samples: list[dict[str, Any]] = field(default_factory=list)  # at, machine (% of all cores), lag a service
    problems: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Begin to watch."""
        self._used_before = self._cores_used()
        self._began = time.monotonic()
        psutil.cpu_percent(None)
        self._greenlet = gevent.spawn(self._watch)
        self._director = gevent.spawn(self._direct, self.outage) if self.outage else None

    def stop(self) -> dict[str, float]:
        """End. Returns how many cores were busy on average: the machine's, the shop's, Locust's."""
        if self._director is not None:
            self._director.kill()
            if self.outage and self.outage.stopped_at and not self.outage.started_at:
                self._make(self.outage, "start")  # stopped early: verifying needs everybody
        self._greenlet.kill()
        seconds = time.monotonic() - self._began
        cores = {
            name: round(max(0.0, used - self._used_before[name]) / seconds, 2)
            for name, used in self._cores_used().items()
        }
        machine = [sample["machine"] for sample in self.samples]
        return cores | {
            "machine": round(sum(machine) / max(1, len(machine)) / 100 * (os.cpu_count() or 1), 2)
        }

    def _watch(self) -> None:
        while True:
            self.samples.append({"at": time.time(), "machine": psutil.cpu_percent(None), "lag": self._lags()})
            gevent.sleep(EVERY_SECONDS)

    def _lags(self) -> dict[str, int | None]:
        try:
            return {service["name"]: service["lag"] for service in self.shop.state()["services"]}
        except (OSError, ValueError, KeyError) as error:
            self._complain(f"the dashboard did not answer: {error}")
            return {}

    def _direct(self, outage: Outage) -> None:
        gevent.sleep(max(0.0, self.began + outage.start - time.time()))
        self._make(outage, "stop")
        gevent.sleep(max(0.0, self.began + outage.end - time.time()))
        self._make(outage, "start")

    def _make(self, outage: Outage, command: str) -> None:
        now = time.time()
        if command == "stop":
            outage.stopped_at = now
        else:
            outage.started_at = now
        try:
            self.shop.command(outage.service, command)
        except OSError as error:
            self._complain(f"{outage.service} could not be told to {command}: {error}")

    def _complain(self, problem: str) -> None:
        if problem not in self.problems:
            log.warning(problem)
            self.problems.append(problem)

    def _cores_used(self) -> dict[str, float]:
        """CPU seconds so far; those of a process that has ended count no more."""
        shop = _tree(self.shop.pid)
        locust = _tree(os.getpid()) - shop
        return {"shop": _cpu_seconds(shop), "locust": _cpu_seconds(locust)}


def _tree(pid: int) -> set[psutil.Process]:
    """A process and all under it; nothing if it has ended."""
    try:
        root = psutil.Process(pid)
        return {root, *root.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def _cpu_seconds(processes: set[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
