"""One Kafka broker: its configuration, its command line, and how it is asked whether it serves.

Every broker is a controller, too (KRaft, combined mode), and listens on loopback only.
"""

from __future__ import annotations

import base64
import re
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streamadapter.testing.kafka.jars import java

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

FORMAT_TIMEOUT_S = 120.0
REQUEST_TIMEOUT_S = 5.0
_GROUP = "streamadapter-is-it-ready"


@dataclass(frozen=True, slots=True)
class Node:
    """A broker's place in its cluster.

    proxied: the port of its listener behind a proxy, and the port of that proxy. A client goes wherever a broker
    says it is; on this listener it says that it is where the proxy is.
    """

    id: int
    port: int
    controller_port: int
    proxied: tuple[int, int] | None = None


def properties(
    node: Node, cluster: Collection[Node], directory: Path, options: Mapping[str, str]
) -> dict[str, str]:
    """The broker's `server.properties`; `options` over ours. Its data will be in `directory/data`.

    What clients see is as Kafka ships it, but: topics are not created on first use; the first member of a group
    does not wait for others; a topic has three replicas unless its creator says otherwise, as far as there are
    brokers; a dead broker is noticed after 3 s, not 9.
    """
    listeners = {"PLAINTEXT": node.port, "CONTROLLER": node.controller_port}
    advertised = {"PLAINTEXT": node.port}
    if node.proxied:
        listeners["PROXIED"], advertised["PROXIED"] = node.proxied
    replicas = str(min(3, len(cluster)))
    in_sync = str(min(2, len(cluster)))
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.id),
        "controller.quorum.voters": ",".join(f"{n.id}@127.0.0.1:{n.controller_port}" for n in cluster),
        "listeners": _addresses(listeners),
        "advertised.listeners": _addresses(advertised),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
        "log.dirs": str(directory / "data"),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # Fifty partitions each, as Kafka has them, are two hundred files a broker that no test needs.
        "offsets.topic.num.partitions": "6",
        "transaction.state.log.num.partitions": "6",
        "share.coordinator.state.topic.num.partitions": "6",
        "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),  # of 128 MiB of heap
        **options,
    }


def write_properties(path: Path, settings: Mapping[str, str]) -> None:
    r"""Write them as Java reads them: a backslash, for one, is written ``\\``."""
    path.write_text(
        "".join(f"{name}={value.replace(chr(92), chr(92) * 2)}\n" for name, value in settings.items())
    )


def new_cluster_id() -> str:
    """As Kafka's `StorageTool random-uuid` makes them."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def cluster_id(directory: Path) -> str | None:
    """Of the storage in `directory/data`; None if it is not formatted."""
    path = directory / "data" / "meta.properties"
    found = re.search(r"^cluster\.id=(.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1] if found else None


def format_storage(directory: Path, new_id: str, libs: Path) -> None:
    """Format the storage that `directory/server.properties` names. RuntimeError with Kafka's words."""
    done = subprocess.run(  # noqa: S603  Kafka and our own configuration
        [
            *_jvm(libs, "kafka.tools.StorageTool"),
            "format",
            f"--cluster-id={new_id}",  # with "=", for it may begin with "-"
            f"--config={directory / 'server.properties'}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FORMAT_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"Kafka could not format {directory}:\n{done.stdout[-2000:]}")


def command(directory: Path, libs: Path) -> list[str]:
    """The command that runs the broker of `directory/server.properties`. It logs to stdout."""
    return [*_jvm(libs, "kafka.Kafka", "-Xmx512m"), str(directory / "server.properties")]


def registered(node: Node, cluster: str) -> set[int]:
    """The ids of the brokers in the answer to a metadata request sent here; empty if this one does not serve yet.

    A broker knows itself from when the controller lets clients come to it. Another cluster's broker on its port
    does not count. Takes two request time-outs at most.
    """
    try:
        socket.create_connection(("127.0.0.1", node.port), REQUEST_TIMEOUT_S).close()  # cheaper than a client
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{node.port}", "log_level": 0})
        metadata = admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    except (OSError, KafkaException):
        return set()
    return set(metadata.brokers) if metadata.cluster_id == cluster else set()


def coordinates(nodes: Collection[Node]) -> bool:
    """Whether groups can be served: the brokers have made `__consumer_offsets`, and one coordinates."""
    admin = AdminClient({"bootstrap.servers": addresses(nodes), "log_level": 0})
    try:
        # Not list_consumer_group_offsets: librdkafka 2.16 crashes when the coordinator answers that it is not ready.
        for answer in admin.describe_consumer_groups([_GROUP], request_timeout=REQUEST_TIMEOUT_S).values():
            answer.result(2 * REQUEST_TIMEOUT_S)
    except KafkaException:
        return False
    return True


def await_cluster(
    nodes: Collection[Node], cluster: str, timeout_s: float, alive: Callable[[], bool] = lambda: True
) -> bool:
    """Wait until each broker knows all and groups are served; false if that takes too long or one is not alive."""
    deadline = time.monotonic() + timeout_s
    ids = {node.id for node in nodes}
    while time.monotonic() < deadline and alive():
        if all(registered(node, cluster) == ids for node in nodes) and coordinates(nodes):
            return True
        time.sleep(0.05)
    return False


def addresses(nodes: Collection[Node]) -> str:
    """Of these brokers, for `bootstrap.servers`."""
    return ",".join(f"127.0.0.1:{node.port}" for node in nodes)


def _jvm(libs: Path, main: str, heap: str = "-Xmx256m") -> list[str]:
    # Quick to start and small, rather than fast after minutes.
    tuned = [heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=INFO"]
    return [java(), *tuned, "-cp", f"{libs}/*", main]


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
