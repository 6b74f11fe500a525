"""A group of 1 to 8 consumers, each a process of its own, reading 16 partitions that have been filled before.

All have joined, with their partitions paused, before the common start; then each resumes and reads its share with
consume(1000). So neither joining nor what was fetched before the start is in the figures. The partitions are equally
full and every member has as many: `rate` is records of all members by the time from the start until the last one has
read its last.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from bench.case import Case, Figures
from bench.records import random_records
from bench.topic import new_topic

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PARTITIONS = 16
MEMBERS = (1, 2, 4, 8)
CHUNK = 1000
TIMEOUT_S = 60.0


def cases() -> list[Case]:
    """In a full run only."""
    return [
        Case(
            chapter="groups",
            name=f"consumers-{members}",
            subject=client,
            server=server,
            function="bench.groups:consume",
            arguments={"client": client, "members": members, "records": 1_600_000},
            full=True,
        )
        for members in MEMBERS
        for client, server in (("streamadapter", "redis"), ("confluent_kafka", "kafka"))
    ]


def consume(url: str, client: str, members: int, records: int) -> Figures:
    """streamadapter or confluent_kafka, by the name of the module."""
    with new_topic(url, PARTITIONS) as topic, ExitStack() as stack:
        each = records // PARTITIONS
        _fill(client, url, topic, each)
        group = [stack.enter_context(Member(client, url, topic)) for _ in range(members)]
        _await_even(group, PARTITIONS // members)
        for member in group:
            member.start(each * PARTITIONS // members)
        spans = [member.span() for member in group]
        seconds = max(end for _, end in spans) - min(start for start, _ in spans)
        return {"rate": each * PARTITIONS / seconds}


def _fill(client: str, url: str, topic: str, each: int) -> None:
    """So many records into each partition."""
    producer = import_module(client).Producer(
        {"bootstrap.servers": url, "queue.buffering.max.messages": 2_000_000}
    )
    sent = random_records(100)
    for partition in range(PARTITIONS):
        for i in range(each):
            producer.produce(
                topic, sent.values[i % len(sent.values)], sent.keys[i % len(sent.keys)], partition
            )
        assert producer.flush(TIMEOUT_S) == 0


def _await_even(group: list[Member], share: int) -> None:
    """Until each member has its share of the partitions, and keeps it for a second."""
    deadline = time.monotonic() + TIMEOUT_S
    since = time.monotonic()
    while time.monotonic() < since + 1:
        time.sleep(0.01)
        if any(member.assigned() != share for member in group):
            since = time.monotonic()
            if since > deadline:
                raise TimeoutError(f"the members have {[member.assigned() for member in group]} partitions")


class Member:
    """A consumer in a process of its own, as its parent sees it."""

    def __init__(self, client: str, url: str, topic: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._here, there = spawn.Pipe()
        self._process = spawn.Process(target=_member, args=(client, url, topic, there), daemon=True)
        self._process.start()
        there.close()  # so that its end is noticed here
        self._assigned = 0

    def assigned(self) -> int:
        """How many partitions it has. EOFError if the process has ended."""
        while self._here.poll():
            self._assigned = self._here.recv()
        return self._assigned

    def start(self, records: int) -> None:
        """Let it read so many records."""
        self._here.send(records)

    def span(self) -> tuple[float, float]:
        """When it began and when it had read them, by the machine's monotonic clock. TimeoutError, EOFError."""
        if not self._here.poll(TIMEOUT_S):
            raise TimeoutError("a member has not read its share")
        found: tuple[float, float] = self._here.recv()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _member(client: str, url: str, topic: str, there: Connection) -> None:
    def assigned(consumer: Any, partitions: list[Any]) -> None:
        consumer.assign(partitions)
        consumer.pause(partitions)
        there.send(len(partitions))

    def revoked(consumer: Any, _: list[Any]) -> None:
        consumer.unassign()
        there.send(0)

    consumer = import_module(client).Consumer(
        {"bootstrap.servers": url, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked)
    while not there.poll():
        assert consumer.poll(0.01) is None
    left = there.recv()
    started = time.monotonic()
    consumer.resume(consumer.assignment())
    while left:
        messages = consumer.consume(min(CHUNK, left), TIMEOUT_S)
        assert messages
        assert all(message.error() is None for message in messages)
        left -= len(messages)
    there.send((started, time.monotonic()))
    there.recv()  # stay a member until all have read: the parent ends this process
