"""The command line: Kafka's tools under one name. One file a command; `common` has what they share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from confluent_kafka import KafkaException

from streamadapter.cli import consume, groups, produce, server, topics
from streamadapter.cli.common import one_line, reason

__all__ = ["main"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class _Cli(click.Group):
    """A group whose errors are one line on stderr: exit status 1 for a failure, 2 for wrong usage."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]  # of click's overloads this one is used
        """Run and exit. That a reader of stdout has gone away, click makes a quiet status 1."""
        extra["standalone_mode"] = False
        try:
            status = super().main(args, prog_name or "streamadapter", **extra)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "streamadapter"
            _fail(f"{error.format_message()} (try: {where} --help)", USAGE)
        except click.Abort:
            sys.exit(INTERRUPTED)
        except click.ClickException as error:
            _fail(error.format_message(), FAILED)
        except KafkaException as error:
            _fail(reason(error), FAILED)
        except (OSError, ValueError, TypeError, BufferError) as error:
            _fail(str(error), FAILED)
        sys.exit(status or 0)


def _fail(message: str, status: int) -> None:
    click.echo(f"error: {one_line(message)}", err=True)
    sys.exit(status)


@click.group(
    "streamadapter",
    cls=_Cli,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="streamadapter", message="%(prog)s %(version)s")
def main() -> None:
    """Kafka's command line tools, on Redis, on the embedded server, or on Kafka.

    The server is that of --bootstrap-server, else the config file's (streamadapter.toml), else the embedded one.
    """


for _command in (topics.topics, groups.groups, produce.produce, consume.consume, server.server):
    main.add_command(_command)
