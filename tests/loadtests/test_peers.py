"""Each peer sends and reads a few records on a real server, in a process of its own, and says how fast."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from bench import consume, produce
from bench.rig import CHILD, KAFKA_OPTIONS, Rig, ShippedKafka, run
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, ConfigSource

from streamadapter.testing.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.case import Case

    from streamadapter.testing.kafka import KafkaServer
    from streamadapter.testing.servers import Server

RECORDS = 2000
DEFAULT = ConfigSource.DEFAULT_CONFIG.value
DIFFERENT = ("four-producers", "batch-json-zstd", "consume-json-lz4", "columns", "64-partitions")
CASES = [
    case
    for case in (*produce.cases(), *consume.cases())
    if not case.full or any(case.name.endswith(name) for name in DIFFERENT)
]


# What a broker is told that is not Kafka's default, and why nobody's speed depends on it.
TOLD = {
    # where it is
    *("node.id", "broker.id", "process.roles", "controller.quorum.voters", "log.dirs"),
    *("listeners", "advertised.listeners", "listener.security.protocol.map"),
    *("controller.listener.names", "inter.broker.listener.name"),
    # that it is alone, as in the server.properties that comes with Kafka
    *("offsets.topic.replication.factor", "transaction.state.log.replication.factor"),
    *("transaction.state.log.min.isr", "share.coordinator.state.topic.replication.factor"),
    "share.coordinator.state.topic.min.isr",
    # cases make their topics, no clock runs while a group waits for more members, and nobody shares or transacts
    *("auto.create.topics.enable", "group.initial.rebalance.delay.ms"),
    *("share.coordinator.state.topic.num.partitions", "transaction.state.log.num.partitions"),
}


@pytest.mark.parametrize("case", [case for case in CASES if case.server == "redis"], ids=lambda case: case.id)
def test_a_rate_on_redis(case: Case, need_server: Callable[[type[Server]], None]) -> None:
    need_server(RedisServer)
    with Rig() as rig:
        figures = rig.measure(case.at_most(RECORDS))
    assert figures["rate"] > 0
    assert figures.get("cpu_us", 1) > 0


@pytest.mark.parametrize("case", [case for case in CASES if case.server == "kafka"], ids=lambda case: case.id)
def test_a_rate_on_kafka(case: Case, kafka_server: KafkaServer) -> None:
    arguments = {"url": kafka_server.bootstrap_servers, **case.at_most(RECORDS).arguments}
    figures = run([sys.executable, str(CHILD), case.function, json.dumps(arguments)], case.timeout_s)
    assert figures["rate"] > 0
    assert figures.get("cpu_us", 1) > 0


@pytest.mark.slow
def test_kafka_runs_as_it_is_shipped(tmp_path: Path, need_server: Callable[[type[Server]], None]) -> None:
    need_server(ShippedKafka)
    with ShippedKafka(tmp_path, KAFKA_OPTIONS) as server:
        broker = ConfigResource("broker", "1")
        admin = AdminClient({"bootstrap.servers": server.bootstrap_servers})
        settings = admin.describe_configs([broker])[broker].result(30)
    different = {name for name, entry in settings.items() if entry.value != default(entry)}
    assert different <= TOLD


def default(entry: ConfigEntry) -> str | None:
    found = [synonym.value for synonym in entry.synonyms.values() if synonym.source == DEFAULT]
    return found[0] if found else None
