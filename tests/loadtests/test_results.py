"""Medians, ratios within a round, and the document."""

from __future__ import annotations

import json

from bench.case import Case, Figures
from bench.results import Results


def case(subject: str) -> Case:
    return Case(chapter="produce", name="plain", subject=subject, server="redis", function="a:b")


def results(**rounds: list[Figures]) -> Results:
    found = Results({"machine": {"cores": 4}, "versions": {}, "options": {"rounds": 3}})
    for subject, figures_of_rounds in rounds.items():
        for figures in figures_of_rounds:
            found.add(case(subject), figures)
    return found


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    # given a machine that was four times as fast in the second round
    found = results(
        ours=[{"rate": 20.0}, {"rate": 100.0}, {"rate": 30.0}],
        theirs=[{"rate": 10.0}, {"rate": 40.0}, {"rate": 10.0}],
    )
    assert found.ratio("produce/plain/ours", "produce/plain/theirs", "rate") == 2.5  # of the medians: 3.0


def test_a_round_that_failed_takes_no_part() -> None:
    found = results(
        ours=[{"rate": 20.0}, {}, {"rate": 30.0}], theirs=[{"rate": 10.0}, {"rate": 1.0}, {"rate": 5.0}]
    )
    assert found.ratios("produce/plain/ours", "produce/plain/theirs", "rate") == [2.0, 6.0]
    assert found.median("produce/plain/ours", "rate") == 25.0


def test_what_was_not_measured_has_no_figure() -> None:
    found = results(ours=[{"rate": 20.0}], theirs=[{}])
    assert found.ratio("produce/plain/ours", "produce/plain/nobody", "rate") is None
    assert found.ratio("produce/plain/ours", "produce/plain/theirs", "rate") is None
    assert found.median("produce/plain/theirs", "rate") is None
    assert found.medians("produce/plain/theirs") == {}


def test_two_figures_of_one_case_can_be_compared() -> None:
    found = results(ours=[{"size": 30.0, "payload": 20.0}])
    assert found.ratios("produce/plain/ours", "produce/plain/ours", "size", "payload") == [1.5]


def test_results_come_back_from_their_document() -> None:
    # given
    found = results(ours=[{"rate": 20.0}, {"rate": 40.0, "cpu_us": 1.0}])
    # when
    document = json.loads(json.dumps(found.to_json()))
    # then
    assert document["cases"] == [
        {
            "id": "produce/plain/ours",
            "chapter": "produce",
            "name": "plain",
            "subject": "ours",
            "server": "redis",
            "arguments": {},
            "rounds": [{"rate": 20.0}, {"rate": 40.0, "cpu_us": 1.0}],
            "median": {"rate": 30.0, "cpu_us": 1.0},
        }
    ]
    assert document["machine"] == {"cores": 4}
    assert Results.from_json(document).to_json() == document
