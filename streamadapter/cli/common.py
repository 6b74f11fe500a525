"""Options, output and small parsers that the commands share."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import click
from confluent_kafka import KafkaError

T = TypeVar("T")
K = TypeVar("K")
Command = Callable[..., Any]

MISSING = "-"
REQUEST_TIMEOUT_S = 15.0
"""Of requests to the server; -X socket.timeout.ms changes it. People do not wait for Kafka's minute."""

_DEFAULTS = {
    "socket.timeout.ms": int(REQUEST_TIMEOUT_S * 1000),
    "log_level": 0,  # errors are reported in one line; librdkafka logs twenty a second of a broker that is down
}

config_option = click.option("--config", "config_file", type=click.Path(path_type=Path), help="Config file.")


def client_options(command: Command) -> Command:
    """--bootstrap-server and -X; the command gets them as `conf`, a configuration for any client."""

    @functools.wraps(command)
    def with_conf(*, bootstrap_server: str | None, properties: tuple[str, ...], **others: Any) -> Any:
        conf: dict[str, Any] = _DEFAULTS | key_values(properties)
        if bootstrap_server:
            conf["bootstrap.servers"] = bootstrap_server
        return command(conf=conf, **others)

    for option in (
        click.option(
            "-X", "--command-property", "properties", multiple=True, metavar="K=V", help="Client property."
        ),
        click.option(
            "-b", "--bootstrap-server", metavar="URL", help="Server; without it, the config file's."
        ),
    ):
        with_conf = option(with_conf)
    return with_conf


def timeout_s(conf: Mapping[str, Any]) -> float:
    """For the calls that would wait without end on Kafka."""
    return int(conf["socket.timeout.ms"]) / 1000


def use_config_file(path: Path | None) -> None:
    """Make the clients of this process read this config file."""
    if path is not None:
        os.environ["STREAMADAPTER_CONFIG"] = str(path)


def examples(*lines: str) -> str:
    """An epilog that click does not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def one_action(chosen: Mapping[str, bool]) -> str:
    """The one flag of several that is set. UsageError otherwise."""
    actions = [name for name, given in chosen.items() if given]
    if len(actions) != 1:
        raise click.UsageError(f"give exactly one of {', '.join(f'--{name}' for name in chosen)}")
    return actions[0]


def key_values(pairs: Iterable[str]) -> dict[str, str]:
    """``k=v`` strings as a dict. UsageError for one without "="."""
    parsed = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise click.UsageError(f"expected K=V, not {pair!r}")
        parsed[key] = value
    return parsed


def unescaped(text: str) -> bytes:
    r"""``\n``, ``\t``, ``\r``, ``\\`` and ``\xNN`` as one types them in a shell, in bytes."""

    def byte(match: re.Match[bytes]) -> bytes:
        escape = match[1]
        return bytes.fromhex(escape[1:].decode()) if escape[:1] == b"x" else _ESCAPES[escape]

    return re.sub(rb"\\(x[0-9a-fA-F]{2}|[ntr\\])", byte, text.encode())


_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"\\": b"\\"}


def topic_partitions(text: str) -> tuple[str, list[int] | None]:
    """``topic`` or ``topic:0,1``, as Kafka's tools write it. UsageError for anything else."""
    topic, separator, numbers = text.partition(":")
    if not separator:
        return topic, None
    try:
        return topic, [int(number) for number in numbers.split(",")]
    except ValueError:
        raise click.UsageError(f"expected TOPIC or TOPIC:PARTITION,..., not {text!r}") from None


def results(futures: Mapping[K, Future[T]]) -> dict[K, T]:
    """Wait for all of an admin call's futures, which end by its time-out. Raises the first error of them."""
    failures = [error for future in futures.values() if (error := future.exception()) is not None]
    if failures:
        raise failures[0]
    return {key: future.result() for key, future in futures.items()}


def reason(error: Exception) -> str:
    """The message of an error, with its name for those who look it up."""
    detail = error.args[0] if error.args else None
    return f"{detail.str()} [{detail.name()}]" if isinstance(detail, KafkaError) else str(error)


def one_line(text: str) -> str:
    """`text` in one line, safe to show on a terminal."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """Without control characters but tab and line feed: others can drive a terminal."""
    return "".join(c for c in text if c in "\t\n" or unicodedata.category(c) != "Cc")


def print_json(value: Any) -> None:
    """One JSON value in one line; anything that JSON lacks as its str()."""
    click.echo(json.dumps(value, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Columns as wide as their longest cell, two spaces apart, as Kafka's tools print them."""
    table = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def warn(message: str) -> None:
    """A line on stderr that is not an error."""
    click.echo(one_line(message), err=True)


def on_terminal() -> bool:
    """Whether what is printed goes to a terminal."""
    return sys.stdout.isatty()


def _cell(value: Any) -> str:
    return MISSING if value is None or value == "" else printable(str(value))
