"""`streamstore run`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from streamstore.app import ALL, run_service
from streamstore.cli.common import (
    config_option,
    errors_in_one_line,
    load_shop,
    require_processes,
    stop_event,
    until_eof_option,
)
from streamstore.running.locks import running


@click.command()
@click.argument("service", type=click.Choice(ALL))
@config_option
@click.option(
    "--http/--no-http", default=True, help="Whether the service answers HTTP, if it has an interface."
)
@until_eof_option
def run(service: str, config: Path | None, http: bool, until_eof: bool) -> None:
    """Run one SERVICE until SIGTERM or Ctrl-C, then leave its group cleanly."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = stop_event(until_eof)
    with errors_in_one_line():
        backend, settings = load_shop(config)
        require_processes(backend)
        with running(settings.data_dir, service), running(settings.data_dir, settings.instance or service):
            run_service(service, settings, stop, http=http)
