"""Plots as inline SVG. Pure; colours come from the page's style sheet, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 20
NICE = (1, 2, 2.5, 5, 10)

Point = tuple[float, float | None]
"""A time in seconds and a value; None is a gap."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One series: `style` is a class of the style sheet; `bars` draws it as bars from zero."""

    points: Sequence[Point]
    style: str
    bars: bool = False


@dataclass(frozen=True, slots=True)
class Shade:
    """A span of time to be shaded."""

    start: float
    end: float
    text: str


def time_chart(
    curves: Sequence[Curve], seconds: float, highest: float, label: str, shade: Shade | None = None
) -> str:
    """Values over time, from 0 to `seconds` and from 0 to at least `highest`. `label` is for screen readers."""
    ticks = y_ticks(highest)
    plot = _Plot(max(seconds, 1.0), ticks[-1])
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    if shade is not None:
        x, width = plot.x(shade.start), plot.x(shade.end) - plot.x(shade.start)
        parts.append(
            f'<rect class="shade" x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{plot.height}"/>'
        )
        parts.append(
            f'<text class="shade-text" x="{x + width / 2:.1f}" y="{TOP + 11}">{escape(shade.text)}</text>'
        )
    for tick in ticks:
        y = plot.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="y" x="{LEFT - 6}" y="{y + 3.5:.1f}">{number(tick)}</text>')
    step = max(10, round(seconds / 6 / 10) * 10)
    for second in range(0, int(seconds) + 1, step):
        text = f"{second} s" if second else "0"
        parts.append(f'<text class="x" x="{plot.x(second):.1f}" y="{HEIGHT - 5}">{text}</text>')
    for curve in curves:
        parts.extend(plot.bars(curve) if curve.bars else plot.lines(curve))
    return "".join([*parts, "</svg>"])


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


def number(value: float) -> str:
    """Short, with a thin space between thousands."""
    if value >= 10 or value == int(value):
        return f"{value:,.0f}".replace(",", "\u2009")
    return f"{value:.2g}"


class _Plot:
    """From values to places."""

    def __init__(self, seconds: float, top: float) -> None:
        self.height = HEIGHT - TOP - BOTTOM
        self._per_second = (WIDTH - LEFT - RIGHT) / seconds
        self._per_unit = self.height / top

    def x(self, t: float) -> float:
        return LEFT + t * self._per_second

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value * self._per_unit

    def lines(self, curve: Curve) -> Iterator[str]:
        """A path for each run of values without a gap; a value alone is a dot."""
        for run in _runs(curve.points):
            if len(run) == 1:
                (t, value), *_ = run
                yield f'<circle class="{curve.style}" cx="{self.x(t):.1f}" cy="{self.y(value):.1f}" r="1.5"/>'
            else:
                path = "L".join(f"{self.x(t):.1f} {self.y(value):.1f}" for t, value in run)
                yield f'<path class="{curve.style}" d="M{path}"/>'

    def bars(self, curve: Curve) -> Iterator[str]:
        width = max(0.6, self._per_second * 0.8)
        for t, value in curve.points:
            if value:
                y, height = self.y(value), value * self._per_unit
                yield (
                    f'<rect class="{curve.style}" x="{self.x(t):.1f}" y="{y:.1f}" width="{width:.1f}"'
                    f' height="{height:.1f}"/>'
                )


def _runs(points: Sequence[Point]) -> Iterator[list[tuple[float, float]]]:
    run: list[tuple[float, float]] = []
    for t, value in points:
        if value is not None:
            run.append((t, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def spans(rows: Sequence[tuple[str, Mapping[str, float | None], str]], unit: str) -> str:
    """A row each: a label, a line from p50 to p99 with a mark at p95, and its style; one axis for all."""
    shown = [row for row in rows if row[1].get("p99") is not None]
    top = y_ticks(max((row[1]["p99"] or 0.0 for row in shown), default=1.0))
    left, pitch = 158, 26
    height = pitch * len(shown) + 24
    scale = (WIDTH - left - 16) / top[-1]
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="p50, p95 and p99 in {unit}">']
    for tick in top:
        x = left + tick * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 18}"/>')
        text = number(tick) + (f" {unit}" if tick == top[-1] else "")
        anchor = " end" if tick == top[-1] else ""
        parts.append(f'<text class="x{anchor}" x="{x:.1f}" y="{height - 5}">{text}</text>')
    for row, (label, figures, style) in enumerate(shown):
        y = 16 + row * pitch
        p50, p95, p99 = (left + (figures[key] or 0.0) * scale for key in ("p50", "p95", "p99"))
        parts.append(f'<text class="row" x="{left - 10}" y="{y + 4}">{escape(label)}</text>')
        parts.append(f'<line class="span {style}" x1="{p50:.1f}" x2="{p99:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot {style}" cx="{p50:.1f}" cy="{y}" r="4.5"/>')
        parts.append(f'<line class="mark {style}" x1="{p95:.1f}" x2="{p95:.1f}" y1="{y - 6}" y2="{y + 6}"/>')
    return "".join([*parts, "</svg>"])
