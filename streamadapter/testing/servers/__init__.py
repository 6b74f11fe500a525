"""Real servers for tests: started, killed, paused and started again on the same address.

    with RedisServer(tmp_path, {"appendonly": "yes"}) as server:
        client = redis.Redis.from_url(server.url)
        server.kill()
        server.start()      # the same port, the same directory

A server never outlives the process that started it, however that one ends. `process.py` has what all of them
share, `redis_family.py` Redis and Valkey; Kafka's is `streamadapter.testing.kafka`.
"""

from streamadapter.testing.servers.process import Server, free_port
from streamadapter.testing.servers.redis_family import RedisFamilyServer, RedisServer, ValkeyServer

__all__ = ["RedisFamilyServer", "RedisServer", "Server", "ValkeyServer", "free_port"]
