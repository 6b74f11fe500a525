"""`streamstore scale`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import click

from streamstore.cli.common import config_option, errors_in_one_line, load_shop
from streamstore.cli.up import scalings
from streamstore.running.locks import text_of
from streamstore.running.up import LOCK

REQUEST_SECONDS = 10.0
EXAMPLES = """\b
Examples:
  streamstore scale billing=3
  streamstore scale billing=1 inventory=4 --config shop.toml
"""


@click.command(name="scale", epilog=EXAMPLES)
@click.argument("instances", metavar="SERVICE=N...", callback=scalings, nargs=-1, required=True)
@config_option
def scale(instances: tuple[tuple[str, int], ...], config: Path | None) -> None:
    """Change how many instances of a service a running `streamstore up` has."""
    with errors_in_one_line():
        _, settings = load_shop(config)
        dashboard = text_of(settings.data_dir, LOCK)
        if dashboard is None:
            raise click.ClickException(f"no shop runs on {settings.data_dir}: start one with streamstore up")
        for service, number in instances:
            click.echo(f"{service}: {_scale(dashboard, service, number)} instances")


def _scale(dashboard: str, service: str, instances: int) -> int:
    url = f"{dashboard}/api/services/{service}/scale?instances={instances}"
    asked = urllib.request.Request(url, method="POST")  # noqa: S310 - our own http URL
    try:
        with urllib.request.urlopen(asked, timeout=REQUEST_SECONDS) as answer:  # noqa: S310 - as above
            return int(json.load(answer)["instances"])
    except urllib.error.HTTPError as error:
        raise click.ClickException(f"{service}: {json.load(error).get('detail', error)}") from None
