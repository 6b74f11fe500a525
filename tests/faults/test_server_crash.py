"""A server that dies, sleeps, or comes back with less than it had."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from streamadapter.testing.servers import RedisServer, Server, ValkeyServer
from streamadapter_redis.keys import Keys

if TYPE_CHECKING:
    from tests.faults.conftest import Lab

EPOCH_S = 1.1
"""Longer than the second within which two leader epochs might get one number."""
TRUNCATED = {"_LOG_TRUNCATION", "OFFSET_OUT_OF_RANGE"}


def _load(lab: Lab, server: Server, consumers: int = 2) -> None:
    """A producer and consumers at full speed."""
    lab.create_topic(server.url)
    producer = lab.producer("p", batch_num_messages=20)
    for n in range(consumers):
        lab.consumer(f"c{n}").tell("loop", limit=50)
    producer.tell("loop")
    lab.await_acknowledged(200)


@pytest.mark.parametrize("kind", ["own_redis", "own_valkey"])
def test_a_server_killed_under_load_loses_nothing_with_fsync_always(
    lab: Lab, request: pytest.FixtureRequest, kind: str
) -> None:
    server: Server = request.getfixturevalue(kind)
    _load(lab, server)

    for _ in range(3):
        lab.note("fault")
        server.kill()
        time.sleep(0.3)
        server.start()
        lab.await_acknowledged(200)
    lab.finish()
    lab.await_delivered()

    assert {e.kind for e in lab.events() if e.op == "send"} == {"invoke", "ok"}
    lab.assert_valid()


class Epochs:
    """Knows where a server that lost its tail began to write again."""

    def __init__(self, lab: Lab, wait: Callable[..., Any]) -> None:
        self._lab = lab
        self._wait = wait
        self._known: dict[int, set[bytes]] = {}

    def _read(self) -> dict[int, list[bytes]]:
        with redis.Redis.from_url(self._lab.url) as client:
            metas = [
                client.hget(Keys("sa").meta(self._lab.topic, p), "epochs")
                for p in range(self._lab.partitions)
            ]
        return {p: (epochs or b"").split() for p, epochs in enumerate(metas)}

    def remember(self) -> None:
        """Before the server dies."""
        for partition, epochs in self._read().items():
            self._known.setdefault(partition, set()).update(epochs)

    def cuts(self) -> list[tuple[int, int, str]]:
        """After it came back: as cells, once each partition has been written to again."""

        def fresh() -> list[tuple[int, int, str]]:
            found = []
            for partition, epochs in self._read().items():
                new = [e for e in epochs if e not in self._known[partition]]
                found += [(partition, int(new[0].split(b":")[1]), "")] if new else []
            return found if len(found) == self._lab.partitions else []

        cells: list[tuple[int, int, str]] = self._wait(fresh, "all partitions are written to again")
        return cells


@pytest.fixture
def everysec(tmp_path: Path) -> Iterator[Server]:
    options = {"appendonly": "yes", "appendfsync": "everysec"}
    with RedisServer(tmp_path / "everysec", options) as server:
        yield server


def test_a_server_killed_under_load_loses_at_most_a_suffix_with_fsync_everysec(
    lab: Lab, everysec: Server, wait: Any
) -> None:
    _load(lab, everysec)
    epochs = Epochs(lab, wait)

    for _ in range(3):
        epochs.remember()
        lab.note("fault")
        everysec.kill()
        killed_at = time.monotonic()
        everysec.start()
        lab.note_at(killed_at, "cut", *epochs.cuts())
        lab.await_acknowledged(200)
    lab.finish()
    lab.await_delivered()

    lab.assert_valid()


END_OF_TRANSACTION = b"*1\r\n$4\r\nEXEC\r\n"


def _lose_power(server: Server, lost: int) -> None:
    """What was not synced is gone: the last bytes of the append-only file.

    Valkey's is torn anywhere. Redis' is torn between transactions only: 7.0.15 leaves the beginning of a torn one in
    the file, and executes it after all when it starts for the second time, amid what was written since. No client
    can mend that.
    """
    server.kill()
    (file,) = (server.directory / "appendonlydir").glob("*.incr.aof")
    kept = file.read_bytes()[:-lost]
    if isinstance(server, RedisServer):
        kept = kept[: kept.rindex(END_OF_TRANSACTION) + len(END_OF_TRANSACTION)]
    file.write_bytes(kept)


@pytest.mark.parametrize("kind", [RedisServer, ValkeyServer])
def test_a_power_loss_takes_a_suffix_is_told_to_readers_and_producers_go_on(
    lab: Lab, tmp_path: Path, wait: Any, kind: type[Server]
) -> None:
    dice = random.Random(11)
    with kind(tmp_path / "server", {"appendonly": "yes", "appendfsync": "everysec"}) as server:
        _load(lab, server)
        consumers = [c for c in lab.clients if c.name.startswith("c")]
        epochs = Epochs(lab, wait)

        for _ in range(3):
            time.sleep(EPOCH_S)
            ends = lab.ends()
            epochs.remember()
            lab.note("fault")
            _lose_power(server, dice.randint(20_000, 60_000))
            killed_at = time.monotonic()
            server.start()
            cuts = epochs.cuts()
            lab.note_at(killed_at, "cut", *cuts)
            assert any(cut < ends[partition] for partition, cut, _ in cuts), "nothing was lost"
            lab.await_acknowledged(200)
        lab.finish()
        lab.await_delivered()

        assert set().union(*(c.errors() for c in consumers)) & TRUNCATED
        lab.assert_valid()


@pytest.fixture
def snapshots(tmp_path: Path) -> Iterator[Server]:
    """It comes back as it was at the last SAVE."""
    with RedisServer(tmp_path / "snapshots", {"appendonly": "no"}) as server:
        yield server


def _save(server: Server) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.save()


@pytest.mark.parametrize("overtaken", [False, True], ids=["beyond the end", "offsets used again"])
@pytest.mark.parametrize("policy", ["earliest", "latest"])
def test_a_reader_whose_records_the_server_lost_is_told_and_reset(
    lab: Lab, snapshots: Server, wait: Any, policy: str, overtaken: bool
) -> None:
    # given: a consumer that has read and committed 400 records, 200 of which the snapshot has
    lab.create_topic(snapshots.url, partitions=1)
    producer = lab.producer("p")
    consumer = lab.consumer("c", auto_offset_reset="earliest" if policy == "earliest" else "latest")
    consumer.tell("loop")
    consumer.await_note("assign")
    time.sleep(1.0)  # its position is resolved
    producer.ask("produce", count=200)
    producer.ask("flush")
    wait(lambda: len(lab.delivered()) == 200, "the first 200 records are read")
    _save(snapshots)
    producer.ask("produce", count=200)
    producer.ask("flush")
    wait(lambda: len(lab.delivered()) == 400, "all 400 records are read")

    # when: the server comes back without them, and perhaps their offsets are taken before the consumer looks
    lab.note("fault")
    if overtaken:
        consumer.signal(signal.SIGSTOP)
    snapshots.kill()
    killed_at = time.monotonic()
    snapshots.start()
    lab.note_at(killed_at, "cut", (0, 200, ""))
    more = 300 if overtaken else 50
    producer.ask("produce", count=more)
    producer.ask("flush")
    consumer.signal(signal.SIGCONT)

    # then
    consumer.await_note("error", since=killed_at, code="_LOG_TRUNCATION")
    jumped_at = consumer.await_note("jump", since=killed_at)["at"]
    producer.ask("produce", count=100)
    lab.finish()
    wait(lambda: (0, 200 + more + 99) in _read_since(lab, jumped_at), "the last record is read")
    first = min(_read_since(lab, jumped_at))[1]
    assert first == 0 if policy == "earliest" else first >= 200
    assert lab.ends() == {0: 200 + more + 100}
    lab.assert_valid()


def _read_since(lab: Lab, at: float) -> set[tuple[int, int]]:
    return {(c.partition, c.offset) for e in lab.events() if e.op == "poll" and e.at > at for c in e.cells}


def test_with_the_policy_error_a_reader_of_lost_records_stops_with_an_error(
    lab: Lab, snapshots: Server, wait: Any
) -> None:
    lab.create_topic(snapshots.url, partitions=1)
    producer = lab.producer("p")
    producer.ask("produce", count=100)
    producer.ask("flush")
    consumer = lab.consumer("c")
    consumer.ask("poll", limit=50)
    consumer.ask("commit")
    consumer.ask("close")
    strict = lab.consumer("strict", auto_offset_reset="error")
    strict.tell("loop", commit=False)
    lab.await_delivered()
    _save(snapshots)  # with its membership
    producer.ask("produce", count=100)
    producer.ask("flush")
    lab.await_delivered()

    lab.note("fault")
    snapshots.kill()
    lab.note("cut", (0, 100, ""))
    back_at = time.monotonic()
    snapshots.start()
    strict.await_note("error", since=back_at, code="_AUTO_OFFSET_RESET")
    producer.ask("produce", count=200)
    lab.finish()
    time.sleep(1.5)  # longer than its look at the log takes: it must not go on by itself

    assert strict.notes("poll", since=back_at) == []


def test_an_epoch_that_was_itself_lost_is_never_given_to_another_history(
    lab: Lab, snapshots: Server, wait: Any
) -> None:
    """Two servers in a row: the first began an epoch and lost it; the second must not begin the same one."""
    lab.create_topic(snapshots.url, partitions=1)
    producer = lab.producer("p")
    consumer = lab.consumer("c")
    consumer.tell("loop", commit=False)
    producer.ask("produce", count=100)
    producer.ask("flush")
    lab.await_delivered()
    _save(snapshots)
    time.sleep(EPOCH_S)
    snapshots.restart()
    producer.ask("produce", count=100)
    producer.ask("flush")
    lab.await_delivered()
    time.sleep(EPOCH_S)

    lab.note("fault")
    consumer.signal(signal.SIGSTOP)
    snapshots.kill()
    killed_at = time.monotonic()
    snapshots.start()
    lab.note_at(killed_at, "cut", (0, 100, ""))
    producer.ask("produce", count=200)
    producer.ask("flush")
    consumer.signal(signal.SIGCONT)

    consumer.await_note("error", since=killed_at, code="_LOG_TRUNCATION")
    lab.finish()
    lab.await_delivered()
    lab.assert_valid()


@pytest.mark.parametrize("seconds", [2.0, 8.0], ids=["shorter than a session", "longer than a session"])
def test_a_server_that_sleeps_gets_the_same_request_again_and_appends_it_once(
    lab: Lab, own_redis: Server, seconds: float
) -> None:
    _load(lab, own_redis)

    lab.note("fault")
    own_redis.pause()
    time.sleep(seconds)
    own_redis.resume()
    lab.await_acknowledged(300)
    lab.finish()
    lab.await_delivered()

    assert {e.kind for e in lab.events() if e.op == "send"} == {"invoke", "ok"}
    lab.assert_valid()


def test_a_producer_reports_a_time_out_while_the_server_sleeps_and_is_not_blocked(
    lab: Lab, own_redis: Server
) -> None:
    lab.create_topic(own_redis.url)
    producer = lab.producer("p", delivery_timeout_ms=1500)
    producer.ask("produce", count=10)
    producer.ask("flush")

    own_redis.pause()
    began = time.monotonic()
    producer.ask("produce", count=10)
    producer.ask("flush", seconds=20)
    own_redis.resume()

    reports = producer.notes("send", "info", since=began)
    assert [note["code"] for note in reports] == ["_MSG_TIMED_OUT"] * 10
    assert reports[-1]["at"] - began < 1.5 + 2.0
    producer.ask("produce", count=10)
    lab.finish()
    lab.assert_valid()


def test_a_server_that_comes_back_empty_is_reported_and_used_again_once_the_topic_exists(
    lab: Lab, snapshots: Server
) -> None:
    lab.create_topic(snapshots.url)
    producer = lab.producer("p", topic_metadata_propagation_max_ms=100)
    consumer = lab.consumer("c")
    consumer.tell("loop")
    producer.ask("produce", count=100)
    producer.ask("flush")
    lab.await_delivered()

    snapshots.kill()
    killed_at = time.monotonic()
    lab.note("fault")
    shutil.rmtree(snapshots.directory)
    snapshots.start()
    lab.note_at(killed_at, "cut", *((p, 0, "") for p in range(lab.partitions)))
    consumer.await_note("error", since=killed_at)
    lab.create_topic(snapshots.url)
    producer.tell("loop")
    lab.await_acknowledged(100)
    lab.finish()
    lab.await_delivered()

    lab.assert_valid()
