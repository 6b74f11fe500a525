"""`embedded://`: a private server in a data directory, shared by whoever opens it. See README.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import streamadapter_redis
from streamadapter.backend import Backend
from streamadapter_embedded.control import server_control
from streamadapter_embedded.directory import parse_url
from streamadapter_embedded.lease import Lease

if TYPE_CHECKING:
    from streamadapter.backend import LogStore, Settings

__all__ = ["backend", "open_store", "server_control"]


def open_store(url: str, settings: Settings) -> LogStore:
    """The Redis store on the server of the directory that `url` names; starts it if need be. StoreError."""
    lease = Lease(parse_url(url))
    try:
        return streamadapter_redis.open_store(
            f"unix://{quote(lease.socket)}", settings, revive=lease.revive, on_close=lease.release
        )
    except BaseException:
        lease.release()
        raise


backend = Backend(
    name="embedded",
    schemes=("embedded",),
    features=replace(streamadapter_redis.FEATURES, name="embedded", stays_down=False, replicas=False),
    open_store=open_store,
)
