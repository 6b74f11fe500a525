from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streamadapter.backend import Committed
from streamadapter.engine import consumer_checks as checks
from streamadapter.message import Message, event


def code_of(caught: pytest.ExceptionInfo[KafkaException]) -> int:
    code: int = caught.value.args[0].code()
    return code


def log_id(tp: tuple[str, int]) -> str:
    return f"log of {tp[0]}"


@pytest.mark.parametrize("topics", [["a"], ["a", "b"], ["^a.*"], ["^a", "b"]])
def test_a_subscription_is_a_list_of_names_and_patterns(topics: list[str]) -> None:
    assert checks.topic_list(topics) == topics


@pytest.mark.parametrize("topics", [None, "a", ("a",), {"a"}, [1], [b"a"], [None]])
def test_a_subscription_of_another_type_is_a_type_error(topics: Any) -> None:
    with pytest.raises(TypeError, match="expected list of topic unicode strings"):
        checks.topic_list(topics)


@pytest.mark.parametrize("topics", [[], [""], ["a", ""], ["^("], ["a", "a"]])
def test_a_subscription_that_makes_no_sense_is_an_invalid_argument(topics: list[str]) -> None:
    with pytest.raises(KafkaException) as caught:
        checks.topic_list(topics)

    assert code_of(caught) == KafkaError._INVALID_ARG


def test_a_callback_is_callable_or_none() -> None:
    assert checks.callback("on_assign", print) is print
    assert checks.callback("on_assign", None) is None
    with pytest.raises(TypeError, match="on_assign expects a callable"):
        checks.callback("on_assign", 3)


@pytest.mark.parametrize("values", [None, "x", (TopicPartition("t", 0),), ["x"], [("t", 0)]])
def test_partitions_of_another_type_are_a_type_error(values: Any) -> None:
    with pytest.raises(TypeError):
        checks.partition_list(values)


def test_a_partition_named_twice_is_an_invalid_argument() -> None:
    assert checks.distinct([TopicPartition("t", 0, 5), TopicPartition("t", 1)]) == {
        ("t", 0): 5,
        ("t", 1): -1001,
    }
    with pytest.raises(KafkaException) as caught:
        checks.distinct([TopicPartition("t", 0, 5), TopicPartition("t", 0, 6)])
    assert code_of(caught) == KafkaError._INVALID_ARG


def test_a_message_commits_the_offset_after_it_with_its_epoch_and_log() -> None:
    message = Message("t", 3, 41, leader_epoch=7)

    assert checks.to_commit(message, None, log_id) == {("t", 3): Committed(42, 7, None, "log of t")}


def test_offsets_commit_themselves_and_those_without_one_are_left_out() -> None:
    given = [
        TopicPartition("t", 0, 5),
        TopicPartition("t", 1, 0, "m"),
        TopicPartition("t", 2),
        TopicPartition("t", 3, -2),
        TopicPartition("t", 4, 9, "", 3),
    ]

    assert checks.to_commit(None, given, log_id) == {
        ("t", 0): Committed(5, -1, None, "log of t"),
        ("t", 1): Committed(0, -1, "m", "log of t"),
        ("t", 4): Committed(9, 3, "", "log of t"),
    }


def test_nothing_given_is_told_from_nothing_to_commit() -> None:
    assert checks.to_commit(None, None, log_id) is None
    assert checks.to_commit(None, [], log_id) == {}


def test_an_event_has_no_offset_to_commit() -> None:
    with pytest.raises(KafkaException) as caught:
        checks.to_commit(event(KafkaError(KafkaError._PARTITION_EOF), "t", 0, 5), None, log_id)

    assert code_of(caught) == KafkaError._INVALID_ARG


@pytest.mark.parametrize(
    ("message", "offsets", "error"),
    [
        (Message("t", 0, 0), [], ValueError),
        ("x", None, TypeError),
        (None, "x", TypeError),
        (None, [1], TypeError),
    ],
)
def test_wrong_types_and_both_at_once_are_refused(message: Any, offsets: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        checks.to_commit(message, offsets, log_id)
