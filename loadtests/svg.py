"""Plots as inline SVG. Pure; colours come from the page's style sheet, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from texts import number

WIDTH, HEIGHT = 420, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 20
LABELS = 158
"""Width of the column of labels beside horizontal rows."""
NICE = (1, 2, 2.5, 5, 10)

Point = tuple[float, float | None]
"""A place on the x axis and a value; None is a gap."""


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`; each tick is a value and its text. A logarithmic one begins above zero."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """How far along it a value is: 0 at its low end, 1 at its high end. A logarithmic axis has no zero."""
        if self.logarithmic:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(highest: float, unit: str = "") -> Axis:
    """From zero to a round number not below `highest`; the unit stands at its end."""
    return _axis(y_ticks(highest), unit, logarithmic=False)


def logarithmic(lowest: float, highest: float, unit: str = "") -> Axis:
    """From a power of ten, or two or five times one, to another; both ends hold what they are given, above zero."""
    steps = (1.0, 2.0, 5.0) if highest / lowest <= 100 else (1.0,)
    first, last = math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    begin = max(index for index, tick in enumerate(ticks) if tick <= lowest * (1 + 1e-9))
    end = min(index for index, tick in enumerate(ticks) if index > begin and tick >= highest * (1 - 1e-9))
    return _axis(ticks[begin : end + 1], unit, logarithmic=True)


def _axis(ticks: Sequence[float], unit: str, *, logarithmic: bool) -> Axis:
    texts = [number(tick) for tick in ticks]
    if unit:
        texts[-1] += f" {unit}"
    return Axis(ticks[0], ticks[-1], list(zip(ticks, texts, strict=True)), logarithmic)


def y_ticks(highest: float) -> list[float]:
    """Zero, and two or more round numbers, the last of which is not below `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    size = 1.0
    while size * 10 <= highest / 3:
        size *= 10
    while size > highest / 3:
        size /= 10
    step = next(size * nice for nice in NICE if size * nice >= highest / 3)
    count = 1
    while count * step < highest * (1 - 1e-9):
        count += 1
    return [step * number for number in range(count + 1)]


# -- values over an x axis


@dataclass(frozen=True, slots=True)
class Curve:
    """One series: `style` is a class of the style sheet. `bars` draws it as bars from zero, for points 1 apart on a
    linear axis; `dots` marks each point.
    """

    points: Sequence[Point]
    style: str
    bars: bool = False
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Shade:
    """A part of the x axis to be shaded."""

    start: float
    end: float
    text: str


def chart(
    curves: Sequence[Curve], x: Axis, y: Axis, label: str, shade: Shade | None = None, left: int = LEFT
) -> str:
    """Curves over axes. `label` is for screen readers, `left` the width of the y axis' texts."""
    plot = _Plot(x, y, left)
    parts = [_start(HEIGHT, label)]
    if shade is not None:
        start, width = plot.x(shade.start), plot.x(shade.end) - plot.x(shade.start)
        parts.append(
            f'<rect class="shade" x="{start:.1f}" y="{TOP}" width="{width:.1f}" height="{plot.height}"/>'
        )
        parts.append(
            f'<text class="shade-text" x="{start + width / 2:.1f}" y="{TOP + 11}">{escape(shade.text)}</text>'
        )
    for tick, text in y.ticks:
        at = plot.y(tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="y" x="{left - 6}" y="{at + 3.5:.1f}">{escape(text)}</text>')
    for tick, text in x.ticks:
        side = _side(x, tick)
        parts.append(f'<text class="x{side}" x="{plot.x(tick):.1f}" y="{HEIGHT - 5}">{escape(text)}</text>')
    for curve in curves:
        parts.extend(plot.bars(curve) if curve.bars else plot.lines(curve))
    return "".join([*parts, "</svg>"])


class _Plot:
    """From values to places."""

    def __init__(self, x: Axis, y: Axis, left: int) -> None:
        self.height = HEIGHT - TOP - BOTTOM
        self._left = left
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        return self._left + self._x.share(value) * (WIDTH - self._left - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - self._y.share(value) * self.height

    def lines(self, curve: Curve) -> Iterator[str]:
        """A path for each run of values without a gap; a value alone is a dot."""
        for run in _runs(curve.points):
            if len(run) > 1:
                path = "L".join(f"{self.x(at):.1f} {self.y(value):.1f}" for at, value in run)
                yield f'<path class="{curve.style}" d="M{path}"/>'
            if len(run) == 1 or curve.dots:
                size = 3 if curve.dots else 1.5
                for at, value in run:
                    place = f'cx="{self.x(at):.1f}" cy="{self.y(value):.1f}"'
                    yield f'<circle class="{curve.style}" {place} r="{size}"/>'

    def bars(self, curve: Curve) -> Iterator[str]:
        width = max(0.6, (self.x(1) - self.x(0)) * 0.8)
        for at, value in curve.points:
            if value:
                y, height = self.y(value), self.y(0) - self.y(value)
                yield (
                    f'<rect class="{curve.style}" x="{self.x(at):.1f}" y="{y:.1f}" width="{width:.1f}"'
                    f' height="{height:.1f}"/>'
                )


def _runs(points: Sequence[Point]) -> Iterator[list[tuple[float, float]]]:
    run: list[tuple[float, float]] = []
    for at, value in points:
        if value is not None:
            run.append((at, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


# -- rows along one axis


@dataclass(frozen=True, slots=True)
class Span:
    """A row: a dot at `low`, a line from there to `high`, and a mark between them."""

    label: str
    low: float
    mark: float
    high: float
    style: str


def spans(rows: Sequence[Span], axis: Axis, label: str, labels: int = LABELS) -> str:
    """Spans below each other over one axis. `label` is for screen readers, `labels` the width of theirs."""
    pitch = 26
    height = pitch * len(rows) + 24
    width = WIDTH - labels - 16
    parts = [_start(height, label)]
    for tick, text in axis.ticks:
        x = labels + axis.share(tick) * width
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 18}"/>')
        parts.append(f'<text class="x{_side(axis, tick)}" x="{x:.1f}" y="{height - 5}">{escape(text)}</text>')
    for number_of_row, row in enumerate(rows):
        y = 16 + number_of_row * pitch
        low, mark, high = (labels + axis.share(value) * width for value in (row.low, row.mark, row.high))
        parts.append(f'<text class="row" x="{labels - 10}" y="{y + 4}">{escape(row.label)}</text>')
        parts.append(f'<line class="span {row.style}" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot {row.style}" cx="{low:.1f}" cy="{y}" r="4.5"/>')
        parts.append(
            f'<line class="mark {row.style}" x1="{mark:.1f}" x2="{mark:.1f}" y1="{y - 6}" y2="{y + 6}"/>'
        )
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: a bar to `value` with `text` behind it, a whisker from `low` to `high`, and a mark, if there is one."""

    label: str
    value: float
    low: float
    high: float
    text: str
    style: str
    mark: float | None = None


def bars(rows: Sequence[Bar], longest: float, label: str, labels: int = LABELS) -> str:
    """Bars below each other; one of `longest` fills the width. `label` is for screen readers, `labels` as in spans."""
    pitch, texts = 24, 80
    height = pitch * len(rows) + 4
    scale = (WIDTH - labels - texts) / longest if longest > 0 else 0.0
    parts = [_start(height, label)]
    for number_of_row, row in enumerate(rows):
        y = 14 + number_of_row * pitch
        low, high = labels + row.low * scale, labels + row.high * scale
        parts.append(f'<text class="row" x="{labels - 8}" y="{y + 4}">{escape(row.label)}</text>')
        parts.append(
            f'<rect class="bar {row.style}" x="{labels}" y="{y - 7}" width="{max(row.value * scale, 1):.1f}"'
            ' height="14" rx="2"/>'
        )
        if high > low:
            parts.append(
                f'<path class="whisker" d="M{low:.1f} {y - 3}V{y + 3}M{low:.1f} {y}H{high:.1f}'
                f'M{high:.1f} {y - 3}V{y + 3}"/>'
            )
        beside = max(high, labels + row.value * scale) + 6
        if row.mark is not None:
            x = labels + row.mark * scale
            parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 10}" y2="{y + 10}"/>')
            if beside - 6 < x < beside + texts:  # it would strike the text through
                beside = x + 6
        parts.append(f'<text class="value" x="{beside:.1f}" y="{y + 4}">{escape(row.text)}</text>')
    return "".join([*parts, "</svg>"])


def _side(axis: Axis, tick: float) -> str:
    """Class of a text below an axis: at the ends it does not reach beyond."""
    return {axis.low: " begin", axis.high: " end"}.get(tick, "")


def _start(height: float, label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
