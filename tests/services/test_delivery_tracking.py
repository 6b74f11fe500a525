"""Delivery tracking as its callers see it: positions in, the latest ones and the history out."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from streamadapter import Producer
from streamadapter.testing.servers import Server
from streamstore.app import ensure_topics, run_service
from streamstore.database import Database
from streamstore.delivery_tracking import METADATA, NAME
from streamstore.delivery_tracking.locations import HISTORY, Location, encode

Start = Callable[..., Any]
Await = Callable[..., None]


def location(courier: str, at: int, latitude: float = 51.5) -> dict[str, Any]:
    return {"courier": courier, "latitude": latitude, "longitude": -0.12, "at": at}


def stored_times(shop: Any) -> list[int]:
    """`at` of every row."""
    database = Database(shop.settings.database_url(NAME), METADATA)
    with database.read() as connection:
        found = list(connection.scalars(sa.select(HISTORY.rows.c.at)))
    database.close()
    return found


@pytest.fixture(params=["events", "synchronous"])
def tracking(request: pytest.FixtureRequest, open_shop: Callable[..., Any], start_instance: Start) -> Any:
    """An instance in each architecture."""
    return start_instance(open_shop("memory", architecture=request.param), NAME)


def test_the_latest_position_is_the_last_accepted_whatever_its_time(
    tracking: Any, await_condition: Await
) -> None:
    assert tracking.post("/locations", [location("c-1", 100), location("c-2", 100)]) == (202, {"accepted": 2})
    tracking.post("/locations", [location("c-1", 50, latitude=-90)])

    await_condition(lambda: tracking.get("/couriers/c-1") == location("c-1", 50, latitude=-90))
    assert tracking.get("/couriers") == [location("c-1", 50, latitude=-90), location("c-2", 100)]


def test_the_history_has_the_newest_first(tracking: Any, await_condition: Await) -> None:
    tracking.post("/locations", [location("c-1", at) for at in range(20)])

    await_condition(
        lambda: [row["at"] for row in tracking.get("/couriers/c-1/history?limit=3")] == [19, 18, 17]
    )
    assert len(tracking.get("/couriers/c-1/history")) == 20


def test_a_position_without_a_time_is_of_now(tracking: Any, await_condition: Await) -> None:
    before = int(time.time() * 1000)

    tracking.post("/locations", [{"courier": "c-1", "latitude": 0, "longitude": 0}])

    await_condition(lambda: tracking.get("/couriers") != [])
    assert before <= tracking.get("/couriers/c-1")["at"] <= time.time() * 1000


def test_an_unknown_courier_is_not_found(tracking: Any) -> None:
    assert tracking.request("GET", "/couriers/nobody")[0] == 404
    assert tracking.get("/couriers/nobody/history") == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"[]", ["body"]),
        (b"{}", ["body"]),
        ([location(f"c-{i}", 1) for i in range(1001)], ["body"]),
        ([location("a b", 1)], ["body", 0, "courier"]),
        ([location("c\n", 1)], ["body", 0, "courier"]),
        ([location("", 1)], ["body", 0, "courier"]),
        ([location("c" * 65, 1)], ["body", 0, "courier"]),
        ([location("c", 1), location("c", 1, latitude=90.1)], ["body", 1, "latitude"]),
        ([location("c", 1) | {"longitude": -180.1}], ["body", 0, "longitude"]),
        (b'[{"courier": "c", "latitude": NaN, "longitude": 0}]', ["body", 0, "latitude"]),
        (b'[{"courier": "c", "latitude": 1e999, "longitude": 0}]', ["body", 0, "latitude"]),
        ([location("c", -1)], ["body", 0, "at"]),
        ([{"courier": "c", "latitude": 1}], ["body", 0, "longitude"]),
    ],
)
def test_a_bad_body_is_answered_with_the_field(tracking: Any, body: Any, where: list[Any]) -> None:
    status, answer = tracking.post("/locations", body)

    assert status == 422
    assert where in [problem["loc"] for problem in answer["detail"]]
    assert tracking.get("/couriers") == []


def test_a_body_without_end_is_refused(tracking: Any) -> None:
    assert tracking.post("/locations", b"[" + b" " * 1_000_000 + b"]")[0] == 413


def test_the_most_that_is_allowed_is_accepted(tracking: Any, await_condition: Await) -> None:
    longest = [location(f"{i:0>64}", 2**53) for i in range(1000)]

    assert tracking.post("/locations", longest) == (202, {"accepted": 1000})

    await_condition(lambda: len(tracking.get("/couriers")) == 1000)


def test_nothing_accepted_is_lost_and_nothing_is_doubled_when_the_service_is_killed(
    stream_shop: Any, start_instance: Start, await_condition: Await
) -> None:
    tracking = start_instance(stream_shop, NAME)
    numbers = itertools.count()
    tried: set[int] = set()
    accepted: set[int] = set()
    done = threading.Event()

    def post() -> None:
        while not done.is_set():
            request = [next(numbers) for _ in range(20)]
            tried.update(request)
            try:
                status, _ = tracking.post("/locations", [location(f"c-{n % 7}", n) for n in request])
            except OSError:
                time.sleep(0.05)
                continue
            if status == 202:
                accepted.update(request)

    poster = threading.Thread(target=post, daemon=True)
    poster.start()
    for _ in range(3):
        enough = len(accepted) + 500
        await_condition(lambda enough=enough: len(accepted) > enough)
        tracking.kill()
        tracking.start()
    done.set()
    poster.join(60)

    await_condition(lambda: accepted <= set(stored_times(stream_shop)))
    twice = [at for at, count in Counter(stored_times(stream_shop)).items() if count > 1]
    assert twice == []
    assert set(stored_times(stream_shop)) <= tried


def test_every_instance_answers_the_latest_positions_from_its_first_answer_on(
    stream_shop: Any, start_instance: Start, await_condition: Await
) -> None:
    one = start_instance(stream_shop, NAME, "one")
    for at in range(10):
        assert one.post("/locations", [location(f"c-{i}", at) for i in range(50)])[0] == 202

    two = start_instance(stream_shop, NAME, "two")
    assert {each["at"] for each in two.get("/couriers")} == {9}

    two.post("/locations", [location(f"c-{i}", 10) for i in range(50)])
    await_condition(lambda: {each["at"] for each in one.get("/couriers")} == {10})
    one.kill()
    one.start()
    assert {each["at"] for each in one.get("/couriers")} == {10}


def test_an_instance_that_begins_far_behind_the_log_answers_no_outdated_position(
    open_shop: Callable[..., Any], start_instance: Start
) -> None:
    shop = open_shop("embedded")
    ensure_topics(shop.settings)
    with Producer({}) as producer:
        for at in range(50_000):
            producer.produce("delivery-locations", encode(Location(f"c-{at % 10}", 1, 2, at)), f"c-{at % 10}")
        assert producer.flush(60) == 0

    tracking = start_instance(shop, NAME)

    assert [each["at"] for each in tracking.get("/couriers")] == list(range(49_990, 50_000))


def test_the_latest_position_does_not_wait_for_the_database(
    open_shop: Callable[..., Any], start_instance: Start, await_condition: Await
) -> None:
    shop = open_shop("memory")
    tracking = start_instance(shop, NAME)
    database = Database(shop.settings.database_url(NAME), METADATA)

    with database.write():  # SQLite has one writer at a time
        tracking.post("/locations", [location("c-1", 1)])
        await_condition(lambda: tracking.request("GET", "/couriers/c-1") == (200, location("c-1", 1)))
        assert tracking.get("/couriers/c-1/history") == []

    await_condition(lambda: tracking.get("/couriers/c-1/history") == [location("c-1", 1)])
    database.close()


def test_a_position_that_the_broker_does_not_acknowledge_is_not_accepted(
    open_shop: Callable[..., Any], own_redis: Server, start_instance: Start, await_condition: Await
) -> None:
    tracking = start_instance(open_shop("redis", own_redis.url, accept_seconds=1), NAME)
    tracking.post("/locations", [location("c-1", 1)])
    await_condition(lambda: tracking.get("/couriers") != [])

    own_redis.pause()
    status, answer = tracking.post("/locations", [location("c-1", 2)])
    assert (status, tracking.retry_after) == (503, "1")
    assert "not acknowledged" in answer["detail"]
    assert tracking.get("/couriers/c-1") == location("c-1", 1)
    own_redis.resume()

    await_condition(lambda: tracking.post("/locations", [location("c-1", 3)])[0] == 202)
    await_condition(lambda: tracking.get("/couriers/c-1") == location("c-1", 3))


def test_no_port_is_opened_without_http(open_shop: Callable[..., Any], await_condition: Await) -> None:
    # given a port that is taken, which an instance with HTTP would fail at
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        shop = open_shop("memory", port=taken.getsockname()[1] - 2)
        stop = threading.Event()
        errors: list[BaseException] = []

        def run(http: bool) -> None:
            try:
                run_service(NAME, shop.settings, stop, http=http)
            except OSError as error:
                errors.append(error)

        run(http=True)
        assert "cannot listen" in str(errors.pop())

        without = threading.Thread(target=run, args=(False,), daemon=True)
        without.start()
        ensure_topics(shop.settings)
        with Producer({}) as producer:
            producer.produce("delivery-locations", encode(Location("c-1", 1, 2, 3)), "c-1")
        await_condition(lambda: stored_times(shop) == [3])
        stop.set()
        without.join(30)
        assert not errors
