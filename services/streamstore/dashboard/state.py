"""The state of a running shop: its processes, what the log, the databases and delivery tracking say."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from streamadapter import AdminClient
from streamadapter.admin import MemberDescription
from streamstore import analytics, billing, order
from streamstore.app import CONSUMERS, METADATA
from streamstore.dashboard.watch import Rate, Watch
from streamstore.database import Database
from streamstore.dead_letters import read_ledger
from streamstore.lag import Extents, PartitionLag, group_lags, group_members, log_extents
from streamstore.orders import add, as_text
from streamstore.replaying.report import HANDLED
from streamstore.running.addresses import url_of
from streamstore.running.supervisor import ServiceStatus
from streamstore.settings import Settings

REQUEST_SECONDS = 2.0
RECENT = 10  # invoices
MAX_COURIERS = 500
TRACKING = "delivery_tracking"
CLIENT_PREFIX = "streamstore-"


def groups_of(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The topics that each service's consumer group reads, where there is a log between the services."""
    return {
        order.NAME: (settings.topic, settings.status_topic),
        **dict.fromkeys(CONSUMERS, (settings.topic,)),
        TRACKING: (settings.locations_topic,),
        "chat": (settings.chat_topic,),
    }


def instance_of(member: MemberDescription) -> str:
    """The instance that a member of a group is."""
    client_id: str = member.client_id
    return client_id.removeprefix(CLIENT_PREFIX)


class Databases:
    """The services' databases, each opened when it is first asked for. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: dict[str, Database] = {}
        self._lock = Lock()

    def of(self, service: str) -> Database:
        """Raises SQLAlchemyError if it cannot be opened now."""
        with self._lock:
            if service not in self._opened:
                self._opened[service] = Database(self._settings.database_url(service), METADATA[service])
            return self._opened[service]

    def close(self) -> None:
        """Close all."""
        with self._lock:
            for database in self._opened.values():
                database.close()
            self._opened.clear()


@dataclass(frozen=True, slots=True)
class _Log:
    """What the broker says."""

    accepted: int = 0
    per_second: float = 0.0
    lags: Mapping[str, Sequence[PartitionLag]] = field(default_factory=dict)
    owners: Mapping[tuple[str, str, int], str] = field(
        default_factory=dict
    )  # instance by group, topic, partition


@dataclass(frozen=True, slots=True)
class _Figures:
    """What a service's database says."""

    handled: int = 0
    per_second: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)


class State:
    """A context manager; within, `as_json` is what the page shows, at most about a second old. Thread-safe.

    `processes` says how the services' processes are; the rest is looked at by threads of their own. Without an
    `admin` there is no log to look at: the services call each other.
    """

    def __init__(
        self,
        settings: Settings,
        backend: str,
        databases: Databases,
        processes: Callable[[], Sequence[ServiceStatus]],
        admin: AdminClient | None,
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._databases = databases
        self._processes = processes
        self._log = None if admin is None else Watch("lag", _LogLook(settings, admin), _Log())
        letters = None if admin is None else _DeadLettersLook(settings.dead_letter_topic, admin)
        self._dead_letters = None if letters is None else Watch("dead letters", letters, 0)
        self._figures = {name: Watch(name, _DatabaseLook(name, databases), _Figures()) for name in CONSUMERS}
        self._couriers: Watch[list[Any]] = Watch("couriers", self._look_at_couriers, [])

    def __enter__(self) -> Self:
        for watch in self._watches():
            watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for watch in self._watches():
            watch.stop()

    def as_json(self) -> dict[str, Any]:
        """What `GET /api/state` answers; amounts are exact decimals, as strings."""
        figures = {name: watch.value for name, watch in self._figures.items()}
        log = _Log() if self._log is None else self._log.value
        # Without a log, an order is accepted when the last service has answered.
        last = figures[analytics.NAME]
        orders = (last.handled, last.per_second) if self._log is None else (log.accepted, log.per_second)
        no_revenue = {"total": "0", "by_country": [], "by_day": []}
        return {
            "backend": self._backend,
            "architecture": self._settings.architecture,
            "time": time.time(),
            "orders": {"accepted": orders[0], "per_second": orders[1]},
            "services": [_service(status, log) for status in self._processes()],
            "revenue": figures[analytics.NAME].details.get("revenue", no_revenue),
            "handled": {name: of.handled for name, of in figures.items()},
            "dead_letters": 0 if self._dead_letters is None else self._dead_letters.value,
            "couriers": self._couriers.value,
            "recent": figures[billing.NAME].details.get("recent", []),
            "errors": [watch.error for watch in self._watches() if watch.error is not None],
        }

    def _watches(self) -> list[Watch[Any]]:
        watches = [self._log, self._dead_letters, *self._figures.values(), self._couriers]
        return [watch for watch in watches if watch is not None]

    def _look_at_couriers(self) -> list[Any]:
        url = f"{url_of(TRACKING, self._settings)}/couriers"
        try:
            with urllib.request.urlopen(url, timeout=REQUEST_SECONDS) as answer:  # noqa: S310 - our own http URL
                couriers: list[Any] = json.load(answer)
        except OSError:
            raise ConnectionError(f"{TRACKING} does not answer") from None
        return couriers[:MAX_COURIERS]


def _service(status: ServiceStatus, log: _Log) -> dict[str, Any]:
    partitions = log.lags.get(status.name, ())
    return {
        "name": status.name,
        "up": status.up,
        "restarts": status.restarts,
        "lag": sum(partition.lag for partition in partitions) if partitions else None,
        "instances": [
            {"id": instance.id, "pid": instance.pid, "up": instance.up, "state": instance.state}
            for instance in status.instances
        ],
        "partitions": [
            {
                "topic": of.topic,
                "partition": of.partition,
                "owner": log.owners.get((status.name, of.topic, of.partition)),
                "lag": of.lag,
                "committed": of.committed,
                "log_end": of.log_end,
            }
            for of in partitions
        ],
    }


class _LogLook:
    """Ends, commits and owners of all that the services read."""

    def __init__(self, settings: Settings, admin: AdminClient) -> None:
        self._settings = settings
        self._groups = groups_of(settings)
        self._admin = admin
        self._rate = Rate()

    def __call__(self) -> _Log:
        admin, settings = self._admin, self._settings
        extents = log_extents(admin, settings.topics, REQUEST_SECONDS)
        accepted = sum(end for (topic, _), (_, end) in extents.items() if topic == settings.topic)
        members = group_members(admin, [*self._groups], REQUEST_SECONDS)
        return _Log(
            accepted,
            self._rate.at(time.monotonic(), accepted),
            group_lags(admin, extents, self._groups, REQUEST_SECONDS),
            {
                (group, tp.topic, tp.partition): instance_of(member)
                for group, of_group in members.items()
                for member in of_group
                for tp in (member.assignment.topic_partitions if member.assignment else ())
            },
        )


class _DeadLettersLook:
    """How many records wait for somebody to replay them; read anew only when there is something new."""

    def __init__(self, topic: str, admin: AdminClient) -> None:
        self._topic = topic
        self._admin = admin
        self._seen: Extents = {}
        self._open = 0

    def __call__(self) -> int:
        extents = log_extents(self._admin, [self._topic], REQUEST_SECONDS)
        if extents != self._seen:
            self._open = len(read_ledger(self._topic).open()) if any(map(_is_filled, extents.values())) else 0
            self._seen = extents
        return self._open


def _is_filled(extent: tuple[int, int]) -> bool:
    start, end = extent
    return end > start


class _DatabaseLook:
    """Figures that stay cheap when the tables grow: counts, running totals, the latest few."""

    def __init__(self, service: str, databases: Databases) -> None:
        self._service = service
        self._databases = databases
        self._rate = Rate()
        self._last = _Figures(handled=-1)

    def __call__(self) -> _Figures:
        count = sa.select(sa.func.count()).select_from(HANDLED[self._service])
        with self._databases.of(self._service).read() as connection:
            handled = connection.scalar(count) or 0
            rate = self._rate.at(time.monotonic(), handled)
            # Effects come with their marks: no new mark, nothing new.
            details = self._last.details if handled == self._last.handled else self._details(connection)
        self._last = _Figures(handled, rate, details)
        return self._last

    def _details(self, connection: sa.Connection) -> Mapping[str, Any]:
        if self._service == analytics.NAME:
            return {"revenue": _revenue(connection)}
        if self._service == billing.NAME:
            return {"recent": _recent(connection)}
        return {}


def _revenue(connection: sa.Connection) -> dict[str, Any]:
    by_country = connection.execute(
        sa.select(analytics.BY_COUNTRY.c.country, analytics.BY_COUNTRY.c.revenue)
    ).all()
    by_day = connection.execute(
        sa.select(analytics.BY_DAY.c.day, analytics.BY_DAY.c.revenue).order_by(analytics.BY_DAY.c.day)
    )
    return {
        "total": as_text(add(amount for _, amount in by_country)),
        "by_country": [
            [country, as_text(amount)]
            for country, amount in sorted(by_country, key=lambda row: row[1], reverse=True)
        ],
        "by_day": [[day, as_text(amount)] for day, amount in by_day],
    }


def _recent(connection: sa.Connection) -> list[dict[str, Any]]:
    documents = billing.DOCUMENTS.c
    latest = (
        sa.select(documents.number, documents.customer, documents.total, documents.kind)
        .order_by(documents.issued_at.desc(), documents.number.desc())
        .limit(RECENT)
    )
    return [
        {"number": number, "customer": customer, "total": as_text(total), "kind": kind}
        for number, customer, total, kind in connection.execute(latest)
    ]
