"""`streamstore up`: a whole shop as processes, the dashboard beside them, and an end that leaves nothing undone."""

from __future__ import annotations

import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Self

from rich.console import Console
from starlette.types import ASGIApp

from streamadapter import AdminClient, KafkaException
from streamstore import order
from streamstore.app import ALL, ensure_topics
from streamstore.dashboard.server import dashboard
from streamstore.dashboard.state import Databases, State, groups_of, instance_of
from streamstore.lag import group_lags, group_members, log_extents
from streamstore.running.addresses import check_free, listens, url_of
from streamstore.running.child import last_words
from streamstore.running.locks import TakenError, alone
from streamstore.running.supervisor import TRAFFIC, ServiceStatus, Supervisor
from streamstore.settings import Settings
from streamstore.web.server import serve

DASHBOARD = "dashboard"
LOCK = "up"
START_SECONDS = 30.0
LEAVE_SECONDS = 25.0  # for what the supervisor kills after 20
REQUEST_SECONDS = 2.0
LOOK_SECONDS = 0.1
INTERRUPTED = 130


class UpError(RuntimeError):
    """The shop did not come up; the text is one line that says why."""


class Interrupts:
    """Ctrl-C and SIGTERM, in the main thread, for as long as it is entered: the first asks, the second urges."""

    def __init__(self) -> None:
        self.asked = Event()
        self.urged = Event()

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, self._caught) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, *_: object) -> None:
        (self.urged if self.asked.is_set() else self.asked).set()


def up(
    settings: Settings,
    backend: str,
    counts: Mapping[str, int],
    drain_seconds: float,
    console: Console,
    *,
    traffic: bool,
) -> int:
    """Run the shop until Ctrl-C; returns the exit status.

    `counts` are the instances of services that have more or fewer than one. Raises UpError, OSError for a port
    that is taken, and KafkaException if the server cannot be reached.
    """
    names = [*ALL, TRAFFIC] if traffic else ALL
    first = {name: 0 if name == TRAFFIC else counts.get(name, 1) for name in names}
    with Interrupts() as interrupts, _only_shop(settings), ExitStack() as stack:
        check_free([name for name in (*ALL, DASHBOARD) if listens(name, settings)], settings)
        admin = None
        if settings.architecture == "events":
            ensure_topics(settings)
            admin = stack.enter_context(AdminClient({"client.id": settings.client_id(DASHBOARD)}))
        databases = Databases(settings)
        stack.callback(databases.close)
        supervisor = stack.enter_context(Supervisor(settings, first))
        state = stack.enter_context(State(settings, backend, databases, supervisor.statuses, admin))
        stack.enter_context(_served(dashboard(settings, supervisor, databases, state.as_json), settings))
        shop = _Shop(settings, supervisor, admin, interrupts, console)
        if shop.came_up():
            shop.welcome(backend)
            if traffic:
                supervisor.scale(TRAFFIC, 1)
            shop.run()
        shop.leave(drain_seconds)
    return INTERRUPTED if interrupts.urged.is_set() else 0


class _Shop:
    """What happens in the main thread."""

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        admin: AdminClient | None,
        interrupts: Interrupts,
        console: Console,
    ) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._admin = admin
        self._interrupts = interrupts
        self._console = console

    def came_up(self) -> bool:
        """Whether all services answer; False if somebody does not want to wait. Raises UpError."""
        self._say("starting; logs are in", str(self._settings.data_dir / "logs"))
        up: set[str] = set()

        def all_up() -> bool:
            statuses = [s for s in self._supervisor.statuses() if s.instances]
            up.update(s.name for s in statuses if self._is_up(s))
            return up.issuperset(s.name for s in statuses) and self._answers(DASHBOARD)

        asked = self._interrupts.asked
        if self._until(lambda: asked.is_set() or all_up(), START_SECONDS):
            return not asked.is_set()
        missing = [i for s in self._supervisor.statuses() if s.name not in up for i in s.instances]
        names = ", ".join(dict.fromkeys(i.id for i in missing)) or DASHBOARD
        said = f": {last_words(self._supervisor.log_path(missing[0].id))}" if missing else ""
        raise UpError(f"{names} did not start within {START_SECONDS:.0f} s{said}")

    def welcome(self, backend: str) -> None:
        """Where everything is."""
        instances = sum(len(status.instances) for status in self._supervisor.statuses())
        self._say(f"up: {instances} processes, {self._settings.architecture} architecture on {backend}")
        self._say("dashboard:", url_of(DASHBOARD, self._settings))
        self._say("order API:", f"{url_of(order.NAME, self._settings)}/docs")
        self._say("Ctrl-C drains the backlog and stops")

    def run(self) -> None:
        """Tell what is notable, until somebody asks for the end."""
        while not self._interrupts.asked.wait(LOOK_SECONDS):
            self._tell()

    def leave(self, drain_seconds: float) -> None:
        """No new orders, then no backlog, then no processes."""
        urged = self._interrupts.urged
        sources = [name for name in (TRAFFIC, order.NAME) if name in self._supervisor.names]
        self._say("stopping: no new orders (Ctrl-C again stops at once)")
        for name in sources:
            self._supervisor.stop(name)
        self._until(lambda: urged.is_set() or all(map(self._supervisor.is_idle, sources)), LEAVE_SECONDS)
        if self._admin is not None and not urged.is_set():
            self._drain(drain_seconds)
        self._supervisor.leave()
        if not self._until(lambda: urged.is_set() or self._supervisor.has_left, LEAVE_SECONDS):
            self._say("not all processes have left in time")
        if urged.is_set():
            self._supervisor.hurry()
        self._supervisor.close()
        self._tell()
        self._say("stopped")

    def _drain(self, seconds: float) -> None:
        """Wait until the services that run have read all there is, at most so long."""
        shown = None
        deadline = time.monotonic() + seconds
        while (backlog := self._backlog()) != {} and not self._interrupts.urged.is_set():
            text = "unknown" if backlog is None else ", ".join(f"{n} {lag}" for n, lag in backlog.items())
            if time.monotonic() >= deadline:
                self._say(f"the backlog is not drained after {seconds:g} s and stays in the log: {text}")
                return
            if text != shown:
                self._say(f"backlog: {text}")
                shown = text
            self._until(self._interrupts.urged.is_set, min(0.5, max(0.0, deadline - time.monotonic())))
        if backlog == {}:
            self._say("backlog: none")

    def _backlog(self) -> dict[str, int] | None:
        """Records still to be read, by service; None if the server does not answer."""
        running = {status.name for status in self._supervisor.statuses() if status.up}
        groups = {name: topics for name, topics in groups_of(self._settings).items() if name in running}
        if self._admin is None or not groups:
            return {}
        try:
            extents = log_extents(self._admin, self._settings.topics, REQUEST_SECONDS)
            lags = group_lags(self._admin, extents, groups, REQUEST_SECONDS)
        except KafkaException:
            return None
        sums = {name: sum(partition.lag for partition in lags[name]) for name in groups}
        return {name: lag for name, lag in sums.items() if lag}

    def _is_up(self, service: ServiceStatus) -> bool:
        """Whether all of a service's instances are at work: answer HTTP, or are members of their group."""
        if not all(instance.up for instance in service.instances):
            return False
        if self._admin is None or listens(service.name, self._settings):
            return self._answers(service.name)
        try:
            members = group_members(self._admin, [service.name], REQUEST_SECONDS)[service.name]
        except KafkaException:
            return False
        return {instance_of(member) for member in members} >= {i.id for i in service.instances}

    def _answers(self, name: str) -> bool:
        path = "/api/state" if name == DASHBOARD else "/health"
        try:
            with urllib.request.urlopen(url_of(name, self._settings) + path, timeout=REQUEST_SECONDS):  # noqa: S310 - our own
                return True
        except OSError:  # urllib's errors are
            return False

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether the condition came true in time; what is notable is told meanwhile."""
        deadline = time.monotonic() + seconds
        while not condition():
            self._tell()
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def _tell(self) -> None:
        while not self._supervisor.notices.empty():
            self._say(self._supervisor.notices.get())

    def _say(self, *words: str) -> None:
        self._console.print(*words, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _only_shop(settings: Settings) -> Iterator[None]:
    """Be the only shop on this data directory; where its dashboard is, stands in the lock."""
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(settings.data_dir, LOCK, url_of(DASHBOARD, settings)))
        except TakenError as error:
            raise UpError(f"a shop runs on {settings.data_dir} already, its dashboard is {error}") from None
        yield


@contextmanager
def _served(app: ASGIApp, settings: Settings) -> Iterator[None]:
    """The dashboard on a thread of its own."""
    stop = Event()
    port = settings.port_of(DASHBOARD)
    thread = Thread(target=serve, args=(app, settings.host, port, stop), name=DASHBOARD, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LEAVE_SECONDS)
