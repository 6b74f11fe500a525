"""What the HTTP interfaces share: bounded bodies, errors that say what to do, text that every database can hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, StringConstraints

from streamadapter import KafkaException
from streamstore.database import TRANSIENT
from streamstore.streaming.history import KEY_PATTERN

RETRY_SECONDS = 1  # what a caller is told to wait when something behind us is away


def _storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("neither NUL nor half of a surrogate pair can be stored")
    return text


Name = Annotated[str, StringConstraints(pattern=f"^{KEY_PATTERN}$")]
"""A courier, a channel: fit for a path and a key."""
Storable = AfterValidator(_storable)
"""PostgreSQL refuses NUL in a text, UTF-8 a lone surrogate; JSON has both."""


def create(
    service: str,
    architecture: str,
    max_body: int,
    resource: AbstractAsyncContextManager[object, None] | None = None,
) -> FastAPI:
    """An application with `GET /health` and answers to what goes wrong; bodies above `max_body` bytes get 413.

    The resource, if any, is open as long as the application is served.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with resource or nullcontext():
            yield

    app = FastAPI(
        title=f"StreamStore: {service}",
        max_body_size=max_body,
        lifespan=lifespan,
        docs_url=None,  # its page comes from a CDN
        redoc_url=None,
    )
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(KafkaException, _broker_away)
    for kind in TRANSIENT:
        app.add_exception_handler(kind, _database_away)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"service": service, "architecture": architecture}

    return app


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """FastAPI's answer without the input: it may be large, and NaN in it would make the answer a 500."""
    problems: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [{name: problem[name] for name in ("type", "loc", "msg")} for problem in problems]
    return JSONResponse({"detail": detail}, 422)


async def _broker_away(_request: Request, error: Exception) -> JSONResponse:
    return _away(f"not acknowledged by the broker: {error.args[0].str()}")


async def _database_away(_request: Request, _error: Exception) -> JSONResponse:
    return _away("the database cannot be used now")  # its own text may name hosts and statements


def _away(detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, 503, headers={"Retry-After": str(RETRY_SECONDS)})
