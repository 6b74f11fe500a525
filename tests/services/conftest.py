"""Order files, an independent reading of them, and shops to replay them in."""

from __future__ import annotations

import contextlib
import csv
import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import pytest

from streamadapter.testing.servers import free_port
from streamadapter_embedded import server_control
from streamstore.app import run_service
from streamstore.settings import PORTS, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

REAL_DAYS = Path(__file__).parents[3] / "shared" / "data" / "online_retail"


@pytest.fixture(params=["2010-12-01.csv", "2010-12-06.csv"])
def real_day(request: pytest.FixtureRequest) -> Path:
    """A day of real orders, which is not part of the repository."""
    path = REAL_DAYS / request.param
    if not path.is_file():
        reason = f"no {path}: it needs the two days of the UCI data set beside the repository"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def read_independently() -> Callable[[Path], dict[str, Any]]:
    """Reads a file without a bad row as anybody would, sharing no code with the services."""
    return _read_independently


def _read_independently(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    invoices: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        invoices[row["InvoiceNo"]].append(row)
    by_country: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        by_country[row["Country"]] += int(row["Quantity"]) * Decimal(row["UnitPrice"])
    cancellations = sum(number.startswith("C") for number in invoices)
    with_customer = sum(any(row["CustomerID"] for row in order) for order in invoices.values())
    revenue = sum((int(row["Quantity"]) * Decimal(row["UnitPrice"]) for row in rows), Decimal(0))
    return {
        "rows": len(rows),
        "rows_rejected": 0,
        "orders": len(invoices) - cancellations,
        "cancellations": cancellations,
        "inventory": {"orders": len(invoices), "units": sum(int(row["Quantity"]) for row in rows)},
        "billing": {
            "invoices": len(invoices) - cancellations,
            "credit_notes": cancellations,
            "total": str(revenue),
        },
        "notification": {"sent": with_customer, "skipped_no_customer": len(invoices) - with_customer},
        "analytics": {
            "orders": len(invoices),
            "revenue": str(revenue),
            "revenue_by_country": {country: str(amount) for country, amount in by_country.items()},
        },
        "lag": 0,
    }


@dataclass(frozen=True)
class Shop:
    """A config file in a directory of its own, which this process and its children use."""

    backend: str
    config: Path
    settings: Settings


@pytest.fixture
def open_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shop]:
    """Makes a shop on a backend; `url` of the servers that are not started by their clients."""

    def opened(backend: str, url: str = "", **streamstore: object) -> Shop:
        shop = _shop_in(tmp_path, backend, url, **streamstore)
        monkeypatch.setenv("STREAMADAPTER_CONFIG", str(shop.config))
        return shop

    return opened


def _shop_in(directory: Path, backend: str, url: str = "", **streamstore: object) -> Shop:
    session_ms = 6000 if backend == "kafka" else 2000  # Kafka's brokers take no less
    table = {"data_dir": "shop", "session_timeout_ms": session_ms, "patience_seconds": 60} | streamstore
    config = directory / "streamadapter.toml"
    config.write_text(
        f'backend = "{backend}"\n'
        + (f'[redis]\nurl = "{url}"\n' if backend == "redis" else "")
        + (f'[kafka]\n"bootstrap.servers" = "{url}"\n' if backend == "kafka" else "")
        + f'[embedded]\npath = "log"\n[memory]\nname = "{directory.name}"\n[streamstore]\n'
        + "".join(
            f"{name} = {value!r}\n" if isinstance(value, int) else f'{name} = "{value}"\n'
            for name, value in table.items()
        )
    )
    return Shop(backend, config, load_settings(table, directory))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a shop that needs no server."""
    return load_settings({"data_dir": "shop"}, tmp_path)


class Up:
    """A running `streamstore up`, its lines and its dashboard."""

    def __init__(self, shop: Shop, *options: str) -> None:
        self.shop = shop
        self.url = f"http://127.0.0.1:{shop.settings.port_of('dashboard')}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamstore", "up", "--config", shop.config, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def await_line(self, text: str) -> None:
        await_true(lambda: self.has_said(text) or self.process.poll() is not None, text)
        assert self.has_said(text), self.lines

    def has_said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/state", timeout=30) as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def service(self, name: str) -> dict[str, Any]:
        return next(s for s in self.state()["services"] if s["name"] == name)

    def pids(self) -> list[int]:
        instances = [i for service in self.state()["services"] for i in service["instances"]]
        return [self.process.pid, *(i["pid"] for i in instances if i["pid"] is not None)]

    def post(self, path: str) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(self.url + path, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, {"text": error.read().decode()}

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(120)
        self._reader.join(10)
        return status

    def close(self) -> None:
        """End it if it still runs, at once."""
        if self.process.poll() is None:
            self.process.terminate()
            self.await_line("stopping")  # a second signal before the first is caught would be the same one
            self.process.terminate()
        with self.process:  # closes its pipe
            self.wait()


def await_true(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


@pytest.fixture
def free_ports() -> int:
    """The first of as many free ports in a row as a shop needs, out of those the kernel does not hand out."""
    return _free_ports()


def _free_ports() -> int:
    for _ in range(100):
        first = random.randrange(20_000, 30_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + len(PORTS)):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    pytest.fail("no free ports")


@pytest.fixture
def start_up(open_shop: Callable[..., Shop], free_ports: int) -> Iterator[Callable[..., Up]]:
    """Starts `streamstore up` on a shop of its own, or on a given one, and waits until it is up."""
    started: list[Up] = []

    def start(*options: str, shop: Shop | None = None, until: str = "up: ") -> Up:
        up = Up(shop or open_shop("embedded", port=free_ports), *options)
        started.append(up)
        up.await_line(until)
        return up

    yield start
    for up in started:
        up.close()


@pytest.fixture(scope="module")
def shared_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A `streamstore up` on embedded for all tests of a file: they leave it as they found it, but for the orders."""
    with contextlib.closing(
        Up(_shop_in(tmp_path_factory.mktemp("shop"), "embedded", port=_free_ports()))
    ) as up:
        up.await_line("up: ")
        yield up


class Instance:
    """One instance of a service that answers HTTP, on a port of its own: a process, on memory:// a thread."""

    def __init__(self, shop: Shop, service: str, name: str) -> None:
        self.port = free_port()
        self._service = service
        self._name = name
        self._shop = shop
        self._first_port = self.port - PORTS.index(service)
        self._log = shop.config.parent / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: tuple[threading.Thread, threading.Event] | None = None

    def start(self) -> Instance:
        """Returns when it answers."""
        if self._shop.backend == "memory":
            stop, settings = (
                threading.Event(),
                self._shop.settings.model_copy(update={"port": self._first_port}),
            )
            thread = threading.Thread(target=run_service, args=(self._service, settings, stop), daemon=True)
            thread.start()
            self._thread = thread, stop
        else:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "streamstore", "run", self._service],
                    env=os.environ
                    | {"STREAMSTORE_PORT": str(self._first_port), "STREAMSTORE_INSTANCE": self._name},
                    stderr=log,
                )
        await_true(self._answers, f"{self._name} answers")
        return self

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """As its supervisor stops it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(60) == 0, self._log.read_text()
        if self._thread is not None:
            self._thread[1].set()
            self._thread[0].join(60)
            assert not self._thread[0].is_alive()

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        return self.request("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())

    def get(self, path: str) -> Any:
        status, answer = self.request("GET", path)
        assert status == 200, answer
        return answer

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON; `retry_after` of the last answer is kept. OSError if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            self.retry_after = answer.headers["Retry-After"]
            text = answer.read()
        except http.client.HTTPException as error:
            raise OSError("the connection was lost") from error
        finally:
            connection.close()
        return answer.status, json.loads(text) if text.startswith((b"{", b"[")) else text

    def events(self, path: str, last_event_id: str | None = None, buffer: int | None = None) -> Events:
        return Events(self.port, path, last_event_id, buffer)

    def _answers(self) -> bool:
        assert self._process is None or self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError):
            return self.request("GET", "/health")[0] == 200
        return False


class Events:
    """What a browser's EventSource does, by hand: one connection."""

    def __init__(self, port: int, path: str, last_event_id: str | None, buffer: int | None) -> None:
        self._socket = socket.socket()
        if buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.settimeout(60)
        self._response = http.client.HTTPResponse(self._socket)
        resume = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        try:
            self._socket.connect(("127.0.0.1", port))
            self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n{resume}\r\n".encode())
            self._response.begin()
        except (OSError, http.client.HTTPException) as error:
            self.__exit__()
            raise OSError("nobody answered") from error
        assert self._response.status == 200
        assert self._response.headers["Content-Type"].startswith("text/event-stream")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._socket.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Messages until the server ends the stream, or is killed; each has come back under its own id."""
        name = ""
        try:
            while line := self._response.readline():
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "id":
                    name = value
                elif field == "data":
                    message = json.loads(value)
                    assert message["id"] == name
                    yield message
        except (http.client.IncompleteRead, ConnectionError):
            return

    def hang_up(self) -> None:
        """Ends the iteration, in whichever thread it is."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def take(self, count: int) -> list[dict[str, Any]]:
        return list(itertools.islice(self, count))


@pytest.fixture
def await_condition() -> Callable[..., None]:
    """Waits until a condition holds; fails after 90 s."""
    return lambda condition, what="the condition": await_true(condition, what)


@pytest.fixture
def start_instance() -> Iterator[Callable[..., Instance]]:
    """Starts instances of services; at the end those that run are stopped."""
    started: list[Instance] = []

    def start(shop: Shop, service: str, name: str = "") -> Instance:
        started.append(Instance(shop, service, name or f"{service}-1"))
        return started[-1].start()

    yield start
    for instance in started:
        instance.stop()
    if started and started[0]._shop.backend == "embedded":
        path = started[0]._shop.config.parent / "log"
        server_control.stop(f"embedded://{quote(str(path))}", force=True)


@pytest.fixture(params=["embedded", "redis", "kafka"])
def stream_shop(request: pytest.FixtureRequest, open_shop: Callable[..., Shop]) -> Shop:
    """A shop on each kind of server; redis and kafka are the test's own."""
    url = "" if request.param == "embedded" else request.getfixturevalue(f"own_{request.param}").url
    return open_shop(request.param, url)
