"""Every promise is measured, and judged on the right side of its bound."""

from __future__ import annotations

from typing import Any

import pytest
from bench import targets
from bench.case import Case
from bench.results import Results


def row(results: Results, name: str) -> targets.Row:
    (found,) = [row for row in targets.rows(results) if name in row.name]
    return found


def given(**rounds: list[dict[str, float]]) -> Results:
    """Results by case id, with __ for / and _ for -."""
    results = Results({})
    for name, figures in rounds.items():
        chapter, case, subject = name.split("__")
        for found in figures:
            results.add(
                Case(
                    chapter=chapter,
                    name=case.replace("_", "-"),
                    subject=subject,
                    server="redis",
                    function="made:up",
                ),
                found,
            )
    return results


def test_a_full_run_measures_every_target(made_up: Any) -> None:
    rows = targets.rows(made_up)

    assert [row.name for row in rows if row.met is None] == []
    assert {row.verdict for row in rows} == {"met", "missed"}


def test_without_figures_nothing_is_met_and_nothing_missed() -> None:
    rows = targets.rows(Results({}))

    assert {row.verdict for row in rows} == {"not measured"}
    assert {row.found for row in rows} == {None}


def test_a_ratio_is_the_median_of_those_within_a_round() -> None:
    """The machine was twice as slow in the second round: medians of each side alone would say 4.5."""
    results = given(
        produce__batch__streamadapter=[{"rate": 300.0}, {"rate": 160.0}, {"rate": 450.0}],
        produce__plain__confluent_kafka=[{"rate": 100.0}, {"rate": 50.0}, {"rate": 100.0}],
    )

    found = row(results, "produce_batch(), against produce()")

    assert (found.found, found.met) == (3.2, True)


@pytest.mark.parametrize(("ours", "met"), [(1.29, False), (1.3, True), (1.31, True)])
def test_at_least_means_at_least(ours: float, met: bool) -> None:
    results = given(
        produce__callback__streamadapter=[{"rate": ours}], produce__callback__confluent_kafka=[{"rate": 1.0}]
    )

    assert row(results, "with a callback, 100 B, against confluent_kafka").met is met


@pytest.mark.parametrize(("ms", "met"), [(149.9, True), (150.0, False)])
def test_below_means_below(ms: float, met: bool) -> None:
    assert row(given(startup__import__streamadapter=[{"ms": ms}]), "import streamadapter").met is met


@pytest.mark.parametrize(("longest", "met"), [(1.14, True), (1.16, False)])
def test_flat_is_judged_over_all_lengths_of_a_log(longest: float, met: bool) -> None:
    costs = {"append_us_1e4": 1.0, "append_us_1e5": 1.05, "append_us_1e6": 1.1, "append_us_1e7": longest}

    found = row(given(growth__growth__streamadapter=[costs]), "append, dearest")

    assert (found.found, found.met) == (longest, met)


def test_a_log_that_did_not_grow_to_the_end_says_nothing() -> None:
    costs = {"append_us_1e4": 1.0, "append_us_1e5": 1.0}

    assert row(given(growth__growth__streamadapter=[costs]), "append, dearest").met is None


def test_what_is_shown_does_not_round_up_to_the_limit() -> None:
    results = given(
        produce__callback__streamadapter=[{"rate": 1.2999}],
        produce__callback__confluent_kafka=[{"rate": 1.0}],
    )

    found = row(results, "with a callback, 100 B, against confluent_kafka")

    assert found.met is False
    assert not found.shown.startswith(("1.3 ", "1.30 "))
