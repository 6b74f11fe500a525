"""The report of a comparison as one HTML page that needs nothing else. Pure but for reading its template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from load.svg import Curve, Shade, number, spans, time_chart

TEMPLATE = Path(__file__).with_name("report.html.jinja")
SIDES = (("events", "Event-driven"), ("synchronous", "Synchronous"))
SMOOTH = 0.98  # the axis of latencies ends at this share of the seconds; one slow second shall not flatten the rest


def page(report: Mapping[str, Any]) -> str:
    """The page. `report` is what is in report.json."""
    runs = report["runs"]
    outages = {side: runs[f"{side}-outage"] for side, _ in SIDES if f"{side}-outage" in runs}
    brokers = _brokers(runs)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"ms": _ms, "number": number, "count": _count}
    return environment.get_template(TEMPLATE.name).render(
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
        broker_spans=spans(brokers, "ms") if brokers else "",
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
        "throughput": time_chart(throughput, seconds, rate, "orders a second, accepted and failed", shade),
        "latency": time_chart(latency, seconds, slow, "answer time in ms, p50 and p95", shade),
    }
    backlog = [(p["t"], p.get(outage["service"])) for p in run["backlog"]] if outage else []
    deepest = max((lag for _, lag in backlog if lag is not None), default=0)
    if deepest:
        charts["backlog"] = time_chart(
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
        "throughput": time_chart(
            [Curve([(p["t"], p["ok"]) for p in series], "ok", bars=True)],
            len(series),
            rate,
            "orders a second",
        ),
        "backlog": time_chart(lags, len(series), deepest, "backlog of each service"),
    }


def _spans(runs: Mapping[str, Any], rows: list[tuple[str, str]]) -> str:
    found = [
        (label, runs[name]["windows"]["steady"], label.partition("-")[0].split()[0])
        for name, label in rows
        if name in runs
    ]
    return spans(found, "ms") if found else ""


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


def _count(value: int) -> str:
    return f"{value:,}".replace(",", "\u2009")
