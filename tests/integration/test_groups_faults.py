"""Members that die, stop, or forget to poll; and many that come and go."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streamadapter import Consumer
from streamadapter.testing.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Cluster

SESSION_S = 1.5
FAST = {"session_timeout_ms": int(SESSION_S * 1000), "heartbeat_interval_ms": 300}
TAKEOVER_S = SESSION_S + 2
"""What the issue promises for a member that dies."""

MEMBER = """
    import json, sys
    from streamadapter import Consumer, KafkaException
    conf, topic = json.loads(sys.argv[1]), sys.argv[2]
    def say(**what):
        print(json.dumps(what), flush=True)
    consumer = Consumer(conf)
    consumer.subscribe(
        [topic],
        on_assign=lambda _, tps: say(assigned=[tp.partition for tp in tps]),
        on_revoke=lambda _, tps: say(revoked=[tp.partition for tp in tps]),
        on_lost=lambda _, tps: say(lost=[tp.partition for tp in tps]),
    )
    while True:
        message = consumer.poll(0.1)
        if message is None or message.error():
            continue
        say(read=[message.partition(), message.offset()])
        try:
            consumer.commit(message=message, asynchronous=False)
        except KafkaException as error:
            say(refused=error.args[0].name())
"""


class Member:
    """A consumer in a process of its own, that says what it sees."""

    def __init__(self, cluster: Cluster, group: str, topic: str) -> None:
        conf = {
            "bootstrap.servers": cluster.url,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **{name.replace("_", "."): value for name, value in FAST.items()},
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(MEMBER), json.dumps(conf), topic],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said: list[dict[str, Any]] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def of(self, kind: str) -> list[Any]:
        return [line[kind] for line in list(self.said) if kind in line]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self._listener.join(30)
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture
def members(cluster: Cluster) -> Iterator[list[Member]]:
    members: list[Member] = []
    yield members
    for member in members:
        member.end()


@pytest.fixture
def processes(cluster: Cluster) -> None:
    """Only for servers that other processes reach."""
    if not cluster.store.features.processes:
        pytest.skip("memory:// is of one process; a member that dies there is tested by dropping it unclosed")


# -- members that die


def test_a_dropped_consumer_is_replaced_within_its_session_timeout(
    cluster: Cluster, topic: str, group: str
) -> None:
    """As one that died: garbage collection neither commits nor leaves."""
    cluster.create(topic, 2)
    dropped, survivor = cluster.consumer(group, **FAST), cluster.consumer(group, **FAST)
    dropped.subscribe([topic])
    survivor.subscribe([topic])
    while len(dropped.assignment()) != 1 or len(survivor.assignment()) != 1:  # no lambda may hold on to it
        dropped.poll(0.01)
        survivor.poll(0.01)
    (tp,) = dropped.assignment()
    cluster.produce(topic, "x", partition=tp.partition)
    cluster.take(dropped, 1)

    cluster.forget(dropped)
    del dropped
    gc.collect()
    died = time.monotonic()
    got = cluster.until(lambda: len(survivor.assignment()) == 2, survivor)

    assert time.monotonic() - died < TAKEOVER_S
    got += [] if got else cluster.take(survivor, 1)
    assert [m.value() for m in got] == [b"x"]  # it was not committed


def test_when_the_last_member_dies_the_next_one_takes_over(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 2)
    only = cluster.consumer(group, **FAST)
    only.subscribe([topic])
    cluster.until(only.assignment, only)
    cluster.forget(only)
    del only
    gc.collect()

    heir = cluster.consumer(group, **FAST)
    heir.subscribe([topic])
    joined = time.monotonic()
    cluster.until(lambda: len(heir.assignment()) == 2, heir)

    assert time.monotonic() - joined < TAKEOVER_S


def test_a_stopped_member_that_wakes_is_fenced_in_reading_and_committing(
    cluster: Cluster, topic: str, group: str, processes: None, members: list[Member]
) -> None:
    cluster.create(topic, 1)
    members.append(member := Member(cluster, group, topic))
    cluster.until(lambda: member.of("assigned"))
    cluster.produce(topic, "0")
    # Stopped before its commit, its record would rightly be read again.
    cluster.until(lambda: cluster.committed(group).get((topic, 0)) == 1)
    assert member.of("read") == [[0, 0]]
    member.signal(signal.SIGSTOP)
    survivor = cluster.consumer(group, **FAST, enable_auto_commit=False)
    survivor.subscribe([topic])
    cluster.until(survivor.assignment, survivor)
    cluster.produce(topic, *"123")
    got = cluster.take(survivor, 3)
    survivor.commit(asynchronous=False)

    member.signal(signal.SIGCONT)
    cluster.until(lambda: member.of("lost"), survivor)
    cluster.produce(topic, *"456")

    # Whichever of the two owns the partition now (one of them is idle): each record is read by one of them, and what
    # the woken one was given while it was no member is nothing.
    got += cluster.until(lambda: len(got) + len(member.of("read")) >= 7 or _more(got, survivor))
    reads = [(0, m.offset()) for m in got] + [tuple(read) for read in member.of("read")]
    assert sorted(reads) == [(0, i) for i in range(7)]
    assert member.of("lost") == [[0]]
    assert cluster.committed(group)[topic, 0] >= 4


def _more(got: list[Any], consumer: Consumer) -> bool:
    got += consumer.consume(10, 0.05)
    return False


def test_a_member_whose_session_ended_cannot_commit(cluster: Cluster, topic: str, group: str) -> None:
    """Its own process is not stopped here but its thread is: the store refuses, not the client's own clock."""
    cluster.create(topic, 1)
    cluster.produce(topic, "x")
    consumer = cluster.consumer(group, enable_auto_commit=False, **FAST)
    consumer.subscribe([topic])
    (message,) = cluster.take(consumer, 1)
    member_id = consumer.memberid()
    assert member_id
    state = cluster.store.group_heartbeat(group, "", -1, 0)
    assert cluster.store.group_update(group, state.version, b"", {}, ()).applied  # an administrator's blow

    with pytest.raises(KafkaException) as caught:
        consumer.commit(message=message, asynchronous=False)

    assert caught.value.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID
    assert cluster.committed(group) == {}
    # It notices, and joins again.
    cluster.until(lambda: consumer.memberid() not in (None, member_id) and consumer.assignment(), consumer)


@pytest.mark.parametrize("store_url", ["redis"], indirect=True)
def test_a_member_cut_off_from_its_server_hands_nothing_out_once_its_session_has_ended(
    cluster: Cluster, topic: str, group: str
) -> None:
    """Somebody else may have the partition by then: what lies ready in the queue is not its own any more."""
    cluster.create(topic, 1)
    cluster.produce(topic, *"abcdef")
    server = urlsplit(cluster.url)
    assert server.hostname
    assert server.port
    with Proxy((server.hostname, server.port)) as proxy:
        far = cluster.consumer(group, bootstrap_servers=proxy.url, **FAST)
        far.subscribe([topic])
        cluster.take(far, 2)

        proxy.cut()
        time.sleep(SESSION_S)
        assert far.consume(10, 0.5) == []
        near = cluster.consumer(group, **FAST)
        near.subscribe([topic])
        cluster.take(near, 6)  # nothing was committed

        proxy.heal()
        cluster.until(
            lambda: len(far.assignment()) + len(near.assignment()) == 1 and far.memberid(), far, near
        )
        far.close()


# -- members that do not poll


def test_the_time_to_poll_begins_with_the_subscription(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 1)
    consumer = cluster.consumer(group, max_poll_interval_ms=1500, **FAST)
    time.sleep(2)  # the application prepares itself

    consumer.subscribe([topic])
    cluster.produce(topic, "x")

    assert [m.value() for m in cluster.take(consumer, 1)] == [b"x"]


def test_after_the_poll_interval_nothing_fetched_before_is_handed_out(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic, 1)
    cluster.produce(topic, *"abcdef")
    slow = cluster.consumer(group, max_poll_interval_ms=1500, **FAST)
    slow.subscribe([topic])
    cluster.take(slow, 1)  # the others wait in its queue
    other = cluster.consumer(group, **FAST)
    other.subscribe([topic])
    got = cluster.until(lambda: len(other.assignment()) == 1, other)
    while not got or got[-1].value() != b"f":
        got += cluster.take(other, 1)

    cluster.event(slow)
    cluster.until(lambda: slow.memberid() is not None, slow)

    assert [m.value() for m in slow.consume(10, 0.5)] == []


def test_polling_without_end_is_polling(cluster: Cluster, topic: str, group: str) -> None:
    cluster.create(topic, 1)
    consumer = cluster.consumer(group, max_poll_interval_ms=1500, **FAST)
    consumer.subscribe([topic])
    cluster.until(consumer.assignment, consumer)
    member_id = consumer.memberid()

    assert consumer.poll(3.5) is None

    assert consumer.memberid() == member_id


def test_a_slow_application_keeps_its_session(cluster: Cluster, topic: str, group: str) -> None:
    """Heartbeats are the background thread's: processing may take longer than the session."""
    cluster.create(topic, 1)
    cluster.produce(topic, "a", "b")
    lost: list[Any] = []
    consumer = cluster.consumer(group, **FAST)
    consumer.subscribe([topic], on_revoke=lambda _, tps: lost.append(tps))
    cluster.take(consumer, 1)

    time.sleep(SESSION_S * 2)  # the application's work

    assert [m.value() for m in cluster.take(consumer, 1)] == [b"b"]
    assert lost == []


# -- many that come and go


class Ledger:
    """Who has which partition by what the callbacks said. Any overlap is a second owner."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: dict[int, int] = {}
        self.overlaps: list[str] = []
        self.read: dict[int, set[int]] = defaultdict(set)
        self.rereads = 0

    def assign(self, who: int, _: Consumer, partitions: list[TopicPartition]) -> None:
        with self._lock:
            for tp in partitions:
                owner = self._owner.setdefault(tp.partition, who)
                if owner != who:
                    self.overlaps.append(f"{tp.partition} was assigned to {who} while {owner} had it")

    def revoke(self, who: int, _: Consumer, partitions: list[TopicPartition]) -> None:
        with self._lock:
            for tp in partitions:
                if self._owner.pop(tp.partition, None) != who:
                    self.overlaps.append(f"{tp.partition} was revoked from {who}, who did not have it")

    def note(self, partition: int, offset: int) -> None:
        with self._lock:
            self.rereads += offset in self.read[partition]
            self.read[partition].add(offset)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_two_hundred_joins_and_leaves_lose_nothing_and_never_give_two_owners(
    cluster: Cluster, topic: str, group: str, strategy: str
) -> None:
    cluster.create(topic, 4)
    ledger, stop, failures = Ledger(), threading.Event(), []
    conf = {
        "bootstrap.servers": cluster.url,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": strategy,
    }

    def come_and_go(who: int) -> None:
        dice = random.Random(who)
        try:
            for life in range(50):
                me = who * 1000 + life
                with Consumer(conf) as consumer:
                    consumer.subscribe(
                        [topic],
                        on_assign=partial(ledger.assign, me),
                        on_revoke=partial(ledger.revoke, me),
                    )
                    for _ in range(dice.randrange(6)):
                        for message in consumer.consume(dice.randrange(1, 50), dice.random() * 0.05):
                            assert message.error() is None, message
                            ledger.note(message.partition(), message.offset())  # type: ignore[arg-type]  # a record has both
        except BaseException as failure:  # noqa: BLE001 - shown by the main thread
            failures.append(failure)

    def produce() -> None:
        while not stop.wait(0.005):
            for partition in range(4):
                cluster.produce(topic, "x", partition=partition)

    threads = [threading.Thread(target=come_and_go, args=(who,)) for who in range(1, 5)]
    producing = threading.Thread(target=produce)
    for thread in (*threads, producing):
        thread.start()
    for thread in threads:
        thread.join(240)
    stop.set()
    producing.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures

    # What was committed was read; what was not is read now.
    committed = cluster.committed(group)
    for (_, partition), offset in committed.items():
        assert ledger.read[partition] >= set(range(offset))
    last = cluster.consumer(group, partition_assignment_strategy=strategy)
    last.subscribe([topic])
    ends = {p: last.get_watermark_offsets(TopicPartition(topic, p), 30)[1] for p in range(4)}
    rest = sum(end - committed.get((topic, p), 0) for p, end in ends.items())
    for message in cluster.take(last, rest):
        ledger.note(message.partition(), message.offset())  # type: ignore[arg-type]  # a record has both

    assert {p: len(read) for p, read in ledger.read.items()} == ends
    assert ledger.overlaps == []
    assert ledger.rereads == 0  # nothing failed, so nothing was read twice
