"""Nothing is lost or doubled when services, or the server, are killed in the middle of a day."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from rich.console import Console

from streamadapter.testing.servers import Server
from streamadapter_embedded import server_control
from streamstore.app import SERVICES, ensure_topics
from streamstore.replaying.observer import observing
from streamstore.replaying.online_retail import OrderFile, read_orders
from streamstore.replaying.progress import progress_view
from streamstore.replaying.replay import chunks, report_on, start_services, wait_until_arrived
from streamstore.replaying.sample import SAMPLE
from streamstore.running.fleet import Processes

PIECES = 12
SECONDS = 60


def _replay_with(shop: Any, path: Path, disturb: Callable[[Processes, int], None]) -> dict[str, Any]:
    """Replay a file in pieces, and call `disturb` with the number of each while services work on it."""
    file: OrderFile = read_orders(path)
    ensure_topics(shop.settings)
    with (
        observing(shop.settings) as observer,
        Processes(shop.settings) as fleet,
        progress_view(Console(), len(file.orders)) as view,
    ):
        start_services(fleet, SERVICES)
        began = time.monotonic()
        for number, piece in enumerate(chunks(file.orders, -(-len(file.orders) // PIECES))):
            observer.submit(piece)
            disturb(fleet, number)
            fleet.check()
        wait_until_arrived(observer, fleet, view, shop.settings.patience_seconds)
        return report_on(file, observer, shop.backend, time.monotonic() - began).as_json()


@pytest.fixture(params=["embedded", "redis", "kafka"])
def shop(request: pytest.FixtureRequest, open_shop: Callable[..., Any]) -> Any:
    url = "" if request.param == "embedded" else request.getfixturevalue(f"own_{request.param}").url
    return open_shop(request.param, url, batch_size=3)  # small transactions: more moments to die between


@pytest.mark.slow
def test_services_killed_at_random_moments_lose_and_double_nothing(
    shop: Any, real_day: Path, read_independently: Callable[[Path], dict[str, Any]]
) -> None:
    dice = random.Random(real_day.name)
    killed: list[str] = []

    def kill(fleet: Processes, number: int) -> None:
        victims = [SERVICES[number % len(SERVICES)], dice.choice(SERVICES)]  # each at least twice
        for victim in victims:
            time.sleep(dice.uniform(0, 0.3))  # the random moment
            os.kill(fleet.pid(victim), signal.SIGKILL)
            killed.append(victim)

    report = _replay_with(shop, real_day, kill)

    assert set(killed) == set(SERVICES)
    expected = read_independently(real_day)
    assert {key: report[key] for key in expected} == expected


@pytest.mark.slow
def test_a_server_killed_and_restarted_loses_and_doubles_nothing(
    shop: Any,
    real_day: Path,
    read_independently: Callable[[Path], dict[str, Any]],
    request: pytest.FixtureRequest,
) -> None:
    def kill(_fleet: Processes, number: int) -> None:
        if number != PIECES // 2:
            return
        if shop.backend == "embedded":
            _kill_embedded(shop.config.parent / "log")  # its clients revive it
        else:
            server: Server = request.getfixturevalue(f"own_{shop.backend}")
            server.kill()
            server.start()

    report = _replay_with(shop, real_day, kill)

    expected = read_independently(real_day)
    assert {key: report[key] for key in expected} == expected


def test_an_order_is_accepted_no_sooner_than_it_is_delivered_and_published_until_then(
    open_shop: Callable[..., Any], own_redis: Server
) -> None:
    shop = open_shop("redis", own_redis.url)
    first, *others = read_orders(SAMPLE).orders[:21]
    ensure_topics(shop.settings)
    with observing(shop.settings) as observer, Processes(shop.settings) as fleet:
        observer.submit([first])
        start_services(fleet, ["order"])
        _await(lambda: observer.accepted() == 1)

        own_redis.pause()
        observer.submit(others)
        watched_until = time.monotonic() + 1
        while time.monotonic() < watched_until:
            assert observer.accepted() == 1
        os.kill(fleet.pid("order"), signal.SIGKILL)
        own_redis.resume()
        _await(lambda: not fleet.is_up("order"))
        fleet.check()

        _await(lambda: observer.accepted() == 21)
        # Nobody has read anything, so the lag is what is in the log; what was on its way may be there twice.
        lag = observer.snapshot().lag
        assert lag is not None
        assert 21 <= lag["billing"] <= 41


def _await(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _kill_embedded(directory: Path) -> None:
    pid = server_control.status(f"embedded://{quote(str(directory))}")["pid"]
    os.kill(pid, signal.SIGKILL)
