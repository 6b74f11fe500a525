"""`RedisStore`: the log store's primitives, each one script or one command, each one round trip."""

from __future__ import annotations

from collections.abc import Callable

from streamadapter.backend import Settings
from streamadapter_redis.connect import connector
from streamadapter_redis.groups import GroupPart
from streamadapter_redis.link import Link
from streamadapter_redis.logs import LogPart
from streamadapter_redis.reader import RedisReader


class RedisStore(LogPart, GroupPart):
    """See `streamadapter.backend.LogStore`; its parts are topics.py, logs.py and groups.py. Thread-safe."""

    def __init__(
        self,
        connect: Callable[[], Link],
        address: tuple[str, int],
        settings: Settings,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(connect, address, settings.get("streamadapter.key.prefix", "sa"))
        self._on_close = on_close

    def reader(self, group: str | None, member_id: str) -> RedisReader:
        """A reader with a connection of its own."""
        return RedisReader(self, self._connect, group, member_id)

    def unblock(self, client_id: int) -> bool:
        """End the blocking command of another connection; False if it is in none."""
        return bool(self._one("CLIENT", "UNBLOCK", client_id))

    def address(self) -> tuple[str, int]:
        """Host or socket path, and port."""
        return self._address

    def close(self) -> None:
        """Close idle connections; calls under way finish first."""
        self._links.close()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()


def open_store(
    url: str,
    settings: Settings,
    *,
    revive: Callable[[], None] | None = None,
    on_close: Callable[[], None] | None = None,
) -> RedisStore:
    """A store on the server at `url`; connects when first used. Raises StoreError for a bad URL.

    revive: called when a connection failed, before another attempt, so that the owner of the server may restart
    it. on_close: called once by close().
    """
    connect, address = connector(url, settings, revive)
    return RedisStore(connect, address, settings, on_close)
