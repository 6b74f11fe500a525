"""The HTTP interface of the order service, in both architectures.

Event-driven, an order is answered 202 when the log has acknowledged it; nothing is written anywhere before.
Synchronous, it is answered 201 when all services have. `POST /orders` is the shop's busiest path, so it reads its
body itself: pydantic validates the bytes, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import HTTPException, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.types import ASGIApp

from streamstore import web
from streamstore.database import Database
from streamstore.order import NAME
from streamstore.order.intake import Intake, KeyReusedError
from streamstore.order.requests import (
    EXAMPLE,
    MAX_KEY,
    Invalid,
    NewOrder,
    OrderView,
    Problem,
    Taken,
    Undelivered,
    as_taken,
    as_view,
    make_order,
    order_number,
)
from streamstore.order.route import Route, TooLargeError, UndeliveredError
from streamstore.orders import Order
from streamstore.settings import Settings
from streamstore.web.docs import add_docs, ref_to
from streamstore.web.shortcut import Shortcut

MAX_BODY = 1_000_000
MAX_PROBLEMS = 20  # named in one answer
KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
JSON = "application/json"

DESCRIPTION = {
    "events": """Takes the shop's orders into the log `order-events`; the services of the shop follow from there.

**202** means that the broker has acknowledged the order: it will be handled. **503** means that nobody knows yet:
repeat the request with the same `Idempotency-Key`, however often, and it will be one order.
""",
    "synchronous": """Takes the shop's orders and calls inventory, billing, notification and analytics in turn.

**201** means that all have handled the order. **502**, **503** and **504** name the one that has not; what those
before it did stays done.
""",
}
Responses = dict[int | str, dict[str, Any]]
_KEY_PARAMETER = {
    "name": KEY_HEADER,
    "in": "header",
    "description": "Makes repeats of this request, by this customer, one order: here, at any other instance, ever",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
    "example": "0b5c1c7e-41a5-4b1e-9f6a-6f1d7c2f0b11",
}
_REPLAYED = {
    REPLAYED_HEADER: {"description": "`true` if it was there before", "schema": {"type": "string"}},
}
_LOCATION = {"Location": {"description": "Where its state is", "schema": {"type": "string"}}}
_RETRY = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
_TAKEN: dict[str, Any] = {
    "model": Taken,
    "description": "The shop has it",
    "headers": _LOCATION | _REPLAYED,
}
_UNDELIVERED: dict[str, Any] = {
    "model": Undelivered,
    "description": "The broker has not acknowledged it in time, or a service cannot be reached",
    "headers": _RETRY,
}
_FAILED: Responses = {
    502: {"model": Undelivered, "description": "A service failed", "headers": _RETRY},
    504: {"model": Undelivered, "description": "A service did not answer in time", "headers": _RETRY},
}
_UNKNOWN: dict[str, Any] = {"model": Problem, "description": "No such order"}
_VIEW_AWAY: dict[str, Any] = {
    "model": Problem,
    "description": "The view cannot be asked now",
    "headers": _RETRY,
}
_PLACE_RESPONSES: Responses = {
    413: {"model": Problem, "description": f"More than {MAX_BODY:,} bytes, or than the log takes"},
    415: {"model": Problem, "description": f"The body is not {JSON}"},
    422: {"model": Invalid, "description": "No order, or an idempotency key that was used for another one"},
}
Number = Annotated[str, Path(description="The order's number")]


def create_app(settings: Settings, database: Database, route: Route) -> ASGIApp:
    """The application, for the route's architecture. `database` is the order service's, for its view."""
    app = web.create(NAME, settings.architecture, MAX_BODY, route)
    app.description = DESCRIPTION[settings.architecture]
    success = 202 if settings.architecture == "events" else 201
    ends: Responses = {success: _TAKEN, 503: _UNDELIVERED}
    if settings.architecture == "synchronous":
        ends |= _FAILED
    intake = Intake(route, database)

    @app.post(
        "/orders",
        status_code=success,
        summary="Place an order",
        response_class=Response,
        responses=ends | _PLACE_RESPONSES,
        openapi_extra={
            "parameters": [_KEY_PARAMETER],
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": ref_to(NewOrder), "example": EXAMPLE}},
            },
        },
    )
    async def place(request: Request) -> Response:
        headers = dict(request.scope["headers"])
        key = _key(headers)
        new = await _body(request, headers)
        order = make_order(new, order_number(new.customer, key), datetime.now())
        if key is None:
            await intake.place(order)
            return _taken(order, success)
        return _taken(order, success, replayed=await intake.place_once(order))

    @app.post(
        "/orders/{number}/cancel",
        status_code=success,
        summary="Take an order back",
        response_class=Response,
        responses={**ends, 404: _UNKNOWN},
    )
    async def cancel(number: Number) -> Response:
        """Once or several times: it is cancelled once."""
        cancelled = await intake.cancel(number)
        if cancelled is None:
            raise HTTPException(404, "no such order")
        return _taken(cancelled[0], success, replayed=cancelled[1])

    @app.get(
        "/orders/{number}",
        summary="How far an order is",
        response_class=Response,
        responses={200: {"model": OrderView}, 404: _UNKNOWN, 503: _VIEW_AWAY},
    )
    async def look(number: Number) -> Response:
        """What each service made of it, as far as they have told."""
        state = await intake.find(number)
        if state is None:
            raise HTTPException(404, "no such order")
        return _json(as_view(state, delivered=route.has_delivered(state.services)))

    app.add_exception_handler(UndeliveredError, _undelivered)
    app.add_exception_handler(TooLargeError, _too_large)
    app.add_exception_handler(KeyReusedError, _key_reused)
    add_docs(app, [NewOrder])
    return Shortcut(app, "/orders", place)


def _key(headers: Mapping[bytes, bytes]) -> str | None:
    key = headers.get(KEY_HEADER.lower().encode())
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY:
        raise RequestValidationError(
            [_problem("string_length", f"it has to have 1 to {MAX_KEY} characters", ("header", KEY_HEADER))]
        )
    return key.decode("latin-1")


async def _body(request: Request, headers: Mapping[bytes, bytes]) -> NewOrder:
    # As in FastAPI: what a browser may send to us from any page, without asking us first, is not taken.
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != JSON.encode():
        raise HTTPException(415, f"the body has to be {JSON}, and the header Content-Type has to say so")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"a request has at most {MAX_BODY:,} bytes")
    try:
        return NewOrder.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]
        raise RequestValidationError(
            [_problem(problem["type"], problem["msg"], ("body", *problem["loc"])) for problem in found]
        ) from None


def _problem(kind: str, message: str, where: tuple[str | int, ...]) -> dict[str, Any]:
    return {"type": kind, "loc": where, "msg": message}


def _taken(event: Order, status: int, *, replayed: bool = False) -> Response:
    taken = as_taken(event)
    headers = {"Location": taken["href"]}
    if replayed:
        headers[REPLAYED_HEADER] = "true"
    return _json(taken, status, headers)


def _json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, JSON)


async def _undelivered(_request: Request, error: Exception) -> Response:
    assert isinstance(error, UndeliveredError)  # noqa: S101 - registered for nothing else
    return _json(
        {
            "detail": f"{error}; repeat it with the same {KEY_HEADER}, or look whether it appears",
            **as_taken(error.event),
        },
        error.status,
        {"Retry-After": str(web.RETRY_SECONDS)},
    )


async def _too_large(_request: Request, _error: Exception) -> Response:
    return _json({"detail": "the order is larger than the log takes"}, 413)


async def _key_reused(_request: Request, _error: Exception) -> Response:
    reason = "this key was used before, for another order; a new order needs a new key"
    return _json({"detail": [_problem("key_reused", reason, ("header", KEY_HEADER))]}, 422)
