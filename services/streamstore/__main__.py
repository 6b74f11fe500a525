"""The command `streamstore`: parses arguments and configuration; the work is done elsewhere."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from streamadapter import KafkaException
from streamadapter.backend import Features
from streamadapter.config import load
from streamadapter.registry import backend_of
from streamstore.app import SERVICES, run_service
from streamstore.demo import demo
from streamstore.fleet import Processes, ServiceError, Threads
from streamstore.locks import running
from streamstore.online_retail import FormatError
from streamstore.order import ConflictError
from streamstore.replay import ReplayError, replay, report_table, services_table
from streamstore.report import BooksError
from streamstore.settings import Settings, SettingsError, load_settings

CONFIG_VARIABLE = "STREAMADAPTER_CONFIG"

config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Config file; default: $STREAMADAPTER_CONFIG, else streamadapter.toml, else the embedded server.",
)


@click.group()
def main() -> None:
    """StreamStore: a gift shop of five services on streams of events."""


@main.command()
@click.argument("service", type=click.Choice(SERVICES))
@config_option
@click.option("--until-eof", is_flag=True, hidden=True, help="Stop when standard input closes.")
def run(service: str, config: Path | None, until_eof: bool) -> None:
    """Run one SERVICE until SIGTERM or Ctrl-C, then leave its group cleanly."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if until_eof:
        threading.Thread(target=_stop_at_eof, args=(stop,), daemon=True).start()
    with _errors_in_one_line():
        backend, settings = _load(config)
        if not backend.processes:
            raise click.ClickException(
                f"a log on {backend.name} is seen by one process only: use streamstore replay"
            )
        with running(settings.data_dir, service):
            run_service(service, settings, stop)


@main.command(name="replay")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures as JSON.")
def replay_command(file: Path, config: Path | None, report: Path | None) -> None:
    """Publish every order of FILE and wait until every service has handled all of them.

    FILE is CSV in the format of the UCI data set "Online Retail". Services that are not running are started,
    and stopped at the end. Exit status 0 only if everything arrived.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with _errors_in_one_line(), _interruptible():
        backend, settings = _load(config)
        # Where another process would not see the log of this one, services are threads.
        with Processes(settings) if backend.processes else Threads(settings) as fleet:
            result, last = replay(file, settings, backend.name, fleet, Console(stderr=True))
        Console().print(report_table(result), services_table(last, result))
        if report is not None:
            report.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")


@main.command(name="demo")
def demo_command() -> None:
    """Start an embedded server and all services, replay a sample, stop and restart a service half-way."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with _errors_in_one_line(), _interruptible():
        demo(Console())


def _load(config: Path | None) -> tuple[Features, Settings]:
    """What the backend can do, and our settings; clients and child processes find the same file."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    found = load()
    directory = Path(os.environ.get(CONFIG_VARIABLE, "")).parent
    url, _ = found.connection()
    return backend_of(url).features, load_settings(found.streamstore, directory)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does, with what we started stopped first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise click.ClickException(error.args[0].str()) from error
    except (
        BooksError,
        ConflictError,
        FormatError,
        ModuleNotFoundError,  # the driver of the database's URL
        OSError,
        ReplayError,
        ServiceError,
        SettingsError,
        SQLAlchemyError,
    ) as error:
        raise click.ClickException(str(error).partition("\n")[0]) from error


def _stop_at_eof(stop: threading.Event) -> None:
    # Not sys.stdin.read(): at exit the interpreter would abort over the lock that it holds.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()


if __name__ == "__main__":
    main()
