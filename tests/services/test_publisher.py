"""Awaiting acknowledgements: whatever happens, every publish ends, and one that returns is in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streamadapter import Consumer, KafkaError, KafkaException, TopicPartition
from streamadapter.testing.servers import Server
from streamstore import publisher as publisher_module
from streamstore.app import ensure_topics
from streamstore.publisher import Publisher

SECONDS = 60


@pytest.fixture
def shop(open_shop: Callable[..., Any]) -> Any:
    shop = open_shop("memory")
    ensure_topics(shop.settings)
    return shop


def _code(outcome: object) -> int:
    assert isinstance(outcome, KafkaException), outcome
    code: int = outcome.args[0].code()
    return code


def test_a_publish_returns_where_the_record_is(shop: Any) -> None:
    async def scenario() -> None:
        async with Publisher({}) as publisher:
            published = [publisher.publish(shop.settings.topic, b"v", f"k{i % 7}") for i in range(3000)]
            messages = await asyncio.wait_for(asyncio.gather(*published), SECONDS)

        assert len({(message.partition(), message.offset()) for message in messages}) == 3000

    asyncio.run(scenario())


def test_headers_and_keys_arrive(shop: Any) -> None:
    async def scenario() -> None:
        async with Publisher({}) as publisher:
            message = await publisher.publish(shop.settings.topic, b"v", "k", {"a": "1", "b": None})

        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        with Consumer({"group.id": "reader"}) as consumer:
            consumer.assign([TopicPartition(shop.settings.topic, partition, offset)])
            [read] = consumer.consume(1, SECONDS)
        assert (read.key(), read.value()) == (b"k", b"v")
        assert read.headers() == [("a", b"1"), ("b", None)]

    asyncio.run(scenario())


@pytest.mark.usefixtures("shop")
def test_a_failed_delivery_raises() -> None:
    async def scenario() -> None:
        async with Publisher({"delivery.timeout.ms": 2000}) as publisher:
            with pytest.raises(KafkaException) as caught:
                await asyncio.wait_for(publisher.publish("no-such-topic", b"v"), SECONDS)

            unknown = (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._MSG_TIMED_OUT)
            assert _code(caught.value) in unknown

    asyncio.run(scenario())


def test_a_record_that_is_too_large_raises(shop: Any) -> None:
    async def scenario() -> None:
        async with Publisher({"message.max.bytes": 1000}) as publisher:
            with pytest.raises(KafkaException) as caught:
                await asyncio.wait_for(publisher.publish(shop.settings.topic, b"v" * 2000), SECONDS)

            assert _code(caught.value) == KafkaError.MSG_SIZE_TOO_LARGE

    asyncio.run(scenario())


def test_a_full_queue_raises_at_once_and_loses_nothing(shop: Any) -> None:
    async def scenario() -> None:
        async with Publisher({"queue.buffering.max.messages": 5, "linger.ms": 1000}) as publisher:
            publishing = [publisher.publish(shop.settings.topic, b"v", "k") for _ in range(8)]
            outcomes = await asyncio.wait_for(asyncio.gather(*publishing, return_exceptions=True), SECONDS)

            assert [_code(outcome) for outcome in outcomes[5:]] == [KafkaError._QUEUE_FULL] * 3
            assert [m.offset() for m in outcomes[:5] if not isinstance(m, BaseException)] == [*range(5)]

    asyncio.run(scenario())


def test_whoever_is_no_longer_waited_for_disturbs_nobody(shop: Any) -> None:
    async def scenario() -> None:
        async with Publisher({"linger.ms": 50}) as publisher:
            gone = asyncio.create_task(publisher.publish(shop.settings.topic, b"1", "k"))
            await asyncio.sleep(0)  # it has begun
            gone.cancel()

            message = await asyncio.wait_for(publisher.publish(shop.settings.topic, b"2", "k"), SECONDS)

        assert message.offset() == 1  # being cancelled has not taken the first record back

    asyncio.run(scenario())


@pytest.mark.parametrize("backend", ["redis", "kafka"])
def test_closing_with_records_in_flight_ends_every_publish(
    backend: str,
    open_shop: Callable[..., Any],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server: Server = request.getfixturevalue(f"own_{backend}")
    shop = open_shop(backend, server.url)
    ensure_topics(shop.settings)
    monkeypatch.setattr(publisher_module, "FLUSH_SECONDS", 0.3)

    async def scenario() -> None:
        async with Publisher({}) as publisher:
            await asyncio.wait_for(publisher.publish(shop.settings.topic, b"first", "k"), SECONDS)
            server.pause()
            tasks = [
                asyncio.create_task(publisher.publish(shop.settings.topic, b"v", f"k{i}")) for i in range(100)
            ]
            await asyncio.sleep(0.1)  # some of them are on their way, others still queued; either is fine
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), SECONDS)

        purged = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
        assert all(_code(outcome) in purged for outcome in outcomes)

    try:
        asyncio.run(scenario())
    finally:
        server.resume()
