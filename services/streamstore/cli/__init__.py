"""The command `streamstore`: a file a command; they parse, and the work is done elsewhere."""

from __future__ import annotations

import click

from streamstore.cli.demo import demo_command
from streamstore.cli.replay import replay_command
from streamstore.cli.run import run


@click.group()
def main() -> None:
    """StreamStore: a gift shop of services on streams of events."""


for command in (run, replay_command, demo_command):
    main.add_command(command)
