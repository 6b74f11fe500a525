"""What a service made of an event: a record of `order-status`, keyed by the event's id.

Wire format: one JSON object ``{"event_id", "service", "state"}``. A service publishes it when its effect is in its
database, again when the event comes again, and never first: a state that is told is true.
"""

from __future__ import annotations

import msgspec

DEAD_LETTER = "dead letter"
"""The state of an event that a service could not handle: it waits until somebody replays it."""


class Status(msgspec.Struct, frozen=True):
    """The `state` is a word of the service: reserved, short, invoiced, credited, sent, refused, counted ..."""

    event_id: str
    service: str
    state: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Status)


def encode(status: Status) -> bytes:
    """The event's wire format."""
    return _encoder.encode(status)


def decode(value: bytes) -> Status:
    """The status in a record's value. Raises ValueError (msgspec's errors are) if it is not one."""
    return _decoder.decode(value)
