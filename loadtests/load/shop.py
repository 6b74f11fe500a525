"""The shop under load: `streamstore up` in a directory of its own, on free ports, with topics of its own.

All of that is said by environment variables, which win over the config file; so the file alone says which backend
it is, and runs do not meet each other's data. A variable that is set already is left alone.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamstore.settings import PORTS, Settings

START_SECONDS = 60.0
STOP_SECONDS = 30.0
REQUEST_SECONDS = 10.0
HTTP_SERVICES: dict[str, tuple[str, ...]] = {"events": ("order", "delivery_tracking", "chat")}
HTTP_SERVICES["synchronous"] = tuple(name for name in PORTS if name != "dashboard")
TOPICS = ("topic", "status_topic", "dead_letter_topic", "locations_topic", "chat_topic")

PORT = "STREAMSTORE_PORT"
RECORDS_TOPIC, ALL_TOPICS = "LOAD_RECORDS_TOPIC", "LOAD_ALL_TOPICS"  # variables for ourselves


class ShopError(RuntimeError):
    """The shop did not start or does not answer; the text says where to look."""


def environment(directory: Path, config: str, architecture: str) -> dict[str, str]:
    """The variables of a run: for the shop, and for whoever talks to its broker or reads its databases."""
    run = secrets.token_hex(3)
    own = {
        "STREAMADAPTER_EMBEDDED__PATH": str(directory / "embedded"),
        "STREAMSTORE_DATA_DIR": str(directory / "data"),
        PORT: str(free_ports(len(PORTS))),
        **{
            f"STREAMSTORE_{name.upper()}": f"load-{run}-{Settings.model_fields[name].default}"
            for name in TOPICS
        },
        RECORDS_TOPIC: f"load-{run}-records",
        ALL_TOPICS: f"load-{run}-.*",
    }
    own |= {name: value for name, value in os.environ.items() if name in own}
    if config:
        own["STREAMADAPTER_CONFIG"] = str(Path(config).absolute())
    return own | {"STREAMSTORE_ARCHITECTURE": architecture}


def urls(host: str) -> dict[str, str]:
    """Where the services of a shop answer, from the address of its order service."""
    parts = urlsplit(host)
    first = parts.port or {"https": 443}.get(parts.scheme, 80)
    return {name: f"{parts.scheme}://{parts.hostname}:{first + number}" for number, name in enumerate(PORTS)}


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports that nobody listens on, below those the kernel gives to clients."""
    for first in range(20_000 + os.getpid() % 400 * count, 30_000, count):
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise ShopError("no free ports between 20000 and 30000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Shop:
    """A shop in processes of its own. Its data stay in `directory` after it has stopped."""

    def __init__(self, directory: Path, port: int, architecture: str, instances: str = "") -> None:
        self.urls = urls(f"http://127.0.0.1:{port}")
        self._answering = HTTP_SERVICES[architecture]
        self._log = directory / "up.log"
        self._instances = [part for part in instances.split(",") if part]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes orders and every consumer has its partitions. Raises ShopError."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        options = [option for part in self._instances for option in ("--instances", part)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamstore", "up", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for Locust, which stops the shop when it has judged the run
            )
        self._watchdog = subprocess.Popen(
            [
                "sh",
                "-c",
                'cat; kill -TERM "$0"',
                str(self._process.pid),
            ],  # cat ends when we do, however we end
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        until(self._is_ready, START_SECONDS, f"the shop did not come up; see {self._log}", self._must_live)

    def stop(self) -> None:
        """SIGTERM: it drains and leaves. Killed if that takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        self._watchdog.kill()  # before its process's id can be another's
        self._watchdog.communicate()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        if self._process is None:
            raise ShopError("the shop does not run")
        return self._process.pid

    def state(self) -> Any:
        """What the dashboard knows. Raises OSError."""
        with urllib.request.urlopen(f"{self.urls['dashboard']}/api/state", timeout=REQUEST_SECONDS) as answer:  # noqa: S310 - http
            return json.load(answer)

    def command(self, service: str, command: str) -> None:
        """What the dashboard's buttons do: stop, start, kill. Raises OSError."""
        url = f"{self.urls['dashboard']}/api/services/{service}/{command}"
        request = urllib.request.Request(url, method="POST")  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=STOP_SECONDS):  # noqa: S310 - http
            pass

    def _is_ready(self) -> bool:
        try:
            for name in self._answering:
                with urllib.request.urlopen(f"{self.urls[name]}/health", timeout=REQUEST_SECONDS):  # noqa: S310 - http
                    pass
            services = self.state()["services"]
        except (OSError, ValueError):
            return False
        return all(
            service["up"] and all(partition["owner"] for partition in service["partitions"])
            for service in services
        )

    def _must_live(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise ShopError(f"the shop ended with status {self._process.returncode}: {_last_line(self._log)}")


def until(
    condition: Callable[[], bool],
    seconds: float,
    otherwise: str,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Wait for it. Raises ShopError with the text `otherwise` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        meanwhile()
        if time.monotonic() > deadline:
            raise ShopError(otherwise)
        time.sleep(0.1)


def adapter(*arguments: str) -> None:
    """The command `streamadapter`, in a process that gevent has not patched. Raises ShopError with its words."""
    done = subprocess.run(
        [sys.executable, "-c", "from streamadapter.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ShopError(f"streamadapter {' '.join(arguments)}: {done.stderr.strip()}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'it said nothing'} (log: {log})"
