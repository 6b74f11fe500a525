"""From a configuration to a client: which URL, which backend, which settings.

``bootstrap.servers`` is a URL whose scheme names the backend; a bare ``host:port``, or several, is Kafka, as it
is for confluent_kafka. Without it the config file decides, and its [producer] or [consumer] section holds the
defaults. Backends are entry points of the group ``streamadapter.backends``; one is imported when a URL needs it, and
so are the config file's model (pydantic) and the engine: `import streamadapter` must be quick.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import re
import threading
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # public, but not marked as re-exported

from streamadapter.backend import ENTRY_POINTS, Backend, ClientBackend
from streamadapter.properties import BY_NAME, Role, invalid, parse

if TYPE_CHECKING:
    from streamadapter.config import Config

__all__ = ["backend_of", "open_client", "redact"]

log = logging.getLogger(__name__)

_SERVERS = ("bootstrap.servers", "metadata.broker.list")
_KAFKA_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")  # librdkafka's own URL-like prefixes
_TLS_SCHEMES = ("rediss", "valkeys")

_USERINFO = re.compile(r"(?<=://)([^:/?#]*):.*@")  # to the last @: a password may hold any character
_QUERY_SECRET = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def open_client(role: Role, conf: Mapping[str, Any] | None, kwargs: Mapping[str, Any]) -> Any:
    """A client of the backend that the configuration names; `kwargs` win over `conf`, which wins over the file.

    Raises as `properties.parse` and `config.load` do, KafkaException(_INVALID_ARG) for an unknown scheme or a
    password that would travel in plain text, and the backend's error when topics of the config file cannot be
    created. Thread-safe.
    """
    merged = {**(conf or {}), **kwargs}
    url = next((str(merged[name]) for name in _SERVERS if merged.get(name)), "")
    given = {name: value for name, value in merged.items() if name not in _SERVERS}
    config = None
    if not url:
        from streamadapter.config import load

        config = load()
        url, section = config.connection()
        defaults = {"producer": config.producer, "consumer": config.consumer, "admin": {}}[role]
        given = {**section, **defaults, **given}
    backend = backend_of(url)
    clients = _clients(backend)
    settings = _settings(backend, url, given, role)
    if config is not None and config.topics:
        shared = {name: value for name, value in given.items() if _is_common(name)}
        _create_topics(config, clients, url, _settings(backend, url, shared, "admin"))
    return getattr(clients, role)(url, settings)


def _clients(backend: Backend) -> ClientBackend:
    if backend.clients is not None:
        return backend.clients
    if backend.open_store is None:
        raise invalid(f"backend {backend.name} has neither a store nor clients; it cannot be used")
    from streamadapter.engine.clients import StoreClients

    return StoreClients(backend.open_store)


def _settings(backend: Backend, url: str, given: Mapping[str, Any], role: Role) -> Mapping[str, Any]:
    """Validated for a store; as they are for whole clients, which know more properties and check them."""
    if backend.clients is not None:
        return given
    settings = parse({**given, "bootstrap.servers": redact(url)}, role)
    _check_url(url, allow_plaintext=settings["streamadapter.allow.plaintext.password"])
    return settings


def _is_common(name: str) -> bool:
    """Whether a property is not only for producers or only for consumers, as far as is known here."""
    return name not in BY_NAME or BY_NAME[name].roles == "*"


def redact(url: str) -> str:
    """The URL without its passwords, for messages and logs."""
    return _QUERY_SECRET.sub(r"\1***", _USERINFO.sub(r"\1:***@", url))


def scheme_of(url: str) -> str:
    """The URL's scheme in lower case; "kafka" for bare addresses, one or several."""
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    return scheme if separator and scheme not in _KAFKA_PROTOCOLS else "kafka"


def backend_of(url: str) -> Backend:
    """The installed backend for the URL's scheme. KafkaException(_INVALID_ARG) if there is none."""
    scheme = scheme_of(url)
    known: set[str] = set()
    # The likeliest first ("redis" for "rediss"), so that usually one backend is imported and no other.
    for point in sorted(
        entry_points(group=ENTRY_POINTS), key=lambda point: not scheme.startswith(point.name)
    ):
        backend = _load(point, needed=scheme == point.name)
        if backend is not None:
            if scheme in backend.schemes:
                return backend
            known |= set(backend.schemes)
    raise invalid(f"unknown scheme in {redact(url)}; known are {', '.join(f'{s}://' for s in sorted(known))}")


def _load(point: EntryPoint, needed: bool) -> Backend | None:
    try:
        backend = point.load()
    except ImportError as error:
        if needed:
            raise invalid(f"backend {point.name} is installed but cannot be imported: {error}") from error
        log.warning("backend %s cannot be imported: %s", point.name, error)
        return None
    if not isinstance(backend, Backend):
        raise invalid(
            f"entry point {point.name} = {point.value} of {ENTRY_POINTS} is not a streamadapter Backend"
        )
    return backend


def _check_url(url: str, allow_plaintext: bool) -> None:
    """Refuse a URL that cannot be split, and a password in plain text to a host other than this one."""
    try:
        parts = urlsplit(url)
        secret = parts.password or _QUERY_SECRET.search(url)
    except ValueError:
        raise invalid(f"{redact(url)} is not a valid URL; encode special characters as %XX") from None
    hosts = [_host(address) for address in parts.netloc.rpartition("@")[2].split(",")]
    tls = parts.scheme.partition("+")[0] in _TLS_SCHEMES
    if secret and not tls and not allow_plaintext and not all(_is_loopback(host) for host in hosts):
        raise invalid(
            f"{redact(url)} would send a password in plain text to another host: use rediss:// (TLS), or set "
            "streamadapter.allow.plaintext.password=true if the network is to be trusted"
        )


def _host(address: str) -> str:
    return address[1:].partition("]")[0] if address.startswith("[") else address.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_CREATE_TIMEOUT_S = 10.0
_created: set[tuple[str, str | None]] = set()
_creating = threading.Lock()


def _create_topics(config: Config, clients: ClientBackend, url: str, settings: Mapping[str, Any]) -> None:
    """Create the config file's topics, once a process and place. Others may be doing the same."""
    place = (url, settings.get("streamadapter.key.prefix"))
    with _creating:
        if place in _created:
            return
        topics = [
            NewTopic(name, topic.partitions, config=topic.configs()) for name, topic in config.topics.items()
        ]
        timeout = min(_CREATE_TIMEOUT_S, float(settings.get("socket.timeout.ms", math.inf)) / 1000)
        with clients.admin(url, settings) as admin:
            for future in admin.create_topics(topics, request_timeout=timeout).values():
                try:
                    future.result()
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
        _created.add(place)
