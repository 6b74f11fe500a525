"""Placement is librdkafka's, to the record."""

import collections

import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamadapter.partitioners import PARTITIONERS, Sticky

REFERENCE = {
    "consistent": confluent_kafka.consistent,
    "consistent_random": confluent_kafka.consistent,
    "murmur2": confluent_kafka.murmur2,
    "murmur2_random": confluent_kafka.murmur2,
    "fnv1a": confluent_kafka.fnv1a,
    "fnv1a_random": confluent_kafka.fnv1a,
}
# Kafka's own vectors (UtilsTest.testMurmur2, made positive), so that the reference is checked as well.
MURMUR2 = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}


@pytest.mark.parametrize("name", REFERENCE)
@given(key=st.binary(max_size=100), partitions=st.integers(1, 10_000))
def test_hashes_are_librdkafka_s(name, key, partitions):
    assert PARTITIONERS[name].place(key, partitions) == REFERENCE[name](key, partitions)


@pytest.mark.parametrize(("key", "hashed"), MURMUR2.items())
def test_murmur2_is_the_java_client_s(key, hashed):
    assert PARTITIONERS["murmur2_random"].place(key, 1000) == (hashed & 0x7FFFFFFF) % 1000


def librdkafka_places(name, partitions=4, records=40):
    """Partitions that the real client chose on its mock cluster: for key None, b"" and b"k"."""
    producer = confluent_kafka.Producer(
        {
            "test.mock.num.brokers": 1,
            "partitioner": name,
            "sticky.partitioning.linger.ms": 60_000,
            "linger.ms": 0,
            "log_level": 0,
        }
    )
    chosen = collections.defaultdict(set)
    producer.produce("t", b"", partition=0)  # keyless records that wait for metadata are placed one by one
    producer.flush(30)
    for key in (None, b"", b"k"):
        for _ in range(records):
            producer.produce("t", b"", key, on_delivery=lambda _, m, key=key: chosen[key].add(m.partition()))
    assert producer.flush(30) == 0
    return partitions, chosen


@pytest.mark.parametrize("name", PARTITIONERS)
def test_the_real_client_treats_null_empty_and_full_keys_alike(name):
    partitions, chosen = librdkafka_places(name)
    ours = PARTITIONERS[name]

    for key in (None, b"", b"k"):
        if ours.is_sticky(key):
            assert len(chosen[key]) == 1
        elif name == "random":
            assert len(chosen[key]) > 1
        else:
            assert chosen[key] == {ours.place(key or b"", partitions)}
    if ours.is_sticky(None) and ours.is_sticky(b""):
        assert chosen[None] == chosen[b""]


def test_keyless_records_stick_to_a_partition_until_the_linger_has_passed():
    sticky = Sticky(linger=0.01)

    first = {sticky.choose(1000, now) for now in (1.0, 1.005, 1.0099)}
    later = {sticky.choose(1000, 1.01 * 2**i) for i in range(20)}

    assert len(first) == 1
    assert len(later) > 1


def test_without_a_linger_each_keyless_record_is_placed_at_random():
    sticky = Sticky(linger=0)

    assert len({sticky.choose(1000, 1.0) for _ in range(20)}) > 1


def test_the_sticky_partition_is_never_beyond_the_count():
    sticky = Sticky(linger=1000)

    sticky.choose(1000, 0.0)

    assert sticky.choose(1, 0.1) == 0
