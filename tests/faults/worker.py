"""A client in a process of its own: does what it is told on stdin, and notes each step in a file.

    python worker.py producer|consumer NAME EVENTS TOPIC CONF      (CONF: properties as JSON)

Commands and notes are JSON, one a line. A note is one write(2), made before what it announces (invoke) or after what
it reports, so a process that is killed has not done anything unannounced. A command that repeats ends when the next
one comes; the end of stdin ends the process without close().
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from streamadapter import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

KEYS = 40
CERTAINLY_FAILED = (KafkaError._PURGE_QUEUE, KafkaError.MSG_SIZE_TOO_LARGE)
RESETS = (KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE)


class Worker:
    """What producers and consumers have in common."""

    def __init__(self, name: str, events: str, topic: str) -> None:
        self.name = name
        self.topic = topic
        self._file = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._unread = b""

    def note(self, op: str, kind: str = "ok", cells: Any = (), **more: Any) -> None:
        event = {
            "at": time.monotonic(),
            "process": self.name,
            "op": op,
            "kind": kind,
            "cells": list(cells),
            **more,
        }
        os.write(self._file, json.dumps(event).encode() + b"\n")

    def note_error(self, error: KafkaError) -> None:
        code = error.code()
        self.note("error", code=KafkaError(code).name(), reason=error.str(), fatal=error.fatal())
        if code in RESETS:
            partition = re.search(r"\[(\d+)\]", error.str())
            self.note("jump", cells=[(int(partition[1]) if partition else -1, -1, "")])

    def told(self) -> bool:
        """Whether another command waits."""
        return b"\n" in self._unread or bool(select.select([0], [], [], 0)[0])

    def commands(self) -> Iterator[dict[str, Any]]:
        while True:
            line, found, rest = self._unread.partition(b"\n")
            if found:
                self._unread = rest
                yield json.loads(line)
            elif chunk := os.read(0, 65536):
                self._unread += chunk
            else:
                return

    def run(self) -> None:
        self.note("ready")
        for number, command in enumerate(self.commands()):
            do: Callable[..., None] = getattr(self, "do_" + command.pop("do"))
            do(**command)
            self.note("done", number=number)


class ProducerWorker(Worker):
    """Sends records with unique values; their keys choose the partition as Kafka's default partitioner does."""

    def __init__(self, name: str, events: str, topic: str, conf: dict[str, Any]) -> None:
        super().__init__(name, events, topic)
        self._producer = Producer({**conf, "error_cb": self.note_error})
        self._partitions = len(self._producer.list_topics(topic, 30).topics[topic].partitions)
        self._sent = 0

    def do_produce(self, count: int, size: int = 0) -> None:
        for _ in range(count):
            self._send(size)
        self._producer.poll(0)

    def do_loop(self, burst: int = 10, pause: float = 0.005, size: int = 0) -> None:
        while not self.told():
            for _ in range(burst):
                self._send(size)
            self._producer.poll(pause)
            time.sleep(pause)

    def do_flush(self, seconds: float = 30) -> None:
        self.note("flushed", left=self._producer.flush(seconds))

    def do_close(self) -> None:
        self._producer.close()

    def _send(self, size: int) -> None:
        key = f"key-{self._sent % KEYS}".encode()
        partition = zlib.crc32(key) % self._partitions
        value = f"{self.name}-{self._sent}"
        self._sent += 1
        self.note("send", "invoke", [(partition, -1, value)])
        while True:
            try:
                self._producer.produce(self.topic, value.ljust(size), key, on_delivery=self._reported)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        value = (message.value() or b"").decode().rstrip()
        if error is None:
            self.note("send", "ok", [(message.partition(), message.offset(), value)])
        else:
            kind = "fail" if error.code() in CERTAINLY_FAILED else "info"
            self.note("send", kind, [(message.partition(), -1, value)], code=error.name())


class ConsumerWorker(Worker):
    """Reads, and commits synchronously what it has read."""

    def __init__(self, name: str, events: str, topic: str, conf: dict[str, Any]) -> None:
        super().__init__(name, events, topic)
        self._positions: dict[int, int] = {}  # read, not committed
        self._consumer = Consumer({**conf, "error_cb": self.note_error})
        self._consumer.subscribe(
            [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def do_poll(self, limit: int = 100, seconds: float = 5) -> None:
        """Until something comes, or the timeout."""
        until = time.monotonic() + seconds
        while self._poll(limit, 0.1) == 0 and time.monotonic() < until:
            pass

    def do_block(self, seconds: float) -> None:
        """One call of poll() that waits."""
        message = self._consumer.poll(seconds)
        self._take([message] if message else [])

    def do_commit(self) -> None:
        self._commit()

    def do_loop(self, limit: int = 100, pause: float = 0.0, commit: bool = True) -> None:
        while not self.told():
            taken = self._poll(limit, 0.05)
            time.sleep(pause)
            if taken and commit:
                self._commit()

    def do_close(self) -> None:
        self._consumer.close()

    def _poll(self, limit: int, timeout: float) -> int:
        return self._take(self._consumer.consume(limit, timeout))

    def _take(self, messages: list[Message]) -> int:
        cells = []
        for message in messages:
            if (error := message.error()) is not None:
                self.note_error(error)
                continue
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            cells.append((partition, offset, (message.value() or b"").decode().rstrip()))
            self._positions[partition] = offset + 1
        if cells:
            self.note("poll", cells=cells)
        return len(cells)

    def _commit(self) -> None:
        if not self._positions:
            return
        cells = [(partition, offset, "") for partition, offset in self._positions.items()]
        self.note("commit", "invoke", cells)
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as failure:
            error = failure.args[0]
            timed_out = error.code() in (
                KafkaError._TIMED_OUT,
                KafkaError.REQUEST_TIMED_OUT,
                KafkaError._TRANSPORT,
                KafkaError._WAIT_COORD,
            )
            self.note("commit", "info" if timed_out else "fail", cells, code=KafkaError(error.code()).name())
        else:
            self.note("commit", "ok", cells)
            self._positions.clear()

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self.note("assign", cells=[(tp.partition, -1, "") for tp in partitions])

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit()
        self._gone("revoke", partitions)

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._gone("lost", partitions)

    def _gone(self, how: str, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            self._positions.pop(tp.partition, None)
        self.note("revoke", cells=[(tp.partition, -1, "") for tp in partitions], how=how)


def main(role: str, name: str, events: str, topic: str, conf: str) -> None:
    kinds = {"producer": ProducerWorker, "consumer": ConsumerWorker}
    kinds[role](name, events, topic, json.loads(conf)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
