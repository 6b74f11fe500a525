"""Load shapes: how many users there are when. Pure; `shapes.py` gives them to Locust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STEP_SECONDS = 8.0  # of a ramp
STEPS = 20
KEEPS_UP = 0.9  # of the offered rate; a ramp that gets less has reached saturation
SLOWER = 5.0  # than at the first step
SLOW_MS = 100.0  # below that nobody calls it saturated, whatever it was before
FLASH_TIMES = 5  # as many users as usual during a flash sale


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step of a ramp: how many users, the rate they asked for, and what they got."""

    users: int
    offered: float  # requests a second
    per_second: float
    p95: float  # ms


def steady(elapsed: float, users: int, run_seconds: float | None) -> int | None:
    """So many users until the time is up, if there is a limit. None: the load ends."""
    return users if run_seconds is None or elapsed < run_seconds else None


def flash(elapsed: float, users: int, run_seconds: float | None) -> int | None:
    """A third of the time as usual, a third with five times the users, a third as usual. Default: 90 s."""
    run_seconds = run_seconds or 90.0
    if elapsed >= run_seconds:
        return None
    burst = run_seconds / 3 <= elapsed < run_seconds * 2 / 3
    return users * FLASH_TIMES if burst else users


def ramp(steps: Sequence[Step], users: int) -> int | None:
    """Users of the next step; None when the last one was too much, or when all `users` are there."""
    if steps and (saturated(steps) or steps[-1].users >= users):
        return None
    return max(1, min(users, (len(steps) + 1) * users // STEPS))


def saturated(steps: Sequence[Step]) -> str | None:
    """Why the last step was too much, or None."""
    first, last = steps[0], steps[-1]
    if last.per_second < KEEPS_UP * last.offered:
        return f"{last.per_second:.0f} of {last.offered:.0f} requests/s offered were answered"
    if last.p95 > max(SLOW_MS, SLOWER * first.p95):
        return f"p95 is {last.p95:.0f} ms, it was {first.p95:.0f} ms"
    return None
