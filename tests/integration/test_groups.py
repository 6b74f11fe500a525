"""What groups do to the store. Who owns which partition and what callbacks are told: streamadapter.testing.contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition

    from streamadapter import Consumer
    from tests.integration.conftest import Cluster

COOPERATIVE = {"partition_assignment_strategy": "cooperative-sticky"}
KIP_848 = {"group_protocol": "consumer"}

incremental = pytest.mark.parametrize("protocol", [COOPERATIVE, KIP_848], ids=["cooperative", "kip-848"])


def test_a_group_whose_state_is_gone_loses_its_assignments_and_forms_anew(
    cluster: Cluster, topic: str, group: str
) -> None:
    cluster.create(topic, 2)
    told: list[tuple[str, list[int]]] = []

    def note(kind: str, partitions: list[TopicPartition]) -> None:
        told.append((kind, [tp.partition for tp in partitions]))

    consumer: Consumer = cluster.consumer(group, heartbeat_interval_ms=200)
    consumer.subscribe(
        [topic], on_assign=lambda _, tps: note("assign", tps), on_lost=lambda _, tps: note("lost", tps)
    )
    cluster.until(consumer.assignment, consumer)

    view = cluster.store.group_heartbeat(group, "", -1, 0)
    assert cluster.store.group_update(group, view.version, b"", {}, ()).applied  # an administrator's blow

    cluster.until(lambda: len(told) >= 3, consumer)
    assert told == [("assign", [0, 1]), ("lost", [0, 1]), ("assign", [0, 1])]


@incremental
def test_what_a_member_gave_up_leaves_no_cursor_on_the_server(
    cluster: Cluster, topic: str, group: str, protocol: dict[str, str]
) -> None:
    old, new = cluster.create(f"{topic}-old"), cluster.create(f"{topic}-new")

    def cursors() -> list[int]:
        keys = (cluster.store.keys.log(name, 0) for name in (old, new))  # type: ignore[attr-defined]  # RedisStore's own
        return [len(cluster.store._one("XINFO", "GROUPS", key)) for key in keys]  # type: ignore[attr-defined]  # as above

    for name in (old, new):
        cluster.produce(name, "x")  # XINFO wants a stream
    consumer = cluster.consumer(group, **protocol)
    consumer.subscribe([old, new])
    cluster.until(lambda: cursors() == [1, 1], consumer)

    consumer.subscribe([new])
    cluster.until(lambda: cursors() == [0, 1], consumer)
    consumer.unsubscribe()
    cluster.until(lambda: cursors() == [0, 0], consumer)
