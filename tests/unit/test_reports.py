"""Delivery reports: each callback once, with the record's place, whatever callbacks do."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    KafkaError,
)

from streamadapter.engine.accumulator import GivenUp
from streamadapter.engine.queues import Batch, Queue, Records, record_size
from streamadapter.engine.reports import Report


def records(callbacks: list[Any]) -> Records:
    queue = Queue("t", 3, 10**6, 10**6, blocked=False)
    for i, callback in enumerate(callbacks):
        value, key = b"v%d" % i, b"k%d" % i
        queue.add(value, key, 1000 + i, None, callback, 5.0 + i, record_size(value, key, None))
    return queue.open


def delivered(callbacks: list[Any], base: int | None = 40, append_time: int | None = None) -> Report:
    queue = Queue("t", 3, 10**6, 10**6, blocked=False)
    return Report.delivered(Batch(queue, records(callbacks), 0, 0), base, append_time, now=10.0)


class Log:
    """What a callback was told; raises at the offsets it is given."""

    def __init__(self, *failing: int) -> None:
        self.told: list[Any] = []
        self._failing = failing

    def __call__(self, error: KafkaError | None, message: Any) -> None:
        self.told.append((error, message))
        if message.offset() in self._failing:
            raise LookupError(message.offset())


def test_each_record_is_told_its_place_and_how_long_it_took() -> None:
    log = Log()

    assert delivered([log, log]).serve() == 2

    assert [error for error, _ in log.told] == [None, None]
    assert [
        (m.topic(), m.partition(), m.offset(), m.key(), m.value(), m.timestamp(), m.latency())
        for _, m in log.told
    ] == [
        ("t", 3, 40, b"k0", b"v0", (TIMESTAMP_CREATE_TIME, 1000), 5.0),
        ("t", 3, 41, b"k1", b"v1", (TIMESTAMP_CREATE_TIME, 1001), 4.0),
    ]


def test_after_an_exception_the_next_call_goes_on_behind_the_record() -> None:
    log = Log(41)
    report = delivered([log] * 4)

    with pytest.raises(LookupError):
        report.serve()
    assert len(report) == 2
    assert report.serve() == 2

    assert [(m.offset(), m.value(), m.latency()) for _, m in log.told] == [
        (40, b"v0", 5.0),
        (41, b"v1", 4.0),
        (42, b"v2", 3.0),
        (43, b"v3", 2.0),
    ]
    assert len(report) == 0


def test_records_without_a_callback_count_as_served() -> None:
    log = Log()

    assert delivered([None, log, None]).serve() == 3
    assert [m.offset() for _, m in log.told] == [41]
    assert delivered([None] * 3).serve() == 3


def test_a_topic_with_append_times_reports_them() -> None:
    log = Log()
    delivered([log], append_time=77).serve()
    assert log.told[0][1].timestamp() == (TIMESTAMP_LOG_APPEND_TIME, 77)


def test_without_acknowledgements_there_is_no_offset() -> None:
    log = Log()
    delivered([log], base=None).serve()
    assert log.told[0][1].offset() is None


def test_what_was_given_up_is_told_with_its_error() -> None:
    log = Log()
    error = KafkaError(KafkaError._MSG_TIMED_OUT)

    Report.failed(GivenUp("t", -1, records([log]), error), now=10.0).serve()

    ((told, message),) = log.told
    assert (told, message.error()) == (error, error)
    assert (message.partition(), message.offset()) == (None, None)
    assert message.timestamp() == (TIMESTAMP_NOT_AVAILABLE, -1)
