"""Whether the databases agree with what the shop promised: event by event, in units and in money."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from load.journal import Promise, Record
from streamstore import analytics, billing, inventory, notification
from streamstore.app import CONSUMERS, METADATA
from streamstore.database import Database
from streamstore.replaying.report import (
    HANDLED,
    BooksError,
    analytics_figures,
    billing_figures,
    handled_events,
    inventory_figures,
)
from streamstore.settings import Settings

STUCK_SECONDS = 30.0  # without any progress: what is missing by then is lost
EXAMPLES = 5

Effects = Mapping[str, Any]
"""What one service made of each event: units, an amount, or a state; by event id."""


@dataclass
class Verdict:
    """The comparison. An order counts as missing if any service lacks it."""

    acknowledged: int = 0
    missing: dict[str, int] = field(default_factory=dict)  # by service
    wrong: dict[str, int] = field(default_factory=dict)  # other units or another amount than ordered
    unmarked: dict[str, int] = field(
        default_factory=dict
    )  # effects without a mark, or marks without an effect
    books: list[str] = field(default_factory=list)  # running totals that are not the sum of their parts
    repeats: int = 0  # records that came again, recognised by their marks: harmless
    unacknowledged: int = 0  # events in some database whose request was not answered with success
    half_done: int = 0  # of those, the ones that only some services have
    examples: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Acknowledged, and missing in the service that lacks most."""
        return max(self.missing.values(), default=0)

    @property
    def exact(self) -> bool:
        """Every acknowledged event is in every database, once and with its amounts, and no other event is."""
        wrong = [*self.missing.values(), *self.wrong.values(), *self.unmarked.values()]
        return not any(wrong) and not self.books and not self.unacknowledged


def compare(
    promises: Mapping[str, Promise], effects: Mapping[str, Effects], marks: Mapping[str, AbstractSet[str]]
) -> Verdict:
    """Compare promises with each service's effects and marks."""
    verdict = Verdict(acknowledged=len(promises))
    for service, found in effects.items():
        missing = promises.keys() - found.keys()
        wrong = {
            event for event in promises.keys() & found.keys() if not _agrees(promises[event], found[event])
        }
        verdict.missing[service], verdict.wrong[service] = len(missing), len(wrong)
        verdict.unmarked[service] = len(found.keys() ^ marks[service])
        verdict.examples += [f"{service} lacks {event}" for event in sorted(missing)[:EXAMPLES]]
        verdict.examples += [
            f"{service} has {found[event]} for {event}, not {promises[event]}"
            for event in sorted(wrong)[:EXAMPLES]
        ]
    strangers = set().union(*(found.keys() for found in effects.values())) - promises.keys()
    verdict.unacknowledged = len(strangers)
    verdict.half_done = sum(any(event not in found for found in effects.values()) for event in strangers)
    return verdict


def _agrees(promise: Promise, effect: Any) -> bool:
    """Inventory has units, billing and analytics have money, notification has a state."""
    if isinstance(effect, int):
        return effect == promise.units
    return isinstance(effect, str) or effect == promise.total


def verify(settings: Settings, record: Record, show: Callable[[str], None]) -> tuple[Verdict, float | None]:
    """Wait until the backlog has been worked off, then compare.

    Returns the verdict, and the seconds until every service had handled everything that was acknowledged (None:
    some never did).
    """
    with ExitStack() as stack:
        databases = {}
        for name in CONSUMERS:
            databases[name] = Database(settings.database_url(name), METADATA[name])
            stack.callback(databases[name].close)
        drained = _await_backlog(databases, record, show)
        marks = {name: handled_events(database, name) for name, database in databases.items()}
        verdict = compare(
            record.acknowledged,
            {name: _effects(name, database) for name, database in databases.items()},
            {name: found.keys() for name, found in marks.items()},
        )
        verdict.repeats = sum(sum(found.values()) for found in marks.values())
        verdict.books = _unbalanced(databases) + _outbox_differs(settings, databases["notification"])
        return verdict, drained


def _await_backlog(
    databases: Mapping[str, Database], record: Record, show: Callable[[str], None]
) -> float | None:
    started = progress = time.monotonic()
    wanted, before = record.acknowledged.keys(), -1
    while True:
        # Counting is cheap; only when the number is right it is worth while to look which they are.
        missing = sum(max(0, len(wanted) - _count(database, name)) for name, database in databases.items())
        if not missing:
            missing = sum(
                len(wanted - handled_events(database, name).keys()) for name, database in databases.items()
            )
        now = time.monotonic()
        if not missing:
            return round(now - started, 2)
        if missing != before:
            show(f"{missing} effects of {len(wanted)} acknowledged orders are still to come")
            before, progress = missing, now
        elif now - progress > STUCK_SECONDS:
            return None
        time.sleep(0.25)


def _count(database: Database, service: str) -> int:
    with database.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(HANDLED[service])) or 0


def _effects(service: str, database: Database) -> Effects:
    columns = {
        "inventory": (inventory.DISPATCHES.c.event_id, inventory.DISPATCHES.c.units),
        "billing": (billing.DOCUMENTS.c.event_id, billing.DOCUMENTS.c.total),
        "notification": (notification.MAILS.c.event_id, notification.MAILS.c.state),
        "analytics": (analytics.SALES.c.event_id, analytics.SALES.c.revenue),
    }[service]
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(sa.select(*columns))}


def _unbalanced(databases: Mapping[str, Database]) -> list[str]:
    found = []
    for name, figures in (
        ("inventory", inventory_figures),
        ("billing", billing_figures),
        ("analytics", analytics_figures),
    ):
        try:
            figures(databases[name], ())
        except BooksError as error:
            found.append(str(error))
    return found


def _outbox_differs(settings: Settings, database: Database) -> list[str]:
    """A mail is one file, named after its event; a second one for an event would be a file too many."""
    if settings.smtp is not None:
        return []
    states = list(_effects("notification", database).values())
    mails, sent = len([*settings.outbox.glob("*.eml")]), states.count(notification.SENT)
    return [] if mails == sent else [f"{mails} mails are in the outbox, {sent} were sent"]
