"""`streamstore traffic`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from streamstore.cli.common import (
    config_option,
    errors_in_one_line,
    load_shop,
    stop_event,
    until_eof_option,
)
from streamstore.running.locks import running
from streamstore.running.traffic import make_traffic


@click.command(name="traffic")
@config_option
@click.option("--orders-per-second", type=click.FloatRange(0), default=5.0, show_default=True)
@click.option("--couriers", type=click.IntRange(0, 1000), default=12, show_default=True)
@click.option("--chat-per-second", type=click.FloatRange(0), default=0.5, show_default=True)
@until_eof_option
def traffic(
    config: Path | None, orders_per_second: float, couriers: int, chat_per_second: float, until_eof: bool
) -> None:
    """Invent customers, couriers and chats for a running shop, over HTTP, until SIGTERM or Ctrl-C.

    Not a load test: `make load` is. A service that is away is waited for.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = stop_event(until_eof)
    with errors_in_one_line():
        _, settings = load_shop(config)
        with running(settings.data_dir, settings.instance or "traffic"):
            make_traffic(settings, stop, orders_per_second, couriers, chat_per_second)
