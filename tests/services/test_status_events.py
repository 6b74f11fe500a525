"""What a service made of each event is told in order-status, when it is true and not before, whatever dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from streamadapter import Message, Producer
from streamadapter.testing.servers import Server
from streamstore.app import CONSUMERS, METADATA, ensure_topics
from streamstore.billing import Billing
from streamstore.consuming import read_to_end
from streamstore.database import Database, Service
from streamstore.dead_letters import read_ledger
from streamstore.orders import Order, encode
from streamstore.replaying.observer import observing
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.report import handled_events
from streamstore.replaying.sample import SAMPLE
from streamstore.runner import consume_orders
from streamstore.status import Status, decode

SECONDS = 120  # for anything here that should take a few
ORDERS = read_orders(SAMPLE).orders[:30]


@pytest.fixture(params=["embedded", "memory", "redis", "kafka"])
def shop(request: pytest.FixtureRequest, open_shop: Callable[..., Any]) -> Any:
    if request.param in ("redis", "kafka"):
        return open_shop(request.param, request.getfixturevalue(f"own_{request.param}").url)
    return open_shop(request.param)


@contextmanager
def _consuming(shop: Any, *services: Service) -> Iterator[None]:
    """Services as threads of this process, stopped at the end."""
    stop = Event()

    def consume(service: Service) -> None:
        with closing(Database(shop.settings.database_url(service.name), service.metadata)) as database:
            consume_orders(service, database, shop.settings, stop)

    threads = [Thread(target=consume, args=(service,), daemon=True) for service in services]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads)


def _publish(values: Iterable[tuple[bytes, str]]) -> None:
    with Producer({}) as producer:
        for value, key in values:
            producer.produce("order-events", value, key)
        assert producer.flush(SECONDS) == 0


def _events(orders: Iterable[Order] = ORDERS) -> list[tuple[bytes, str]]:
    return [(encode(order), order.key) for order in orders]


def _records(topic: str) -> list[Message]:
    return list(read_to_end(topic, SECONDS, {"group.id": "test"}))


def _statuses() -> Counter[Status]:
    return Counter(decode(message.value() or b"") for message in _records("order-status"))


def _await(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


def _lag(shop: Any, name: str = "billing") -> int | None:
    """Records the group has still to commit."""
    with observing(shop.settings) as observer:
        lag = observer.snapshot().lag
        return None if lag is None else lag[name]


def _handled(shop: Any, name: str = "billing") -> dict[str, int]:
    with closing(Database(shop.settings.database_url(name), METADATA[name])) as database:
        return handled_events(database, name)


def _expected(name: str, order: Order) -> str:
    return {
        "inventory": "reserved",
        "billing": "credited" if order.is_cancellation else "invoiced",
        "notification": "sent" if order.customer else "skipped: no customer",
        "analytics": "counted",
    }[name]


def test_every_service_tells_what_became_of_every_order_keyed_by_its_event(shop: Any) -> None:
    ensure_topics(shop.settings)
    _publish(_events())

    with _consuming(shop, *(make(shop.settings) for make in CONSUMERS.values())):
        for name in CONSUMERS:
            _await(lambda name=name: _lag(shop, name) == 0, f"{name} has read all")  # type: ignore[misc]  # mypy knows no lambda's defaults

    assert _statuses() == Counter(
        Status(order.event_id, name, _expected(name, order)) for order in ORDERS for name in CONSUMERS
    )
    keys = {message.key(): decode(message.value() or b"").event_id for message in _records("order-status")}
    assert all(key == event_id.encode() for key, event_id in keys.items())


def test_a_repeated_order_is_told_again(open_shop: Callable[..., Any]) -> None:
    shop = open_shop("memory")
    ensure_topics(shop.settings)
    for _ in range(2):
        _publish(_events())
        with _consuming(shop, Billing()):
            _await(lambda: _lag(shop) == 0, "billing has read all")

    assert _statuses() == Counter(
        {Status(order.event_id, "billing", _expected("billing", order)): 2 for order in ORDERS}
    )


def test_an_event_whose_id_is_too_large_to_be_told_stops_nobody(open_shop: Callable[..., Any]) -> None:
    shop = open_shop("memory")
    ensure_topics(shop.settings)
    first = ORDERS[0]
    giant = Order("9" * 600_000, None, first.country, first.placed_at, first.lines)
    _publish([(encode(giant), "k"), *_events()])

    with _consuming(shop, Billing()):
        _await(lambda: _lag(shop) == 0, "billing has read all")

    assert giant.event_id in _handled(shop)
    assert {status.event_id for status in _statuses()} == {order.event_id for order in ORDERS}


KILLED_BEFORE_PUBLISHING = """
import os, signal, sys, threading, time
from pathlib import Path
from streamstore.app import run_service
from streamstore.outlet import Outlet
from streamstore.settings import load_settings

def die(self, records, stopped):
    time.sleep(2)  # ten times the time in which an offset, had it been stored, would be committed
    os.kill(os.getpid(), signal.SIGKILL)

Outlet.publish = die
settings = load_settings({"data_dir": "shop", "session_timeout_ms": int(sys.argv[2])}, Path(sys.argv[1]))
run_service("billing", settings, threading.Event())
"""


@pytest.mark.parametrize("backend", ["embedded", "redis", "kafka"])
def test_what_a_killed_service_did_not_tell_any_more_is_told_on_redelivery(
    request: pytest.FixtureRequest, open_shop: Callable[..., Any], backend: str
) -> None:
    url = "" if backend == "embedded" else request.getfixturevalue(f"own_{backend}").url
    shop = open_shop(backend, url, partitions=1)
    with closing(Producer({})):  # on embedded: keeps the server up
        ensure_topics(shop.settings)
        _publish([(b"junk", "key"), *_events()])  # the first batch has both
        killed = subprocess.run(
            [
                sys.executable,
                "-c",
                KILLED_BEFORE_PUBLISHING,
                str(shop.config.parent),
                str(shop.settings.session_timeout_ms),
            ],
            timeout=SECONDS,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        done = _handled(shop)
        assert done  # the transaction of its first batch
        assert _statuses() == Counter()
        assert read_ledger("dead-letters").all() == []

        with _consuming(shop, Billing()):
            _await(lambda: _lag(shop) == 0, "billing has read all")

        assert _statuses() == Counter(
            Status(order.event_id, "billing", _expected("billing", order)) for order in ORDERS
        )
        assert [letter.value for letter in read_ledger("dead-letters").all()] == [b"junk"]
        assert _handled(shop) == {order.event_id: int(order.event_id in done) for order in ORDERS}


@pytest.mark.parametrize("backend", ["redis", "kafka"])
def test_statuses_wait_for_a_broker_that_is_away_and_none_is_lost(
    request: pytest.FixtureRequest,
    open_shop: Callable[..., Any],
    backend: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server: Server = request.getfixturevalue(f"own_{backend}")
    shop = open_shop(backend, server.url)
    gone = Event()

    class BrokerGone(Billing):
        """The broker dies during the transaction."""

        def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
            super().apply(connection, orders)
            if not gone.is_set():
                server.kill()
                gone.set()

    ensure_topics(shop.settings)
    _publish(_events())
    with _consuming(shop, BrokerGone()):
        _await(gone.is_set, "the broker is gone")
        _await(lambda: "waiting for the broker" in caplog.text, "the service waits for it")
        done = _handled(shop)
        server.start()
        _await(lambda: _lag(shop) == 0, "billing has read all")

    assert done  # the effect was there while nothing could be told
    assert set(_statuses()) == {
        Status(order.event_id, "billing", _expected("billing", order)) for order in ORDERS
    }
