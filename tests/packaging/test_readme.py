"""The README's code and config file work as they stand there."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import click
import pytest

from streamadapter import AdminClient
from streamadapter.admin import NewTopic
from streamadapter.cli import main
from streamadapter.config import load

README = (Path(__file__).parents[2] / "README.md").read_text()
URL = "redis://localhost:6379/0"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return str(found)


def test_the_ten_lines_produce_and_consume_a_record(store_url: str) -> None:
    program = block("python")
    assert program.count(URL) == 2
    with AdminClient({"bootstrap.servers": store_url}) as admin:
        if "orders" not in admin.list_topics(timeout=20).topics:
            admin.create_topics([NewTopic("orders", 4)])["orders"].result(20)
    shown = StringIO()

    with redirect_stdout(shown):
        names: dict[str, object] = {}
        exec(program.replace(URL, store_url), names)  # noqa: S102 - our own README
        names["producer"].close()

    assert shown.getvalue() == "b'customer-17' b'{\"total\": \"15.30\"}' 3 0\n"


def test_the_config_file_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "streamadapter.toml"
    file.write_text(block("toml"))

    config = load(file)

    assert config.connection()[0] == URL
    assert config.topics["order-events"].partitions == 4


@pytest.mark.parametrize(
    "line", re.findall(r"streamadapter (?:topics|groups|produce|consume|server) [^`\n]*", README)
)
def test_every_command_shown_has_only_known_flags(line: str) -> None:
    command: click.Command = main
    words = line.split()[1:]
    context = click.Context(main)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0)) or pytest.fail(f"no such command: {line}")
    known = {option for parameter in command.params for option in parameter.opts}

    assert {word for word in words if word.startswith("--")} - known == set()
