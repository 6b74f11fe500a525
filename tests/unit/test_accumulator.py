"""Batching, retries, time-outs and epochs: single decisions, then whole histories against a model of the server."""

import collections
import random

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from streamadapter.engine.accumulator import NEVER, Accumulator, Policy
from streamadapter.engine.queues import RECORD_OVERHEAD, record_size
from streamadapter.errors import StoreError

NO_LIMIT = 10**9
LOST_REPLY = StoreError(KafkaError.REQUEST_TIMED_OUT, "no reply", retriable=True, indeterminate=True)
NOT_SENT = StoreError(KafkaError._TRANSPORT, "refused", retriable=True)
DENIED = StoreError(KafkaError._AUTHENTICATION, "wrong password", fatal=True)
TOO_LARGE = StoreError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")
OUT_OF_ORDER = StoreError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "gap")


def accumulator(**changes):
    settings = {
        "linger": 1.0,
        "batch_size": 1000,
        "batch_messages": 10,
        "delivery_timeout": 100.0,
        "retries": 1000,
        "backoff": 0.1,
        "backoff_max": 1.0,
    }
    return Accumulator(Policy(**settings | changes), jitter=lambda: 0.5)


def add(acc, queue, value, now, key=None):
    if queue.add(value, key, 0, None, None, now, record_size(value, key, None)):
        acc.activate(queue)


def filled(acc, count=3, now=0.0, size=1, partition=0):
    queue = acc.queue("t", partition)
    for i in range(count):
        add(acc, queue, bytes([i]) * size, now)
    return queue


def size_of(records):
    return sum(map(record_size, records.values, records.keys, records.headers))


def only(batches):
    (batch,) = batches
    return batch


# -- when a batch is ready


def test_a_batch_waits_for_its_linger_and_no_longer():
    acc = accumulator(linger=1.0)
    filled(acc, now=5.0)

    assert acc.ready(5.999, False, NO_LIMIT) == []
    assert acc.next_event(False) == 6.0
    assert len(only(acc.ready(6.0, False, NO_LIMIT)).records) == 3


def test_flushing_ends_the_linger():
    acc = accumulator()
    filled(acc)

    assert len(only(acc.ready(0.0, True, NO_LIMIT)).records) == 3


def test_a_full_batch_does_not_linger():
    acc = accumulator(batch_messages=3)
    filled(acc, 3)

    assert len(only(acc.ready(0.0, False, NO_LIMIT)).records) == 3


@given(st.lists(st.integers(0, 60), min_size=1, max_size=60), st.integers(1, 300), st.integers(1, 20))
def test_batches_keep_both_limits_and_the_order(sizes, batch_size, batch_messages):
    acc = accumulator(batch_size=batch_size, batch_messages=batch_messages)
    queue = acc.queue("t", 0)
    for i, size in enumerate(sizes):
        add(acc, queue, b"x" * size, 0.0, key=b"%03d" % i)

    sent = []
    while batches := acc.ready(0.0, True, NO_LIMIT):
        batch = only(batches)
        records = batch.records
        assert len(records) <= batch_messages
        assert records.size == size_of(records) <= batch_size or len(records) == 1
        assert batch.sequence == len(sent)
        sent += records.keys
        acc.succeeded(batch)

    assert sent == [b"%03d" % i for i in range(len(sizes))]
    assert queue.is_empty()
    assert queue.open.size == 0


def test_one_batch_of_a_partition_is_under_way_at_a_time():
    acc = accumulator(batch_messages=1)
    filled(acc, 2)

    first = only(acc.ready(0.0, True, NO_LIMIT))

    assert acc.ready(0.0, True, NO_LIMIT) == []
    acc.succeeded(first)
    assert only(acc.ready(0.0, True, NO_LIMIT)).sequence == 1


def test_a_request_is_bounded_and_partitions_take_turns():
    acc = accumulator(batch_messages=1)
    for partition in range(3):
        filled(acc, 5, partition=partition, size=92)

    turns = []
    for _ in range(6):
        batch = only(acc.ready(0.0, True, limit=100))
        turns.append(batch.queue.partition)
        acc.succeeded(batch)

    assert turns == [0, 1, 2, 0, 1, 2]


def test_an_idle_accumulator_has_no_next_event():
    acc = accumulator()
    queue = filled(acc)

    acc.succeeded(only(acc.ready(1.0, False, NO_LIMIT)))

    assert acc.next_event(True) == NEVER
    assert queue.is_empty()


# -- failures


def test_a_lost_reply_is_retried_as_the_same_batch_after_the_back_off():
    acc = accumulator()
    queue = filled(acc)
    batch = only(acc.ready(1.0, False, NO_LIMIT))
    add(acc, queue, b"later", 1.0)

    assert acc.failed(batch, LOST_REPLY, 2.0) is None

    assert acc.ready(2.05, True, NO_LIMIT) == []
    assert acc.next_event(True) == pytest.approx(2.1)
    again = only(acc.ready(2.11, True, NO_LIMIT))
    assert again is batch
    assert (again.sequence, len(again.records)) == (0, 3)


def test_a_batch_that_never_reached_the_server_is_formed_anew_with_its_sequence():
    acc = accumulator()
    queue = filled(acc)
    batch = only(acc.ready(1.0, False, NO_LIMIT))
    add(acc, queue, b"later", 1.0)

    acc.failed(batch, NOT_SENT, 2.0)

    again = only(acc.ready(3.0, True, NO_LIMIT))
    assert (again.sequence, len(again.records)) == (0, 4)
    assert again.records.size == size_of(again.records)


def test_back_off_doubles_to_its_maximum_and_starts_again_after_a_success():
    acc = accumulator(backoff=0.1, backoff_max=0.3)
    queue = filled(acc)
    waits = []
    for _ in range(4):
        batch = only(acc.ready(queue.not_before + 2, True, NO_LIMIT))
        acc.failed(batch, NOT_SENT, 50.0)
        waits.append(queue.not_before - 50.0)

    assert waits == pytest.approx([0.1, 0.2, 0.3, 0.3])
    acc.succeeded(only(acc.ready(60.0, True, NO_LIMIT)))
    assert queue.attempts == 0
    assert queue.not_before == 0.0


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 5000))
def test_jitter_moves_the_back_off_by_a_fifth_at_most(jitter, attempts):
    acc = Accumulator(accumulator().policy, jitter=lambda: jitter)

    ideal = min(0.1 * 2.0 ** min(attempts, 30), 1.0)

    assert ideal * 0.8 <= acc.backoff(attempts) <= ideal * 1.2


def test_retries_are_counted():
    acc = accumulator(retries=1)
    filled(acc)

    assert acc.failed(only(acc.ready(1.0, True, NO_LIMIT)), NOT_SENT, 1.0) is None
    given_up = acc.failed(only(acc.ready(9.0, True, NO_LIMIT)), NOT_SENT, 9.0)

    assert given_up.error.code() == KafkaError._TRANSPORT
    assert len(given_up.records) == 3


def test_a_fatal_error_gives_up_at_once():
    acc = accumulator()
    queue = filled(acc)

    given_up = acc.failed(only(acc.ready(1.0, True, NO_LIMIT)), DENIED, 1.0)

    assert given_up.error.code() == KafkaError._AUTHENTICATION
    assert queue.is_empty()
    assert (queue.epoch, queue.sequence) == (0, 0)


def test_a_batch_too_large_for_the_server_is_split_until_single_records_fail_alone():
    acc = accumulator()
    queue = filled(acc, 8, size=50)
    queue_of_failed = []
    delivered = []

    def server(batch):
        if batch.records.size > 2 * (50 + RECORD_OVERHEAD) or b"\x03" * 50 in batch.records.values:
            given_up = acc.failed(batch, TOO_LARGE, 1.0)
            queue_of_failed.extend(given_up.records.values if given_up else [])
        else:
            assert batch.sequence == len(delivered)
            delivered.extend(batch.records.values)
            acc.succeeded(batch)

    while batches := acc.ready(1.0, True, NO_LIMIT):
        server(only(batches))

    assert [v[0] for v in delivered] == [0, 1, 2, 4, 5, 6, 7]
    assert [v[0] for v in queue_of_failed] == [3]
    assert queue.is_empty()


def test_an_out_of_order_sequence_begins_a_new_epoch_with_the_same_records():
    acc = accumulator()
    queue = filled(acc)
    acc.succeeded(only(acc.ready(1.0, True, NO_LIMIT)))
    add(acc, queue, b"next", 1.0)

    acc.failed(only(acc.ready(2.0, True, NO_LIMIT)), OUT_OF_ORDER, 2.0)

    again = only(acc.ready(3.0, True, NO_LIMIT))
    assert (again.epoch, again.sequence, again.records.values) == (1, 0, [b"next"])


# -- time-outs and purging


def test_records_that_were_never_sent_time_out_one_by_one():
    acc = accumulator(delivery_timeout=10.0)
    queue = acc.queue("t", 0, blocked=True)
    add(acc, queue, b"old", 0.0)
    add(acc, queue, b"new", 5.0)

    assert acc.next_event(True) == 10.0
    (given_up,) = acc.expire(10.0)

    assert given_up.records.values == [b"old"]
    assert given_up.error.code() == KafkaError._MSG_TIMED_OUT
    assert queue.open.values == [b"new"]
    assert queue.open.size == size_of(queue.open)
    assert acc.next_event(True) == 15.0


@pytest.mark.parametrize("give_up", [lambda a: a.expire(200.0), lambda a: a.purge(True, True)])
def test_a_batch_given_up_with_unknown_fate_raises_the_epoch_before_anything_else_is_sent(give_up):
    acc = accumulator()
    queue = filled(acc)
    acc.failed(only(acc.ready(1.0, True, NO_LIMIT)), LOST_REPLY, 1.0)

    (given_up,) = give_up(acc)
    add(acc, queue, b"next", 200.0)

    assert len(given_up.records) == 3
    batch = only(acc.ready(201.0, True, NO_LIMIT))
    assert (batch.epoch, batch.sequence) == (1, 0)


@pytest.mark.parametrize("reply", ["ok", "lost", "refused"])
def test_the_late_reply_to_an_abandoned_batch_decides_nothing(reply):
    acc = accumulator()
    queue = filled(acc)
    batch = only(acc.ready(1.0, True, NO_LIMIT))
    (given_up,) = acc.expire(200.0)
    add(acc, queue, b"next", 200.0)
    assert acc.ready(200.0, True, NO_LIMIT) == []  # its request is still under way

    if reply == "ok":
        assert acc.succeeded(batch) is False
    else:
        assert acc.failed(batch, LOST_REPLY if reply == "lost" else DENIED, 200.0) is None

    assert len(given_up.records) == 3
    following = only(acc.ready(300.0, True, NO_LIMIT))
    assert (following.epoch, following.sequence, following.records.values) == (1, 0, [b"next"])


def test_without_a_delivery_timeout_nothing_ever_expires():
    acc = accumulator(delivery_timeout=0.0)
    filled(acc)

    assert acc.expire(1e9) == []


@pytest.mark.parametrize(
    ("in_queue", "in_flight", "codes"),
    [
        (True, True, [KafkaError._PURGE_INFLIGHT, KafkaError._PURGE_QUEUE]),
        (True, False, [KafkaError._PURGE_QUEUE]),
        (False, True, [KafkaError._PURGE_INFLIGHT]),
        (False, False, []),
    ],
)
def test_purge_takes_what_it_was_asked_for(in_queue, in_flight, codes):
    acc = accumulator()
    queue = filled(acc)
    acc.ready(1.0, True, NO_LIMIT)
    add(acc, queue, b"queued", 1.0)

    assert [item.error.code() for item in acc.purge(in_queue, in_flight)] == codes


# -- whole histories


class Server:
    """The log's rules for producers (docs/design.md, Append), for one producer id; requests may arrive late."""

    def __init__(self):
        self.logs = collections.defaultdict(list)
        self.state = {}  # partition -> (epoch, next sequence, {first sequence: count})
        self.late = []

    def append(self, batch):
        request = (batch.queue.partition, batch.epoch, batch.sequence, list(batch.records.keys))
        return self.arrive(request), request

    def arrive(self, request):
        partition, epoch, sequence, keys = request
        known_epoch, following, seen = self.state.get(partition, (epoch, sequence, {}))
        if epoch < known_epoch:
            return "old epoch"
        if epoch > known_epoch:
            following, seen = 0, {}
        if seen.get(sequence) == len(keys):
            return "duplicate"
        if sequence != following:
            return "out of order"
        self.logs[partition] += keys
        self.state[partition] = (epoch, sequence + len(keys), {**seen, sequence: len(keys)})
        return "ok"


def play(rnd, steps):
    """A random history of three partitions; returns (produced, delivered, given up, server)."""
    acc = accumulator(linger=0.5, delivery_timeout=8.0, batch_messages=4, retries=rnd.choice([2, 1000]))
    queues = [acc.queue("t", partition) for partition in range(3)]
    server, now, number = Server(), 0.0, 0
    produced = collections.defaultdict(list)
    delivered, failed = [], []

    def give_up(items):
        for item in items:
            failed.extend((item.partition, key, item.error.code()) for key in item.records.keys)

    def send():
        for batch in acc.ready(now, rnd.random() < 0.3, NO_LIMIT):
            fate = rnd.choice(["ok", "ok", "ok", "lost reply", "lost request", "late", "not sent", "denied"])
            if rnd.random() < 0.1:
                give_up(acc.expire(now + 8.0))  # another thread, while this request is under way
            if fate in ("ok", "lost reply"):
                answer, _ = server.append(batch)
                assert batch.abandoned or answer in ("ok", "duplicate")
            elif fate == "late":
                server.late.append(
                    (batch.queue.partition, batch.epoch, batch.sequence, list(batch.records.keys))
                )
            if fate == "ok":
                if acc.succeeded(batch):
                    delivered.extend((batch.queue.partition, key) for key in batch.records.keys)
            else:
                error = {"not sent": NOT_SENT, "denied": DENIED}.get(fate, LOST_REPLY)
                give_up(filter(None, [acc.failed(batch, error, now)]))

    for _ in range(steps):
        action = rnd.randrange(10)
        now += rnd.choice([0.0, 0.1, 1.0])
        if action < 5:
            queue = rnd.choice(queues)
            key = b"%d" % number
            number += 1
            produced[queue.partition].append(key)
            add(acc, queue, b"", now, key=key)
        elif action < 9:
            send()
        elif server.late:
            server.arrive(server.late.pop(rnd.randrange(len(server.late))))
        else:
            give_up(acc.expire(now) if rnd.random() < 0.5 else acc.purge(True, rnd.random() < 0.5))
    give_up(acc.purge(True, True))
    assert all(queue.is_empty() and queue.open.size == 0 for queue in queues)
    return produced, delivered, failed, server


@given(st.integers(0, 2**32), st.integers(10, 200))
def test_in_any_history_every_record_is_reported_once_and_the_log_has_them_once_in_order(seed, steps):
    produced, delivered, failed, server = play(random.Random(seed), steps)

    reports = collections.Counter([(p, k) for p, k, _ in failed] + delivered)
    assert set(reports.values()) <= {1}
    assert set(reports) == {(p, k) for p, keys in produced.items() for k in keys}
    for partition, keys in produced.items():
        log = server.logs[partition]
        assert len(set(log)) == len(log)
        assert log == [key for key in keys if key in set(log)]  # in the order produced
        assert {k for p, k in delivered if p == partition} <= set(log)


def test_a_batch_that_is_opened_again_goes_before_the_portions_behind_it():
    acc = accumulator(batch_messages=3)
    queue = filled(acc, 1)
    batch = only(acc.ready(0.0, True, NO_LIMIT))
    for i in range(1, 5):  # a full portion, and one record in the open one
        add(acc, queue, bytes([i]), 0.0)

    acc.failed(batch, NOT_SENT, 0.0)

    sent = []
    while batches := acc.ready(10.0, True, NO_LIMIT):
        batch = only(batches)
        assert batch.sequence == len(sent)
        sent += batch.records.values
        acc.succeeded(batch)
    assert sent == [bytes([i]) for i in range(5)]


def test_a_small_batch_that_is_opened_again_takes_more_on_its_way_if_nothing_is_in_between():
    acc = accumulator(batch_messages=4)
    queue = filled(acc, 2)
    batch = only(acc.ready(1.0, True, NO_LIMIT))
    add(acc, queue, b"later", 1.0)
    acc.failed(batch, NOT_SENT, 1.0)
    assert len(only(acc.ready(10.0, True, NO_LIMIT)).records) == 3
