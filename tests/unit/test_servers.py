"""The servers that tests run against."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamadapter.testing.servers import RedisFamilyServer, RedisServer, Server, ValkeyServer

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_S = 30.0
NO_RETRY = Retry(NoBackoff(), 0)


def value_of(server: Server, key: str) -> str | None:
    with redis.Redis.from_url(server.url, decode_responses=True, retry=NO_RETRY) as client:
        value: str | None = client.get(key)
        return value


@pytest.mark.parametrize("kind", [RedisServer, ValkeyServer])
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_a_killed_server_comes_back_on_its_address_with_its_data(
    kind: type[RedisFamilyServer], unix: bool, tmp_path: Path
) -> None:
    # given
    options = {"appendonly": "yes", "appendfsync": "always", "requirepass": "p@ss/word"}
    with kind(tmp_path, options, unix=unix) as server:
        url, pid = server.url, server.pid
        with redis.Redis.from_url(url) as client:
            client.set("key", "value")
        # when
        server.kill()
        with pytest.raises(redis.ConnectionError):
            value_of(server, "key")
        server.start()
        # then
        assert (server.url, value_of(server, "key")) == (url, "value")
        assert server.pid != pid
        server.restart()
        assert value_of(server, "key") == "value"


def test_a_paused_server_answers_once_resumed(own_redis: Server) -> None:
    with redis.Redis.from_url(own_redis.url, socket_timeout=0.2, retry=NO_RETRY) as client:
        own_redis.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        own_redis.resume()
    assert value_of(own_redis, "key") is None


def test_a_paused_server_can_be_stopped(own_redis: Server) -> None:
    own_redis.pause()
    own_redis.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = own_redis.pid


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("in the way")
    with pytest.raises(RuntimeError, match="append-only dir"):
        RedisServer(tmp_path, {"appendonly": "yes"}).start()


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    # given
    program = """
import os, pathlib, signal, sys
from streamadapter.testing.servers import RedisServer
server = RedisServer(pathlib.Path(sys.argv[1])).start()
print(server.port, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    # when
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, check=False, timeout=60
    )
    # then
    deadline = time.monotonic() + DEADLINE_S
    with redis.Redis(port=int(done.stdout), retry=NO_RETRY) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                break
            assert time.monotonic() < deadline, "the server is still there"
            time.sleep(0.02)
