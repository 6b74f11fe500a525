"""Figures of a list of samples. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from load.journal import Sample


@dataclass(frozen=True, slots=True)
class Figures:
    """Of requests sent in a window; times in ms, of successful requests only (None: there were none)."""

    seconds: float
    requests: int
    failed: int
    per_second: float  # successful ones
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float | None


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest rank, of times in ascending order: an observed value, never one in between."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def figures(samples: Iterable[Sample], start: float, end: float) -> Figures:
    """Of the samples with start <= at < end."""
    chosen = [sample for sample in samples if start <= sample.at < end]
    times = sorted(sample.ms for sample in chosen if not sample.error)
    seconds = end - start
    return Figures(
        seconds=round(seconds, 3),
        requests=len(chosen),
        failed=len(chosen) - len(times),
        per_second=round(len(times) / seconds, 2) if seconds > 0 else 0.0,
        p50=percentile(times, 0.50),
        p95=percentile(times, 0.95),
        p99=percentile(times, 0.99),
        longest=times[-1] if times else None,
    )


def by_name(samples: Sequence[Sample], start: float, end: float) -> dict[str, dict[str, Any]]:
    """Figures of each kind of request."""
    groups = defaultdict(list)
    for sample in samples:
        groups[sample.name].append(sample)
    return {name: asdict(figures(groups[name], start, end)) for name in sorted(groups)}


def series(samples: Iterable[Sample], start: float, end: float) -> list[dict[str, Any]]:
    """Figures of each whole second of the window: `t` counts from its start."""
    seconds: list[list[Sample]] = [[] for _ in range(int(end - start))]
    for sample in samples:
        if 0 <= (t := int(sample.at - start)) < len(seconds) and sample.at >= start:
            seconds[t].append(sample)
    points = []
    for t, chosen in enumerate(seconds):
        times = sorted(sample.ms for sample in chosen if not sample.error)
        points.append(
            {
                "t": t,
                "ok": len(times),
                "failed": len(chosen) - len(times),
                "p50": percentile(times, 0.50),
                "p95": percentile(times, 0.95),
            }
        )
    return points


def failures(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """What failed, why and how often; the most frequent first."""
    counts = Counter((sample.name, sample.error) for sample in samples if sample.error)
    return [{"name": name, "error": error, "count": n} for (name, error), n in counts.most_common()]
