"""A server, and what a test of clients needs around it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from streamadapter import registry
from streamadapter.properties import parse
from streamadapter.testing.contract.lab import Clients

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamadapter.backend import LogStore


class Cluster(Clients):
    """The clients that one test has on one server, and its store for what no client does."""

    _store: LogStore | None = None

    @property
    def store(self) -> LogStore:
        """The server without a client."""
        if self._store is None:
            open_store = registry.backend_of(self.url).open_store
            assert open_store
            self._store = open_store(self.url, parse({}, "admin"))
        return self._store

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        return {tp: found.offset for tp, found in self.store.committed(group).items()}

    def close(self) -> None:
        super().close()
        if self._store is not None:
            self._store.close()


def _client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("streamadapter-")]


@pytest.fixture
def cluster(store_url: str) -> Iterator[Cluster]:
    """Each backend in turn. Closed clients must leave no thread behind."""
    before = len(_client_threads())
    cluster = Cluster(store_url)
    yield cluster
    cluster.close()
    Cluster.until(lambda: len(_client_threads()) <= before)
