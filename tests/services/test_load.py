"""The load tests themselves: their figures, shapes and verdicts, and Locust once for a few seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

LOADTESTS = Path(__file__).resolve().parents[2] / "loadtests"
sys.path.insert(0, str(LOADTESTS))  # as Locust does; nothing imported here patches the interpreter

import svg  # noqa: E402 - after the path
from load import plan  # noqa: E402 - as above
from load.checks import checks  # noqa: E402 - as above
from load.figures import figures, percentile, series  # noqa: E402 - as above
from load.journal import Journal, Promise, Sample, read_journals  # noqa: E402 - as above
from load.options import weights  # noqa: E402 - as above
from load.scenarios import comparison, steady_rate  # noqa: E402 - as above
from load.shop import urls  # noqa: E402 - as above
from load.verify import compare  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = "4s"
PROMISES = {"order:W1": Promise(3, Decimal("7.65")), "cancellation:CW1": Promise(-3, Decimal("-7.65"))}
EFFECTS: Mapping[str, dict[str, Any]] = {
    "inventory": {"order:W1": 3, "cancellation:CW1": -3},
    "billing": {"order:W1": Decimal("7.65"), "cancellation:CW1": Decimal("-7.65")},
    "notification": {"order:W1": "sent", "cancellation:CW1": "sent"},
    "analytics": {"order:W1": Decimal("7.65"), "cancellation:CW1": Decimal("-7.65")},
}


def effects_without(service: str, event: str) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value for key, value in found.items() if (name, key) != (service, event)}
        for name, found in EFFECTS.items()
    }


def marks_of(effects: Mapping[str, dict[str, Any]]) -> dict[str, set[str]]:
    return {name: set(found) for name, found in effects.items()}


def test_percentiles_are_observed_values_of_nearest_rank() -> None:
    times = [float(number) for number in range(1, 101)]
    assert [percentile(times, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert percentile([4.0], 0.5) == 4.0
    assert percentile([], 0.5) is None


def test_figures_of_a_window_time_successes_and_count_failures() -> None:
    samples = [
        Sample(9.9, "x", 1, ""),
        Sample(10.0, "x", 5, ""),
        Sample(11.0, "x", 900, "503"),
        Sample(12.0, "x", 2, ""),
    ]
    found = figures(samples, 10, 12)
    assert (found.requests, found.failed, found.per_second, found.p99) == (2, 1, 0.5, 5)


def test_a_second_without_answers_is_a_gap_not_zero() -> None:
    points = series([Sample(100.2, "x", 5, ""), Sample(102.9, "x", 7, "no")], 100, 103)
    assert [(point["ok"], point["failed"], point["p95"]) for point in points] == [
        (1, 0, 5),
        (0, 0, None),
        (0, 1, None),
    ]


def test_journals_of_all_processes_are_read_back_as_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.sample(2.5, "POST /orders", 12.25, "503:\tnot\nnow")
    journal.acknowledged("order:W1", PROMISES["order:W1"])
    journal.unknown("order:W2")
    journal.close()
    (tmp_path / "other.journal").write_text("S\t1.5\tGET /\t1.0\t\n")

    record = read_journals(tmp_path)

    assert record.samples == [
        Sample(1.5, "GET /", 1.0, ""),
        Sample(2.5, "POST /orders", 12.25, "503: not now"),
    ]
    assert record.acknowledged == {"order:W1": PROMISES["order:W1"]}
    assert record.unknown == {"order:W2"}


def test_databases_that_hold_what_was_promised_agree_exactly() -> None:
    verdict = compare(PROMISES, EFFECTS, marks_of(EFFECTS))
    assert verdict.exact
    assert verdict.lost == 0


@pytest.mark.parametrize("service", sorted(EFFECTS))
def test_an_acknowledged_order_that_one_database_lacks_is_lost(service: str) -> None:
    effects = effects_without(service, "order:W1")
    verdict = compare(PROMISES, effects, marks_of(effects))
    assert (verdict.lost, verdict.exact) == (1, False)
    assert verdict.examples == [f"{service} lacks order:W1"]


def test_an_effect_that_happened_twice_is_wrong() -> None:
    effects = EFFECTS | {"inventory": {"order:W1": 6, "cancellation:CW1": -3}}
    verdict = compare(PROMISES, effects, marks_of(effects))
    assert verdict.wrong["inventory"] == 1
    assert not verdict.exact


def test_an_order_nobody_was_promised_is_counted_and_half_done_if_some_lack_it() -> None:
    promises = {"order:W1": PROMISES["order:W1"]}
    effects = effects_without("analytics", "cancellation:CW1")
    verdict = compare(promises, effects, marks_of(effects))
    assert (verdict.unacknowledged, verdict.half_done, verdict.lost, verdict.exact) == (1, 1, 0, False)


def test_a_mark_without_its_effect_is_found() -> None:
    marks = marks_of(EFFECTS) | {"billing": {"order:W1", "cancellation:CW1", "order:W9"}}
    verdict = compare(PROMISES, EFFECTS, marks)
    assert verdict.unmarked["billing"] == 1
    assert not verdict.exact


def test_a_flash_sale_has_five_times_the_users_in_its_middle_third() -> None:
    users = [plan.flash(second, 10, 30) for second in (0, 9.9, 10, 19.9, 20, 29.9, 30)]
    assert users == [10, 10, 50, 50, 10, 10, None]


def test_a_ramp_goes_on_until_the_rate_falls_behind_the_offer() -> None:
    steps = [plan.Step(20, 20, 20, 5.0)]
    assert plan.ramp([], 400) == 20
    assert plan.ramp(steps, 400) == 40
    steps.append(plan.Step(40, 40, 30, 9.0))
    assert plan.ramp(steps, 400) is None
    assert plan.saturated(steps) == "30 of 40 requests/s offered were answered"


def test_a_ramp_ends_when_answers_become_slow_or_all_users_are_there() -> None:
    slow = [plan.Step(20, 20, 20, 5.0), plan.Step(40, 40, 40, 101.0)]
    assert plan.ramp(slow, 400) is None
    everybody = [plan.Step(400, 400, 400, 5.0)]
    assert plan.ramp(everybody, 400) is None
    assert plan.saturated(everybody) is None


def test_the_steady_rate_leaves_the_slower_shop_at_ease() -> None:
    assert [steady_rate(capacity) for capacity in (4, 60, 1000)] == [5, 20, 50]


def test_both_architectures_get_the_same_load() -> None:
    scenarios = {scenario.name: scenario for scenario in comparison(50, quick=False)}
    for shape in ("steady", "outage"):
        sides = [scenarios[f"{side}-{shape}"] for side in ("events", "synchronous")]
        options = [
            [option for option in side.options if option != side.name.partition("-")[0]] for side in sides
        ]
        assert options[0] == options[1]


def test_weights_of_users_are_checked() -> None:
    assert weights("order=9,chat") == {"order": 9, "chat": 1}
    for wrong in ("orders=1", "order=many", "order=0", ""):
        with pytest.raises(ValueError, match="--users-of"):
            weights(wrong)


def test_services_are_found_by_the_address_of_the_first() -> None:
    found = urls("http://shop.example:9000")
    assert (found["order"], found["dashboard"], found["chat"]) == (
        "http://shop.example:9000",
        "http://shop.example:9001",
        "http://shop.example:9003",
    )


def test_axes_end_at_a_round_number_not_below_the_highest_value() -> None:
    assert svg.y_ticks(57) == [0, 20, 40, 60]
    assert svg.y_ticks(30) == [0, 10, 20, 30]
    assert svg.y_ticks(0) == [0, 1]


def test_a_gap_in_a_curve_is_not_drawn_over() -> None:
    curve = svg.Curve([(0, 1.0), (1, 2.0), (2, None), (3, 1.0), (4, 2.0)], "p95")
    assert svg.chart([curve], svg.linear(5), svg.linear(2), "x").count('<path class="p95"') == 2


@pytest.mark.slow
def test_locust_loads_a_shop_and_compares_its_databases(tmp_path: Path) -> None:
    result = run_locust(tmp_path, "--users-of", "order=3,location=1,chat=1,broker=1", "-u", "12", "-r", "12")

    assert result["failures"] == []
    assert result["verification"]["exact"]
    assert result["verification"]["acknowledged"] > 10
    assert {"POST /orders", "POST /locations (100)", "produce record", "e2e record"} <= result[
        "requests"
    ].keys()
    assert all(check.passed for check in checks({"events-steady": result}))


@pytest.mark.slow
def test_locust_spreads_orders_over_processes_and_stops_at_the_number_asked_for(tmp_path: Path) -> None:
    options = ("--processes", "2", "--orders", "100", "--pace", "0", "--tags", "place")
    result = run_locust(tmp_path, "--users-of", "order", "-u", "8", "-r", "8", *options, seconds="120s")

    assert result["verification"]["exact"]
    assert result["verification"]["acknowledged"] == 100


def run_locust(directory: Path, *options: str, seconds: str = SECONDS) -> Any:
    """The figures of a run against an embedded server. Locust's exit status must be 0."""
    (directory / "shop.toml").write_text('backend = "embedded"\n')
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(LOADTESTS / "locustfile.py"),
        "--headless",
        "-t",
        seconds,
    ]
    command += [
        "--shop-config",
        str(directory / "shop.toml"),
        "--shop-dir",
        str(directory / "shop"),
        *options,
    ]
    done = subprocess.run(
        [*command, "--only-summary", "--result", str(directory / "result.json")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((directory / "result.json").read_text())
