"""`streamadapter consume`: messages to stdout, as kafka-console-consumer and kcat -C do."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from streamadapter import Consumer, Message
from streamadapter.cli.common import (
    REQUEST_TIMEOUT_S,
    client_options,
    config_option,
    examples,
    key_values,
    on_terminal,
    reason,
    use_config_file,
    warn,
)
from streamadapter.cli.formats import Format, JsonFormat, PropertyFormat, TokenFormat, shown

# Manual assignment needs a group.id, as in confluent_kafka, but joins no group and commits nothing.
_NO_GROUP = "streamadapter-consume"
_POLL_S = 0.2
_BATCH = 500


@click.command(
    epilog=examples(
        "streamadapter consume --topic orders --from-beginning --max-messages 10",
        "streamadapter consume --topic orders --group billing --property print.key=true",
        "streamadapter consume --topic orders --partition 0 --offset 42 -e",
        r"streamadapter consume --include 'orders-.*' -f '%t %p %o %k %s\n'",
        "streamadapter consume --topic orders --from-beginning -e -J | jq .payload",
    )
)
@click.option("-t", "--topic", help="Topic to read.")
@click.option("--include", metavar="REGEX", help="Read the topics that match.")
@click.option(
    "-G", "--group", help="Read as a member of this group, and commit; without it nothing is committed."
)
@click.option(
    "--from-beginning", is_flag=True, help="Begin at the log start, not its end (if nothing is committed)."
)
@click.option("-p", "--partition", type=click.IntRange(min=0), help="This partition only.")
@click.option(
    "-o", "--offset", metavar="N|earliest|latest", help="Where to begin in --partition; -N: N from the end."
)
@click.option("-c", "--max-messages", type=click.IntRange(min=1), help="Stop after so many.")
@click.option("--timeout-ms", type=click.IntRange(min=1), help="Stop when no message came for so long.")
@click.option("-e", "--exit-eof", is_flag=True, help="Stop at the end of all partitions.")
@click.option(
    "--property",
    "--formatter-property",
    "formatter_properties",
    multiple=True,
    metavar="K=V",
    help="print.key, print.value, print.offset, print.partition, print.timestamp, print.headers (true or false); "
    "key.separator, line.separator, headers.separator, null.literal.",
)
@click.option(
    "-f",
    "--format",
    "tokens",
    metavar="FORMAT",
    help=r"%t topic, %p partition, %o offset, %k key, %K its length, %s value, %S its length, %T timestamp, "
    r"%h headers, %%; \n \t.",
)
@click.option("-J", "--json", "as_json", is_flag=True, help="One JSON object a line, as kcat -J.")
@config_option
@client_options
def consume(conf: dict[str, Any], *, config_file: Path | None, **flags: Any) -> None:
    """Print messages (Kafka's kafka-console-consumer, kcat -C)."""
    if bool(flags["topic"]) == bool(flags["include"]):
        raise click.UsageError("give either --topic or --include")
    if flags["offset"] is not None and flags["partition"] is None:
        raise click.UsageError("--offset needs --partition")
    if flags["partition"] is not None and (flags["group"] or flags["include"]):
        raise click.UsageError("--partition goes with --topic, and without --group")
    message_format = _format(flags)
    use_config_file(config_file)
    conf = {"auto.offset.reset": "earliest" if flags["from_beginning"] else "latest", **conf}
    conf["enable.partition.eof"] = flags["exit_eof"]
    if flags["group"]:
        conf |= {"group.id": flags["group"], "enable.auto.offset.store": False}
    else:
        conf |= {"group.id": conf.get("group.id", _NO_GROUP), "enable.auto.commit": False}
    printed = 0
    try:
        with _sigterm_unwinds(), Consumer(conf) as consumer:
            reading = _Reading(consumer)
            reading.start(flags)
            for batch in reading.batches(flags["max_messages"], flags["timeout_ms"]):
                _write(message_format, batch)
                printed += len(batch)
                if flags["group"]:
                    # Only now: what was not written must not be committed.
                    for message in batch:
                        consumer.store_offsets(message=message)
    finally:
        warn(f"Processed a total of {printed} messages")


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """So that `timeout 10 streamadapter consume ...` commits and leaves its group."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _format(flags: dict[str, Any]) -> Format:
    if flags["as_json"]:
        return JsonFormat()
    if flags["tokens"] is not None:
        return TokenFormat(flags["tokens"])
    return PropertyFormat(key_values(flags["formatter_properties"]))


def _write(message_format: Format, batch: Iterable[Message]) -> None:
    out = sys.stdout.buffer
    terminal = on_terminal()
    for message in batch:
        out.write(shown(message_format.format(message), terminal))
    out.flush()


class _Reading:
    """Which partitions are read, and when it is over."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._at_end: set[tuple[str | None, int | None]] = set()

    def start(self, flags: dict[str, Any]) -> None:
        """Subscribe with a group, else assign."""
        if flags["group"]:
            self._consumer.subscribe([flags["topic"] or "^" + flags["include"]])
            return
        known = self._consumer.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        if flags["topic"]:
            names = [flags["topic"]]
            if flags["topic"] not in known:
                raise click.ClickException(f"Topic '{flags['topic']}' does not exist.")
        else:
            names = [name for name in sorted(known) if re.fullmatch(flags["include"], name)]
            if not names:
                raise click.ClickException(f"No topic matches '{flags['include']}'.")
        begin = OFFSET_BEGINNING if flags["from_beginning"] else OFFSET_END
        tps = [
            TopicPartition(name, partition, begin) for name in names for partition in known[name].partitions
        ]
        if flags["partition"] is not None:
            tps = [tp for tp in tps if tp.partition == flags["partition"]]
            if not tps:
                raise click.ClickException(f"Topic '{names[0]}' has no partition {flags['partition']}.")
            tps[0].offset = self._offset(tps[0], flags["offset"]) if flags["offset"] else begin
        self._consumer.assign(tps)

    def _offset(self, tp: TopicPartition, text: str) -> int:
        if text in ("earliest", "beginning"):
            return OFFSET_BEGINNING
        if text in ("latest", "end"):
            return OFFSET_END
        try:
            number = int(text)
        except ValueError:
            raise click.UsageError(f"--offset: expected a number, earliest or latest, not {text!r}") from None
        if number >= 0:
            return number
        low, high = self._consumer.get_watermark_offsets(tp, timeout=REQUEST_TIMEOUT_S)
        return max(int(low), int(high) + number)

    def batches(self, limit: int | None, timeout_ms: int | None) -> Iterator[list[Message]]:
        """Messages until the limit, the time-out or the end of the partitions, whichever is asked for."""
        left = sys.maxsize if limit is None else limit
        last = time.monotonic()
        over = False
        while left > 0 and not over:
            received = self._consumer.consume(min(_BATCH, left), _POLL_S)
            batch = []
            for message in received:
                if (error := message.error()) is None:
                    batch.append(message)
                else:
                    over = self._is_over(message, error)
            if batch:
                yield batch
                left -= len(batch)
                last = time.monotonic()
            elif timeout_ms is not None and (time.monotonic() - last) * 1000 >= timeout_ms:
                return

    def _is_over(self, message: Message, error: KafkaError) -> bool:
        if error.code() == KafkaError._PARTITION_EOF:
            self._at_end.add((message.topic(), message.partition()))
            return all((tp.topic, tp.partition) in self._at_end for tp in self._consumer.assignment())
        if error.fatal() or not error.retriable():
            raise KafkaException(error)
        warn(f"warning: {reason(KafkaException(error))}")
        return False
