"""Takes orders: sends them on their route, and knows a repeat from an order that is new."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from streamstore.database import TRANSIENT, Database, UnavailableError
from streamstore.order import view
from streamstore.order.recent import Entry, Recent
from streamstore.order.requests import make_cancellation, same_order
from streamstore.order.route import Route, TooLargeError
from streamstore.orders import Order, decode, encode

T = TypeVar("T")

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # for a look into the view
FOLLOW_SECONDS = 2.0  # how long to wait for the view to have what another instance may have taken just now
FOLLOW_STEP = 0.05
_OURS = re.compile("W[0-9a-f]{32}")


class KeyReusedError(Exception):
    """An idempotency key came again with another order."""


class Intake:
    """Belongs to the event loop of its route.

    Where the view is asked, an UnavailableError (or another of `database.TRANSIENT`) says that it cannot be.
    """

    def __init__(self, route: Route, database: Database) -> None:
        self._route = route
        self._database = database
        self._recent = Recent()

    async def place(self, order: Order) -> None:
        """Return when it is delivered. Raises TooLargeError, UndeliveredError."""
        payload = encode(order)
        await self._route.deliver(order, payload)
        self._recent.put(order.invoice_no, Entry(payload, acknowledged=True))

    async def place_once(self, order: Order) -> bool:
        """The same for an order whose number was made from a key; whether it was there before.

        Raises KeyReusedError too. If neither this instance nor its view knows the number, the order is delivered:
        should it be a repeat, every service will know it by its event id.
        """
        number = order.invoice_no
        if self._recent.get(number) is None:
            found = await self._recorded(number)
            if found is not None and self._recent.get(number) is None:
                delivered = self._route.has_delivered(found.services)
                self._recent.put(number, Entry(encode(found.order), delivered))
        if entry := self._recent.get(number):
            if not same_order(decode(entry.payload), order):
                raise KeyReusedError
            if entry.acknowledged:
                return True
        payload = entry.payload if entry else encode(order)
        # It is noted before it is delivered: of two that come at once with one key, the second finds the first.
        self._recent.put(number, Entry(payload, acknowledged=False))
        try:
            await self._route.deliver(order, payload)
        except TooLargeError:
            self._recent.discard(number)  # it is nowhere, so the key is free
            raise
        self._recent.put(number, Entry(payload, acknowledged=True))
        return False

    async def cancel(self, number: str) -> tuple[Order, bool] | None:
        """The cancellation, delivered, and whether it was before; None for an unknown order.

        Raises UndeliveredError.
        """
        state = await self.find(number)
        if state is None:
            return None
        cancellation = make_cancellation(state.order, datetime.now())
        if state.cancellation is not None and self._route.has_delivered(state.cancellation):
            return cancellation, True
        await self.place(cancellation)
        return cancellation, False

    async def find(self, number: str) -> view.OrderState | None:
        """An order's state. A number that could be ours is waited for: another instance may have taken it."""
        if "\0" in number or len(number) > view.MAX_LENGTH:  # nothing that PostgreSQL could be asked for
            return None
        deadline = asyncio.get_running_loop().time() + FOLLOW_SECONDS
        while True:
            recent = self._recent.acknowledged([number, view.cancellation_of(number)])
            state = await self._look(partial(view.find, number=number, recent=recent))
            late = asyncio.get_running_loop().time() >= deadline
            if state is not None or late or not _OURS.fullmatch(number):
                return state
            await asyncio.sleep(FOLLOW_STEP)

    async def _recorded(self, number: str) -> view.OrderState | None:
        try:
            return await self._look(partial(view.find, number=number))
        except TRANSIENT as error:
            log.warning("the view cannot be asked for %s: %s", number, str(error).partition("\n")[0])
            return None

    async def _look(self, query: Callable[[sa.Connection], T]) -> T:
        def look() -> T:
            with self._database.read() as connection:
                return query(connection)

        try:
            return await asyncio.wait_for(asyncio.to_thread(look), LOOK_SECONDS)
        except TimeoutError:
            raise UnavailableError(f"the database did not answer within {LOOK_SECONDS:.0f} s") from None
