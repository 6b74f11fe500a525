"""`streamstore up` and `streamstore scale` as people start them: real processes on an embedded server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamadapter import AdminClient, Producer
from streamstore.app import CONSUMERS
from streamstore.orders import Order, encode
from streamstore.replaying.observer import observing
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.report import handled_events
from streamstore.replaying.sample import SAMPLE

SECONDS = 90

StartUp = Callable[..., Any]


def _await(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


def _publish(orders: Sequence[Order]) -> None:
    with Producer({}) as producer:
        for order in orders:
            producer.produce("order-events", encode(order), order.key)
        assert producer.flush(SECONDS) == 0


def _processes_of(directory: Path) -> list[str]:
    """Command lines of processes that have the directory in their arguments or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            seen = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it has ended, or is not ours
            continue
        if str(directory).encode() in seen and process.name != str(os.getpid()):
            found.append((process / "cmdline").read_text())
    return found


def _gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has waited for yet has too."""
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_a_process_that_is_killed_is_restarted_and_counted(start_up: StartUp) -> None:
    up = start_up()
    before = up.service("billing")
    assert before["restarts"] == 0
    killed = before["instances"][0]["pid"]

    os.kill(killed, signal.SIGKILL)

    up.await_line("billing-1 was killed by signal 9; starting it again in 0.1 s")
    _await(lambda: up.service("billing")["up"], "billing is up again")
    after = up.service("billing")
    assert after["restarts"] == 1
    assert after["instances"][0]["pid"] != killed
    assert [s["restarts"] for s in up.state()["services"] if s["name"] != "billing"].count(0) == (
        len(up.state()["services"]) - 1
    )

    status, answer = up.post("/api/services/billing/kill")

    assert (status, answer) == (200, {"name": "billing", "instances": 1})
    _await(lambda: up.service("billing")["restarts"] == 2, "killed by the button, counted as well")


def test_a_stopped_service_stays_down_until_it_is_started(start_up: StartUp) -> None:
    up = start_up("--instances", "billing=2")

    assert up.post("/api/services/billing/stop") == (200, {"name": "billing", "instances": 0})

    def stopped() -> bool:
        instances = up.service("billing")["instances"]
        return all(i["pid"] is None and i["state"] == "stopped" and not i["up"] for i in instances)

    _await(stopped, "both have left")
    assert up.service("billing")["up"] is False
    assert up.post("/api/services/billing/kill")[0] == 409

    assert up.post("/api/services/billing/start") == (200, {"name": "billing", "instances": 2})
    _await(lambda: all(i["up"] for i in up.service("billing")["instances"]), "both are back")
    assert up.service("billing")["restarts"] == 0


def test_scaling_spreads_the_partitions_over_the_instances(start_up: StartUp) -> None:
    up = start_up()

    def owners() -> list[str]:
        return [partition["owner"] for partition in up.service("billing")["partitions"]]

    _await(lambda: owners() == ["billing-1"] * 4, "one owns all")
    config = str(up.shop.config)
    scaled = subprocess.run(
        [sys.executable, "-m", "streamstore", "scale", "billing=3", "--config", config],
        capture_output=True,
        text=True,
        check=True,
    )

    assert scaled.stdout == "billing: 3 instances\n"
    _await(lambda: set(owners()) == {"billing-1", "billing-2", "billing-3"}, "three own some each")
    with AdminClient({}) as admin:
        members = admin.describe_consumer_groups(["billing"])["billing"].result(SECONDS).members
    assert {member.client_id: len(member.assignment.topic_partitions) for member in members} == {
        f"streamstore-{owner}": owners().count(owner) for owner in set(owners())
    }

    up.post("/api/services/billing/scale?instances=1")
    _await(lambda: owners() == ["billing-1"] * 4, "one owns all again")
    _await(lambda: [i["id"] for i in up.service("billing")["instances"]] == ["billing-1"], "the others ended")


def test_ctrl_c_drains_the_backlog_and_leaves_no_process(start_up: StartUp, tmp_path: Path) -> None:
    up = start_up()
    orders = read_orders(SAMPLE).orders
    pids = up.pids()
    up.post("/api/services/inventory/stop")
    _await(lambda: not up.service("inventory")["up"], "inventory is down")
    _publish(orders)
    up.post("/api/services/inventory/start")  # with a backlog, of which nobody may be left behind
    _await(lambda: up.service("inventory")["up"], "inventory is up")
    pids += up.pids()

    assert up.end() == 0

    assert up.has_said("backlog: none")
    assert [pid for pid in pids if not _gone(pid)] == []
    assert _processes_of(tmp_path) == []
    with observing(up.shop.settings) as observer:
        assert {
            name: len(handled_events(observer._databases[name], name)) for name in CONSUMERS
        } == dict.fromkeys(CONSUMERS, len(orders))


def test_a_second_ctrl_c_stops_at_once_whatever_the_backlog(start_up: StartUp, tmp_path: Path) -> None:
    up = start_up("--drain", "3600")
    stuck = up.service("billing")["instances"][0]["pid"]
    os.kill(stuck, signal.SIGSTOP)
    _publish(read_orders(SAMPLE).orders[:20])
    up.process.send_signal(signal.SIGINT)
    up.await_line("backlog: billing 20")

    assert up.end() == 130

    assert _gone(stuck)
    assert _processes_of(tmp_path) == []


def test_a_backlog_that_cannot_be_drained_in_time_is_named_and_left_in_the_log(start_up: StartUp) -> None:
    up = start_up("--drain", "1")
    stuck = up.service("billing")["instances"][0]["pid"]
    os.kill(stuck, signal.SIGSTOP)
    _publish(read_orders(SAMPLE).orders[:20])
    up.process.send_signal(signal.SIGTERM)

    up.await_line("not drained after 1 s and stays in the log: billing 20")

    os.kill(stuck, signal.SIGCONT)
    assert up.wait() == 0


def test_its_processes_end_with_it_however_it_ends(start_up: StartUp, tmp_path: Path) -> None:
    up = start_up()
    pids = up.pids()

    up.end(signal.SIGKILL)

    _await(lambda: all(map(_gone, pids)), "all have ended")
    _await(lambda: _processes_of(tmp_path) == [], "the embedded server too")


def test_a_second_shop_on_the_same_data_or_the_same_ports_is_refused_in_one_line(
    start_up: StartUp, tmp_path: Path
) -> None:
    up = start_up()

    def second(**environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "streamstore", "up", "--config", up.shop.config],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert second() == f"Error: a shop runs on {tmp_path / 'shop'} already, its dashboard is {up.url}\n"
    elsewhere = second(STREAMSTORE_DATA_DIR="elsewhere")
    assert f"127.0.0.1:{up.shop.settings.port}, the port of order: Address already in use" in elsewhere
    assert all(service["up"] for service in up.state()["services"])


@pytest.mark.slow
def test_a_service_that_does_not_start_ends_it_with_the_last_line_of_its_log(
    start_up: StartUp, open_shop: Callable[..., Any], free_ports: int, tmp_path: Path
) -> None:
    shop = open_shop("embedded", port=free_ports, database="mysql+nosuchdriver://u:hush@db/{service}")

    up = start_up(shop=shop, until="did not start within 30 s")

    assert up.wait() == 1
    assert "nosuchdriver" in up.lines[-1]
    assert "inventory-1" in up.lines[-1]
    assert "hush" not in "\n".join(up.lines)
    assert _processes_of(tmp_path) == []


@pytest.mark.parametrize("instances", ["bakery=1", "billing=65", "billing=-1", "billing", "billing="])
def test_instances_that_make_no_sense_are_usage_errors(instances: str) -> None:
    for command in (["up", "--instances"], ["scale"]):
        done = subprocess.run(
            [sys.executable, "-m", "streamstore", *command, "--", instances]
            if command == ["scale"]
            else [sys.executable, "-m", "streamstore", *command, instances],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stdout


def test_scaling_a_shop_that_does_not_run_is_an_error_in_one_line(
    open_shop: Callable[..., Any],
) -> None:
    shop = open_shop("embedded")
    done = subprocess.run(
        [sys.executable, "-m", "streamstore", "scale", "billing=3", "--config", shop.config],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: no shop runs on {shop.settings.data_dir}: start one with streamstore up\n"
    )
