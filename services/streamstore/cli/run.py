"""`streamstore run`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

import click

from streamstore.app import ALL, run_service
from streamstore.cli.common import config_option, errors_in_one_line, load_shop, require_processes
from streamstore.locks import running


@click.command()
@click.argument("service", type=click.Choice(ALL))
@config_option
@click.option(
    "--http/--no-http", default=True, help="Whether the service answers HTTP, if it has an interface."
)
@click.option("--until-eof", is_flag=True, hidden=True, help="Stop when standard input closes.")
def run(service: str, config: Path | None, http: bool, until_eof: bool) -> None:
    """Run one SERVICE until SIGTERM or Ctrl-C, then leave its group cleanly."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if until_eof:
        threading.Thread(target=_stop_at_eof, args=(stop,), daemon=True).start()
    with errors_in_one_line():
        backend, settings = load_shop(config)
        require_processes(backend)
        with running(settings.data_dir, service):
            run_service(service, settings, stop, http=http)


def _stop_at_eof(stop: threading.Event) -> None:
    # Not sys.stdin.read(): at exit the interpreter would abort over the lock that it holds.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()
