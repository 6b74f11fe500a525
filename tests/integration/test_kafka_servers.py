"""The real Kafka brokers that tests run against, and those of `make kafka`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streamadapter.testing.kafka import LIBS_VARIABLE, KafkaServer, jars
from streamadapter.testing.servers import free_port
from streamadapter.testing.servers.process import is_free

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamadapter.testing.kafka import KafkaCluster

DEADLINE_S = 60.0


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.05)


def admin(servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": servers, "log_level": 0})


def create(servers: str, topic: str, **settings: Any) -> None:
    client = admin(servers)  # which must outlive its answers
    for created in client.create_topics([NewTopic(topic, 1, **settings)]).values():
        created.result(DEADLINE_S)


def produce(servers: str, topic: str, values: list[bytes]) -> None:
    """With acks=all; returns when all are acknowledged, fails if one is not."""
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "log_level": 0})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(DEADLINE_S) == 0
    assert errors == [None] * len(values)


def values(servers: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reader", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, DEADLINE_S)]
    finally:
        consumer.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")  # in a container nobody may reap it: a zombie is dead, too
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_killed_broker_comes_back_on_its_address_with_what_it_acknowledged(
    own_kafka: KafkaServer, topic: str
) -> None:
    # given
    servers, pid = own_kafka.bootstrap_servers, own_kafka.pid
    create(servers, topic)
    produce(servers, topic, [b"1", b"2"])
    # when
    own_kafka.kill()
    with pytest.raises(KafkaException):
        admin(servers).list_topics(timeout=1)
    own_kafka.start()
    # then
    assert own_kafka.url == f"kafka://{servers}"
    assert own_kafka.pid != pid
    own_kafka.restart()
    produce(servers, topic, [b"3"])
    assert values(servers, topic, 3) == [b"1", b"2", b"3"]


def test_a_paused_broker_answers_once_resumed_and_can_be_stopped_while_paused(own_kafka: KafkaServer) -> None:
    client = admin(own_kafka.bootstrap_servers)
    own_kafka.pause()
    with pytest.raises(KafkaException):
        client.list_topics(timeout=0.5)
    own_kafka.resume()
    assert client.list_topics(timeout=DEADLINE_S).brokers
    own_kafka.pause()
    own_kafka.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = own_kafka.pid


def test_clients_of_the_proxied_address_stay_behind_the_proxy(
    kafka_server: KafkaServer, tmp_path: Path, topic: str
) -> None:
    with KafkaServer(tmp_path / "proxied", proxied=True) as server:
        # given a producer that came by the proxy, and has since talked to the broker it was told of
        create(server.proxied_servers, topic)
        producer = Producer({"bootstrap.servers": server.proxied_servers, "log_level": 0})
        producer.produce(topic, b"1")
        assert producer.flush(DEADLINE_S) == 0
        # when
        server.proxy.cut()
        producer.produce(topic, b"2")
        # then
        assert producer.flush(0.5) == 1
        assert values(server.bootstrap_servers, topic, 1) == [b"1"]  # the other address is not cut
        server.proxy.heal()
        assert producer.flush(DEADLINE_S) == 0
        assert values(server.bootstrap_servers, topic, 2) == [b"1", b"2"]
    with pytest.raises(RuntimeError, match="proxied=True"):
        _ = kafka_server.proxied_url


def test_a_broker_whose_port_is_taken_shows_its_log(kafka_server: KafkaServer, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Address already in use"):
        KafkaServer(tmp_path, port=kafka_server.port).start()


def test_a_broker_dies_with_the_process_that_started_it(kafka_server: KafkaServer, tmp_path: Path) -> None:
    program = """
import os, pathlib, signal, sys
from streamadapter.testing.kafka import KafkaServer
print(KafkaServer(pathlib.Path(sys.argv[1])).start().pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, check=False, timeout=150
    )
    wait_for(lambda: gone(int(done.stdout)), "the broker is gone")


def test_groups_of_both_protocols_work_as_shipped(kafka_server: KafkaServer, topic: str, group: str) -> None:
    servers = kafka_server.bootstrap_servers
    create(servers, topic)
    produce(servers, topic, [b"1"])
    for protocol in ("classic", "consumer"):
        consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"{group}-{protocol}",
                "group.protocol": protocol,
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([topic])
        (message,) = consumer.consume(1, DEADLINE_S)
        assert message.value() == b"1"
        consumer.close()


def test_a_topic_is_not_created_on_first_use(kafka_server: KafkaServer, topic: str) -> None:
    client = admin(kafka_server.bootstrap_servers)
    client.list_topics(topic, timeout=DEADLINE_S)
    assert topic not in client.list_topics(timeout=DEADLINE_S).topics


def test_what_a_cluster_acknowledged_outlives_the_leader(kafka_cluster: KafkaCluster, topic: str) -> None:
    # given
    servers = kafka_cluster.bootstrap_servers
    create(servers, topic, replication_factor=3, config={"min.insync.replicas": "2"})
    produce(servers, topic, [b"1", b"2"])

    def partition() -> Any:
        return admin(servers).list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions[0]

    leader = partition().leader
    # when
    kafka_cluster.servers[leader - 1].kill()
    produce(servers, topic, [b"3"])
    # then
    assert partition().leader not in (leader, -1)
    assert values(servers, topic, 3) == [b"1", b"2", b"3"]
    kafka_cluster.servers[leader - 1].start()
    wait_for(lambda: sorted(partition().isrs) == [1, 2, 3], "the killed broker is in sync again")


def test_missing_jars_and_missing_java_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIBS_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"testing\.kafka install"):
        KafkaServer.binary()
    with pytest.raises(FileNotFoundError, match=LIBS_VARIABLE):
        jars.install(tmp_path)
    monkeypatch.delenv(LIBS_VARIABLE)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="install Maven"):
        jars.install(tmp_path)
    with pytest.raises(FileNotFoundError, match="install a Java runtime"):
        jars.java()


def test_jars_are_resolved_once_by_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a Maven that takes its time and counts its runs
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(
        f"""#!/bin/sh
echo run >> {tmp_path}/runs
for argument; do case $argument in -DoutputDirectory=*) target=${{argument#*=}};; esac; done
mkdir -p "$target" && sleep 0.5 && touch "$target/kafka_2.13-{jars.version()}.jar"
"""
    )
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{maven.parent}:{os.environ['PATH']}")
    monkeypatch.delenv(LIBS_VARIABLE, raising=False)
    # when
    running = [command("install", tmp_path / "home") for _ in range(3)]
    # then
    for process in running:
        output, _ = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, str(tmp_path / "home") in output) == (0, True), output
    assert (tmp_path / "runs").read_text() == "run\n"


def command(name: str, home: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "streamadapter.testing.kafka", name, "--directory", str(home), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(name: str, home: Path, *options: str) -> tuple[int, str]:
    process = command(name, home, *options)
    output, _ = process.communicate(timeout=200)
    return process.returncode, output.strip()


@pytest.fixture
def home(kafka_server: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for `python -m streamadapter.testing.kafka`, with the jars of the test run."""
    monkeypatch.setenv(LIBS_VARIABLE, str(jars.locate()))
    yield tmp_path / "home"
    run("stop", tmp_path / "home")


def status(home: Path) -> Any:
    code, output = run("status", home, "--json")
    assert code == 0, output
    return json.loads(output)


def test_the_command_starts_once_stops_once_and_keeps_data(home: Path, topic: str) -> None:
    port = str(free_port())
    servers = f"127.0.0.1:{port}"
    # when started twice
    code, output = run("start", home, "--port", port)
    assert (code, f"kafka://{servers}" in output) == (0, True), output
    pids = status(home)["pids"]
    create(servers, topic)
    produce(servers, topic, [b"1"])
    code, output = run("start", home, "--port", port)
    # then it is the same broker
    assert (code, "running already" in output) == (0, True), output
    assert status(home)["pids"] == pids
    # and another cluster is refused
    for other in (("--port", port, "--brokers", "3"), ("--port", str(free_port()))):
        code, output = run("start", home, *other)
        assert (code, "another cluster runs" in output) == (1, True), output
    # when stopped twice
    assert run("stop", home) == (0, f"Kafka stopped: kafka://{servers}")
    assert gone(pids["1"])
    assert run("stop", home) == (0, "Kafka was not running")
    assert status(home) == {"state": "stopped"}
    # then it starts again with its data
    assert run("start", home, "--port", port)[0] == 0
    assert values(servers, topic, 1) == [b"1"]


def test_the_command_brings_back_the_broker_that_a_cluster_lost(home: Path) -> None:
    # given
    first = next(port for port in iter(free_port, None) if all(map(is_free, range(port, port + 6))))
    options = ("--brokers", "3", "--port", str(first))
    code, output = run("start", home, *options)
    assert code == 0, output
    before = status(home)
    # when
    os.kill(before["pids"]["2"], signal.SIGKILL)
    wait_for(lambda: status(home)["state"] == "incomplete", "the broker is gone")
    code, output = run("start", home, *options)
    # then
    assert (code, "Kafka runs" in output) == (0, True), output
    after = status(home)
    assert (after["state"], after["url"]) == ("running", before["url"])
    assert [after["pids"][node] == before["pids"][node] for node in "123"] == [True, False, True]


def test_the_command_leaves_a_process_alone_that_is_not_its_broker(home: Path) -> None:
    # given the traces of a broker that died, whose pid has another process now
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        (home / "brokers-1" / "broker-1").mkdir(parents=True)
        (home / "brokers-1" / "port").write_text(str(free_port()))
        (home / "brokers-1" / "broker-1" / "pid").write_text(str(stranger.pid))
        # when, then
        assert status(home) == {"state": "stopped"}
        assert run("stop", home) == (0, "Kafka was not running")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_command_does_not_choose_another_port_when_its_own_is_taken(
    home: Path, kafka_server: KafkaServer
) -> None:
    code, output = run("start", home, "--port", str(kafka_server.port))
    assert (code, f"port {kafka_server.port} is taken" in output) == (1, True), output
    assert status(home) == {"state": "stopped"}
