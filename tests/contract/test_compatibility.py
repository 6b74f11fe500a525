"""docs/compatibility.md says what the literals and the last run say. Make it anew with `make compatibility`."""

from __future__ import annotations

import json
from pathlib import Path

from streamadapter.testing import contract
from streamadapter.testing.contract.compatibility import installed, render

DOCS = Path(__file__).parents[2] / "docs"
REPORT = json.loads((DOCS / "compatibility.json").read_text())
HINT = "run `make compatibility`"


def test_the_page_is_made_from_the_literals_and_the_last_run() -> None:
    assert (DOCS / "compatibility.md").read_text() == render(installed(), REPORT), HINT


def test_the_last_run_was_of_every_scenario_on_every_backend() -> None:
    run = [(row["backend"], row["area"], row["scenario"]) for row in REPORT]
    every = [
        (features.name, *contract.area_and_title(scenario))
        for features in installed()
        for scenario in contract.scenarios().values()
    ]
    assert sorted(run) == sorted(every), HINT


def test_in_the_last_run_nothing_failed_and_every_skip_has_its_reason() -> None:
    assert [row for row in REPORT if row["outcome"] == "failed"] == []
    assert [row for row in REPORT if row["outcome"] == "skipped" and not row["reason"]] == []
