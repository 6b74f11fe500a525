"""The report of a comparison as one HTML page that needs nothing else. Pure but for reading its template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from svg import Axis, Curve, Shade, Span, chart, linear, spans
from template import render
from texts import count, number

TEMPLATE = Path(__file__).with_name("report.html.jinja")
SIDES = (("events", "Event-driven"), ("synchronous", "Synchronous"))
SMOOTH = 0.98  # the axis of latencies ends at this share of the seconds; one slow second shall not flatten the rest


def page(report: Mapping[str, Any]) -> str:
    """The page. `report` is what is in report.json."""
    runs = report["runs"]
    outages = {side: runs[f"{side}-outage"] for side, _ in SIDES if f"{side}-outage" in runs}
    brokers = _brokers(runs)
    return render(
        TEMPLATE,
        {"ms": _ms, "number": number, "count": count},
        report=report,
        runs=runs,
        sides=SIDES,
        outages=outages,
        charts=_outage_charts(outages),
        architectures=_spans(
            runs, [("events-steady", "event-driven"), ("synchronous-steady", "synchronous")]
        ),
        backends=_spans(runs, [(f"{name}-steady", name) for name in ("redis", "kafka")]),
        brokers=brokers,
        broker_spans=_span_chart(brokers),
        flood=_flood_charts(runs.get("flood")),
    )


def _outage_charts(outages: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """For each side its charts; a row of charts has the same axes on both sides."""
    if not outages:
        return {}
    seconds = max(len(run["series"]) for run in outages.values())
    rate = max(point["ok"] + point["failed"] for run in outages.values() for point in run["series"])
    slow = max(_smooth([point["p95"] for point in run["series"]]) for run in outages.values())
    return {side: _side_charts(run, seconds, rate, slow) for side, run in outages.items()}


def _side_charts(run: Any, seconds: int, rate: float, slow: float) -> dict[str, str]:
    outage, series = run["outage"], run["series"]
    shade = Shade(outage["from"], outage["to"], f"{outage['service']} stopped") if outage else None
    throughput = [  # red behind blue: what shows of it, above, has failed
        Curve(
            [(p["t"], p["ok"] + p["failed"] if p["failed"] else None) for p in series], "failed", bars=True
        ),
        Curve([(p["t"], p["ok"]) for p in series], "ok", bars=True),
    ]
    latency = [Curve([(p["t"], _capped(p[key], slow)) for p in series], key) for key in ("p50", "p95")]
    charts = {
        "throughput": _time_chart(throughput, seconds, rate, "orders a second, accepted and failed", shade),
        "latency": _time_chart(latency, seconds, slow, "answer time in ms, p50 and p95", shade),
    }
    backlog = [(p["t"], p.get(outage["service"])) for p in run["backlog"]] if outage else []
    deepest = max((lag for _, lag in backlog if lag is not None), default=0)
    if deepest:
        charts["backlog"] = _time_chart(
            [Curve(backlog, "lag")], seconds, deepest, "backlog of the service", shade
        )
    return charts


def _flood_charts(run: Any) -> dict[str, str]:
    if run is None:
        return {}
    series = run["series"]
    rate = max(point["ok"] + point["failed"] for point in series)
    names = sorted(
        {name for point in run["backlog"] for name in point} - {"t", "delivery_tracking", "chat", "order"}
    )
    deepest = max((point.get(name) or 0 for point in run["backlog"] for name in names), default=0)
    lags = [Curve([(p["t"], p.get(name)) for p in run["backlog"]], f"lag {name}") for name in names]
    return {
        "throughput": _time_chart(
            [Curve([(p["t"], p["ok"]) for p in series], "ok", bars=True)],
            len(series),
            rate,
            "orders a second",
        ),
        "backlog": _time_chart(lags, len(series), deepest, "backlog of each service"),
    }


def _spans(runs: Mapping[str, Any], rows: list[tuple[str, str]]) -> str:
    found = [
        (label, runs[name]["windows"]["steady"], label.partition("-")[0].split()[0])
        for name, label in rows
        if name in runs
    ]
    return _span_chart(found)


def _span_chart(found: list[tuple[str, Any, str]]) -> str:
    """A row for each label and its figures that have a p99; one axis for all."""
    rows = [
        Span(label, f["p50"], f["p95"], f["p99"], style) for label, f, style in found if f["p99"] is not None
    ]
    axis = linear(max((row.high for row in rows), default=1.0), "ms")
    return spans(rows, axis, "p50, p95 and p99 in ms") if found else ""


def _time_chart(
    curves: list[Curve], seconds: float, highest: float, label: str, shade: Shade | None = None
) -> str:
    """Values over time, from 0 to `seconds` and from 0 to at least `highest`."""
    step = max(10, round(seconds / 6 / 10) * 10)
    ticks = [(second, f"{second} s" if second else "0") for second in range(0, int(seconds) + 1, step)]
    return chart(curves, Axis(0.0, max(seconds, 1.0), ticks), linear(highest), label, shade)


def _brokers(runs: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    return [
        (f"{backend}, {what}", runs[f"broker-{backend}"]["steady"][f"{kind} record"], backend)
        for backend in ("embedded", "redis", "kafka")
        for kind, what in (("produce", "acknowledged"), ("e2e", "consumed"))
        if f"broker-{backend}" in runs
    ]


def _smooth(values: list[float | None]) -> float:
    known = sorted(value for value in values if value is not None)
    return known[min(len(known) - 1, int(len(known) * SMOOTH))] if known else 0.0


def _capped(value: float | None, top: float) -> float | None:
    return None if value is None else min(value, top)


def _ms(value: float | None) -> str:
    """Milliseconds for reading: three digits at most."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
