"""What the Kafka backend adds to confluent_kafka, and that all else goes through. The rest: tests/contract."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
import trustme
from confluent_kafka import KafkaError, KafkaException
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from streamadapter import AdminClient, Consumer, Producer, TopicPartition
from streamadapter.admin import NewTopic
from streamadapter.testing.contract.lab import Clients
from streamadapter.testing.kafka import KafkaServer
from streamadapter_kafka.clients import KafkaProducer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_S = 30.0


@pytest.fixture
def clients(kafka_url: str) -> Iterator[Clients]:
    clients = Clients(kafka_url)
    yield clients
    clients.close()


def refused(role: type, conf: dict[str, Any]) -> KafkaError:
    with pytest.raises(KafkaException) as raised:
        role(conf)
    error: KafkaError = raised.value.args[0]
    return error


@pytest.mark.parametrize("form", ["{}", "kafka://{}", "KAFKA://{}/", "plaintext://{}", "{},127.0.0.1:1"])
def test_every_form_of_address_reaches_the_broker(kafka_url: str, form: str) -> None:
    address = form.format(kafka_url.removeprefix("kafka://"))
    with AdminClient({"bootstrap.servers": address}) as admin:
        assert len(admin.list_topics(timeout=PATIENCE_S).brokers) == 1


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    error = refused(Producer, {"bootstrap.servers": "kafka://u:s3cret@h:9092"})
    assert error.code() == KafkaError._INVALID_ARG
    assert "sasl.password" in error.str()
    assert "s3cret" not in error.str()


@pytest.mark.parametrize("name", ["no.such", "streamadapter.key.prefix"])
def test_a_property_that_librdkafka_does_not_know_is_refused(kafka_url: str, name: str) -> None:
    error = refused(Producer, {"bootstrap.servers": kafka_url, name: "x"})
    assert error.code() == KafkaError._INVALID_ARG
    assert name in error.str()


def test_an_empty_group_id_is_an_error_and_not_the_end_of_the_process(kafka_url: str) -> None:
    with pytest.raises(ValueError, match=r"group\.id must be set"):
        Consumer({"bootstrap.servers": kafka_url, "group.id": ""})


def test_unassigning_a_partition_twice_is_an_error_and_not_the_end_of_the_process(
    clients: Clients, topic: str, group: str
) -> None:
    clients.create(topic)
    consumer = clients.consumer(group)
    consumer.incremental_assign([TopicPartition(topic, 0)])
    with pytest.raises(KafkaException) as raised:
        consumer.incremental_unassign([TopicPartition(topic, 0), TopicPartition(topic, 0)])
    assert raised.value.args[0].code() == KafkaError._INVALID_ARG
    assert [(tp.topic, tp.partition) for tp in consumer.assignment()] == [(topic, 0)]


def test_the_messages_are_librdkafkas_own(clients: Clients, topic: str, group: str) -> None:
    clients.create(topic)
    clients.produce(topic, b"a")
    consumer = clients.consumer(group)
    consumer.subscribe([topic])
    [message] = clients.take(consumer, 1)
    assert type(message) is confluent_kafka.Message


def test_a_batch_goes_by_confluent_kafka_unless_it_cannot(
    clients: Clients, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways have the same result; only the one that does what is asked is taken."""
    clients.create(topic, 2)
    one_by_one: list[Any] = []
    monkeypatch.setattr(
        "streamadapter_kafka.clients.produce_each", lambda *arguments: one_by_one.append(arguments) or 1
    )
    producer = clients.producer()
    assert isinstance(producer._client, KafkaProducer)

    producer.produce_batch(topic, [{"value": b"a", "headers": {"h": b"1"}}, {"key": "k"}])
    assert one_by_one == []
    producer.produce_batch(topic, [{"value": b"a"}, {"value": b"b", "partition": 1}])
    producer.produce_batch(topic, [{"value": b"a", "timestamp": 1}])
    assert len(one_by_one) == 2


def test_columns_stop_at_a_record_that_is_refused_and_the_next_call_says_why(
    clients: Clients, topic: str, group: str
) -> None:
    clients.create(topic)
    producer = clients.producer()
    columns = [b"a", b"b", b"x" * 2_000_000, b"c"]

    assert producer.produce_columns(topic, columns, partition=0) == 2
    with pytest.raises(KafkaException) as raised:
        producer.produce_columns(topic, columns[2:], partition=0)
    assert raised.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert producer.flush(PATIENCE_S) == 0

    consumer = clients.consumer(group)
    consumer.assign([TopicPartition(topic, 0)])
    assert [message.value() for message in clients.take(consumer, 2)] == [b"a", b"b"]


def test_columns_stop_when_the_queue_is_full(clients: Clients, topic: str) -> None:
    clients.create(topic)
    producer = clients.producer(queue_buffering_max_messages=3, linger_ms=60_000)
    assert producer.produce_columns(topic, [b"a"] * 5) == 3


def test_lag_counts_from_the_position_or_from_what_is_committed(
    clients: Clients, topic: str, group: str
) -> None:
    clients.create(topic, 2)
    for partition in (0, 1):
        clients.produce(topic, b"a", b"b", b"c", partition=partition)
    consumer = clients.consumer(group)
    consumer.commit(offsets=[TopicPartition(topic, 1, 3)], asynchronous=False)
    consumer.subscribe([topic])
    clients.take(consumer, 1)
    clients.until(lambda: len(consumer.lag()) == 2)
    assert consumer.lag() == {(topic, 0): 2, (topic, 1): 0}


def test_topics_of_the_config_file_are_created(
    kafka_url: str, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMADAPTER_CONFIG", str(tmp_path / "streamadapter.toml"))
    (tmp_path / "streamadapter.toml").write_text(
        f'backend = "kafka"\n[kafka]\n"bootstrap.servers" = "{kafka_url}"\n[producer]\n"linger.ms" = 1\n'
        f'[topics.{topic}]\npartitions = 3\n"segment.bytes" = 1048576\n'
    )
    with Producer() as producer:
        assert len(producer.list_topics(topic, PATIENCE_S).topics[topic].partitions) == 3


@pytest.fixture
def secure_broker(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address of a broker with TLS and SASL/PLAIN (user shop, password s3cret), and its CA's certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    (tmp_path / "server.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # the only format Kafka reads
        + b"".join(part.bytes() for part in certificate.cert_chain_pems)
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = KafkaServer(tmp_path / "kafka")
    server.options |= {
        "listeners": f"PLAINTEXT://127.0.0.1:{server.port},SECURE://127.0.0.1:{port},"
        f"CONTROLLER://127.0.0.1:{server.node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{server.port},SECURE://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.secure.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule "
        'required user_shop="s3cret";',
        "listener.name.secure.ssl.keystore.type": "PEM",
        "listener.name.secure.ssl.keystore.location": str(tmp_path / "server.pem"),
    }
    with server:
        yield f"127.0.0.1:{port}", tmp_path / "ca.pem"


def test_tls_and_sasl_are_librdkafkas(secure_broker: tuple[str, Path], topic: str, group: str) -> None:
    address, authority = secure_broker
    conf = {
        "bootstrap.servers": f"kafka://{address}",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(authority),
        "sasl.mechanism": "PLAIN",
        "sasl.username": "shop",
        "sasl.password": "s3cret",
    }
    with AdminClient(conf) as admin:
        admin.create_topics([NewTopic(topic, 1)])[topic].result(PATIENCE_S)
    with Producer(conf) as producer:
        producer.produce(topic, b"a")
        assert producer.flush(PATIENCE_S) == 0
    with Consumer({**conf, "group.id": group, "auto.offset.reset": "earliest"}) as consumer:
        consumer.subscribe([topic])
        [message] = Clients.take(consumer, 1)
    assert message.value() == b"a"

    errors: list[KafkaError] = []
    with Producer({**conf, "sasl.password": "wrong", "error_cb": errors.append, "log_level": 0}) as producer:
        Clients.until(lambda: producer.poll(0.05) is not None and errors)
    assert errors[0].code() == KafkaError._AUTHENTICATION


def test_a_program_ends_though_an_answer_about_a_group_is_still_to_come() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        program = (
            "from streamadapter import AdminClient, ConsumerGroupTopicPartitions\n"
            f"admin = AdminClient({{'bootstrap.servers': 'kafka://127.0.0.1:{silent.getsockname()[1]}'}})\n"
            "admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions('g')], request_timeout=3000)\n"
            "assert len(admin) == 1\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE_S)


ASK_AGAIN_AND_AGAIN = """
import sys
from streamadapter import AdminClient, ConsumerGroupTopicPartitions, KafkaException

url, topic = sys.argv[1:]
with AdminClient({"bootstrap.servers": url, "log_level": 0}) as admin:
    for line in sys.stdin:
        request = ConsumerGroupTopicPartitions("g")
        future = admin.list_consumer_group_offsets([request], request_timeout=2)["g"]
        try:
            print([tp.offset for tp in future.result(30).topic_partitions], flush=True)
        except KafkaException as error:
            print(error.args[0].name(), flush=True)
"""


def test_asking_for_committed_offsets_survives_a_restarting_broker(
    own_kafka: KafkaServer, topic: str
) -> None:
    """librdkafka's own admin request aborts the process here, each time; hence a process of its own."""
    clients = Clients(own_kafka.url)
    clients.create(topic)
    clients.consumer("g").commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    clients.close()
    asking = subprocess.Popen(
        [sys.executable, "-c", ASK_AGAIN_AND_AGAIN, own_kafka.url, topic],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert asking.stdin
    assert asking.stdout

    def ask() -> str:
        assert asking.poll() is None
        asking.stdin.write("?\n")  # type: ignore[union-attr]  # asserted above
        asking.stdin.flush()  # type: ignore[union-attr]  # as above
        return asking.stdout.readline().strip()  # type: ignore[union-attr]  # as above

    Clients.until(lambda: ask() == "[7]")
    for _ in range(2):
        own_kafka.kill()
        assert ask() in ("_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN")
        own_kafka.start()
        Clients.until(lambda: ask() == "[7]")  # the coordinator is loading at first
    asking.stdin.close()
    assert asking.wait(PATIENCE_S) == 0
    asking.stdout.close()
