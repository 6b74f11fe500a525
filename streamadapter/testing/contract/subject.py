"""What the contract suite is run on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from streamadapter.registry import backend_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from streamadapter.backend import Features
    from streamadapter.testing.proxy import Proxy


class OwnServer(Protocol):
    """A server that belongs to one scenario, which may do to it what it likes. Used by one thread at a time."""

    @property
    def url(self) -> str:
        """The server itself."""
        ...

    @property
    def proxied_url(self) -> str | None:
        """The same server through `proxy`; None if the backend's connections cannot be led through one."""
        ...

    @property
    def proxy(self) -> Proxy | None:
        """Injects faults into what goes over `proxied_url`."""
        ...

    def kill(self) -> None:
        """SIGKILL. What it acknowledged must come back with `start`."""
        ...

    def start(self) -> object:
        """Start again after `kill`: the same address, the same data. Returns when it answers."""
        ...

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        ...

    def resume(self) -> None:
        """SIGCONT."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """A running server, and how to get another one.

    url: of a server that all scenarios share; they use topics and groups of their own. own_server: starts a server
    with its data in the directory given, and ends it on exit; None: scenarios that need one are skipped.
    server: its name and version, for the report. unsupported: of a stand-in for the real server, scenarios (as their
    functions are called) and whole areas that it cannot run, and why. create_topic(name, partitions): for one
    that topics cannot be created on with an admin client.
    """

    url: str
    own_server: Callable[[Path], AbstractContextManager[OwnServer]] | None = None
    server: str = ""
    unsupported: Mapping[str, str] = field(default_factory=dict)
    create_topic: Callable[[str, int], None] | None = None

    @property
    def features(self) -> Features:
        """Of the backend that the URL names."""
        return backend_of(self.url).features
