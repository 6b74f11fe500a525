"""A server process under test: what is the same whichever server it is."""

from __future__ import annotations

import errno
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

ATTEMPTS = 5
"""How often a server is started on other ports because somebody was faster to take those chosen."""
STOP_TIMEOUT_S = 15.0
FIRST_PORT, LAST_PORT = 20_000, 32_000
"""Below Linux's ephemeral ports (32768 and up). A client that keeps reconnecting to a dead server on an
ephemeral port may be given that very port as its own, connect to itself, and block the restart."""


def is_free(port: int) -> bool:
    """Whether nobody listens on this loopback TCP port right now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def free_port() -> int:
    """A loopback TCP port that nobody listens on right now."""
    while True:
        port = random.randint(FIRST_PORT, LAST_PORT)  # noqa: S311  not a secret
        if is_free(port):
            return port


class _Watchdog:
    """Kills a server when this process ends, even by SIGKILL.

    A shell waits on a pipe whose other end only this process holds: a line means all is well, end of file
    means that this process is gone. Unlike PR_SET_PDEATHSIG it works on macOS, and does not fire when merely
    the thread that started the server ends.
    """

    def __init__(self, pid: int) -> None:
        self._shell = subprocess.Popen(  # noqa: S603  a constant script
            ["/bin/sh", "-c", 'read -r line || kill -9 "$1"', "watchdog", str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of Ctrl-C at the terminal
        )

    def stand_down(self) -> None:
        self._shell.communicate(b"stand down\n", timeout=STOP_TIMEOUT_S)


class Server(ABC):
    """One server process. Not thread-safe, but any thread may use it.

    directory: its data and `server.log`; created. options: its configuration, over ours. port: default a free
    one, which it keeps once it has started.
    """

    start_timeout_s: ClassVar[float] = 30.0

    def __init__(
        self, directory: Path, options: Mapping[str, str] | None = None, *, port: int | None = None
    ) -> None:
        self.directory = directory
        self.options = dict(options or {})
        self.port = free_port() if port is None else port
        self._address_known = port is not None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: _Watchdog | None = None
        self._paused = False

    @staticmethod
    @abstractmethod
    def binary() -> str:
        """Path of the program; FileNotFoundError if there is none, which says how to get it."""

    @property
    @abstractmethod
    def url(self) -> str:
        """For `bootstrap.servers`."""

    @property
    def pid(self) -> int:
        """Of the running server; RuntimeError if there is none."""
        return self._running().pid

    @property
    def log(self) -> str:
        """What the server has logged since the directory was made."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start, or start again, and wait until it serves clients (its data has then been loaded).

        Raises RuntimeError with the end of its log if it does not.
        """
        if self._process is not None:
            raise RuntimeError("the server is already running")
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(ATTEMPTS):
            self._launch()
            if self._becomes_ready():
                self._address_known = True
                return self
            self._reap(signal.SIGKILL)
            if self._address_known or "already in use" not in self.log:
                break
            self._choose_ports()
        raise RuntimeError(f"{self.binary()} did not start in {self.directory}:\n{self.log[-2000:]}")

    def kill(self) -> None:
        """SIGKILL: what it had not written is lost. `start` brings it back."""
        self._reap(signal.SIGKILL)

    def stop(self) -> None:
        """Shut it down cleanly, also when paused; nothing happens if it is not running."""
        if self._paused:
            self.resume()
        self._reap(signal.SIGTERM)

    def restart(self) -> Self:
        """A clean stop, then `start`."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._running().send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT, after `pause`."""
        self._running().send_signal(signal.SIGCONT)
        self._paused = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def _command(self) -> list[str]:
        """Program and arguments. It logs to stdout or stderr."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether this process, not another one on its port, serves clients now."""

    def _choose_ports(self) -> None:
        """Take other ports than before; nobody knows them yet."""
        self.port = free_port()

    def _launch(self) -> None:
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  the test's own server and options
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the test run, which stops the server
            )
        self._watchdog = _Watchdog(self._process.pid)

    def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline and self._running().poll() is None:
            if self._ready():
                return True
            time.sleep(0.01)
        return False

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server is not running: call start()")
        return self._process

    def _reap(self, number: signal.Signals) -> None:
        process, watchdog = self._process, self._watchdog
        if process is None or watchdog is None:
            return
        process.send_signal(number)
        watchdog.stand_down()  # before the pid is reaped, and may be somebody else's
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
        self._process = self._watchdog = None
        self._paused = False
