"""Plots of a chapter's cases. Pure: from the cases of the document to SVG, nothing that is not in them.

Case: one of the document's `cases`, a mapping. Its `median` is by figure, its `rounds` have the spread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import svg
from texts import count, significant

Case = Mapping[str, Any]
STYLES = {
    "streamadapter": "ours",
    "server": "ours",  # of its scripts
    "confluent_kafka": "confluent",
    "aiokafka": "aiokafka",
    "faststream": "faststream",
    "redis-py": "redis-py",
    "bare": "redis-py",
}
"""Class of the style sheet by subject; what is not here is a limit, or unknown, and grey."""
LABELS, WIDE_LABELS = 112, 172
GROWN = re.compile(r"(?P<what>.+)_us_1e(?P<power>\d+)")
"""A figure of growth: cost of an operation in µs at a log length."""


@dataclass(frozen=True, slots=True)
class Plot:
    """With a title, a legend of (class, text), and an inline SVG."""

    title: str
    svg: str
    legend: Sequence[tuple[str, str]] = ()


Plotter = Callable[[Sequence[Case]], list[Plot]]


def style(case: Case) -> str:
    return STYLES.get(case["subject"], "other")


def title(name: str) -> str:
    """A case's name as a heading: callback-64-partitions is produce() with a delivery callback, 64 partitions."""
    if paced := PACED.fullmatch(name):
        return f"{count(int(paced[1]))} records/s, linger.ms {paced[2]}"
    known = max((key for key in TITLES if f"{name}-".startswith(f"{key}-")), key=len, default="")
    rest = name[len(known) :].strip("-").replace("-", " ")
    return ", ".join(part for part in (TITLES.get(known, ""), rest) if part)


TITLES = {
    "plain": "produce()",
    "callback": "produce() with a delivery callback",
    "batch": "produce_batch()",
    "columns": "produce_columns()",
    "consume": "consume()",
    "poll": "poll()",
    "getmany": "getmany()",
    "random-100": "Random, 100 B",
    "json": "JSON orders",
}
PACED = re.compile(r"(\d+)-linger(\d+)")


def bars(figure: str, unit: str, mark: str | None = None, side_by_side: Sequence[str] = ()) -> Plotter:
    """A plot for each name among the cases that have the figure, a bar a subject; `side_by_side` are names whose
    cases share a plot, longest first, and so do the limits. Each plot has a scale of its own. Whiskers: lowest and
    highest round. `mark`: a figure to be marked on the bar.
    """

    def plot(cases: Sequence[Case]) -> list[Plot]:
        together: list[svg.Bar] = []
        apart: dict[str, list[svg.Bar]] = {}
        for case in (case for case in cases if figure in case["median"]):
            name = case["name"].replace("-", " ")
            if case["name"] in side_by_side:
                together.append(_bar(case, figure, f"{case['subject']}, {name}", mark))
            elif case["subject"] == "limit":
                apart.setdefault("Limits", []).append(_bar(case, figure, name, mark))
            else:
                apart.setdefault(title(case["name"]), []).append(_bar(case, figure, case["subject"], mark))
        together.sort(key=lambda bar: bar.value, reverse=True)
        plots = [_bar_plot("Side by side", unit, together, WIDE_LABELS)] if together else []
        return plots + [_bar_plot(heading, unit, rows, LABELS) for heading, rows in apart.items()]

    return plot


def _bar_plot(heading: str, unit: str, rows: Sequence[svg.Bar], labels: int) -> Plot:
    longest = max(max(row.high, row.mark or 0.0) for row in rows)
    said = f"{heading}, {unit}: " + "; ".join(f"{row.label} {row.text}" for row in rows)
    return Plot(f"{heading}, {unit}", svg.bars(rows, longest, said, labels))


def _bar(case: Case, figure: str, label: str, mark: str | None) -> svg.Bar:
    found, value = _values(case, figure), case["median"][figure]
    marked = case["median"].get(mark) if mark else None
    return svg.Bar(label, value, min(found), max(found), significant(value), style(case), marked)


def spans(low: str, mark: str, high: str, unit: str) -> Plotter:
    """A plot for each name among the cases that have the three figures, a span a subject, on one logarithmic axis."""

    def plot(cases: Sequence[Case]) -> list[Plot]:
        groups: dict[str, list[svg.Span]] = {}
        for case in cases:
            if {low, mark, high} <= case["median"].keys():
                places = (case["median"][figure] for figure in (low, mark, high))
                groups.setdefault(case["name"], []).append(svg.Span(case["subject"], *places, style(case)))
        every = [row for rows in groups.values() for row in rows]
        if not every:
            return []
        axis = svg.logarithmic(min(row.low for row in every), max(row.high for row in every), unit)
        return [
            Plot(title(name), svg.spans(rows, axis, _spans_said(title(name), unit, rows), LABELS))
            for name, rows in groups.items()
        ]

    return plot


def _spans_said(name: str, unit: str, rows: Sequence[svg.Span]) -> str:
    figures = (
        f"{row.label} {significant(row.low)}, {significant(row.mark)}, {significant(row.high)}"
        for row in rows
    )
    return f"{name}, p50, p99 and p99.9 in {unit}: " + "; ".join(figures)


def lines(figure: str, heading: str, along: str, by: str) -> Plotter:
    """One plot of the figure over the argument `along`, a curve for each value of `by`: an argument, or "subject"."""

    def plot(cases: Sequence[Case]) -> list[Plot]:
        curves: dict[str, list[tuple[float, float]]] = {}
        styles: dict[str, str] = {}
        for case in cases:
            arguments = case["arguments"]
            if figure in case["median"] and along in arguments:
                key = case["subject"] if by == "subject" else f"{arguments[by]} {by}"
                curves.setdefault(key, []).append((float(arguments[along]), case["median"][figure]))
                styles.setdefault(key, style(case) if by == "subject" else f"step-{min(len(styles), 4)}")
        if not curves:
            return []
        drawn = {key: svg.Curve(sorted(points), styles[key], dots=True) for key, points in curves.items()}
        legend = [(styles[key], key) for key in curves] if len(curves) > 1 or by == "subject" else []
        return [Plot(heading, _line_chart(heading, along, drawn), legend)]

    return plot


def _line_chart(heading: str, along: str, curves: Mapping[str, svg.Curve]) -> str:
    places = sorted({at for curve in curves.values() for at, _ in curve.points})
    doubling = len(places) > 2 and all(after >= 2 * before for before, after in pairwise(places))
    ticks = [(at, f"{at:g}") for at in places]
    ends = (places[0], places[-1]) if len(places) > 1 else (places[0] / 2, places[0] * 2)
    x = svg.Axis(*ends, ticks, logarithmic=doubling)
    y = svg.linear(max(value or 0.0 for curve in curves.values() for _, value in curve.points))
    said = "; ".join(
        f"{key} {', '.join(significant(value or 0.0) for _, value in curve.points)}"
        for key, curve in curves.items()
    )
    return svg.chart(list(curves.values()), x, y, f"{heading}, for {along} {_list(ticks)}: {said}")


def _list(ticks: Sequence[tuple[float, str]]) -> str:
    return ", ".join(text for _, text in ticks)


def growth(cases: Sequence[Case]) -> list[Plot]:
    """A plot for each operation: its cost over the length of the log, a curve a subject. Axis of cost from zero."""
    costs: dict[str, dict[str, list[tuple[float, float]]]] = {}
    styles = {case["subject"]: style(case) for case in cases}
    for case in cases:
        for figure, value in case["median"].items():
            if found := GROWN.fullmatch(figure):
                curves = costs.setdefault(found["what"], {})
                curves.setdefault(case["subject"], []).append((10.0 ** int(found["power"]), value))
    plots = []
    for what, curves in costs.items():
        heading = f"{what.replace('_', ' ')}, µs"
        lengths = sorted({length for points in curves.values() for length, _ in points})
        x = svg.logarithmic(lengths[0], lengths[-1])
        y = svg.linear(max(value for points in curves.values() for _, value in points))
        said = "; ".join(
            f"{subject} {', '.join(significant(value) for _, value in points)}"
            for subject, points in curves.items()
        )
        label = f"{heading}, in logs of {_list(x.ticks)} records: {said}"
        drawn = [svg.Curve(sorted(points), styles[subject], dots=True) for subject, points in curves.items()]
        plots.append(Plot(heading, svg.chart(drawn, x, y, label)))
    return plots


def _values(case: Case, figure: str) -> list[float]:
    """Of every round that has it."""
    return [found[figure] for found in case["rounds"] if figure in found]
