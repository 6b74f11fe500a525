"""A TCP proxy between a client and a server, with faults to order.

    with Proxy(("127.0.0.1", server.port)) as proxy:
        client = redis.Redis.from_url(proxy.url)
        proxy.drop_replies(1)             # the next reply is swallowed and its connection closed
        proxy.set_faults(Faults(seed=7, drop_reply=0.02, latency_s=0.005))
        ...
        proxy.counts["replies dropped"]

A request or reply is what one read of the socket brings, at most 64 KiB. Redis clients wait for their replies
before they send more, so up to that size it is a whole command or pipeline, or the whole answer.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

Address: TypeAlias = tuple[str, int] | str
"""Of the upstream server: (host, port), or the path of a unix socket."""

CHUNK = 65_536
MAX_HELD = 4 * 1024 * 1024
"""Bytes a direction holds back (latency, cut, slow receiver) before the proxy stops reading its sender."""
TICK_S = 0.02
"""How soon a connection's thread notices a change of orders."""
CONNECT_TIMEOUT_S = 5.0
JOIN_TIMEOUT_S = CONNECT_TIMEOUT_S + 10.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong all the time. Probabilities are per request or reply, drawn from one seeded generator.

    latency_s is added to every request and every reply. A dropped request never reaches the server; a dropped
    reply belongs to a request that took effect. Either closes its connection, as does `reset`, which sends a
    RST. drop_every_reply drops each n-th reply over all connections; 0: none.
    """

    seed: int = 0
    latency_s: float = 0.0
    drop_request: float = 0.0
    drop_reply: float = 0.0
    drop_every_reply: int = 0
    reset: float = 0.0


class _Fate(Enum):
    FORWARD = auto()
    DROP = auto()
    RESET = auto()


class Proxy:
    """Listens on a free loopback port. Every method may be called from any thread.

    counts: "connections", "requests", "replies" (both: forwarded), "requests dropped", "replies dropped",
    "resets", "refused" (new connections).
    """

    def __init__(self, upstream: Address, faults: Faults | None = None) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._closing = threading.Event()
        self._cut_requests = self._cut_replies = self._refuse = False
        self._drop_requests = self._drop_replies = self._replies_seen = 0
        self.counts: Counter[str] = Counter()
        self.set_faults(faults or Faults())
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True)
        self._acceptor.start()

    @property
    def url(self) -> str:
        """Of a Redis behind it, without a password."""
        return f"redis://127.0.0.1:{self.port}/0"

    def set_faults(self, faults: Faults) -> None:
        """Replace the lasting faults, and begin their random sequence anew."""
        with self._lock:
            self._faults = faults
            self._random = random.Random(faults.seed)  # noqa: S311  to be repeatable is the point
            self._replies_seen = 0

    def drop_requests(self, count: int) -> None:
        """Swallow the next `count` requests and close their connections; the server never sees them."""
        with self._lock:
            self._drop_requests = count

    def drop_replies(self, count: int) -> None:
        """Swallow the next `count` replies and close their connections; the server did what was asked."""
        with self._lock:
            self._drop_replies = count

    def cut(self, *, requests: bool = True, replies: bool = True) -> None:
        """Stop forwarding, closing nothing, as a lost route does; `heal` forwards what was held back."""
        with self._lock:
            self._cut_requests, self._cut_replies = requests, replies

    def refuse(self) -> None:
        """Reset new connections at once; those that exist live on."""
        with self._lock:
            self._refuse = True

    def heal(self) -> None:
        """End `cut`, `refuse`, drops not yet used, and lasting faults."""
        self.set_faults(Faults())
        with self._lock:
            self._cut_requests = self._cut_replies = self._refuse = False
            self._drop_requests = self._drop_replies = 0

    def reset(self) -> int:
        """End every connection with a RST; returns how many there were, once they are gone."""
        with self._lock:
            links = [link for link in self._links if link.is_alive()]
            self.counts["resets"] += len(links)
        self._end(links, reset=True)
        return len(links)

    def close(self) -> None:
        """Close every connection and join every thread; idempotent."""
        self._closing.set()
        _join(self._acceptor)  # from here on nobody adds a link
        self._listener.close()
        self._end(self._links, reset=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the threads' side

    def _accept(self) -> None:
        while not self._closing.is_set():
            if not select.select([self._listener], [], [], TICK_S)[0]:
                continue
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                continue  # the client gave up in between
            with self._lock:
                refuse = self._refuse
                self.counts["refused" if refuse else "connections"] += 1
                if not refuse:
                    self._links = [*(link for link in self._links if link.is_alive()), _Link(self, client)]
                    self._links[-1].start()
            if refuse:
                _close(client, reset=True)

    def connect(self) -> socket.socket:
        """A connection to the server; OSError."""
        unix = isinstance(self._upstream, str)
        server = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        try:
            server.settimeout(CONNECT_TIMEOUT_S)
            server.connect(self._upstream)
        except BaseException:
            server.close()
            raise
        return server

    def refused(self) -> None:
        """The server did not accept a connection that the proxy had accepted."""
        with self._lock:
            self.counts["connections"] -= 1
            self.counts["refused"] += 1

    def decide(self, requests: bool) -> tuple[_Fate, float]:
        """What becomes of the request or reply that just came in, and the latency it is forwarded with."""
        what = "requests" if requests else "replies"
        with self._lock:
            fate = self._draw(requests)
            counter = {_Fate.FORWARD: what, _Fate.DROP: f"{what} dropped", _Fate.RESET: "resets"}[fate]
            self.counts[counter] += 1
            return fate, self._faults.latency_s

    def _draw(self, requests: bool) -> _Fate:
        faults = self._faults
        if requests:
            ordered, by_turn, chance = self._drop_requests > 0, False, faults.drop_request
            self._drop_requests -= ordered
        else:
            self._replies_seen += 1
            ordered, chance = self._drop_replies > 0, faults.drop_reply
            by_turn = faults.drop_every_reply > 0 and self._replies_seen % faults.drop_every_reply == 0
            self._drop_replies -= ordered
        if ordered or by_turn or self._random.random() < chance:
            return _Fate.DROP
        return _Fate.RESET if self._random.random() < faults.reset else _Fate.FORWARD

    def is_cut(self, requests: bool) -> bool:
        """Whether this direction forwards nothing now."""
        with self._lock:
            return self._cut_requests if requests else self._cut_replies

    @staticmethod
    def _end(links: list[_Link], *, reset: bool) -> None:
        for link in links:
            link.end(reset=reset)
        for link in links:
            _join(link)


@dataclass(slots=True)
class _Direction:
    """Bytes on their way from one socket to the other. `ended`: nothing more will come."""

    source: socket.socket
    sink: socket.socket
    requests: bool
    held: deque[tuple[float, bytes]] = field(default_factory=deque)  # (when it is due, what)
    held_bytes: int = 0
    ended: bool = False

    def take(self, data: bytes, due: float) -> None:
        self.held.append((due, data))
        self.held_bytes += len(data)

    def forward(self, now: float) -> None:
        """Send what is due, as far as the receiver takes it."""
        while self.held and self.held[0][0] <= now:
            due, data = self.held.popleft()
            try:
                sent = self.sink.send(data)
            except BlockingIOError:
                sent = 0
            self.held_bytes -= sent
            if sent < len(data):
                self.held.appendleft((due, data[sent:]))
                return


class _Link(threading.Thread):
    """One proxied connection: a thread over two non-blocking sockets."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        super().__init__(name=f"proxy-{proxy.port}-link", daemon=True)
        self._proxy = proxy
        self._client = client
        self._order: str | None = None  # "close" or "reset", written once by another thread

    def end(self, *, reset: bool) -> None:
        """From another thread: end within a tick."""
        self._order = "reset" if reset else "close"

    def run(self) -> None:
        try:
            server = self._proxy.connect()
        except OSError:
            self._proxy.refused()
            _close(self._client, reset=True)
            return
        reset = False
        try:
            reset = self._pump(server)
        except OSError:
            pass  # one side has closed or reset the connection: end the other
        finally:
            _close(self._client, reset=reset)
            _close(server, reset=reset)

    def _pump(self, server: socket.socket) -> bool:
        """Forward until an end; returns whether it shall be a reset."""
        for sock in (self._client, server):
            sock.setblocking(False)
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        directions = (
            _Direction(self._client, server, requests=True),
            _Direction(server, self._client, requests=False),
        )
        while self._order is None:
            self._wait(directions)
            for direction in directions:
                if direction.ended or direction.held_bytes >= MAX_HELD:
                    continue
                if self._receive(direction) is _Fate.RESET:
                    return True
            for direction in directions:
                if not self._proxy.is_cut(direction.requests):
                    direction.forward(time.monotonic())
                if direction.ended and not direction.held:
                    return False
        return self._order == "reset"

    def _wait(self, directions: tuple[_Direction, _Direction]) -> None:
        """Until there is something to receive or to send, but not much longer than a tick."""
        now, timeout = time.monotonic(), TICK_S
        readable = [d.source for d in directions if not d.ended and d.held_bytes < MAX_HELD]
        writable = []
        for direction in directions:
            if direction.held and not self._proxy.is_cut(direction.requests):
                wait = direction.held[0][0] - now
                if wait <= 0:
                    writable.append(direction.sink)
                else:
                    timeout = min(timeout, wait)
        select.select(readable, writable, [], timeout)

    def _receive(self, direction: _Direction) -> _Fate:
        try:
            data = direction.source.recv(CHUNK)
        except BlockingIOError:
            return _Fate.FORWARD
        if not data:
            direction.ended = True
            return _Fate.FORWARD
        fate, latency = self._proxy.decide(direction.requests)
        if fate is _Fate.FORWARD:
            direction.take(data, time.monotonic() + latency)
        elif fate is _Fate.DROP:
            direction.ended = True  # what came before it still arrives
        return fate


def _close(sock: socket.socket, *, reset: bool) -> None:
    if reset and sock.family == socket.AF_INET:
        with contextlib.suppress(OSError):  # already closed by the other side
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _join(thread: threading.Thread) -> None:
    thread.join(JOIN_TIMEOUT_S)
    if thread.is_alive():
        raise RuntimeError(f"{thread.name} did not end within {JOIN_TIMEOUT_S} s")
