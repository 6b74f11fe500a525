"""Every backend of this repository as the contract suite wants it."""

from __future__ import annotations

import os
import signal
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from streamadapter.testing.contract import Subject
from streamadapter.testing.kafka import KafkaServer
from streamadapter.testing.proxy import Proxy
from streamadapter.testing.servers import RedisServer
from streamadapter_embedded import server_control

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamadapter.testing.servers import Server


@dataclass
class Proxied:
    """A server with a proxy in front of it: an `OwnServer`."""

    server: Server
    proxy: Proxy
    proxied_url: str

    def __post_init__(self) -> None:
        self.url = self.server.url
        self.kill = self.server.kill
        self.start = self.server.start
        self.pause = self.server.pause
        self.resume = self.server.resume


@contextmanager
def own_redis(directory: Path) -> Iterator[Proxied]:
    options = {"appendonly": "yes", "appendfsync": "always"}
    with RedisServer(directory, options) as server, Proxy(("127.0.0.1", server.port)) as proxy:
        yield Proxied(server, proxy, proxy.url)


class OwnEmbedded:
    """The server behind an embedded:// URL: its clients start it, and start it again. An `OwnServer`."""

    proxy = None  # it listens on a unix socket of its own
    proxied_url = None

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self) -> None:
        server_control.start(self.url)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(server_control.status(self.url)["pid"], number)


@contextmanager
def own_embedded(directory: Path) -> Iterator[OwnEmbedded]:
    server = OwnEmbedded(f"embedded://{quote(str(directory))}?fsync=always")
    server.start()
    yield server
    server_control.stop(server.url, force=True)


@contextmanager
def own_kafka(directory: Path) -> Iterator[KafkaServer]:
    with KafkaServer(directory, proxied=True) as server:
        yield server


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_embedded(tmp_path_factory.mktemp("embedded") / "data") as server:
        yield server.url


@pytest.fixture(params=["memory", "embedded", "redis", "kafka"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "memory":
        return Subject(f"memory://{uuid.uuid4().hex}")
    own_server = {"embedded": own_embedded, "redis": own_redis, "kafka": own_kafka}[request.param]
    return Subject(request.getfixturevalue(f"{request.param}_url"), own_server)
