"""`RedisStore`: the log store's primitives, each one script or one command, each one round trip."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

import msgspec
from confluent_kafka import KafkaError
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, parse_url
from redis.retry import Retry

from streamadapter.backend import (
    TP,
    Append,
    Appended,
    Committed,
    Features,
    GroupView,
    LogState,
    Settings,
    StoredBatch,
    TopicInfo,
    Topics,
)
from streamadapter.errors import StoreError
from streamadapter.topic_config import TopicConfig
from streamadapter_redis import scripts
from streamadapter_redis.entries import parse_entry, parse_log_state
from streamadapter_redis.errors import translate
from streamadapter_redis.keys import Keys, redis_group
from streamadapter_redis.link import Command, Link, LinkPool, Reply
from streamadapter_redis.reader import RedisReader
from streamadapter_redis.scripts import AppendStatus

PRODUCER_TTL_MS = 24 * 60 * 60 * 1000
"""An idle producer is forgotten after a day, as Kafka does (producer.id.expiration.ms)."""

MAX_SOCKET_TIMEOUT_S = 5.0
"""Upper bound of socket.timeout.ms: Kafka's default of 60 s would leave heartbeats waiting for a hung server."""


class _Registered(msgspec.Struct, frozen=True):
    """A topic in the registry."""

    topic_id: str
    partitions: int
    config: dict[str, str]


_encode_topic = msgspec.json.Encoder(order="deterministic").encode
_decode_topic = msgspec.json.Decoder(_Registered).decode


class RedisStore:
    """See `streamadapter.backend.LogStore`. Thread-safe; a connection is borrowed for each call."""

    features = Features(name="redis")

    def __init__(
        self,
        connect: Callable[[], Link],
        address: tuple[str, int],
        settings: Settings,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.keys = Keys(settings.get("streamadapter.key.prefix", "sa"))
        self._connect = connect
        self._links = LinkPool(connect)
        self._address = address
        self._on_close = on_close

    # -- topics

    def topics(self) -> Topics:
        """The registry. Version and topics are read together, atomically enough: version first, so it lags at worst."""
        version, raw = self._execute([("GET", self.keys.registry_version), ("HGETALL", self.keys.registry)])
        found = {}
        for name, value in zip(raw[::2], raw[1::2], strict=True):
            info = _parse_topic(name.decode(), value)
            found[info.name] = info
        return Topics(int(version or 0), found)

    def topics_version(self) -> int:
        """Cheap look whether `topics` has changed."""
        return int(self._one("GET", self.keys.registry_version) or 0)

    def create_topic(self, topic: TopicInfo) -> None:
        """Register (one winner), then create partitions; whoever meets a missing one later creates it."""
        value = _encode_topic(_Registered(topic.topic_id, topic.partitions, dict(topic.config)))
        created = self._call(
            scripts.REGISTER_TOPIC, [self.keys.registry, self.keys.registry_version], topic.name, value
        )
        if not created:
            raise StoreError(KafkaError.TOPIC_ALREADY_EXISTS, f"Topic '{topic.name}' already exists.")
        self._create_partitions(topic, created, range(topic.partitions))

    def delete_topic(self, name: str) -> None:
        """Unregister, then remove the logs: half done, nobody finds the rest, and a new topic replaces it."""
        info, value = self._registered(name)
        while not self._call(
            scripts.REPLACE_TOPIC, [self.keys.registry, self.keys.registry_version], name, value, ""
        ):
            info, value = self._registered(name)
        self._execute(
            [
                scripts.DELETE_PARTITION.call(self._partition_keys(name, partition), info.topic_id)
                for partition in range(info.partitions)
            ]
        )

    def update_topic(self, expected: TopicInfo, new: TopicInfo) -> bool:
        """Compare and replace. New partitions exist before they are announced."""
        info, value = self._registered(expected.name)
        if info != expected:
            return False
        created, _, _ = value.partition(b" ")
        self._create_partitions(new, int(created), range(expected.partitions, new.partitions))
        replacement = (
            created + b" " + _encode_topic(_Registered(new.topic_id, new.partitions, dict(new.config)))
        )
        return bool(
            self._call(
                scripts.REPLACE_TOPIC,
                [self.keys.registry, self.keys.registry_version],
                expected.name,
                value,
                replacement,
            )
        )

    def _registered(self, name: str) -> tuple[TopicInfo, bytes]:
        value: bytes | None = self._one("HGET", self.keys.registry, name)
        if value is None:
            raise _unknown_topic(name)
        return _parse_topic(name, value), value

    def _create_partitions(self, topic: TopicInfo, created: int, partitions: range) -> None:
        commands = [
            scripts.CREATE_PARTITION.call(
                self._partition_keys(topic.name, partition), topic.topic_id, created, secrets.token_hex(8)
            )
            for partition in partitions
        ]
        for reply in self._execute(commands):
            self._raise_if_error(reply)

    def _partition_keys(self, topic: str, partition: int) -> list[str]:
        return [
            self.keys.log(topic, partition),
            self.keys.meta(topic, partition),
            self.keys.owners(topic, partition),
        ]

    def missing_log(self, topic: TopicInfo, partition: int) -> StoreError:
        """What it means that a log does not know this topic id: mend it if the topic stands, else unknown topic.

        A log is missing when its topic was deleted, when its creator died on the way, or when a server lost data.
        """
        try:
            info, value = self._registered(topic.name)
            if info.topic_id != topic.topic_id or partition >= info.partitions:
                return _unknown_topic(topic.name)
            self._create_partitions(info, int(value.partition(b" ")[0]), range(partition, partition + 1))
        except StoreError as error:
            return error
        return StoreError(
            KafkaError.LEADER_NOT_AVAILABLE,
            f"the log of {topic.name} [{partition}] was missing",
            retriable=True,
        )

    # -- log

    def append(self, batches: Sequence[Append], acks: int, timeout_ms: int) -> list[Appended | StoreError]:
        """One pipeline; for acks=-1 with a WAIT at its end, on the same connection."""
        configs = [TopicConfig.of(batch.topic) for batch in batches]
        copies = max((c.min_insync_replicas - 1 for c in configs), default=0) if acks == -1 else 0
        if copies and not self.features.replicas:
            refusal = StoreError(KafkaError.NOT_ENOUGH_REPLICAS, f"{self.features.name} has no replicas")
            return [refusal for _ in batches]
        with self._links.borrow() as link:
            commands: list[Command] = [
                scripts.APPEND.call(
                    [
                        self.keys.log(batch.topic.name, batch.partition),
                        self.keys.meta(batch.topic.name, batch.partition),
                        self.keys.producer(batch.topic.name, batch.partition, batch.producer_id),
                    ],
                    batch.topic.topic_id,
                    batch.producer_epoch,
                    batch.sequence,
                    batch.count,
                    batch.max_timestamp,
                    link.run_id,
                    config.max_message_bytes,
                    config.retention_ms,
                    config.retention_bytes,
                    PRODUCER_TTL_MS,
                    batch.payload,
                )
                for batch, config in zip(batches, configs, strict=True)
            ]
            if copies:
                commands.append(("WAIT", copies, timeout_ms))
            replies = link.execute(commands)
        received = replies.pop() if copies else 0
        if isinstance(received, Exception):
            raise translate(received, self._where)
        return [
            self._appended(batch, reply, received, config.min_insync_replicas - 1 if copies else 0)
            for batch, config, reply in zip(batches, configs, replies, strict=True)
        ]

    def _appended(self, batch: Append, reply: Reply, received: int, needed: int) -> Appended | StoreError:
        if isinstance(reply, Exception):
            return translate(reply, self._where)
        status, base_offset, append_time, leader_epoch = reply
        name = f"{batch.topic.name} [{batch.partition}]"
        match AppendStatus(status):
            case AppendStatus.OK | AppendStatus.DUPLICATE:
                if received < needed:
                    return StoreError(
                        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                        f"{name}: {received} of {needed} replicas acknowledged in time",
                        retriable=True,
                        indeterminate=True,
                    )
                return Appended(base_offset, append_time, leader_epoch, status == AppendStatus.DUPLICATE)
            case AppendStatus.UNKNOWN_TOPIC:
                return self.missing_log(batch.topic, batch.partition)
            case AppendStatus.OUT_OF_ORDER:
                return StoreError(
                    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"{name}: a batch before {batch.sequence} is missing",
                )
            case AppendStatus.OLD_EPOCH:
                return StoreError(
                    KafkaError.INVALID_PRODUCER_EPOCH, f"{name}: a newer epoch of this producer has written"
                )
            case AppendStatus.TOO_LARGE:
                return StoreError(
                    KafkaError.MSG_SIZE_TOO_LARGE,
                    f"{name}: a batch of {len(batch.payload)} bytes exceeds the topic's max.message.bytes",
                )
            case AppendStatus.BLOCKED_BY_FOREIGN_ENTRY:
                return StoreError(
                    KafkaError.KAFKA_STORAGE_ERROR,
                    f"{name}: an entry that streamadapter did not write blocks the stream "
                    f"{self.keys.log(batch.topic.name, batch.partition)}: remove it with XDEL, then set the last "
                    f"offset with XSETID",
                )

    def log_states(self, tps: Sequence[tuple[TopicInfo, int]]) -> list[LogState | StoreError]:
        """One HMGET a partition."""
        replies = self._execute(
            [
                ("HMGET", self.keys.meta(t.name, p), "topic", "log", "start", "end", "epochs", "timestamp")
                for t, p in tps
            ]
        )
        found: list[LogState | StoreError] = []
        for (topic, partition), reply in zip(tps, replies, strict=True):
            if isinstance(reply, Exception):
                found.append(translate(reply, self._where))
            elif reply[0] is None or reply[0].decode() != topic.topic_id:
                found.append(self.missing_log(topic, partition))
            else:
                found.append(parse_log_state(reply[1:]))
        return found

    def search_timestamp(self, topic: TopicInfo, partition: int, timestamp: int) -> StoredBatch | None:
        """Bisection on the server."""
        entry = self._call(
            scripts.SEARCH_TIMESTAMP,
            self._partition_keys(topic.name, partition)[:2],
            topic.topic_id,
            timestamp,
        )
        if entry is None:
            raise self.missing_log(topic, partition)
        return parse_entry(entry) if entry else None

    def delete_records(self, topic: TopicInfo, partition: int, before: int) -> int:
        """Trim, and note the exact log start."""
        status, start = self._call(
            scripts.DELETE_RECORDS, self._partition_keys(topic.name, partition)[:2], topic.topic_id, before
        )
        if status == 1:
            raise self.missing_log(topic, partition)
        if status == 2:
            raise StoreError(
                KafkaError.OFFSET_OUT_OF_RANGE,
                f"{topic.name} [{partition}]: {before} is beyond the log end offset",
            )
        return int(start)

    def enforce_retention(self, topic: TopicInfo, partition: int) -> None:
        """Trim by age and size, at most 16 batches."""
        config = TopicConfig.of(topic)
        self._call(
            scripts.RETAIN,
            self._partition_keys(topic.name, partition)[:2],
            topic.topic_id,
            config.retention_ms,
            config.retention_bytes,
        )

    # -- groups

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
        exists = self._execute(
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

    def delete_offsets(self, group: str, tps: Sequence[TP]) -> None:
        """Forget committed offsets."""
        if tps:
            self._one("HDEL", self.keys.group_offsets(group), *(f"{t}:{p}" for t, p in tps))

    def _group_keys(self, group: str) -> list[str]:
        return [self.keys.group_state(group), self.keys.group_deadlines(group), self.keys.group_signal(group)]

    # -- life

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
        if self._on_close is not None:
            self._on_close, on_close = None, self._on_close
            on_close()

    # -- execution

    @property
    def _where(self) -> str:
        host, port = self._address
        return f"{host}:{port}" if port else host

    def _execute(self, commands: Sequence[Command]) -> list[Reply]:
        if not commands:
            return []
        try:
            with self._links.borrow() as link:
                return link.execute(commands)
        except StoreError as error:
            if error.code == KafkaError._TRANSPORT:
                self._links.discard_idle()
            raise

    def _one(self, *command: str | int | bytes) -> Reply:
        reply = self._execute([command])[0]
        self._raise_if_error(reply)
        return reply

    def _call(self, script: scripts.Script, keys: list[str], *args: str | int | bytes) -> Reply:
        return self._one(*script.call(keys, *args))

    def _raise_if_error(self, reply: Reply) -> None:
        if isinstance(reply, Exception):
            raise translate(reply, self._where) from reply


def open_store(
    url: str,
    settings: Settings,
    *,
    revive: Callable[[], None] | None = None,
    on_close: Callable[[], None] | None = None,
) -> RedisStore:
    """A store on the server at `url`; connects when first used.

    revive: called before each new connection after one failed, so that the owner of the server may restart it.
    on_close: called once by close().
    """
    options = _connection_options(url, settings)
    where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    pool = ConnectionPool(**options)

    def link() -> Link:
        # Not make_connection: it counts, and refuses the hundredth, though links are never given back to the pool.
        return Link(pool.connection_class(**pool.connection_kwargs), where)

    def connect() -> Link:
        try:
            return link()
        except StoreError as error:
            if revive is None or error.code != KafkaError._TRANSPORT:
                raise
        revive()
        return link()

    address = (
        (options["path"], 0)
        if "path" in options
        else (options.get("host", "localhost"), options.get("port", 6379))
    )
    return RedisStore(connect, address, settings, on_close)


def _connection_options(url: str, settings: Settings) -> dict[str, object]:
    """Arguments of a redis-py connection, from the URL and Kafka's ssl.* properties."""
    for ours, theirs in (("valkeys:", "rediss:"), ("valkey:", "redis:"), ("redis+unix:", "unix:")):
        if url.startswith(ours):
            url = theirs + url[len(ours) :]
    timeout = min(float(settings.get("socket.timeout.ms", 60_000)) / 1000, MAX_SOCKET_TIMEOUT_S)
    options: dict[str, object] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "client_name": settings.get("client.id") or None,
        "retry": Retry(NoBackoff(), 0),  # the engine retries, with sequences that make it safe
        "protocol": 2,  # one reply format for all servers
        "socket_read_size": 1 << 17,
    }
    try:
        options |= parse_url(url)
    except ValueError as error:
        raise StoreError(KafkaError._INVALID_ARG, f"bad URL: {error}") from error
    if "path" in options:
        del options["socket_keepalive"]  # of TCP; redis-py's unix connection refuses it
    tls = {
        "ssl_ca_certs": settings.get("ssl.ca.location"),
        "ssl_certfile": settings.get("ssl.certificate.location"),
        "ssl_keyfile": settings.get("ssl.key.location"),
        "ssl_password": settings.get("ssl.key.password"),
    }
    if url.startswith("rediss:"):
        options |= {name: value for name, value in tls.items() if value}
        if not settings.get("enable.ssl.certificate.verification", True):
            options |= {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return options


def _parse_topic(name: str, value: bytes) -> TopicInfo:
    registered = _decode_topic(value.partition(b" ")[2])
    return TopicInfo(name, registered.topic_id, registered.partitions, registered.config)


def _unknown_topic(name: str) -> StoreError:
    return StoreError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"Topic '{name}' does not exist.")


def _encode_committed(c: Committed) -> bytes:
    """`offset epoch log-id`, and `=metadata` if there is any: None and '' differ."""
    head = f"{c.offset} {c.leader_epoch} {c.log_id}"
    return (head if c.metadata is None else f"{head}={c.metadata}").encode()


def _decode_committed(value: bytes) -> Committed:
    head, separator, metadata = value.decode().partition("=")
    offset, epoch, log_id = head.split(" ")
    return Committed(int(offset), int(epoch), metadata if separator else None, log_id)
