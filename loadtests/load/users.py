"""Customers, couriers and people who chat: users that speak HTTP.

Each keeps a pace (`--pace`, requests a second) whatever the answers take, so that two shops under the same users
get the same load, until a user has to wait longer than its pace allows. Every answer but a success is a failure to
Locust, and every order's outcome is written down.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from decimal import Decimal
from functools import cache
from typing import Any

from locust import FastHttpUser, tag, task
from locust.exception import StopUser

from load.journal import Promise
from load.pace import Paced
from load.session import session
from streamstore.orders import Line
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.sample import SAMPLE

MAX_LINES = 12
COURIERS = 200
LOCATIONS = 100  # in one request
CHANNELS = ("support", "returns", "lounge")
SETTLED_SECONDS = 5.0  # an order so old is looked at, or taken back
GUESTS = 0.1
WITH_KEY = 0.1
REPEATED = 0.2  # of those with a key
PATIENCE_SECONDS = 60.0


@cache
def sample_orders() -> tuple[list[Line], list[tuple[str, str]]]:
    """Products, and customers with their countries, of the bundled order file."""
    orders = [order for order in read_orders(SAMPLE).orders if not order.is_cancellation]
    products = {line.stock_code: line for order in orders for line in order.lines if line.description}
    customers = {order.customer: order.country for order in orders if order.customer}
    return list(products.values()), list(customers.items())


def random_order() -> tuple[dict[str, Any], Promise]:
    """The body of a POST, and what must come of it."""
    products, customers = sample_orders()
    customer, country = random.choice(customers)
    lines = random.sample(products, random.randint(1, MAX_LINES))
    quantities = [random.randint(1, random.choice((3, 6, 12, 48))) for _ in lines]
    body = {
        "customer": None if random.random() < GUESTS else customer,
        "country": country,
        "lines": [
            {
                "stock_code": line.stock_code,
                "description": line.description,
                "quantity": quantity,
                "unit_price": format(line.unit_price, "f"),
            }
            for line, quantity in zip(lines, quantities, strict=True)
        ],
    }
    total = sum(
        (line.unit_price * quantity for line, quantity in zip(lines, quantities, strict=True)), Decimal(0)
    )
    return body, Promise(sum(quantities), total)


class _HttpUser(Paced, FastHttpUser):
    abstract = True
    connection_timeout = PATIENCE_SECONDS
    network_timeout = PATIENCE_SECONDS


class OrderUser(_HttpUser):
    """A customer: orders; now and then looks at an order or takes one back."""

    def on_start(self) -> None:
        self._placed: deque[tuple[float, str, Promise]] = deque(maxlen=50)
        super().on_start()

    @tag("place")
    @task(90)
    def place(self) -> None:
        """Order 1 to 12 products."""
        if not session.quota.take():
            raise StopUser
        body, promise = random_order()
        key = str(uuid.uuid4()) if random.random() < WITH_KEY else None
        number = self._post_order("/orders", body, promise, key)
        session.quota.settle(number is not None)
        if number is not None and key and random.random() < REPEATED:
            again = self._post_order("/orders (repeated)", body, promise, key)
            if again is not None and again != number:
                raise AssertionError(f"{key} was order {number} and is now {again}")

    @tag("look")
    @task(7)
    def look(self) -> None:
        """The state of an order placed a while ago."""
        if order := self._settled_order():
            self.client.get(f"/orders/{order[0]}", name="/orders/{id}")

    @tag("cancel")
    @task(3)
    def cancel(self) -> None:
        """Take an order back that was placed a while ago."""
        order = self._settled_order()
        if order is None:
            return
        number, promise = order
        self._placed = deque((placed for placed in self._placed if placed[1] != number), maxlen=50)
        with self.client.post(
            f"/orders/{number}/cancel", name="/orders/{id}/cancel", catch_response=True
        ) as response:
            self._note(response, Promise(-promise.units, -promise.total))

    def _post_order(self, name: str, body: dict[str, Any], promise: Promise, key: str | None) -> str | None:
        headers = {"Idempotency-Key": key} if key else {}
        with self.client.post(
            "/orders", json=body, headers=headers, name=name, catch_response=True
        ) as response:
            number = self._note(response, promise)
        if number is not None:
            self._placed.append((time.monotonic(), number, promise))
        return number

    def _note(self, response: Any, promise: Promise) -> str | None:
        """Write the outcome down. The order's number if it was acknowledged."""
        try:
            answer = response.json() if response.status_code else {}
        except ValueError:
            answer = {}
        if response.status_code in (201, 202) and "event_id" in answer:
            session.journal.acknowledged(answer["event_id"], promise)
            return str(answer["id"])
        if "event_id" in answer or "id" in answer:
            session.journal.unknown(answer.get("event_id") or f"order:{answer['id']}")
        response.failure(f"{response.status_code}: {_reason(response, answer)}")
        return None

    def _settled_order(self) -> tuple[str, Promise] | None:
        horizon = time.monotonic() - SETTLED_SECONDS
        settled = [(number, promise) for at, number, promise in self._placed if at <= horizon]
        return random.choice(settled) if settled else None


class LocationUser(_HttpUser):
    """A gateway that collects positions of couriers and hands them over a hundred at a time."""

    @task(9)
    def report(self) -> None:
        """Positions of random couriers, around London."""
        batch = [
            {
                "courier": f"c-{random.randrange(COURIERS)}",
                "latitude": 51.5 + random.gauss(0, 0.05),
                "longitude": -0.12 + random.gauss(0, 0.08),
            }
            for _ in range(LOCATIONS)
        ]
        url = f"{session.urls['delivery_tracking']}/locations"
        self.client.post(url, json=batch, name=f"/locations ({LOCATIONS})")

    @task(1)
    def look(self) -> None:
        """Where everybody is."""
        self.client.get(f"{session.urls['delivery_tracking']}/couriers", name="/couriers")


class ChatUser(_HttpUser):
    """Writes to a channel, and reads what is new there."""

    def on_start(self) -> None:
        self._author = f"user-{random.randrange(10_000)}"
        super().on_start()

    @task(2)
    def write(self) -> None:
        """One message."""
        channel = random.choice(CHANNELS)
        url = f"{session.urls['chat']}/channels/{channel}/messages"
        text = f"Where is order {random.randrange(10**6)}?"
        self.client.post(url, json={"author": self._author, "text": text}, name="/channels/{c}/messages")

    @task(1)
    def read(self) -> None:
        """The latest messages of a channel."""
        url = f"{session.urls['chat']}/channels/{random.choice(CHANNELS)}/messages?limit=20"
        self.client.get(url, name="/channels/{c}/messages")


def _reason(response: Any, answer: Any) -> str:
    if isinstance(answer, dict) and "detail" in answer:
        return str(answer["detail"])[:200]
    return str(getattr(response, "error", None) or "no answer that could be read")[:200]
