"""Whole clients from a log store: what `Backend.clients` is for backends that bring only a store.

A kind of client is imported when one is made: most programs have one kind, and wait less for their first message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from streamadapter.backend import LogStore, Settings
from streamadapter.errors import StoreError

if TYPE_CHECKING:
    from streamadapter.engine.admin import EngineAdmin
    from streamadapter.engine.consumer import EngineConsumer
    from streamadapter.engine.producer import EngineProducer


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
        from streamadapter.engine.producer import EngineProducer

        return EngineProducer(self._open(url, settings), settings)

    def consumer(self, url: str, settings: Settings) -> EngineConsumer:
        """A consumer; connects in the background."""
        from streamadapter.engine.consumer import EngineConsumer

        return EngineConsumer(self._open(url, settings), settings)

    def admin(self, url: str, settings: Settings) -> EngineAdmin:
        """An admin client; connects when first used."""
        from streamadapter.engine.admin import EngineAdmin

        return EngineAdmin(self._open(url, settings), settings)
