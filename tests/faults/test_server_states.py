"""A server that answers, but with refusals: full, read-only, loading, forgetful, evicting, strange to this client."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from streamadapter import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from streamadapter.admin import AdminClient
from streamadapter.testing.servers import RedisServer, Server, ValkeyServer, free_port

if TYPE_CHECKING:
    from tests.faults.conftest import Lab

SESSION_MS = 20_000
"""Longer than any of these faults: the group shall survive them."""


@pytest.fixture(params=[RedisServer, ValkeyServer], ids=["redis", "valkey"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One of its own for each test, that does not write to disk unless told to."""
    with request.param(tmp_path / "server") as server:
        yield server


@pytest.fixture
def load(lab: Lab) -> Callable[..., None]:
    """A producer and two consumers at work."""

    def start(url: str) -> None:
        lab.create_topic(url)
        producer = lab.producer("p", batch_num_messages=20)
        for n in range(2):
            lab.consumer(f"c{n}", session_timeout_ms=SESSION_MS).tell("loop")
        producer.tell("loop")
        lab.await_acknowledged(200)

    return start


def _assert_nothing_was_lost(lab: Lab) -> None:
    lab.await_acknowledged(200)
    lab.finish()
    lab.await_delivered()
    assert {e.kind for e in lab.events() if e.op == "send"} == {"invoke", "ok"}
    lab.assert_valid()


def test_script_flush_in_a_loop_causes_no_error(lab: Lab, server: Server, load: Any) -> None:
    load(server.url)

    with redis.Redis.from_url(server.url) as client:
        for _ in range(300):
            client.script_flush("SYNC")
            time.sleep(0.01)
    _assert_nothing_was_lost(lab)

    assert set().union(*(client.errors() for client in lab.clients)) == set()


def test_a_full_server_makes_producers_wait_and_loses_nothing(lab: Lab, server: Server, load: Any) -> None:
    load(server.url)

    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        before = sum(lab.ends().values())
        lab.clients[0].await_note("error", code="KAFKA_STORAGE_ERROR")
        time.sleep(1.0)
        after = sum(lab.ends().values())
        client.config_set("maxmemory", 0)
    _assert_nothing_was_lost(lab)

    assert after - before < 100  # those under way when it filled up
    assert not lab.clients[0].notes("send", "info")


def test_a_full_server_can_be_emptied_by_deleting_records(lab: Lab, server: Server) -> None:
    lab.create_topic(server.url, partitions=1)
    producer = lab.producer("p")
    producer.ask("produce", count=200, size=1000)
    producer.ask("flush")

    with redis.Redis.from_url(server.url) as client, AdminClient({"bootstrap.servers": server.url}) as admin:
        client.config_set("maxmemory", 1)
        before = TopicPartition(lab.topic, 0, 100)
        deleted = admin.delete_records([before])[before].result()

    assert deleted.low_watermark == 100


def test_a_server_that_may_evict_logs_is_refused_by_every_client_at_once(lab: Lab, server: Server) -> None:
    lab.create_topic(server.url)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", 100_000_000)

    _assert_refused(lab, server.url, KafkaError.POLICY_VIOLATION, "noeviction")


def _assert_refused(lab: Lab, url: str, code: int, hint: str) -> None:
    """Producer, consumer and admin client each end in a fatal error of that code, and soon."""
    began = time.monotonic()

    with AdminClient({"bootstrap.servers": url}) as admin, pytest.raises(KafkaException) as refused:
        admin.list_topics(timeout=10)
    _assert_is(refused.value.args[0], code, hint)

    reports: list[tuple[KafkaError | None, Any]] = []
    with Producer({"bootstrap.servers": url}) as producer:
        producer.produce(lab.topic, b"x", on_delivery=lambda *report: reports.append(report))
        assert producer.flush(10) == 0
    ((error, _),) = reports
    _assert_is(error, code, hint)

    told: list[KafkaError] = []
    conf = {"bootstrap.servers": url, "group.id": lab.group, "error_cb": told.append}
    with Consumer(conf) as consumer:
        consumer.subscribe([lab.topic])
        message = consumer.poll(10)
        assert message is not None
        _assert_is(message.error(), code, hint)
        assert consumer.poll(0.5) is None
    assert [error.code() for error in told] == [code]  # once: it does not keep trying
    assert time.monotonic() - began < 10


def _assert_is(error: KafkaError | None, code: int, hint: str) -> None:
    assert error is not None
    assert error.code() == code, error
    assert error.fatal(), error
    assert not error.retriable(), error
    assert hint in error.str()


def _acl(server: Server, *rules: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", *rules)


def test_a_wrong_password_ends_every_client_at_once(lab: Lab, server: Server) -> None:
    lab.create_topic(server.url)
    _acl(server, "allkeys", "allchannels", "allcommands")

    url = f"redis://shop:wrong@127.0.0.1:{server.port}/0"

    _assert_refused(lab, url, KafkaError._AUTHENTICATION, "password")
    assert "wrong@" not in server.log


def test_a_missing_password_ends_every_client_at_once(lab: Lab, server: Server) -> None:
    lab.create_topic(server.url)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "secret")

    _assert_refused(lab, server.url, KafkaError._AUTHENTICATION, "uthentication required")


@pytest.mark.parametrize(
    ("rules", "hint"),
    [
        (("allkeys", "allchannels", "+@all", "-info"), "info"),
        (("~other:*", "allchannels", "+@all"), "key"),
    ],
    ids=["a command", "the keys"],
)
def test_a_user_without_permission_ends_every_client_at_once(
    lab: Lab, server: Server, rules: tuple[str, ...], hint: str
) -> None:
    lab.create_topic(server.url)
    _acl(server, *rules)

    url = f"redis://shop:secret@127.0.0.1:{server.port}/0"

    _assert_refused(lab, url, KafkaError.TOPIC_AUTHORIZATION_FAILED, hint)


def test_a_server_that_is_read_only_for_a_while_is_waited_for(lab: Lab, server: Server, load: Any) -> None:
    load(server.url)

    with redis.Redis.from_url(server.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", free_port())  # of nobody
        lab.clients[0].await_note("error", code="NOT_LEADER_FOR_PARTITION")
        time.sleep(1.0)
        client.execute_command("REPLICAOF", "NO", "ONE")
    _assert_nothing_was_lost(lab)


def test_a_server_that_cannot_save_and_refuses_writes_is_waited_for(
    lab: Lab, server: Server, load: Any, wait: Any
) -> None:
    load(server.url)

    with redis.Redis.from_url(server.url) as client:
        obstacle = server.directory / "dump.rdb"
        obstacle.mkdir()
        client.config_set("save", "3600 1")
        client.bgsave()
        lab.clients[0].await_note("error", code="KAFKA_STORAGE_ERROR")
        time.sleep(0.5)
        obstacle.rmdir()
        wait(lambda: client.info("persistence")["rdb_bgsave_in_progress"] == 0, "the failed save has ended")
        client.bgsave()
    _assert_nothing_was_lost(lab)


def test_a_server_that_loads_its_data_is_waited_for(lab: Lab, tmp_path: Path, load: Any) -> None:
    options = {"key-load-delay": "100000", "loading-process-events-interval-bytes": "1024"}
    with RedisServer(tmp_path / "slow", options) as server:
        load(server.url)
        with redis.Redis.from_url(server.url) as client:
            client.set("ballast", b"x" * 100_000)
            client.save()
        lab.note("fault")
        server.kill()
        killed_at = time.monotonic()
        # What came after the snapshot is lost; with it the offsets from there on.
        starting = threading.Thread(target=server.start)
        starting.start()
        lab.clients[0].await_note("error", since=killed_at, code="COORDINATOR_LOAD_IN_PROGRESS")
        starting.join()
        lab.await_acknowledged(200)
        lab.finish()

        assert {e.kind for e in lab.events() if e.op == "send"} == {"invoke", "ok"}
        logs = lab.logs()
        assert all(len(log.records) == log.end - log.start for log in logs.values())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB. Needs the right to mount: without it the test is skipped."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_under_the_append_only_file_is_waited_for(lab: Lab, small_disk: Path, load: Any) -> None:
    options = {"appendonly": "yes", "appendfsync": "everysec"}
    with RedisServer(small_disk / "server", options) as server:
        load(server.url)
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 4096)
                except OSError:
                    break
        lab.clients[0].await_note("error", code="KAFKA_STORAGE_ERROR")
        ballast.unlink()
        _assert_nothing_was_lost(lab)
        server.kill()
        server.start()

        lab.assert_valid()
