"""Configs of topics, brokers and groups: where they come from, how they are changed, and that they work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import KafkaError
from streamadapter.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, ResourceType
from streamadapter.testing.contract.lab import PATIENCE_S, failure, only

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from streamadapter.testing.contract.lab import Lab

SET, DELETE = AlterConfigOpType.SET, AlterConfigOpType.DELETE
APPEND, SUBTRACT = AlterConfigOpType.APPEND, AlterConfigOpType.SUBTRACT


def configs(lab: Lab, name: str, kind: ResourceType = ResourceType.TOPIC) -> dict[str, ConfigEntry]:
    return only(lab.admin.describe_configs([ConfigResource(kind, name)]))


def change(name: str, value: str | None, operation: AlterConfigOpType = SET) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=operation)


def alter(
    lab: Lab, name: str, *entries: ConfigEntry, kind: ResourceType = ResourceType.TOPIC, **options: Any
) -> Future[None]:
    resource = ConfigResource(kind, name, incremental_configs=list(entries))
    [(key, future)] = lab.admin.incremental_alter_configs([resource], **options).items()
    assert key == resource
    return future


def replace(lab: Lab, name: str, config: dict[str, Any], **options: Any) -> Future[None]:
    resource = ConfigResource(ResourceType.TOPIC, name, config)
    with pytest.warns(DeprecationWarning, match="incremental_alter_configs"):
        [future] = lab.admin.alter_configs([resource], **options).values()
    return future


def becomes(lab: Lab, topic: str, **values: str) -> None:
    """Wait until the topic's configs have these values: a broker hears of a change a little after it was made."""
    wanted = {name.replace("_", "."): value for name, value in values.items()}
    lab.until(lambda: wanted.items() <= {n: e.value for n, e in configs(lab, topic).items()}.items())


# -- describe


def test_a_config_that_was_set_is_told_from_a_default(lab: Lab) -> None:
    topic = lab.topic(retention_ms="100000")

    found = configs(lab, topic)

    own, default = found["retention.ms"], found["max.message.bytes"]
    assert (own.name, own.value, ConfigSource(own.source)) == (
        "retention.ms",
        "100000",
        ConfigSource.DYNAMIC_TOPIC_CONFIG,
    )
    assert (own.is_default, own.is_read_only, own.is_sensitive, own.is_synonym) == (False,) * 4
    assert (default.value, ConfigSource(default.source)) == ("1048588", ConfigSource.DEFAULT_CONFIG)
    assert (default.is_default, default.is_read_only, default.is_sensitive, default.is_synonym) == (
        *(True, False, False, False),
    )
    assert str(own) == 'retention.ms="100000"'


def test_the_defaults_of_a_topic_are_kafkas(lab: Lab) -> None:
    found = configs(lab, lab.topic())

    expected = {
        "cleanup.policy": "delete",
        "compression.type": "producer",
        "max.message.bytes": "1048588",
        "message.timestamp.type": "CreateTime",
        "retention.bytes": "-1",
        "retention.ms": "604800000",
    }
    assert {name: found[name].value for name in expected} == expected
    assert all(found[name].is_default for name in expected)


def test_synonyms_say_what_the_value_would_be_otherwise(lab: Lab) -> None:
    topic = lab.topic(max_message_bytes="5000")

    found = configs(lab, topic)

    synonyms = found["max.message.bytes"].synonyms
    assert [(s.name, s.value, ConfigSource(s.source)) for s in synonyms.values()] == [
        ("max.message.bytes", "5000", ConfigSource.DYNAMIC_TOPIC_CONFIG),
        ("message.max.bytes", "1048588", ConfigSource.DEFAULT_CONFIG),
    ]
    assert all(s.is_synonym and not s.is_default for s in synonyms.values())
    assert list(found["cleanup.policy"].synonyms) == ["log.cleanup.policy"]


def test_what_tunes_a_kafka_brokers_files_is_accepted_and_shown(lab: Lab) -> None:
    topic = lab.topic(segment_ms="50000", flush_messages="10")

    found = configs(lab, topic)

    assert (found["segment.ms"].value, found["flush.messages"].value) == ("50000", "10")
    assert not found["segment.ms"].is_default


@pytest.mark.parametrize(
    ("name", "code"),
    [("no-such-topic", KafkaError.UNKNOWN_TOPIC_OR_PART), ("a b", KafkaError.TOPIC_EXCEPTION)],
)
def test_configs_of_a_topic_that_does_not_exist_are_neither_shown_nor_changed(
    lab: Lab, name: str, code: int
) -> None:
    [shown] = lab.admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()

    assert failure(shown) == code
    assert failure(alter(lab, name, change("retention.ms", "1"))) == code
    assert failure(replace(lab, name, {"retention.ms": "1"})) == code


# -- change


def test_an_incremental_change_touches_only_what_it_names(lab: Lab) -> None:
    topic = lab.topic(retention_ms="100000", retention_bytes="5000", max_message_bytes="7000")

    assert (
        alter(lab, topic, change("retention.ms", "200000"), change("retention.bytes", None, DELETE)).result(
            PATIENCE_S
        )
        is None
    )

    becomes(lab, topic, retention_ms="200000", retention_bytes="-1", max_message_bytes="7000")
    found = configs(lab, topic)
    assert found["retention.bytes"].is_default
    assert not found["max.message.bytes"].is_default


def test_a_value_set_to_its_default_is_set_all_the_same(lab: Lab) -> None:
    topic = lab.topic()

    alter(lab, topic, change("retention.bytes", "-1")).result(PATIENCE_S)

    lab.until(lambda: not configs(lab, topic)["retention.bytes"].is_default)


@pytest.mark.parametrize("name", ["flush.ms", "no.such.config"])
def test_deleting_what_was_not_set_is_no_error(lab: Lab, name: str) -> None:
    assert alter(lab, lab.topic(), change(name, None, DELETE)).result(PATIENCE_S) is None


def test_a_value_is_trimmed(lab: Lab) -> None:
    topic = lab.topic()

    alter(lab, topic, change("retention.ms", " 70000 ")).result(PATIENCE_S)

    becomes(lab, topic, retention_ms="70000")


def test_altering_all_configs_returns_the_others_to_their_defaults(lab: Lab) -> None:
    topic = lab.topic(retention_ms="100000", max_message_bytes="7000")

    assert replace(lab, topic, {"retention.ms": 300000}).result(PATIENCE_S) is None

    becomes(lab, topic, retention_ms="300000", max_message_bytes="1048588")
    assert configs(lab, topic)["max.message.bytes"].is_default
    replace(lab, topic, {}).result(PATIENCE_S)
    becomes(lab, topic, retention_ms="604800000")


def test_a_change_can_be_tried_without_doing_it(lab: Lab) -> None:
    topic = lab.topic()

    assert alter(lab, topic, change("retention.ms", "5000"), validate_only=True).result(PATIENCE_S) is None
    assert replace(lab, topic, {"retention.ms": "5000"}, validate_only=True).result(PATIENCE_S) is None
    bad = alter(lab, topic, change("retention.ms", "soon"), validate_only=True)

    assert failure(bad) == KafkaError.INVALID_CONFIG
    alter(lab, topic, change("retention.bytes", "5000")).result(PATIENCE_S)
    becomes(lab, topic, retention_bytes="5000")
    assert configs(lab, topic)["retention.ms"].is_default


@pytest.mark.parametrize(
    "entry",
    [
        change("no.such.config", "1"),
        change("retention.ms", "soon"),
        change("retention.ms", "-7"),
        change("retention.ms", ""),
        change("cleanup.policy", "burn"),
        change("cleanup.policy", "burn", APPEND),
        change("retention.ms", "5", APPEND),
        change("retention.ms", "5", SUBTRACT),
        change("no.such.config", "5", APPEND),
    ],
    ids=lambda entry: f"{entry.incremental_operation.name} {entry}",
)
def test_a_bad_change_is_refused_with_those_beside_it(lab: Lab, entry: ConfigEntry) -> None:
    topic = lab.topic()

    refused = alter(lab, topic, change("retention.bytes", "9000"), entry)

    assert failure(refused) == KafkaError.INVALID_CONFIG
    alter(lab, topic, change("flush.ms", "9000")).result(PATIENCE_S)
    becomes(lab, topic, flush_ms="9000")
    assert configs(lab, topic)["retention.bytes"].is_default


@pytest.mark.parametrize("config", [{"no.such": "1"}, {"retention.ms": "x"}, {"retention.ms": None}], ids=str)
def test_bad_configs_do_not_replace_the_old_ones(lab: Lab, config: dict[str, str | None]) -> None:
    topic = lab.topic(retention_bytes="9000")

    assert failure(replace(lab, topic, config)) == KafkaError.INVALID_CONFIG

    alter(lab, topic, change("flush.ms", "9000")).result(PATIENCE_S)
    becomes(lab, topic, flush_ms="9000", retention_bytes="9000")


def test_topics_of_one_change_succeed_and_fail_each_for_itself(lab: Lab) -> None:
    topic = lab.topic()
    resources = [
        ConfigResource(ResourceType.TOPIC, name, incremental_configs=[change("retention.ms", "77777")])
        for name in ("no-such-topic", topic)
    ]

    unknown, known = lab.admin.incremental_alter_configs(resources).values()

    assert known.result(PATIENCE_S) is None
    assert failure(unknown) == KafkaError.UNKNOWN_TOPIC_OR_PART
    becomes(lab, topic, retention_ms="77777")


def test_a_list_can_be_added_to_and_taken_from_if_topics_can_be_compacted(lab: Lab) -> None:
    topic = lab.topic()
    added = alter(lab, topic, change("cleanup.policy", "compact", APPEND))
    if not lab.features.compaction:
        assert failure(added) == KafkaError.INVALID_CONFIG
        assert failure(alter(lab, topic, change("cleanup.policy", "compact"))) == KafkaError.INVALID_CONFIG
        return

    added.result(PATIENCE_S)
    becomes(lab, topic, cleanup_policy="delete,compact")
    alter(lab, topic, change("cleanup.policy", "delete", SUBTRACT)).result(PATIENCE_S)
    becomes(lab, topic, cleanup_policy="compact")


# -- brokers and groups


def test_a_broker_shows_its_configs(lab: Lab) -> None:
    [broker, *_] = lab.admin.list_topics(timeout=PATIENCE_S).brokers

    found = configs(lab, str(broker), ResourceType.BROKER)

    assert found["num.partitions"].value == "1"
    assert found["message.max.bytes"].value == "1048588"
    assert found["num.partitions"].is_read_only
    assert ConfigSource(found["message.max.bytes"].source) is ConfigSource.DEFAULT_CONFIG


@pytest.mark.parametrize(
    ("name", "code"), [("77", KafkaError._TIMED_OUT), ("seven", KafkaError._INVALID_ARG)]
)
def test_a_broker_that_does_not_exist_has_no_configs(lab: Lab, name: str, code: int) -> None:
    resource = ConfigResource(ResourceType.BROKER, name)

    [future] = lab.admin.describe_configs([resource], request_timeout=0.5).values()

    assert failure(future) == code


def test_a_brokers_fixed_config_cannot_be_changed(lab: Lab) -> None:
    [broker, *_] = lab.admin.list_topics(timeout=PATIENCE_S).brokers

    refused = alter(lab, str(broker), change("num.partitions", "3"), kind=ResourceType.BROKER)

    assert failure(refused) == KafkaError.INVALID_REQUEST


def test_configs_of_brokers_and_groups_can_be_set_where_the_server_has_them(lab: Lab) -> None:
    [broker, *_] = lab.admin.list_topics(timeout=PATIENCE_S).brokers
    group, name = lab.group(), "consumer.session.timeout.ms"
    of_broker = alter(
        *(lab, str(broker), change("log.cleaner.threads", "1")), kind=ResourceType.BROKER, validate_only=True
    )
    of_group = alter(lab, group, change(name, "50000"), kind=ResourceType.GROUP)
    if not lab.features.server_configs:
        assert failure(of_broker) == KafkaError.INVALID_REQUEST
        assert failure(of_group) == KafkaError.INVALID_REQUEST
        assert configs(lab, group, ResourceType.GROUP) == {}
        return

    assert of_broker.result(PATIENCE_S) is None
    assert of_group.result(PATIENCE_S) is None
    lab.until(lambda: configs(lab, group, ResourceType.GROUP)[name].value == "50000")
    found = configs(lab, group, ResourceType.GROUP)[name]
    assert ConfigSource(found.source) is ConfigSource.GROUP_CONFIG
    refused = alter(lab, group, change(name, "soon"), kind=ResourceType.GROUP)
    assert failure(refused) == KafkaError.INVALID_CONFIG


# -- they work


def test_a_lowered_limit_of_sizes_refuses_larger_records(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, b"x" * 5000)

    alter(lab, topic, change("max.message.bytes", "2000")).result(PATIENCE_S)
    becomes(lab, topic, max_message_bytes="2000")

    errors: list[Any] = []
    producer = lab.clients_of(lab.url).producer()
    producer.produce(topic, b"x" * 5000, partition=0, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(PATIENCE_S) == 0
    assert errors == [KafkaError.MSG_SIZE_TOO_LARGE]
    assert lab.clients_of(lab.url).produce(topic, b"x" * 1500) == [1]


def test_timestamps_become_append_times(lab: Lab) -> None:
    topic = lab.topic()
    alter(lab, topic, change("message.timestamp.type", "LogAppendTime")).result(PATIENCE_S)
    becomes(lab, topic, message_timestamp_type="LogAppendTime")

    lab.clients_of(lab.url).produce(topic, "x", timestamp=1)

    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])
    [message] = lab.take(consumer, 1)
    kind, time_ms = message.timestamp()
    assert kind == 2  # TIMESTAMP_LOG_APPEND_TIME
    assert time_ms > 1_700_000_000_000


BAD_CALLS: list[tuple[type[Exception], Callable[[Any], object]]] = [
    (ValueError, lambda a: a.describe_configs([])),
    (ValueError, lambda a: a.describe_configs(["t"])),
    (ValueError, lambda a: a.describe_configs([ConfigResource("topic", "")])),
    (TypeError, lambda a: a.describe_configs([ConfigResource("topic", 5)])),  # type: ignore[arg-type]  # that is the point
    (ValueError, lambda a: a.describe_configs([ConfigResource("group", "")])),
    (ValueError, lambda a: a.incremental_alter_configs([])),
    (TypeError, lambda a: a.incremental_alter_configs(["t"])),
    (ValueError, lambda a: a.incremental_alter_configs([ConfigResource("topic", "t")])),
    (ValueError, lambda a: _incremental(a, change("", "1"))),
    (TypeError, lambda a: _incremental(a, change("retention.ms", None))),
    (TypeError, lambda a: _incremental(a, ConfigEntry("retention.ms", "1"))),
]


def _incremental(admin: Any, *entries: ConfigEntry) -> dict[ConfigResource, Future[None]]:
    futures: dict[ConfigResource, Future[None]] = admin.incremental_alter_configs(
        [ConfigResource("topic", "t", incremental_configs=list(entries))]
    )
    return futures


@pytest.mark.parametrize(("error", "call"), BAD_CALLS, ids=range(len(BAD_CALLS)))
def test_arguments_of_config_requests_are_checked_at_once(
    lab: Lab, error: type[Exception], call: Callable[[Any], object]
) -> None:
    with pytest.raises(error):
        call(lab.admin)


def test_arguments_of_a_deprecated_request_are_checked_too(lab: Lab) -> None:
    with pytest.raises(ValueError, match="ConfigResource"):
        replace(lab, "", {})


def test_what_is_named_twice_in_one_change_is_refused(lab: Lab) -> None:
    topic = lab.topic()
    resource = ConfigResource("topic", topic, incremental_configs=[change("retention.ms", "5000")])

    twice = alter(lab, topic, change("retention.ms", "5000"), change("retention.ms", "6000"))
    [both] = lab.admin.incremental_alter_configs([resource, resource]).values()

    assert failure(twice) == KafkaError._INVALID_ARG
    assert failure(both) == KafkaError._INVALID_ARG
