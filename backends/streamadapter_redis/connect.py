"""From a URL and Kafka's properties to connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
from confluent_kafka import KafkaError
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from streamadapter.backend import Settings
from streamadapter.errors import StoreError
from streamadapter_redis.link import Link

MAX_SOCKET_TIMEOUT_S = 5.0
"""Upper bound of socket.timeout.ms: Kafka's default of 60 s would leave heartbeats waiting for a hung server."""

_SCHEMES = (("valkeys:", "rediss:"), ("valkey:", "redis:"), ("redis+unix:", "unix:"))


def connector(
    url: str, settings: Settings, revive: Callable[[], None] | None
) -> tuple[Callable[[], Link], tuple[str, int]]:
    """What makes a new connection, and the address it goes to (host or socket path, port or 0).

    revive: called when a connection failed, before the one other attempt. Raises StoreError for a bad URL.
    """
    options = _options(url, settings)
    kind = options.pop("connection_class", redis.Connection)
    address = (options["path"], 0) if "path" in options else (options["host"], options["port"])
    where = f"{address[0]}:{address[1]}" if address[1] else address[0]

    def link() -> Link:
        return Link(kind(**options), where)

    def connect() -> Link:
        try:
            return link()
        except StoreError as error:
            if revive is None or error.code != KafkaError._TRANSPORT:
                raise
        revive()
        return link()

    return connect, address


def _options(url: str, settings: Settings) -> dict[str, Any]:
    """Arguments of a redis-py connection, and its class where it is not the plain one."""
    for ours, theirs in _SCHEMES:
        if url.startswith(ours):
            url = theirs + url[len(ours) :]
    timeout = min(float(settings.get("socket.timeout.ms", 60_000)) / 1000, MAX_SOCKET_TIMEOUT_S)
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "client_name": settings.get("client.id") or None,
        "retry": Retry(NoBackoff(), 0),  # the engine retries, with sequences that make it safe
        "protocol": 2,  # one reply format for all servers
        "socket_read_size": 1 << 17,
    }
    try:
        options |= parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has not typed it
    except ValueError as error:
        raise StoreError(KafkaError._INVALID_ARG, f"bad URL: {error}") from error
    if "path" in options:
        return options
    options = {"host": "localhost", "port": 6379, "socket_keepalive": True} | options
    if url.startswith("rediss:"):
        tls = {
            "ssl_ca_certs": settings.get("ssl.ca.location"),
            "ssl_certfile": settings.get("ssl.certificate.location"),
            "ssl_keyfile": settings.get("ssl.key.location"),
            "ssl_password": settings.get("ssl.key.password"),
        }
        options |= {name: value for name, value in tls.items() if value}
        if not settings.get("enable.ssl.certificate.verification", True):
            options |= {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return options
