"""Arguments of a producer's methods: conversions, and confluent_kafka's errors for what it does not take."""

from __future__ import annotations

import time
from collections.abc import Callable
from operator import index
from typing import Any

from confluent_kafka import KafkaError, KafkaException

INT32 = 2**31
INT64 = 2**63


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


def check_messages(messages: Any) -> None:
    """Check the list given to produce_batch. TypeError, and ValueError for headers."""
    if not isinstance(messages, list):
        raise TypeError("messages must be a list")
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            raise TypeError(f"Message at index {position} must be a dict")
        for field in ("value", "key"):
            if not isinstance(message.get(field), bytes | str | None):
                raise TypeError(f"Message {field} at index {position} must be bytes or str")
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


def produce_each(
    produce: Callable[..., None], topic: str, messages: list[dict[str, Any]], partition: int, report: Any
) -> int:
    """produce_batch by one call of `produce` a message; returns how many it took, the others have `_error` set."""
    taken = 0
    for message in messages:
        try:
            produce(
                topic,
                message.get("value"),
                message.get("key"),
                message.get("partition", partition),
                message.get("callback", message.get("on_delivery", report)),
                timestamp=message.get("timestamp", 0),
                headers=message.get("headers"),
            )
            taken += 1
        except BufferError:
            message["_error"] = KafkaError(KafkaError._QUEUE_FULL)
        except KafkaException as error:
            message["_error"] = error.args[0]
    return taken
