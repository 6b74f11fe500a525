"""How `consume` prints a message: by kafka-console-consumer's properties, kcat's tokens, or as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import click
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE

from streamadapter import Message
from streamadapter.cli.common import printable, unescaped

_TIMESTAMP_NAMES = {TIMESTAMP_NOT_AVAILABLE: "NoTimestampType", TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}


class Format(Protocol):
    """Turns a message into what is written."""

    def format(self, message: Message) -> bytes:
        """Everything to write for the message, its end of line too."""
        ...


def shown(data: bytes, terminal: bool) -> bytes:
    """As it is for a file or a pipe; without control characters for a terminal, which obeys them."""
    return printable(data.decode(errors="replace")).encode() if terminal else data


class PropertyFormat:
    """kafka-console-consumer's DefaultMessageFormatter: chosen parts in its order, key.separator between them."""

    _DEFAULTS: Mapping[str, str] = {
        "print.timestamp": "false",
        "print.partition": "false",
        "print.offset": "false",
        "print.headers": "false",
        "print.key": "false",
        "print.value": "true",
        "key.separator": "\t",
        "line.separator": "\n",
        "headers.separator": ",",
        "null.literal": "null",
    }

    def __init__(self, properties: Mapping[str, str]) -> None:
        if unknown := sorted(properties.keys() - self._DEFAULTS.keys()):
            raise click.UsageError(f"unknown --property {unknown[0]}; known are {', '.join(self._DEFAULTS)}")
        given = {**self._DEFAULTS, **properties}
        self._printed = {name for name, text in given.items() if text.lower() == "true"}
        self._separator = unescaped(given["key.separator"])
        self._end = unescaped(given["line.separator"])
        self._headers_separator = unescaped(given["headers.separator"])
        self._null = given["null.literal"].encode()

    def format(self, message: Message) -> bytes:
        """The chosen parts of the message."""
        parts: dict[str, Callable[[], bytes]] = {
            "print.timestamp": lambda: _timestamp(message),
            "print.partition": lambda: _labelled("Partition", message.partition()),
            "print.offset": lambda: _labelled("Offset", message.offset()),
            "print.headers": lambda: self._headers(message),
            "print.key": lambda: self._bytes(message.key()),
            "print.value": lambda: self._bytes(message.value()),
        }
        return (
            self._separator.join(part() for name, part in parts.items() if name in self._printed) + self._end
        )

    def _bytes(self, data: bytes | None) -> bytes:
        return self._null if data is None else data

    def _headers(self, message: Message) -> bytes:
        headers = [key.encode() + b":" + self._bytes(value) for key, value in message.headers() or []]
        return self._headers_separator.join(headers) or b"NO_HEADERS"


def _timestamp(message: Message) -> bytes:
    kind, milliseconds = message.timestamp()
    return _labelled(_TIMESTAMP_NAMES.get(kind, "CreateTime"), milliseconds)


def _labelled(label: str, number: int | None) -> bytes:
    return f"{label}:{number}".encode()


class TokenFormat:
    """kcat -f."""

    _TOKENS: Mapping[str, Callable[[Message], bytes]] = {
        "%t": lambda message: message.topic().encode(),
        "%p": lambda message: str(message.partition()).encode(),
        "%o": lambda message: str(message.offset()).encode(),
        "%k": lambda message: message.key() or b"",
        "%K": lambda message: _length(message.key()),
        "%s": lambda message: message.value() or b"",
        "%S": lambda message: _length(message.value()),
        "%T": lambda message: str(message.timestamp()[1]).encode(),
        "%h": lambda message: b",".join(
            key.encode() + b"=" + (b"NULL" if value is None else value)
            for key, value in message.headers() or []
        ),
        "%%": lambda _message: b"%",
    }

    def __init__(self, text: str) -> None:
        self._parts: list[bytes | Callable[[Message], bytes]] = []
        for part in re.findall(r"%.?|[^%]+", text, re.DOTALL):
            if not part.startswith("%"):
                self._parts.append(unescaped(part))
            elif part in self._TOKENS:
                self._parts.append(self._TOKENS[part])
            else:
                raise click.UsageError(f"-f: unknown token {part}; known are {' '.join(self._TOKENS)}")

    def format(self, message: Message) -> bytes:
        """The format with its tokens replaced."""
        return b"".join(part if isinstance(part, bytes) else part(message) for part in self._parts)


def _length(data: bytes | None) -> bytes:
    """-1 for null, as in kcat."""
    return str(-1 if data is None else len(data)).encode()


class JsonFormat:
    """kcat -J's envelope. Bytes that are not UTF-8 become escapes, as in Python's backslashreplace."""

    def format(self, message: Message) -> bytes:
        """One line of JSON."""
        kind, milliseconds = message.timestamp()
        headers: list[str | None] = []
        for key, value in message.headers() or []:
            headers += [key, _text(value)]
        envelope: dict[str, Any] = {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "tstype": {TIMESTAMP_NOT_AVAILABLE: "unknown", TIMESTAMP_LOG_APPEND_TIME: "logappend"}.get(
                kind, "create"
            ),
            "ts": milliseconds,
            **({"headers": headers} if headers else {}),
            "key": _text(message.key()),
            "payload": _text(message.value()),
        }
        return json.dumps(envelope, ensure_ascii=False).encode() + b"\n"


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")
