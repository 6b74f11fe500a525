"""Rebalancing: how long a group takes after a member joins or leaves, and how long the server is busy with its scripts.

join-MxP: M - 1 members share P partitions, and one more joins; then one that owns partitions leaves. The clock runs
from subscribe() or close() to the last on_assign or on_revoke, after which every partition is owned exactly once, as
the application sees it. Members have their default configuration and are threads of one process, each in a loop of
poll(). Sharing an interpreter costs streamadapter more than confluent_kafka.

The scripts are called one by one, with no other client, on a copy of a group that real members have made; their figures
are what INFO commandstats counts for a call. Where a script has a cheap and a dear way, `server_ms` is the dear one's.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from bench.case import Case, Figures
from bench.topic import new_topic

if TYPE_CHECKING:
    from redis import Redis

    from streamadapter.backend import LogStore

MEMBERS = (1, 4, 16, 32)
PARTITIONS = (1, 16, 64, 256)
LARGEST = (32, 256)
QUIET_S = 1.0
"""A group is stable if its partitions are owned exactly once, and no member has heard anything for so long."""
TIMEOUT_S = 90.0
CALLS = 500
SESSION_MS = 45_000


def cases() -> list[Case]:
    """The largest group and the scripts of every rebalance in every run; other sizes, and Kafka, in a full one."""
    joins = [
        _join(members, partitions, "streamadapter", full=(members, partitions) != LARGEST)
        for members in MEMBERS
        for partitions in PARTITIONS
    ]
    # Not with one member: Kafka lets the first one wait for others, for as long as it is configured to.
    joins += [_join(members, 256, "confluent_kafka", full=True) for members in MEMBERS[1:]]
    members, partitions = LARGEST
    scripts = [
        Case(
            chapter="rebalance",
            name=f"{script}-{members}x{partitions}",
            subject="server",
            server="redis",
            function="bench.rebalance:server_time",
            arguments={"script": script, "members": members, "partitions": partitions},
            full=script not in ("heartbeat", "update"),
            rounds=1,  # the server's own count of many calls
        )
        for script in SCRIPTS
    ]
    return joins + scripts


def _join(members: int, partitions: int, client: str, *, full: bool) -> Case:
    return Case(
        chapter="rebalance",
        name=f"join-{members}x{partitions}",
        subject=client,
        server="redis" if client == "streamadapter" else "kafka",
        function="bench.rebalance:join",
        arguments={"client": client, "members": members, "partitions": partitions},
        full=full,
        timeout_s=4 * TIMEOUT_S,
    )


def join(url: str, client: str, members: int, partitions: int) -> Figures:
    """`join_ms`, and `leave_ms` if somebody stays."""
    with new_topic(url, partitions) as topic, Group(client, url, topic, partitions) as group:
        group.grow(members - 1)
        found = {"join_ms": group.settled_ms(group.join())}
        if members > 1:
            found["leave_ms"] = group.settled_ms(group.leave())
        return found


# -- a group whose members are threads


class Ownership:
    """Who owns what, as the members' callbacks tell it. `changed_at`: when the last of them did."""

    def __init__(self, partitions: int) -> None:
        self._partitions = list(range(partitions))
        self._owned: dict[Any, list[int] | None] = {}
        self.changed_at = 0.0

    def expect(self, member: Any) -> None:
        """It is about to join: nothing is stable until it has been told what it owns, if only that it is nothing."""
        self._owned[member] = None

    def tell(self, member: Any, owned: list[int], now: float) -> None:
        """It owns these, and no others."""
        self._owned[member] = owned
        self.changed_at = now

    def owner(self) -> Any:
        """A member that owns something."""
        return next(member for member, owned in self._owned.items() if owned)

    def whole(self) -> bool:
        """Whether each member has been told, and each partition has one owner."""
        owned = list(self._owned.values())  # a copy: members change it meanwhile
        return None not in owned and sorted(p for ps in owned if ps for p in ps) == self._partitions


class Group:
    """Consumers of one topic, each polled by a thread of its own."""

    def __init__(self, client: str, url: str, topic: str, partitions: int) -> None:
        self._consumer = import_module(client).Consumer
        self._conf = {"bootstrap.servers": url, "group.id": topic}
        self._topic = topic
        self._ownership = Ownership(partitions)
        self._members: list[Member] = []

    def grow(self, members: int) -> None:
        """Let so many join, and wait until they have settled."""
        joined = [self.join() for _ in range(members)]
        if joined:
            self.settled_ms(joined[-1])

    def join(self) -> float:
        """One more member; monotonic time of its subscribe()."""
        member = Member(self._consumer(self._conf), self._ownership)
        self._members.append(member)
        return member.join(self._topic)

    def leave(self) -> float:
        """A member that owns partitions leaves; monotonic time of its close()."""
        member = self._ownership.owner()
        self._members.remove(member)
        return member.leave()

    def settled_ms(self, since: float) -> float:
        """Wait until the group is stable; how long after `since` the last change was. TimeoutError."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            changed_at = self._ownership.changed_at
            if changed_at > since and time.monotonic() >= changed_at + QUIET_S and self._ownership.whole():
                return (changed_at - since) * 1000
            time.sleep(0.01)
        raise TimeoutError(f"the group has not settled within {TIMEOUT_S:.0f} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.stop()
        for member in self._members:
            member.thread.join(TIMEOUT_S)


class Member:
    """A consumer and the thread that polls it."""

    def __init__(self, consumer: Any, ownership: Ownership) -> None:
        self._consumer = consumer
        self._ownership = ownership
        self._stopping = threading.Event()
        self._closing = threading.Event()
        self._closing_at = 0.0
        self.thread = threading.Thread(target=self._poll, daemon=True)

    def join(self, topic: str) -> float:
        """Subscribe; monotonic time at which it did."""
        self._ownership.expect(self)
        now = time.monotonic()
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked)
        self.thread.start()
        return now

    def stop(self) -> None:
        """Let its thread close it, soon."""
        self._stopping.set()

    def leave(self) -> float:
        """Close it; monotonic time at which its thread began to."""
        self.stop()
        if not self._closing.wait(TIMEOUT_S):
            raise TimeoutError("a member's thread is stuck in poll()")
        return self._closing_at

    def _poll(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(0.1)
            assert message is None or message.error() is None, message.error()
        self._closing_at = time.monotonic()
        self._closing.set()
        self._consumer.close()

    def _assigned(self, _: Any, partitions: list[Any]) -> None:
        self._ownership.tell(self, [tp.partition for tp in partitions], time.monotonic())

    def _revoked(self, *_: Any) -> None:  # eager: of all it had
        self._ownership.tell(self, [], time.monotonic())


# -- server time of the scripts


def server_time(url: str, script: str, members: int, partitions: int) -> Figures:
    """`server_ms`, and what else the script is asked in practice."""
    import redis

    from streamadapter_redis.store import open_store

    with new_topic(url, partitions) as topic:
        with Group("streamadapter", url, topic, partitions) as group:
            group.grow(members)
            store = open_store(url, {})
            state = store.group_heartbeat(topic, "", -1, 0).state
        with redis.Redis.from_url(url) as client:
            ways = SCRIPTS[script](store, topic, Copy(store, state))
            return {name: _server_ms(client, call) for name, call in ways.items()}


class Copy:
    """A group that has a real one's state, and no clients."""

    name = "copy"

    def __init__(self, store: LogStore, state: bytes | None) -> None:
        from streamadapter.engine import coordinator

        assert state
        self.state = state
        self.sessions = coordinator.sessions(coordinator.decode(state))
        self.member = next(iter(self.sessions))
        self.version = 0
        self._store = store
        self.update()

    def update(self) -> None:
        """Write the state once more."""
        view = self._store.group_update(self.name, self.version, self.state, self.sessions, ())
        assert view.applied
        self.version = view.version


def _heartbeat(store: LogStore, _: str, copy: Copy) -> dict[str, Callable[[], object]]:
    return {
        # to a member that does not have the newest state yet
        "server_ms": lambda: store.group_heartbeat(copy.name, copy.member, copy.version - 1, SESSION_MS),
        "unchanged_ms": lambda: store.group_heartbeat(copy.name, copy.member, copy.version, SESSION_MS),
    }


def _update(store: LogStore, _: str, copy: Copy) -> dict[str, Callable[[], object]]:
    return {
        "server_ms": copy.update,
        "refused_ms": lambda: store.group_update(copy.name, copy.version - 1, copy.state, copy.sessions, ()),
    }


def _acquire(store: LogStore, topic: str, copy: Copy) -> dict[str, Callable[[], object]]:
    info = store.topics().topics[topic]
    readers = [store.reader(copy.name, member) for member in list(copy.sessions)[:2]]
    calls = itertools.count()

    def acquire() -> None:  # one partition, from the other reader
        turn, partition = divmod(next(calls), info.partitions)
        readers[turn % 2].acquire(info, partition, turn, 0)

    for _ in range(info.partitions):
        acquire()  # from nobody
    return {"server_ms": acquire}


def _commit(store: LogStore, topic: str, copy: Copy) -> dict[str, Callable[[], object]]:
    from streamadapter.backend import Committed

    (state,) = store.log_states([(store.topics().topics[topic], 0)])
    count = store.topics().topics[topic].partitions
    every = {(topic, p): Committed(1_000_000, 1, None, state.log_id) for p in range(count)}
    share = dict(list(every.items())[: count // len(copy.sessions)])
    return {
        "server_ms": lambda: store.commit(copy.name, copy.member, every),
        "share_ms": lambda: store.commit(copy.name, copy.member, share),
    }


SCRIPTS = {"heartbeat": _heartbeat, "update": _update, "acquire": _acquire, "commit": _commit}


def _server_ms(client: Redis, call: Callable[[], object]) -> float:
    """Mean time of the script that `call` runs, as the server counts it."""
    call()  # from now on it has the script, so that EVALSHA is all that counts
    client.config_resetstat()
    for _ in range(CALLS):
        call()
    stats = client.info("commandstats")["cmdstat_evalsha"]
    assert stats["calls"] == CALLS, stats
    return stats["usec_per_call"] / 1000
