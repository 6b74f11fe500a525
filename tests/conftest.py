"""Servers and addresses for every test. Under pytest-xdist each worker has servers of its own."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar
from urllib.parse import quote

import pytest

from streamadapter.engine import intake
from streamadapter.testing.kafka import KafkaCluster, KafkaServer
from streamadapter.testing.servers import RedisServer, Server, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser


S = TypeVar("S", bound=Server)


def pytest_configure() -> None:
    """`make test-compiled` must not pass because it tested the sources again."""
    if os.environ.get("EXPECT_COMPILED") and intake.__file__.endswith(".py"):
        raise pytest.UsageError(f"{intake.__file__} is not compiled: use `make test-compiled`")


def _need(kind: type[Server]) -> None:
    """A missing server skips the test at a developer's desk but fails it in CI: nobody reads skips there."""
    try:
        kind.binary()
    except FileNotFoundError as error:
        _missing(str(error))


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def need_server() -> Callable[[type[Server]], None]:
    """For servers that only one file starts: skips the test, or in CI fails it, where they are missing."""
    return _need


def _running(kind: type[S], directory: Path, options: dict[str, str]) -> Iterator[S]:
    _need(kind)
    with kind(directory, options) as server:
        yield server


# Members of the new group protocol (KIP-848) hear of a rebalance by heartbeat: every 5 s as shipped, which is waiting.
_SWIFT = {"group.consumer.heartbeat.interval.ms": "500", "group.consumer.min.heartbeat.interval.ms": "500"}
_CHROMIUM = Path("/usr/bin/chromium")
_QUIET = [  # nothing that asks the network, or the machine for what a container lacks
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_DURABLE = {"appendonly": "yes", "appendfsync": "always"}


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis shared by all tests: never kill, pause or flush it; use names of your own (`topic`)."""
    yield from _running(RedisServer, tmp_path_factory.mktemp("redis"), {})


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Valkey shared by all tests, as `redis_server`."""
    yield from _running(ValkeyServer, tmp_path_factory.mktemp("valkey"), {})


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A Kafka broker shared by all tests, as `redis_server`; topics take a while to delete, so use your own."""
    yield from _running(KafkaServer, tmp_path_factory.mktemp("kafka"), _SWIFT)


@pytest.fixture(scope="session")
def redis_url(redis_server: Server) -> str:
    return redis_server.url


@pytest.fixture(scope="session")
def valkey_url(valkey_server: Server) -> str:
    return valkey_server.url


@pytest.fixture(scope="session")
def kafka_url(kafka_server: KafkaServer) -> str:
    return kafka_server.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    """A Redis of the test's own, to kill and pause: append-only file on, fsync always."""
    yield from _running(RedisServer, tmp_path / "own-redis", _DURABLE)


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Server]:
    """A Valkey of the test's own, as `own_redis`."""
    yield from _running(ValkeyServer, tmp_path / "own-valkey", _DURABLE)


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A Kafka broker of the test's own, to kill and pause. It does not sync: the machine itself must not crash."""
    yield from _running(KafkaServer, tmp_path / "own-kafka", {})


@pytest.fixture
def kafka_cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    """Three Kafka brokers of the test's own."""
    _need(KafkaServer)
    with KafkaCluster(tmp_path / "cluster") as cluster:
        yield cluster
        cluster.kill()  # a clean end takes five seconds, and its data is not needed


@pytest.fixture(params=["memory", "embedded", "redis", "valkey"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each backend of the Redis family in turn; memory and embedded are empty, redis and valkey are the shared ones."""
    if request.param == "memory":
        yield f"memory://{uuid.uuid4().hex}"
    elif request.param == "embedded":
        from streamadapter_embedded import server_control  # tests of the core run without the backends

        path = tmp_path / "embedded"
        url = f"embedded://{quote(str(path))}"
        yield url
        if path.exists():  # a client that was killed has left the server running
            server_control.stop(url, force=True)
    else:
        yield request.getfixturevalue(f"{request.param}_url")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. As for servers: where it is missing the test is skipped, but in CI it fails."""
    from playwright.sync_api import sync_playwright  # few tests need it

    if not _CHROMIUM.exists():
        _missing(f"no {_CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_QUIET)
        yield browser
        browser.close()


@pytest.fixture
def topic() -> str:
    """A topic name nobody else uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group() -> str:
    """A consumer group name nobody else uses."""
    return f"g-{uuid.uuid4().hex[:12]}"
