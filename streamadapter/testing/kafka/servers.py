"""Kafka brokers for tests: a single one, or a cluster of which each can be killed, paused and started again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamadapter.testing.kafka import broker, jars
from streamadapter.testing.kafka.broker import Node
from streamadapter.testing.proxy import Proxy
from streamadapter.testing.servers.process import ATTEMPTS, Server, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import ClassVar, Self


@dataclass(slots=True)
class _Membership:
    """Of which cluster a broker is, and who else is."""

    cluster_id: str = field(default_factory=broker.new_cluster_id)
    nodes: dict[int, Node] = field(default_factory=dict)


class KafkaServer(Server):
    """One broker, which is its own controller, on loopback: see `broker.properties` for how it is set up.

    options: broker settings. proxied: put a `Proxy` in front of a second listener; clients that come by
    `proxied_servers` stay behind it, whatever they ask of the broker. `membership` and `node_id` are the cluster's.
    """

    start_timeout_s: ClassVar[float] = 120.0

    def __init__(
        self,
        directory: Path,
        options: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        proxied: bool = False,
        membership: _Membership | None = None,
        node_id: int = 1,
    ) -> None:
        super().__init__(directory.absolute(), options, port=port)
        self.node_id = node_id
        self._membership = membership or _Membership()
        self._proxy: Proxy | None = None
        self._join(proxied)

    @staticmethod
    def binary() -> str:
        """Path of java; FileNotFoundError if there is none, or no jars of Kafka."""
        jars.locate()
        return jars.java()

    @property
    def bootstrap_servers(self) -> str:
        """HOST:PORT, for Kafka's own clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """kafka://HOST:PORT."""
        return f"kafka://{self.bootstrap_servers}"

    @property
    def proxy(self) -> Proxy:
        """What stands in front of it; RuntimeError if nothing does."""
        if self._proxy is None:
            raise RuntimeError("no proxy in front of this broker: make it with proxied=True")
        return self._proxy

    @property
    def proxied_servers(self) -> str:
        """`bootstrap_servers`, by the proxy."""
        return f"127.0.0.1:{self.proxy.port}"

    @property
    def proxied_url(self) -> str:
        """`url`, by the proxy."""
        return f"kafka://{self.proxied_servers}"

    @property
    def node(self) -> Node:
        """Its place in its cluster."""
        return self._membership.nodes[self.node_id]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._proxy:
            self._proxy.close()

    def _command(self) -> list[str]:
        return broker.command(self.directory, jars.locate())

    def _launch(self) -> None:
        settings = broker.properties(self.node, self._membership.nodes.values(), self.directory, self.options)
        broker.write_properties(self.directory / "server.properties", settings)
        if broker.cluster_id(self.directory) is None:
            broker.format_storage(self.directory, self._membership.cluster_id, jars.locate())
        super()._launch()

    def _ready(self) -> bool:
        mine = broker.cluster_id(self.directory)
        if mine is None or self.node_id not in broker.registered(self.node, mine):
            return False
        return len(self._membership.nodes) > 1 or broker.coordinates([self.node])

    def _choose_ports(self) -> None:
        super()._choose_ports()
        self._join(self._proxy is not None)

    def _join(self, proxied: bool) -> None:
        """Take the ports that clients do not name, and our place among the nodes."""
        listener = None
        if self._proxy:
            self._proxy.close()
        if proxied:
            behind = free_port()
            self._proxy = Proxy(("127.0.0.1", behind))
            listener = (behind, self._proxy.port)
        self._membership.nodes[self.node_id] = Node(self.node_id, self.port, free_port(), listener)


class KafkaCluster:
    """Brokers of one cluster, each in a directory of its own: `servers`, by rising node id from 1.

    Topics have three replicas unless their creator says otherwise. With three brokers one may be down: with two
    down the other can elect nobody, and a broker then started alone waits in vain for the majority. `options`
    and `proxied` are as for `KafkaServer`, for each broker.
    """

    def __init__(
        self,
        directory: Path,
        brokers: int = 3,
        options: Mapping[str, str] | None = None,
        *,
        proxied: bool = False,
    ) -> None:
        self._membership = _Membership()
        self._address_known = False
        self.servers = [
            KafkaServer(
                directory / f"broker-{node_id}",
                options,
                port=free_port(),  # not a broker's to change: all must know all
                proxied=proxied,
                membership=self._membership,
                node_id=node_id,
            )
            for node_id in range(1, brokers + 1)
        ]

    @property
    def bootstrap_servers(self) -> str:
        """HOST:PORT,... of all brokers."""
        return ",".join(server.bootstrap_servers for server in self.servers)

    @property
    def url(self) -> str:
        """kafka://HOST:PORT,... of all brokers."""
        return f"kafka://{self.bootstrap_servers}"

    @property
    def proxied_url(self) -> str:
        """`url`, by each broker's proxy."""
        return "kafka://" + ",".join(server.proxied_servers for server in self.servers)

    def start(self) -> Self:
        """Start every broker, and wait until each knows all and groups are served. RuntimeError if they do not."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._each(KafkaServer.start)
                break
            except RuntimeError:
                self.kill()
                taken = any("already in use" in server.log for server in self.servers)
                if self._address_known or not taken or attempt == ATTEMPTS:
                    raise
            for server in self.servers:
                server._choose_ports()  # somebody was faster
        self._address_known = True
        cluster_id = broker.cluster_id(self.servers[0].directory) or ""
        if not broker.await_cluster(self._membership.nodes.values(), cluster_id, KafkaServer.start_timeout_s):
            self.kill()
            raise RuntimeError(f"the brokers in {self.servers[0].directory.parent} did not find each other")
        return self

    def kill(self) -> None:
        """SIGKILL for every broker that runs."""
        self._each(KafkaServer.kill)

    def stop(self) -> None:
        """Shut every broker down that runs; those that cannot end cleanly without the others are killed."""
        self._each(KafkaServer.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._each(lambda server: server.__exit__(kind, error, trace))

    def _each(self, do: Callable[[KafkaServer], object]) -> None:
        """At once for all: a broker is ready only when most of the others are up. Raises the first error of them."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(do, self.servers))
