"""The HTTP interface of chat."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, StringConstraints
from starlette.responses import Response

from streamstore import web
from streamstore.chat import NAME
from streamstore.chat.conversation import Chat
from streamstore.chat.messages import MAX_AUTHOR, MAX_TEXT, ChatMessage, as_json, id_of, place_of
from streamstore.chat.stream import HEARTBEAT_SECONDS, EventStream
from streamstore.publisher import Publisher
from streamstore.streaming.history import Place
from streamstore.web import Name, Storable
from streamstore.web.docs import add_docs

MAX_BODY = 64 * 1024  # with every character escaped, a text takes 12 bytes a character
MAX_PAGE = 1000

Channel = Annotated[Name, Path()]


class MessageBody(BaseModel):
    """A message to a channel."""

    author: Annotated[str, StringConstraints(min_length=1, max_length=MAX_AUTHOR), Storable]
    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), Storable]


def create_app(chat: Chat, architecture: str, publisher: Publisher | None = None) -> FastAPI:
    """The application. In the events architecture 202 means that the broker has acknowledged the message."""
    app = web.create(NAME, architecture, MAX_BODY, publisher)

    @app.post("/channels/{channel}/messages", status_code=202)
    async def post_message(channel: Channel, body: MessageBody) -> dict[str, str]:
        place = await chat.post(ChatMessage(channel, body.author, body.text))
        return {"id": id_of(place)}

    @app.get("/channels")
    def get_channels() -> list[dict[str, Any]]:
        return [{"channel": row.key, "last": as_json(row)} for row in chat.channels()]

    @app.get("/channels/{channel}/messages")
    def get_messages(
        channel: Channel,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    ) -> list[dict[str, Any]]:
        """Oldest first: those after an id ("0": from the first), or without one the newest."""
        place = _place(after, "query", "after")
        rows = chat.newest(channel, limit) if place is None else chat.after(channel, place, limit)
        return [as_json(row) for row in rows]

    @app.get("/channels/{channel}/events", response_class=EventStream)
    async def get_events(
        channel: Channel,
        after: str | None = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Messages after Last-Event-ID, else after `after`, else from now on, as server-sent events."""
        place = (
            _place(last_event_id, "header", "Last-Event-ID")
            if last_event_id
            else _place(after, "query", "after")
        )
        return EventStream(chat.listen(channel, place, HEARTBEAT_SECONDS))

    add_docs(app)
    return app


def _place(message_id: str | None, where: str, name: str) -> Place | None:
    if message_id is None:
        return None
    try:
        return place_of(message_id)
    except ValueError as problem:
        raise RequestValidationError(
            [{"type": "value_error", "loc": (where, name), "msg": str(problem)}]
        ) from problem
