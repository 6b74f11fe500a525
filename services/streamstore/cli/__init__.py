"""The command `streamstore`: a file a command; they parse, and the work is done elsewhere."""

from __future__ import annotations

import click

from streamstore.cli.dead_letters import dead_letters_command
from streamstore.cli.demo import demo_command
from streamstore.cli.invoice import invoice_command
from streamstore.cli.replay import replay_command
from streamstore.cli.run import run
from streamstore.cli.scale import scale
from streamstore.cli.traffic import traffic
from streamstore.cli.up import up_command


@click.group()
def main() -> None:
    """StreamStore: a gift shop of services on streams of events."""


for command in (
    up_command,
    scale,
    traffic,
    run,
    replay_command,
    demo_command,
    invoice_command,
    dead_letters_command,
):
    main.add_command(command)
