"""`streamstore invoice`."""

from __future__ import annotations

from pathlib import Path

import click

from streamstore import billing
from streamstore.cli.common import config_option, errors_in_one_line, load_shop
from streamstore.database import Database
from streamstore.invoice import invoice_html


@click.command(name="invoice")
@click.argument("number")
@config_option
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there; default: stdout."
)
def invoice_command(number: str, config: Path | None, output: Path | None) -> None:
    """Write the invoice or credit note NUMBER as a page of HTML, to be read or printed on A4."""
    with errors_in_one_line():
        _, settings = load_shop(config)
        database = Database(settings.database_url(billing.NAME), billing.METADATA)
        try:
            page = invoice_html(database, number)
        finally:
            database.close()
        if page is None:
            raise click.ClickException(f"billing has issued no invoice or credit note {number}")
        if output is None:
            click.echo(page)
        else:
            output.write_text(page + "\n", encoding="utf-8")
