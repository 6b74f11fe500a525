"""Invented customers, couriers and chats: they fill the page, and wait for services that are away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streamstore.running.traffic import CENTRE, RANGE, SPEED, Courier, order_bodies

SECONDS = 90


def _await(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


def test_traffic_fills_the_page_and_waits_for_services_that_are_away(start_up: Callable[..., Any]) -> None:
    up = start_up("--traffic")

    def accepted() -> int:
        return int(up.state()["orders"]["accepted"])

    _await(lambda: accepted() > 10, "orders come in")
    _await(lambda: up.state()["revenue"]["total"] != "0", "and bring revenue")
    _await(lambda: len(up.state()["couriers"]) == 12, "couriers are on the road")
    before = {c["courier"]: (c["latitude"], c["longitude"]) for c in up.state()["couriers"]}
    _await(
        lambda: any(before[c["courier"]] != (c["latitude"], c["longitude"]) for c in up.state()["couriers"]),
        "and move",
    )

    up.post("/api/services/order/stop")
    _await(
        lambda: "orders: " in up.shop.settings.data_dir.joinpath("logs/traffic-1.log").read_text(), "noticed"
    )
    _await(lambda: up.service("order")["instances"][0]["pid"] is None, "nobody takes orders")
    stopped_at = accepted()
    up.post("/api/services/order/start")

    _await(lambda: accepted() > stopped_at, "customers are back")
    traffic = up.service("traffic")
    assert (traffic["up"], traffic["restarts"], traffic["lag"]) == (True, 0, None)
    assert up.end() == 0
    assert up.has_said("backlog: none")


def test_couriers_ride_along_streets_and_stay_in_town() -> None:
    courier = Courier("c-1")
    for _ in range(5_000):
        latitude, longitude = courier.latitude, courier.longitude
        courier.ride(1.0)
        assert (latitude == courier.latitude) != (longitude == courier.longitude)  # one way or the other
        assert abs(courier.latitude - CENTRE[0]) < RANGE + SPEED / 100_000
        assert abs(courier.longitude - CENTRE[1]) < RANGE + SPEED / 50_000


def test_invented_orders_are_such_as_the_order_service_takes() -> None:
    bodies = order_bodies()

    assert len(bodies) > 300
    assert all(1 <= len(body["lines"]) <= 1000 for body in bodies)
    assert all(line["quantity"] > 0 for body in bodies for line in body["lines"])
