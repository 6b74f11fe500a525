"""The dashboard's HTTP interface: what it says is what the databases say, and who may give commands."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from streamadapter import Producer
from streamadapter.testing.servers import Server
from streamstore import analytics, billing
from streamstore.app import CONSUMERS, METADATA
from streamstore.dashboard.guard import refusal
from streamstore.dashboard.proxy import MAX_BODY
from streamstore.dashboard.server import dashboard
from streamstore.dashboard.state import Databases
from streamstore.dashboard.watch import Rate, Watch
from streamstore.database import Database
from streamstore.dead_letters import marker, read_ledger
from streamstore.orders import Order, add, as_text, encode
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.report import analytics_figures, billing_figures, handled_events
from streamstore.replaying.sample import SAMPLE
from streamstore.running.supervisor import Supervisor
from streamstore.settings import Settings
from streamstore.web.server import serve

SECONDS = 90


def _await(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


def _publish(orders: Sequence[Order]) -> None:
    with Producer({}) as producer:
        for order in orders:
            producer.produce("order-events", encode(order), order.key)
        assert producer.flush(SECONDS) == 0


def _handled(state: dict[str, Any], count: int) -> bool:
    return all(state["handled"][name] == count for name in CONSUMERS)


@contextmanager
def _database(settings: Settings, name: str) -> Iterator[Database]:
    with closing(Database(settings.database_url(name), METADATA[name])) as database:
        yield database


def test_the_numbers_of_the_state_are_those_of_the_databases_and_the_log(
    start_up: Callable[..., Any],
) -> None:
    orders = read_orders(SAMPLE).orders
    events = {order.event_id for order in orders}
    up = start_up("--instances", "billing=2")
    settings = up.shop.settings
    _publish(orders)
    _await(lambda: _handled(up.state(), len(orders)), "all handled")
    _await(lambda: up.state()["orders"]["accepted"] == len(orders), "all counted")
    _await(lambda: all(service["lag"] == 0 for service in up.state()["services"]), "all committed")

    state = up.state()

    assert list(state) == [
        "backend",
        "architecture",
        "time",
        "orders",
        "services",
        "revenue",
        "handled",
        "dead_letters",
        "couriers",
        "recent",
        "errors",
    ]
    assert (state["backend"], state["architecture"]) == ("embedded", "events")
    assert abs(state["time"] - time.time()) < SECONDS
    assert state["orders"]["accepted"] == len(orders)
    assert state["orders"]["per_second"] >= 0
    assert state["dead_letters"] == 0
    assert state["errors"] == []
    for name in CONSUMERS:
        with _database(settings, name) as database:
            assert state["handled"][name] == len(handled_events(database, name))
    with _database(settings, "analytics") as database:
        figures = analytics_figures(database, events)
        with database.read() as connection:
            days = connection.execute(sa.select(analytics.BY_DAY)).all()
    assert state["revenue"]["total"] == figures["revenue"]
    assert dict(state["revenue"]["by_country"]) == figures["revenue_by_country"]
    assert state["revenue"]["by_day"] == [[day, as_text(amount)] for day, amount in sorted(days)]
    with _database(settings, "billing") as database:
        assert billing_figures(database, events)["total"] == state["revenue"]["total"]
    newest = sorted(orders, key=lambda order: (order.placed_at, order.invoice_no), reverse=True)[:10]
    assert state["recent"] == [
        {
            "number": order.invoice_no,
            "customer": order.customer,
            "total": as_text(add(line.amount for line in order.lines)),
            "kind": billing.CREDIT_NOTE if order.is_cancellation else billing.INVOICE,
        }
        for order in newest
    ]
    partitions = up.service("billing")["partitions"]
    assert [p["partition"] for p in partitions] == [0, 1, 2, 3]
    assert sum(p["log_end"] for p in partitions) == len(orders)
    assert all(p["log_end"] == (p["committed"] or 0) and p["lag"] == 0 for p in partitions)
    assert {p["owner"] for p in partitions} == {"billing-1", "billing-2"}


def test_open_dead_letters_are_counted_until_they_are_replayed(start_up: Callable[..., Any]) -> None:
    up = start_up()
    topic = up.shop.settings.dead_letter_topic
    good = read_orders(SAMPLE).orders[0]
    with Producer({}) as producer:
        producer.produce("order-events", b"junk", b"key")
        assert producer.flush(SECONDS) == 0

    def count() -> int:
        return int(up.state()["dead_letters"])

    _await(lambda: count() >= len(CONSUMERS), "one a service that could not read it")
    assert count() == len(read_ledger(topic).open())

    for letter in read_ledger(topic).open():  # as if each had been mended and replayed
        where = marker(topic, letter)
        with Producer({}) as producer:
            headers = list(where.headers)
            producer.produce(topic, where.value, where.key, where.partition, headers=headers)
            assert producer.flush(SECONDS) == 0
    _await(lambda: count() == 0, "none is open")
    _publish([good])
    _await(lambda: _handled(up.state(), 1), "and the others go on")


def test_an_invoice_is_served_and_an_unknown_one_is_not_found(start_up: Callable[..., Any]) -> None:
    up = start_up()
    order = read_orders(SAMPLE).orders[0]
    _publish([order])
    _await(lambda: up.state()["handled"]["billing"] == 1, "it is billed")

    with urllib.request.urlopen(f"{up.url}/invoices/{order.invoice_no}", timeout=30) as answer:
        page = answer.read().decode()

    assert order.invoice_no in page
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(f"{up.url}/invoices/nowhere", timeout=30)
    assert missing.value.code == 404
    missing.value.close()


def test_what_the_rest_knows_is_shown_while_the_server_cannot_be_reached(
    start_up: Callable[..., Any], open_shop: Callable[..., Any], own_redis: Server, free_ports: int
) -> None:
    up = start_up("--drain", "1", shop=open_shop("redis", own_redis.url, port=free_ports))
    orders = read_orders(SAMPLE).orders[:20]
    _publish(orders)
    _await(lambda: _handled(up.state(), len(orders)), "all handled")
    _await(lambda: up.state()["orders"]["accepted"] == len(orders), "all counted")

    own_redis.stop()

    _await(lambda: any(e.startswith("lag: ") for e in up.state()["errors"]), "it says so")
    state = up.state()
    assert all("\n" not in error for error in state["errors"])
    assert _handled(state, len(orders))
    assert state["orders"]["accepted"] == len(orders)
    assert len(state["recent"]) == 10

    own_redis.start()
    _await(lambda: up.state()["errors"] == [], "and no longer when it is back")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/services/bakery/kill", 404),
        ("POST", "/api/services/bakery/scale?instances=1", 404),
        ("POST", "/api/services/billing/scale", 422),
        ("POST", "/api/services/billing/scale?instances=65", 422),
        ("POST", "/api/services/billing/scale?instances=-1", 422),
        ("POST", "/api/services/billing/kill", 409),
        ("GET", "/api/services/billing/kill", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/chat/channels", 502),
    ],
)
def test_requests_that_make_no_sense_are_refused_with_a_status(
    served: str, method: str, path: str, status: int
) -> None:
    request = urllib.request.Request(served + path, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == status
    refused.value.close()


def test_a_command_out_of_a_foreign_page_is_refused_and_has_no_effect(served: str) -> None:
    port = served.rpartition(":")[2]

    def stop(**headers: str) -> int:
        request = urllib.request.Request(
            f"{served}/api/services/billing/stop", method="POST", headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert stop(Origin="http://evil.example") == 403
    assert stop(Host=f"evil.example:{port}") == 403
    assert stop(Host=f"evil.example:{port}", Origin=f"http://evil.example:{port}") == 403
    assert stop(Origin=served) == 200
    assert stop(Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == 200


@pytest.mark.parametrize(
    ("method", "host", "origin", "allowed"),
    [
        ("POST", "127.0.0.1:8001", None, True),  # no browser
        ("POST", "127.0.0.1:8001", "http://127.0.0.1:8001", True),
        ("POST", "localhost:8001", "http://localhost:8001", True),
        ("POST", "[::1]:8001", "http://[::1]:8001", True),
        ("POST", "shop.lan:8001", "http://shop.lan:8001", True),  # served on that name
        ("POST", "127.0.0.1:8001", "http://127.0.0.1:3000", False),  # another site of this machine
        ("POST", "127.0.0.1:8001", "http://localhost:8001", False),
        ("POST", "127.0.0.1:8001", "null", False),  # a sandboxed frame, a file
        ("POST", "127.0.0.1:8001", "http://evil.example", False),
        ("POST", "evil.example:8001", "http://evil.example:8001", False),  # DNS rebinding
        ("GET", "evil.example:8001", None, False),
        ("GET", "127.0.0.1:8001", "http://evil.example", True),  # which it cannot read, for want of CORS
        ("POST", "", None, False),
        ("POST", "[::1", None, False),
    ],
)
def test_whose_requests_are_taken(method: str, host: str, origin: str | None, allowed: bool) -> None:
    headers = Headers({"host": host} | ({} if origin is None else {"origin": origin}))

    assert (refusal(method, headers, "shop.lan") is None) == allowed


def test_the_pages_files_are_served(served: str) -> None:
    with urllib.request.urlopen(f"{served}/", timeout=30) as page:
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"].split("; ")
        assert {"default-src 'self'", "frame-ancestors 'none'"} <= {*policy}
    with urllib.request.urlopen(f"{served}/static/index.html", timeout=30) as file:
        assert file.status == 200


def test_a_stream_is_passed_on_as_it_comes_and_closed_when_its_reader_leaves(
    served: str, upstream: Upstream
) -> None:
    async def read() -> None:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{served}/chat/stream?after=7", headers={"Last-Event-ID": "3-4"}) as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert await answer.content.readline() == b"data: 0\n"
            # The second one is sent only after the first was read here: nothing waits for the end.
            upstream.proceed.set()
            assert await answer.content.readline() == b"data: 1\n"
            assert not upstream.left.is_set()

    asyncio.run(asyncio.wait_for(read(), SECONDS))

    assert upstream.left.wait(SECONDS / 3)
    assert upstream.seen[0] == ("/stream", "after=7", "3-4")


def test_requests_and_answers_pass_unchanged(served: str, upstream: Upstream) -> None:
    body = json.dumps({"text": "Größe 😀"}).encode()
    request = urllib.request.Request(
        f"{served}/chat/channels/a%2Fb%20c/messages?limit=%2B1",
        data=body,
        headers={"Content-Type": "application/json", "X-Mine": "yes"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202
        assert answer.headers["x-theirs"] == "too"
        assert json.load(answer) == {
            "raw_path": "/channels/a%2Fb%20c/messages",
            "query": "limit=%2B1",
            "body": body.decode(),
            "type": "application/json",
            "mine": "yes",
        }


def test_a_body_too_long_is_refused(served: str, upstream: Upstream) -> None:
    request = urllib.request.Request(f"{served}/chat/echo", data=b"x" * (MAX_BODY + 1))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 413
    refused.value.close()
    assert upstream.seen == []


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()

    assert rate.at(0.0, 100) == 0.0
    assert rate.at(1.0, 110) == 10.0
    for second in range(2, 20):
        last = rate.at(float(second), 110 + 50 * (second - 1))
    assert last == 50.0
    assert rate.at(21.0, 0) == 0.0  # the counter began anew


def test_what_was_seen_last_stays_when_looking_fails() -> None:
    answers: list[int | Exception] = [1, RuntimeError("first line\nsecond line"), 2]
    seen: list[tuple[int, str | None]] = []

    def look() -> int:
        seen.append((watch.value, watch.error))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch = Watch("lag", look, 0)
    watch.start()
    _await(lambda: len(seen) == 3, "three looks")
    watch.stop()

    assert seen == [(0, None), (1, None), (1, "lag: first line")]
    assert (watch.value, watch.error) == (2, None)


class Upstream:
    """A stand-in for the chat service: what it was asked, and when its stream's reader left."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str | None]] = []
        self.proceed = threading.Event()
        self.left = threading.Event()
        self.app = Starlette(
            routes=[
                Route("/stream", self._stream),
                Route("/{path:path}", self._echo, methods=["GET", "POST"]),
            ]
        )

    async def _stream(self, request: Request) -> Response:
        self.seen.append((request.url.path, request.url.query, request.headers.get("last-event-id")))
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            yield b"data: 0\n"
            while not self.proceed.is_set():
                await asyncio.sleep(0.01)
            yield b"data: 1\n"
            await asyncio.Event().wait()  # whoever leaves ends it
        finally:
            self.left.set()

    async def _echo(self, request: Request) -> Response:
        self.seen.append((request.url.path, request.url.query, None))
        answer = {
            "raw_path": request.scope["raw_path"].decode(),
            "query": request.url.query,
            "body": (await request.body()).decode(),
            "type": request.headers.get("content-type"),
            "mine": request.headers.get("x-mine"),
        }
        return JSONResponse(answer, 202, {"X-Theirs": "too"})


@contextmanager
def _serving(app: Any, port: int) -> Iterator[str]:
    url = f"http://127.0.0.1:{port}"
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(app, "127.0.0.1", port, stop), daemon=True)
    thread.start()

    def answers() -> bool:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            return False
        return True

    try:
        _await(answers, "the server answers")
        yield url
    finally:
        stop.set()
        thread.join(SECONDS)


@pytest.fixture
def served(settings: Settings, free_ports: int) -> Iterator[str]:
    """A dashboard over a supervisor that has nothing to run."""
    settings = settings.model_copy(update={"port": free_ports})
    with ExitStack() as stack:
        databases = Databases(settings)
        stack.callback(databases.close)
        supervisor = stack.enter_context(Supervisor(settings, {"billing": 0}))
        app = dashboard(settings, supervisor, databases, dict)
        yield stack.enter_context(_serving(app, settings.port_of("dashboard")))


@pytest.fixture
def upstream(settings: Settings, free_ports: int) -> Iterator[Upstream]:
    """The service that `/chat` is passed on to."""
    port = settings.model_copy(update={"port": free_ports}).port_of("chat")
    service = Upstream()
    with _serving(service.app, port):
        service.seen.clear()
        yield service
