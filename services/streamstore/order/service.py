"""The order service's parts, in one process."""

from __future__ import annotations

from functools import partial
from threading import Event

from streamadapter import KafkaException
from streamstore.database import Database
from streamstore.http import serve
from streamstore.order import NAME, outbox, view
from streamstore.order.api import create_app
from streamstore.settings import Settings
from streamstore.together import Part, run_together


def run(database: Database, settings: Settings, stop: Event, *, http: bool) -> None:
    """Publish orders from files, follow what became of all orders, and answer HTTP, until `stop` is set.

    Raises the error of the part that failed for good; OSError for a port that is taken.
    """
    parts: dict[str, Part] = {
        "outbox": partial(outbox.publish_orders, database, settings),
        "view": partial(view.keep_view, database, settings),
    }
    if http:
        parts["http"] = partial(_answer, database, settings)
    run_together(parts, stop)


def _answer(database: Database, settings: Settings, stop: Event) -> None:
    fatal: list[KafkaException] = []

    def give_up(error: KafkaException) -> None:
        fatal.append(error)
        stop.set()

    serve(create_app(settings, database, give_up), settings.host, settings.port_of(NAME), stop)
    if fatal:
        raise fatal[0]
