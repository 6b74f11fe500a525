"""Run the command line in this process (quick) or as a process of its own (as users do)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streamadapter.admin import AdminClient
from streamadapter.cli import main


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a config file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMADAPTER_CONFIG", "")  # so that --config leaves no trace
    return tmp_path


@pytest.fixture(scope="module", params=["redis", "kafka"])
def conf(request: pytest.FixtureRequest) -> dict[str, str]:
    """A client's configuration; on Redis with a world of its own, for commands list all topics and groups."""
    if request.param == "kafka":
        return {"bootstrap.servers": request.getfixturevalue("kafka_url").removeprefix("kafka://")}
    prefix = f"cli-{uuid.uuid4().hex[:8]}"
    return {"bootstrap.servers": request.getfixturevalue("redis_url"), "streamadapter.key.prefix": prefix}


@pytest.fixture
def server(conf: dict[str, str]) -> list[str]:
    """The same as arguments of a command."""
    properties = [f"{name}={value}" for name, value in conf.items() if name != "bootstrap.servers"]
    return ["-b", conf["bootstrap.servers"], *(arg for p in properties for arg in ("-X", p))]


@pytest.fixture
def admin(conf: dict[str, str]) -> Iterator[AdminClient]:
    with AdminClient(conf) as client:
        yield client


@pytest.fixture
def run(server: list[str]) -> Run:
    """`run("topics", "--list")` on the shared server."""

    def invoke(command: str, *args: str, stdin: str | bytes | None = None) -> Outcome:
        result = CliRunner().invoke(main, [command, *server, *args], input=stdin)
        # Errors are to be reported, not raised; SystemExit is how a command ends.
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`start("consume", ...)` as a process; killed at the end of the test if it still runs."""
    started: list[subprocess.Popen[bytes]] = []

    def spawn(*args: str, **options: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-c", "from streamadapter.cli import main; main()", *args],
            **{**pipes, "env": {**os.environ}, **options},
        )
        started.append(process)
        return process

    yield spawn
    for process in started:
        process.kill()
        process.communicate()
