"""One connection to a server: commands out in one write, replies in order, errors translated.

redis-py's connection does the socket, TLS, authentication and parsing; its client is not used, because WAIT must
follow a write on the same connection, a reply may be lost only once (no hidden retries), and the run id must be
that of the process this very connection reached.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeAlias

import redis
from confluent_kafka import KafkaError
from hiredis import pack_command
from redis.exceptions import NoScriptError

from streamadapter.errors import StoreError
from streamadapter_redis import scripts
from streamadapter_redis.errors import translate

Command: TypeAlias = tuple[str | int | bytes | bytearray, ...]
Reply: TypeAlias = Any
"""Whatever the server answered; a ResponseError stands for itself in a list of replies."""

_pack_command: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # its stub wants tuples of one


class Connection(Protocol):
    """What is used of redis.Connection, and of fakeredis' stand-in for it."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def send_packed_command(self, command: Any) -> None: ...
    def read_response(self) -> Any: ...


MINIMUM_VERSION = (7, 0)

_LARGE = 16 * 1024
"""Bytes from which on an argument is not copied: a copy costs more than the two more calls of send()."""


class Link:
    """A connection that is either whole or dead. Used by one thread at a time.

    run_id: of the server process it reached, which the leader epoch is about. client_id: for CLIENT UNBLOCK.
    """

    run_id: str
    client_id: int

    def __init__(self, connection: Connection, where: str) -> None:
        """Connect. Raises StoreError, never indeterminate: nothing was asked yet."""
        self._connection = connection
        self._where = where
        self.dead = False
        try:
            connection.connect()
            self._greet()
        except Exception as error:
            self.close()
            raise translate(error, where, sent=False) from error

    def _greet(self) -> None:
        """Learn whom it reached, and refuse a server that would lose data or cannot run the scripts."""
        # INFO takes several sections since 7.0; an older server answers the first.
        replies = self._exchange([("INFO", "server", "memory"), ("CLIENT", "ID")])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        info = dict(line.split(":", 1) for line in replies[0].decode().splitlines() if ":" in line)
        version = info.get("redis_version", "0")
        if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_VERSION:
            raise StoreError(
                KafkaError._UNSUPPORTED_FEATURE,
                f"{self._where}: Redis {version} is too old; Redis 7.0 or Valkey 8 is needed",
                fatal=True,
            )
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory", "0") != "0" and policy != "noeviction":
            raise StoreError(
                KafkaError.POLICY_VIOLATION,
                f"{self._where}: maxmemory-policy {policy} would evict logs; set it to noeviction",
                fatal=True,
            )
        self.run_id = info["run_id"]
        self.client_id = int(replies[1])

    def execute(self, commands: Sequence[Command]) -> list[Reply]:
        """Send all, then read all replies: one round trip. Errors of single commands are returned in place.

        Raises StoreError if the connection failed; which commands took effect is then unknown.
        Scripts the server lacks are sent again with their text, in order.
        """
        replies = self._exchange(commands)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            full = [("EVAL", scripts.text_of(str(commands[i][1])), *commands[i][2:]) for i in missing]
            for i, reply in zip(missing, self._exchange(full), strict=True):
                replies[i] = reply
        return replies

    def one(self, *command: str | int | bytes | bytearray) -> Reply:
        """Execute one command. Raises StoreError for its error too."""
        reply = self.execute([command])[0]
        if isinstance(reply, Exception):
            raise translate(reply, self._where) from reply
        return reply

    def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        connection = self._connection
        replies: list[Reply] = []
        try:
            connection.send_packed_command(self._pack(commands))
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except redis.ResponseError as error:
                    replies.append(error)
        except Exception as error:
            self.close()
            raise translate(error, self._where) from error
        return replies

    def _pack(self, commands: Sequence[Command]) -> Iterable[bytes | bytearray]:
        """The commands in pieces, to be sent one after the other. A large payload is sent from where it lies."""
        packed: list[bytes | bytearray] = []
        for command in commands:
            payload = command[-1]
            if not isinstance(payload, bytearray):
                packed.append(_pack_command(command))
                continue
            head = _pack_command((*command[:-1], b"")).removesuffix(b"$0\r\n\r\n")
            packed.append(b"%b$%d\r\n" % (head, len(payload)))
            if len(payload) >= _LARGE:
                yield b"".join(packed)
                packed = []
                yield payload
            else:
                packed.append(payload)
            packed.append(b"\r\n")
        yield b"".join(packed)

    def close(self) -> None:
        """Disconnect; never raises."""
        self.dead = True
        # Nothing is left to be done with a connection that cannot even be closed.
        with suppress(Exception):
            self._connection.disconnect()


class LinkPool:
    """Idle links, last in first out. Thread-safe."""

    def __init__(self, connect: Callable[[], Link]) -> None:
        self._connect = connect
        self._idle: deque[Link] = deque()
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[Link]:
        """A link for the block; it returns to the pool unless it died or the block was interrupted.

        When one fails, its idle siblings are most likely dead as well: they are closed.
        """
        with self._lock:
            if self._closed:
                raise StoreError(KafkaError._STATE, "the store has been closed")
            link = self._idle.pop() if self._idle else None
        if link is None:
            link = self._connect()
        whole = False
        try:
            yield link
            whole = True
        except StoreError as error:
            whole = True  # the link itself knows whether it is dead
            if error.code == KafkaError._TRANSPORT:
                self._discard_idle()
            raise
        finally:
            with self._lock:
                if whole and not link.dead and not self._closed:
                    self._idle.append(link)
                else:
                    link.close()

    def close(self) -> None:
        """Close all; borrowed ones close on return. Idempotent."""
        self._closed = True
        self._discard_idle()

    def _discard_idle(self) -> None:
        with self._lock:
            links, self._idle = list(self._idle), deque()
        for link in links:
            link.close()
