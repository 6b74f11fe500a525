"""`streamstore up`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click
from rich.console import Console

from streamstore.app import ALL
from streamstore.cli.common import config_option, errors_in_one_line, load_shop, require_processes
from streamstore.running.up import up
from streamstore.settings import PORTS

MAX_INSTANCES = 64
EXAMPLES = """\b
Examples:
  streamstore up
  streamstore up --instances billing=3 --traffic
  streamstore up --architecture synchronous --port 9000
"""


def scalings(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    """A callback: `billing=3` is a service and how many instances of it. Raises BadParameter."""
    return tuple(map(_scaling, values))


def _scaling(value: str) -> tuple[str, int]:
    service, _, number = value.partition("=")
    if service not in ALL:
        raise click.BadParameter(f"no service {service!r}; there are {', '.join(ALL)}")
    if not (number.isdecimal() and int(number) <= MAX_INSTANCES):
        raise click.BadParameter(f"{value!r}: instances are a number from 0 to {MAX_INSTANCES}")
    return service, int(number)


@click.command(name="up", epilog=EXAMPLES)
@config_option
@click.option(
    "--architecture",
    type=click.Choice(["events", "synchronous"]),
    help="How services speak to each other: through topics, or by calling each other over HTTP.",
)
@click.option(
    "--instances",
    metavar="SERVICE=N",
    callback=scalings,
    multiple=True,
    help="More than one process of a service; repeatable.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535 - len(PORTS) + 1),
    help="The order service's; the dashboard and the other services have those after it.",
)
@click.option("--traffic", is_flag=True, help="Customers, couriers and chats as well.")
@click.option(
    "--drain",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    help="Seconds that the services may take, after Ctrl-C, to handle what has been accepted.",
)
def up_command(
    config: Path | None,
    architecture: str | None,
    instances: tuple[tuple[str, int], ...],
    port: int | None,
    traffic: bool,
    drain: float,
) -> None:
    """Run the whole shop: every service a process, restarted when it crashes, and a dashboard.

    Ctrl-C stops the order service first, lets the others handle what was accepted, and leaves nothing behind;
    a second one stops at once.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with errors_in_one_line():
        backend, settings = load_shop(config)
        require_processes(backend)
        chosen = {"architecture": architecture, "port": port}
        settings = settings.model_copy(update={k: v for k, v in chosen.items() if v is not None})
        status = up(settings, backend.name, dict(instances), drain, Console(), traffic=traffic)
    sys.exit(status)
