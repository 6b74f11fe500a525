"""Runs one service: settings in, work until told to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Event

import sqlalchemy as sa

from streamadapter import AdminClient, KafkaError, KafkaException
from streamadapter.admin import NewTopic
from streamstore import analytics, billing, chat, delivery_tracking, inventory, notification, order
from streamstore.analytics import Analytics
from streamstore.billing import Billing
from streamstore.database import Database, Service, StoppedError, persistently
from streamstore.inventory import Inventory
from streamstore.notification import Notification
from streamstore.runner import consume_orders
from streamstore.settings import Settings

log = logging.getLogger(__name__)

CONSUMERS: Mapping[str, Callable[[Settings], Service]] = {
    "inventory": Inventory,
    "billing": lambda _settings: Billing(),
    "notification": Notification,
    "analytics": lambda _settings: Analytics(),
}
METADATA: Mapping[str, sa.MetaData] = {
    module.NAME: module.METADATA for module in (order, inventory, billing, notification, analytics)
}
SERVICES = (order.NAME, *CONSUMERS)
"""The five of the shop's orders; a consumer's name is also its group's."""

REQUEST_SECONDS = 10.0
UNREACHABLE = (
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)


def run_service(name: str, settings: Settings, stop: Event, *, http: bool = True) -> None:
    """Run the service until `stop` is set, then leave cleanly; without `http` its interface stays closed.

    A server or database that cannot be reached is waited for; whoever supervises the service decides for how
    long. Raises KafkaException when waiting cannot help (wrong password, bad configuration).
    """
    try:
        if settings.architecture == "events":
            persistently(partial(ensure_topics, settings), f"{name}: reaching the server", stop, may_recover)
        RUNNERS[name](settings, stop, http)
    except StoppedError:
        log.info("%s stopped; what it was doing comes again", name)


def _run_order(settings: Settings, stop: Event, http: bool) -> None:
    from streamstore.order import service  # FastAPI is slow to import: only who answers HTTP pays for it

    with _opened(order.NAME, order.METADATA, settings, stop) as database:
        service.run(database, settings, stop, http=http)


def _run_consumer(name: str, settings: Settings, stop: Event, http: bool) -> None:  # noqa: ARG001 - a Runner: it has HTTP or a topic, not both
    service = CONSUMERS[name](settings)
    with _opened(name, service.metadata, settings, stop) as database:
        if settings.architecture == "events":
            consume_orders(service, database, settings, stop)
        else:
            from streamstore.synchronous import run_called  # as above

            run_called(service, database, settings, stop)


def _run_delivery_tracking(settings: Settings, stop: Event, http: bool) -> None:
    from streamstore.delivery_tracking import service

    name = delivery_tracking.NAME
    with _opened(name, delivery_tracking.METADATA, settings, stop) as database:
        service.run(database, settings, stop, http=http)


def _run_chat(settings: Settings, stop: Event, http: bool) -> None:
    from streamstore.chat import service

    with _opened(chat.NAME, chat.METADATA, settings, stop) as database:
        service.run(database, settings, stop, http=http)


def ensure_topics(settings: Settings) -> None:
    """Create topics that are missing. Raises KafkaException, within some ten seconds, if that cannot be done."""
    # Dead letters stay until somebody has looked at them; for the rest the server's retention will do.
    configs = {settings.dead_letter_topic: {"retention.ms": "-1"}}
    topics = [
        NewTopic(name, num_partitions=settings.partitions, config=configs.get(name, {}))
        for name in settings.topics
    ]
    with AdminClient({}) as admin:
        for future in admin.create_topics(topics, request_timeout=REQUEST_SECONDS).values():
            try:
                future.result(REQUEST_SECONDS * 2)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise


def may_recover(error: Exception) -> bool:
    """Whether the server may answer later; all else (password, permission, configuration) is final."""
    if not isinstance(error, KafkaException):
        return isinstance(error, TimeoutError)
    problem = error.args[0]
    return bool(problem.retriable() or problem.code() in UNREACHABLE)


@contextmanager
def _opened(name: str, metadata: sa.MetaData, settings: Settings, stop: Event) -> Iterator[Database]:
    opening = partial(Database, settings.database_url(name), metadata)
    database = persistently(opening, f"{name}: opening its database", stop)
    try:
        yield database
    finally:
        database.close()


Runner = Callable[[Settings, Event, bool], None]
"""(settings, stop, http): works until `stop` is set; the topics are there. `http`: whether to answer HTTP."""

RUNNERS: Mapping[str, Runner] = {
    order.NAME: _run_order,
    **{name: partial(_run_consumer, name) for name in CONSUMERS},
    delivery_tracking.NAME: _run_delivery_tracking,
    chat.NAME: _run_chat,
}
ALL = tuple(RUNNERS)
"""Everything that `run_service` runs."""
