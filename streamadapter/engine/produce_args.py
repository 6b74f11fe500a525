"""Arguments of a producer's methods: conversions, and confluent_kafka's errors for what it does not take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import index
from types import NoneType
from typing import Any

from streamadapter.engine.queues import RECORD_OVERHEAD, record_size

INT32 = 2**31
INT64 = 2**63

_TEXT = (bytes, str, NoneType)


def deadline(timeout: float) -> float:
    """When a time-out (s, negative for none) is over, in monotonic seconds."""
    if not isinstance(timeout, int | float):
        raise TypeError(f"must be real number, not {type(timeout).__name__}")
    return float("inf") if timeout < 0 else time.monotonic() + timeout


def as_topic(given: Any) -> str:
    """A topic's name as produce() takes it; whether there is such a topic is for the metadata to say."""
    if not isinstance(given, str):
        raise TypeError(f"argument 1 must be str, not {'None' if given is None else type(given).__name__}")
    if "\0" in given:
        raise ValueError("embedded null character")
    return given


def as_bytes(given: Any, argument: int) -> bytes:
    """A value or key that is not plain bytes; `argument` is its position in produce()."""
    if isinstance(given, str):
        return given.encode()
    if isinstance(given, bytes):
        return bytes(given)
    name = type(given).__name__
    if isinstance(given, bytearray | memoryview):
        raise TypeError(f"argument {argument} must be read-only bytes-like object, not {name}")
    raise TypeError(f"a bytes-like object is required, not '{name}'")


def as_int(given: Any, limit: int) -> int:
    """An integer in [-limit, limit)."""
    number = index(given)
    if not -limit <= number < limit:
        raise OverflowError("int too big to convert")
    return number


def as_headers(given: Any) -> list[tuple[str, bytes | None]] | None:
    """Headers as the log keeps them; None if there are none."""
    if isinstance(given, dict):
        given = list(given.items())
    if not isinstance(given, list):
        raise TypeError(
            f"expected headers to be dict or list of (key, value) tuples, not {type(given).__name__}"
        )
    headers = []
    for header in given:
        if not isinstance(header, tuple) or len(header) != 2:
            raise TypeError("Headers are expected to be a list of (key, value) tuples")
        name, content = header
        if isinstance(name, bytes):
            name = name.decode()
        if not isinstance(name, str):
            raise TypeError(f"expected header key to be a string, not {type(name).__name__}")
        if isinstance(content, str):
            content = content.encode()
        elif content is not None and not isinstance(content, bytes):
            raise TypeError(
                f"expected header value to be None, binary, or unicode string, not {type(content).__name__}"
            )
        headers.append((name, content))
    return headers or None


def check_columns(
    values: Sequence[Any],
    keys: Sequence[Any] | None,
    timestamps: Sequence[Any] | None,
    headers: Sequence[Any] | None,
) -> None:
    """Check the columns given to produce_columns. ValueError for their lengths, TypeError for an item."""
    for name, column in (("keys", keys), ("timestamps", timestamps), ("headers", headers)):
        if column is not None and len(column) != len(values):
            raise ValueError(f"{len(column)} {name} for {len(values)} values")
    if not {*map(type, values), *map(type, keys or ())} <= {bytes, NoneType}:
        raise TypeError("values and keys must be bytes or None")
    for timestamp in timestamps or ():
        as_int(timestamp, INT64)
    for given in headers or ():
        if given is not None:
            as_headers(given)


def all_fit(
    values: Sequence[Any], keys: Sequence[Any] | None, headers: Sequence[Any] | None, limit: int
) -> bool:
    """Whether no record of checked columns is larger than `limit` bytes."""
    longest = [max(map(len, filter(None, column)), default=0) for column in (values, keys or ())]
    if headers is None and sum(longest) + RECORD_OVERHEAD <= limit:
        return True  # nearly always: no look at single records
    nothing = [None] * len(values)
    sizes = map(
        record_size,
        values,
        keys or nothing,
        (given and as_headers(given) for given in headers) if headers else nothing,
    )
    return max(sizes, default=0) <= limit


def check_messages(messages: Any) -> None:
    """Check the list given to produce_batch. TypeError, and ValueError for headers."""
    if not isinstance(messages, list):
        raise TypeError("messages must be a list")
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            raise TypeError(f"Message at index {position} must be a dict")
        value, key = message.get("value"), message.get("key")
        if not isinstance(value, _TEXT):
            raise TypeError(f"Message value at index {position} must be bytes or str")
        if not isinstance(key, _TEXT):
            raise TypeError(f"Message key at index {position} must be bytes or str")
        if not is_plain(message, value, key):
            _check_options(message, position)


def is_plain(message: dict[str, Any], value: object, key: object) -> bool:
    """Whether a message says nothing beyond its value and key."""
    return len(message) == (value is not None) + (key is not None)


def _check_options(message: dict[str, Any], position: int) -> None:
    for field in ("partition", "timestamp"):
        if not isinstance(message.get(field, 0), int):
            raise TypeError(f"Message {field} at index {position} must be int")
    _check_headers(message.get("headers"), position)
    for field in ("callback", "on_delivery"):
        if not callable(message.get(field, print)) and message[field] is not None:
            raise TypeError(f"Message {field} at index {position} must be callable")


def _check_headers(headers: Any, position: int) -> None:
    try:
        as_headers({} if headers is None else headers)
    except TypeError as error:
        raise ValueError(f"Invalid headers at index {position}: {error}") from None
