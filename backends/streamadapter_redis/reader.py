"""`RedisReader`: one consumer's reading, by XREADGROUP with a fenced cursor of its own, or by XREAD.

With a group, each partition has a Redis consumer group that belongs to this member alone. The server's cursor of it
is an optimisation that saves sending positions; the position that counts is the caller's. `_cursors` says where the
server's cursor is known to stand, and any doubt (a seek, an error, a lost reply) removes the entry, upon which it is
set again before reading. Setting or reading fails with NOGROUP once another member has taken the partition over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import redis
from confluent_kafka import KafkaError

from streamadapter.backend import TP, Fetched, LogState, StoredBatch, TopicInfo
from streamadapter.errors import FencedOwnerError, StoreError
from streamadapter_redis import scripts
from streamadapter_redis.entries import parse_entry, parse_log_state
from streamadapter_redis.errors import leading_code, translate
from streamadapter_redis.keys import redis_group
from streamadapter_redis.link import Command, Link

if TYPE_CHECKING:
    from streamadapter_redis.store import RedisStore

WAKE_ATTEMPTS = 5
_CONSUMER = "c"  # a Redis group here has one consumer; the fence is the group


def stream_id(offset: int) -> str:
    """The id right before a record: reading after it begins with the batch that holds `offset`."""
    return f"{offset - 1}-18446744073709551615" if offset > 0 else "0-0"


class _Streams:
    """The streams of some partitions: to name them for each fetch would take longer than the rest of it."""

    def __init__(self, tps: list[TP], names: list[str]) -> None:
        self.tps = tps
        self.names = names
        self.by_name = {name.encode(): tp for tp, name in zip(tps, names, strict=True)}


class RedisReader:
    """See `streamadapter.backend.Reader`."""

    def __init__(
        self, store: RedisStore, connect: Callable[[], Link], group: str | None, member_id: str
    ) -> None:
        self._store = store
        self._connect = connect
        self._group = group
        self._member_id = member_id
        self._redis_group = redis_group(group, member_id) if group is not None else ""
        self._signal = store.keys.group_signal(group) if group is not None else ""
        self._link: Link | None = None
        self._signal_ready = False
        self._signal_missed = group is not None  # a change of the group may have gone unnoticed
        self._owned: dict[TP, str] = {}  # partition -> the owner note that acquire left on the server
        self._cursors: dict[TP, int] = {}
        self._streams = _Streams([], [])
        self._blocking: Link | None = None
        self._woken = False
        self._closed = False

    # -- ownership

    def acquire(self, topic: TopicInfo, partition: int, epoch: int, offset: int) -> LogState:
        """Fence the former owner and put this member's cursor at `offset`."""
        if self._group is None:
            state = self._store.log_states([(topic, partition)])[0]
            if isinstance(state, StoreError):
                raise state
            return state
        keys = self._store.keys
        encoded_group = self._redis_group[: -len(self._member_id) - 1]
        reply = self._connected().one(
            *scripts.ACQUIRE.call(
                [
                    keys.log(topic.name, partition),
                    keys.meta(topic.name, partition),
                    keys.owners(topic.name, partition),
                ],
                topic.topic_id,
                encoded_group,
                self._member_id,
                epoch,
                stream_id(offset),
            )
        )
        if reply[0] == 1:
            raise self._store.missing_log(topic, partition)
        if reply[0] == 2:
            raise FencedOwnerError(
                f"{topic.name} [{partition}] was taken over in generation {reply[1]}", reply[1]
            )
        tp = (topic.name, partition)
        self._owned[tp] = f"{epoch} {self._member_id}"
        self._cursors[tp] = offset
        return parse_log_state(reply[1:])

    def release(self, tps: Sequence[TP]) -> None:
        """Destroy this member's cursors. The owner's note stays: it fences older owners."""
        owned = [tp for tp in tps if self._owned.pop(tp, None)]
        for tp in tps:
            self._cursors.pop(tp, None)
        if owned:
            self._connected().execute(
                [("XGROUP", "DESTROY", self._log(tp), self._redis_group) for tp in owned]
            )

    # -- reading

    def fetch(self, positions: Mapping[TP, int], max_batches: int, wait_ms: int) -> Fetched:
        """One XREADGROUP (or XREAD) over all partitions, and over the group's signal."""
        tps = list(positions)
        moved = (
            [tp for tp in tps if self._cursors.get(tp) != positions[tp]] if self._group is not None else []
        )
        if self._woken or self._signal_missed:
            self._woken = False
            wait_ms = 0
        try:
            link = self._connected()
            if not tps and self._group is None:
                return Fetched({})
            commands: list[Command] = [self._seek(tp, positions[tp]) for tp in moved]
            commands.append(self._read_command(tps, positions, max_batches, wait_ms))
            self._blocking = link if wait_ms else None
            *seeks, reply = link.execute(commands)
        except BaseException:
            self._cursors.clear()
            self._signal_missed = self._group is not None
            raise
        finally:
            self._blocking = None
            if wait_ms:
                self._woken = False
        if isinstance(reply, Exception) or any(isinstance(seek, Exception) for seek in seeks):
            return self._diagnose(positions, reply if isinstance(reply, Exception) else seeks[0])
        for tp in moved:
            self._cursors[tp] = positions[tp]
        return self._parse(tps, reply or (), max_batches)

    def _read_command(
        self, tps: list[TP], positions: Mapping[TP, int], max_batches: int, wait_ms: int
    ) -> Command:
        options: tuple[str | int, ...] = ("COUNT", max_batches)
        if wait_ms > 0:
            options += ("BLOCK", wait_ms)
        if self._streams.tps != tps:
            self._streams = _Streams(tps, [self._log(tp) for tp in tps])
        streams = self._streams.names
        if self._group is None:
            return ("XREAD", *options, "STREAMS", *streams, *(stream_id(positions[tp]) for tp in tps))
        return (
            *("XREADGROUP", "GROUP", self._redis_group, _CONSUMER),
            *options,
            *("NOACK", "STREAMS", *streams, self._signal),
            *[">"] * (len(streams) + 1),
        )

    def _seek(self, tp: TP, offset: int) -> Command:
        return ("XGROUP", "SETID", self._log(tp), self._redis_group, stream_id(offset))

    def _parse(self, tps: list[TP], reply: Any, max_batches: int) -> Fetched:
        batches: dict[TP, Sequence[StoredBatch]] = {}
        drained = set(tps)
        changed, self._signal_missed = self._signal_missed, False
        for stream, entries in reply:
            tp = self._streams.by_name.get(stream)
            if tp is None:
                changed = True
                continue
            found = [parse_entry(entry) for entry in entries]
            batches[tp] = found
            if len(found) >= max_batches:
                drained.discard(tp)
            if self._group is not None:
                self._cursors[tp] = found[-1].base_offset + found[-1].count
        return Fetched(batches, frozenset(drained), group_changed=changed)

    def _diagnose(self, positions: Mapping[TP, int], error: Exception) -> Fetched:
        """NOGROUP (UNBLOCKED, if the stream was deleted) for one: find out for which, and why. Others are raised."""
        self._cursors.clear()
        if leading_code(error) not in ("NOGROUP", "UNBLOCKED") or self._group is None:
            raise translate(error, "fetch")
        encoded_group = self._redis_group[: -len(self._member_id) - 1]
        keys = self._store.keys
        tps = list(positions)
        commands: list[Command] = [("HGET", keys.owners(*tp), encoded_group) for tp in tps]
        commands += [self._seek(tp, positions[tp]) for tp in tps]
        commands.append(self._join_signal())
        replies = self._connected().execute(commands)
        owners, seeks, joined = replies[: len(tps)], replies[len(tps) : -1], replies[-1]
        fenced: set[TP] = set()
        unowned: set[TP] = set()
        for tp, owner, seek in zip(tps, owners, seeks, strict=True):
            if not isinstance(seek, Exception):
                self._cursors[tp] = positions[tp]
                continue
            note = self._owned.pop(tp, None)
            mine = owner is None or (isinstance(owner, bytes) and owner.decode() == note)
            (unowned if mine else fenced).add(tp)
        return Fetched(
            {},
            fenced=frozenset(fenced),
            unowned=frozenset(unowned),
            group_changed=not isinstance(
                joined, Exception
            ),  # it had to be made again: this member was expelled
        )

    # -- life

    def wake(self) -> None:
        """CLIENT UNBLOCK, through another connection; repeated a few times if the read is still on its way."""
        self._woken = True
        link = self._blocking
        try:
            for _ in range(WAKE_ATTEMPTS):
                if link is None or self._blocking is not link or self._store.unblock(link.client_id):
                    return
                time.sleep(0.001)
        except StoreError:
            return  # the waiting fetch ends by itself at its time limit

    def close(self) -> None:
        """Destroy the cursors and the signal's group, then disconnect."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._link is not None and not self._link.dead:
                commands = [("XGROUP", "DESTROY", self._log(tp), self._redis_group) for tp in self._owned]
                if self._signal_ready:
                    commands.append(("XGROUP", "DESTROY", self._signal, self._redis_group))
                self._link.execute(commands)
        except StoreError:
            pass  # whoever takes the partitions over destroys the cursors
        finally:
            self._owned.clear()
            if self._link is not None:
                self._link.close()

    def _connected(self) -> Link:
        if self._closed:
            raise StoreError(KafkaError._STATE, "the reader has been closed")
        if self._link is None or self._link.dead:
            self._cursors.clear()
            self._link = self._connect()
            self._signal_ready = False
        if self._group is not None and not self._signal_ready:
            reply = self._link.execute([self._join_signal()])[0]
            if isinstance(reply, redis.ResponseError) and leading_code(reply) != "BUSYGROUP":
                raise translate(reply, "fetch")
            self._signal_ready = True
        return self._link

    def _join_signal(self) -> Command:
        return ("XGROUP", "CREATE", self._signal, self._redis_group, "$", "MKSTREAM")

    def _log(self, tp: TP) -> str:
        return self._store.keys.log(*tp)
