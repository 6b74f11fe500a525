"""The figures of a run, as they are written to a file and shown."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from load import plan
from load.figures import by_name, failures, figures, series
from load.journal import Record, Sample
from load.monitor import Outage
from load.verify import Verdict

MAIN = ("POST /orders", "e2e record")
"""What a run is about, the first of them that it has: its windows and its series are of these requests."""
PACKAGES = ("streamadapter", "locust", "confluent-kafka", "redis", "fastapi", "uvicorn", "SQLAlchemy")


@dataclass
class Run:
    """All that is known when a run is over."""

    backend: str
    options: Any  # Locust's, parsed
    began: float
    ended: float
    record: Record
    verdict: Verdict | None  # None: the shop was not ours
    drained: float | None
    cores: dict[str, float]
    backlog: list[dict[str, Any]]
    problems: list[str]
    outage: Outage | None
    steps: list[plan.Step]


def as_json(run: Run) -> dict[str, Any]:
    """Everything, with the main requests' figures in windows and by the second."""
    samples = run.record.samples
    main = next((name for name in MAIN if any(sample.name == name for sample in samples)), "")
    orders = [sample for sample in samples if sample.name == main]
    return {
        "backend": run.backend,
        "architecture": run.options.architecture,
        "shape": run.options.shape,
        "users": run.options.num_users,
        "pace": run.options.pace,
        "began": datetime.fromtimestamp(run.began, UTC).isoformat(timespec="seconds"),
        "seconds": round(run.ended - run.began, 2),
        "main": main,
        "requests": by_name(samples, run.began, run.ended),
        "windows": windows(run, orders),
        "steady": by_name(samples, run.began + ramp_seconds(run.options), run.ended),
        "series": series(orders, run.began, run.ended),
        "backlog": [
            {"t": round(sample["at"] - run.began, 2), **sample["lag"]}
            for sample in run.backlog
            if sample["lag"]
        ],
        "outage": _outage(run),
        "failures": failures(samples),
        "unknown_outcomes": len(run.record.unknown),
        "drain_seconds": run.drained,
        "verification": None
        if run.verdict is None
        else asdict(run.verdict) | {"lost": run.verdict.lost, "exact": run.verdict.exact},
        "ramp": [asdict(step) for step in run.steps],
        "saturated": plan.saturated(run.steps) if run.steps else None,
        "cores": run.cores,
        "problems": run.problems,
        "machine": machine(),
    }


def windows(run: Run, orders: list[Sample]) -> dict[str, Any]:
    """`steady`: from when all users are there. In an outage also `before` and `during`, equally long, and `after`."""
    warm = run.began + ramp_seconds(run.options)
    if run.outage is None or run.outage.stopped_at is None:
        return {"steady": _window(run, orders, warm, max(warm, run.ended))}
    stopped, restarted = run.outage.stopped_at, run.outage.started_at or run.ended
    length = min(restarted - stopped, stopped - warm)
    return {
        "before": _window(run, orders, stopped - length, stopped),
        "during": _window(run, orders, stopped, stopped + length),
        "after": _window(run, orders, restarted, run.ended),
    }


def _window(run: Run, orders: list[Sample], start: float, end: float) -> dict[str, Any]:
    """Figures, and how many cores of the machine were busy meanwhile, with whatever else ran on it."""
    busy = [sample["machine"] for sample in run.backlog if start <= sample["at"] < end]
    cores = round(sum(busy) / len(busy) / 100 * (os.cpu_count() or 1), 2) if busy else None
    return asdict(figures(orders, start, end)) | {"cores": cores}


def ramp_seconds(options: Any) -> float:
    """Until all users are there, and a little for what starts cold. A run at full speed counts from its start."""
    if not options.pace:
        return 0.0
    return (options.num_users or 1) / (options.spawn_rate or 1) + 3.0


def _outage(run: Run) -> dict[str, Any] | None:
    outage = run.outage
    if outage is None or outage.stopped_at is None or outage.started_at is None:
        return None
    before = [lag for at, lag in _lags(run, outage.service) if at < outage.stopped_at]
    usual = max(before, default=0)
    back = [at for at, lag in _lags(run, outage.service) if at > outage.started_at + 1 and lag <= usual]
    return {
        "service": outage.service,
        "from": round(outage.stopped_at - run.began, 2),
        "to": round(outage.started_at - run.began, 2),
        "deepest_backlog": max((lag for _, lag in _lags(run, outage.service)), default=None),
        # back at the level it had before, while the load went on
        "drained_after_restart": round(back[0] - outage.started_at, 2) if back and before else None,
    }


def _lags(run: Run, service: str) -> list[tuple[float, int]]:
    return [
        (sample["at"], sample["lag"][service])
        for sample in run.backlog
        if sample["lag"].get(service) is not None
    ]


def machine() -> dict[str, Any]:
    """Where and with what the figures were made."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model
        )
    except OSError:
        pass
    return {
        "system": platform.platform(),
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def table(result: dict[str, Any]) -> Table:
    """For the terminal."""
    title = f"{result['architecture']}, {result['shape']}, {result['backend']}: {result['seconds']:.0f} s"
    shown = Table("", "requests", "failed", "/s", "p50 ms", "p95", "p99", title=title)
    rows = {
        **result["requests"],
        **{f"{result['main']}, {name}": row for name, row in result["windows"].items()},
    }
    for name, row in rows.items():
        times = ["-" if row[key] is None else f"{row[key]:.1f}" for key in ("p50", "p95", "p99")]
        shown.add_row(name, str(row["requests"]), str(row["failed"]), f"{row['per_second']:.1f}", *times)
    for failure in result["failures"][:5]:
        shown.add_row(f"[red]{failure['name']}: {failure['error']}", "", str(failure["count"]))
    return shown
