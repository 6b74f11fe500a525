"""Orders over HTTP: what is refused, what a 202 promises, and that a repeat is the same order."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import redis

from streamadapter import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from streamadapter.testing.servers import Server, free_port
from streamstore.app import CONSUMERS, ensure_topics, run_service
from streamstore.database import Database
from streamstore.order import METADATA
from streamstore.order.intake import Intake
from streamstore.order.outbox import submit
from streamstore.order.recent import OVERHEAD_BYTES, Entry, Recent
from streamstore.order.requests import NewOrder, make_order, order_number
from streamstore.order.route import LogRoute, TooLargeError, UndeliveredError
from streamstore.order.view import VIEW, find
from streamstore.orders import Order, decode
from streamstore.publisher import Publisher
from streamstore.settings import Settings

Await = Callable[..., None]

LINE = {"stock_code": "85123A", "description": "HEART", "quantity": 6, "unit_price": "2.55"}
BODY: dict[str, Any] = {"customer": "17850", "country": "United Kingdom", "lines": [LINE]}
NOON = datetime(2026, 1, 31, 12)
UNKNOWN = f"W{'0' * 32}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


class Api:
    """An order service and a client of it; each call has a connection of its own, so it is thread-safe."""

    def __init__(self, port: int) -> None:
        self._port = port

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read().decode(errors="replace"))
        finally:
            connection.close()

    def place(self, body: object = BODY, key: str | None = None, **headers: str) -> Answer:
        sent = (
            {"Content-Type": "application/json"}
            | ({"Idempotency-Key": key} if key is not None else {})
            | headers
        )
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", "/orders", raw, sent)

    def cancel(self, number: str) -> Answer:
        return self.call("POST", f"/orders/{number}/cancel")

    def look(self, number: str) -> Answer:
        return self.call("GET", f"/orders/{number}")

    def state(self, number: str) -> str:
        state: str = self.look(number).json["state"]
        return state


class Shopkeeper:
    """Runs services of a shop as threads of this process."""

    def __init__(self) -> None:
        self._running: list[tuple[threading.Thread, threading.Event]] = []

    def start(self, settings: Settings, service: str) -> Callable[[], None]:
        """Returns what stops it."""
        stop = threading.Event()
        thread = threading.Thread(target=run_service, args=(service, settings, stop), daemon=True)
        thread.start()
        running = thread, stop
        self._running.append(running)
        return lambda: self._stop(running)

    def open_counter(self, settings: Settings) -> tuple[Api, Callable[[], None]]:
        """An order service on a port of its own, and what stops it."""
        port = free_port()
        close = self.start(settings.model_copy(update={"port": port}), "order")
        api, deadline = Api(port), time.monotonic() + 60
        while True:
            try:
                assert api.call("GET", "/health").status == 200
                return api, close
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def close(self) -> None:
        for _, stop in self._running:
            stop.set()
        for running in list(self._running):
            self._stop(running)

    def _stop(self, running: tuple[threading.Thread, threading.Event]) -> None:
        thread, stop = running
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
        if running in self._running:
            self._running.remove(running)


@pytest.fixture
def shopkeeper() -> Iterator[Shopkeeper]:
    keeper = Shopkeeper()
    yield keeper
    keeper.close()


@pytest.fixture(params=["embedded", "redis", "kafka"])
def shop(request: pytest.FixtureRequest, open_shop: Callable[..., Any]) -> Any:
    url = "" if request.param == "embedded" else request.getfixturevalue(f"own_{request.param}").url
    return open_shop(request.param, url)


@pytest.fixture
def local_shop(open_shop: Callable[..., Any]) -> Any:
    return open_shop("memory")


@pytest.fixture
def api(local_shop: Any, shopkeeper: Shopkeeper) -> Api:
    return shopkeeper.open_counter(local_shop.settings)[0]


@pytest.fixture
def order_database(local_shop: Any) -> Iterator[Database]:
    database = Database(local_shop.settings.database_url("order"), METADATA)
    yield database
    database.close()


def read_log(settings: Settings) -> list[Order]:
    """Every order event, as it is in the log."""
    orders: list[Order] = []
    with Consumer({"group.id": "reader", "enable.auto.commit": False}) as consumer:
        partitions = consumer.list_topics(settings.topic, 30).topics[settings.topic].partitions
        places = [TopicPartition(settings.topic, partition, OFFSET_BEGINNING) for partition in partitions]
        missing = sum(consumer.get_watermark_offsets(place, 30)[1] for place in places)
        consumer.assign(places)
        deadline = time.monotonic() + 60
        while len(orders) < missing:
            assert time.monotonic() < deadline
            for message in consumer.consume(missing, 0.5):
                assert message.error() is None
                order = decode(message.value() or b"")
                assert message.key() == order.key.encode()
                orders.append(order)
    return orders


def lines(**changes: object) -> dict[str, Any]:
    return {**BODY, "lines": [LINE, {**LINE, **changes}]}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in BODY.items() if key != name}


LINE_1 = ["body", "lines", 1]
BAD_ORDERS: list[tuple[object, list[object]]] = [
    (b"{", ["body"]),
    (b"", ["body"]),
    (b"[]", ["body"]),
    (b"\xff", ["body"]),
    (b'{"country": "\\ud800", "lines": []}', ["body"]),
    (b"[" * 100_000, ["body"]),
    (without("country"), ["body", "country"]),
    (without("lines"), ["body", "lines"]),
    ({**BODY, "lines": []}, ["body", "lines"]),
    ({**BODY, "lines": [LINE] * 1001}, ["body", "lines"]),
    ({**BODY, "customer": ""}, ["body", "customer"]),
    ({**BODY, "customer": 17850}, ["body", "customer"]),
    ({**BODY, "customer": "a\r\nBcc: x@y"}, ["body", "customer"]),
    ({**BODY, "customer": "x" * 65}, ["body", "customer"]),
    ({**BODY, "country": "\0"}, ["body", "country"]),
    ({**BODY, "country": None}, ["body", "country"]),
    ({**BODY, "discount": "1"}, ["body", "discount"]),
    (lines(stock_code=""), [*LINE_1, "stock_code"]),
    (lines(stock_code="A\x85"), [*LINE_1, "stock_code"]),
    (lines(description="x" * 201), [*LINE_1, "description"]),
    (lines(quantity=0), [*LINE_1, "quantity"]),
    (lines(quantity=-1), [*LINE_1, "quantity"]),
    (lines(quantity=1.5), [*LINE_1, "quantity"]),
    (lines(quantity="1"), [*LINE_1, "quantity"]),
    (lines(quantity=True), [*LINE_1, "quantity"]),
    (lines(quantity=10**6 + 1), [*LINE_1, "quantity"]),
    (lines(quantity=10**30), [*LINE_1, "quantity"]),
    (lines(unit_price=2.55), [*LINE_1, "unit_price"]),
    (lines(unit_price="-1"), [*LINE_1, "unit_price"]),
    (lines(unit_price="NaN"), [*LINE_1, "unit_price"]),
    (lines(unit_price="1e999999"), [*LINE_1, "unit_price"]),
    (lines(unit_price="1."), [*LINE_1, "unit_price"]),
    (lines(unit_price="1\n"), [*LINE_1, "unit_price"]),
    (lines(unit_price="\u0661"), [*LINE_1, "unit_price"]),  # a digit to some, and not to exact sums
    (lines(unit_price="1234567890123"), [*LINE_1, "unit_price"]),
    (lines(unit_price="0.1234567890123"), [*LINE_1, "unit_price"]),
    (lines(colour="red"), [*LINE_1, "colour"]),
]


def test_what_is_no_order_is_refused_with_the_name_of_the_field(api: Api, local_shop: Any) -> None:
    for body, where in BAD_ORDERS:
        answer = api.place(body)

        assert answer.status == 422, (body, answer)
        assert where in [problem["loc"] for problem in answer.json["detail"]], (body, answer)
        assert len(answer.text) < 3000

    assert read_log(local_shop.settings) == []


def test_edges_of_what_is_an_order_are_taken(api: Api, local_shop: Any) -> None:
    line = {"stock_code": "x" * 64, "quantity": 10**6, "unit_price": f"{'9' * 12}.{'9' * 12}"}
    body = {"customer": None, "country": "Österreich 🎁", "lines": [line] * 1000}

    placed = api.place(body)

    assert placed.status == 202
    [order] = read_log(local_shop.settings)
    assert order.country == "Österreich 🎁"
    assert order.units == 10**9
    assert api.look(placed.json["id"]).json["total"] == f"{'9' * 12}{'9' * 9}.{'9' * 3}000000000"


def test_a_body_that_is_too_long_or_no_json_is_refused(api: Api) -> None:
    assert api.place(b" " * 1_000_001).status == 413
    assert api.place(BODY, **{"Content-Type": "text/plain"}).status == 415
    assert api.call("POST", "/orders", b"{}").status == 415
    assert api.place(BODY, **{"Content-Type": "Application/JSON; charset=utf-8"}).status == 202


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_cannot_be_one_is_refused(api: Api, key: str) -> None:
    answer = api.place(BODY, key)

    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["header", "Idempotency-Key"]


def test_an_order_is_in_the_log_when_it_is_answered_and_comes_to_be_confirmed_and_cancelled(
    shop: Any, shopkeeper: Shopkeeper, await_condition: Await
) -> None:
    api, _ = shopkeeper.open_counter(shop.settings)

    placed = api.place()

    assert placed.status == 202
    number = placed.json["id"]
    assert re.fullmatch("W[0-9a-f]{32}", number)
    assert placed.json == {"id": number, "event_id": f"order:{number}", "href": f"/orders/{number}"}
    assert placed.headers["location"] == f"/orders/{number}"
    [order] = read_log(shop.settings)
    assert (order.invoice_no, order.customer, order.country) == (number, "17850", "United Kingdom")
    assert [line.quantity for line in order.lines] == [6]

    first = api.look(number).json
    pending = dict.fromkeys(CONSUMERS, "pending")
    assert first == {
        "id": number,
        "state": "accepted",
        "customer": "17850",
        "country": "United Kingdom",
        "placed_at": order.placed_at.isoformat(),
        "total": "15.30",
        "services": pending,
        "cancellation": None,
    }

    for service in CONSUMERS:
        shopkeeper.start(shop.settings, service)
    await_condition(lambda: api.state(number) == "confirmed")
    told = {"inventory": "reserved", "billing": "invoiced", "notification": "sent", "analytics": "counted"}
    assert api.look(number).json["services"] == told

    cancelled = api.cancel(number)

    assert cancelled.status == 202
    assert cancelled.json == {
        "id": number,
        "event_id": f"cancellation:C{number}",
        "href": f"/orders/{number}",
    }
    assert api.state(number) in ("cancelling", "cancelled")
    await_condition(lambda: api.state(number) == "cancelled")
    assert api.look(number).json["cancellation"]["services"]["billing"] == "credited"
    [cancellation] = [each for each in read_log(shop.settings) if each.is_cancellation]
    assert cancellation.cancels == number
    assert cancellation.total == -order.total
    assert cancellation.key == order.key


def test_orders_without_a_key_are_as_many_as_requests(api: Api, local_shop: Any) -> None:
    numbers = {api.place().json["id"] for _ in range(5)}

    assert len(numbers) == 5
    assert {order.invoice_no for order in read_log(local_shop.settings)} == numbers


def test_repeats_at_the_same_time_are_one_order(api: Api, local_shop: Any) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda _: api.place(BODY, "key"), range(64))]

    assert {answer.status for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    log = read_log(local_shop.settings)
    assert len(set(map(repr, log))) == 1  # the very same event, however often
    assert api.place(BODY, "key").replayed
    assert len(read_log(local_shop.settings)) == len(log)


def test_different_orders_with_one_key_at_the_same_time_are_one_order(api: Api, local_shop: Any) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda i: api.place(lines(quantity=1 + i % 8), "key"), range(64))]

    taken = [i for i, answer in enumerate(answers) if answer.status == 202]
    assert {answer.status for answer in answers} == {202, 422}
    assert len({i % 8 for i in taken}) == 1
    assert len({order.lines for order in read_log(local_shop.settings)}) == 1


def test_a_repeat_is_known_by_another_instance_and_after_a_restart(
    local_shop: Any, shopkeeper: Shopkeeper, await_condition: Await
) -> None:
    first, close = shopkeeper.open_counter(local_shop.settings)
    other, _ = shopkeeper.open_counter(local_shop.settings)
    placed = first.place(BODY, "key")
    number = placed.json["id"]

    assert (
        other.place(BODY, "key").text == placed.text
    )  # at once: perhaps published again, under the same number
    assert other.look(number).status == 200
    close()
    third, _ = shopkeeper.open_counter(local_shop.settings)
    assert third.look(number).status == 200

    again = third.place(BODY, "key")
    changed = third.place(lines(quantity=7), "key")

    assert (again.status, again.text, again.replayed) == (202, placed.text, True)
    assert changed.status == 422
    assert changed.json["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert {order.event_id for order in read_log(local_shop.settings)} == {f"order:{number}"}


def test_a_key_is_a_customers_own(api: Api) -> None:
    one, other, guest = (api.place({**BODY, "customer": customer}, "key") for customer in ("1", "2", None))

    assert len({one.json["id"], other.json["id"], guest.json["id"]}) == 3


def test_another_price_is_another_order_and_another_way_to_write_it_is_not(api: Api) -> None:
    placed = api.place(lines(unit_price="2.50"), "key")

    assert api.place(lines(unit_price="2.5"), "key").text == placed.text
    assert api.place(lines(unit_price="2.51"), "key").status == 422
    assert "new key" in api.place(lines(unit_price="2.51"), "key").text


def test_an_order_is_cancelled_once(api: Api, local_shop: Any) -> None:
    number = api.place().json["id"]

    first, second = api.cancel(number), api.cancel(number)

    assert first.status == second.status == 202
    assert first.text == second.text
    assert (first.replayed, second.replayed) == (False, True)
    assert sum(order.is_cancellation for order in read_log(local_shop.settings)) == 1


def test_another_instance_cancels_what_this_one_has_just_taken(
    local_shop: Any, shopkeeper: Shopkeeper, await_condition: Await
) -> None:
    taker, _ = shopkeeper.open_counter(local_shop.settings)
    other, _ = shopkeeper.open_counter(local_shop.settings)

    numbers = [taker.place().json["id"] for _ in range(10)]

    assert {other.cancel(number).status for number in numbers} == {202}
    for number in numbers:
        await_condition(lambda number=number: taker.state(number) == "cancelling")


@pytest.mark.parametrize("number", [UNKNOWN, "W1", "1", "x" * 300, "%00", f"C{UNKNOWN}", "%ff"])
def test_an_unknown_order_is_not_found(api: Api, number: str) -> None:
    assert api.look(number).status == 404
    assert api.cancel(number).status == 404


def test_what_was_taken_is_known_to_its_taker_before_the_view_has_it(
    local_shop: Any, order_database: Database
) -> None:
    ensure_topics(local_shop.settings)
    order = make_order(NewOrder.model_validate(BODY), order_number(None, None), NOON)

    async def scenario() -> list[str]:
        async with LogRoute(Publisher({}), local_shop.settings.topic) as route:
            intake = Intake(route, order_database)
            await intake.place(order)
            placed = await intake.find(order.invoice_no)
            await intake.cancel(order.invoice_no)
            cancelled = await intake.find(order.invoice_no)
        assert placed is not None
        assert cancelled is not None
        return [placed.state, cancelled.state]

    assert asyncio.run(scenario()) == ["accepted", "cancelling"]  # and nobody keeps the view


@pytest.mark.parametrize("backend", ["redis", "kafka"])
def test_a_broker_that_does_not_answer_is_503_and_then_orders_are_taken_again(
    backend: str,
    open_shop: Callable[..., Any],
    request: pytest.FixtureRequest,
    await_condition: Await,
) -> None:
    server: Server = request.getfixturevalue(f"own_{backend}")
    shopkeeper: Shopkeeper = request.getfixturevalue(
        "shopkeeper"
    )  # after the server: it stops before it does
    shop = open_shop(backend, server.url, accept_seconds=2)
    api, _ = shopkeeper.open_counter(shop.settings)
    before = api.place(BODY, "before")
    server.pause()
    try:
        with ThreadPoolExecutor(10) as pool:
            failed = [*pool.map(lambda i: api.place(BODY, f"key {i}"), range(10))]
            failed_cancel = api.cancel(before.json["id"])
            known = api.place(BODY, "before")
    finally:
        server.resume()

    for answer in [*failed, failed_cancel]:
        assert answer.status == 503, answer
        assert int(answer.headers["retry-after"]) > 0
        assert "not acknowledged" in answer.json["detail"]
    assert failed_cancel.json["event_id"] == f"cancellation:C{before.json['id']}"
    assert (known.status, known.replayed) == (202, True)
    assert (
        api.place(lines(quantity=7), "key 0").status == 422
    )  # the first may be in the log: it cannot be another

    await_condition(lambda: api.place(BODY, "later").status == 202)
    again = [api.place(BODY, f"key {i}") for i in range(10)]
    assert [answer.json["id"] for answer in again] == [answer.json["id"] for answer in failed]
    assert {answer.status for answer in again} == {202}
    assert api.cancel(before.json["id"]).status == 202
    expected = {
        answer.json["event_id"] for answer in (before, failed_cancel, api.place(BODY, "later"), *again)
    }
    assert {order.event_id for order in read_log(shop.settings)} == expected


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["redis", "kafka"])
def test_every_order_that_was_acknowledged_is_in_the_log_though_the_broker_was_killed(
    backend: str, open_shop: Callable[..., Any], request: pytest.FixtureRequest, await_condition: Await
) -> None:
    server: Server = request.getfixturevalue(f"own_{backend}")
    shopkeeper: Shopkeeper = request.getfixturevalue(
        "shopkeeper"
    )  # after the server: it stops before it does
    shop = open_shop(backend, server.url, accept_seconds=3)
    api, _ = shopkeeper.open_counter(shop.settings)
    taken: dict[str, int] = {}
    refused: set[int] = set()
    done = threading.Event()

    def shopper(customer: int) -> None:
        i = 0
        while not done.is_set():
            i += 1
            answer = api.place({**BODY, "customer": str(customer), "lines": [{**LINE, "quantity": i}]})
            assert answer.status in (202, 503), answer
            if answer.status == 202:
                taken[answer.json["event_id"]] = i
            else:
                refused.add(customer)

    with ThreadPoolExecutor(8) as pool:
        shoppers = [pool.submit(shopper, customer) for customer in range(8)]
        await_condition(lambda: len(taken) > 200)
        server.kill()
        await_condition(lambda: len(refused) == 8, "everybody was refused")
        server.start()
        known = len(taken)
        await_condition(lambda: len(taken) > known + 200, "orders are taken again")
        done.set()
        for each in shoppers:
            each.result(90)

    log = read_log(shop.settings)
    quantities = {order.event_id: order.units for order in log}
    assert taken.items() <= quantities.items()
    assert len(log) == len(quantities)  # the producer is idempotent: not even the log has one twice


def test_health_says_who_answers(api: Api) -> None:
    answer = api.call("GET", "/health")

    assert answer.json == {"service": "order", "architecture": "events"}


def test_the_openapi_document_describes_requests_and_answers(api: Api) -> None:
    document = api.call("GET", "/openapi.json").json

    assert document["openapi"] == "3.0.3"
    place = document["paths"]["/orders"]["post"]
    assert {*place["responses"]} == {"202", "413", "415", "422", "503"}
    assert {"202", "404", "503"} <= {*document["paths"]["/orders/{number}/cancel"]["post"]["responses"]}
    assert {"200", "404"} <= {*document["paths"]["/orders/{number}"]["get"]["responses"]}
    assert place["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/NewOrder"
    }
    assert api.place(place["requestBody"]["content"]["application/json"]["example"]).status == 202
    for node in nodes(document):
        if "$ref" in node:
            target = document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
        # What OpenAPI 3.1 has and 3.0, which the page reads, has not:
        assert node.get("type") != "null"
        assert not isinstance(node.get("examples"), list)
        assert isinstance(node.get("exclusiveMinimum", True), bool)


def nodes(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        yield document
    if isinstance(document, dict | list):
        for child in document.values() if isinstance(document, dict) else document:
            yield from nodes(child)


def test_the_documentation_page_needs_no_other_host(api: Api) -> None:
    page = api.call("GET", "/docs")

    links = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
    assert "/openapi.json" in links
    for link in links:
        assert link.startswith("/"), link
        assert not link.startswith("//"), link
        assert api.call("GET", link).status == 200
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text, flags=re.DOTALL)


def test_what_is_too_large_for_the_log_is_not_taken_and_its_key_is_free(
    local_shop: Any, order_database: Database
) -> None:
    ensure_topics(local_shop.settings)
    large = make_order(
        NewOrder.model_validate({**BODY, "lines": [LINE] * 50}), order_number("1", "key"), NOON
    )
    small = make_order(NewOrder.model_validate(BODY), order_number("1", "key"), NOON)

    async def scenario() -> None:
        publisher = Publisher({"message.max.bytes": 1000})
        async with LogRoute(publisher, local_shop.settings.topic) as route:
            intake = Intake(route, order_database)
            with pytest.raises(TooLargeError):
                await intake.place_once(large)
            assert not await intake.place_once(small)

    asyncio.run(scenario())
    assert read_log(local_shop.settings) == [small]


def test_a_view_that_cannot_be_asked_keeps_nobody_from_ordering(
    local_shop: Any, order_database: Database
) -> None:
    ensure_topics(local_shop.settings)
    with order_database.write() as connection:
        VIEW.drop(connection)
    order = make_order(NewOrder.model_validate(BODY), order_number("1", "key"), NOON)

    async def scenario() -> None:
        async with LogRoute(Publisher({}), local_shop.settings.topic) as route:
            intake = Intake(route, order_database)
            assert not await intake.place_once(order)
            assert await intake.place_once(order)

    asyncio.run(scenario())
    assert read_log(local_shop.settings) == [order]


def test_an_error_that_is_final_is_passed_to_whoever_can_end_the_service(
    open_shop: Callable[..., Any], own_redis: Server
) -> None:
    settings = open_shop("redis", own_redis.url).settings
    ensure_topics(settings)
    database = Database(settings.database_url("order"), METADATA)
    order = make_order(NewOrder.model_validate(BODY), order_number(None, None), NOON)
    errors: list[KafkaException] = []

    async def scenario() -> None:
        publisher = Publisher({"delivery.timeout.ms": 5000})
        async with LogRoute(publisher, settings.topic, errors.append) as route:
            intake = Intake(route, database)
            await intake.place(order)
            with redis.Redis.from_url(own_redis.url) as client:
                client.config_set("requirepass", "changed")
                client.client_kill_filter(_type="normal", skipme=True)
            with pytest.raises(UndeliveredError):
                await intake.place(order)

    asyncio.run(scenario())
    assert [error.args[0].fatal() for error in errors] == [True]
    database.close()


def test_what_was_not_used_for_longest_is_forgotten_first() -> None:
    recent = Recent(max_bytes=3 * (OVERHEAD_BYTES + 10))
    for number in "abc":
        recent.put(number, Entry(b"x" * 10, acknowledged=True))
    recent.get("a")

    recent.put("d", Entry(b"x" * 10, acknowledged=False))

    assert [number for number in "abcd" if recent.get(number)] == ["a", "c", "d"]
    assert recent.acknowledged("acd") == {"a": b"x" * 10, "c": b"x" * 10}
    recent.put("e", Entry(b"x" * 2000, acknowledged=True))
    assert not any(recent.get(number) for number in "abcde")


def test_a_port_that_somebody_else_has_ends_the_service_with_the_reason(local_shop: Any) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]

        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            run_service("order", local_shop.settings.model_copy(update={"port": port}), threading.Event())


def test_without_http_no_port_is_opened(local_shop: Any, await_condition: Await) -> None:
    settings = local_shop.settings.model_copy(update={"port": free_port()})
    stop = threading.Event()
    thread = threading.Thread(target=run_service, args=("order", settings, stop), kwargs={"http": False})
    thread.start()
    database = Database(settings.database_url("order"), METADATA)
    order = make_order(NewOrder.model_validate(BODY), order_number(None, None), NOON)
    submit(database, [order])

    def viewed() -> bool:
        with database.read() as connection:
            return find(connection, order.invoice_no) is not None

    await_condition(viewed)  # the outbox has published it, the view has read it
    with pytest.raises(OSError, match="refused"):
        Api(settings.port).call("GET", "/health")
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    database.close()
