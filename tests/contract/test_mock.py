"""librdkafka's mock cluster, which stands in for Kafka where Java is missing."""

import tomllib
from pathlib import Path

from streamadapter.testing import contract
from streamadapter.testing.contract.lab import Clients, values
from streamadapter.testing.kafka import MockCluster


def test_records_go_through_a_topic_of_the_mock_cluster() -> None:
    with MockCluster() as cluster:
        clients = Clients(cluster.url, cluster.create_topic)
        topic = clients.create("orders", partitions=2)
        consumer = clients.consumer("group")
        consumer.subscribe([topic])

        offsets = clients.produce(topic, "a", "b", partition=1)

        assert offsets == [0, 1]
        assert values(clients.take(consumer, 2)) == [b"a", b"b"]
        clients.close()


def test_what_the_mock_cluster_cannot_run_are_areas_and_scenarios_that_exist() -> None:
    reasons = tomllib.loads(Path(__file__).with_name("mock.toml").read_text())
    scenarios = contract.scenarios()
    areas = {contract.area_and_title(function)[0] for function in scenarios.values()}

    listed = [name for names in reasons.values() for name in names]

    assert sorted(set(listed) - scenarios.keys() - areas) == []
    assert len(set(listed)) == len(listed)
