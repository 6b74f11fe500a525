"""Takes orders: publishes them, and knows a repeat from an order that is new."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from streamadapter import KafkaError, KafkaException
from streamstore.database import TRANSIENT, Database, UnavailableError
from streamstore.order import view
from streamstore.order.recent import Entry, Recent
from streamstore.order.requests import make_cancellation, same_order
from streamstore.orders import Order, decode, encode
from streamstore.publisher import Publisher

T = TypeVar("T")

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # for a look into the view
FOLLOW_SECONDS = 2.0  # how long to wait for the view to have what another instance may have taken just now
FOLLOW_STEP = 0.05
TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE)
_OURS = re.compile("W[0-9a-f]{32}")


class KeyReusedError(Exception):
    """An idempotency key came again with another order."""


class TooLargeError(Exception):
    """The log takes no event of that size."""


class UnacknowledgedError(Exception):
    """The broker has not acknowledged the event: it may be in the log, or not."""

    def __init__(self, event: Order, error: KafkaError) -> None:
        super().__init__(f"the broker has not acknowledged {event.event_id} ({error.str()})")
        self.event = event


class Intake:
    """Belongs to the event loop of its publisher.

    `give_up` is told of an error after which the publisher can publish no more. Where the view is asked, an
    UnavailableError (or another of `database.TRANSIENT`) says that it cannot be.
    """

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        database: Database,
        give_up: Callable[[KafkaException], None],
    ) -> None:
        self._publisher = publisher
        self._topic = topic
        self._database = database
        self._give_up = give_up
        self._recent = Recent()

    async def place(self, order: Order) -> None:
        """Return when the log has it. Raises TooLargeError, UnacknowledgedError."""
        payload = encode(order)
        await self._publish(order, payload)
        self._recent.put(order.invoice_no, Entry(payload, acknowledged=True))

    async def place_once(self, order: Order) -> bool:
        """The same for an order whose number was made from a key; whether it was there before.

        Raises KeyReusedError too. If neither this instance nor its view knows the number, the order is published:
        should it be a repeat, every service will know it by its event id.
        """
        number = order.invoice_no
        if self._recent.get(number) is None:
            found = await self._recorded(number)
            if found is not None and self._recent.get(number) is None:
                self._recent.put(number, Entry(found, acknowledged=True))
        if entry := self._recent.get(number):
            if not same_order(decode(entry.payload), order):
                raise KeyReusedError
            if entry.acknowledged:
                return True
        payload = entry.payload if entry else encode(order)
        # It is noted before it is published: of two that come at once with one key, the second finds the first.
        self._recent.put(number, Entry(payload, acknowledged=False))
        try:
            await self._publish(order, payload)
        except TooLargeError:
            self._recent.discard(number)  # certainly not in the log, so the key is free
            raise
        self._recent.put(number, Entry(payload, acknowledged=True))
        return False

    async def cancel(self, number: str) -> tuple[Order, bool] | None:
        """The cancellation, which the log has, and whether it had it before; None for an unknown order.

        Raises UnacknowledgedError.
        """
        state = await self.find(number)
        if state is None:
            return None
        cancellation = make_cancellation(state.order, datetime.now())
        if state.cancellation is not None:
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

    async def _publish(self, order: Order, payload: bytes) -> None:
        try:
            await self._publisher.publish(self._topic, payload, order.key)
        except KafkaException as error:
            problem = error.args[0]
            if problem.code() in TOO_LARGE:
                raise TooLargeError from error
            log.warning("%s was not acknowledged: %s", order.event_id, problem)
            if problem.fatal():
                self._give_up(error)
            raise UnacknowledgedError(order, problem) from error

    async def _recorded(self, number: str) -> bytes | None:
        try:
            return await self._look(partial(view.find_payload, number=number))
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
