"""The server process of a data directory: is it alive, does it answer, start it, shut it down.

Whether it is alive is not asked of a pid file: the process holds a lock that it inherited from its starter, so
the kernel answers, and no reused pid, stale socket or crash half-way can mislead. Whoever starts it or shuts it
down holds the transition lock.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING

import redis
from confluent_kafka import KafkaError
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamadapter.errors import StoreError
from streamadapter_embedded import directory as names
from streamadapter_embedded.binary import find_binary
from streamadapter_embedded.directory import file_errors
from streamadapter_embedded.locks import FileLock

if TYPE_CHECKING:
    from streamadapter_embedded.directory import DataDirectory

STARTS = 3  # a server that is killed just when somebody joins is started again; one that keeps dying is not
START_TIMEOUT_S = 30.0  # to a first answer; 0.02-0.1 s usually
LOAD_TIMEOUT_S = 300.0  # of the append-only file, roughly 100 MB/s
STOP_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 5.0
_POLL_S = 0.01

# All paths are relative to the working directory: nothing to quote, and the directory may be moved.
_CONFIG = """\
# Written at each start of the server by streamadapter_embedded: changes are lost.
port 0
unixsocket {socket}
unixsocketperm 700
daemonize yes
pidfile {pidfile}
logfile {log}
appendonly yes
appendfsync {fsync}
save ""
maxmemory-policy noeviction
"""


class Health(Enum):
    """What a PING finds out."""

    SILENT = auto()
    LOADING = auto()  # reads its append-only file; answers everything else with -LOADING
    READY = auto()


def connect(directory: DataDirectory) -> redis.Redis:
    """A client that does not retry, to be closed."""
    return redis.Redis(
        unix_socket_path=directory.socket,
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def is_alive(directory: DataDirectory) -> bool:
    """Whether a server process exists, answering or not."""
    with file_errors(directory.path):
        lock = FileLock.attempt(directory.fd, names.SERVER_LOCK, shared=True)
    if lock is None:
        return True
    lock.release()
    return False


def health(directory: DataDirectory) -> Health:
    """Ask it, for at most ANSWER_TIMEOUT_S."""
    with connect(directory) as client:
        try:
            client.ping()
        except redis.BusyLoadingError:
            return Health.LOADING
        except redis.ResponseError:  # such as -MISCONF, with a full disk: the clients' business
            return Health.READY
        except redis.RedisError:
            return Health.SILENT
        return Health.READY


def ensure_running(directory: DataDirectory, fsync: str) -> None:
    """Start the server unless it is alive, and wait for its first answer. The caller has the transition lock.

    A running server's fsync policy is made stricter if need be, never laxer: others rely on it. StoreError.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    launches = 0
    while not is_alive(directory) or health(directory) is Health.SILENT:
        if not is_alive(directory):
            if launches == STARTS:
                raise failed(directory, directory.log_tail())
            launches += _launch(directory, fsync)
        if time.monotonic() >= deadline:
            raise _silent(directory)
        time.sleep(_POLL_S)
    if fsync == "always" and not launches:
        with connect(directory) as client:
            try:
                client.config_set("appendfsync", fsync)
            except redis.RedisError as error:
                raise failed(directory, str(error)) from error


def is_loaded(directory: DataDirectory) -> bool:
    """Wait until the server has read its data; False if it dies first. StoreError if it takes too long."""
    deadline = time.monotonic() + LOAD_TIMEOUT_S
    while health(directory) is not Health.READY:
        if not is_alive(directory):
            return False
        if time.monotonic() >= deadline:
            raise _silent(directory)
        time.sleep(_POLL_S)
    return True


def shut_down(directory: DataDirectory) -> None:
    """SHUTDOWN, which syncs the append-only file, and wait until the process is gone. StoreError(_TIMED_OUT).

    The caller has the transition lock. Nothing happens if no server is alive.
    """
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while is_alive(directory):
        if time.monotonic() >= deadline:
            raise _silent(directory)
        with connect(directory) as client, suppress(redis.RedisError):  # not listening yet, or gone already
            client.shutdown()
        time.sleep(_POLL_S)


def _launch(directory: DataDirectory, fsync: str) -> bool:
    """Start a process that holds the server lock; False if somebody holds it now. Does not wait for an answer."""
    with file_errors(directory.path):
        lock = FileLock.attempt(directory.fd, names.SERVER_LOCK)
        if lock is None:
            return False
        try:
            binary = find_binary(directory.read(names.BINARY))
            directory.write(names.BINARY, binary)
            config = _CONFIG.format(socket=names.SOCKET, pidfile=names.PIDFILE, log=names.LOG, fsync=fsync)
            directory.write(names.CONFIG, config)
            _check_place(directory)
            # "daemonize yes": a session of its own (no Ctrl-C of ours), and init's child (no zombie of ours).
            done = subprocess.run(  # noqa: S603  a probed server binary, no shell
                [binary, names.CONFIG],
                cwd=directory.path,
                pass_fds=(lock.fileno(),),
                umask=0o077,
                capture_output=True,
                text=True,
                timeout=START_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _silent(directory) from error
        finally:
            lock.hand_over()
    if done.returncode != 0:
        output = (done.stderr.strip() or done.stdout.strip() or directory.log_tail()).splitlines()
        raise failed(directory, output[-1])
    return True


def _check_place(directory: DataDirectory) -> None:
    """The server is started by path, its locks were taken by descriptor: they must mean the same directory."""
    if not os.path.samestat(directory.path.stat(), os.fstat(directory.fd)):
        raise StoreError(KafkaError._FS, f"{directory.path} was replaced by another directory", fatal=True)


def failed(directory: DataDirectory, reason: str) -> StoreError:
    """The error for a server that does not start."""
    return StoreError(
        KafkaError._CRIT_SYS_RESOURCE,
        f"the embedded server did not start: {reason} (log: {directory.path / names.LOG})",
        retriable=True,
    )


def _silent(directory: DataDirectory) -> StoreError:
    pid = directory.read(names.PIDFILE) or "unknown"
    return StoreError(
        KafkaError._TIMED_OUT,
        f"the embedded server of {directory.path} (pid {pid}) does not answer: see {names.LOG} there",
        retriable=True,
    )
