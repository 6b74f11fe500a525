"""Offsets of logs as the admin client asks for them, deletion of records, and what only a Kafka server has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import OFFSET_END, OFFSET_INVALID, ElectionType, IsolationLevel

from streamadapter import KafkaError, KafkaException, TopicPartition
from streamadapter.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
)
from streamadapter.testing.contract.lab import PATIENCE_S, failure, only, values

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from streamadapter.testing.contract.lab import Lab

EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent_kafka gives these no types
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above
MAX_TIMESTAMP: OffsetSpec = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]  # as above

ISOLATION = pytest.mark.parametrize("isolation", [None, *IsolationLevel])


def listed(lab: Lab, topic: str, spec: OffsetSpec, partition: int = 0, **options: Any) -> tuple[int, int]:
    """(offset, timestamp)."""
    found = only(lab.admin.list_offsets({TopicPartition(topic, partition): spec}, **options))
    return found.offset, found.timestamp


def delete(lab: Lab, topic: str, before: int, partition: int = 0) -> Future[Any]:
    [future] = lab.admin.delete_records([TopicPartition(topic, partition, before)]).values()
    return future


def timestamped(lab: Lab, topic: str, *timestamps: int) -> None:
    for timestamp in timestamps:
        lab.produce(topic, "x", timestamp=timestamp)


# -- list_offsets


@ISOLATION
def test_the_ends_of_a_log(lab: Lab, isolation: IsolationLevel | None) -> None:
    topic = lab.topic(2)
    lab.produce(topic, "0", "1", "2")
    lab.trim(topic, 0, 1)
    options: dict[str, Any] = {} if isolation is None else {"isolation_level": isolation}

    assert listed(lab, topic, EARLIEST, **options) == (1, -1)
    assert listed(lab, topic, LATEST, **options) == (3, -1)
    assert listed(lab, topic, EARLIEST, 1, **options) == (0, -1)
    assert listed(lab, topic, LATEST, 1, **options) == (0, -1)


def test_several_partitions_are_answered_each_by_its_own_question(lab: Lab) -> None:
    topic, other = lab.topic(2), lab.topic()
    lab.produce(topic, "0", "1")
    lab.produce(other, "0")
    first, second, third = TopicPartition(topic, 0), TopicPartition(topic, 1), TopicPartition(other, 0)

    futures = lab.admin.list_offsets({first: LATEST, second: EARLIEST, third: LATEST})

    assert list(futures) == [first, second, third]
    assert [future.result(PATIENCE_S).offset for future in futures.values()] == [2, 0, 1]


@pytest.mark.parametrize(
    ("time_ms", "expected"),
    [(0, (0, 10)), (10, (0, 10)), (11, (1, 30)), (30, (1, 30)), (31, (4, 40)), (40, (4, 40)), (41, (-1, -1))],
)
def test_the_first_record_not_older_than_a_time_is_found_for_any_order_of_timestamps(
    lab: Lab, time_ms: int, expected: tuple[int, int]
) -> None:
    topic = lab.topic()
    timestamped(lab, topic, 10, 30, 20, 5, 40, 15)

    assert listed(lab, topic, OffsetSpec.for_timestamp(time_ms)) == expected


def test_the_largest_timestamp_is_found(lab: Lab) -> None:
    topic = lab.topic(2)
    timestamped(lab, topic, 10, 30, 20)

    assert listed(lab, topic, MAX_TIMESTAMP) == (1, 30)
    assert listed(lab, topic, MAX_TIMESTAMP, 1) == (-1, -1)
    assert listed(lab, topic, OffsetSpec.for_timestamp(0), 1) == (-1, -1)


def test_a_partition_that_does_not_exist_is_an_error_beside_others_that_do(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, "0")
    known, partition, unknown = (
        *(TopicPartition(topic, 0), TopicPartition(topic, 7), TopicPartition("no-such-topic", 0)),
    )

    futures = lab.admin.list_offsets({unknown: LATEST, partition: LATEST, known: LATEST})

    assert futures[known].result(PATIENCE_S).offset == 1
    assert failure(futures[partition]) == KafkaError._UNKNOWN_PARTITION
    assert failure(futures[unknown]) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_partitions_none_of_which_exists_have_no_leader(lab: Lab) -> None:
    missing = [TopicPartition(lab.topic(), 7), TopicPartition("no-such-topic", 0)]

    for futures in (
        lab.admin.list_offsets(dict.fromkeys(missing, LATEST)),
        lab.admin.delete_records([TopicPartition(tp.topic, tp.partition, 0) for tp in missing]),
    ):
        assert [failure(future).code() for future in futures.values()] == [KafkaError._NOENT] * 2


def test_a_negative_time_is_refused_with_all_that_was_asked_beside_it(lab: Lab) -> None:
    topic = lab.topic(2)

    futures = lab.admin.list_offsets(
        {TopicPartition(topic, 0): OffsetSpec.for_timestamp(-5), TopicPartition(topic, 1): LATEST}
    )

    assert [failure(future).code() for future in futures.values()] == [KafkaError._INVALID_ARG] * 2


def test_asking_about_nothing_answers_nothing(lab: Lab) -> None:
    assert lab.admin.list_offsets({}) == {}
    assert lab.admin.delete_records([]) == {}


# -- delete_records


def test_deleted_records_raise_the_low_watermark_and_are_not_read(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, "0", "1", "2", "3")

    assert delete(lab, topic, 2).result(PATIENCE_S).low_watermark == 2

    assert listed(lab, topic, EARLIEST) == (2, -1)
    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])
    found = lab.take(consumer, 2)
    assert values(found) == [b"2", b"3"]
    assert [message.offset() for message in found] == [2, 3]
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), PATIENCE_S) == (2, 4)


def test_the_low_watermark_never_falls(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, "0", "1", "2")
    delete(lab, topic, 2).result(PATIENCE_S)

    assert delete(lab, topic, 1).result(PATIENCE_S).low_watermark == 2
    assert delete(lab, topic, 0).result(PATIENCE_S).low_watermark == 2


def test_all_records_can_be_deleted_and_offsets_go_on(lab: Lab) -> None:
    topic = lab.topic(2)
    lab.produce(topic, "0", "1", "2")

    assert delete(lab, topic, OFFSET_END).result(PATIENCE_S).low_watermark == 3
    assert delete(lab, topic, OFFSET_END, 1).result(PATIENCE_S).low_watermark == 0

    assert (listed(lab, topic, EARLIEST), listed(lab, topic, LATEST)) == ((3, -1), (3, -1))
    assert lab.produce(topic, "3") == [3]


@pytest.mark.parametrize("before", [3, -2, OFFSET_INVALID])
def test_records_cannot_be_deleted_beyond_the_end_or_before_what_is_no_offset(lab: Lab, before: int) -> None:
    topic = lab.topic()
    lab.produce(topic, "0", "1")

    assert failure(delete(lab, topic, before)) == KafkaError.OFFSET_OUT_OF_RANGE
    assert listed(lab, topic, EARLIEST) == (0, -1)


def test_records_are_deleted_of_each_partition_for_itself(lab: Lab) -> None:
    topic = lab.topic(2)
    lab.produce(topic, "0", "1")
    good, far, partition, unknown = (
        TopicPartition(topic, 0, 1),
        TopicPartition(topic, 1, 5),
        TopicPartition(topic, 7, 0),
        TopicPartition("no-such-topic", 0, 0),
    )

    futures = lab.admin.delete_records([unknown, far, partition, good])

    assert futures[good].result(PATIENCE_S).low_watermark == 1
    assert failure(futures[far]) == KafkaError.OFFSET_OUT_OF_RANGE
    assert failure(futures[partition]) == KafkaError._UNKNOWN_PARTITION
    assert failure(futures[unknown]) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_partition_named_twice_loses_no_records(lab: Lab) -> None:
    topic = lab.topic()
    lab.produce(topic, "0", "1")

    futures = lab.admin.delete_records([TopicPartition(topic, 0, 1), TopicPartition(topic, 0, 2)])

    assert [failure(future).code() for future in futures.values()] == [KafkaError._INVALID_ARG]
    assert listed(lab, topic, EARLIEST) == (0, -1)


TP = TopicPartition("t", 0)
BAD_CALLS: list[tuple[type[Exception], Callable[[Any], object]]] = [
    (TypeError, lambda a: a.list_offsets([TP])),
    (TypeError, lambda a: a.list_offsets({TP: 1})),
    (TypeError, lambda a: a.list_offsets({"t": LATEST})),
    (ValueError, lambda a: a.list_offsets({TopicPartition("", 0): LATEST})),
    (ValueError, lambda a: a.list_offsets({TopicPartition("t", -1): LATEST})),
    (TypeError, lambda a: a.list_offsets({TP: LATEST}, isolation_level=1)),
    (ValueError, lambda a: a.delete_records([TopicPartition("t", -1, 0)])),
    (TypeError, lambda a: a.delete_records("t")),
    (TypeError, lambda a: a.delete_records(["t"])),
]


@pytest.mark.parametrize(("error", "call"), BAD_CALLS, ids=range(len(BAD_CALLS)))
def test_arguments_of_offset_requests_are_checked_at_once(
    lab: Lab, error: type[Exception], call: Callable[[Any], object]
) -> None:
    with pytest.raises(error):
        call(lab.admin)


# -- rights, users, leaders


def code(futures: dict[Any, Future[Any]]) -> int | None:
    """Of the error of a request about one thing; None if it succeeded."""
    try:
        only(futures)
    except KafkaException as error:
        found: KafkaError = error.args[0]
        return found.code()
    return None


def test_rights_and_users_are_the_servers_own_affair_unless_it_is_kafka(lab: Lab) -> None:
    nobody = lab.group()
    rule = (ResourceType.TOPIC, nobody, ResourcePatternType.LITERAL, f"User:{nobody}", "*")
    binding = AclBinding(*rule, AclOperation.READ, AclPermissionType.ALLOW)
    match = AclBindingFilter(*rule, AclOperation.READ, AclPermissionType.ALLOW)
    forget = UserScramCredentialDeletion(nobody, ScramMechanism.SCRAM_SHA_256)
    users: Any = lab.admin.describe_user_scram_credentials([nobody])  # declared as one future, too

    codes = [
        code({None: lab.admin.describe_acls(match)}),
        code(lab.admin.create_acls([binding])),
        code(lab.admin.delete_acls([match])),
        code(users),
        code(lab.admin.alter_user_scram_credentials([forget])),
    ]

    if not lab.features.server_rights:
        assert codes == [KafkaError._UNSUPPORTED_FEATURE] * 5
        return
    disabled, missing = KafkaError.SECURITY_DISABLED, KafkaError.RESOURCE_NOT_FOUND
    # The second is that of a server with an authorizer.
    assert codes in ([None, disabled, disabled, missing, missing], [None, None, None, missing, missing])


def test_leaders_are_elected_unless_the_server_does_that_alone(lab: Lab) -> None:
    tp = TopicPartition(lab.topic(), 0)

    future = lab.admin.elect_leaders(ElectionType.PREFERRED, [tp])

    if not lab.features.server_rights:
        assert failure(future) == KafkaError._UNSUPPORTED_FEATURE
        return
    answers: dict[TopicPartition, Any] = future.result(
        PATIENCE_S
    )  # declared to hold KafkaException, but holds KafkaError
    [(found, error)] = answers.items()
    assert found == tp
    assert error == KafkaError.ELECTION_NOT_NEEDED
