"""The producer against real servers: what it promises, next to the real confluent_kafka where that can be asked."""

from __future__ import annotations

import gc
import signal
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
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
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


def test_records_are_in_the_log_where_their_reports_say_and_in_order(store_url, topic, producer_of):
    create(store_url, topic, partitions=3)
    reports = Reports()
    producer = producer_of(store_url)

    for i in range(1000):
        producer.produce(topic, b"v%d" % i, b"k%d" % (i % 50), on_delivery=reports)
    assert producer.flush(DEADLINE) == 0

    log = records(store_url, topic)
    assert reports.codes() == [None] * 1000
    for _, message in reports:
        assert message.partition() == confluent_kafka.consistent(message.key(), 3)
        offset, key, value, timestamp, _ = log[message.partition()][message.offset()]
        assert (offset, key, value) == (message.offset(), message.key(), message.value())
        assert message.timestamp() == (TIMESTAMP_CREATE_TIME, timestamp)
        assert message.headers() is None
        assert 0 <= message.latency() < DEADLINE
    for partition, stored in log.items():
        assert [offset for offset, *_ in stored] == list(range(len(stored)))
        reported = [m.offset() for _, m in reports if m.partition() == partition]
        assert reported == sorted(reported)


def test_text_null_empty_headers_and_timestamps_are_kept(redis_url, topic, producer_of):
    create(redis_url, topic)
    producer = producer_of(redis_url)
    before = int(time.time() * 1000)

    producer.produce(topic, "ä", "schlüssel", timestamp=123, headers={"a": "ä", "b": b"\xff", "c": None})
    producer.produce(topic, None, None, headers=[("x", "1"), ("x", "")])
    producer.produce(topic, "", "", headers=[])
    producer.flush(DEADLINE)

    first, second, third = records(redis_url, topic)[0]
    assert first[1:] == (
        "schlüssel".encode(),
        "ä".encode(),
        123,
        [("a", "ä".encode()), ("b", b"\xff"), ("c", None)],
    )
    assert second[1:3] == (None, None)
    assert second[4] == [("x", b"1"), ("x", b"")]
    assert third[1:3] == (b"", b"")
    assert third[4] is None
    assert before - 1000 <= second[3] <= int(time.time() * 1000) + 1000


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_arrives(redis_url, topic, producer_of, codec):
    create(redis_url, topic)
    producer = producer_of(redis_url, **{"compression.type": codec, "linger.ms": 50})

    for _ in range(200):
        producer.produce(topic, b"the same again and again")
    producer.flush(DEADLINE)

    assert values(redis_url, topic) == [b"the same again and again"] * 200


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_level_of_acks_is_reported(redis_url, topic, producer_of, acks):
    create(redis_url, topic)
    reports = Reports()
    producer = producer_of(redis_url, acks=acks)

    producer.produce(topic, b"v", on_delivery=reports)
    producer.flush(DEADLINE)

    ((code, message),) = reports
    assert code is None
    assert message.partition() == 0
    assert message.offset() == (None if acks == 0 else 0)  # librdkafka's report for acks=0 has none
    assert message.timestamp()[0] == TIMESTAMP_CREATE_TIME
    assert values(redis_url, topic) == [b"v"]


def test_with_log_append_time_the_report_has_the_log_s_time(redis_url, topic, producer_of):
    create(redis_url, topic, message_timestamp_type="LogAppendTime")
    reports = Reports()
    producer = producer_of(redis_url)

    producer.produce(topic, b"v", timestamp=5, on_delivery=reports)
    producer.flush(DEADLINE)

    kind, stamp = reports[0][1].timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert stamp > 10**12


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


@pytest.mark.parametrize("name", ["poll", "flush"])
@pytest.mark.parametrize("timeout", [None, "1"])
def test_time_outs_are_numbers(dead_url, producer_of, name, timeout):
    with pytest.raises(TypeError, match="must be real number"):
        getattr(producer_of(dead_url), name)(timeout)


def test_a_callback_must_be_callable(dead_url, producer_of):
    with pytest.raises(TypeError, match="callable"):
        producer_of(dead_url).produce("t", b"v", on_delivery=5)


def test_a_full_queue_raises_buffer_error_until_there_is_room(redis_url, topic, producer_of):
    create(redis_url, topic)
    producer = producer_of(redis_url, **{"queue.buffering.max.messages": 2, "linger.ms": 60_000})
    reports = Reports()
    producer.produce(topic, b"1", on_delivery=reports)
    producer.produce(topic, b"2", on_delivery=reports)

    with pytest.raises(BufferError, match="Local: Queue full"):
        producer.produce(topic, b"3")

    assert len(producer) == 2
    producer.flush(DEADLINE)
    producer.produce(topic, b"3")
    assert producer.flush(DEADLINE) == 0
    assert values(redis_url, topic) == [b"1", b"2", b"3"]


def test_the_queue_is_limited_in_bytes_too(dead_url, producer_of):
    producer = producer_of(dead_url, **{"queue.buffering.max.kbytes": 1})
    producer.produce("t", b"x" * 600)

    with pytest.raises(BufferError, match="Local: Queue full"):
        producer.produce("t", b"x" * 600)

    producer.purge()
    producer.poll(0)
    producer.produce("t", b"x" * 600)


def test_records_without_callbacks_make_room_without_a_poll(redis_url, topic, producer_of):
    create(redis_url, topic)
    producer = producer_of(redis_url)
    producer.produce(topic, b"v")

    wait_until(lambda: len(producer) == 0)

    assert (
        producer.poll(DEADLINE) == 1
    )  # the delivery is an event all the same, so poll() does not wait for one


# -- topics and partitions


def test_a_partition_that_does_not_exist_is_refused_at_once_if_the_topic_is_known(
    redis_url, topic, producer_of
):
    create(redis_url, topic, partitions=2)
    producer = producer_of(redis_url)
    producer.produce(topic, b"v", partition=1)
    producer.flush(DEADLINE)

    for partition in (2, -2):
        with pytest.raises(KafkaException) as caught:
            producer.produce(topic, b"v", partition=partition)
        assert caught.value.args[0].code() == KafkaError._UNKNOWN_PARTITION


def test_a_partition_that_does_not_exist_is_reported_if_the_topic_was_not_known(
    redis_url, topic, producer_of
):
    create(redis_url, topic, partitions=2)
    reports = Reports()
    producer = producer_of(redis_url)

    producer.produce(topic, b"lost", partition=7, on_delivery=reports)
    producer.produce(topic, b"kept", partition=1, on_delivery=reports)
    producer.flush(DEADLINE)

    outcome = {message.value(): (code, message.partition(), message.offset()) for code, message in reports}
    assert outcome == {b"lost": (KafkaError._UNKNOWN_PARTITION, 7, None), b"kept": (None, 1, 0)}


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


def test_callbacks_run_in_the_thread_that_polls_and_never_before(redis_url, topic, producer_of):
    create(redis_url, topic)
    threads = []
    producer = producer_of(redis_url)
    producer.produce(topic, b"v", on_delivery=lambda *_: threads.append(threading.current_thread()))
    wait_until(lambda: values(redis_url, topic))

    assert threads == []
    assert len(producer) == 1
    assert producer.poll(DEADLINE) == 1
    assert threads == [threading.current_thread()]
    assert len(producer) == 0


def test_an_exception_in_a_callback_leaves_poll_and_the_rest_is_served_next(redis_url, topic, producer_of):
    create(redis_url, topic)
    served = []

    def callback(_, message):
        served.append(message.value())
        if message.value() == b"1":
            raise LookupError("from the callback")

    producer = producer_of(redis_url)
    for value in (b"0", b"1", b"2"):
        producer.produce(topic, value, on_delivery=callback)

    with pytest.raises(LookupError, match="from the callback"):
        producer.flush(DEADLINE)
    assert len(producer) == 1
    assert producer.flush(DEADLINE) == 0
    assert served == [b"0", b"1", b"2"]


def test_a_callback_may_produce_into_the_queue_that_was_full(redis_url, topic, producer_of):
    create(redis_url, topic)
    producer = producer_of(redis_url, **{"queue.buffering.max.messages": 1})

    producer.produce(topic, b"first", on_delivery=lambda *_: producer.produce(topic, b"second"))

    assert producer.flush(DEADLINE) == 0
    assert values(redis_url, topic) == [b"first", b"second"]


def test_the_default_callback_is_used_where_a_record_has_none(redis_url, topic, producer_of):
    create(redis_url, topic)
    default, own, alias = Reports(), Reports(), Reports()
    producer = producer_of(redis_url, on_delivery=default)

    producer.produce(topic, b"default")
    producer.produce(topic, b"own", callback=own, on_delivery=alias)
    producer.flush(DEADLINE)

    assert [m.value() for _, m in default] == [b"default"]
    assert [m.value() for _, m in own] == [b"own"]
    assert alias == []


def test_only_errors_are_reported_if_so_configured(redis_url, topic, producer_of):
    create(redis_url, topic)
    reports = Reports()
    producer = producer_of(redis_url, on_delivery=reports, **{"delivery.report.only.error": True})

    producer.produce(topic, b"fine")
    producer.produce(topic, b"lost", partition=9)
    assert producer.flush(DEADLINE) == 0

    assert [(code, m.value()) for code, m in reports] == [(KafkaError._UNKNOWN_PARTITION, b"lost")]


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


def test_flush_returns_what_is_left_when_its_time_is_over(dead_url, producer_of):
    producer = producer_of(dead_url)
    producer.produce("t", b"v")

    started = time.monotonic()
    assert producer.flush(0.3) == 1
    assert 0.3 <= time.monotonic() - started < 10


def test_a_closed_producer_refuses_everything_but_being_closed(redis_url, topic):
    create(redis_url, topic)
    with Producer({"bootstrap.servers": redis_url}) as producer:
        producer.produce(topic, b"v")

    assert values(redis_url, topic) == [b"v"]
    assert producer.close() is True
    assert len(producer) == 0
    assert bool(producer)
    for call in (
        lambda: producer.produce(topic, b"v"),
        lambda: producer.produce_batch(topic, []),
        lambda: producer.produce_columns(topic, []),
        lambda: producer.poll(0),
        producer.flush,
        producer.purge,
        producer.init_transactions,
    ):
        with pytest.raises(RuntimeError, match="Producer has been closed"):
            call()
    with pytest.raises(RuntimeError, match="Handle has been closed"):
        producer.list_topics()


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


WAITING = """
import sys
from streamadapter import Producer
producer = Producer({"bootstrap.servers": sys.argv[1]})
producer.produce("t", b"v")
try:
    print("waiting", flush=True)
    getattr(producer, sys.argv[2])()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("call", ["poll", "flush"])
def test_ctrl_c_ends_a_wait(dead_url, call):
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, dead_url, call], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "waiting\n"
        time.sleep(0.3)  # no condition to await: the child must be inside the call
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert child.wait(DEADLINE) == 0


def test_a_subclass_that_overrides_produce_is_used(redis_url, topic):
    create(redis_url, topic)

    class Shouting(Producer):
        def produce(self, topic, value=None, **kwargs):
            super().produce(topic, value.upper(), **kwargs)

    with Shouting({"bootstrap.servers": redis_url}) as producer:
        producer.produce(topic, b"quiet", key=b"k")

    assert values(redis_url, topic) == [b"QUIET"]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("init_transactions", (1,)),
        ("begin_transaction", ()),
        ("commit_transaction", ()),
        ("abort_transaction", ()),
        ("send_offsets_to_transaction", ([], None)),
    ],
)
def test_transactions_need_a_transactional_id(dead_url, producer_of, name, args):
    with pytest.raises(KafkaException) as caught:
        getattr(producer_of(dead_url), name)(*args)

    assert caught.value.args[0].code() == KafkaError._NOT_CONFIGURED


# -- many at once


def test_produce_batch_queues_what_it_can_and_marks_the_rest(redis_url, topic, producer_of):
    create(redis_url, topic, partitions=2)
    default, own = Reports(), Reports()
    producer = producer_of(redis_url)
    producer.produce(topic, b"first", partition=0)
    producer.flush(DEADLINE)
    messages = [
        {"value": "text", "key": b"k", "partition": 1, "timestamp": 7, "headers": {"h": "x"}},
        {"value": b"x" * 2_000_000},
        {},
        {"value": b"own", "callback": own, "partition": 1},
        {"value": b"nowhere", "partition": 9},
    ]

    assert producer.produce_batch(topic, messages, on_delivery=default) == 3
    producer.flush(DEADLINE)

    errors = [message["_error"].code() if "_error" in message else None for message in messages]
    assert errors == [None, KafkaError.MSG_SIZE_TOO_LARGE, None, None, KafkaError._UNKNOWN_PARTITION]
    assert [m.value() for _, m in own] == [b"own"]
    assert len(default) == 2
    first = records(redis_url, topic)[1][0]
    assert first[1:] == (b"k", b"text", 7, [("h", b"x")])


@pytest.mark.parametrize(
    "messages", [(), [{"value": b"x"}, "x"], [{"value": b"x"}, {"value": 5}], [{"partition": "x"}]]
)
def test_produce_batch_with_a_wrong_dict_queues_nothing(dead_url, producer_of, messages):
    producer = producer_of(dead_url)

    with pytest.raises(TypeError):
        producer.produce_batch("t", messages)
    assert len(producer) == 0


def test_produce_batch_marks_what_a_full_queue_refused(dead_url, producer_of):
    producer = producer_of(dead_url, **{"queue.buffering.max.messages": 1})
    messages = [{"value": b"1"}, {"value": b"2"}]

    assert producer.produce_batch("t", messages) == 1
    assert messages[1]["_error"].code() == KafkaError._QUEUE_FULL


def test_columns_arrive_as_if_produced_one_by_one(redis_url, topic, producer_of):
    create(redis_url, topic, partitions=3)
    reports = Reports()
    producer = producer_of(redis_url)
    keys = [b"k%d" % (i % 7) for i in range(100)]
    rows = [(b"%d" % i, 1000 + i, [("n", b"%d" % i)] if i % 2 else None) for i in range(100)]
    columns = [list(column) for column in zip(*rows, strict=True)]

    for _ in range(2):  # before the topic is known, and after
        assert (
            producer.produce_columns(
                topic, columns[0], keys, timestamps=columns[1], headers=columns[2], on_delivery=reports
            )
            == 100
        )
        assert producer.flush(DEADLINE) == 0

    log = records(redis_url, topic)
    assert reports.codes() == [None] * 200
    for partition in range(3):
        expected = [
            (key, value, timestamp, headers)
            for key, (value, timestamp, headers) in zip(keys, rows, strict=True)
            if confluent_kafka.consistent(key, 3) == partition
        ]
        assert [row[1:] for row in log[partition]] == expected * 2


def test_columns_are_cut_to_what_the_queue_has_room_for(redis_url, topic, producer_of):
    create(redis_url, topic)
    producer = producer_of(redis_url, **{"queue.buffering.max.messages": 5, "linger.ms": 60_000})
    rest = [b"%d" % i for i in range(12)]
    calls = []

    while rest:
        calls.append(producer.produce_columns(topic, rest))
        rest = rest[calls[-1] :]
        assert producer.produce_columns(topic, rest) == 0
        producer.flush(DEADLINE)

    assert calls == [5, 5, 2]
    assert values(redis_url, topic) == [b"%d" % i for i in range(12)]


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
