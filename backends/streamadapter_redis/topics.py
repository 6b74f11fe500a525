"""The topic registry, and the creation and removal of partitions' logs."""

from __future__ import annotations

import secrets

import msgspec
from confluent_kafka import KafkaError

from streamadapter.backend import TopicInfo, Topics
from streamadapter.errors import StoreError
from streamadapter_redis import scripts
from streamadapter_redis.execution import Execution


class _Registered(msgspec.Struct, frozen=True):
    """A topic in the registry."""

    topic_id: str
    partitions: int
    config: dict[str, str]


_encode_topic = msgspec.json.Encoder(order="deterministic").encode
_decode_topic = msgspec.json.Decoder(_Registered).decode


class TopicStore(Execution):
    """Topics: see `streamadapter.backend.LogStore`."""

    def topics(self) -> Topics:
        """The registry. Version and topics are read together, atomically enough: version first, so it lags at worst."""
        version, raw = self._all([("GET", self.keys.registry_version), ("HGETALL", self.keys.registry)])
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
        self._all(
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
        self._all(commands)

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


def _parse_topic(name: str, value: bytes) -> TopicInfo:
    registered = _decode_topic(value.partition(b" ")[2])
    return TopicInfo(name, registered.topic_id, registered.partitions, registered.config)


def _unknown_topic(name: str) -> StoreError:
    return StoreError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"Topic '{name}' does not exist.")
