"""Every key and every Redis group name is built here, and nowhere else.

The part in braces is the hash tag of Redis Cluster: all keys that one script touches share a slot. Topic names
have no braces (topic_config.check_name); group ids may hold anything, so they are percent-encoded.
"""

from __future__ import annotations

from urllib.parse import quote


class Keys:
    """Key names under one prefix; immutable, thread-safe."""

    def __init__(self, prefix: str) -> None:
        self.registry = f"{prefix}:{{topics}}:registry"
        self.registry_version = f"{prefix}:{{topics}}:version"
        self.groups = f"{prefix}:{{groups}}:registry"
        self._prefix = prefix

    def log(self, topic: str, partition: int) -> str:
        """Stream: one entry a record batch."""
        return f"{self._prefix}:{{{topic}:{partition}}}:log"

    def meta(self, topic: str, partition: int) -> str:
        """Hash: identity and limits of the log."""
        return f"{self._prefix}:{{{topic}:{partition}}}:meta"

    def owners(self, topic: str, partition: int) -> str:
        """Hash: consumer group -> owner epoch and member."""
        return f"{self._prefix}:{{{topic}:{partition}}}:owners"

    def producer(self, topic: str, partition: int, producer_id: int) -> str:
        """String: log id, epoch, next sequence and the last five batches of a producer."""
        return f"{self._prefix}:{{{topic}:{partition}}}:producer:{producer_id}"

    def group_state(self, group: str) -> str:
        """Hash: version and coordinator state."""
        return f"{self._prefix}:{{group:{quote(group, safe='')}}}:state"

    def group_deadlines(self, group: str) -> str:
        """Sorted set: member -> end of its session, ms."""
        return f"{self._prefix}:{{group:{quote(group, safe='')}}}:deadlines"

    def group_offsets(self, group: str) -> str:
        """Hash: topic:partition -> committed offset."""
        return f"{self._prefix}:{{group:{quote(group, safe='')}}}:offsets"

    def group_signal(self, group: str) -> str:
        """Stream: an entry a change of the group."""
        return f"{self._prefix}:{{group:{quote(group, safe='')}}}:signal"


def redis_group(group: str, member_id: str) -> str:
    """Name of the Redis consumer group that is one member's cursor."""
    return f"{quote(group, safe='')}/{member_id}"
