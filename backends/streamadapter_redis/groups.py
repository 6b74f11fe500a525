"""Consumer groups: heartbeats, state, committed offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError

from streamadapter.backend import TP, Committed, GroupView
from streamadapter.errors import StoreError
from streamadapter_redis import scripts
from streamadapter_redis.execution import Execution
from streamadapter_redis.keys import redis_group


class GroupPart(Execution):
    """Groups: see `streamadapter.backend.LogStore`."""

    def group_heartbeat(
        self, group: str, member_id: str, known_version: int, session_timeout_ms: int
    ) -> GroupView:
        """One script; nothing is written but the member's deadline."""
        version, now, changed, state, expired = self._call(
            scripts.HEARTBEAT, self._group_keys(group)[:2], member_id, known_version, session_timeout_ms
        )
        return GroupView(version, now, state if changed else None, tuple(m.decode() for m in expired))

    def group_update(
        self,
        group: str,
        expected_version: int,
        state: bytes,
        sessions: Mapping[str, int],
        evict: Sequence[str],
    ) -> GroupView:
        """Compare and replace. The group's name is registered first: a name without a group is harmless."""
        if expected_version == 0:
            self._one("SADD", self.keys.groups, group)
        pairs = [value for member, timeout in sessions.items() for value in (member, timeout)]
        applied, version, now, current = self._call(
            scripts.GROUP_UPDATE,
            self._group_keys(group)[:3],
            expected_version,
            state,
            redis_group(group, "")[:-1],
            len(evict),
            *evict,
            *pairs,
        )
        return GroupView(version, now, None if applied else current, applied=bool(applied))

    def groups(self) -> list[str]:
        """Names, those without state or offsets left out."""
        names = sorted(name.decode() for name in self._one("SMEMBERS", self.keys.groups))
        exists = self._all(
            [("EXISTS", self.keys.group_state(name), self.keys.group_offsets(name)) for name in names]
        )
        return [name for name, count in zip(names, exists, strict=True) if count]

    def delete_group(self, group: str) -> None:
        """State, offsets and sessions in one step."""
        keys = self._group_keys(group)
        status = self._call(scripts.DELETE_GROUP, [keys[0], keys[1], self.keys.group_offsets(group), keys[2]])
        if status == 1:
            raise StoreError(KafkaError.NON_EMPTY_GROUP, f"The group '{group}' has live members.")
        if status == 2:
            raise StoreError(KafkaError.GROUP_ID_NOT_FOUND, f"The group '{group}' does not exist.")
        self._one("SREM", self.keys.groups, group)

    def commit(self, group: str, member_id: str, offsets: Mapping[TP, Committed]) -> None:
        """All offsets in one script call, in the group's slot."""
        if not member_id:
            self._one("SADD", self.keys.groups, group)
        pairs: list[str | bytes] = []
        for (topic, partition), committed in offsets.items():
            pairs += (f"{topic}:{partition}", _encode_committed(committed))
        keys = [self.keys.group_deadlines(group), self.keys.group_offsets(group)]
        if not self._call(scripts.COMMIT, keys, member_id, *pairs):
            reason = (
                f"'{member_id}' is no live member of group '{group}'"
                if member_id
                else (f"group '{group}' has live members: only they may commit")
            )
            raise StoreError(KafkaError.UNKNOWN_MEMBER_ID, reason)

    def committed(self, group: str) -> dict[TP, Committed]:
        """All committed offsets of a group; empty if it has none."""
        raw = self._one("HGETALL", self.keys.group_offsets(group))
        found = {}
        for field, value in zip(raw[::2], raw[1::2], strict=True):
            topic, _, partition = field.decode().rpartition(":")
            found[topic, int(partition)] = _decode_committed(value)
        return found

    def delete_offsets(self, groups: Sequence[str], tps: Sequence[TP]) -> None:
        """Forget committed offsets, group by group."""
        fields = [f"{topic}:{partition}" for topic, partition in tps]
        if fields:
            self._all([("HDEL", self.keys.group_offsets(group), *fields) for group in groups])

    def _group_keys(self, group: str) -> list[str]:
        return [self.keys.group_state(group), self.keys.group_deadlines(group), self.keys.group_signal(group)]


def _encode_committed(c: Committed) -> bytes:
    """`offset epoch log-id`, and `=metadata` if there is any: None and '' differ."""
    head = f"{c.offset} {c.leader_epoch} {c.log_id}"
    return (head if c.metadata is None else f"{head}={c.metadata}").encode()


def _decode_committed(value: bytes) -> Committed:
    head, separator, metadata = value.decode().partition("=")
    offset, epoch, log_id = head.split(" ")
    return Committed(int(offset), int(epoch), metadata if separator else None, log_id)
