"""What `make load` runs: a list of Locust commands. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

FLOOD_ORDERS = 50_000
CALIBRATION_USERS = 8
SHARE_OF_CAPACITY = 0.4  # steady load, of what the synchronous shop can do when it is pushed
MOST_PER_SECOND = 50
WARM_UP = 8.0  # seconds until the figures of an outage begin


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run of Locust: on which backend, with which options, and about how long it loads."""

    name: str
    title: str
    backend: str
    options: list[str] = field(default_factory=list)
    seconds: float = 0.0


def calibration(quick: bool) -> Scenario:
    """How many orders a second the synchronous shop does for users who do not pause."""
    seconds = 5 if quick else 10
    options = [
        "--architecture",
        "synchronous",
        "--pace",
        "0",
        "--tags",
        "place",
        *_users(CALIBRATION_USERS, seconds),
    ]
    return Scenario(
        "calibration", "calibration: what the synchronous shop can do", "embedded", options, seconds
    )


def steady_rate(capacity: float) -> int:
    """Orders a second of the comparison: both architectures must be able to do that at ease."""
    return max(5, min(MOST_PER_SECOND, int(capacity * SHARE_OF_CAPACITY) // 5 * 5))


def comparison(rate: int, quick: bool) -> list[Scenario]:
    """Both architectures, each steady and with an outage; then other backends, the flood, and the adapter alone."""
    steady, outage = (10.0, 10.0) if quick else (40.0, 30.0)
    start = WARM_UP + outage
    after = outage / 2 + 5
    outage_options = ["--shape", "outage", "--outage-start", str(start), "--outage-seconds", str(outage)]
    orders = FLOOD_ORDERS // 25 if quick else FLOOD_ORDERS
    scenarios = []
    for architecture, title in (("synchronous", "synchronous"), ("events", "event-driven")):
        which = ["--architecture", architecture]
        scenarios += [
            Scenario(
                f"{architecture}-steady",
                f"{title}, steady",
                "embedded",
                [*which, *_users(rate, steady)],
                steady,
            ),
            Scenario(
                f"{architecture}-outage",
                f"{title}, inventory stopped for {outage:.0f} s",
                "embedded",
                [*which, *outage_options, *_users(rate, start + outage + after)],
                start + outage + after,
            ),
        ]
    scenarios += [
        Scenario(
            f"{backend}-steady", f"event-driven on {backend}, steady", backend, _users(rate, steady), steady
        )
        for backend in ("redis", "kafka")
    ]
    flood = [
        "--pace",
        "0",
        "--tags",
        "place",
        "--orders",
        str(orders),
        "--processes",
        "2",
        "-u",
        "64",
        "-r",
        "64",
    ]
    scenarios.append(
        Scenario("flood", f"flood: {orders:,} orders", "embedded", [*flood, "-t", "600s"], orders / 700)
    )
    scenarios += [
        Scenario(
            f"broker-{backend}",
            f"the adapter alone, on {backend}",
            backend,
            ["--users-of", "broker", *_users(20 if quick else 50, steady / 2)],
            steady / 2,
        )
        for backend in ("embedded", "redis", "kafka")
    ]
    return scenarios


def _users(count: int, seconds: float) -> list[str]:
    return ["-u", str(count), "-r", str(max(10, count // 2)), "-t", f"{seconds:.0f}s"]
