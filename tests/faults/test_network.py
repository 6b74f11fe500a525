"""A bad network between clients and server: nothing lost, doubled, reordered or skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter.testing.proxy import Faults, Proxy
from streamadapter.testing.servers import Server

if TYPE_CHECKING:
    from tests.faults.conftest import Lab

RECORDS = 4000
FAULTS = {
    "lost replies": Faults(seed=1, drop_reply=0.02),
    "lost requests": Faults(seed=2, drop_request=0.02),
    "resets": Faults(seed=3, reset=0.02),
    "latency": Faults(seed=4, latency_s=0.005),
    "everything": Faults(seed=5, drop_reply=0.02, drop_request=0.02, reset=0.02, latency_s=0.002),
}
SMALL_BATCHES = {"batch_num_messages": 2, "retry_backoff_ms": 10, "retry_backoff_max_ms": 50}
"""Many requests and replies, so that many are hit."""


@pytest.fixture
def proxy(redis_server: Server) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", redis_server.port)) as proxy:
        yield proxy


def _await_hits(proxy: Proxy, fault: str, wait: Any) -> None:
    """Until the fault has struck often enough for the test to mean something."""

    def hits() -> int:
        return sum(proxy.counts[what] for what in ("replies dropped", "requests dropped", "resets"))

    if fault != "latency":
        wait(lambda: hits() >= 5, f"{fault} injected")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_produced_over_a_bad_network_stands_once_and_in_order(
    lab: Lab, proxy: Proxy, redis_url: str, wait: Any, fault: str
) -> None:
    lab.create_topic(redis_url)
    producer = lab.producer("p", proxy.url, **SMALL_BATCHES)
    proxy.set_faults(FAULTS[fault])

    producer.ask("produce", count=RECORDS)
    producer.tell("loop")
    _await_hits(proxy, fault, wait)
    producer.ask("flush")

    assert {e.kind for e in lab.events()} == {"invoke", "ok"}
    assert sum(lab.ends().values()) == lab.acknowledged() >= RECORDS
    lab.assert_valid()


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_read_over_a_bad_network_is_neither_skipped_nor_handed_out_twice(
    lab: Lab, proxy: Proxy, redis_url: str, wait: Any, fault: str
) -> None:
    lab.create_topic(redis_url)
    producer = lab.producer("p", redis_url, batch_num_messages=10)
    producer.tell("produce", count=RECORDS)
    producer.ask("flush")
    # A session that outlives the faults: within it no record may come twice, fault or not.
    consumer = lab.consumer(
        "c",
        proxy.url,
        session_timeout_ms=40_000,
        retry_backoff_ms=10,
        retry_backoff_max_ms=50,
        queued_min_messages=10,
        max_partition_fetch_bytes=1000,
    )
    proxy.set_faults(FAULTS[fault])

    consumer.tell("loop", limit=25)
    producer.tell("loop")
    _await_hits(proxy, fault, wait)
    producer.ask("flush")
    lab.await_delivered()
    proxy.heal()
    lab.finish()

    assert not consumer.notes("revoke")
    lab.assert_valid()


@pytest.mark.parametrize("requests", [True, False], ids=["requests", "replies"])
def test_a_silent_cut_is_overcome_and_the_late_request_appends_nothing(
    lab: Lab, proxy: Proxy, redis_url: str, requests: bool
) -> None:
    lab.create_topic(redis_url)
    producer = lab.producer("p", proxy.url, socket_timeout_ms=500, **SMALL_BATCHES)
    consumer = lab.consumer("c", redis_url)
    consumer.tell("loop")
    producer.tell("loop")
    lab.await_acknowledged(200)

    for _ in range(3):
        proxy.cut(requests=requests, replies=not requests)
        time.sleep(1.0)  # longer than the socket's time-out: it has asked again, and neither was answered
        proxy.heal()
        lab.await_acknowledged(100)
    lab.finish()
    lab.await_delivered()

    assert {e.kind for e in lab.events() if e.op == "send"} == {"invoke", "ok"}
    assert producer.errors() & {"REQUEST_TIMED_OUT", "_TIMED_OUT", "_TRANSPORT"}
    lab.assert_valid()


def test_a_delivery_that_times_out_is_reported_and_its_late_arrival_breaks_no_order(
    lab: Lab, proxy: Proxy, redis_url: str
) -> None:
    lab.create_topic(redis_url)
    producer = lab.producer(
        "p", proxy.url, socket_timeout_ms=300, delivery_timeout_ms=1000, linger_ms=5, batch_num_messages=10
    )
    producer.tell("loop")
    lab.await_acknowledged(100)

    for _ in range(3):
        # Requests are held back, not lost: all that was tried arrives when the cut heals.
        proxy.cut(requests=True, replies=False)
        time.sleep(2.0)
        proxy.heal()
        lab.await_acknowledged(100)
    lab.finish()

    given_up = producer.notes("send", "info")
    assert {note["code"] for note in given_up} == {"_MSG_TIMED_OUT"}
    lab.assert_valid()


@pytest.mark.parametrize("server", ["redis_server", "valkey_server"])
def test_every_connection_killed_in_a_loop_costs_nothing_but_time(
    lab: Lab, request: pytest.FixtureRequest, server: str, kill_clients: Callable[[str], None]
) -> None:
    url = request.getfixturevalue(server).url
    lab.create_topic(url)
    producer = lab.producer("p", url, **SMALL_BATCHES)
    consumers = [lab.consumer(f"c{n}", url, retry_backoff_ms=10, retry_backoff_max_ms=100) for n in range(2)]
    for client in (producer, *consumers):
        client.tell("loop")
    lab.await_acknowledged(100)

    for _ in range(30):
        kill_clients(url)
        time.sleep(0.1)
    lab.finish()
    lab.await_delivered()

    assert {e.kind for e in lab.events() if e.op == "send"} == {"invoke", "ok"}
    lab.assert_valid()
