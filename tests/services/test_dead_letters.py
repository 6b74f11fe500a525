"""Records that a service cannot handle: isolated, kept in the dead letters' topic, replayed to that service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from streamadapter import AdminClient, Message, Producer
from streamadapter.admin import ConfigResource, ResourceType
from streamadapter.testing.servers import Server
from streamstore import status
from streamstore.app import CONSUMERS, METADATA, ensure_topics
from streamstore.billing import DOCUMENTS, Billing
from streamstore.consuming import read_to_end
from streamstore.database import Database, Service, StoppedError
from streamstore.dead_letters import (
    DeadLetter,
    read_ledger,
    replay,
    replayed,
)
from streamstore.orders import Order, encode
from streamstore.outlet import Record
from streamstore.replaying.observer import observing
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.report import handled_events
from streamstore.replaying.sample import SAMPLE
from streamstore.runner import consume_orders

SECONDS = 120  # for anything here that should take a few
ORDERS = read_orders(SAMPLE).orders[:30]
POISON = ORDERS[11]  # among good ones, with some of its own customer's before and after it
QUICK = {"retry_seconds": 0.01}


class Choking(Billing):
    """Billing that fails at an order, after its effect and before the commit, so many times."""

    def __init__(self, times: float, order: Order = POISON, error: type[Exception] = RuntimeError) -> None:
        self.left = times
        self.applied: list[list[str]] = []
        self._order = order
        self._error = error

    def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
        super().apply(connection, orders)
        self.applied.append([order.event_id for order in orders])
        if self.left > 0 and self._order in orders:
            self.left -= 1
            raise self._error("choked\x1b[2J\nand what it choked on")

    def tries(self) -> int:
        return sum(self._order.event_id in ids for ids in self.applied)


class Colliding(Billing):
    """Billing whose tables refuse an order, whoever else is at work."""

    def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
        super().apply(connection, orders)
        if POISON in orders:
            super().apply(connection, orders)


@pytest.fixture(params=["embedded", "memory", "redis", "kafka"])
def shop(request: pytest.FixtureRequest, open_shop: Callable[..., Any]) -> Any:
    if request.param in ("redis", "kafka"):
        return open_shop(request.param, request.getfixturevalue(f"own_{request.param}").url, **QUICK)
    return open_shop(request.param, **QUICK)


@pytest.fixture(params=["redis", "kafka"])
def shop_and_server(request: pytest.FixtureRequest, open_shop: Callable[..., Any]) -> tuple[Any, Server]:
    server: Server = request.getfixturevalue(f"own_{request.param}")
    return open_shop(request.param, server.url, **QUICK), server


@contextmanager
def _consuming(shop: Any, *services: Service) -> Iterator[None]:
    """Services as threads of this process, stopped at the end; what they raise is raised here."""
    stop = Event()
    failures: list[BaseException] = []

    def consume(service: Service) -> None:
        try:
            with closing(Database(shop.settings.database_url(service.name), service.metadata)) as database:
                consume_orders(service, database, shop.settings, stop)
        except BaseException as error:  # noqa: BLE001 - raised below, by the test's own thread
            failures.append(error)

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
        for failure in failures:
            raise failure


def _all_services(shop: Any, *instead: Service) -> list[Service]:
    taken = {service.name for service in instead}
    return [*instead, *(make(shop.settings) for name, make in CONSUMERS.items() if name not in taken)]


def _publish(*records: Record) -> None:
    with Producer({}) as producer:
        for record in records:
            producer.produce(record.topic, record.value, record.key, headers=list(record.headers))
        assert producer.flush(SECONDS) == 0


def _order_records(orders: Iterable[Order] = ORDERS) -> list[Record]:
    return [Record("order-events", encode(order), order.key) for order in orders]


def _records(topic: str) -> list[Message]:
    return list(read_to_end(topic, SECONDS, {"group.id": "test"}))


def _await(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


def _await_read(shop: Any, *names: str) -> None:
    """Until the groups have committed to the end of the topic."""
    with observing(shop.settings) as observer:

        def arrived() -> bool:
            lag = observer.snapshot().lag
            return lag is not None and not any(lag[name] for name in names)

        _await(arrived, f"{names} have read all")


def _handled(shop: Any, name: str = "billing") -> dict[str, int]:
    """Event ids, and how often each came again."""
    with closing(Database(shop.settings.database_url(name), METADATA[name])) as database:
        return handled_events(database, name)


def _documents(shop: Any) -> Counter[str]:
    url = shop.settings.database_url("billing")
    with closing(Database(url, METADATA["billing"])) as database, database.read() as connection:
        return Counter(connection.scalars(sa.select(DOCUMENTS.c.event_id)))


def _letters() -> list[DeadLetter]:
    return read_ledger("dead-letters").all()


def _told(service: str, order: Order) -> list[str]:
    """What the service has told of an order, in its order."""
    statuses = [status.decode(message.value() or b"") for message in _records("order-status")]
    return [s.state for s in statuses if (s.service, s.event_id) == (service, order.event_id)]


def _once(orders: Iterable[Order] = ORDERS) -> dict[str, int]:
    return {order.event_id: 0 for order in orders}


def _without_poison() -> dict[str, int]:
    return _once(order for order in ORDERS if order != POISON)


def test_a_record_that_is_no_order_is_one_dead_letter_a_service_and_the_others_arrive(shop: Any) -> None:
    ensure_topics(shop.settings)
    poison = Record("order-events", b"junk\xff", b"key", (("trace", b"7"),))
    good = _order_records()
    _publish(*good[:15], poison, *good[15:])

    with _consuming(shop, *_all_services(shop)):
        _await_read(shop, *CONSUMERS)

    assert {name: _handled(shop, name) for name in CONSUMERS} == dict.fromkeys(CONSUMERS, _once())
    [origin] = [message for message in _records("order-events") if message.value() == b"junk\xff"]
    letters = _records("dead-letters")
    assert {(letter.key(), letter.value()) for letter in letters} == {(b"key", b"junk\xff")}
    found = [dict(letter.headers() or ()) for letter in letters]
    assert Counter(headers["dead-letter.service"] for headers in found) == Counter(
        name.encode() for name in CONSUMERS
    )
    for headers in found:
        assert headers["trace"] == b"7"
        assert headers["dead-letter.topic"] == b"order-events"
        assert headers["dead-letter.partition"] == str(origin.partition()).encode()
        assert headers["dead-letter.offset"] == str(origin.offset()).encode()
        assert headers["dead-letter.attempts"] == b"1"
        assert b"not an order" in (headers["dead-letter.reason"] or b"")
        age = datetime.now(UTC) - datetime.fromisoformat((headers["dead-letter.at"] or b"").decode())
        assert 0 <= age.total_seconds() < SECONDS


def test_dead_letters_stay_as_long_as_nobody_deletes_them(shop: Any) -> None:
    ensure_topics(shop.settings)

    topic = ConfigResource(ResourceType.TOPIC, "dead-letters")
    with AdminClient({}) as admin:
        configs = admin.describe_configs([topic])[topic].result(SECONDS)

    assert configs["retention.ms"].value == "-1"


def test_an_order_a_service_chokes_on_is_a_dead_letter_and_replayed_once_mended_it_has_one_effect(
    shop: Any,
) -> None:
    ensure_topics(shop.settings)
    _publish(*_order_records())
    billing = Choking(times=float("inf"))
    with _consuming(shop, *_all_services(shop, billing)):
        _await_read(shop, *CONSUMERS)
    assert _handled(shop) == _without_poison()
    assert _documents(shop) == Counter(_without_poison().keys())
    assert billing.tries() == 3
    [letter] = read_ledger("dead-letters").open()
    assert (letter.service, letter.attempts, letter.value) == ("billing", 3, encode(POISON))
    assert letter.reason == "RuntimeError: choked\x1b[2J"
    assert _told("billing", POISON) == ["dead letter"]

    assert list(replay("dead-letters", [letter])) == [letter]
    with _consuming(shop, *_all_services(shop)):
        _await_read(shop, *CONSUMERS)

    assert _told("billing", POISON) == ["dead letter", "invoiced"]

    assert {name: _handled(shop, name) for name in CONSUMERS} == dict.fromkeys(CONSUMERS, _once())
    assert _documents(shop) == Counter(_once().keys())
    ledger = read_ledger("dead-letters")
    assert ledger.open() == []
    assert ledger.all() == [letter]


def test_a_dead_letter_replayed_twice_by_a_crash_has_one_effect(open_shop: Callable[..., Any]) -> None:
    shop = open_shop("memory", **QUICK)
    ensure_topics(shop.settings)
    _publish(*_order_records())
    with _consuming(shop, Choking(times=float("inf"))):
        _await_read(shop, "billing")
    [letter] = _letters()

    _publish(replayed(letter))  # and then it died, before the marker
    assert read_ledger("dead-letters").open() == [letter]
    list(replay("dead-letters", [letter]))
    with _consuming(shop, Billing()):
        _await_read(shop, "billing")

    assert _handled(shop) == _without_poison() | {POISON.event_id: 1}
    assert _documents(shop) == Counter(_once().keys())


def test_what_fails_again_after_a_replay_is_a_dead_letter_again_with_all_its_attempts(
    open_shop: Callable[..., Any],
) -> None:
    shop = open_shop("memory", **QUICK)
    ensure_topics(shop.settings)
    _publish(*_order_records(), Record("order-events", b"junk", b"key"))
    for _ in range(2):
        with _consuming(shop, Choking(times=float("inf"))):
            _await_read(shop, "billing")
        list(replay("dead-letters", read_ledger("dead-letters").open()))

    assert [letter.attempts for letter in _letters() if letter.value == encode(POISON)] == [3, 6]
    assert [letter.attempts for letter in _letters() if letter.value == b"junk"] == [1, 2]


@pytest.mark.parametrize("times", [1, 2])
def test_an_order_that_fails_less_often_than_its_attempts_is_handled(
    open_shop: Callable[..., Any], times: int
) -> None:
    shop = open_shop("memory", **QUICK)
    ensure_topics(shop.settings)
    _publish(*_order_records())
    billing = Choking(times)

    with _consuming(shop, billing):
        _await_read(shop, "billing")

    assert billing.tries() == times + 1
    assert _handled(shop) == _once()
    assert _documents(shop) == Counter(_once().keys())
    assert _letters() == []


def test_a_customers_orders_are_handled_in_their_order_although_one_is_tried_again(
    open_shop: Callable[..., Any],
) -> None:
    shop = open_shop("memory", partitions=1, **QUICK)
    ensure_topics(shop.settings)
    _publish(*_order_records())
    billing = Choking(times=2)

    with _consuming(shop, billing):
        _await_read(shop, "billing")

    effective = [ids for ids in billing.applied if POISON.event_id not in ids]
    last_try = next(ids for ids in reversed(billing.applied) if POISON.event_id in ids)
    effective.insert(11, last_try)
    assert [ids[0] for ids in billing.applied[-len(ORDERS) - 1 :]].index(POISON.event_id) == 11
    assert [event_id for ids in effective for event_id in ids] == [order.event_id for order in ORDERS]


def test_orders_that_all_fail_are_all_dead_letters(open_shop: Callable[..., Any]) -> None:
    class Broken(Billing):
        def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
            raise KeyError("a bug")

    shop = open_shop("memory", retry_seconds=0)
    ensure_topics(shop.settings)
    _publish(*_order_records())

    with _consuming(shop, Broken()):
        _await_read(shop, "billing")

    assert Counter(letter.value for letter in _letters()) == Counter(encode(order) for order in ORDERS)


def test_an_order_that_always_collides_with_a_row_does_not_stop_its_service(
    open_shop: Callable[..., Any],
) -> None:
    shop = open_shop("memory", attempts=1, **QUICK)
    ensure_topics(shop.settings)
    _publish(*_order_records())

    with _consuming(shop, Colliding()):
        _await_read(shop, "billing")

    assert _handled(shop) == _without_poison()
    assert [letter.reason.partition(":")[0] for letter in _letters()] == ["IntegrityError"]


def test_a_record_too_large_to_be_kept_twice_is_a_dead_letter_that_says_where_it_is(
    shop_and_server: tuple[Any, Server],
) -> None:
    shop, _ = shop_and_server
    ensure_topics(shop.settings)
    with Producer({"message.max.bytes": 2_000_000}) as producer:
        producer.produce("order-events", b"x" * 1_048_400, b"k")  # 188 bytes below what a topic takes
        assert producer.flush(SECONDS) == 0
    _publish(*_order_records())

    with _consuming(shop, Billing()):
        _await_read(shop, "billing")

    assert _handled(shop) == _once()
    [origin] = [message for message in _records("order-events") if len(message) > 1_000_000]
    [letter] = _letters()
    assert letter.omitted
    assert letter.origin == f"order-events:{origin.partition()}:{origin.offset()}"
    done = _streamstore("replay", "--all", config=shop.config, status=1)
    assert letter.origin in done.stderr
    assert done.stderr.count("\n") == 1


def test_while_the_broker_is_away_a_dead_letter_is_waited_for_and_nothing_is_committed_before_it(
    shop_and_server: tuple[Any, Server], caplog: pytest.LogCaptureFixture
) -> None:
    shop, server = shop_and_server

    class BrokerGone(Choking):
        """The broker dies just before the order becomes a dead letter."""

        def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
            if self._order in orders and self.tries() == 2 and not gone.is_set():
                server.kill()
                gone.set()
            super().apply(connection, orders)

    gone = Event()
    ensure_topics(shop.settings)
    _publish(*_order_records())

    with _consuming(shop, BrokerGone(times=float("inf"))):
        _await(gone.is_set, "the broker is gone")
        _await(lambda: "waiting for the broker" in caplog.text, "the service waits for it")
        server.start()
        _await_read(shop, "billing")

    # Twice, if the service was away for so long that its partitions were taken from it.
    assert {letter.value for letter in _letters()} == {encode(POISON)}
    assert _handled(shop).keys() == _without_poison().keys()
    assert _documents(shop) == Counter(_without_poison().keys())


def test_a_service_that_waits_for_the_broker_with_a_dead_letter_stops_when_it_is_told_to(
    open_shop: Callable[..., Any], own_redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    shop = open_shop("redis", own_redis.url, **QUICK)
    ensure_topics(shop.settings)
    _publish(*_order_records())
    applied = Event()

    class BrokerGone(Billing):
        def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
            own_redis.kill()
            applied.set()
            raise RuntimeError("choked")

    with pytest.raises(StoppedError), _consuming(shop, BrokerGone()):
        _await(lambda: "waiting for the broker" in caplog.text, "the service waits for the broker")
    own_redis.start()

    assert _letters() == []
    with _consuming(shop, Billing()):
        _await_read(shop, "billing")
    assert _handled(shop) == _once()


# The command


def _streamstore(*arguments: object, config: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "streamstore", "dead-letters", *map(str, arguments), "--config", str(config)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"COLUMNS": "160"},  # a terminal that is wide enough to fold nothing
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.fixture(params=["embedded", "redis", "kafka"])
def shared_shop(request: pytest.FixtureRequest, open_shop: Callable[..., Any]) -> Any:
    """A shop whose log other processes see."""
    url = "" if request.param == "embedded" else request.getfixturevalue(f"own_{request.param}").url
    return open_shop(request.param, url, **QUICK)


def test_the_command_lists_replays_and_remembers(shared_shop: Any) -> None:
    shop = shared_shop
    with closing(Producer({})):  # on embedded: the server stays up between the commands
        assert _streamstore("list", config=shop.config).stdout == "No dead letters.\n"  # nor a topic
        ensure_topics(shop.settings)
        assert _streamstore("list", config=shop.config).stdout == "No dead letters.\n"
        _publish(*_order_records(), Record("order-events", b"junk", "k\x1b]0;owned\x07[red]"))
        with _consuming(shop, Choking(times=float("inf"))):
            _await_read(shop, "billing")

        table = _streamstore("list", config=shop.config).stdout
        rows = json.loads(_streamstore("list", "--json", config=shop.config).stdout)
        ids = {row["reason"].partition(":")[0]: row["id"] for row in rows}
        assert all(name in table for name in (*ids.values(), "billing", "[red]"))
        assert "\x1b" not in table
        assert "\x07" not in table
        assert {row["attempts"] for row in rows} == {1, 3}

        chosen = ids["RuntimeError"]
        assert f"{chosen}: order-events:" in _streamstore("replay", chosen, config=shop.config).stdout
        again = _streamstore("replay", chosen, chosen, config=shop.config)
        assert again.stdout == f"{chosen}: was replayed before\n"
        [left] = json.loads(_streamstore("list", "--json", config=shop.config).stdout)
        assert left["id"] == ids["not an order"]
        everything = json.loads(_streamstore("list", "--all", "--json", config=shop.config).stdout)
        assert {row["id"]: row["replayed"] for row in everything} == {chosen: True, left["id"]: False}

        assert left["id"] in _streamstore("replay", "--all", config=shop.config).stdout
        assert _streamstore("replay", "--all", config=shop.config).stdout == "No dead letters.\n"
        with _consuming(shop, Billing()):
            _await_read(shop, "billing")
        assert _handled(shop) == _once()
        [failed_again] = json.loads(_streamstore("list", "--json", config=shop.config).stdout)
        assert (failed_again["key"], failed_again["attempts"]) == ("k\x1b]0;owned\x07[red]", 2)


def test_wrong_usage_an_unknown_id_and_a_log_of_one_process_are_errors_in_one_line(
    open_shop: Callable[..., Any],
) -> None:
    shop = open_shop("embedded")
    assert "--all" in _streamstore("replay", config=shop.config, status=2).stderr
    assert "--all" in _streamstore("replay", "0:1", "--all", config=shop.config, status=2).stderr
    unknown = _streamstore("replay", "0:1", config=shop.config, status=1)
    assert unknown.stderr == "Error: no dead letter 0:1: see streamstore dead-letters list\n"
    memory = _streamstore("list", config=open_shop("memory").config, status=1)
    assert memory.stderr.count("\n") == 1
    for command in ("list", "replay"):
        assert "Examples:" in _streamstore(command, "--help", config=shop.config).stdout


@pytest.mark.parametrize("command", [("list",), ("replay", "--all")])
def test_a_server_that_cannot_be_reached_is_an_error_in_one_line(
    shop_and_server: tuple[Any, Server], command: tuple[str, ...]
) -> None:
    shop, server = shop_and_server
    server.stop()

    done = _streamstore(*command, config=shop.config, status=1)

    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
