"""All or none of several records and offsets, where the backend can; elsewhere the property is refused at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamadapter import KafkaError, TopicPartition
from streamadapter.testing.contract.lab import PATIENCE_S, code_of, values

if TYPE_CHECKING:
    from streamadapter import Producer
    from streamadapter.testing.contract.lab import Lab


def _transactional(lab: Lab, name: str) -> Producer:
    producer = lab.producer(transactional_id=name)
    producer.init_transactions(PATIENCE_S)
    return producer


def test_a_backend_without_transactions_refuses_their_property(lab: Lab) -> None:
    if lab.features.transactions:
        _transactional(lab, lab.group())
    else:
        assert code_of(lambda: lab.producer(transactional_id="t")) == KafkaError._INVALID_ARG


def test_only_committed_transactions_are_read(lab: Lab) -> None:
    lab.need("transactions")
    topic = lab.topic()
    producer = _transactional(lab, lab.group())

    for value, end in (("a", "commit"), ("b", "abort"), ("c", "commit")):
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        assert producer.flush(PATIENCE_S) == 0
        producer.commit_transaction(PATIENCE_S) if end == "commit" else producer.abort_transaction(PATIENCE_S)

    consumer = lab.consumer(lab.group())  # isolation.level is read_committed by default
    consumer.subscribe([topic])
    assert values(lab.take(consumer, 2)) == [b"a", b"c"]
    everything = lab.consumer(lab.group(), isolation_level="read_uncommitted")
    everything.subscribe([topic])
    assert values(lab.take(everything, 3)) == [b"a", b"b", b"c"]


def test_offsets_are_committed_with_the_transaction_or_not_at_all(lab: Lab) -> None:
    lab.need("transactions")
    topic, output = lab.topic(), lab.topic()
    lab.produce(topic, "a", "b")
    consumer = lab.consumer(lab.group(), enable_auto_commit=False)
    consumer.subscribe([topic])
    lab.take(consumer, 2)
    producer = _transactional(lab, lab.group())

    def end(offset: int, *, commit: bool) -> int:
        producer.begin_transaction()
        producer.produce(output, "result")
        metadata = consumer.consumer_group_metadata()
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, offset)], metadata, PATIENCE_S)
        producer.commit_transaction(PATIENCE_S) if commit else producer.abort_transaction(PATIENCE_S)
        [committed] = consumer.committed([TopicPartition(topic, 0)], PATIENCE_S)
        return committed.offset

    assert end(1, commit=True) == 1
    assert end(2, commit=False) == 1


def test_a_second_producer_fences_the_first_of_its_transactional_id(lab: Lab) -> None:
    lab.need("transactions")
    topic, name = lab.topic(), lab.group()
    first = _transactional(lab, name)
    first.begin_transaction()
    first.produce(topic, "a", partition=0)
    assert first.flush(PATIENCE_S) == 0

    second = _transactional(lab, name)
    second.begin_transaction()
    second.produce(topic, "b", partition=0)
    second.commit_transaction(PATIENCE_S)

    assert code_of(lambda: first.commit_transaction(PATIENCE_S)) == KafkaError._FENCED
    lab.forget(first)  # its close() would raise the same
    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])
    assert values(lab.take(consumer, 1)) == [b"b"]
