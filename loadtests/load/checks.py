"""What a comparison must show, as a table of requirements with what was seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SLOWER = 1.2  # p95 during the outage may be so many times that of before


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement, what was seen, and whether that will do."""

    what: str
    seen: str
    passed: bool


def checks(runs: Mapping[str, Any]) -> list[Check]:
    """Of the runs that were made, by their names in `scenarios.py`."""
    found = []
    if "events-outage" in runs:
        found += _events_outage(runs["events-outage"])
    if "synchronous-outage" in runs:
        found.append(_synchronous_outage(runs["synchronous-outage"]))
    if "flood" in runs:
        found.append(_flood(runs["flood"]))
    verified = {name: run for name, run in runs.items() if run["verification"] is not None}
    if verified:
        found.append(_nothing_missing(verified))
    events = {name: run for name, run in runs.items() if run["architecture"] == "events"}
    if events:
        found.append(_no_failures(events))
    return found


def _events_outage(run: Any) -> list[Check]:
    before, during, outage = run["windows"]["before"], run["windows"]["during"], run["outage"]
    seconds, service = during["seconds"], outage["service"]
    ratio = during["p95"] / before["p95"] if during["p95"] and before["p95"] else None
    drained = outage["drained_after_restart"]
    return [
        Check(
            f"event-driven, {service} stopped for {seconds:.0f} s: no order fails",
            f"{during['failed']} of {during['requests']} failed",
            during["requests"] > 0 and not during["failed"],
        ),
        Check(
            "... and none is lost",
            f"{run['verification']['lost']} of {run['verification']['acknowledged']} acknowledged are missing",
            not run["verification"]["lost"] and run["drain_seconds"] is not None,
        ),
        Check(
            "... answer times do not change: p95 within 20 % of before",
            "no answers"
            if ratio is None
            else f"{before['p95']:.1f} ms before, {during['p95']:.1f} ms during ({(ratio - 1) * 100:+.0f} %);"
            f" cores busy on the machine: {before['cores']}, then {during['cores']}",
            ratio is not None and ratio <= SLOWER,
        ),
        Check(
            "... and the backlog is worked off after the restart, under load",
            f"{outage['deepest_backlog']} orders deep; "
            + (
                "not worked off" if drained is None else f"gone {drained:.1f} s after the start was asked for"
            ),
            drained is not None,
        ),
    ]


def _synchronous_outage(run: Any) -> Check:
    during = run["windows"]["during"]
    return Check(
        "synchronous, the same outage: the failures it really has",
        f"{during['failed']} of {during['requests']} orders failed;"
        f" {run['verification']['half_done']} refused ones are in some of the databases",
        during["failed"] > 0,
    )


def _flood(run: Any) -> Check:
    found = run["verification"]
    return Check(
        "flood: every database agrees exactly with the list of acknowledged orders",
        f"{found['acknowledged']} acknowledged in {run['seconds']:.0f} s, {found['lost']} missing,"
        f" {sum(found['wrong'].values())} wrong, {found['unacknowledged']} that nobody was promised",
        found["exact"] and run["drain_seconds"] is not None,
    )


def _nothing_missing(runs: Mapping[str, Any]) -> Check:
    """Also in the synchronous shop: what it does acknowledge, it must have done."""
    bad = [name for name, run in runs.items() if _is_wrong(run)]
    verdicts = [run["verification"] for run in runs.values()]
    acknowledged, lost, repeats = (
        sum(verdict[key] for verdict in verdicts) for key in ("acknowledged", "lost", "repeats")
    )
    return Check(
        "no run: an acknowledged order is missing, or has taken effect twice",
        f"{acknowledged} acknowledged, {lost} missing, {repeats} records came again, to no effect"
        + (f"; wrong: {', '.join(bad)}" if bad else ""),
        not bad,
    )


def _is_wrong(run: Any) -> bool:
    found = run["verification"]
    amounts = sum(found["wrong"].values()) + sum(found["unmarked"].values())
    return bool(found["lost"] or amounts or found["books"] or run["drain_seconds"] is None)


def _no_failures(runs: Mapping[str, Any]) -> Check:
    failures = [
        f"{name}: {row['count']} x {row['name']}: {row['error']}"
        for name, run in runs.items()
        for row in run["failures"]
    ]
    total = sum(row["requests"] for run in runs.values() for row in run["requests"].values())
    return Check(
        "no event-driven run: a request fails",
        f"none of {total} in {len(runs)} run{'s'[: len(runs) != 1]}"
        if not failures
        else "; ".join(failures[:3]),
        not failures,
    )
