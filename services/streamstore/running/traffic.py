"""Customers, couriers and chats, invented, for a shop to be watched with: `streamstore up --traffic`.

Not a load test: one request of a kind at a time, and a service that is away is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from threading import Event
from typing import Any

import aiohttp

from streamstore.orders import Order, as_text
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.sample import SAMPLE
from streamstore.running.addresses import url_of
from streamstore.settings import Settings

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0  # seconds before a service that is away is tried again
STOP_LOOK_SECONDS = 0.1
CANCELLED = 0.03  # of the orders
CENTRE = (51.5074, -0.1278)  # London
METRES_A_DEGREE = 111_320.0  # of latitude
SPEED = 8.0  # metres a second
TURNING = 0.1  # probability a second
RANGE = 0.04  # degrees from the centre, then they turn back
CHANNELS = ("support", "warehouse", "couriers")
PEOPLE = ("Ada", "Ben", "Chloe", "Dev", "Elif", "Femi")
TEXTS = (
    "Where is my order?",
    "The lanterns have arrived.",
    "Running five minutes late.",
    "Can somebody check the cake stands?",
    "Thank you!",
    "The bunting is out of stock again.",
    "Delivered.",
)

_random = random.Random()  # noqa: S311 - invented people, not a secret


class Courier:
    """Rides along streets that run north-south and east-west."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.latitude, self.longitude = (c + _random.uniform(-RANGE, RANGE) / 2 for c in CENTRE)
        self._direction = _random.choice(((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)))  # north, east

    def ride(self, seconds: float) -> None:
        """Move on, and turn at a corner now and then."""
        if _random.random() < TURNING * seconds:
            north, east = self._direction
            side = _random.choice((1, -1))
            self._direction = (east * side, north * side)
        away = (self.latitude - CENTRE[0], self.longitude - CENTRE[1])
        # Whoever is about to leave town turns back.
        self._direction = (
            math.copysign(self._direction[0], -away[0]) if abs(away[0]) > RANGE else self._direction[0],
            math.copysign(self._direction[1], -away[1]) if abs(away[1]) > RANGE else self._direction[1],
        )
        step = SPEED * seconds / METRES_A_DEGREE
        self.latitude += step * self._direction[0]
        self.longitude += step * self._direction[1] / math.cos(math.radians(self.latitude))


def order_bodies() -> list[dict[str, Any]]:
    """Requests for `POST /orders`, made of the sample's orders."""
    bodies = [_body(order) for order in read_orders(SAMPLE).orders if not order.is_cancellation]
    return [body for body in bodies if body["lines"]]


def _body(order: Order) -> dict[str, Any]:
    lines = [
        {
            "stock_code": line.stock_code,
            "description": line.description,
            "quantity": line.quantity,
            "unit_price": as_text(line.unit_price),
        }
        for line in order.lines
        if line.quantity > 0
    ]
    return {"customer": order.customer, "country": order.country, "lines": lines}


def make_traffic(
    settings: Settings, stop: Event, orders_per_second: float, couriers: int, chat_per_second: float
) -> None:
    """Until `stop` is set. Blocking; no service being away ends it."""
    asyncio.run(_Traffic(settings).run(stop, orders_per_second, couriers, chat_per_second))


class _Traffic:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bodies = order_bodies()

    async def run(self, stop: Event, orders_per_second: float, couriers: int, chat_per_second: float) -> None:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as self._client:
            kinds: list[asyncio.Task[None]] = []
            if orders_per_second > 0:
                kinds.append(asyncio.create_task(_regularly("orders", 1 / orders_per_second, self._order)))
            if couriers > 0:
                self._couriers = [Courier(f"courier-{number}") for number in range(1, couriers + 1)]
                kinds.append(asyncio.create_task(_regularly("locations", 1.0, self._ride)))
            if chat_per_second > 0:
                kinds.append(asyncio.create_task(_regularly("chat", 1 / chat_per_second, self._chat)))
            while not stop.is_set():
                await asyncio.sleep(STOP_LOOK_SECONDS)
            for kind in kinds:
                kind.cancel()
            await asyncio.gather(*kinds, return_exceptions=True)

    async def _order(self) -> None:
        placed = await self._post("order", "/orders", _random.choice(self._bodies))
        if _random.random() < CANCELLED:
            await self._post("order", f"{placed['href']}/cancel", None)

    async def _ride(self) -> None:
        now = time.time_ns() // 1_000_000
        for courier in self._couriers:
            courier.ride(1.0)
        places = [
            {
                "courier": c.name,
                "latitude": round(c.latitude, 6),
                "longitude": round(c.longitude, 6),
                "at": now,
            }
            for c in self._couriers
        ]
        await self._post("delivery_tracking", "/locations", places)

    async def _chat(self) -> None:
        message = {"author": _random.choice(PEOPLE), "text": _random.choice(TEXTS)}
        await self._post("chat", f"/channels/{_random.choice(CHANNELS)}/messages", message)

    async def _post(self, service: str, path: str, body: object) -> Any:
        async with self._client.post(url_of(service, self._settings) + path, json=body) as answer:
            answer.raise_for_status()
            return await answer.json()


async def _regularly(what: str, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    """Do it at that pace, or as fast as it goes; with growing pauses while it fails."""
    delay = FIRST_DELAY
    due = time.monotonic()
    while True:
        try:
            await action()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("%s: %s; trying again in %.1f s", what, error or type(error).__name__, delay)
            await asyncio.sleep(delay)
            delay = min(LONGEST_DELAY, delay * 2)
            due = time.monotonic()
            continue
        if delay > FIRST_DELAY:
            log.warning("%s: the service answers again", what)
            delay = FIRST_DELAY
        due = max(due + seconds, time.monotonic() - 1.0)  # what was missed is not made up for
        await asyncio.sleep(max(0.0, due - time.monotonic()))
