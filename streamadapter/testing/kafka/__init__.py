"""Real Apache Kafka brokers for tests and for `make kafka`, without Docker.

    with KafkaServer(tmp_path) as server:
        producer = confluent_kafka.Producer({"bootstrap.servers": server.bootstrap_servers})
        server.kill()
        server.start()      # the same port, the same data

`pom.xml` pins the version; `jars.py` fetches it; `broker.py` says how a broker is configured and asked;
`servers.py` runs brokers for a test, `daemon.py` those of `python -m streamadapter.testing.kafka`, which stay up;
`mock.py` is what can be had without Java.
"""

from streamadapter.testing.kafka.jars import LIBS_VARIABLE, install, version
from streamadapter.testing.kafka.mock import MockCluster
from streamadapter.testing.kafka.servers import KafkaCluster, KafkaServer

__all__ = ["LIBS_VARIABLE", "KafkaCluster", "KafkaServer", "MockCluster", "install", "version"]
