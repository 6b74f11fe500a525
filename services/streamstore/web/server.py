"""Serves an ASGI application from a thread of a service's process until the service is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from threading import Event, Thread

import uvicorn
from starlette.types import ASGIApp

STOP_SECONDS = 10  # for requests under way when the service stops; the rest is cut off
BACKLOG = 2048


def serve(app: ASGIApp, host: str, port: int, stop: Event) -> None:
    """Answer requests until `stop` is set, then let those under way end. Blocking; for any thread.

    Several processes may serve one port (SO_REUSEPORT): the kernel spreads the connections over them. Raises OSError
    if the port belongs to somebody else, RuntimeError if the application does not start.
    """
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,  # the service has set logging up
        timeout_graceful_shutdown=STOP_SECONDS,
        lifespan="on",
        server_header=False,
        proxy_headers=False,  # nobody here asks where a request comes from
        ws="none",
    )
    server = _Server(config)
    ended = Event()

    def watch() -> None:
        while not (stop.wait(0.1) or ended.is_set()):
            pass
        server.should_exit = True

    with listening(host, port) as listener:
        watcher = Thread(target=watch, name="http-stop", daemon=True)
        watcher.start()
        try:
            server.run(sockets=[listener])
        finally:
            ended.set()
            watcher.join()
    if not server.started:
        raise RuntimeError(f"the HTTP interface on {host}:{port} did not start; see the log")


@contextmanager
def listening(host: str, port: int) -> Generator[socket.socket, None, None]:
    """A socket that shares its port with those of other instances. Raises OSError in one line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
        listener.listen(BACKLOG)
        yield listener


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the service: they set `stop`."""
        yield
