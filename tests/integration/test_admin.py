"""The admin client over a log store: what the contract suite does not ask, as Kafka has no such answer."""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import confluent_kafka.admin
import pytest
from confluent_kafka import (
    OFFSET_END,
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)

from streamadapter import registry
from streamadapter.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from streamadapter.backend import Append, LogStore
from streamadapter.codec import encode_batch
from streamadapter.engine import coordinator
from streamadapter.properties import parse
from streamadapter.testing.proxy import Faults, Proxy

if TYPE_CHECKING:
    from streamadapter.testing.servers import Server

DEADLINE = 60

LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent_kafka gives these no types
MAX_TIMESTAMP: OffsetSpec = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]  # as above


@pytest.fixture
def admin(store_url: str) -> Iterator[AdminClient]:
    with AdminClient({"bootstrap.servers": store_url}) as client:
        yield client


@pytest.fixture
def store(store_url: str) -> Iterator[LogStore]:
    """The same server, for what an admin client cannot do: produce, and be a member of a group."""
    open_store = registry.backend_of(store_url).open_store
    assert open_store
    store = open_store(store_url, parse({}, "admin"))
    yield store
    store.close()


def only(futures: dict[Any, Future[Any]]) -> Any:
    """The result of a request about one thing."""
    (future,) = futures.values()
    return future.result(DEADLINE)


def error(futures: dict[Any, Future[Any]]) -> KafkaError:
    """The error of a request about one thing."""
    with pytest.raises(KafkaException) as caught:
        only(futures)
    found: KafkaError = caught.value.args[0]
    return found


def create(admin: AdminClient, topic: str, partitions: int = 1, **config: str) -> None:
    only(
        admin.create_topics(
            [NewTopic(topic, partitions, config={k.replace("_", "."): v for k, v in config.items()})]
        )
    )


def append(store: LogStore, topic: str, *timestamps: int) -> None:
    """Append one batch with records of these timestamps to partition 0."""
    values = [b"v"] * len(timestamps)
    nothing = [None] * len(timestamps)
    producer_id = uuid.uuid4().int >> 80
    batch = encode_batch(
        values, nothing, timestamps, nothing, producer_id=producer_id, producer_epoch=0, sequence=0
    )
    info = store.topics().topics[topic]
    (answer,) = store.append(
        [Append(info, 0, producer_id, 0, 0, len(values), max(timestamps), batch)], acks=1, timeout_ms=10_000
    )
    assert not isinstance(answer, Exception)


def join(store: LogStore, group: str, topic: str, session_timeout_ms: int = 60_000) -> str:
    """Make a member of the group that owns the whole topic, as a consumer would."""
    member_id = f"member-{uuid.uuid4().hex[:8]}"
    spec = coordinator.MemberSpec(
        "client-1", "10.0.0.1", (topic,), ("range",), False, session_timeout_ms, 60_000, "instance-1"
    )
    view = store.group_heartbeat(group, "", -1, 0)
    state = coordinator.join(coordinator.decode(view.state or b""), member_id, spec)
    state = coordinator.settle(coordinator.set_topics(state, store.topics()), view.now)
    answer = store.group_update(
        group, view.version, coordinator.encode(state), coordinator.sessions(state), ()
    )
    assert answer.applied
    return member_id


# -- topics


def test_a_topics_description_has_its_id_and_partitions(
    admin: AdminClient, store: LogStore, topic: str
) -> None:
    create(admin, topic, 2)

    futures = admin.describe_topics(TopicCollection([topic, "unknown"]))

    description = futures[topic].result(DEADLINE)
    assert description.name == topic
    assert [p.id for p in description.partitions] == [0, 1]
    assert description.partitions[1].leader.id == description.partitions[1].isr[0].id
    bits = base64.b64decode(f"{description.topic_id}==", altchars=b"-_")
    assert bits.hex() == store.topics().topics[topic].topic_id
    assert error({"unknown": futures["unknown"]}) == KafkaError.UNKNOWN_TOPIC_OR_PART


# -- configs


def configs(admin: AdminClient, topic: str) -> dict[str, ConfigEntry]:
    found: dict[str, ConfigEntry] = only(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    return found


def alter(
    admin: AdminClient, topic: str, *entries: ConfigEntry, **options: Any
) -> dict[ConfigResource, Future[None]]:
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=list(entries))
    return admin.incremental_alter_configs([resource], **options)


def setting(
    name: str, value: str | None, operation: AlterConfigOpType = AlterConfigOpType.SET
) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=operation)


def test_concurrent_changes_of_one_topic_all_take_effect(
    store_url: str, admin: AdminClient, topic: str
) -> None:
    create(admin, topic)
    names = ["retention.ms", "retention.bytes", "max.message.bytes", "segment.ms", "flush.ms", "preallocate"]

    changes = [alter(admin, topic, setting(name, "77")) for name in names]
    for change in changes:
        only(change)

    found = configs(admin, topic)
    assert [found[name].value for name in names] == ["77"] * len(names)


# -- offsets of logs


def by_time(admin: AdminClient, topic: str, spec: OffsetSpec) -> tuple[int, int]:
    found = only(admin.list_offsets({TopicPartition(topic, 0): spec}))
    return found.offset, found.timestamp


def test_the_first_offset_at_or_after_a_time_is_exact_for_any_order_of_timestamps(
    admin: AdminClient, store: LogStore, topic: str
) -> None:
    create(admin, topic)
    timestamps = [[10, 30, 20], [5, 6], [40, 15, 40], [7], [25]]
    for batch in timestamps:
        append(store, topic, *batch)
    flat = [t for batch in timestamps for t in batch]

    for wanted in range(45):
        expected = next(((offset, t) for offset, t in enumerate(flat) if t >= wanted), (-1, -1))
        assert by_time(admin, topic, OffsetSpec.for_timestamp(wanted)) == expected


def test_times_before_and_after_the_log_start_are_told_apart_after_records_were_deleted(
    admin: AdminClient, store: LogStore, topic: str
) -> None:
    # The record with timestamp 100 raised the largest one so far, and is deleted; those behind it are older.
    create(admin, topic)
    timestamps = [[10, 100, 20], [30], [60, 50], [90], [120]]
    for batch in timestamps:
        append(store, topic, *batch)
    flat = [t for batch in timestamps for t in batch]
    only(admin.delete_records([TopicPartition(topic, 0, 2)]))

    for wanted in (0, 20, 25, 40, 55, 61, 90, 95, 101, 120, 121):
        expected = next(((o, t) for o, t in enumerate(flat) if o >= 2 and t >= wanted), (-1, -1))
        assert by_time(admin, topic, OffsetSpec.for_timestamp(wanted)) == expected


def test_the_largest_timestamp_is_found_even_after_a_larger_one_was_deleted(
    admin: AdminClient, store: LogStore, topic: str
) -> None:
    create(admin, topic)
    assert by_time(admin, topic, MAX_TIMESTAMP) == (-1, -1)
    for batch in ([10, 100], [60, 90, 90], [70]):
        append(store, topic, *batch)
    assert by_time(admin, topic, MAX_TIMESTAMP) == (1, 100)

    only(admin.delete_records([TopicPartition(topic, 0, 2)]))

    assert by_time(admin, topic, MAX_TIMESTAMP) == (3, 90)
    only(admin.delete_records([TopicPartition(topic, 0, OFFSET_END)]))
    assert by_time(admin, topic, MAX_TIMESTAMP) == (-1, -1)


# -- consumer groups


def test_a_member_whose_session_has_ended_is_not_shown(
    admin: AdminClient, store: LogStore, topic: str, group: str
) -> None:
    create(admin, topic)
    join(store, group, topic, session_timeout_ms=1)

    deadline = time.monotonic() + DEADLINE
    while only(admin.describe_consumer_groups([group])).members:
        assert time.monotonic() < deadline

    assert only(admin.describe_consumer_groups([group])).state is ConsumerGroupState.EMPTY
    only(admin.delete_consumer_groups([group]))


# -- the client


def test_credentials_cannot_be_changed_while_connected(admin: AdminClient) -> None:
    with pytest.raises(KafkaException, match="new client") as caught:
        admin.set_sasl_credentials("user", "secret")

    assert caught.value.args[0] == KafkaError._UNSUPPORTED_FEATURE


def test_poll_waits_and_serves_nothing(admin: AdminClient) -> None:
    before = time.monotonic()

    assert admin.poll(0.2) == 0

    assert time.monotonic() - before >= 0.2
    assert len(admin) == 0


# -- a server that cannot be reached


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def elapsed(call: Callable[[], Any]) -> float:
    before = time.monotonic()
    call()
    return time.monotonic() - before


def test_a_server_that_does_not_answer_ends_a_request_at_its_timeout(silent_server: str, topic: str) -> None:
    with AdminClient({"bootstrap.servers": silent_server}) as admin:
        futures = admin.create_topics([NewTopic(topic, 1)], request_timeout=0.5)
        assert len(admin) == 1

        found: list[KafkaError] = []
        took = elapsed(lambda: found.append(error(futures)))

        assert found == [KafkaError._TIMED_OUT]
        assert took < 4  # of the socket's 5 s
        assert len(admin) == 0


def test_listing_topics_of_an_unreachable_server_is_a_transport_error(own_redis: Server) -> None:
    with AdminClient({"bootstrap.servers": own_redis.url}) as admin:
        own_redis.kill()

        with pytest.raises(KafkaException) as caught:
            admin.list_topics(timeout=0.5)

    assert caught.value.args[0] == KafkaError._TRANSPORT
    assert "Failed to get metadata" in caught.value.args[0].str()


def test_a_request_outlasts_a_restart_of_the_server(own_redis: Server, topic: str) -> None:
    with AdminClient({"bootstrap.servers": own_redis.url}) as admin:
        own_redis.kill()
        futures = admin.create_topics([NewTopic(topic, 1)], request_timeout=DEADLINE)

        own_redis.start()

        assert only(futures) is None
        assert topic in admin.list_topics().topics


def test_a_program_ends_though_a_request_is_under_way(silent_server: str) -> None:
    program = (
        "from streamadapter.admin import AdminClient, NewTopic\n"
        f"admin = AdminClient({{'bootstrap.servers': {silent_server!r}}})\n"
        "admin.create_topics([NewTopic('t', 1)], request_timeout=3000)\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE)


@pytest.mark.parametrize("seed", range(3))
def test_lost_requests_and_replies_are_made_up_for_and_no_success_is_reported_as_an_error(
    redis_server: Server, seed: int
) -> None:
    names = [f"t-{uuid.uuid4().hex[:12]}" for _ in range(5)]
    with (
        Proxy(("127.0.0.1", redis_server.port)) as proxy,
        AdminClient(
            {"bootstrap.servers": proxy.url, "retry.backoff.ms": 1, "retry.backoff.max.ms": 5}
        ) as admin,
    ):
        proxy.set_faults(Faults(seed, drop_request=0.1, drop_reply=0.3))
        for name in names:
            create(admin, name, 2)
            only(admin.create_partitions([NewPartitions(name, 3)]))
            only(alter(admin, name, setting("retention.ms", "5")))
            only(admin.delete_topics([name]))
        proxy.heal()

        assert not set(names) & set(admin.list_topics().topics)


# -- the same names as the real module's


def test_every_public_name_of_the_real_module_can_be_imported_from_ours() -> None:
    import streamadapter.admin as ours

    names = {
        name
        for name, value in vars(confluent_kafka.admin).items()
        if getattr(value, "__module__", "").startswith(("confluent_kafka", "cimpl")) or name.isupper()
    }
    missing = {name for name in names if not name.startswith("_") and name not in ours.__all__}

    assert missing == set()


def test_every_method_of_the_real_client_is_there() -> None:
    real = {name for name in dir(confluent_kafka.admin.AdminClient) if not name.startswith("_")}

    assert real <= set(dir(AdminClient))
