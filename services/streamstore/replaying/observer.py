"""How far the services are: what a replay waits for and a progress bar shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from streamadapter import AdminClient, KafkaException
from streamstore import order
from streamstore.app import CONSUMERS, METADATA, REQUEST_SECONDS, may_recover
from streamstore.database import Database
from streamstore.lag import group_lags, log_extents
from streamstore.order import outbox
from streamstore.orders import Order
from streamstore.replaying.report import (
    Report,
    analytics_figures,
    billing_figures,
    handled_events,
    inventory_figures,
    notification_figures,
)
from streamstore.settings import Settings


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the services' progress with a file's events."""

    events: int  # handed over so far
    accepted: int  # of those, delivered to the topic
    handled: Mapping[str, int]  # of those, a service
    lag: Mapping[str, int] | None  # records a group has still to read; None while nobody can tell

    @property
    def arrived(self) -> bool:
        """Everything handed over was delivered, read and handled."""
        return (
            self.lag is not None
            and not any(self.lag.values())
            and self.accepted == self.events
            and all(count == self.events for count in self.handled.values())
        )


class Observer:
    """Looks into the databases of all services, and at the groups' offsets. Not thread-safe."""

    def __init__(self, topic: str, databases: Mapping[str, Database], admin: AdminClient) -> None:
        self._topic = topic
        self._databases = databases
        self._admin = admin
        self._events: set[str] = set()
        self._repeats_before = {
            name: sum(handled_events(databases[name], name).values()) for name in CONSUMERS
        }

    @property
    def events(self) -> int:
        """How many events were handed over."""
        return len(self._events)

    def submit(self, orders: Sequence[Order]) -> None:
        """Hand orders over to the order service. Raises order.ConflictError."""
        outbox.submit(self._databases[order.NAME], orders)
        self._events.update(o.event_id for o in orders)

    def snapshot(self) -> Snapshot:
        """Look now. Offsets are looked at before marks: lag 0 then stands for what the marks must show."""
        accepted = self.accepted()
        lag = self._lag()
        handled = {
            name: len(handled_events(self._databases[name], name).keys() & self._events) for name in CONSUMERS
        }
        return Snapshot(self.events, accepted, handled, lag)

    def accepted(self) -> int:
        """How many of the events were delivered to the topic."""
        with self._databases[order.NAME].read() as connection:
            return max(self.events - outbox.count_unaccepted(connection), 0)

    def refusals(self) -> dict[str, str]:
        """Event id and reason of every handed-over order that can never be delivered."""
        with self._databases[order.NAME].read() as connection:
            refused = outbox.refusals(connection)
        return {event: refused[event] for event in refused.keys() & self._events}

    def repeats(self) -> dict[str, int]:
        """Repeated deliveries a service since this observer was made."""
        return {
            name: sum(handled_events(self._databases[name], name).values()) - before
            for name, before in self._repeats_before.items()
        }

    def report(self, backend: str, rows: int, rejected: int, cancellations: int, seconds: float) -> Report:
        """The figures of all events handed over. Raises report.BooksError."""
        databases, events = self._databases, self._events
        repeats = self.repeats()
        return Report(
            backend=backend,
            rows=rows,
            rows_rejected=rejected,
            orders=len(events) - cancellations,
            cancellations=cancellations,
            inventory=inventory_figures(databases["inventory"], events),
            billing=billing_figures(databases["billing"], events),
            notification=notification_figures(databases["notification"], events),
            analytics=analytics_figures(databases["analytics"], events),
            duplicates_seen=sum(repeats.values()),
            lag=sum((self._lag() or {}).values()),
            seconds=round(seconds, 3),
            duplicates=repeats,
        )

    def _lag(self) -> dict[str, int] | None:
        try:
            extents = log_extents(self._admin, [self._topic], REQUEST_SECONDS)
            if not extents:  # somebody deleted the topic
                return None
            groups = {name: [self._topic] for name in CONSUMERS}
            lags = group_lags(self._admin, extents, groups, REQUEST_SECONDS)
        except KafkaException as error:
            if may_recover(error):
                return None
            raise
        return {name: sum(partition.lag for partition in lags[name]) for name in CONSUMERS}


@contextmanager
def observing(settings: Settings) -> Iterator[Observer]:
    """An observer over the databases of all services, made if they are new."""
    with ExitStack() as stack:
        databases = {}
        for name, metadata in METADATA.items():
            databases[name] = Database(settings.database_url(name), metadata)
            stack.callback(databases[name].close)
        yield Observer(settings.topic, databases, stack.enter_context(AdminClient({})))
