"""The data directory: from the URL to an open, checked directory, and what lies in it."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from confluent_kafka import KafkaError

from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_PATH = "./streamadapter-data"
FSYNC = ("everysec", "always")
"""Values of appendfsync, weakest first. "no" is not offered: it may lose half a minute."""

TRANSITION_LOCK = "transition.lock"  # exclusive: whoever starts or stops the server, or joins or leaves it
USERS_LOCK = "users.lock"  # shared: every open store
SERVER_LOCK = "server.lock"  # exclusive: the server process itself, inherited from whoever started it
KEEP = "keep"  # exists: the last user leaves the server running
CONFIG = "server.conf"
LOG = "server.log"
SOCKET = "server.sock"
PIDFILE = "server.pid"
BINARY = "server.binary"  # path of the program that wrote the data last

_MAX_SOCKET_PATH = 103  # bytes of sun_path without its final NUL: 107 on Linux, 103 on macOS


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL asks for: an absolute path and the fsync policy."""

    path: Path
    fsync: str


def parse_url(url: str) -> Target:
    """`embedded://[path][?fsync=always|everysec]`, path percent-encoded; StoreError(_INVALID_ARG)."""
    raw, _, query = url.partition("://")[2].partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    fsync = options.pop("fsync", FSYNC[0])
    if options:
        raise StoreError(
            KafkaError._INVALID_ARG, f"unknown option {min(options)!r} in {url}: only fsync is known"
        )
    if fsync not in FSYNC:
        raise StoreError(
            KafkaError._INVALID_ARG, f"fsync={fsync} in {url}: must be one of {', '.join(FSYNC)}"
        )
    return Target(absolute(unquote(raw)), fsync)


def absolute(path: str) -> Path:
    """The default if empty; a leading ~ is the home directory."""
    return Path(path or DEFAULT_PATH).expanduser().absolute()


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Any OSError inside becomes StoreError(_FS) in one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            KafkaError._FS,
            f"cannot use {path} as the data directory of the embedded server: {reason}",
            fatal=True,
        ) from error


class DataDirectory:
    """An open data directory. Its files are reached through the open descriptor, wherever it is moved."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        with file_errors(path):
            if create:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check_owner(path, os.fstat(self.fd))
            self.socket = self._socket()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, name: str) -> str:
        """A small text file of ours, stripped; empty if there is none."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except FileNotFoundError:
            return ""
        with os.fdopen(fd, errors="replace") as file:
            return file.read().strip()

    def write(self, name: str, text: str) -> None:
        """Replace a file in one step: a reader sees the old text or the new."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(f"{name}.new", flags, 0o600, dir_fd=self.fd), "w") as file:
            file.write(text)
        os.replace(f"{name}.new", name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return os.access(name, os.F_OK, dir_fd=self.fd)

    def log_tail(self) -> str:
        """The last line that the server logged, without its time stamp."""
        lines = self.read(LOG).splitlines() or ["its log is empty"]
        return lines[-1].partition(" # ")[2] or lines[-1]

    def _socket(self) -> str:
        """A path to connect to. One that is too long for sun_path goes through our open descriptor instead."""
        path = str(self.path / SOCKET)
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
            return path
        if sys.platform == "linux":
            return f"/proc/self/fd/{self.fd}/{SOCKET}"
        raise StoreError(
            KafkaError._INVALID_ARG,
            f"{self.path} is too long for a unix socket: choose a path of at most "
            f"{_MAX_SOCKET_PATH - len(SOCKET) - 1} bytes",
        )


def _check_owner(path: Path, status: os.stat_result) -> None:
    """Whoever can write to the directory can plant a socket in it that gets our records."""
    if status.st_uid not in (0, os.geteuid()):
        raise StoreError(
            KafkaError._FS,
            f"the data directory {path} belongs to another user (uid {status.st_uid}): choose another one",
            fatal=True,
        )
    if status.st_mode & stat.S_IWOTH:
        raise StoreError(
            KafkaError._FS,
            f"every user may write to the data directory {path}: choose a new directory inside it",
            fatal=True,
        )
