"""A chat message: its event on the wire, its tables, its id.

Wire format, the value of a record of `chat-messages`: ``{"channel", "author", "text"}``, keyed by channel. The time
is the record's. A message's id is its place in the channel's history: ids of one channel sort, as texts too, in the
order of the channel. That holds as long as the topic keeps its number of partitions.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from streamstore.chat import METADATA, NAME
from streamstore.streaming.history import KEY_PATTERN, History, Place, Row, history_tables

MAX_AUTHOR = 64
MAX_TEXT = 2000

BEFORE_ALL = Place(0, -1, 0)
BEGINNING_ID = "0"  # after which every message comes
_ID = re.compile(r"(\d{1,9})-(\d{1,18})-(\d{1,9})", re.ASCII)


class ChatMessage(msgspec.Struct, frozen=True, gc=False):
    """Somebody's words in a channel. No NUL: PostgreSQL stores none."""

    channel: Annotated[str, msgspec.Meta(pattern=rf"^{KEY_PATTERN}\Z")]
    author: Annotated[str, msgspec.Meta(pattern=rf"^[^\0]{{1,{MAX_AUTHOR}}}\Z")]
    text: Annotated[str, msgspec.Meta(pattern=rf"^[^\0]{{1,{MAX_TEXT}}}\Z")]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ChatMessage)


def encode(message: ChatMessage) -> bytes:
    """The event's wire format."""
    return _encoder.encode(message)


def decode(value: bytes) -> ChatMessage:
    """The message in a record's value. Raises ValueError (msgspec's errors are) if it is not one."""
    return _decoder.decode(value)


def _decode_row(value: bytes) -> tuple[str, tuple[Any, ...]]:
    message = _decoder.decode(value)
    return message.channel, (message.author, message.text)


def _columns() -> list[sa.Column[Any]]:
    return [sa.Column("author", sa.Text, nullable=False), sa.Column("text", sa.Text, nullable=False)]


HISTORY = History(NAME, *history_tables(METADATA, NAME, "channel", _columns), _decode_row)


def id_of(place: Place) -> str:
    """Of fixed width, so that texts sort as places do."""
    return f"{place.log:04}-{place.offset:012}-{place.partition}"


def place_of(message_id: str) -> Place:
    """The place an id stands for; "0" is before every message. Raises ValueError."""
    if message_id == BEGINNING_ID:
        return BEFORE_ALL
    found = _ID.fullmatch(message_id)
    if found is None:
        raise ValueError(f"not the id of a message: {message_id[:40]!r}")
    return Place(*map(int, found.groups()))


def as_json(row: Row) -> dict[str, Any]:
    """What the HTTP interface says of a message."""
    author, text = row.values
    return {
        "id": id_of(row.place),
        "channel": row.key,
        "author": author,
        "text": text,
        "at": row.published_at,
    }
