import pytest
from confluent_kafka import KafkaError

from streamadapter.backend import TopicInfo
from streamadapter.errors import StoreError
from streamadapter.topic_config import KEYS, NO_EFFECT, TopicConfig, validate


def topic(**config: str) -> TopicInfo:
    return TopicInfo("t", "id", 1, {name.replace("_", "."): value for name, value in config.items()})


def refusal(config: dict[str, str | None]) -> str:
    with pytest.raises(StoreError) as caught:
        validate(config)
    assert caught.value.code == KafkaError.INVALID_CONFIG
    return caught.value.reason


def test_a_topic_without_configs_has_kafkas_defaults() -> None:
    assert TopicConfig.of(topic()) == TopicConfig(
        retention_ms=7 * 24 * 3600 * 1000,
        retention_bytes=-1,
        max_message_bytes=1048588,
        min_insync_replicas=1,
        log_append_time=False,
        timestamp_before_max_ms=2**63 - 1,
        timestamp_after_max_ms=3600 * 1000,
    )


def test_what_was_set_replaces_the_default_and_only_that() -> None:
    config = TopicConfig.of(topic(retention_ms="-1", message_timestamp_type="LogAppendTime"))

    assert config.retention_ms == -1
    assert config.log_append_time
    assert config.max_message_bytes == 1048588


def test_equal_configs_are_parsed_once() -> None:
    assert TopicConfig.of(topic(retention_ms="5")) is TopicConfig.of(topic(retention_ms="5"))


def test_every_default_is_valid() -> None:
    defaults = {key.name: key.default for key in KEYS.values()}

    assert validate(defaults) == defaults


def test_validated_values_are_trimmed_as_kafka_does() -> None:
    assert validate({"retention.ms": " 1000 "}) == {"retention.ms": "1000"}


def test_an_unknown_key_is_refused_with_the_nearest_known_one() -> None:
    assert refusal({"retention.msec": "1"}) == (
        'Unknown topic config "retention.msec": did you mean "retention.ms"?'
    )


def test_a_key_like_no_other_is_refused_with_the_known_ones() -> None:
    reason = refusal({"xyzzy": "1"})

    assert all(name in reason for name in KEYS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention.ms", "-2"),
        ("retention.ms", "a week"),
        ("retention.bytes", str(2**63)),
        ("max.message.bytes", "-1"),
        ("max.message.bytes", "1.5"),
        ("min.insync.replicas", "0"),
        ("message.timestamp.type", "createtime"),
    ],
)
def test_a_bad_value_is_refused_with_key_value_and_what_would_be_valid(name: str, value: str) -> None:
    reason = refusal({name: value})

    assert reason.startswith(f'Invalid value "{value}" for topic config "{name}": must be ')


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_compaction_is_refused_and_the_error_says_there_is_none(policy: str) -> None:
    assert "no compaction" in refusal({"cleanup.policy": policy})


def test_recompression_by_the_server_is_refused_and_the_error_names_the_producers_property() -> None:
    assert "its compression.type" in refusal({"compression.type": "zstd"})


@pytest.mark.parametrize("name", sorted(NO_EFFECT))
def test_tuning_of_a_kafka_brokers_disk_is_accepted(name: str) -> None:
    assert validate({name: "1"}) == {name: "1"}
    assert TopicConfig.of(TopicInfo("t", "id", 1, {name: "1"})) == TopicConfig.of(topic())


def test_a_config_without_value_is_refused() -> None:
    assert "retention.ms" in refusal({"retention.ms": None})


def test_a_broken_value_in_the_registry_is_an_error_not_a_default() -> None:
    with pytest.raises(StoreError, match=r"retention\.bytes"):
        TopicConfig.of(topic(retention_bytes="lots"))
