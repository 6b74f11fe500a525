"""`streamadapter server`: start, stop and look at the private server behind embedded://."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import click

from streamadapter.backend import ENTRY_POINTS
from streamadapter.config import load
from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class ServerControl(Protocol):
    """What a backend module offers as `server_control` if it runs servers of its own. Methods raise StoreError."""

    def start(self, url: str) -> Mapping[str, Any]:
        """Start the server, to stay up without clients; returns its status."""
        ...

    def stop(self, url: str, *, force: bool = False) -> Mapping[str, Any]:
        """Stop the server; refused while clients use it, unless forced. Returns its status."""
        ...

    def status(self, url: str) -> Mapping[str, Any]:
        """A plain table; changes nothing.

        Always: state (running, loading, not answering, stopped), path. If the directory exists: data_bytes, keep
        (stays up without clients). If alive: socket, users (pids, None if unknown), and if it answers: pid,
        version, memory_bytes, connections, uptime_s.
        """
        ...


def _control() -> ServerControl:
    """The embedded backend's; found by its entry point, for the core imports no backend."""
    for entry in entry_points(group=ENTRY_POINTS, name="embedded"):
        control: ServerControl = importlib.import_module(entry.module).server_control
        return control
    raise click.ClickException("the embedded backend is not installed: install streamadapter again")


def _url(path: Path | None, config: Path | None) -> str:
    """Of the directory given, else of the config file's."""
    if path is not None:
        return f"embedded://{quote(str(path))}"
    return load(config).model_copy(update={"backend": "embedded"}).connection()[0]


def _report(ask: Callable[[], Mapping[str, Any]], as_json: bool) -> None:
    try:
        status = ask()
    except StoreError as error:
        raise error.kafka_exception() from error  # which `main` prints in one line
    click.echo(json.dumps(status) if as_json else _table(status))


def _table(status: Mapping[str, Any]) -> str:
    """One row a line, `-` for what is unknown."""
    return "\n".join(f"{name.replace('_', ' '):<14} {_cell(name, value)}" for name, value in status.items())


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return f"{value:,}" if name.endswith("_bytes") else str(value)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object for machines."),
        click.option("--config", type=click.Path(path_type=Path), help="Config file to take the path from."),
        click.option("--path", type=click.Path(path_type=Path), help="Data directory of the server."),
    ):
        command = option(command)
    return command


@click.group()
def server() -> None:
    """Control the private server behind embedded:// (clients start and stop it on their own)."""


@server.command()
@_options
def start(path: Path | None, config: Path | None, as_json: bool) -> None:
    """Start the server, and keep it running while no client is there."""
    _report(lambda: _control().start(_url(path, config)), as_json)


@server.command()
@click.option(
    "--force", is_flag=True, help="Stop it under its clients; they start it again when they need it."
)
@_options
def stop(path: Path | None, config: Path | None, as_json: bool, force: bool) -> None:
    """Stop the server; refused while clients use it."""
    _report(lambda: _control().stop(_url(path, config), force=force), as_json)


@server.command()
@_options
def status(path: Path | None, config: Path | None, as_json: bool) -> None:
    """Show whether it runs, where, since when, for whom, and how large it is."""
    _report(lambda: _control().status(_url(path, config)), as_json)
