"""`streamstore replay`."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click
from rich.console import Console

from streamstore.cli.common import config_option, errors_in_one_line, interruptible, load_shop, require_events
from streamstore.replaying.replay import replay, report_table, services_table
from streamstore.running.fleet import Processes, Threads


@click.command(name="replay")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures as JSON.")
def replay_command(file: Path, config: Path | None, report: Path | None) -> None:
    """Publish every order of FILE and wait until every service has handled all of them.

    FILE is CSV in the format of the UCI data set "Online Retail". Services that are not running are started,
    and stopped at the end. Exit status 0 only if everything arrived.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with errors_in_one_line(), interruptible():
        backend, settings = load_shop(config)
        require_events(settings)
        # Where another process would not see the log of this one, services are threads.
        with Processes(settings) if backend.processes else Threads(settings) as fleet:
            result, last = replay(file, settings, backend.name, fleet, Console(stderr=True))
        Console().print(report_table(result), services_table(last, result))
        if report is not None:
            report.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
