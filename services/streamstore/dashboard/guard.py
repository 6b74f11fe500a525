"""Keeps the pages of other sites from using a browser to reach a shop on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

SAFE = ("GET", "HEAD", "OPTIONS")


class SameOriginOnly:
    """ASGI middleware: a request that a foreign page could have caused is answered 403.

    Host must be an address, localhost, or the host that is served on: a name that was made to point here (DNS
    rebinding) is none of them. Origin, if there is one in a request that changes things, must be the same as Host.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's signature."""
        """ASGI."""
        if scope["type"] == "http":
            reason = refusal(scope["method"], Headers(scope=scope), self._host)
            if reason is not None:
                await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def refusal(method: str, headers: Headers, served_host: str) -> str | None:
    """Why the request is refused, or None."""
    host = headers.get("host", "")
    if not _is_trusted(host, served_host):
        return f"{host!r} is not a name of this server"
    origin = headers.get("origin")
    if method not in SAFE and origin is not None and urlsplit(origin).netloc != host:
        return f"requests from {origin!r} are refused"
    return None


def _is_trusted(host: str, served_host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", served_host):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
