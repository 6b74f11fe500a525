"""The Lua scripts: loaded from lua/*.lua, called by digest, mirrored return codes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum
from importlib import resources


class AppendStatus(IntEnum):
    """First value that append.lua returns."""

    OK = 0
    DUPLICATE = 1
    UNKNOWN_TOPIC = 2
    OUT_OF_ORDER = 3
    OLD_EPOCH = 4
    TOO_LARGE = 5
    BLOCKED_BY_FOREIGN_ENTRY = 6


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the digest the server knows it by."""

    text: str
    sha: str

    def call(
        self, keys: list[str], *args: str | int | bytes | bytearray
    ) -> tuple[str | int | bytes | bytearray, ...]:
        """The command that runs it. A server that lacks it answers NOSCRIPT: see `Link.execute`."""
        return ("EVALSHA", self.sha, len(keys), *keys, *args)


def _read(name: str) -> str:
    text = resources.files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")
    return re.sub(r"^--@include (\w+)$", lambda m: _read(m[1]), text, flags=re.MULTILINE)


_TEXTS: dict[str, str] = {}


def _load(name: str) -> Script:
    text = _read(name)
    script = Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    _TEXTS[script.sha] = text
    return script


def text_of(sha: str) -> str:
    """The text of a script, by digest."""
    return _TEXTS[sha]


APPEND = _load("append")
RETAIN = _load("retain")
DELETE_RECORDS = _load("delete_records")
SEARCH_TIMESTAMP = _load("search_timestamp")
CREATE_PARTITION = _load("create_partition")
DELETE_PARTITION = _load("delete_partition")
REGISTER_TOPIC = _load("register_topic")
REPLACE_TOPIC = _load("replace_topic")
ACQUIRE = _load("acquire")
HEARTBEAT = _load("heartbeat")
GROUP_UPDATE = _load("group_update")
COMMIT = _load("commit")
DELETE_GROUP = _load("delete_group")
