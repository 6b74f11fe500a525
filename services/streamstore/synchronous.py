"""The architecture that event streaming replaces: the order service calls the others, one after another, over HTTP.

The customer waits for all of them, and for the slowest. There are no retries and no compensation, as there were none
when the shop worked this way: if a service does not answer, the order fails, and what the services before it have
done stays done. The services run the same code for their effects, on the same databases, one transaction an order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import msgspec
from fastapi import HTTPException, Request, Response
from sqlalchemy.exc import IntegrityError
from starlette.types import ASGIApp

from streamstore import web
from streamstore.database import Database, Service, handle
from streamstore.order import view
from streamstore.order.api import MAX_BODY
from streamstore.order.route import UndeliveredError
from streamstore.orders import Order, decode
from streamstore.running.addresses import url_of
from streamstore.settings import Settings
from streamstore.status import Status
from streamstore.web.server import serve
from streamstore.web.shortcut import Shortcut

T = TypeVar("T")

log = logging.getLogger(__name__)

CALL_SECONDS = 10.0  # how long one service may take for an order
CONNECTIONS = 100  # to each service
TRANSACTIONS = 8  # at once, where the database can


def run_called(service: Service, database: Database, settings: Settings, stop: Event) -> None:
    """Answer the order service's calls until `stop` is set. Raises OSError for a port that is taken."""
    app = create_called_app(service, database)
    serve(app, settings.host, settings.port_of(service.name), stop)


def create_called_app(service: Service, database: Database) -> ASGIApp:
    """`POST /orders` with an order's event as its body: answered, with a `Status`, when its effect is committed."""
    app = web.create(service.name, "synchronous", MAX_BODY)
    work = Transactions(database)

    @app.post("/orders", response_class=Response)
    async def take(request: Request) -> Response:
        try:
            order = decode(await request.body())
        except ValueError as error:
            raise HTTPException(422, f"not an order: {error}") from None
        outcomes = await work.run(partial(_handle, database, service, order))
        answer = Status(order.event_id, service.name, outcomes[order.event_id])
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return Shortcut(app, "/orders", take)


def _handle(database: Database, service: Service, order: Order) -> dict[str, str]:
    """Once more if another order was faster to make the same row: the second look finds it."""
    for _ in range(TRANSACTIONS):  # each time at least one of those at once has gone on
        try:
            return handle(database, service, [order])
        except IntegrityError:
            log.info("%s met another order in a new row", order.event_id)
    return handle(database, service, [order])


class Transactions:
    """Runs transactions off the event loop, as many at once as the database is good for.

    SQLite has one writer, and others find out by polling: here they queue, first come, first served.
    """

    def __init__(self, database: Database) -> None:
        self._threads = ThreadPoolExecutor(TRANSACTIONS if database.concurrent else 1, "transaction")

    async def run(self, action: Callable[[], T]) -> T:
        """The action's result, or what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, action)


class CallRoute:
    """Through all services in a row; what they answer is noted in the order service's tables."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._urls = {name: f"{url_of(name, settings)}/orders" for name in view.TELLERS}
        self._database = database
        self._work = Transactions(database)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=CONNECTIONS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    def has_delivered(self, services: Mapping[str, str]) -> bool:
        """Only if every service has answered: an order is noted before they are called."""
        return view.PENDING not in services.values()

    async def deliver(self, order: Order, payload: bytes) -> None:
        """Call one after the other; the first that fails ends it. Raises UndeliveredError, which names it."""
        await self._note(view.Batch(payloads={order.invoice_no: payload}))
        told: dict[tuple[str, str], str] = {}
        try:
            for name, url in self._urls.items():
                told[order.event_id, name] = await self._call(name, url, order, payload)
        finally:
            await self._note(view.Batch(states=told))

    async def _call(self, name: str, url: str, order: Order, payload: bytes) -> str:
        try:
            async with self._session.post(url, data=payload) as answer:
                body = await answer.read()
        except TimeoutError:
            raise UndeliveredError(order, f"{name} did not answer within {CALL_SECONDS:.0f} s", 504) from None
        except aiohttp.ClientError as error:
            log.warning("%s: %s cannot be reached: %s", order.event_id, name, error)
            raise UndeliveredError(order, f"{name} cannot be reached") from error
        if answer.status != 200:
            raise UndeliveredError(order, f"{name} answered {answer.status}", 502)
        return msgspec.json.decode(body, type=Status).state

    async def _note(self, batch: view.Batch) -> None:
        await self._work.run(partial(view.write, self._database, batch))
