"""A program written for confluent_kafka's types is checked strictly against ours, with the installed package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
from streamadapter import AdminClient, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from streamadapter.admin import NewTopic


def delivered(error: KafkaError | None, message: Message) -> None:
    print(error, message.topic(), message.offset())


def assigned(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    consumer.assign(partitions)


producer = Producer({"bootstrap.servers": "memory://types"})
producer.produce("orders", b"value", key="key", headers=[("a", b"1")], on_delivery=delivered)
left: int = producer.flush(1.0)
with Consumer({"bootstrap.servers": "memory://types", "group.id": "g"}) as consumer:
    consumer.subscribe(["orders"], on_assign=assigned)
    message: Message | None = consumer.poll(1.0)
    batch: list[Message] = consumer.consume(10, timeout=0.1)
    try:
        offsets: list[TopicPartition] | None = consumer.commit(asynchronous=False)
    except KafkaException as error:
        code: int = error.args[0].code()
AdminClient({"bootstrap.servers": "memory://types"}).create_topics([NewTopic("orders", 4)])["orders"].result()
"""

WRONG = """
from streamadapter import Consumer, Producer

Producer({}).produce("t", value=1)
Consumer({}).poll("soon")
Consumer({}).subscribe("orders")
"""


def check(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    source = directory / "program.py"
    source.write_text(program)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-error-summary",
            "--cache-dir",
            str(directory),
            str(source),
        ],
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=280,
        check=False,
    )


def test_a_typical_program_passes_mypy_strict(tmp_path: Path) -> None:
    result = check(PROGRAM, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_wrong_argument_types_are_found(tmp_path: Path) -> None:
    result = check(WRONG, tmp_path)
    lines = [line for line in result.stdout.splitlines() if "error:" in line]
    assert [int(line.split(":")[1]) for line in lines] == [4, 5, 6], result.stdout
