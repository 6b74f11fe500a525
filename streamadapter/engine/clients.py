"""Whole clients from a log store: what `Backend.clients` is for backends that bring only a store."""

from __future__ import annotations

from collections.abc import Callable

from streamadapter.backend import LogStore, Settings
from streamadapter.engine.admin import EngineAdmin
from streamadapter.engine.consumer import EngineConsumer
from streamadapter.engine.producer import EngineProducer
from streamadapter.errors import StoreError


class StoreClients:
    """See `streamadapter.backend.ClientBackend`. Each client has a store, and so connections, of its own."""

    def __init__(self, open_store: Callable[[str, Settings], LogStore]) -> None:
        self._open_store = open_store

    def _open(self, url: str, settings: Settings) -> LogStore:
        try:
            return self._open_store(url, settings)
        except StoreError as error:
            raise error.kafka_exception() from error

    def producer(self, url: str, settings: Settings) -> EngineProducer:
        """A producer; connects in the background."""
        return EngineProducer(self._open(url, settings), settings)

    def consumer(self, url: str, settings: Settings) -> EngineConsumer:
        """A consumer; connects in the background."""
        return EngineConsumer(self._open(url, settings), settings)

    def admin(self, url: str, settings: Settings) -> EngineAdmin:
        """An admin client; connects when first used."""
        return EngineAdmin(self._open(url, settings), settings)
