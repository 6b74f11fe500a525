"""The log store's primitives on real servers and in memory: what the engine above relies on."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis as redis_py
from confluent_kafka import KafkaError

import streamadapter_redis
from streamadapter.backend import Append, Appended, Committed, LogState, LogStore, StoredBatch, TopicInfo
from streamadapter.errors import FencedOwnerError, StoreError
from streamadapter.registry import backend_of
from streamadapter.testing.servers import Server
from streamadapter_redis import scripts

PAYLOAD = b"\x00payload\xff" * 5


@pytest.fixture
def store(store_url: str) -> Iterator[LogStore]:
    opener = backend_of(store_url).open_store
    assert opener is not None
    store = opener(store_url, {"streamadapter.key.prefix": f"t-{uuid.uuid4().hex[:8]}"})
    yield store
    store.close()


def created(store: LogStore, partitions: int = 2, **config: str) -> TopicInfo:
    topic = TopicInfo("orders", uuid.uuid4().hex, partitions, config)
    store.create_topic(topic)
    return topic


def append(
    store: LogStore,
    topic: TopicInfo,
    sequence: int,
    count: int = 1,
    *,
    epoch: int = 0,
    producer: int = 7,
    timestamp: int = 100,
    payload: bytes = PAYLOAD,
    partition: int = 0,
) -> Appended | StoreError:
    batch = Append(topic, partition, producer, epoch, sequence, count, timestamp, payload)
    return store.append([batch], 1, 1000)[0]


def placed(result: Appended | StoreError) -> int:
    assert isinstance(result, Appended), result
    return result.base_offset


def refused(result: Appended | StoreError) -> int:
    assert isinstance(result, StoreError), result
    return result.code


def limits(store: LogStore, topic: TopicInfo, partition: int = 0) -> LogState:
    state = store.log_states([(topic, partition)])[0]
    assert isinstance(state, LogState), state
    return state


# -- append


def test_offsets_are_dense_over_batches(store: LogStore) -> None:
    topic = created(store)
    bases = [placed(append(store, topic, sum(range(n)), n)) for n in range(1, 20)]
    assert bases == [sum(range(n)) for n in range(1, 20)]
    assert (limits(store, topic).start, limits(store, topic).end) == (0, sum(range(20)))


def test_a_repeated_batch_is_answered_with_its_first_offset(store: LogStore) -> None:
    topic = created(store)
    for sequence in range(0, 50, 10):
        append(store, topic, sequence, 10)
    for sequence in range(0, 50, 10):  # the last five batches are remembered
        again = append(store, topic, sequence, 10)
        assert isinstance(again, Appended)
        assert (again.base_offset, again.duplicate) == (sequence, True)
    assert limits(store, topic).end == 50


def test_a_gap_in_the_sequence_is_refused(store: LogStore) -> None:
    topic = created(store)
    append(store, topic, 0, 5)
    assert refused(append(store, topic, 6)) == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert refused(append(store, topic, 3, 1)) == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert placed(append(store, topic, 5)) == 5


def test_an_older_producer_epoch_is_fenced_and_a_newer_one_begins_at_zero(store: LogStore) -> None:
    topic = created(store)
    append(store, topic, 0, 5)
    assert refused(append(store, topic, 3, epoch=1)) == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert placed(append(store, topic, 0, epoch=1)) == 5
    assert refused(append(store, topic, 5, epoch=0)) == KafkaError.INVALID_PRODUCER_EPOCH


def test_producers_and_partitions_do_not_disturb_each_other(store: LogStore) -> None:
    topic = created(store)
    batches = [
        Append(topic, partition, producer, 0, 0, 3, 1, PAYLOAD) for partition in (0, 1) for producer in (1, 2)
    ]
    results = store.append(batches, 1, 1000)
    assert [placed(result) for result in results] == [0, 3, 0, 3]


def test_a_batch_beyond_max_message_bytes_is_refused(store: LogStore) -> None:
    topic = created(store, **{"max.message.bytes": "100"})
    assert refused(append(store, topic, 0, payload=b"x" * 101)) == KafkaError.MSG_SIZE_TOO_LARGE
    assert placed(append(store, topic, 0, payload=b"x" * 100)) == 0


def test_a_deleted_topic_is_not_brought_back_by_an_append(store: LogStore) -> None:
    topic = created(store)
    append(store, topic, 0)
    store.delete_topic(topic.name)
    assert refused(append(store, topic, 1)) == KafkaError.UNKNOWN_TOPIC_OR_PART
    again = created(store)
    assert refused(append(store, topic, 1)) == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert limits(store, again).end == 0


def test_what_a_producer_wrote_to_a_deleted_log_does_not_count_as_written_to_its_successor(
    store: LogStore,
) -> None:
    first = created(store)
    append(store, first, 0, 5)
    store.delete_topic(first.name)
    second = created(store)
    result = append(store, second, 0, 5)
    assert isinstance(result, Appended)
    assert not result.duplicate


def test_concurrent_appends_leave_a_dense_log(store: LogStore) -> None:
    topic = created(store)

    def write(producer: int) -> list[int]:
        return [placed(append(store, topic, n * 3, 3, producer=producer)) for n in range(30)]

    with ThreadPoolExecutor(4) as pool:
        bases = sorted(base for found in pool.map(write, range(4)) for base in found)
    assert bases == list(range(0, 360, 3))


# -- topics


def test_of_many_creators_one_wins(store: LogStore) -> None:
    def create(_: int) -> str | int:
        try:
            return created(store).topic_id
        except StoreError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(create, range(8)))
    winners = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert outcomes.count(KafkaError.TOPIC_ALREADY_EXISTS) == 7
    known = store.topics()
    assert [known.topics["orders"].topic_id] == winners
    assert placed(append(store, known.topics["orders"], 0)) == 0


def test_the_registry_version_rises_with_every_change(store: LogStore) -> None:
    versions = [store.topics_version()]
    topic = created(store)
    versions.append(store.topics_version())
    assert store.update_topic(topic, TopicInfo(topic.name, topic.topic_id, 3, {"retention.ms": "5"}))
    versions.append(store.topics().version)
    store.delete_topic(topic.name)
    versions.append(store.topics_version())
    assert versions == sorted(set(versions))


def test_an_update_of_a_topic_that_has_changed_meanwhile_is_refused(store: LogStore) -> None:
    topic = created(store)
    wider = TopicInfo(topic.name, topic.topic_id, 4, {})
    assert store.update_topic(topic, wider)
    assert not store.update_topic(topic, TopicInfo(topic.name, topic.topic_id, 5, {}))
    assert store.topics().topics["orders"] == wider
    assert placed(append(store, wider, 0, partition=3)) == 0


def test_a_partition_whose_creator_died_is_created_by_the_next_one_who_needs_it(
    redis_server: Server,
) -> None:
    prefix = f"t-{uuid.uuid4().hex[:8]}"
    store = streamadapter_redis.open_store(redis_server.url, {"streamadapter.key.prefix": prefix})
    topic = created(store)
    client = redis_py.Redis.from_url(redis_server.url)
    client.delete(f"{prefix}:{{orders:1}}:meta")
    assert refused(append(store, topic, 0, partition=1)) == KafkaError.LEADER_NOT_AVAILABLE
    assert placed(append(store, topic, 0, partition=1)) == 0
    client.close()
    store.close()


def test_a_slow_creator_of_a_deleted_topic_does_not_replace_its_successors_log(redis_server: Server) -> None:
    prefix = f"t-{uuid.uuid4().hex[:8]}"
    store = streamadapter_redis.open_store(redis_server.url, {"streamadapter.key.prefix": prefix})
    former = created(store, partitions=1)
    number = store.topics_version()  # the former topic's place in the order of topics
    store.delete_topic(former.name)
    successor = created(store, partitions=1)
    append(store, successor, 0, 5)
    client = redis_py.Redis.from_url(redis_server.url)
    keys = [f"{prefix}:{{orders:0}}:{part}" for part in ("log", "meta", "owners")]

    # What a creator of the former topic sends that was asleep all the while.
    late = client.execute_command(*scripts.CREATE_PARTITION.call(keys, former.topic_id, number, "its-log-id"))

    assert late == 0
    assert limits(store, successor).end == 5
    client.close()
    store.close()


# -- limits, retention, search


def test_delete_records_raises_the_log_start_exactly(store: LogStore) -> None:
    topic = created(store)
    for n in range(10):
        append(store, topic, n * 10, 10)
    assert store.delete_records(topic, 0, 37) == 37
    assert store.delete_records(topic, 0, 5) == 37  # never back
    batch = read(store, topic, 37)[0]
    assert (batch.base_offset, batch.count) == (30, 10)
    with pytest.raises(StoreError) as error:
        store.delete_records(topic, 0, 101)
    assert error.value.code == KafkaError.OFFSET_OUT_OF_RANGE
    assert store.delete_records(topic, 0, -1) == 100
    assert read(store, topic, 100) == []
    assert placed(append(store, topic, 100)) == 100


def read(store: LogStore, topic: TopicInfo, offset: int, partition: int = 0) -> list[StoredBatch]:
    reader = store.reader(None, "")
    try:
        return list(
            reader.fetch({(topic.name, partition): offset}, 1000, 0).batches.get((topic.name, partition), [])
        )
    finally:
        reader.close()


def test_retention_by_size_keeps_at_least_the_configured_bytes(store: LogStore) -> None:
    topic = created(store, **{"retention.bytes": "1000"})
    for n in range(100):
        append(store, topic, n, payload=b"x" * 100)
    kept = read(store, topic, limits(store, topic).start)
    assert sum(len(batch.payload or b"") for batch in kept) == 1000
    assert kept[-1].base_offset == 99


def test_retention_by_age_empties_a_quiet_log(store: LogStore) -> None:
    topic = created(store, **{"retention.ms": "50"})
    for n in range(40):
        append(store, topic, n)
    deadline = time.monotonic() + 20
    while limits(store, topic).start < 40 and time.monotonic() < deadline:
        store.enforce_retention(topic, 0)
    assert limits(store, topic).start == limits(store, topic).end == 40


def test_search_by_time_finds_the_batch_of_the_first_late_enough_record(store: LogStore) -> None:
    topic = created(store)
    random.seed(4)
    stamps = [random.randrange(1000) for _ in range(60)]
    for n, stamp in enumerate(stamps):
        append(store, topic, n, timestamp=stamp)
    for wanted in range(-1, 1002, 7):
        found = store.search_timestamp(topic, 0, wanted)
        expected = next((n for n, stamp in enumerate(stamps) if stamp >= wanted), None)
        assert (found.base_offset if found else None) == expected, wanted


def test_append_times_never_fall(store: LogStore) -> None:
    topic = created(store)
    times = [result.append_time for n in range(50) if isinstance(result := append(store, topic, n), Appended)]
    assert times == sorted(times)
    assert abs(times[0] / 1000 - time.time()) < 60


def test_a_leader_epoch_begins_when_another_server_process_writes(own_redis: Server) -> None:
    store = streamadapter_redis.open_store(own_redis.url, {})
    topic = created(store)
    first = append(store, topic, 0, 5)
    assert isinstance(first, Appended)
    own_redis.kill()
    own_redis.start()
    with pytest.raises(StoreError) as error:
        append(store, topic, 5, 5)
    assert error.value.retriable
    result = append(store, topic, 5, 5)
    assert isinstance(result, Appended)
    assert result.leader_epoch > first.leader_epoch
    assert limits(store, topic).epochs == ((first.leader_epoch, 0), (result.leader_epoch, 5))
    store.close()


# -- reading


def test_a_fetch_begins_with_the_batch_that_holds_the_position(store: LogStore) -> None:
    topic = created(store)
    for n in range(5):
        append(store, topic, n * 10, 10)
    assert [b.base_offset for b in read(store, topic, 25)] == [20, 30, 40]
    reader = store.reader("g", "m")
    reader.acquire(topic, 0, 1, 25)
    fetched = reader.fetch({("orders", 0): 25}, 1000, 0)
    assert [b.base_offset for b in fetched.batches["orders", 0]] == [20, 30, 40]
    assert fetched.batches["orders", 0][0].payload == PAYLOAD
    # a seek back, and one into the middle of what is there
    assert [b.base_offset for b in reader.fetch({("orders", 0): 0}, 2, 0).batches["orders", 0]] == [0, 10]
    assert [b.base_offset for b in reader.fetch({("orders", 0): 49}, 2, 0).batches["orders", 0]] == [40]
    reader.close()


def test_a_waiting_fetch_ends_with_the_first_append(store: LogStore) -> None:
    topic = created(store)
    reader = store.reader("g", "m")
    reader.acquire(topic, 0, 1, 0)
    reader.fetch({("orders", 0): 0}, 10, 0)
    writer = threading.Timer(0.1, append, (store, topic, 0))
    writer.start()
    started = time.monotonic()
    fetched = reader.fetch({("orders", 0): 0}, 10, 4000)
    assert [b.base_offset for b in fetched.batches["orders", 0]] == [0]
    assert time.monotonic() - started < 3
    writer.join()
    reader.close()


def test_a_waiting_fetch_ends_at_a_wake(store: LogStore) -> None:
    topic = created(store)
    reader = store.reader("g", "m")
    reader.acquire(topic, 0, 1, 0)
    reader.fetch({("orders", 0): 0}, 10, 0)
    waker = threading.Timer(0.1, reader.wake)
    waker.start()
    started = time.monotonic()
    assert reader.fetch({("orders", 0): 0}, 10, 4000).batches == {}
    assert time.monotonic() - started < 3
    waker.join()
    reader.close()


def test_whoever_acquires_with_a_higher_epoch_fences_the_former_owner_even_in_a_waiting_fetch(
    store: LogStore,
) -> None:
    topic = created(store)
    old, new = store.reader("g", "old"), store.reader("g", "new")
    old.acquire(topic, 0, 1, 0)
    old.fetch({("orders", 0): 0}, 10, 0)
    taker = threading.Timer(0.1, new.acquire, (topic, 0, 2, 0))
    taker.start()
    started = time.monotonic()
    assert old.fetch({("orders", 0): 0}, 10, 4000).fenced == {("orders", 0)}
    assert time.monotonic() - started < 3
    taker.join()
    for epoch in (1, 2):  # 2: the same epoch, but another member
        with pytest.raises(FencedOwnerError) as error:
            old.acquire(topic, 0, epoch, 0)
        assert error.value.epoch == 2
    append(store, topic, 0)
    assert new.fetch({("orders", 0): 0}, 10, 1000).batches
    old.close()
    new.close()


def test_groups_have_cursors_of_their_own(store: LogStore) -> None:
    topic = created(store)
    append(store, topic, 0, 5)
    readers = [store.reader(group, "m") for group in ("a", "b/c d:{x}")]
    for reader in readers:
        reader.acquire(topic, 0, 1, 0)
        assert len(reader.fetch({("orders", 0): 0}, 10, 0).batches["orders", 0]) == 1
        reader.close()


def test_an_entry_that_somebody_else_wrote_is_shown_as_such_and_named_by_the_append(
    redis_server: Server,
) -> None:
    prefix = f"t-{uuid.uuid4().hex[:8]}"
    store = streamadapter_redis.open_store(redis_server.url, {"streamadapter.key.prefix": prefix})
    topic = created(store)
    append(store, topic, 0)
    client = redis_py.Redis.from_url(redis_server.url)
    key = f"{prefix}:{{orders:0}}:log"
    foreign = client.xadd(key, {"x": "y"})
    found = read(store, topic, 0)
    assert [batch.payload for batch in found] == [PAYLOAD, None]
    result = append(store, topic, 1)
    assert isinstance(result, StoreError)
    assert (result.code, result.retriable) == (KafkaError.KAFKA_STORAGE_ERROR, False)
    assert "XSETID" in result.reason
    # and the advice works
    client.xdel(key, foreign)
    client.execute_command("XSETID", key, "0-1")
    assert placed(append(store, topic, 1)) == 1
    client.close()
    store.close()


# -- groups


def test_a_group_update_is_applied_only_to_the_version_it_was_computed_from(store: LogStore) -> None:
    first = store.group_update("g", 0, b"one", {"m1": 10_000}, [])
    assert first.applied
    second = store.group_update("g", 0, b"two", {}, [])
    assert (second.applied, second.version, second.state) == (False, first.version, b"one")
    third = store.group_update("g", first.version, b"three", {"m1": 10_000}, [])
    assert third.applied
    assert third.version == first.version + 1
    view = store.group_heartbeat("g", "m1", third.version, 10_000)
    assert (view.state, view.expired) == (None, ())
    assert store.group_heartbeat("g", "", -1, 0).state == b"three"


def test_a_member_whose_session_ended_is_named_and_may_be_evicted_unless_it_comes_back(
    store: LogStore,
) -> None:
    version = store.group_update("g", 0, b"s", {"dead": 30, "alive": 60_000}, []).version
    deadline = time.monotonic() + 20
    while not (view := store.group_heartbeat("g", "alive", version, 60_000)).expired:
        assert time.monotonic() < deadline
    assert view.expired == ("dead",)
    store.group_heartbeat("g", "dead", version, 60_000)  # it lives
    refused_view = store.group_update("g", version, b"t", {"alive": 60_000}, ["dead"])
    assert (refused_view.applied, refused_view.state) == (False, b"s")


def test_every_change_of_a_group_wakes_the_waiting_fetches_of_its_members(store: LogStore) -> None:
    version = store.group_update("g", 0, b"s", {"m1": 60_000, "m2": 60_000}, []).version
    readers = [store.reader("g", "m1"), store.reader("g", "m2")]
    for reader in readers:
        assert reader.fetch({}, 10, 0).group_changed  # it may have missed one before it listened
        assert not reader.fetch({}, 10, 0).group_changed
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(reader.fetch, {}, 10, 4000) for reader in readers]
        time.sleep(0.1)
        store.group_update("g", version, b"t", {"m1": 60_000, "m2": 60_000}, [])
        assert all(future.result(20).group_changed for future in waiting)
    for reader in readers:
        reader.close()


def test_a_member_that_was_removed_learns_it_from_its_waiting_fetch(store: LogStore) -> None:
    version = store.group_update("g", 0, b"s", {"m1": 60_000}, []).version
    reader = store.reader("g", "m1")
    reader.fetch({}, 10, 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reader.fetch, {}, 10, 4000)
        time.sleep(0.1)
        started = time.monotonic()
        store.group_update("g", version, b"t", {}, [])
        assert waiting.result(20).group_changed
        assert time.monotonic() - started < 3
    reader.close()


def test_a_removed_member_leaves_no_cursor_behind_on_the_groups_signal(redis_server: Server) -> None:
    prefix = f"t-{uuid.uuid4().hex[:8]}"
    store = streamadapter_redis.open_store(redis_server.url, {"streamadapter.key.prefix": prefix})
    client = redis_py.Redis.from_url(redis_server.url)
    version = store.group_update("g", 0, b"s", {"crashed": 60_000, "other": 60_000}, []).version
    for member in ("crashed", "other"):
        store.reader("g", member).fetch({}, 10, 0)

    store.group_update("g", version, b"t", {"other": 60_000}, [])

    assert [g["name"] for g in client.xinfo_groups(f"{prefix}:{{group:g}}:signal")] == [b"g/other"]
    client.close()
    store.close()


def test_only_a_live_member_commits_and_anybody_while_there_is_none(store: LogStore) -> None:
    offsets = {("orders", 0): Committed(5, 2, "note = x", "id"), ("orders", 1): Committed(7)}
    store.commit("g", "", offsets)
    assert store.committed("g") == offsets
    version = store.group_update("g", 0, b"s", {"m1": 60_000}, []).version
    store.commit("g", "m1", {("orders", 0): Committed(6, metadata="")})
    for stranger in ("", "m2"):
        with pytest.raises(StoreError) as error:
            store.commit("g", stranger, {("orders", 0): Committed(1), ("orders", 1): Committed(1)})
        assert error.value.code == KafkaError.UNKNOWN_MEMBER_ID
    assert store.committed("g") == offsets | {("orders", 0): Committed(6, metadata="")}
    store.group_update("g", version, b"s", {}, [])
    store.delete_offsets(["g"], [("orders", 1)])
    assert store.committed("g").keys() == {("orders", 0)}


def test_a_group_with_live_members_cannot_be_deleted_and_a_new_one_continues_its_versions(
    store: LogStore,
) -> None:
    version = store.group_update("g", 0, b"s", {"m1": 60_000}, []).version
    with pytest.raises(StoreError) as error:
        store.delete_group("g")
    assert error.value.code == KafkaError.NON_EMPTY_GROUP
    version = store.group_update("g", version, b"s", {}, []).version
    assert store.groups() == ["g"]
    store.delete_group("g")
    assert store.groups() == []
    with pytest.raises(StoreError) as error:
        store.delete_group("g")
    assert error.value.code == KafkaError.GROUP_ID_NOT_FOUND
    # A slow writer of the deleted group must not find its version again.
    assert store.group_update("g", 0, b"s", {}, []).version > version


# -- failure


def test_an_unreachable_server_is_a_retriable_error_that_was_not_sent(tmp_path: object) -> None:
    store = streamadapter_redis.open_store("redis://127.0.0.1:1/0", {})
    with pytest.raises(StoreError) as error:
        store.topics()
    assert (error.value.code, error.value.retriable, error.value.indeterminate) == (
        KafkaError._TRANSPORT,
        True,
        False,
    )
    assert "127.0.0.1:1" in error.value.reason
    store.close()


def test_a_closed_store_refuses_work(store: LogStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError) as error:
        store.topics()
    assert error.value.code == KafkaError._STATE
