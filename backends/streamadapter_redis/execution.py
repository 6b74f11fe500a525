"""How commands reach the server: borrowed connections, one round trip a call, errors translated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamadapter_redis import scripts
from streamadapter_redis.errors import translate
from streamadapter_redis.features import FEATURES
from streamadapter_redis.keys import Keys
from streamadapter_redis.link import Command, Link, LinkPool, Reply


class Execution:
    """The base of the store's parts. Thread-safe: a connection is borrowed for each call."""

    features = FEATURES

    def __init__(self, connect: Callable[[], Link], address: tuple[str, int], prefix: str) -> None:
        self.keys = Keys(prefix)
        self._connect = connect
        self._links = LinkPool(connect)
        self._address = address

    @property
    def _where(self) -> str:
        host, port = self._address
        return f"{host}:{port}" if port else host

    def _execute(self, commands: Sequence[Command]) -> list[Reply]:
        if not commands:
            return []
        with self._links.borrow() as link:
            return link.execute(commands)

    def _all(self, commands: Sequence[Command]) -> list[Reply]:
        """As `_execute`, but the first error is raised."""
        replies = self._execute(commands)
        for reply in replies:
            self._raise_if_error(reply)
        return replies

    def _one(self, *command: str | int | bytes | bytearray) -> Reply:
        return self._all([command])[0]

    def _call(self, script: scripts.Script, keys: list[str], *args: str | int | bytes) -> Reply:
        return self._one(*script.call(keys, *args))

    def _raise_if_error(self, reply: Reply) -> None:
        if isinstance(reply, Exception):
            raise translate(reply, self._where) from reply
