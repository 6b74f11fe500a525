"""Brokers that outlive the command which started them: what `make kafka` and `make kafka-stop` run.

A broker holds the lock on its file `pid` as long as it lives, however it ends, and wrote its pid there: the pid
in a locked file is the broker's, that in another is anybody's by now. Clusters of different sizes have directories
of their own, and one of them runs at a time. The functions may be called by several processes at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamadapter.testing.kafka import broker, jars
from streamadapter.testing.kafka.broker import Node
from streamadapter.testing.kafka.locks import lock, locked
from streamadapter.testing.servers.process import STOP_TIMEOUT_S, is_free

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START_TIMEOUT_S = 120.0
LOCK_TIMEOUT_S = START_TIMEOUT_S + 2 * STOP_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Cluster:
    """Brokers on one port after the other from `port` on, their controllers on the ports after those."""

    home: Path
    brokers: int
    port: int

    @property
    def nodes(self) -> list[Node]:
        """Its brokers, whether they run or not."""
        return [Node(n + 1, self.port + n, self.port + self.brokers + n) for n in range(self.brokers)]

    @property
    def url(self) -> str:
        """For `bootstrap.servers`."""
        return f"kafka://{broker.addresses(self.nodes)}"

    @property
    def directory(self) -> Path:
        """Of all its data and logs."""
        return self.home / f"brokers-{self.brokers}"

    def directory_of(self, node: Node) -> Path:
        """Of one broker's configuration, data and `server.log`."""
        return self.directory / f"broker-{node.id}"

    def pids(self) -> dict[int, int]:
        """Of the brokers that run, by node id."""
        found = {node.id: _pid(self.directory_of(node)) for node in self.nodes}
        return {node_id: pid for node_id, pid in found.items() if pid is not None}


def start(home: Path, brokers: int, port: int) -> tuple[Cluster, bool]:
    """Run this many brokers until `stop`, and wait until they serve. Also says whether that was so already.

    Raises RuntimeError if others run, if a port is taken or a broker does not come up; and as `jars.install`.
    """
    libs = jars.install(home)
    asked = Cluster(home.absolute(), brokers, port)
    with _lock(home):
        running = _running(home)
        if running and (running.brokers, running.port) != (brokers, port):
            raise RuntimeError(f"another cluster runs, {running.url}: stop it first (make kafka-stop)")
        missing = [node for node in asked.nodes if node.id not in asked.pids()]
        _check_ports(missing)
        started = _launch(asked, missing, libs)
        cluster_id = broker.cluster_id(asked.directory_of(asked.nodes[0])) or ""

        def alive() -> bool:
            return all(process.poll() is None for process in started.values())

        if not broker.await_cluster(asked.nodes, cluster_id, START_TIMEOUT_S, alive):
            failed = [node_id for node_id, process in started.items() if process.poll() is not None]
            for process in started.values():
                process.kill()
                process.wait(STOP_TIMEOUT_S)
            raise RuntimeError(
                f"broker {failed[0] if failed else '?'} did not come up: see server.log in {asked.directory}"
            )
    return asked, not missing


def stop(home: Path) -> Cluster | None:
    """Stop the brokers that run: SIGTERM, and SIGKILL for one that takes too long. Returns what ran, if anything."""
    with _lock(home):
        running = _running(home)
        if running is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal(running, number)
    return running


def status(home: Path) -> Cluster | None:
    """The cluster of which at least one broker runs, if any."""
    with _lock(home):
        return _running(home)


def _lock(home: Path) -> contextlib.AbstractContextManager[None]:
    home.mkdir(parents=True, exist_ok=True)
    return locked(home / "lock", LOCK_TIMEOUT_S)


def _running(home: Path) -> Cluster | None:
    for path in home.absolute().glob("brokers-*/port"):
        cluster = Cluster(
            home.absolute(), int(path.parent.name.removeprefix("brokers-")), int(path.read_text())
        )
        if cluster.pids():
            return cluster
    return None


def _pid(directory: Path) -> int | None:
    path = directory / "pid"
    if not path.exists():
        return None
    with path.open() as file:
        if lock(file.fileno()):
            return None
        return int(file.read() or 0) or None


def _check_ports(nodes: list[Node]) -> None:
    for port in (port for node in nodes for port in (node.port, node.controller_port)):
        if not is_free(port):
            raise RuntimeError(
                f"port {port} is taken by another program: stop that, or choose other ports with --port "
                "(make kafka KAFKA_PORT=...)"
            )


def _launch(cluster: Cluster, nodes: list[Node], libs: Path) -> Mapping[int, subprocess.Popen[bytes]]:
    """Start these brokers of the cluster, formatting their storage the first time; by node id."""
    cluster.directory.mkdir(exist_ok=True)
    (cluster.directory / "port").write_text(str(cluster.port))
    formatted = filter(None, (broker.cluster_id(cluster.directory_of(node)) for node in cluster.nodes))
    cluster_id = next(formatted, broker.new_cluster_id())
    started = {}
    for node in nodes:
        directory = cluster.directory_of(node)
        directory.mkdir(exist_ok=True)
        settings = broker.properties(node, cluster.nodes, directory, {})
        broker.write_properties(directory / "server.properties", settings)
        if broker.cluster_id(directory) is None:
            broker.format_storage(directory, cluster_id, libs)
    for node in nodes:
        directory = cluster.directory_of(node)
        with (directory / "pid").open("w") as held, (directory / "server.log").open("ab") as log:
            lock(held.fileno())  # which the broker inherits
            started[node.id] = subprocess.Popen(  # noqa: S603  Kafka and our own configuration
                ["/bin/sh", "-c", 'echo $$ > pid && exec "$@"', "broker", *broker.command(directory, libs)],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is not for it
                pass_fds=[held.fileno()],
            )
    return started


def _signal(cluster: Cluster, number: signal.Signals) -> None:
    """Send it to every broker that runs, and wait until none does, but no longer than a stop may take."""
    for pid in cluster.pids().values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while cluster.pids() and time.monotonic() < deadline:
        time.sleep(0.05)
