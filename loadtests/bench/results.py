"""Figures of all rounds: medians, ratios within a round, and the JSON document."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.case import Case, Figures


@dataclass(slots=True)
class Results:
    """Of a run: by case id the figures of each round, in order. A round that failed is {}.

    document: the run's `machine`, `versions` and `options`, as they go into the JSON.
    """

    document: dict[str, Any] = field(default_factory=dict)
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    _cases: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, case: Case, figures: Figures) -> None:
        """Note what one more round of a case found."""
        self._cases.setdefault(
            case.id,
            {
                "id": case.id,
                "chapter": case.chapter,
                "name": case.name,
                "subject": case.subject,
                "server": case.server,
                "arguments": dict(case.arguments),
            },
        )
        self.rounds.setdefault(case.id, []).append(figures)

    def median(self, case_id: str, figure: str) -> float | None:
        """Over the rounds that have the figure; None if none has."""
        found = [figures[figure] for figures in self.rounds.get(case_id, []) if figure in figures]
        return statistics.median(found) if found else None

    def ratio(self, case_id: str, to: str, figure: str) -> float | None:
        """The median of `ratios`; None if no round has both."""
        found = self.ratios(case_id, to, figure)
        return statistics.median(found) if found else None

    def ratios(self, case_id: str, to: str, figure: str, to_figure: str | None = None) -> list[float]:
        """case_id / to, each within one round: the machine's speed changes between rounds.

        Of the rounds that have both. `to_figure` where the other case's figure is not the same one.
        """
        pairs = zip(self.rounds.get(case_id, []), self.rounds.get(to, []), strict=False)
        theirs = to_figure or figure
        return [one[figure] / other[theirs] for one, other in pairs if one.get(figure) and other.get(theirs)]

    def medians(self, case_id: str) -> Figures:
        """Of every figure of a case, in the order in which it gave them."""
        names = dict.fromkeys(name for figures in self.rounds.get(case_id, []) for name in figures)
        return {name: median for name in names if (median := self.median(case_id, name)) is not None}

    def to_json(self) -> dict[str, Any]:
        """The document: machine, versions, options, and `cases`, each with `rounds` and `median`."""
        cases = [
            {**case, "rounds": self.rounds[case_id], "median": self.medians(case_id)}
            for case_id, case in self._cases.items()
        ]
        return {**self.document, "cases": cases}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        results = cls({name: value for name, value in document.items() if name != "cases"})
        for case in document["cases"]:
            results._cases[case["id"]] = {k: v for k, v in case.items() if k not in ("rounds", "median")}
            results.rounds[case["id"]] = [dict(figures) for figures in case["rounds"]]
        return results
