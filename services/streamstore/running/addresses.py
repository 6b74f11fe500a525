"""Where services answer HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from streamstore.app import CONSUMERS
from streamstore.settings import Settings

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - not bound to: what to call instead


def listens(service: str, settings: Settings) -> bool:
    """Whether the service has an HTTP interface: the consumers of orders, in the synchronous architecture only."""
    return service not in CONSUMERS or settings.architecture == "synchronous"


def url_of(service: str, settings: Settings) -> str:
    """Where to call the service, or the dashboard, from this machine; no slash at the end."""
    host = _ANY.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port_of(service)}"


def check_free(services: Iterable[str], settings: Settings) -> None:
    """Raise OSError, in one line, if anybody listens where one of the services wants to.

    They share their ports among their instances (SO_REUSEPORT), so that two shops would share them silently.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    for service in services:
        port = settings.port_of(service)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections that linger are no listeners.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
                probe.listen()
            except OSError as error:
                where = f"{settings.host}:{port}, the port of {service}"
                raise OSError(
                    f"cannot listen on {where}: {error.strerror}; choose others with --port"
                ) from None
