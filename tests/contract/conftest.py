"""Every backend of this repository as the contract suite wants it."""

from __future__ import annotations

import os
import signal
import tomllib
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import redis

from streamadapter.testing import kafka
from streamadapter.testing.contract import Subject
from streamadapter.testing.proxy import Proxy
from streamadapter.testing.servers import RedisServer, ValkeyServer
from streamadapter_embedded import server_control
from streamadapter_embedded.directory import BINARY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        self._paused: int | None = None  # a server that hangs cannot be asked for its pid

    def start(self) -> None:
        server_control.start(self.url)

    def kill(self) -> None:
        os.kill(self._pid(), signal.SIGKILL)

    def pause(self) -> None:
        self._paused = self._pid()
        os.kill(self._paused, signal.SIGSTOP)

    def resume(self) -> None:
        if self._paused is not None:
            os.kill(self._paused, signal.SIGCONT)
            self._paused = None

    def _pid(self) -> int:
        pid: int = server_control.status(self.url)["pid"]
        return pid


@contextmanager
def own_embedded(directory: Path) -> Iterator[OwnEmbedded]:
    # It keeps to the program that wrote its data last: Valkey, where PATH has a Redis, too.
    directory.mkdir(mode=0o700)
    (directory / BINARY).write_text(ValkeyServer.binary())
    server = OwnEmbedded(f"embedded://{quote(str(directory))}?fsync=always")
    server.start()
    yield server
    server.resume()
    server_control.stop(server.url, force=True)


@contextmanager
def own_kafka(directory: Path) -> Iterator[kafka.KafkaServer]:
    with kafka.KafkaServer(directory, proxied=True) as server:
        yield server


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_embedded(tmp_path_factory.mktemp("embedded") / "data") as server:
        yield server.url


def a_memory(_: pytest.FixtureRequest) -> Subject:
    return Subject(f"memory://{uuid.uuid4().hex}", server=f"fakeredis {metadata.version('fakeredis')}")


def an_embedded(request: pytest.FixtureRequest) -> Subject:
    url = request.getfixturevalue("embedded_url")
    return Subject(url, own_embedded, server=server_control.status(url)["version"].capitalize())


def a_redis(request: pytest.FixtureRequest) -> Subject:
    url = request.getfixturevalue("redis_url")
    with redis.Redis.from_url(url) as client:
        version = client.info("server")["redis_version"]
    return Subject(url, own_redis, server=f"Redis {version}")


@pytest.fixture(scope="session")
def mock_cluster() -> Iterator[kafka.MockCluster]:
    with kafka.MockCluster() as cluster:
        yield cluster


def a_kafka(request: pytest.FixtureRequest) -> Subject:
    try:
        kafka.KafkaServer.binary()
    except FileNotFoundError:
        if os.environ.get("CI", "").lower() not in ("1", "true"):  # there kafka_url fails
            return a_mock_kafka(request.getfixturevalue("mock_cluster"))
    url = request.getfixturevalue("kafka_url")
    return Subject(url, own_kafka, server=f"Apache Kafka {kafka.version()}")


def a_mock_kafka(cluster: kafka.MockCluster) -> Subject:
    """In place of a broker that cannot be run for want of Java, or of Kafka's jars."""
    reasons = tomllib.loads(Path(__file__).with_name("mock.toml").read_text())
    return Subject(
        cluster.url,
        server="librdkafka's mock cluster",
        unsupported={name: reason for reason, names in reasons.items() for name in names},
        create_topic=cluster.create_topic,
    )


@pytest.fixture(
    params=[a_memory, an_embedded, a_redis, a_kafka], ids=["memory", "embedded", "redis", "kafka"]
)
def subject(request: pytest.FixtureRequest) -> Subject:
    make: Callable[[pytest.FixtureRequest], Subject] = request.param
    return make(request)
