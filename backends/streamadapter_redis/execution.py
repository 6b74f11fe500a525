"""How commands reach the server: borrowed connections, one round trip a call, errors translated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import KafkaError

from streamadapter.errors import StoreError
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

    @contextmanager
    def _link(self) -> Iterator[Link]:
        """A connection for the block. When one fails, its idle siblings are most likely dead as well."""
        try:
            with self._links.borrow() as link:
                yield link
        except StoreError as error:
            if error.code == KafkaError._TRANSPORT:
                self._links.discard_idle()
            raise

    def _execute(self, commands: Sequence[Command]) -> list[Reply]:
        if not commands:
            return []
        with self._link() as link:
            return link.execute(commands)

    def _all(self, commands: Sequence[Command]) -> list[Reply]:
        """As `_execute`, but the first error is raised."""
        replies = self._execute(commands)
        for reply in replies:
            self._raise_if_error(reply)
        return replies

    def _one(self, *command: str | int | bytes) -> Reply:
        return self._all([command])[0]

    def _call(self, script: scripts.Script, keys: list[str], *args: str | int | bytes) -> Reply:
        return self._one(*script.call(keys, *args))

    def _raise_if_error(self, reply: Reply) -> None:
        if isinstance(reply, Exception):
            raise translate(reply, self._where) from reply
