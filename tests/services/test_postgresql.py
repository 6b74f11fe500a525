"""The shop on a real PostgreSQL: figures, instances that start and work at once, a server that crashes."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from streamadapter.testing.servers import Server
from streamstore import billing
from streamstore.app import CONSUMERS, METADATA, SERVICES, run_service
from streamstore.database import Database, handle, persistently
from streamstore.order import view
from streamstore.orders import Line, Order, encode
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.report import analytics_figures, billing_figures, handled_events
from streamstore.replaying.sample import SAMPLE
from streamstore.settings import Settings

SECONDS = 120
AT_ONCE = 6
ORDERS = read_orders(SAMPLE).orders[:120]
NOON = datetime(2026, 1, 31, 12)
Await = Callable[..., None]


class PostgreSqlServer(Server):
    """The newest PostgreSQL of this machine on loopback, as it is shipped: with a sync at each commit.

    It does not run as root; started by root it runs as nobody, whom `directory` must belong to.
    """

    @staticmethod
    def binary() -> str:
        found = [*Path("/usr/lib/postgresql").glob("*/bin/postgres")]
        if not found:
            raise FileNotFoundError("no /usr/lib/postgresql/*/bin/postgres: install Debian's postgresql")
        return str(max(found, key=lambda path: int(path.parent.parent.name)))

    @property
    def url(self) -> str:
        """Of the database that is always there."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql+psycopg://shop@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new empty database's URL."""
        with psycopg.connect(host="127.0.0.1", port=self.port, user="shop", dbname="postgres") as connection:
            connection.autocommit = True
            connection.execute(f'CREATE DATABASE "{database}"'.encode())
        return self.url_of(database)

    def _command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        options = (f"--{name}={value}" for name, value in settings.items())
        return [*_as_nobody(), self.binary(), "-D", str(self._data), *options]

    def _launch(self) -> None:
        if not self._data.exists():
            initdb = str(Path(self.binary()).with_name("initdb"))
            options = ["--username=shop", "--auth=trust", "--encoding=UTF8", "--locale=C"]
            command = [*_as_nobody(), initdb, "-D", str(self._data), *options]
            subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=SECONDS)
        super()._launch()

    def _ready(self) -> bool:
        path = self._data / "postmaster.pid"
        lines = path.read_text().splitlines() if path.exists() else []
        return len(lines) == 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _reap(self, number: signal.Signals) -> None:
        """SIGKILL would leave its children; SIGQUIT is its crash, SIGINT its end that awaits no clients."""
        super()._reap({signal.SIGKILL: signal.SIGQUIT, signal.SIGTERM: signal.SIGINT}[number])

    @property
    def _data(self) -> Path:
        return self.directory / "data"


def _as_nobody() -> list[str]:
    """What makes root's command somebody else's."""
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []


@pytest.fixture(scope="module")
def postgresql(need_server: Callable[[type[Server]], None]) -> Iterator[PostgreSqlServer]:
    need_server(PostgreSqlServer)
    directory = Path(tempfile.mkdtemp(prefix="postgresql-"))  # pytest's own are closed to others than root
    try:
        if os.geteuid() == 0:
            os.chown(directory, pwd.getpwnam("nobody").pw_uid, -1)
        with PostgreSqlServer(directory) as server:
            yield server
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def url(postgresql: PostgreSqlServer) -> str:
    """An empty database."""
    return postgresql.create(f"shop-{uuid.uuid4().hex}")


@pytest.fixture
def urls(postgresql: PostgreSqlServer) -> str:
    """An empty database a service."""
    name = f"shop-{uuid.uuid4().hex}"
    for service in SERVICES:
        postgresql.create(f"{name}-{service}")
    return postgresql.url_of(name + "-{service}")


@pytest.fixture
def open_database(url: str) -> Iterator[Callable[[sa.MetaData], Database]]:
    opened: list[Database] = []

    def open_one(metadata: sa.MetaData) -> Database:
        opened.append(Database(url, metadata))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


def _replay(shop: Any, path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "streamstore", "replay", path, "--config", shop.config]
    return subprocess.Popen([*command, "--report", shop.config.parent / "report.json"])


def _report(shop: Any, replay: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert replay.wait(SECONDS) == 0
    report: dict[str, Any] = json.loads((shop.config.parent / "report.json").read_text())
    return report


def _rows(database: Database, metadata: sa.MetaData) -> dict[str, list[str]]:
    with database.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table))))
            for table in metadata.sorted_tables
        }


def _at_once(actions: list[Callable[[], Any]]) -> list[Any]:
    """Results of actions that begin at the same time."""
    barrier = threading.Barrier(len(actions))

    def do(action: Callable[[], Any]) -> Any:
        barrier.wait(SECONDS)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(do, actions))


# -- a whole replay


@pytest.mark.parametrize(
    ("databases", "real_day"), [("url", "2010-12-01.csv"), ("urls", "2010-12-06.csv")], indirect=["real_day"]
)
def test_the_report_is_what_an_independent_reading_of_the_file_gives(
    open_shop: Callable[..., Any],
    real_day: Path,
    read_independently: Callable[[Path], dict[str, Any]],
    databases: str,
    request: pytest.FixtureRequest,
) -> None:
    shop = open_shop("embedded", database=request.getfixturevalue(databases))

    report = _report(shop, _replay(shop, real_day))

    expected = read_independently(real_day)
    assert {key: report[key] for key in expected} == expected
    assert report["duplicates_seen"] == 0
    assert not [*shop.settings.data_dir.glob("*.db")]


@pytest.mark.slow
@pytest.mark.parametrize("real_day", ["2010-12-06.csv"], indirect=True)
def test_a_server_that_crashes_in_the_middle_of_a_replay_loses_and_doubles_nothing(
    open_shop: Callable[..., Any],
    url: str,
    postgresql: PostgreSqlServer,
    real_day: Path,
    read_independently: Callable[[Path], dict[str, Any]],
    await_condition: Await,
) -> None:
    shop = open_shop("embedded", database=url, batch_size=5)  # many transactions to crash in
    expected = read_independently(real_day)
    events = expected["inventory"]["orders"]

    handled = [0]

    def has_handled(some: float) -> bool:
        with closing(Database(url, METADATA["billing"])) as database:
            handled.append(len(handled_events(database, "billing")))
        return handled[-1] > some

    replay = _replay(shop, real_day)
    await_condition(partial(has_handled, events / 5), "it is in the middle")
    postgresql.kill()
    postgresql.start()
    assert handled[-1] < events

    report = _report(shop, replay)

    assert {key: report[key] for key in expected} == expected


def test_idle_connections_do_not_fail_after_the_server_was_restarted(
    postgresql: PostgreSqlServer, open_database: Callable[..., Database], settings: Settings
) -> None:
    service = CONSUMERS["billing"](settings)
    databases = [open_database(service.metadata) for _ in range(2)]

    postgresql.restart()

    handle(databases[0], service, ORDERS[:1])
    assert handled_events(databases[1], "billing") == {ORDERS[0].event_id: 0}


# -- several instances


def test_instances_that_start_at_once_on_an_empty_database_all_find_their_tables(
    postgresql: PostgreSqlServer,
) -> None:
    for _ in range(3):
        url = postgresql.create(f"race-{uuid.uuid4().hex}")
        metadata = [*METADATA.values()] * AT_ONCE

        opened = _at_once([partial(Database, url, each) for each in metadata])

        for database, each in zip(opened, metadata, strict=True):
            assert not any(_rows(database, each).values())
            database.close()


@pytest.mark.parametrize("name", CONSUMERS)
def test_instances_that_handle_the_same_orders_at_once_have_the_effect_of_one(
    name: str, settings: Settings, open_database: Callable[..., Database]
) -> None:
    service = CONSUMERS[name](settings)
    with closing(Database(settings.database_url(name), service.metadata)) as reference:
        handle(reference, service, ORDERS)
        expected = _rows(reference, service.metadata)
    del expected[service.handled.name]

    def work(database: Database, first: int) -> None:
        turned = [*ORDERS[first:], *ORDERS[:first]]  # they meet in the middle of each other's work
        for start in range(0, len(turned), 20):
            action = partial(handle, database, service, turned[start : start + 20])
            persistently(action, name, threading.Event())

    databases = [open_database(service.metadata) for _ in range(4)]
    _at_once([partial(work, database, 13 * i) for i, database in enumerate(databases)])

    found = _rows(databases[0], service.metadata)
    del found[service.handled.name]
    assert found == expected
    assert handled_events(databases[0], name) == {order.event_id: 3 for order in ORDERS}


@pytest.mark.slow
@pytest.mark.parametrize("real_day", ["2010-12-06.csv"], indirect=True)
def test_two_processes_a_service_share_the_work_of_a_replay(
    open_shop: Callable[..., Any],
    start_up: Callable[..., Any],
    free_ports: int,
    url: str,
    real_day: Path,
    read_independently: Callable[[Path], dict[str, Any]],
) -> None:
    shop = open_shop("embedded", database=url, batch_size=5, port=free_ports)
    instances = [part for name in SERVICES for part in ("--instances", f"{name}=2")]
    start_up(*instances, shop=shop)

    report = _report(shop, _replay(shop, real_day))

    expected = read_independently(real_day)
    assert {key: report[key] for key in expected} == expected


# -- what the tables keep


def test_amounts_are_exact(open_database: Callable[..., Database], settings: Settings) -> None:
    prices = ["0.1", "0.20", "123456789012.123456789012", "0.000000000001", "-0.3"]
    orders = [
        Order(str(number), None, "EIRE", NOON, (Line("A", None, 3, Decimal(price)),))
        for number, price in enumerate(prices)
    ]
    total = "370370367036.370370367039"

    for name in ("billing", "analytics"):
        for order in orders:
            handle(open_database(METADATA[name]), CONSUMERS[name](settings), [order])

    events = {order.event_id for order in orders}
    analytics = analytics_figures(open_database(METADATA["analytics"]), events)
    assert billing_figures(open_database(METADATA["billing"]), events)["total"] == total
    assert analytics["revenue"] == analytics["revenue_by_country"]["EIRE"] == total


def test_a_look_sees_one_state_while_others_write(
    open_database: Callable[..., Database], settings: Settings
) -> None:
    service = CONSUMERS["billing"](settings)
    database = open_database(service.metadata)
    count = sa.select(sa.func.count()).select_from(billing.DOCUMENTS)
    handle(database, service, ORDERS[:1])

    with database.read() as connection:
        before = connection.scalar(count)
        handle(database, service, ORDERS[1:3])
        assert connection.scalar(count) == before == 1
    with database.read() as connection:
        assert connection.scalar(count) == 3


# -- the services that answer HTTP


def test_an_order_is_followed_to_its_confirmation_and_its_cancellation(
    open_shop: Callable[..., Any], start_instance: Callable[..., Any], url: str, await_condition: Await
) -> None:
    shop = open_shop("memory", database=url)
    api = start_instance(shop, "order")
    stop = threading.Event()
    threads = [threading.Thread(target=run_service, args=(name, shop.settings, stop)) for name in CONSUMERS]
    for thread in threads:
        thread.start()
    try:
        line = {"stock_code": "A", "description": "CAFÉ", "quantity": 2, "unit_price": "2.55"}
        _, placed = api.post("/orders", {"customer": "1", "country": "EIRE", "lines": [line]})
        await_condition(lambda: api.get(placed["href"])["state"] == "confirmed")
        assert api.get(placed["href"])["total"] == "5.10"

        api.post(f"{placed['href']}/cancel", {})
        await_condition(lambda: api.get(placed["href"])["state"] == "cancelled")
    finally:
        stop.set()
        for thread in threads:
            thread.join(SECONDS)


def test_writers_of_the_same_view_at_once_agree(
    open_database: Callable[..., Database],
) -> None:
    payloads = {order.invoice_no: encode(order) for order in ORDERS}
    states = {(order.event_id, "billing"): "invoiced" for order in ORDERS}
    batch = view.Batch(payloads, states)
    databases = [open_database(METADATA["order"]) for _ in range(AT_ONCE)]

    def write(database: Database) -> None:
        persistently(partial(view.write, database, batch), "view", threading.Event())

    _at_once([partial(write, database) for database in databases])

    rows = _rows(databases[0], METADATA["order"])
    assert len(rows["order_view"]) == len(rows["order_states"]) == len(ORDERS)


@pytest.mark.parametrize("name", CONSUMERS)
def test_called_services_do_not_fail_orders_that_meet_in_new_rows(
    open_shop: Callable[..., Any], start_instance: Callable[..., Any], url: str, name: str
) -> None:
    service = start_instance(open_shop("memory", database=url, architecture="synchronous"), name)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda order: service.post("/orders", encode(order))[0], ORDERS))

    assert answers == [200] * len(ORDERS)


@pytest.mark.parametrize("architecture", ["events", "synchronous"])
def test_positions_of_couriers_come_back_as_they_were_sent(
    open_shop: Callable[..., Any],
    start_instance: Callable[..., Any],
    url: str,
    await_condition: Await,
    architecture: str,
) -> None:
    tracking = start_instance(
        open_shop("memory", database=url, architecture=architecture), "delivery_tracking"
    )
    sent = [
        {"courier": "c-1", "latitude": 51.123456789, "longitude": -0.12, "at": 2**53 - i} for i in range(9)
    ]

    tracking.post("/locations", sent)

    await_condition(lambda: tracking.get("/couriers/c-1/history") == sent[::-1])
    assert tracking.get("/couriers") == sent[-1:]


@pytest.mark.parametrize("architecture", ["events", "synchronous"])
def test_messages_by_several_instances_are_one_channel_in_one_order(
    open_shop: Callable[..., Any],
    start_instance: Callable[..., Any],
    url: str,
    await_condition: Await,
    architecture: str,
) -> None:
    shop = open_shop("memory", database=url, architecture=architecture)
    chats = _at_once([partial(start_instance, shop, "chat")] * 3)
    texts = [f"čaj {i}" for i in range(60)]

    def say(i: int) -> None:
        status, _ = chats[i % 3].post("/channels/tea/messages", {"author": "ada", "text": texts[i]})
        assert status == 202

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(say, range(len(texts))))

    def said(chat: Any) -> list[Any]:
        messages: list[Any] = chat.get("/channels/tea/messages?limit=100")
        return messages

    await_condition(lambda: all(len(said(chat)) == len(texts) for chat in chats))
    messages = said(chats[0])
    assert said(chats[1]) == said(chats[2]) == messages
    assert sorted(message["text"] for message in messages) == sorted(texts)
    assert [message["id"] for message in messages] == sorted({message["id"] for message in messages})
