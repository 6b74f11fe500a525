"""Logs that are trimmed under a reader that lags."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import TopicPartition
from streamadapter.admin import AdminClient

if TYPE_CHECKING:
    from tests.faults.conftest import Client, Lab

READ, SENT, KEPT_FROM = 10, 1000, 700


def _lagging(lab: Lab, policy: str) -> Client:
    """A consumer that has read and committed ten records, and asks for no more than it is asked for."""
    consumer = lab.consumer("c", auto_offset_reset=policy, queued_min_messages=1)
    consumer.ask("poll", limit=READ)
    consumer.ask("commit")
    consumer.signal(signal.SIGSTOP)  # what it does in the background does not help it
    return consumer


@pytest.mark.parametrize("policy", ["earliest", "latest"])
@pytest.mark.parametrize("how", ["delete_records", "retention.bytes"])
def test_a_reader_overtaken_by_the_trimming_is_told_how_many_it_missed_and_reset(
    lab: Lab, redis_url: str, wait: Any, how: str, policy: str
) -> None:
    # given: batches of ten, so that little is prefetched
    retention = {"retention_bytes": "5000"} if how == "retention.bytes" else {}
    lab.create_topic(redis_url, partitions=1, **retention)
    producer = lab.producer("p", batch_num_messages=10)
    producer.ask("produce", count=20)
    producer.ask("flush")
    consumer = _lagging(lab, "earliest") if policy == "earliest" else _lagging_latest(lab, producer)
    producer.ask("produce", count=SENT)
    producer.ask("flush")

    # when
    lab.note("fault")
    if how == "delete_records":
        with AdminClient({"bootstrap.servers": redis_url}) as admin:
            before = TopicPartition(lab.topic, 0, KEPT_FROM)
            assert admin.delete_records([before])[before].result().low_watermark == KEPT_FROM
    start, end = lab.logs()[0].start, lab.ends()[0]
    assert start > 100
    woke_at = consumer.signal(signal.SIGCONT)
    consumer.tell("loop")

    # then
    error = consumer.await_note("error", since=woke_at, code="OFFSET_OUT_OF_RANGE")
    producer.ask("produce", count=50)
    producer.ask("flush")
    last = lab.ends()[0] - 1
    wait(lambda: (0, last) in lab.delivered(), "the last record is read")
    read = sorted(o for _, o in lab.delivered() if o >= start)
    old = max(o for _, o in lab.delivered() if o < start) + 1  # what had been prefetched was still handed out
    assert f"{start - old} records" in error["reason"]
    assert read[0] == start if policy == "earliest" else read[0] >= end
    lab.assert_valid()


def _lagging_latest(lab: Lab, producer: Client) -> Client:
    """The same with the policy latest; its committed offset comes from a predecessor."""
    first = lab.consumer("first")
    first.ask("poll", limit=READ)
    first.ask("commit")
    first.ask("close")
    return _lagging(lab, "latest")


def test_a_committed_offset_below_the_log_start_is_reported_when_reading_starts(
    lab: Lab, redis_url: str
) -> None:
    lab.create_topic(redis_url, partitions=1)
    producer = lab.producer("p", batch_num_messages=10)
    producer.ask("produce", count=SENT)
    producer.ask("flush")
    first = lab.consumer("first")
    first.ask("poll", limit=READ)
    first.ask("commit")
    first.ask("close")
    with AdminClient({"bootstrap.servers": redis_url}) as admin:
        admin.delete_records([TopicPartition(lab.topic, 0, KEPT_FROM)])[
            TopicPartition(lab.topic, 0, KEPT_FROM)
        ].result()

    second = lab.consumer("second")
    second.tell("loop")
    error = second.await_note("error", code="OFFSET_OUT_OF_RANGE")
    lab.await_delivered()

    assert f"{KEPT_FROM - READ} records" in error["reason"]
    lab.assert_valid()
