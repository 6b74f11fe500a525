"""`streamstore replay` and `run` as people start them, on every backend."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from streamadapter import Producer
from streamadapter.admin import AdminClient
from streamadapter.testing.kafka import KafkaServer
from streamadapter.testing.servers import RedisServer, Server
from streamstore.app import CONSUMERS, METADATA, SERVICES, ensure_topics, run_service
from streamstore.database import Database
from streamstore.dead_letters import read_ledger
from streamstore.inventory import Inventory
from streamstore.orders import Order, encode
from streamstore.replaying.observer import observing
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.report import handled_events
from streamstore.replaying.sample import SAMPLE
from streamstore.running.locks import is_running

SECONDS = 120  # for anything here that should take a few
KEYS = [
    "backend",
    "rows",
    "rows_rejected",
    "orders",
    "cancellations",
    "inventory",
    "billing",
    "notification",
    "analytics",
    "duplicates_seen",
    "lag",
    "seconds",
    "orders_per_second",
]


@pytest.fixture(params=["redis", "kafka"])
def shop_and_server(request: pytest.FixtureRequest, open_shop: Callable[..., Any]) -> tuple[Any, Server]:
    server: Server = request.getfixturevalue(f"own_{request.param}")
    return open_shop(request.param, server.url), server


@pytest.fixture(params=["embedded", "redis", "memory", "kafka"])
def shop(request: pytest.FixtureRequest, open_shop: Callable[..., Any]) -> Any:
    if request.param in ("redis", "kafka"):
        return open_shop(request.param, request.getfixturevalue(f"own_{request.param}").url)
    return open_shop(request.param)


def _streamstore(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "streamstore", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def _replay(shop: Any, path: Path) -> dict[str, Any]:
    report = shop.config.parent / "report.json"
    _streamstore("replay", path, "--config", shop.config, "--report", report)
    figures: dict[str, Any] = json.loads(report.read_text())
    return figures


@contextmanager
def _service(shop: Any, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A service as a user starts it; stopped at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streamstore", "run", name, "--config", shop.config], stdin=subprocess.DEVNULL
    )
    try:
        _await(
            lambda: process.poll() is not None or is_running(shop.settings.data_dir, name), f"{name} is up"
        )
        assert process.poll() is None
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()  # not kill: the last client to leave stops the embedded server
        process.wait(SECONDS)


@contextmanager
def _thread(shop: Any, name: str) -> Iterator[None]:
    """A service as a thread of this process, stopped at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=run_service, args=(name, shop.settings, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(SECONDS)
    assert not thread.is_alive()


def _await(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


def _await_member(process: subprocess.Popen[bytes], name: str) -> None:
    _await(lambda: process.poll() is not None or _members(name), f"{name} is a member")
    assert process.poll() is None


def _members(group: str) -> int:
    with AdminClient({}) as admin:
        return len(admin.describe_consumer_groups([group])[group].result(SECONDS).members)


def test_the_report_is_what_an_independent_reading_of_the_file_gives(
    shop: Any, real_day: Path, read_independently: Callable[[Path], dict[str, Any]]
) -> None:
    report = _replay(shop, real_day)

    assert list(report) == KEYS
    assert report["backend"] == shop.backend
    assert report["seconds"] > 0
    assert report["orders_per_second"] == pytest.approx(report["orders"] / report["seconds"], abs=0.1)
    assert report["duplicates_seen"] == 0
    assert {key: report[key] for key in [*KEYS[1:9], "lag"]} == read_independently(real_day)
    assert len(list(shop.settings.outbox.glob("*.eml"))) == report["notification"]["sent"]
    assert not any(is_running(shop.settings.data_dir, name) for name in SERVICES)


@pytest.mark.slow
def test_one_line_of_the_config_file_moves_the_shop_and_its_report_stays_the_same(
    open_shop: Callable[..., Any], real_day: Path, own_redis: RedisServer, own_kafka: KafkaServer
) -> None:
    shop = open_shop("embedded", session_timeout_ms=6000)
    config = (
        shop.config.read_text()
        + f'[redis]\nurl = "{own_redis.url}"\n'
        + f'[kafka]\n"bootstrap.servers" = "{own_kafka.bootstrap_servers}"\n'
    )
    reports = []
    for backend in ("embedded", "memory", "redis", "kafka"):
        shop.config.write_text(config.replace('backend = "embedded"', f'backend = "{backend}"'))
        reports.append(_replay(shop, real_day))
        shutil.rmtree(shop.settings.data_dir)  # the services' databases

    assert [report.pop("backend") for report in reports] == ["embedded", "memory", "redis", "kafka"]
    for report in reports:
        del report["seconds"], report["orders_per_second"]
    assert reports == reports[:1] * 4


def test_a_second_replay_doubles_nothing_and_counts_its_repeats(open_shop: Callable[..., Any]) -> None:
    shop = open_shop("embedded")
    first = _replay(shop, SAMPLE)

    second = _replay(shop, SAMPLE)

    changing = {"duplicates_seen", "seconds", "orders_per_second"}
    assert {k: v for k, v in second.items() if k not in changing} == {
        k: v for k, v in first.items() if k not in changing
    }
    assert first["duplicates_seen"] == 0
    assert second["duplicates_seen"] == len(CONSUMERS) * (first["orders"] + first["cancellations"])


def test_another_file_into_the_same_databases_has_a_report_of_its_own(
    open_shop: Callable[..., Any], tmp_path: Path, read_independently: Callable[[Path], dict[str, Any]]
) -> None:
    shop = open_shop("embedded")
    _replay(shop, SAMPLE)
    other = tmp_path / "other.csv"
    header, *rows = SAMPLE.read_text().splitlines()
    other.write_text("\n".join([header, *(row.replace("600", "700", 1) for row in rows[:20])]))

    report = _replay(shop, other)

    assert {key: report[key] for key in [*KEYS[1:9], "lag"]} == read_independently(other)


def test_rejected_rows_are_in_the_rejects_file_and_the_run_goes_on(open_shop: Callable[..., Any]) -> None:
    shop = open_shop("memory")

    report = _replay(shop, SAMPLE)

    with (shop.settings.data_dir / "rejects" / "sample.csv").open(newline="") as file:
        rejects = list(csv.DictReader(file))
    assert [(int(row["Line"]), row["Reason"]) for row in rejects] == [
        (reject.line, reject.reason) for reject in read_orders(SAMPLE).rejects
    ]
    assert report["rows_rejected"] == len(rejects) == 4


def test_replay_leaves_services_running_that_it_did_not_start(open_shop: Callable[..., Any]) -> None:
    shop = open_shop("embedded")
    with _service(shop, "billing") as billing, _service(shop, "order") as order:
        report = _replay(shop, SAMPLE)

        assert report["duplicates_seen"] == 0
        assert billing.poll() is None
        assert order.poll() is None
        running = [name for name in SERVICES if is_running(shop.settings.data_dir, name)]
        assert running == ["order", "billing"]


@pytest.mark.parametrize("name", SERVICES)
def test_on_sigterm_a_service_commits_leaves_and_ends_with_status_0(
    open_shop: Callable[..., Any], name: str
) -> None:
    # Longer than the test waits: only a member that leaves is gone in time.
    shop = open_shop("embedded", session_timeout_ms=300_000)
    with _service(shop, name) as process:
        if name in CONSUMERS:
            _await_member(process, name)
        with observing(shop.settings) as observer:
            observer.submit(read_orders(SAMPLE).orders[:20])
            if name == "order":
                _await(lambda: observer.snapshot().accepted == 20, "all accepted")

            process.send_signal(signal.SIGTERM)

            assert process.wait(SECONDS) == 0
        if name in CONSUMERS:
            assert _members(name) == 0


def test_a_service_ends_with_the_process_that_started_it(open_shop: Callable[..., Any]) -> None:
    shop = open_shop("embedded")
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from streamstore.running.fleet import Processes\n"
            "from streamstore.settings import load_settings\n"
            "Processes(load_settings({'data_dir': 'shop'}, Path(sys.argv[1]))).start('billing'); time.sleep(600)",
            str(shop.config.parent),
        ]
    )
    _await(lambda: is_running(shop.settings.data_dir, "billing"), "billing is up")

    starter.kill()
    starter.wait(SECONDS)

    _await(lambda: not is_running(shop.settings.data_dir, "billing"), "billing has ended")


def test_a_record_that_is_no_order_is_a_dead_letter_and_holds_up_nobody(
    open_shop: Callable[..., Any],
) -> None:
    shop = open_shop("memory")
    orders = read_orders(SAMPLE).orders[:20]
    with observing(shop.settings) as observer, Producer({}) as producer:
        ensure_topics(shop.settings)
        for value in (b"junk", None, b"{}", *map(encode, orders)):
            producer.produce("order-events", value, b"key")
        producer.flush(SECONDS)

        with _thread(shop, "inventory"):
            _await(lambda: (observer.snapshot().lag or {}).get("inventory") == 0, "the group has read all")

    with contextlib.closing(
        Database(shop.settings.database_url("inventory"), METADATA["inventory"])
    ) as database:
        assert handled_events(database, "inventory") == {order.event_id: 0 for order in orders}
    letters = read_ledger("dead-letters").open()
    assert [letter.value for letter in letters] == [b"junk", None, b"{}"]


def test_what_a_service_was_doing_when_it_failed_is_done_again(
    open_shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop("memory", batch_size=7)
    apply = Inventory.apply
    calls = 0

    def apply_or_fail(self: Inventory, connection: sa.Connection, orders: Sequence[Order]) -> None:
        nonlocal calls
        calls += 1
        apply(self, connection, orders)
        if calls == 3:
            raise RuntimeError("failed after the effect, before the commit")

    monkeypatch.setattr(Inventory, "apply", apply_or_fail)
    ensure_topics(shop.settings)
    with observing(shop.settings) as observer, _thread(shop, "order"), _thread(shop, "inventory"):
        observer.submit(read_orders(SAMPLE).orders[:60])
        _await(lambda: observer.snapshot().handled["inventory"] == 60, "all handled")

        assert calls > 3
        assert observer.repeats()["inventory"] == 0
        assert read_ledger("dead-letters").all() == []


def test_a_service_waits_for_a_server_that_is_not_up_yet(shop_and_server: tuple[Any, Server]) -> None:
    shop, server = shop_and_server
    server.stop()
    with _service(shop, "billing") as process:
        server.start()

        _await_member(process, "billing")
        process.terminate()
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column InvoiceNo"),
        ("", "no column InvoiceNo"),
    ],
)
def test_a_file_that_is_no_order_file_is_an_error_in_one_line(
    open_shop: Callable[..., Any], tmp_path: Path, text: str, message: str
) -> None:
    shop = open_shop("memory")
    (tmp_path / "bad.csv").write_text(text)

    done = _streamstore("replay", tmp_path / "bad.csv", "--config", shop.config, status=1)

    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_file_and_an_unknown_service_are_usage_errors() -> None:
    _streamstore("replay", "nowhere.csv", status=2)
    _streamstore("run", "bakery", status=2)


def test_a_service_of_its_own_on_memory_is_an_error_that_says_what_to_do(
    open_shop: Callable[..., Any],
) -> None:
    done = _streamstore("run", "billing", "--config", open_shop("memory").config, status=1)

    assert "use streamstore replay" in done.stderr


def test_a_database_without_its_driver_is_an_error_in_one_line(open_shop: Callable[..., Any]) -> None:
    shop = open_shop("memory", database="mysql+nosuchdriver://u:hush@db/{service}")

    done = _streamstore("replay", SAMPLE, "--config", shop.config, status=1)

    assert "nosuchdriver" in done.stderr.splitlines()[-1]
    assert "hush" not in done.stderr


def test_an_unknown_setting_is_an_error_that_names_the_nearest(open_shop: Callable[..., Any]) -> None:
    shop = open_shop("memory")
    shop.config.write_text(shop.config.read_text().replace("data_dir", "data_dri"))

    done = _streamstore("replay", SAMPLE, "--config", shop.config, status=1)

    assert done.stderr == "Error: streamstore.data_dri: no such setting; did you mean 'data_dir'?\n"


def test_a_server_that_cannot_be_reached_is_a_clear_error(shop_and_server: tuple[Any, Server]) -> None:
    shop, server = shop_and_server
    server.stop()

    done = _streamstore("replay", SAMPLE, "--config", shop.config, status=1)

    assert f":{server.port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_contents_that_differ_from_those_handed_over_before_are_an_error(
    open_shop: Callable[..., Any], tmp_path: Path
) -> None:
    shop = open_shop("embedded")
    _replay(shop, SAMPLE)
    changed = tmp_path / "changed.csv"
    header, row, *_ = SAMPLE.read_text().splitlines()
    changed.write_text(f"{header}\n{row}\n{row}\n")

    done = _streamstore("replay", changed, "--config", shop.config, status=1)

    assert "order:600001 was handed over before with other contents" in done.stderr


def test_services_that_make_no_progress_are_an_error_that_says_what_is_missing(
    open_shop: Callable[..., Any],
) -> None:
    shop = open_shop("embedded", patience_seconds=8)
    with _service(shop, "billing") as process:
        process.send_signal(signal.SIGSTOP)

        done = _streamstore("replay", SAMPLE, "--config", shop.config, status=1)

    assert "no progress for 8 s" in done.stderr
    assert "billing has handled 0 of 400" in done.stderr
    assert "inventory" not in done.stderr.splitlines()[-1]
