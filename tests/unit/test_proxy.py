"""The fault-injecting proxy, in front of a real server."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import redis

from streamadapter.testing.proxy import Faults, Proxy
from streamadapter.testing.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from streamadapter.testing.servers import Server

DEADLINE_S = 20.0


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


@pytest.fixture
def proxy(redis_server: Server) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", redis_server.port)) as proxy:
        yield proxy


def client_of(url: str, timeout: float = DEADLINE_S) -> redis.Redis:
    """A client that never retries and, with RESP 2 and no driver info, sends nothing of its own accord."""
    return redis.Redis.from_url(
        url, socket_timeout=timeout, retry=None, protocol=2, driver_info=None, decode_responses=True
    )


@pytest.fixture
def through(proxy: Proxy) -> Iterator[redis.Redis]:
    """A client through the proxy, already connected; it never retries."""
    with client_of(proxy.url) as client:
        client.ping()
        proxy.counts.clear()
        yield client


@pytest.fixture
def direct(redis_url: str) -> Iterator[redis.Redis]:
    with client_of(redis_url) as client:
        yield client


def test_forwards_and_counts(proxy: Proxy, through: redis.Redis, topic: str) -> None:
    # when
    through.set(topic, "x")
    # then
    assert through.get(topic) == "x"
    assert proxy.counts == {"requests": 2, "replies": 2}


def test_large_values_pass_unchanged(through: redis.Redis, topic: str) -> None:
    value = "0123456789" * 1_000_000
    through.set(topic, value)
    assert through.get(topic) == value


def test_a_slow_reader_gets_every_byte(proxy: Proxy, direct: redis.Redis, topic: str) -> None:
    # given: more than the sockets' buffers hold
    value = b"0123456789" * 1_500_000
    direct.set(topic, value)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(DEADLINE_S)
        reader.connect(("127.0.0.1", proxy.port))
        # when
        reader.sendall(f"GET {topic}\r\n".encode())
        eventually(lambda: proxy.counts["replies"] >= 10)  # it has begun to pile up
        # then
        expected = b"$%d\r\n%b\r\n" % (len(value), value)
        received = bytearray()
        while len(received) < len(expected):
            data = reader.recv(1 << 20)
            assert data, "the connection ended early"
            received += data
        assert received == expected


def test_a_dropped_reply_belongs_to_a_request_that_took_effect(
    proxy: Proxy, through: redis.Redis, direct: redis.Redis, topic: str
) -> None:
    # given
    proxy.drop_replies(1)
    # when
    with pytest.raises(redis.ConnectionError):
        through.incr(topic)
    # then
    assert direct.get(topic) == "1"
    assert proxy.counts["replies dropped"] == 1
    assert through.incr(topic) == 2, "only one reply was to be dropped"


def test_a_dropped_request_never_takes_effect(
    proxy: Proxy, through: redis.Redis, direct: redis.Redis, topic: str
) -> None:
    proxy.drop_requests(1)
    with pytest.raises(redis.ConnectionError):
        through.incr(topic)
    assert direct.get(topic) is None
    assert proxy.counts["requests dropped"] == 1


def test_every_nth_reply_is_dropped(
    proxy: Proxy, through: redis.Redis, direct: redis.Redis, topic: str
) -> None:
    # given
    proxy.set_faults(Faults(drop_every_reply=3))
    # when
    failures = 0
    for _ in range(9):
        try:
            through.incr(topic)
        except redis.ConnectionError:
            failures += 1
    # then
    assert failures == 3
    assert direct.get(topic) == "9"


def test_random_faults_repeat_with_their_seed(proxy: Proxy, through: redis.Redis, topic: str) -> None:
    def outcomes(seed: int) -> list[bool]:
        through.connection_pool.disconnect()  # each run begins with a new connection
        proxy.set_faults(Faults(seed=seed, drop_request=0.1, drop_reply=0.1, reset=0.1))
        result = []
        for _ in range(60):
            try:
                through.incr(topic)
            except redis.ConnectionError:
                result.append(False)
            else:
                result.append(True)
        return result

    first = outcomes(7)
    assert {True, False} == set(first)
    assert outcomes(7) == first
    assert outcomes(8) != first


def test_a_cut_closes_nothing_and_loses_nothing_once_healed(
    proxy: Proxy, through: redis.Redis, direct: redis.Redis, topic: str
) -> None:
    # given
    proxy.cut()
    answer: list[int] = []
    waiting = threading.Thread(target=lambda: answer.append(through.incr(topic)))
    # when
    waiting.start()
    eventually(lambda: proxy.counts["requests"] == 1)
    time.sleep(0.1)  # long enough for a forwarded request to take effect
    # then
    assert direct.get(topic) is None
    assert not answer
    proxy.heal()
    waiting.join(DEADLINE_S)
    assert answer == [1]


def test_a_cut_of_replies_lets_requests_through(
    proxy: Proxy, through: redis.Redis, direct: redis.Redis, topic: str
) -> None:
    with client_of(proxy.url, timeout=0.3) as impatient:
        impatient.ping()
        proxy.cut(requests=False)
        with pytest.raises(redis.TimeoutError):
            impatient.incr(topic)
    eventually(lambda: direct.get(topic) == "1")


def test_reset_ends_every_connection(proxy: Proxy, through: redis.Redis) -> None:
    # given
    with client_of(proxy.url) as second:
        second.ping()
        failed: list[type[Exception]] = []

        def wait_in_vain() -> None:
            try:
                second.blpop(["nothing-is-ever-pushed-here"], timeout=10)
            except redis.RedisError as error:
                failed.append(type(error))

        blocked = threading.Thread(target=wait_in_vain)
        blocked.start()
        eventually(lambda: proxy.counts["requests"] >= 2)
        # when
        ended = proxy.reset()
        blocked.join(DEADLINE_S)
    # then
    assert ended == 2
    assert failed == [redis.ConnectionError]
    assert proxy.counts["resets"] == 2


def test_latency_delays_both_directions(proxy: Proxy, through: redis.Redis) -> None:
    proxy.set_faults(Faults(latency_s=0.1))
    began = time.monotonic()
    through.ping()
    assert time.monotonic() - began >= 0.2


def test_refuses_new_connections_only(proxy: Proxy, through: redis.Redis) -> None:
    proxy.refuse()
    with client_of(proxy.url) as newcomer, pytest.raises(redis.ConnectionError):
        newcomer.ping()
    assert through.ping()
    assert proxy.counts["refused"] == 1


def test_a_dead_server_refuses_through_the_proxy(own_redis: Server) -> None:
    with Proxy(("127.0.0.1", own_redis.port)) as proxy, client_of(proxy.url) as client:
        own_redis.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        own_redis.start()
        assert client.ping()


def test_a_unix_socket_can_be_the_upstream(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path, unix=True) as server,
        Proxy(str(server.socket_path)) as proxy,
        client_of(proxy.url) as client,
    ):
        assert client.ping()


def test_close_ends_connections_and_threads(redis_server: Server) -> None:
    before = set(threading.enumerate())
    proxy = Proxy(("127.0.0.1", redis_server.port))
    with client_of(proxy.url) as client:
        client.ping()
        proxy.cut()
        proxy.close()
        proxy.close()
        assert set(threading.enumerate()) == before
        with pytest.raises(redis.ConnectionError):
            client.ping()
