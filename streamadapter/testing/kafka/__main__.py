"""`python -m streamadapter.testing.kafka`: a real Apache Kafka on this machine, without Docker."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from streamadapter.testing.kafka import daemon, jars

Command = Callable[..., Any]

_directory = click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=jars.HOME,
    show_default=True,
    help="Jars, data, logs.",
)


def _one_line_errors(command: Command) -> Command:
    """What fails for a reason that the user can mend ends in a message and exit status 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except (OSError, RuntimeError) as error:
            raise click.ClickException(str(error)) from error

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Start and stop real Apache Kafka brokers on loopback (KRaft, no Docker)."""


@main.command()
@_directory
@_one_line_errors
def install(directory: Path) -> None:
    """Resolve Kafka's jars from Maven Central, unless they are there."""
    click.echo(f"Apache Kafka {jars.version()} in {jars.install(directory)}")


@main.command()
@click.option(
    "--brokers", type=click.IntRange(1, 9), default=1, show_default=True, help="Size of the cluster."
)
@click.option(
    "--port", type=click.IntRange(1, 65_000), default=9092, show_default=True, help="Of the first broker."
)
@_directory
@_one_line_errors
def start(directory: Path, brokers: int, port: int) -> None:
    """Start brokers that run until `stop`; print their URL once they serve. They keep their data."""
    cluster, already = daemon.start(directory, brokers, port)
    click.echo(
        f"Kafka {'was running already' if already else 'runs'}: {cluster.url} (logs: {cluster.directory})"
    )


@main.command()
@_directory
@_one_line_errors
def stop(directory: Path) -> None:
    """Stop the brokers, if any run; nobody else's process is touched."""
    cluster = daemon.stop(directory)
    click.echo(f"Kafka stopped: {cluster.url}" if cluster else "Kafka was not running")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object for machines.")
@_directory
@_one_line_errors
def status(directory: Path, as_json: bool) -> None:
    """Show which brokers run, and where."""
    cluster = daemon.status(directory)
    report: dict[str, Any] = {"state": "stopped"}
    if cluster:
        pids = cluster.pids()
        report = {
            "state": "running" if len(pids) == cluster.brokers else "incomplete",
            "url": cluster.url,
            "brokers": cluster.brokers,
            "pids": pids,
            "directory": str(cluster.directory),
        }
    click.echo(json.dumps(report) if as_json else "\n".join(f"{k:<10} {_cell(v)}" for k, v in report.items()))


def _cell(value: Any) -> str:
    return " ".join(f"{k}:{v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


if __name__ == "__main__":
    main(prog_name="python -m streamadapter.testing.kafka")
