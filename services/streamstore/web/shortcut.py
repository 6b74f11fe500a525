"""One busy route past the framework's layers, which take longer than a short handler does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send


class Shortcut:
    """An ASGI application: the given one, but POST at `path` is answered by `endpoint` at once.

    The endpoint should be a route of `app` too: that is where it is documented. What it raises is answered by
    the exception handlers of `app`. It sees none of the middleware, so it has to bound the body itself.
    """

    def __init__(self, app: FastAPI, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self._app = app
        self._path = path
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._endpoint(request)
        except Exception as error:  # noqa: BLE001 - raised again if nobody handles it
            response = await self._handled(request, error)
        await response(scope, receive, send)

    async def _handled(self, request: Request, error: Exception) -> Response:
        handlers = self._app.exception_handlers
        for kind in type(error).__mro__:
            if kind in handlers:
                answer: Any = handlers[kind](request, error)
                return cast(Response, await answer if isawaitable(answer) else answer)
        raise error
