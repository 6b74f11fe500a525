"""The laboratory: clients in processes of their own, what they noted, and the log as it stands in the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
import redis

from streamadapter import TopicPartition
from streamadapter.admin import AdminClient, NewTopic
from streamadapter.codec import decode_batch
from streamadapter.testing.history import Cell, Event, Log, check
from streamadapter_redis.keys import Keys

WORKER = Path(__file__).with_name("worker.py")
HISTORY_OPS = ("send", "poll", "commit", "assign", "revoke", "jump")
DEADLINE_S = 40.0
CONSUMER = {
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 500,
    "partition.assignment.strategy": "cooperative-sticky",
}


def eventually(condition: Callable[[], Any], what: str, timeout: float = DEADLINE_S) -> Any:
    """Wait until `condition()` is true and return it."""
    until = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < until, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return result


class Client:
    """A worker process. Notes are dicts: `at`, `process`, `op`, `kind`, `cells`, and more by `op`."""

    def __init__(self, role: str, name: str, directory: Path, topic: str, conf: dict[str, Any]) -> None:
        self.name = name
        self._path = directory / f"{name}.jsonl"
        self._path.touch()
        self._errors = (directory / f"{name}.err").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), role, name, str(self._path), topic, json.dumps(conf)],
            stdin=subprocess.PIPE,
            stderr=self._errors,
        )
        self._told = 0
        self._notes: list[dict[str, Any]] = []
        self._read = 0

    def notes(
        self, op: str | None = None, kind: str | None = None, since: float = 0.0
    ) -> list[dict[str, Any]]:
        """What it has noted so far, oldest first."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        self._notes += [json.loads(line) for line in whole.splitlines()]
        return [
            n
            for n in self._notes
            if (op is None or n["op"] == op) and (kind is None or n["kind"] == kind) and n["at"] >= since
        ]

    def errors(self, since: float = 0.0) -> set[str]:
        """Codes that came by error_cb or in messages."""
        return {note["code"] for note in self.notes("error", since=since)}

    def await_note(
        self, op: str, kind: str | None = None, since: float = 0.0, timeout: float = DEADLINE_S, **more: Any
    ) -> dict[str, Any]:
        """The first such note, once it is there."""

        def found() -> dict[str, Any] | None:
            self.check()
            notes = self.notes(op, kind, since)
            return next((n for n in notes if all(n.get(k) == v for k, v in more.items())), None)

        wanted = f"{op} {kind or ''} {more} of {self.name}; its last notes: {self.notes()[-3:]}"
        note: dict[str, Any] = eventually(found, wanted, timeout)
        return note

    def tell(self, do: str, **arguments: Any) -> int:
        """Give a command; returns its number. It waits its turn."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        self._told += 1
        return self._told - 1

    def ask(self, do: str, timeout: float = DEADLINE_S, **arguments: Any) -> None:
        """Give a command, and wait until it is done."""
        self.await_note("done", number=self.tell(do, **arguments), timeout=timeout)

    def signal(self, number: signal.Signals) -> float:
        """Send a signal; returns the time."""
        at = time.monotonic()
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait(DEADLINE_S)
        return at

    def check(self) -> None:
        """It must not have died by itself."""
        if self._process.poll() not in (None, -signal.SIGKILL):
            raise AssertionError(f"{self.name} died: {Path(self._errors.name).read_text()[-2000:]}")

    def end(self) -> None:
        """At the end of the test."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(DEADLINE_S)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._errors.close()


class Lab:
    """One topic, one group, their clients, and the history they make. `url`: of the server itself, past any proxy."""

    def __init__(self, directory: Path, topic: str, group: str) -> None:
        self.topic = topic
        self.group = group
        self.url = ""
        self.partitions = 0
        self._directory = directory
        self.clients: list[Client] = []
        self._noted: list[Event] = []

    def create_topic(self, url: str, partitions: int = 4, **config: str) -> None:
        """Every test begins with it. config: with _ for the dots."""
        self.url, self.partitions = url, partitions
        settings = {name.replace("_", "."): value for name, value in config.items()}
        new = NewTopic(self.topic, num_partitions=partitions, config=settings)
        with AdminClient({"bootstrap.servers": url}) as admin:
            admin.create_topics([new])[self.topic].result()

    def producer(self, name: str, url: str = "", **conf: Any) -> Client:
        """A producer that is ready. conf: with _ for the dots."""
        return self._client("producer", name, url, conf)

    def consumer(self, name: str, url: str = "", **conf: Any) -> Client:
        """A subscribed consumer that is ready, and has not polled."""
        return self._client("consumer", name, url, {**CONSUMER, "group.id": self.group, **conf})

    def _client(self, role: str, name: str, url: str, conf: dict[str, Any]) -> Client:
        properties = {key.replace("_", "."): value for key, value in conf.items()}
        properties["bootstrap.servers"] = url or self.url
        client = Client(role, name, self._directory, self.topic, properties)
        self.clients.append(client)
        client.await_note("ready")
        return client

    def note(self, op: Any, *cells: tuple[int, int, str]) -> None:
        """An event of the test itself: a fault, a cut."""
        self.note_at(time.monotonic(), op, *cells)

    def note_at(self, at: float, op: Any, *cells: tuple[int, int, str]) -> None:
        """The same, of an earlier time."""
        self._noted.append(Event(at, "test", op, "ok", tuple(Cell(*c) for c in cells)))

    def events(self) -> list[Event]:
        """The whole history so far."""
        return self._noted + [
            Event(n["at"], n["process"], n["op"], n["kind"], tuple(Cell(*cell) for cell in n["cells"]))
            for client in self.clients
            for n in client.notes()
            if n["op"] in HISTORY_OPS
        ]

    def delivered(self) -> set[tuple[int, int]]:
        """(partition, offset) of all that was handed to the group."""
        return {(c.partition, c.offset) for e in self.events() if e.op == "poll" for c in e.cells}

    def await_delivered(self, timeout: float = DEADLINE_S) -> None:
        """Until the group has got everything that stands in the log now."""
        wanted = {(p, o) for p, log in self.logs().items() for o, _ in log.records}
        until = time.monotonic() + timeout
        while missing := wanted - self.delivered():
            assert time.monotonic() < until, (
                f"not delivered in {timeout} s: {len(missing)}, from {min(missing)} on"
            )
            time.sleep(0.05)

    def logs(self) -> dict[int, Log]:
        """The final read, past all that is tested: the stream's own entries, or Kafka's own client's."""
        return self._kafka_logs() if self.url.startswith("kafka://") else self._redis_logs()

    def _kafka_logs(self) -> dict[int, Log]:
        conf = {"bootstrap.servers": self.url.removeprefix("kafka://"), "group.id": "final-read"}
        consumer = confluent_kafka.Consumer(conf)
        logs = {}
        for partition in range(self.partitions):
            tp = TopicPartition(self.topic, partition)
            start, end = consumer.get_watermark_offsets(tp, DEADLINE_S)
            consumer.assign([TopicPartition(self.topic, partition, start)])
            records: list[tuple[int, str]] = []
            while not records or records[-1][0] < end - 1:
                [message] = consumer.consume(1, DEADLINE_S)
                assert message.error() is None, message.error()
                records.append((message.offset() or 0, (message.value() or b"").decode().rstrip()))
            logs[partition] = Log(start, end, records)
        consumer.close()
        return logs

    def _redis_logs(self) -> dict[int, Log]:
        keys = Keys("sa")
        logs = {}
        with redis.Redis.from_url(self.url) as client:
            for partition in range(self.partitions):
                start, end = map(int, client.hmget(keys.meta(self.topic, partition), "start", "end"))
                records: list[tuple[int, str]] = []
                for entry_id, fields in client.xrange(keys.log(self.topic, partition)):
                    last, count = map(int, entry_id.split(b"-"))
                    values = decode_batch(fields[b"b"], count).values
                    records += enumerate(((v or b"").decode().rstrip() for v in values), last - count + 1)
                kept = [(offset, value) for offset, value in records if offset >= start]
                logs[partition] = Log(start, end, kept)
        return logs

    def ends(self) -> dict[int, int]:
        """Log end offsets."""
        return {partition: log.end for partition, log in self.logs().items()}

    def acknowledged(self) -> int:
        """Number of sends that were acknowledged."""
        return sum(event.op == "send" and event.kind == "ok" for event in self.events())

    def await_acknowledged(self, more: int, timeout: float = DEADLINE_S) -> None:
        """Until `more` further sends were acknowledged."""
        wanted = self.acknowledged() + more
        eventually(lambda: self.acknowledged() >= wanted, f"{more} more acknowledgements", timeout)

    def finish(self) -> None:
        """End loops and flush; every record has its report afterwards."""
        for client in self.clients:
            client.check()
        for client in (c for c in self.clients if c.notes("send")):
            client.ask("flush")

    def assert_valid(self) -> None:
        """No invariant of guarantees.md is violated."""
        assert check(self.events(), self.logs()) == []

    def end(self) -> None:
        """Kill what is left."""
        for client in self.clients:
            client.end()


@pytest.fixture
def lab(tmp_path: Path, topic: str, group: str) -> Iterator[Lab]:
    directory = tmp_path / "lab"
    directory.mkdir()
    lab = Lab(directory, topic, group)
    yield lab
    lab.end()


@pytest.fixture
def kill_clients() -> Callable[[str], None]:
    """Cut all connections to a server but the one that asks for it."""

    def kill(url: str) -> None:
        with redis.Redis.from_url(url) as client:
            client.client_kill_filter(_type="normal", skipme=True)

    return kill


@pytest.fixture
def wait() -> Callable[..., Any]:
    """`eventually`, for tests: they cannot import from here."""
    return eventually
