"""The old architecture: the same effects, and the failures that event streaming is there to end."""

from __future__ import annotations

import http.client
import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamstore.app import CONSUMERS
from streamstore.database import Database, handle
from streamstore.orders import Order, as_text, decode
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.sample import SAMPLE

StartUp = Callable[..., Any]
Await = Callable[..., None]

ORDERS = [order for order in read_orders(SAMPLE).orders if min(line.quantity for line in order.lines) > 0][
    :12
]


@pytest.fixture
def up(start_up: StartUp) -> Any:
    return start_up("--architecture", "synchronous")


def _call(up: Any, method: str, path: str, body: object = None, key: str | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", up.shop.settings.port_of("order"), timeout=60)
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    try:
        connection.request(method, path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _body(order: Order) -> dict[str, Any]:
    lines = [
        {
            "stock_code": line.stock_code,
            "description": line.description,
            "quantity": line.quantity,
            "unit_price": as_text(line.unit_price),
        }
        for line in order.lines
    ]
    return {"customer": order.customer, "country": order.country, "lines": lines}


def _rows(data_dir: Path, service: str) -> Mapping[str, list[tuple[Any, ...]]]:
    """Every table of a service's database."""
    with sqlite3.connect(data_dir / f"{service}.db") as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}  # noqa: S608 - our own tables' names


def _events_of(up: Any, service: str) -> set[str]:
    return {row[0] for row in _rows(up.shop.settings.data_dir, service)[f"{service}_handled"]}


def _payloads(up: Any) -> list[Order]:
    return [decode(row[1]) for row in _rows(up.shop.settings.data_dir, "order")["order_view"]]


def _stop(up: Any, service: str, await_condition: Await) -> None:
    up.post(f"/api/services/{service}/stop")
    await_condition(lambda: all(i["pid"] is None for i in up.service(service)["instances"]))


def test_every_service_has_had_its_effect_when_the_customer_is_answered(up: Any, tmp_path: Path) -> None:
    answers = [_call(up, "POST", "/orders", _body(order)) for order in ORDERS]

    assert {status for status, _ in answers} == {201}
    for _, taken in answers:
        status, found = _call(up, "GET", taken["href"])
        assert (status, found["state"]) == (200, "confirmed")
        assert found["services"]["inventory"] == "reserved"
    assert not (tmp_path / "log").exists(), "no broker was started, let alone asked"


def test_the_effects_are_those_of_the_event_driven_architecture(up: Any, tmp_path: Path) -> None:
    numbers = [_call(up, "POST", "/orders", _body(order))[1]["id"] for order in ORDERS]
    status, cancelled = _call(up, "POST", f"/orders/{numbers[0]}/cancel")

    assert (status, cancelled["event_id"]) == (201, f"cancellation:C{numbers[0]}")
    assert _call(up, "GET", f"/orders/{numbers[0]}")[1]["state"] == "cancelled"
    events = sorted(_payloads(up), key=lambda event: (event.is_cancellation, event.invoice_no))
    assert len(events) == len(ORDERS) + 1
    elsewhere = up.shop.settings.model_copy(
        update={"data_dir": tmp_path / "elsewhere", "outbox": tmp_path / "elsewhere" / "outbox"}
    )
    for name, make in CONSUMERS.items():
        service = make(elsewhere)
        database = Database(elsewhere.database_url(name), service.metadata)
        handle(database, service, events)
        database.close()
        assert _rows(up.shop.settings.data_dir, name) == _rows(elsewhere.data_dir, name), name
    mails = [
        {file.name: file.read_bytes() for file in outbox.iterdir()}
        for outbox in (up.shop.settings.outbox, elsewhere.outbox)
    ]
    assert mails[0] == mails[1]


def test_an_order_fails_with_the_service_that_is_down_and_the_work_before_it_stays_done(
    up: Any, await_condition: Await
) -> None:
    _stop(up, "billing", await_condition)

    status, answer = _call(up, "POST", "/orders", _body(ORDERS[0]), key="mine")

    assert status == 503
    assert answer["detail"].startswith("billing cannot be reached")
    assert _events_of(up, "inventory") == {answer["event_id"]}, "the goods are reserved for a failed order"
    assert _events_of(up, "billing") == _events_of(up, "analytics") == set()
    failed = _call(up, "GET", answer["href"])[1]
    assert failed["state"] == "failed"
    assert failed["services"] == {
        "inventory": "reserved",
        "billing": "pending",
        "notification": "pending",
        "analytics": "pending",
    }

    up.post("/api/services/billing/start")
    await_condition(lambda: _call(up, "POST", "/orders", _body(ORDERS[0]), key="mine")[0] == 201)
    assert _call(up, "GET", answer["href"])[1]["state"] == "confirmed"
    assert _events_of(up, "analytics") == {answer["event_id"]}, "the repeat was the same order"


def test_nothing_is_sold_while_inventory_is_down(up: Any, await_condition: Await) -> None:
    _stop(up, "inventory", await_condition)

    for order in ORDERS[:3]:
        status, answer = _call(up, "POST", "/orders", _body(order))
        assert (status, answer["detail"].split(" ")[0]) == (503, "inventory")

    assert all(_events_of(up, name) == set() for name in CONSUMERS)


def test_what_is_no_order_is_refused_as_in_the_other_architecture(up: Any) -> None:
    status, answer = _call(up, "POST", "/orders", {"country": "UK", "lines": []})

    assert status == 422
    assert answer["detail"][0]["loc"] == ["body", "lines"]
    assert _call(up, "GET", f"/orders/W{'0' * 32}")[0] == 404


def test_a_file_cannot_be_replayed_where_there_is_no_log(
    open_shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from streamstore.cli import main

    shop = open_shop("embedded", architecture="synchronous")

    result = CliRunner().invoke(main, ["replay", str(SAMPLE), "--config", str(shop.config)])

    assert result.exit_code == 1
    assert "the synchronous architecture has none" in result.output
