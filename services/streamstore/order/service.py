"""The order service's parts, in one process."""

from __future__ import annotations

from functools import partial
from threading import Event

from streamadapter import KafkaException
from streamstore.database import Database
from streamstore.order import NAME, outbox, view
from streamstore.order.api import create_app
from streamstore.order.route import LogRoute, Route
from streamstore.publisher import Publisher
from streamstore.settings import Settings
from streamstore.synchronous import CallRoute
from streamstore.together import Part, run_together
from streamstore.web.server import serve


def run(database: Database, settings: Settings, stop: Event, *, http: bool) -> None:
    """Publish orders from files, follow what became of all orders, and answer HTTP, until `stop` is set.

    In the synchronous architecture only the last. Raises the error of the part that failed for good; OSError for a
    port that is taken.
    """
    if settings.architecture == "synchronous":
        if http:
            _serve(CallRoute(settings, database), database, settings, stop)
        return
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

    publisher = Publisher(
        {
            "client.id": settings.client_id(NAME),
            "delivery.timeout.ms": settings.accept_ms,
        }
    )
    _serve(LogRoute(publisher, settings.topic, give_up), database, settings, stop)
    if fatal:
        raise fatal[0]


def _serve(route: Route, database: Database, settings: Settings, stop: Event) -> None:
    serve(create_app(settings, database, route), settings.host, settings.port_of(NAME), stop)
