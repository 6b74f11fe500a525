"""`memory://name`: the same store over fakeredis, shared by all clients of this process that use the name.

For unit tests and trials. What fakeredis lacks is replaced here: INFO (there is no server process, so the run id is
constant), WAIT (no replicas), and waking blocked readers, which wait on a condition instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import fakeredis

from streamadapter.backend import TP, Backend, Fetched, Settings
from streamadapter_redis import features, scripts
from streamadapter_redis.link import Command, Link, Reply
from streamadapter_redis.reader import RedisReader
from streamadapter_redis.store import RedisStore

FEATURES = replace(features.FEATURES, name="memory", processes=False, survives_restart=False, replicas=False)


class Activity:
    """A counter of writes that readers wait on. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.count = 0

    def bump(self) -> None:
        """Something was written, or a reader shall wake."""
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait_beyond(self, count: int, seconds: float) -> None:
        """Until the count is another one than `count`, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.count != count, seconds)


@dataclass
class _Server:
    fake: fakeredis.FakeServer = field(default_factory=lambda: fakeredis.FakeServer(version=(7, 0)))
    activity: Activity = field(default_factory=Activity)


_servers: dict[str, _Server] = {}
_servers_lock = threading.Lock()


class MemoryLink(Link):
    """A link to a fake server, which announces writes."""

    run_id = "memory"
    client_id = 0

    def __init__(self, server: _Server) -> None:
        pool = fakeredis.FakeRedis(server=server.fake, protocol=2).connection_pool
        self._activity = server.activity
        super().__init__(pool.make_connection(), "memory")

    def _greet(self) -> None:
        pass

    def _pack(self, commands: Sequence[Command]) -> Iterable[bytes | bytearray]:
        return (b"".join(super()._pack(commands)),)  # a copy: the fake server keeps what it is sent

    def execute(self, commands: Sequence[Command]) -> list[Reply]:
        """As Link.execute; whatever may have changed a log or a group wakes the readers."""
        replies = super().execute(commands)
        if any(c[0] == "EVALSHA" and c[1] != scripts.HEARTBEAT.sha for c in commands):
            self._activity.bump()
        return replies


class MemoryReader(RedisReader):
    """Waits on the activity counter, because fakeredis does not wake readers whose group is destroyed."""

    def __init__(self, store: MemoryStore, group: str | None, member_id: str) -> None:
        super().__init__(store, store.connect, group, member_id)
        self._activity = store.activity
        self._awake = threading.Event()

    def fetch(self, positions: Mapping[TP, int], max_batches: int, wait_ms: int) -> Fetched:
        """Read without blocking; wait for a write; read again."""
        deadline = time.monotonic() + wait_ms / 1000
        while True:
            seen = self._activity.count
            fetched = super().fetch(positions, max_batches, 0)
            left = deadline - time.monotonic()
            found = fetched.batches or fetched.fenced or fetched.unowned or fetched.group_changed
            if found or left <= 0 or self._awake.is_set():
                self._awake.clear()
                return fetched
            self._activity.wait_beyond(seen, left)

    def wake(self) -> None:
        """End a waiting fetch."""
        self._awake.set()
        self._activity.bump()


class MemoryStore(RedisStore):
    """The store over a fake server."""

    features = FEATURES

    def __init__(self, server: _Server, name: str, settings: Settings) -> None:
        self.activity = server.activity
        self.connect = lambda: MemoryLink(server)
        super().__init__(self.connect, (f"memory://{name}", 0), settings)

    def reader(self, group: str | None, member_id: str) -> MemoryReader:
        """A reader that waits in this process."""
        return MemoryReader(self, group, member_id)


def open_store(url: str, settings: Settings) -> MemoryStore:
    """The store of that name in this process, made when first asked for."""
    parts = urlsplit(url)
    name = parts.netloc + parts.path
    with _servers_lock:
        server = _servers.setdefault(name, _Server())
    return MemoryStore(server, name, settings)


backend = Backend(name="memory", schemes=("memory",), features=FEATURES, open_store=open_store)
