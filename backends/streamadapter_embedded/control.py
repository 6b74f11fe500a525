"""What `streamadapter server` does: keep the server up without clients, stop it, look at it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from confluent_kafka import KafkaError

from streamadapter.errors import StoreError
from streamadapter_embedded.directory import (
    KEEP,
    SERVER_LOCK,
    SOCKET,
    USERS_LOCK,
    DataDirectory,
    file_errors,
    parse_url,
)
from streamadapter_embedded.lease import Lease, in_use, transition
from streamadapter_embedded.server import connect, is_alive, shut_down

if TYPE_CHECKING:
    from collections.abc import Mapping


class ServerControl:
    """Implements `streamadapter.cli.server.ServerControl`. Stateless; every method raises StoreError."""

    def start(self, url: str) -> Mapping[str, Any]:
        """Start the server, and mark the directory so that the last client to leave does not stop it."""
        target = parse_url(url)
        lease = Lease(target)
        directory = DataDirectory(target.path)
        try:
            with transition(directory), file_errors(directory.path):
                directory.write(KEEP, "")
        finally:
            directory.close()
            lease.release()
        return self.status(url)

    def stop(self, url: str, *, force: bool = False) -> Mapping[str, Any]:
        """Remove the mark and stop the server; refused (_CONFLICT) while clients use it, unless forced.

        A client that is still there when it is forced starts it again as soon as it needs it.
        """
        directory = DataDirectory(parse_url(url).path, create=False)
        try:
            if directory.exists(SERVER_LOCK):
                with transition(directory), file_errors(directory.path):
                    if not force and in_use(directory):
                        raise StoreError(
                            KafkaError._CONFLICT,
                            f"processes {_pids(_users(directory))} use the server of {directory.path}: "
                            "close them first, or use --force",
                        )
                    directory.remove(KEEP)
                    shut_down(directory)
        finally:
            directory.close()
        return self.status(url)

    def status(self, url: str) -> Mapping[str, Any]:
        """See `streamadapter.cli.server.ServerControl.status`. Creates nothing."""
        path = parse_url(url).path
        report: dict[str, Any] = {"state": "stopped", "path": str(path)}
        if not path.exists():
            return report
        directory = DataDirectory(path, create=False)
        try:
            report["data_bytes"] = _size(path)
            report["keep"] = directory.exists(KEEP)
            if directory.exists(SERVER_LOCK) and is_alive(directory):
                report |= {"state": "not answering", "socket": str(path / SOCKET), "users": _users(directory)}
                report |= _info(directory)
        finally:
            directory.close()
        return report


def _info(directory: DataDirectory) -> dict[str, Any]:
    with connect(directory) as client:
        try:
            info = client.info()
        except redis.RedisError:
            return {}
    name = info.get("server_name", "redis")
    return {
        "state": "loading" if info["loading"] else "running",
        "pid": info["process_id"],
        "version": f"{name} {info.get(f'{name}_version', info['redis_version'])}",
        "memory_bytes": info["used_memory"],
        "connections": info["connected_clients"] - 1,  # without this one
        "uptime_s": info["uptime_in_seconds"],
    }


def _users(directory: DataDirectory) -> list[int] | None:
    """Pids with an open store, as far as this process may see them; None where the system has no /proc/locks."""
    locks = Path("/proc/locks")
    if not locks.exists() or not directory.exists(USERS_LOCK):
        return None
    inode = os.stat(USERS_LOCK, dir_fd=directory.fd).st_ino
    # 1: FLOCK  ADVISORY  READ 1234 fe:01:5678 0 EOF; the device differs from stat's on some file systems
    rows = (line.split() for line in locks.read_text().splitlines())
    return sorted(
        {
            int(row[4])
            for row in rows
            if row[1] == "FLOCK" and row[3] == "READ" and row[5].endswith(f":{inode}")
        }
    )


def _pids(users: list[int] | None) -> str:
    return ", ".join(map(str, users)) if users else "of this or another user"


def _size(path: Path) -> int:
    """Bytes of the files below; one that vanishes meanwhile counts nothing."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(Path(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total


server_control = ServerControl()
