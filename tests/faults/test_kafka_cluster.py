"""Three Kafka brokers, of which one dies: the group and the producer go on with the two others."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter.admin import AdminClient

if TYPE_CHECKING:
    from streamadapter.testing.kafka import KafkaCluster, KafkaServer
    from tests.faults.conftest import Lab

KILLS = 2


def _leader(lab: Lab, cluster: KafkaCluster) -> KafkaServer:
    with AdminClient({"bootstrap.servers": lab.url}) as admin:
        partition = admin.list_topics(lab.topic, timeout=30).topics[lab.topic].partitions[0]
    return cluster.servers[partition.leader - 1]


def _is_led_by_another(lab: Lab, cluster: KafkaCluster, former: KafkaServer) -> bool:
    return _leader(lab, cluster) is not former


def _in_sync(lab: Lab) -> list[int]:
    with AdminClient({"bootstrap.servers": lab.url}) as admin:
        partitions = admin.list_topics(lab.topic, timeout=30).topics[lab.topic].partitions.values()
    return [len(partition.isrs) for partition in partitions]


def _committed(lab: Lab, since: float) -> bool:
    return any(client.notes("commit", "ok", since) for client in lab.clients)


@pytest.mark.slow
def test_killing_the_leader_loses_nothing_acknowledged_and_doubles_nothing(
    lab: Lab, kafka_cluster: KafkaCluster, wait: Callable[..., Any]
) -> None:
    lab.create_topic(kafka_cluster.url, partitions=2, min_insync_replicas="2")
    assert _in_sync(lab) == [3, 3]
    producer = lab.producer("p", acks="all", enable_idempotence=True, batch_num_messages=20)
    for name in ("c0", "c1"):
        lab.consumer(name).tell("loop", limit=50)
    producer.tell("loop")
    lab.await_acknowledged(200)

    for _ in range(KILLS):
        leader = _leader(lab, kafka_cluster)
        lab.note("fault")
        leader.kill()
        killed = time.monotonic()
        wait(partial(_is_led_by_another, lab, kafka_cluster, leader), "another broker leads")
        lab.await_acknowledged(200)  # by two replicas: the third is not back yet
        wait(partial(_committed, lab, killed), "the group goes on")
        leader.start()
        wait(lambda: _in_sync(lab) == [3, 3], "the third replica has caught up")
    lab.finish()
    lab.await_delivered()

    assert {event.kind for event in lab.events() if event.op == "send"} == {"invoke", "ok"}
    lab.assert_valid()
