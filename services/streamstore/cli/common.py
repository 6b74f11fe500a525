"""What the commands share: the configuration, the end by a signal, errors in one line."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from streamadapter import KafkaException
from streamadapter.backend import Features
from streamadapter.config import load
from streamadapter.registry import backend_of
from streamstore.order.outbox import ConflictError
from streamstore.replaying.online_retail import FormatError
from streamstore.replaying.replay import ReplayError
from streamstore.replaying.report import BooksError
from streamstore.running.fleet import ServiceError
from streamstore.running.up import UpError
from streamstore.settings import Settings, SettingsError, load_settings

CONFIG_VARIABLE = "STREAMADAPTER_CONFIG"

config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Config file; default: $STREAMADAPTER_CONFIG, else streamadapter.toml, else the embedded server.",
)

until_eof_option = click.option(
    "--until-eof", is_flag=True, hidden=True, help="Stop when standard input closes."
)


def load_shop(config: Path | None) -> tuple[Features, Settings]:
    """What the backend can do, and our settings; clients and child processes find the same file."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    found = load()
    directory = Path(os.environ.get(CONFIG_VARIABLE, "")).parent
    url, _ = found.connection()
    return backend_of(url).features, load_settings(found.streamstore, directory)


def require_processes(backend: Features) -> None:
    """Raise ClickException where several processes cannot share a log."""
    if not backend.processes:
        raise click.ClickException(
            f"a log on {backend.name} is seen by one process only: use streamstore replay"
        )


def stop_event(until_eof: bool) -> threading.Event:
    """Set on SIGTERM and Ctrl-C, and, if asked for, when standard input closes: the parent has ended."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if until_eof:
        threading.Thread(target=_stop_at_eof, args=(stop,), daemon=True).start()
    return stop


def _stop_at_eof(stop: threading.Event) -> None:
    # Not sys.stdin.read(): at exit the interpreter would abort over the lock that it holds.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()


def require_events(settings: Settings) -> None:
    """Raise ClickException in the architecture without a log, which takes orders over HTTP only."""
    if settings.architecture != "events":
        raise click.ClickException(
            f"a file is replayed into a log; the {settings.architecture} architecture has none"
        )


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does, with what we started stopped first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """What can go wrong outside of this program, as a ClickException."""
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
        UpError,
    ) as error:
        raise click.ClickException(str(error).partition("\n")[0]) from error
