"""Server-sent events: a channel's messages as a browser's EventSource reads them.

Source: the HTML standard, "Server-sent events". An event's id comes back as Last-Event-ID when the browser connects
again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from streamstore.chat.messages import as_json, id_of
from streamstore.database import TRANSIENT
from streamstore.streaming.history import Row

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0  # a comment: proxies cut off what is silent, and a browser that has gone is noticed
RETRY_MS = 1000  # how soon a browser connects again

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_encode = msgspec.json.Encoder().encode


class EventStream(StreamingResponse):
    """Sends rows as they come; ends with them, or with the browser."""

    media_type = "text/event-stream"

    def __init__(self, rows: AsyncIterator[list[Row]]) -> None:
        self._body = _body(rows)
        super().__init__(self._body, headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave nobody listening for a browser that has gone."""
        async with aclosing(self._body):
            await super().__call__(scope, receive, send)


async def _body(rows: AsyncIterator[list[Row]]) -> AsyncGenerator[bytes, None]:
    yield b"retry: %d\n\n" % RETRY_MS
    try:
        async for batch in rows:
            yield b"".join(map(_event, batch)) or b":\n\n"
    except TRANSIENT as error:
        # The browser comes again, and again, until the database is back.
        log.warning("a listener is sent away: %s", type(error).__name__)


def _event(row: Row) -> bytes:
    return b"id: %s\ndata: %s\n\n" % (id_of(row.place).encode(), _encode(as_json(row)))
