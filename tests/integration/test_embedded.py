"""The embedded server's life, with real client processes that come, go and are killed."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import pytest

from streamadapter.errors import StoreError
from streamadapter_embedded import open_store, server_control
from streamadapter_embedded.directory import DataDirectory, Target
from streamadapter_embedded.lease import Lease
from streamadapter_embedded.server import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 60.0

CLIENT = """
import json, os, sys, time
from streamadapter.backend import TopicInfo
from streamadapter.errors import StoreError
from streamadapter_embedded import open_store

def persist(action):
    "As the engine would: again, until it works or the time is up."
    deadline = time.monotonic() + 40
    while True:
        try:
            return action()
        except StoreError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            time.sleep(0.02)

if "nobody" in sys.argv[2:]:  # root is refused nothing
    os.setegid(65534)
    os.seteuid(65534)
try:
    store = open_store(sys.argv[1], {})
    persist(store.topics)
except StoreError as error:
    sys.exit(f"{error}")
print('"open"', flush=True)
for line in sys.stdin:
    verb, _, name = line.strip().partition(" ")
    answer = verb
    if verb == "create":
        persist(lambda: store.create_topic(TopicInfo(name, name, 1)))
    elif verb == "topics":
        answer = sorted(persist(store.topics).topics)
    elif verb == "fork":
        if (child := os.fork()) == 0:
            time.sleep(600)
            os._exit(0)
        answer = child
    elif verb == "close":
        store.close()
    elif verb == "exit":
        break
    print(json.dumps(answer), flush=True)
"""


class Client:
    """A process with one open store; `ask` sends it a line and returns its answer."""

    def __init__(self, url: str, *how: str, **popen: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, url, *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            **popen,
        )

    def opened(self) -> Self:
        assert self.answer() == "open"
        return self

    def ask(self, line: str) -> Any:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())
        return self.answer()

    def answer(self) -> Any:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        assert ready, "the client does not answer"
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate(timeout=DEADLINE_S)
            pytest.fail(f"the client ended with {self.process.returncode}: {errors.decode()}")
        return json.loads(line)

    def failure(self) -> str:
        """What a client that cannot open its store says."""
        output, errors = self.process.communicate(timeout=DEADLINE_S)
        assert (output, self.process.returncode) == (b"", 1), errors
        message: str = errors.decode().strip()
        return message

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)

    def leave(self) -> None:
        """Close the store and exit."""
        self.process.communicate(b"close\nexit\n", timeout=DEADLINE_S)
        assert self.process.returncode == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def url(path: Path) -> Iterator[str]:
    """Of an empty directory; whatever server is left in it is stopped afterwards."""
    url = f"embedded://{quote(str(path))}?fsync=always"
    yield url
    if path.is_dir():
        server_control.stop(url, force=True)


@pytest.fixture
def clients(url: str) -> Iterator[Callable[[], Client]]:
    """Starts clients, which are killed afterwards at the latest."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Client(url)).opened()


def pid(url: str) -> int:
    status = server_control.status(url)
    assert status["state"] == "running", status
    return int(status["pid"])


def state(url: str) -> str:
    return str(server_control.status(url)["state"])


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


def test_the_first_starts_it_others_join_and_the_last_stops_it(
    url: str, clients: Callable[[], Client]
) -> None:
    # given
    first = clients()
    server = pid(url)
    second = clients()
    # when, then
    first.ask("create orders")
    assert second.ask("topics") == ["orders"]
    first.leave()
    assert pid(url) == server
    second.leave()
    assert state(url) == "stopped"
    assert clients().ask("topics") == ["orders"], "what was written outlives the server"


def test_a_killed_clients_server_is_adopted_with_its_data(url: str, clients: Callable[[], Client]) -> None:
    # given
    starter = clients()
    server = pid(url)
    starter.ask("create orders")
    # when
    starter.kill()
    # then
    assert pid(url) == server, "it outlives the process that started it"
    heir = clients()
    assert pid(url) == server
    assert heir.ask("topics") == ["orders"]
    heir.leave()
    assert state(url) == "stopped", "the killed client's claim went with it"


def test_a_killed_server_is_restarted_by_its_clients_with_its_data(
    url: str, clients: Callable[[], Client]
) -> None:
    # given
    one, other = clients(), clients()
    one.ask("create orders")
    for round_ in range(3):
        server = pid(url)
        # when
        os.kill(server, signal.SIGKILL)
        # then
        one.ask(f"create again-{round_}")
        expected = ["again-0", "again-1", "again-2"][: round_ + 1]
        assert other.ask("topics") == [*expected, "orders"]
        assert pid(url) != server


def test_a_dead_servers_leftovers_do_not_mislead_the_next_client(
    url: str, path: Path, clients: Callable[[], Client]
) -> None:
    # given
    starter = clients()
    starter.ask("create orders")
    server = pid(url)
    starter.kill()
    os.kill(server, signal.SIGKILL)
    # when: the pid file names a living process, ours, and the socket is still there
    (path / "server.pid").write_text(str(os.getpid()))
    assert (path / "server.sock").exists()
    # then
    assert clients().ask("topics") == ["orders"]


def test_eight_at_once_start_one_server_and_stop_it(url: str) -> None:
    with ExitStack() as stack:
        # when
        clients = [stack.enter_context(Client(url)) for _ in range(8)]
        for client in clients:
            client.opened()
        # then
        clients[0].ask("create orders")
        assert all(client.ask("topics") == ["orders"] for client in clients)
        users = server_control.status(url)["users"]
        assert users in (None, sorted(client.process.pid for client in clients))
        for client in clients:
            assert client.process.stdin
            client.process.stdin.write(b"close\nexit\n")
        for client in clients:
            assert client.process.wait(DEADLINE_S) == 0
    assert state(url) == "stopped"


def test_the_last_one_to_leave_never_stops_it_under_one_who_joins(url: str) -> None:
    # given: clients whose connections, unlike a store's, do not revive the server
    churn = """
import random, sys, time
from streamadapter_embedded.directory import DataDirectory, parse_url
from streamadapter_embedded.lease import Lease
from streamadapter_embedded.server import connect
target = parse_url(sys.argv[1])
directory = DataDirectory(target.path)
for _ in range(60):
    lease = Lease(target)
    with connect(directory) as client:
        for _ in range(5):
            client.ping()
    lease.release()
    time.sleep(random.uniform(0, 0.02))  # or else somebody is always there, and nobody is the last
"""
    # when
    processes = [
        subprocess.Popen([sys.executable, "-c", churn, url], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    # then
    for process in processes:
        _, errors = process.communicate(timeout=2 * DEADLINE_S)
        assert process.returncode == 0, errors
    assert state(url) == "stopped"


def test_two_stores_of_one_process_share_the_server(url: str) -> None:
    first, second = open_store(url, {}), open_store(url, {})
    server = pid(url)
    first.close()
    first.close()
    assert pid(url) == server
    second.close()
    assert state(url) == "stopped"


def test_a_client_that_exits_without_closing_still_stops_it(url: str, clients: Callable[[], Client]) -> None:
    client = clients()
    assert client.ask("topics") == []
    client.process.communicate(b"exit\n", timeout=DEADLINE_S)
    assert state(url) == "stopped"


def test_ctrl_c_at_a_clients_terminal_does_not_reach_the_server(
    url: str, clients: Callable[[], Client]
) -> None:
    # given
    starter, other = clients(), clients()
    server = pid(url)
    # when
    os.killpg(starter.process.pid, signal.SIGINT)
    starter.process.communicate(timeout=DEADLINE_S)
    # then
    assert other.ask("topics") == []
    assert pid(url) == server


def test_a_forked_child_does_not_keep_the_server_up(url: str, clients: Callable[[], Client]) -> None:
    client = clients()
    child = client.ask("fork")
    try:
        client.ask("close")
        assert state(url) == "stopped"
        os.kill(child, 0)  # the child was alive all the time
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_lease_survives_fork_by_joining_anew(url: str, path: Path) -> None:
    # given
    lease = Lease(Target(path, "always"))
    code = 1
    if (child := os.fork()) == 0:
        try:
            # when: in the child, as its store does when its connection fails
            lease.revive()
            users = server_control.status(url)["users"]
            code = 0 if users is None or os.getpid() in users else 2
        finally:
            os._exit(code)
    # then
    _, status = os.waitpid(child, 0)
    lease.release()
    assert os.waitstatus_to_exitcode(status) == 0


def test_the_strictest_fsync_wins(url: str, path: Path) -> None:
    lax = open_store(url.replace("always", "everysec"), {})
    assert _fsync(path) == "everysec"
    strict = open_store(url, {})
    assert _fsync(path) == "always"
    laxer = open_store(url.replace("always", "everysec"), {})
    assert _fsync(path) == "always"
    for store in (lax, strict, laxer):
        store.close()


def _fsync(path: Path) -> str:
    directory = DataDirectory(path)
    with connect(directory) as client:
        value: str = client.config_get("appendfsync")["appendfsync"]
    directory.close()
    return value


def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    # given
    path = tmp_path / ("a long name with 'quotes' and spaces " * 4) / "x"
    url = f"embedded://{quote(str(path))}"
    with Client(url) as one, Client(url) as other:
        # when
        one.opened().ask("create orders")
        # then
        assert other.opened().ask("topics") == ["orders"]
        os.kill(pid(url), signal.SIGKILL)
        assert other.ask("topics") is not None
        one.leave()
        other.leave()
    assert state(url) == "stopped"


def test_no_tcp_port_and_nothing_readable_by_others(
    url: str, path: Path, clients: Callable[[], Client]
) -> None:
    clients().ask("create orders")
    directory = DataDirectory(path)
    with connect(directory) as client:
        assert client.config_get("port")["port"] == "0"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    directory.close()
    for file in [path, *path.rglob("*")]:
        assert file.stat().st_mode & 0o077 == 0, file


# -- what goes wrong at the start: one line that says why


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Client(f"embedded://{tmp_path}/file") as client:
        assert client.failure() == (
            f"_FS: cannot use {tmp_path}/file as the data directory of the embedded server: File exists"
        )


AS_ORDINARY_USER = ["nobody"] if os.geteuid() == 0 else []


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


def test_a_directory_that_cannot_be_written_to(open_path: Path) -> None:
    open_path.chmod(0o555)
    with Client(f"embedded://{open_path}", *AS_ORDINARY_USER) as client:
        assert client.failure() == (
            f"_FS: cannot use {open_path} as the data directory of the embedded server: Permission denied"
        )
    open_path.chmod(0o755)


def test_a_directory_that_others_may_write_to(open_path: Path) -> None:
    open_path.chmod(0o777)
    with Client(f"embedded://{open_path}") as client:
        assert client.failure() == (
            f"_FS: every user may write to the data directory {open_path}: choose a new directory inside it"
        )


def test_a_disk_that_takes_no_more(url: str) -> None:
    def no_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    with Client(url, preexec_fn=no_bytes) as client:
        assert client.failure().endswith("as the data directory of the embedded server: File too large")


def test_a_server_that_cannot_start_is_quoted(tmp_path: Path, url: str) -> None:
    _fake_server(tmp_path / "valkey-server", "7.2.0", "echo 'FATAL: no such luck' >&2; exit 1")
    with Client(url, env={**os.environ, "PATH": str(tmp_path)}) as client:
        assert "the embedded server did not start: FATAL: no such luck (log: " in client.failure()


def _make_a_log_that_takes_a_second_to_read(url: str, path: Path) -> None:
    open_store(url, {}).close()
    log = next((path / "appendonlydir").glob("*.incr.aof"))
    with log.open("ab") as file:
        file.writelines(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$7\r\n%07d\r\n" % n for n in range(1_000_000))


def test_opening_waits_until_the_data_is_loaded(url: str, path: Path) -> None:
    _make_a_log_that_takes_a_second_to_read(url, path)
    # when
    store = open_store(url, {})
    # then: no -LOADING
    assert not store.topics().topics
    store.close()


def test_a_server_killed_before_it_has_loaded_is_started_again_for_whoever_is_opening(
    url: str, path: Path
) -> None:
    _make_a_log_that_takes_a_second_to_read(url, path)
    with Client(url) as client:
        eventually(lambda: server_control.status(url)["state"] == "loading")
        # when
        os.kill(int(DataDirectory(path).read("server.pid")), signal.SIGKILL)
        # then
        client.opened()
        assert client.ask("topics") == []


def test_a_corrupt_log_is_reported_and_kept(url: str, path: Path, clients: Callable[[], Client]) -> None:
    # given
    client = clients()
    client.ask("create orders")
    client.leave()
    log = next((path / "appendonlydir").glob("*.incr.aof"))
    garbage = b"*this is no command\r\n" + log.read_bytes()
    log.write_bytes(garbage)
    # when
    with Client(url) as victim:
        message = victim.failure()
    # then
    assert "the embedded server did not start: " in message
    assert "append only file" in message
    assert log.read_bytes() == garbage


# -- which binary


def _fake_server(path: Path, version: str, script: str) -> None:
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "Valkey server v={version} sha=0"; exit 0; fi\n{script}\n'
    )
    path.chmod(0o755)


def test_without_a_server_on_path_the_packaged_valkey_runs(tmp_path: Path, url: str) -> None:
    _fake_server(tmp_path / "redis-server", "6.2.14", "exit 1")  # too old
    with Client(url, env={**os.environ, "PATH": str(tmp_path)}) as client:
        client.opened()
        assert server_control.status(url)["version"].startswith("valkey ")


def test_the_program_that_wrote_the_data_is_preferred(
    tmp_path: Path, url: str, clients: Callable[[], Client]
) -> None:
    # given: written by Valkey, which a Redis on PATH may not be able to read
    with Client(url, env={**os.environ, "PATH": str(tmp_path)}) as client:
        client.opened().ask("create orders")
        client.leave()
    # when
    heir = clients()
    # then
    assert server_control.status(url)["version"].startswith("valkey ")
    assert heir.ask("topics") == ["orders"]


# -- streamadapter server


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from streamadapter.cli import main; main()", "server", *arguments],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )


def test_start_keeps_it_up_without_clients_until_stop(
    url: str, path: Path, clients: Callable[[], Client]
) -> None:
    # given
    started = json.loads(command("start", "--path", str(path), "--json").stdout)
    assert started["state"] == "running"
    assert started["keep"] is True
    # when
    client = clients()
    client.ask("create orders")
    client.leave()
    # then
    status = json.loads(command("status", "--path", str(path), "--json").stdout)
    assert status["pid"] == started["pid"]
    assert status["users"] in (None, [])
    assert status["memory_bytes"] > 0
    assert status["data_bytes"] > 0
    assert status["socket"] == str(path / "server.sock")
    stopped = command("stop", "--path", str(path))
    assert stopped.returncode == 0
    assert "stopped" in stopped.stdout
    client = clients()
    assert client.ask("topics") == ["orders"]
    client.leave()
    assert state(url) == "stopped", "the mark of start is gone"


def test_stop_is_refused_while_clients_use_it_unless_forced(
    url: str, path: Path, clients: Callable[[], Client]
) -> None:
    # given
    client = clients()
    client.ask("create orders")
    server = pid(url)
    # when
    refused = command("stop", "--path", str(path))
    # then
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "close them first, or use --force" in refused.stderr
    assert pid(url) == server
    forced = command("stop", "--path", str(path), "--force")
    assert forced.returncode == 0
    assert client.ask("topics") == ["orders"], "the client has started it again"
    assert pid(url) != server


def test_status_of_no_server_creates_nothing(tmp_path: Path) -> None:
    done = command("status", "--path", str(tmp_path / "nowhere"))
    assert done.returncode == 0
    assert "stopped" in done.stdout
    assert command("status", "--path", str(tmp_path)).returncode == 0
    assert not list(tmp_path.iterdir())


def test_status_says_when_the_server_does_not_answer(url: str, clients: Callable[[], Client]) -> None:
    clients()
    server = pid(url)
    os.kill(server, signal.SIGSTOP)
    try:
        assert state(url) == "not answering"
    finally:
        os.kill(server, signal.SIGCONT)
    eventually(lambda: state(url) == "running")


def test_a_mistaken_url_is_refused() -> None:
    with pytest.raises(StoreError, match="only fsync is known"):
        open_store("embedded://x?fsnyc=always", {})
