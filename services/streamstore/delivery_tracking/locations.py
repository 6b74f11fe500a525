"""A courier's position: its event on the wire and its tables.

Wire format, the value of a record of `delivery-locations`: ``{"courier", "latitude", "longitude", "at"}``, keyed by
courier; degrees, and milliseconds since 1970.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from streamstore.delivery_tracking import METADATA, NAME
from streamstore.streaming.history import KEY_PATTERN, History, history_tables

MAX_TIME = 2**53  # ms; the largest integer that JSON carries everywhere


class Location(msgspec.Struct, frozen=True, gc=False):
    """Where a courier was at a time."""

    courier: Annotated[str, msgspec.Meta(pattern=rf"^{KEY_PATTERN}\Z")]
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    at: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Location)


def encode(location: Location) -> bytes:
    """The event's wire format."""
    return _encoder.encode(location)


def decode(value: bytes) -> Location:
    """The location in a record's value. Raises ValueError (msgspec's errors are) if it is not one."""
    return _decoder.decode(value)


def _decode_row(value: bytes) -> tuple[str, tuple[Any, ...]]:
    location = _decoder.decode(value)
    return location.courier, (location.latitude, location.longitude, location.at)


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("latitude", sa.Double, nullable=False),
        sa.Column("longitude", sa.Double, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    ]


HISTORY = History(NAME, *history_tables(METADATA, NAME, "courier", _columns), _decode_row)
