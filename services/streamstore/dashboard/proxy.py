"""Passes requests on to services, so that the page needs one origin only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from yarl import URL

MAX_BODY = 1 << 20
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 30.0  # until the answer begins; its body may stream for as long as the client listens
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
HOP_BY_HOP = {  # RFC 9110, 7.6.1: of one connection, not of the message; and what the next client sets itself
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
}


def session() -> aiohttp.ClientSession:
    """For `forward`; to be closed by the caller."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    # A service takes its sessions' cookies from nobody, and compressed bodies pass as they are.
    return aiohttp.ClientSession(timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())


async def forward(client: aiohttp.ClientSession, request: Request, base: str, path: str) -> Response:
    """The answer of the service at `base`, streamed as it comes; 502 if it cannot be reached.

    A client that goes away closes the connection to the service too.
    """
    body = await _body(request)
    if body is None:
        return PlainTextResponse(f"at most {MAX_BODY} bytes can be passed on\n", 413)
    query = request.url.query
    url = URL(f"{base}/{path}{f'?{query}' if query else ''}", encoded=True)
    headers = [(k, v) for k, v in request.headers.items() if k not in HOP_BY_HOP]
    asked = client.request(request.method, url, headers=headers, data=body or None, allow_redirects=False)
    try:
        answer = await asyncio.wait_for(asked, ANSWER_SECONDS)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return PlainTextResponse(f"{base} does not answer\n", 502)
    response = StreamingResponse(_chunks(answer), answer.status)
    kept = [(k.lower(), v) for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP]
    response.raw_headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in kept]
    return response


async def _body(request: Request) -> bytes | None:
    """None if it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    finally:
        answer.close()
