"""`streamstore dead-letters`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamstore.cli.common import (
    config_option,
    errors_in_one_line,
    interruptible,
    load_shop,
    require_processes,
)
from streamstore.dead_letters import DeadLetter, Ledger, read_ledger, replay
from streamstore.settings import Settings

NONE = "No dead letters."
COLUMNS = ("id", "service", "origin", "key", "reason", "attempts", "at")


@click.group(name="dead-letters")
def dead_letters_command() -> None:
    """Records that a service could not handle: see them, and replay them once the cause is mended."""


@dead_letters_command.command(
    name="list",
    epilog="""\b
Examples:
  streamstore dead-letters list
  streamstore dead-letters list --all --json | jq '.[] | select(.service == "billing")'""",
)
@config_option
@click.option("--all", "replayed_too", is_flag=True, help="Those that were replayed, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for machines.")
def list_command(config: Path | None, *, replayed_too: bool, as_json: bool) -> None:
    """Show the dead letters that were not replayed yet."""
    with errors_in_one_line(), interruptible():
        ledger = read_ledger(_shop(config).dead_letter_topic)
        rows = [_row(ledger, letter) for letter in (ledger.all() if replayed_too else ledger.open())]
        if as_json:
            click.echo(json.dumps(rows))
        elif rows:
            Console().print(_table((*COLUMNS, "replayed") if replayed_too else COLUMNS, rows))
        else:
            click.echo(NONE)


@dead_letters_command.command(
    name="replay",
    epilog="""\b
Examples:
  streamstore dead-letters replay 2:14 0:3
  streamstore dead-letters replay --all""",
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All that were not replayed yet.")
@config_option
def replay_command(ids: Sequence[str], config: Path | None, *, everything: bool) -> None:
    """Send dead letters to the service that failed at them, once more.

    ID is the partition:offset that `list` shows. The other services pass over what is replayed. What fails again
    is a dead letter again, with all its attempts counted.
    """
    if everything == bool(ids):
        raise click.UsageError("give either the IDs of dead letters or --all")
    with errors_in_one_line(), interruptible():
        topic = _shop(config).dead_letter_topic
        ledger = read_ledger(topic)
        chosen = ledger.open() if everything else _chosen(ledger, ids)
        if everything and not chosen:
            click.echo(NONE)
        whole = [letter for letter in chosen if not letter.omitted]
        for letter in replay(topic, whole):
            click.echo(f"{letter.id}: {_printable(letter.origin)} again, for {_printable(letter.service)}")
        if omitted := [letter for letter in chosen if letter.omitted]:
            places = ", ".join(f"{letter.id} (of {_printable(letter.origin)})" for letter in omitted)
            raise click.ClickException(f"too large to have been kept, publish them anew: {places}")


def _shop(config: Path | None) -> Settings:
    logging.basicConfig(level=logging.ERROR, format="%(message)s")  # a call that fails says why
    backend, settings = load_shop(config)
    require_processes(backend)
    return settings


def _chosen(ledger: Ledger, ids: Sequence[str]) -> list[DeadLetter]:
    """Those of the ids that were not replayed yet. Raises ClickException for an id that there is not."""
    chosen = []
    for name in dict.fromkeys(ids):
        letter = ledger.letters.get(name)
        if letter is None:
            raise click.ClickException(f"no dead letter {name}: see streamstore dead-letters list")
        if ledger.is_open(letter):
            chosen.append(letter)
        else:
            click.echo(f"{name}: was replayed before")
    return chosen


def _table(columns: Sequence[str], rows: Sequence[dict[str, object]]) -> Table:
    table = Table(title="Dead letters", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in columns:
        table.add_column(heading, no_wrap=heading in ("id", "service", "attempts"), overflow="fold")
    for row in rows:
        shown = row | {"at": str(row["at"])[:19].replace("T", " ")}  # it wraps there, and seconds will do
        table.add_row(*(Text(_printable(str(shown[heading] or ""))) for heading in columns))
    return table


def _row(ledger: Ledger, letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.id,
        "service": letter.service,
        "origin": letter.origin,
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "at": letter.at,
        "replayed": not ledger.is_open(letter),
    }


def _printable(text: str) -> str:
    """Without control characters: others can drive a terminal."""
    return "".join(filter(str.isprintable, text))
