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
    "streamadapter-pure": "ours",
    "server": "ours",  # of its scripts
    "confluent_kafka": "confluent",
    "aiokafka": "aiokafka",
    "faststream": "faststream",
    "redis-py": "redis-py",
    "bare": "redis-py",
}
"""Class of the style sheet by subject; what is not here is a limit, or unknown, and grey."""
LABELS = 124
VALUES = 66
"""Width of the texts of an axis of records/s."""
SHARED = {"limit": "Limits", "server": "Scripts"}
"""Subjects whose cases are bars of one plot, whatever their names."""
GROWN = re.compile(r"(?P<what>.+?)(?P<server>_server)?_us_1e(?P<power>\d+)")
"""A figure of growth: cost of an operation in µs at a log length, or what of it is the server's."""


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
    """A plot for each name among the cases that have the figure, a bar a subject; each has a scale of its own.

    side_by_side: names whose cases share a plot, longest first, as those of SHARED subjects do. mark: a figure to be
    marked on the bar. Whiskers: lowest and highest round.
    """

    def plot(cases: Sequence[Case]) -> list[Plot]:
        together: list[svg.Bar] = []
        apart: dict[str, list[svg.Bar]] = {}
        for case in (case for case in cases if figure in case["median"]):
            name = case["name"].replace("-", " ")
            if case["name"] in side_by_side:
                together.append(_bar(case, figure, f"{case['subject']}, {name}", mark))
            elif heading := SHARED.get(case["subject"]):
                apart.setdefault(heading, []).append(_bar(case, figure, name, mark))
            else:
                apart.setdefault(title(case["name"]), []).append(_bar(case, figure, case["subject"], mark))
        together.sort(key=lambda bar: bar.value, reverse=True)
        plots = [_bar_plot("Side by side", unit, together)] if together else []
        return plots + [_bar_plot(heading, unit, rows) for heading, rows in apart.items()]

    return plot


def _bar_plot(heading: str, unit: str, rows: Sequence[svg.Bar]) -> Plot:
    labels = max(LABELS, 8 + 7 * max(len(row.label) for row in rows))  # 7: of the widest of the usual fonts
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
        axis = svg.logarithmic(min(row.low for row in every), max(row.high for row in every))
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


def lines(figure: str, unit: str, along: str, by: str | None = None) -> Plotter:
    """One plot of the figure over the argument `along`, a curve for each subject, and for each value of argument `by`.

    Where all cases stand at one place there is nothing to be joined, and they are bars.
    """

    def plot(cases: Sequence[Case]) -> list[Plot]:
        shown = [case for case in cases if figure in case["median"] and along in case["arguments"]]
        places = sorted({float(case["arguments"][along]) for case in shown})
        if len(places) < 2:
            return bars(figure, unit)(shown)
        curves = _Curves()
        for case in shown:
            name, at = case["subject"], float(case["arguments"][along])
            if by:
                name = f"{name}, {_counted(case['arguments'][by], by)}"
            curves.add(name, style(case), at, case["median"][figure])
        doubling = all(after >= 2 * before for before, after in pairwise(places))
        axis = svg.Axis(places[0], places[-1], [(at, f"{at:g}") for at in places], logarithmic=doubling)
        return [curves.plot(f"{unit}, over {along}", axis)]

    return plot


def _counted(number: int, things: str) -> str:
    return f"{number} {things.removesuffix('s') if number == 1 else things}"


def growth(cases: Sequence[Case]) -> list[Plot]:
    """A plot for each operation: its cost over the length of the log. The axis of cost begins at zero."""
    operations: dict[str, _Curves] = {}
    lengths: set[float] = set()
    for case in cases:
        for figure, value in case["median"].items():
            if found := GROWN.fullmatch(figure):
                lengths.add(length := 10.0 ** int(found["power"]))
                name, look = ("server's part of it", "other") if found["server"] else ("call", style(case))
                operations.setdefault(found["what"], _Curves()).add(name, look, length, value)
    return [
        curves.plot(f"{what.replace('_', ' ')}, µs", svg.logarithmic(min(lengths), max(lengths)))
        for what, curves in operations.items()
    ]


class _Curves:
    """Points by the name of their curve. Curves that look alike are dashed, and fainter, from the second one on."""

    def __init__(self) -> None:
        self._points: dict[str, list[tuple[float, float]]] = {}
        self._styles: dict[str, str] = {}

    def add(self, name: str, look: str, at: float, value: float) -> None:
        if name not in self._points:
            alike = sum(other.split()[0] == look for other in self._styles.values())
            self._styles[name] = f"{look} nth-{alike}" if alike else look
        self._points.setdefault(name, []).append((at, value))

    def plot(self, heading: str, x: svg.Axis) -> Plot:
        every = {name: sorted(points) for name, points in self._points.items()}
        y = svg.linear(max(value for points in every.values() for _, value in points))
        places = ", ".join(text for _, text in x.ticks)
        said = "; ".join(
            f"{name} {', '.join(significant(value) for _, value in points)}" for name, points in every.items()
        )
        drawn = [svg.Curve(points, self._styles[name], dots=True) for name, points in every.items()]
        picture = svg.chart(drawn, x, y, f"{heading}, at {places}: {said}", left=VALUES)
        return Plot(heading, picture, [(self._styles[name], name) for name in every])


def _values(case: Case, figure: str) -> list[float]:
    """Of every round that has it."""
    return [found[figure] for found in case["rounds"] if figure in found]
