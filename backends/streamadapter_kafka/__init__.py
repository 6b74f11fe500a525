"""Apache Kafka, through confluent_kafka's own clients. See README.md."""

from streamadapter.backend import Backend, Features
from streamadapter_kafka.clients import KafkaClients

FEATURES = Features(name="kafka")

backend = Backend(name="kafka", schemes=("kafka",), features=FEATURES, clients=KafkaClients())

__all__ = ["FEATURES", "KafkaClients", "backend"]
