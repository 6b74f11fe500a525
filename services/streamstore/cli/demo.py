"""`streamstore demo`."""

from __future__ import annotations

import logging

import click
from rich.console import Console

from streamstore.cli.common import errors_in_one_line, interruptible
from streamstore.replaying.demo import demo


@click.command(name="demo")
def demo_command() -> None:
    """Start an embedded server and all services, replay a sample, stop and restart a service half-way."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with errors_in_one_line(), interruptible():
        demo(Console())
