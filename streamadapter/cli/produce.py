"""`streamadapter produce`: messages from the lines of stdin, as kafka-console-producer and kcat -P do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import click
from confluent_kafka import KafkaError

from streamadapter import Message, Producer
from streamadapter.cli.common import (
    client_options,
    config_option,
    examples,
    key_values,
    print_json,
    unescaped,
    use_config_file,
    warn,
)

PROPERTIES: Mapping[str, str] = {
    "parse.key": "false",
    "key.separator": "\t",
    "parse.headers": "false",
    "headers.delimiter": "\t",
    "headers.separator": ",",
    "headers.key.separator": ":",
    "null.marker": "",
}
"""--property names with defaults, those of kafka-console-producer's line reader."""

_SHOWN_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Line:
    """A message as a line of input says it."""

    value: bytes | None
    key: bytes | None = None
    headers: list[tuple[str, str | bytes | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LineFormat:
    """How a line is read: ``[headers DELIMITER][key SEPARATOR]value``."""

    key_separator: bytes | None
    headers_delimiter: bytes | None
    headers_separator: bytes
    headers_key_separator: bytes
    null_marker: bytes

    @classmethod
    def of(cls, properties: Mapping[str, str], key_delimiter: str | None) -> LineFormat:
        """From --property and -K. UsageError for an unknown property."""
        if unknown := sorted(properties.keys() - PROPERTIES.keys()):
            raise click.UsageError(f"unknown --property {unknown[0]}; known are {', '.join(PROPERTIES)}")
        given = {name: unescaped(text) for name, text in {**PROPERTIES, **properties}.items()}
        separator = given["key.separator"] if given["parse.key"].lower() == b"true" else None
        return cls(
            unescaped(key_delimiter) if key_delimiter is not None else separator,
            given["headers.delimiter"] if given["parse.headers"].lower() == b"true" else None,
            given["headers.separator"],
            given["headers.key.separator"],
            given["null.marker"],
        )

    def parse(self, line: bytes) -> Line:
        """Raises ValueError if a part is missing."""
        headers: list[tuple[str, str | bytes | None]] = []
        if self.headers_delimiter is not None:
            text, line = self._split(line, self.headers_delimiter, "headers")
            if text and not self._is_null(text):
                headers = [self._header(item) for item in text.split(self.headers_separator)]
        key = None
        if self.key_separator is not None:
            key, line = self._split(line, self.key_separator, "key")
        return Line(
            None if self._is_null(line) else line, None if key is None or self._is_null(key) else key, headers
        )

    def _split(self, line: bytes, separator: bytes, what: str) -> tuple[bytes, bytes]:
        before, found, after = line.partition(separator)
        if not found:
            raise ValueError(f"no {what} separator {separator.decode()!r} found")
        return before, after

    def _header(self, item: bytes) -> tuple[str, bytes | None]:
        key, found, value = item.partition(self.headers_key_separator)
        if not found:
            raise ValueError(f"no header separator {self.headers_key_separator.decode()!r} found")
        return key.decode(), None if self._is_null(value) else value

    def _is_null(self, part: bytes) -> bool:
        return bool(self.null_marker) and part == self.null_marker


class _Sender:
    """Sends and counts; waits while the queue is full."""

    def __init__(self, producer: Producer, topic: str, partition: int, sync: bool) -> None:
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._sync = sync
        self.delivered = 0
        self.failed = 0

    def send(self, line: Line) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    line.value,
                    line.key,
                    self._partition,
                    on_delivery=self._report,
                    headers=line.headers or None,
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)
        if self._sync:
            self._producer.flush()

    def _report(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.delivered += 1
            return
        self.failed += 1
        if self.failed <= _SHOWN_FAILURES:
            warn(f"error: not delivered: {error.str()} [{error.name()}]")


@click.command(
    epilog=examples(
        "echo 'hello' | streamadapter produce --topic orders",
        "streamadapter produce --topic orders -K : < keyed-lines.txt",
        "streamadapter produce --topic orders --property parse.key=true --property key.separator=, --sync",
        "streamadapter produce --topic orders -X acks=all -X compression.type=zstd < big.txt",
    )
)
@click.option("-t", "--topic", required=True, help="Topic to send to.")
@click.option("-p", "--partition", type=click.IntRange(min=-1), default=-1, help="-1: by key (default).")
@click.option("-K", "--key-delimiter", metavar="DELIM", help="Each line is KEY DELIM VALUE.")
@click.option(
    "--property",
    "--reader-property",
    "reader_properties",
    multiple=True,
    metavar="K=V",
    help=f"How lines are read: {', '.join(PROPERTIES)}.",
)
@click.option("--sync", is_flag=True, help="Wait for the acknowledgement of each line.")
@click.option("--json", "as_json", is_flag=True, help="Print what was delivered as JSON.")
@config_option
@client_options
def produce(
    conf: dict[str, Any],
    *,
    topic: str,
    partition: int,
    key_delimiter: str | None,
    reader_properties: tuple[str, ...],
    sync: bool,
    as_json: bool,
    config_file: Path | None,
) -> int:
    """Send each line of stdin as a message (Kafka's kafka-console-producer, kcat -P).

    Exit status 1 if any was not delivered.
    """
    line_format = LineFormat.of(key_values(reader_properties), key_delimiter)
    use_config_file(config_file)
    began = time.monotonic()
    with Producer(conf) as producer:
        sender = _Sender(producer, topic, partition, sync)
        try:
            for line in _parsed(sys.stdin.buffer, line_format):
                sender.send(line)
        finally:
            producer.flush()
    if as_json:
        seconds = round(time.monotonic() - began, 3)
        print_json(
            {"topic": topic, "delivered": sender.delivered, "failed": sender.failed, "seconds": seconds}
        )
    if sender.failed:
        warn(f"error: {sender.failed} of {sender.failed + sender.delivered} messages were not delivered")
    return 1 if sender.failed else 0


def _parsed(lines: BinaryIO | Iterable[bytes], line_format: LineFormat) -> Iterator[Line]:
    for number, line in enumerate(lines, 1):
        try:
            yield line_format.parse(line.removesuffix(b"\n").removesuffix(b"\r"))
        except ValueError as error:
            raise click.ClickException(f"line {number}: {error}") from None
