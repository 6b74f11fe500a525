"""The log store on Redis >= 7.0 and Valkey >= 8: standalone servers, over TCP, TLS or a unix socket."""

from streamadapter.backend import Backend
from streamadapter_redis.features import FEATURES
from streamadapter_redis.store import RedisStore, open_store

backend = Backend(
    name="redis",
    schemes=("redis", "rediss", "valkey", "valkeys", "unix"),
    features=FEATURES,
    open_store=open_store,
)

__all__ = ["FEATURES", "RedisStore", "backend", "open_store"]
