"""What all commands share: version, help, errors, the config file, exit status."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from streamadapter.cli import main
from streamadapter.cli.common import one_line, printable, unescaped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[bytes]]

UNREACHABLE = ["-b", "redis://127.0.0.1:1", "-X", "socket.timeout.ms=300"]
COMMANDS = ["topics", "groups", "produce", "consume", "server"]


def outcome(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(args))
    return result.exit_code, result.stdout, result.stderr


def test_version() -> None:
    assert outcome("--version") == (0, f"streamadapter {version('streamadapter')}\n", "")


def test_help_lists_the_commands() -> None:
    status, out, _ = outcome("--help")
    assert status == 0
    for command in COMMANDS:
        assert f"\n  {command} " in out


@pytest.mark.parametrize("command", ["topics", "groups", "produce", "consume"])
def test_every_help_ends_with_examples(command: str) -> None:
    status, out, _ = outcome(command, "--help")
    assert status == 0
    examples = out.partition("Examples:\n")[2].strip().splitlines()
    assert len(examples) >= 3
    assert all(f"streamadapter {command}" in line for line in examples)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["tropics"], "error: No such command 'tropics'"),
        (["topics", "--list", "-X", "nonsense"], "error: expected K=V, not 'nonsense'"),
        (["consume", "--topic", "t", "--max-messages", "many"], "error: Invalid value for"),
    ],
)
def test_wrong_usage_is_status_2_and_one_line_that_says_where_help_is(args: list[str], message: str) -> None:
    status, out, err = outcome(*args)
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.endswith("--help)\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["topics", "--list", "-b", "rabbit://h"], "error: unknown scheme in rabbit://h; known are"),
        (
            ["topics", "--list", "-b", "memory://x", "-X", "foo=1"],
            'error: No such configuration property: "foo"',
        ),
        (["topics", "--list", "--config", "nowhere.toml"], "error: cannot read the config file nowhere.toml"),
        (["topics", "--list", *UNREACHABLE], "error: Failed to get metadata: "),
        (["topics", "--create", "--topic", "t", *UNREACHABLE], "error: Timed out after 0.3 s: "),
        (["groups", "--list", *UNREACHABLE], "error: Timed out after 0.3 s: "),
    ],
)
def test_a_failure_is_status_1_and_one_line_without_a_traceback(args: list[str], message: str) -> None:
    status, out, err = outcome(*args)
    assert (status, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [
        ["topics", "--list"],
        ["topics", "--create", "--topic", "t"],
        ["groups", "--list"],
        ["groups", "--describe", "--group", "g"],
        ["groups", "--reset-offsets", "--group", "g", "--topic", "t", "--to-latest", "--execute"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("scheme", ["kafka://", ""])
def test_a_kafka_that_is_not_there_is_one_line_too(start: Start, scheme: str, args: list[str]) -> None:
    process = start(*args, "-b", f"{scheme}127.0.0.1:1", "-X", "socket.timeout.ms=300")

    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"error: ")
    assert err.count(b"\n") == 1


def test_a_password_is_not_in_an_error() -> None:
    _, _, err = outcome("topics", "--list", "-b", "redis://:s3cret@example.com")
    assert "s3cret" not in err
    assert "***" in err


def test_the_config_file_says_which_server(directory: Path) -> None:
    file = directory / "my.toml"
    file.write_text('backend = "memory"\n[memory]\nname = "cli-config"\n[topics.from-file]\n')
    assert outcome("topics", "--list", "--config", str(file)) == (0, "from-file\n", "")


def test_a_config_file_in_the_working_directory_is_found(directory: Path) -> None:
    (directory / "streamadapter.toml").write_text(
        'backend = "memory"\n[memory]\nname = "cli-cwd"\n[topics.found]\n'
    )
    assert outcome("topics", "--list") == (0, "found\n", "")


def test_control_characters_are_stripped() -> None:
    assert printable("a\x1b[31m\x07b\tc\nd\x9be\x7f") == "a[31mb\tc\nde"
    assert one_line("a\n  b\r\n\x1bc") == "a b c"


@pytest.mark.parametrize(
    ("typed", "data"),
    [(r"\t|\n", b"\t|\n"), (r"\x41\x00", b"A\0"), (r"\\n", b"\\n"), (r"\q", rb"\q"), ("é", "é".encode())],
)
def test_escapes_as_typed_in_a_shell(typed: str, data: bytes) -> None:
    assert unescaped(typed) == data


def test_a_closed_pipe_ends_a_command_quietly(start: Start) -> None:
    read, write = os.pipe()
    os.close(read)

    process = start("--help", stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert err == b""


def test_the_installed_command_is_main() -> None:
    [point] = entry_points(group="console_scripts", name="streamadapter")
    assert point.load() is main
