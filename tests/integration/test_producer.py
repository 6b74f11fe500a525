"""The producer against real servers: what the contract suite, which runs on Kafka too, does not ask."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager

import confluent_kafka
import pytest
import redis
from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    KafkaError,
    KafkaException,
)

from streamadapter import Producer, registry
from streamadapter.backend import TopicInfo
from streamadapter.codec import decode_batch
from streamadapter.engine.topics import new_topic
from streamadapter.properties import parse
from streamadapter.testing.proxy import Faults, Proxy
from streamadapter.testing.servers import free_port

DEADLINE = 60


# -- helpers


@contextmanager
def store(url):
    opened = registry.backend_of(url).open_store(url, parse({}, "producer"))
    try:
        yield opened
    finally:
        opened.close()


def create(url, topic, partitions=1, **config):
    info = new_topic(
        topic, partitions, {name.replace("_", "."): str(value) for name, value in config.items()}
    )
    with store(url) as opened:
        opened.create_topic(info)
    return info


def records(url, topic):
    """What the log holds: partition -> [(offset, key, value, timestamp, headers)]."""
    found = defaultdict(list)
    with store(url) as opened:
        info = opened.topics().topics[topic]
        reader = opened.reader(None, "")
        for partition in range(info.partitions):
            tp, position = (topic, partition), 0
            (state,) = opened.log_states([(info, partition)])
            while position < state.end:
                for stored in reader.fetch({tp: position}, 100, 1000).batches.get(tp, ()):
                    assert stored.base_offset == position  # dense, and read once
                    batch = decode_batch(stored.payload, stored.count)
                    columns = (batch.keys, batch.values, batch.timestamps, batch.headers)
                    offsets = range(stored.base_offset, stored.base_offset + stored.count)
                    found[partition] += list(zip(offsets, *columns, strict=True))
                    position = stored.base_offset + stored.count
        reader.close()
    return found


def values(url, topic, partition=0):
    return [value for _, _, value, _, _ in records(url, topic)[partition]]


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


class Reports(list):
    """An on_delivery callback that keeps (error code or None, message)."""

    def __call__(self, error, message):
        self.append((error and error.code(), message))

    def codes(self):
        return [code for code, _ in self]


@pytest.fixture
def producer_of():
    """Makes producers that are purged and closed after the test, whatever it did."""
    made = []

    def make(url, **properties):
        made.append(Producer({"bootstrap.servers": url, "linger.ms": 1, **properties}))
        return made[-1]

    yield make
    for producer in made:
        if len(producer):
            producer.purge()
        producer.close()


@pytest.fixture
def dead_url():
    return f"redis://127.0.0.1:{free_port()}/0"


# -- what arrives


def test_a_batch_above_the_topic_s_limit_is_split(redis_url, topic, producer_of):
    create(redis_url, topic, max_message_bytes=500)
    reports = Reports()
    producer = producer_of(redis_url, **{"linger.ms": 1000})
    sent = [b"%03d" % i * 30 for i in range(40)]

    for value in sent[:20]:
        producer.produce(topic, value, on_delivery=reports)
    producer.produce(topic, b"x" * 600, on_delivery=reports)
    for value in sent[20:]:
        producer.produce(topic, value, on_delivery=reports)
    assert producer.flush(DEADLINE) == 0

    assert values(redis_url, topic) == sent
    assert sorted(code or 0 for code in reports.codes()) == [0] * 40 + [KafkaError.MSG_SIZE_TOO_LARGE]


def test_threads_may_share_a_producer(redis_url, topic, producer_of):
    create(redis_url, topic)
    producer = producer_of(redis_url)

    def work(name):
        for i in range(2000):
            producer.produce(topic, b"%d" % i, name)

    threads = [threading.Thread(target=work, args=(b"thread-%d" % n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert producer.flush(DEADLINE) == 0

    stored = records(redis_url, topic)[0]
    for n in range(4):
        mine = [int(value) for _, key, value, _, _ in stored if key == b"thread-%d" % n]
        assert mine == list(range(2000))


# -- arguments and limits

BAD_CALLS = [
    ((), {}),
    ((5,), {}),
    ((None,), {}),
    ((b"t",), {}),
    (("t\0",), {}),
    (("t", 5), {}),
    (("t", True), {}),
    (("t", bytearray(b"x")), {}),
    (("t", memoryview(b"x")), {}),
    (("t", b"x", 5), {}),
    (("t", b"x", bytearray(b"x")), {}),
    (("t", b"x", "k", "p"), {}),
    (("t", b"x", "k", None), {}),
    (("t", b"x", "k", 2**40), {}),
    (("t", b"x"), {"timestamp": "a"}),
    (("t", b"x"), {"timestamp": 1.5}),
    (("t", b"x"), {"timestamp": None}),
    (("t", b"x"), {"timestamp": 2**70}),
    (("t", b"x"), {"headers": ()}),
    (("t", b"x"), {"headers": "abc"}),
    (("t", b"x"), {"headers": [1]}),
    (("t", b"x"), {"headers": [("a",)]}),
    (("t", b"x"), {"headers": [["a", "b"]]}),
    (("t", b"x"), {"headers": [("a", 5)]}),
    (("t", b"x"), {"headers": [("a", bytearray(b"x"))]}),
    (("t", b"x"), {"headers": {"a": 5}}),
    (("t", b"x"), {"unknown": 1}),
    (("t", "\ud800"), {}),
    (("t", b"x" * 1_000_001), {}),
    (("t", b"x" * 600_000, b"k" * 600_000), {}),
]


@pytest.mark.parametrize(("args", "kwargs"), BAD_CALLS)
def test_wrong_arguments_raise_what_they_raise_in_confluent_kafka(dead_url, producer_of, args, kwargs):
    theirs = confluent_kafka.Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    ours = producer_of(dead_url)

    with pytest.raises(Exception) as expected:  # noqa: PT011  # whichever it is
        theirs.produce(*args, **kwargs)
    with pytest.raises(expected.type) as raised:
        ours.produce(*args, **kwargs)

    if expected.type is KafkaException:
        assert raised.value.args[0].code() == expected.value.args[0].code()
        assert raised.value.args[0].str() == expected.value.args[0].str()
    assert len(ours) == 0


def test_a_callback_must_be_callable(dead_url, producer_of):
    with pytest.raises(TypeError, match="callable"):
        producer_of(dead_url).produce("t", b"v", on_delivery=5)


# -- topics and partitions


def test_an_unknown_topic_fails_after_the_grace_then_at_once_and_works_when_created(
    redis_url, topic, producer_of
):
    reports = Reports()
    producer = producer_of(redis_url, **{"topic.metadata.propagation.max.ms": 300})

    producer.produce(topic, b"v", on_delivery=reports)
    assert producer.flush(DEADLINE) == 0
    ((code, message),) = reports
    assert (code, message.partition(), message.timestamp()) == (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        None,
        (TIMESTAMP_NOT_AVAILABLE, -1),
    )
    with pytest.raises(KafkaException) as caught:
        producer.produce(topic, b"v")
    assert caught.value.args[0].code() == KafkaError._UNKNOWN_TOPIC

    create(redis_url, topic)

    def accepted():
        try:
            producer.produce(topic, b"late", on_delivery=reports)
        except KafkaException:
            return False
        return True

    wait_until(accepted)
    assert producer.flush(DEADLINE) == 0
    assert values(redis_url, topic) == [b"late"]


def test_records_wait_for_a_topic_that_is_created_within_the_grace(redis_url, topic, producer_of):
    reports = Reports()
    producer = producer_of(redis_url)
    for i in range(20):
        producer.produce(topic, b"%d" % i, b"same-key", on_delivery=reports)
    assert producer.flush(0.3) == 20

    create(redis_url, topic, partitions=4)

    assert producer.flush(DEADLINE) == 0
    partition = confluent_kafka.consistent(b"same-key", 4)
    assert values(redis_url, topic, partition) == [b"%d" % i for i in range(20)]


def test_a_topic_deleted_and_created_anew_gets_what_comes_after(redis_url, topic, producer_of):
    create(redis_url, topic)
    producer = producer_of(redis_url)
    producer.produce(topic, b"old")
    producer.flush(DEADLINE)

    with store(redis_url) as opened:
        opened.delete_topic(topic)
    create(redis_url, topic)
    reports = Reports()
    producer.produce(topic, b"new", on_delivery=reports)
    assert producer.flush(DEADLINE) == 0

    assert reports.codes() == [None]
    assert values(redis_url, topic) == [b"new"]


def test_new_partitions_are_used_after_the_refresh_interval(redis_url, topic, producer_of):
    info = create(redis_url, topic)
    producer = producer_of(redis_url, **{"topic.metadata.refresh.interval.ms": 100})
    producer.produce(topic, b"v")
    producer.flush(DEADLINE)
    with store(redis_url) as opened:
        assert opened.update_topic(info, TopicInfo(topic, info.topic_id, 2))

    def accepted():
        try:
            producer.produce(topic, b"v", partition=1)
        except KafkaException:
            return False
        return True

    wait_until(accepted)
    assert producer.flush(DEADLINE) == 0
    assert values(redis_url, topic, 1) == [b"v"]


def test_list_topics_shows_one_broker_and_the_partitions(redis_url, topic, producer_of):
    create(redis_url, topic, partitions=3)
    producer = producer_of(redis_url)

    assert sorted(producer.list_topics(timeout=DEADLINE).topics[topic].partitions) == [0, 1, 2]
    assert (
        producer.list_topics("nope", DEADLINE).topics["nope"].error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    )


# -- reports


def test_a_callback_may_produce_into_the_queue_that_was_full(redis_url, topic, producer_of):
    create(redis_url, topic)
    producer = producer_of(redis_url, **{"queue.buffering.max.messages": 1})

    producer.produce(topic, b"first", on_delivery=lambda *_: producer.produce(topic, b"second"))

    assert producer.flush(DEADLINE) == 0
    assert values(redis_url, topic) == [b"first", b"second"]


# -- trouble


def test_an_unreachable_server_is_told_to_error_cb_and_records_time_out(dead_url, producer_of):
    errors, reports = [], Reports()
    producer = producer_of(dead_url, error_cb=errors.append, **{"message.timeout.ms": 500})

    producer.produce("t", b"v", on_delivery=reports)
    assert producer.flush(DEADLINE) == 0

    ((code, message),) = reports
    assert code == KafkaError._MSG_TIMED_OUT
    assert dead_url.split("/")[2] in message.error().str()  # why it was late
    assert 0.5 <= message.latency() < DEADLINE
    assert [e.code() for e in errors] == [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN]
    assert dead_url.split("/")[2] in errors[0].str()


def test_a_hung_server_does_not_hold_up_the_time_out(own_redis, topic, producer_of):
    create(own_redis.url, topic)
    producer = producer_of(own_redis.url, **{"message.timeout.ms": 1000})
    producer.produce(topic, b"first")
    producer.flush(DEADLINE)
    own_redis.pause()
    reports = Reports()

    producer.produce(topic, b"second", on_delivery=reports)
    started = time.monotonic()
    assert producer.flush(DEADLINE) == 0
    waited = time.monotonic() - started
    own_redis.resume()

    assert reports.codes() == [KafkaError._MSG_TIMED_OUT]
    assert waited < 4.5  # the request itself waits for the socket timeout of 5 s
    producer.produce(topic, b"third")
    assert producer.flush(DEADLINE) == 0
    stored = values(own_redis.url, topic)
    assert stored in ([b"first", b"second", b"third"], [b"first", b"third"])


def test_purge_reports_what_was_queued_and_what_was_in_flight(own_redis, topic, producer_of):
    create(own_redis.url, topic)
    producer = producer_of(own_redis.url)
    producer.produce(topic, b"first")
    producer.flush(DEADLINE)
    own_redis.pause()
    reports = Reports()

    producer.produce(topic, b"in flight", on_delivery=reports)
    assert producer.flush(2) == 1  # sent: flushing does not linger, and there is no answer
    producer.produce(topic, b"queued", on_delivery=reports)
    producer.purge()
    assert reports == []
    producer.poll(0)
    own_redis.resume()

    assert {m.value(): code for code, m in reports} == {
        b"in flight": KafkaError._PURGE_INFLIGHT,
        b"queued": KafkaError._PURGE_QUEUE,
    }
    assert len(producer) == 0


def test_everything_arrives_once_and_in_order_although_the_server_is_killed(own_redis, topic, producer_of):
    create(own_redis.url, topic)
    reports = Reports()
    producer = producer_of(own_redis.url)

    for i in range(300):
        producer.produce(topic, b"%d" % i, on_delivery=reports)
        if i == 100:
            producer.flush(DEADLINE)
            own_redis.kill()
        if i == 200:
            producer.poll(0.2)
            own_redis.start()
    assert producer.flush(DEADLINE) == 0

    assert reports.codes() == [None] * 300
    assert values(own_redis.url, topic) == [b"%d" % i for i in range(300)]


def test_lost_replies_cause_no_duplicate(redis_server, redis_url, topic, producer_of):
    create(redis_url, topic)
    with Proxy(("127.0.0.1", redis_server.port)) as proxy:
        producer = producer_of(proxy.url, **{"socket.timeout.ms": 200})
        producer.produce(topic, b"warm")
        producer.flush(DEADLINE)
        for i in range(20):
            proxy.drop_replies(1)
            producer.produce(topic, b"%d" % i)
            assert producer.flush(DEADLINE) == 0
        assert proxy.counts["replies dropped"] == 20

    assert values(redis_url, topic) == [b"warm"] + [b"%d" % i for i in range(20)]


def test_random_faults_lose_and_duplicate_nothing(redis_server, redis_url, topic, producer_of):
    create(redis_url, topic, partitions=2)
    reports = Reports()
    faults = Faults(seed=1, drop_request=0.1, drop_reply=0.1, reset=0.05)
    with Proxy(("127.0.0.1", redis_server.port)) as proxy:
        producer = producer_of(
            proxy.url, **{"linger.ms": 0, "retry.backoff.ms": 1, "retry.backoff.max.ms": 10}
        )
        producer.produce(topic, b"first", partition=0, on_delivery=reports)
        producer.flush(DEADLINE)
        proxy.set_faults(faults)
        for i in range(600):
            producer.produce(topic, b"%d" % i, partition=i % 2, on_delivery=reports)
            if i % 3 == 2:
                producer.flush(DEADLINE)
        assert producer.flush(DEADLINE) == 0
        assert proxy.counts["replies dropped"] > 5
        proxy.heal()

    assert reports.codes() == [None] * 601
    assert values(redis_url, topic, 0) == [b"first"] + [b"%d" % i for i in range(0, 600, 2)]
    assert values(redis_url, topic, 1) == [b"%d" % i for i in range(1, 600, 2)]
    log = {partition: values(redis_url, topic, partition) for partition in (0, 1)}
    assert all(log[m.partition()][m.offset()] == m.value() for _, m in reports)


def test_a_wrong_password_is_reported_at_once(own_redis, topic, producer_of):
    create(own_redis.url, topic)
    with redis.Redis.from_url(own_redis.url) as admin:
        admin.config_set("requirepass", "right")
    errors, reports = [], Reports()
    url = own_redis.url.replace("redis://", "redis://:wrong@")
    producer = producer_of(url, error_cb=errors.append)

    producer.produce(topic, b"v", on_delivery=reports)
    assert producer.flush(DEADLINE) == 0
    producer.produce(topic, b"v", on_delivery=reports)
    assert producer.flush(DEADLINE) == 0

    assert reports.codes() == [KafkaError._AUTHENTICATION] * 2
    assert [e.code() for e in errors] == [KafkaError._AUTHENTICATION]
    assert errors[0].fatal()
    with redis.Redis.from_url(own_redis.url.replace("redis://", "redis://:right@")) as admin:
        admin.config_set("requirepass", "")


def test_a_missing_compression_library_is_told_at_construction(monkeypatch, dead_url):
    monkeypatch.setitem(sys.modules, "zstandard", None)

    with pytest.raises(KafkaException, match="pip install"):
        Producer({"bootstrap.servers": dead_url, "compression.type": "zstd"})


# -- life


def producer_threads():
    return [thread for thread in threading.enumerate() if thread.name == "producer-to-be-collected"]


def test_a_dropped_producer_is_collected_and_its_thread_ends(redis_url, topic):
    create(redis_url, topic)
    producer = Producer({"bootstrap.servers": redis_url, "client.id": "to-be-collected"})
    producer.produce(topic, b"v")
    assert len(producer_threads()) == 1

    del producer
    gc.collect()

    wait_until(lambda: not producer_threads())


FORKED = """
import os, sys
from confluent_kafka import KafkaError, KafkaException
from streamadapter import Producer
producer = Producer({"bootstrap.servers": sys.argv[1]})
producer.produce(sys.argv[2], b"parent")
producer.flush(30)
child = os.fork()
if child:
    producer.produce(sys.argv[2], b"parent again")
    assert producer.flush(30) == 0
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
status = 0
for call in (lambda: producer.produce(sys.argv[2], b"child"), lambda: producer.poll(0), producer.flush):
    try:
        call()
        status = 1
    except KafkaException as e:
        assert e.args[0].code() == KafkaError._STATE and "child" in e.args[0].str()
with Producer({"bootstrap.servers": sys.argv[1]}) as own:
    own.produce(sys.argv[2], b"child of its own")
producer.close()
os._exit(status)
"""


def test_after_a_fork_the_child_is_told_to_make_a_producer_of_its_own(redis_url, topic):
    create(redis_url, topic)

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, redis_url, topic], timeout=DEADLINE, check=False
    )

    assert done.returncode == 0
    assert sorted(values(redis_url, topic)) == [b"child of its own", b"parent", b"parent again"]


def test_a_subclass_that_overrides_produce_is_used(redis_url, topic):
    create(redis_url, topic)

    class Shouting(Producer):
        def produce(self, topic, value=None, **kwargs):
            super().produce(topic, value.upper(), **kwargs)

    with Shouting({"bootstrap.servers": redis_url}) as producer:
        producer.produce(topic, b"quiet", key=b"k")

    assert values(redis_url, topic) == [b"QUIET"]


# -- many at once


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"values": [b"x", "text"]}, TypeError),
        ({"values": [b"x"], "keys": [5]}, TypeError),
        ({"values": [b"x"], "keys": []}, ValueError),
        ({"values": [b"x"], "timestamps": [1.5]}, TypeError),
        ({"values": [b"x"], "timestamps": [2**63]}, OverflowError),
        ({"values": [b"x"], "headers": ["h"]}, TypeError),
        ({"values": [b"x"], "on_delivery": 5}, TypeError),
        ({"values": [b"x", b"x" * 2_000_000]}, KafkaException),
    ],
)
def test_wrong_columns_queue_nothing(dead_url, producer_of, kwargs, error):
    producer = producer_of(dead_url)

    with pytest.raises(error):
        producer.produce_columns("t", **kwargs)
    assert len(producer) == 0
