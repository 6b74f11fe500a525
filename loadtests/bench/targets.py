"""What was promised, as data, and what a run found of it. Pure.

A ratio is the median over rounds of the ratio within a round (`Results.ratios`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from texts import significant

from bench.results import Results

Measure = Callable[[Results], Sequence[float]]
"""The value of each round that has it; none: not measured."""

SHORTEST, LONGEST = "1e4", "1e7"
"""Log lengths between which growth is judged, as they stand in the names of its figures."""
LOGARITHMIC = math.log(float(LONGEST)) / math.log(float(SHORTEST))
"""How much longer a search in sorted data takes in the longest log than in the shortest."""


@dataclass(frozen=True, slots=True)
class Target:
    """A line of the promise. `chapter` is where its figures are; `unit` stands behind `limit` and what is found."""

    name: str
    chapter: str
    bound: Literal["≥", "≤", "<"]
    limit: float
    unit: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class Row:
    """A target and what was found: the median of `rounds`. Not measured: `found` and `met` are None."""

    name: str
    chapter: str
    wanted: str
    found: float | None
    met: bool | None
    unit: str
    shown: str  # `found` for reading, with its unit
    rounds: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """For tables."""
        return {True: "met", False: "missed", None: "not measured"}[self.met]


def rows(results: Results) -> list[Row]:
    """Every target, in the order of TARGETS."""
    return [_row(target, tuple(target.measure(results))) for target in TARGETS]


def _row(target: Target, rounds: tuple[float, ...]) -> Row:
    wanted = f"{target.bound} {target.limit:g} {target.unit}"
    if not rounds:
        return Row(target.name, target.chapter, wanted, None, None, target.unit, "–", ())
    found = statistics.median(rounds)
    shown = f"{_apart(found, target.limit)} {target.unit}"
    return Row(target.name, target.chapter, wanted, found, _holds(target, found), target.unit, shown, rounds)


def _apart(found: float, limit: float) -> str:
    """In as many digits as it takes not to look like the limit: 1.298 is not 1.3."""
    digits = 3
    while digits < 9 and found != limit and float(f"{found:.{digits - 1}e}") == limit:
        digits += 1
    return significant(found, digits)


def _holds(target: Target, found: float) -> bool:
    match target.bound:
        case "≥":
            return found >= target.limit
        case "≤":
            return found <= target.limit
        case "<":
            return found < target.limit


# -- ways to measure


def _ratio(case: str, to: str, figure: str = "rate", *, percent: bool = False) -> Measure:
    scale = 100.0 if percent else 1.0
    return lambda results: [scale * ratio for ratio in results.ratios(case, to, figure)]


def _within(case: str, figure: str, to_figure: str) -> Measure:
    """Of two figures of one case."""
    return lambda results: results.ratios(case, case, figure, to_figure)


def _figure(case: str, figure: str) -> Measure:
    return lambda results: [found[figure] for found in results.rounds.get(case, []) if figure in found]


def _unevenness(what: str) -> Measure:
    """The dearest length of the log over the cheapest, within a round that has both ends."""

    def measure(results: Results) -> list[float]:
        found = []
        for figures in results.rounds.get(GROWTH, []):
            costs = {name: cost for name, cost in figures.items() if name.startswith(f"{what}_us_")}
            if {f"{what}_us_{SHORTEST}", f"{what}_us_{LONGEST}"} <= costs.keys():
                found.append(max(costs.values()) / min(costs.values()))
        return found

    return measure


OURS = (
    "produce/callback/streamadapter"  # what is compared with peers who know of each record that it was stored
)
BATCH = "produce/batch/streamadapter"
CONSUME = "consume/consume/streamadapter"
LATENCY = "latency/1000-linger0"
GROWTH = "growth/growth/streamadapter"

TARGETS = (
    Target(
        "produce() with a callback, 100 B, against confluent_kafka on Kafka",
        "produce",
        "≥",
        1.3,
        "×",
        _ratio(OURS, "produce/callback/confluent_kafka"),
    ),
    Target(
        "produce_batch(), against produce() of confluent_kafka on Kafka",
        "produce",
        "≥",
        3,
        "×",
        _ratio(BATCH, "produce/plain/confluent_kafka"),
    ),
    Target(
        "produce_batch(), of the rate at which Redis takes the same bytes in opaque batches of 64 kB",
        "produce",
        "≥",
        60,
        "%",
        _ratio(BATCH, "produce/opaque-64k/limit", percent=True),
    ),
    Target(
        "consume(), 100 B, against confluent_kafka on Kafka",
        "consume",
        "≥",
        1.5,
        "×",
        _ratio(CONSUME, "consume/consume/confluent_kafka"),
    ),
    Target(
        "poll(), 100 B, against confluent_kafka on Kafka",
        "consume",
        "≥",
        1,
        "×",
        _ratio("consume/poll/streamadapter", "consume/poll/confluent_kafka"),
    ),
    *(
        Target(
            f"{name}(), 100 B, against confluent_kafka tuned for it (beyond the promise)",
            "consume",
            "≥",
            limit,
            "×",
            _ratio(f"consume/{name}/streamadapter", f"consume/{name}-tuned/confluent_kafka"),
        )
        for name, limit in (("consume", 1.5), ("poll", 1))
    ),
    *(
        Target(
            f"{what}, compiled against pure Python",
            chapter,
            "≥",
            1.5,
            "×",
            _ratio(f"{case}/streamadapter", f"{case}/streamadapter-pure"),
        )
        for what, chapter, case in (
            ("produce() with a callback", "produce", "produce/callback"),
            ("produce_batch()", "produce", "produce/batch"),
            ("poll()", "consume", "consume/poll"),
        )
    ),
    Target(
        "produce() with a callback, against FastStream on Redis",
        "produce",
        "≥",
        30,
        "×",
        _ratio(OURS, "produce/one-by-one/faststream"),
    ),
    Target(
        "produce() with a callback, against redis-py one by one",
        "produce",
        "≥",
        30,
        "×",
        _ratio(OURS, "produce/one-by-one/redis-py"),
    ),
    Target(
        "produce() with a callback, against redis-py pipelined",
        "produce",
        "≥",
        4,
        "×",
        _ratio(OURS, "produce/pipelined/redis-py"),
    ),
    Target(
        "consume(), against FastStream on Redis",
        "consume",
        "≥",
        30,
        "×",
        _ratio(CONSUME, "consume/one-by-one/faststream"),
    ),
    Target(
        "consume(), against redis-py one by one",
        "consume",
        "≥",
        30,
        "×",
        _ratio(CONSUME, "consume/one-by-one/redis-py"),
    ),
    Target(
        "consume(), against redis-py reading 1,000 at a time",
        "consume",
        "≥",
        4,
        "×",
        _ratio(CONSUME, "consume/read-1000/redis-py"),
    ),
    *(
        Target(
            f"end-to-end {name} at 1,000 records/s, linger 0, against confluent_kafka on Kafka",
            "latency",
            "≤",
            0.5,
            "×",
            _ratio(f"{LATENCY}/streamadapter", f"{LATENCY}/confluent_kafka", f"{name}_ms"),
        )
        for name in ("p50", "p99")
    ),
    Target(
        "end-to-end p50 at 1,000 records/s, against bare XADD and blocking XREADGROUP",
        "latency",
        "≤",
        2,
        "×",
        _ratio(f"{LATENCY}/streamadapter", f"{LATENCY}/bare", "p50_ms"),
    ),
    Target(
        "memory of Redis for records of 100 B, against their keys and values",
        "memory",
        "≤",
        1.3,
        "×",
        _within("memory/random-100/streamadapter", "bytes_per_record", "payload_bytes"),
    ),
    Target(
        "memory of Redis for JSON orders with zstd, against one entry a record",
        "memory",
        "≤",
        0.25,
        "×",
        _ratio("memory/json-zstd/streamadapter", "memory/json/redis-py", "bytes_per_record"),
    ),
    *(
        Target(
            f"{name}, dearest over cheapest of logs from 10⁴ to 10⁷ records",
            "growth",
            "≤",
            1.15,
            "×",
            _unevenness(figure),
        )
        for name, figure in (("append", "append"), ("fetch at the tail", "tail_fetch"))
    ),
    Target(
        "offsets_for_times() in a log of 10⁷ records, against one of 10⁴; the limit is logarithmic growth",
        "growth",
        "≤",
        LOGARITHMIC,
        "×",
        _within(GROWTH, f"search_us_{LONGEST}", f"search_us_{SHORTEST}"),
    ),
    Target(
        "produce() with a callback, 64 partitions against 4",
        "produce",
        "≥",
        0.8,
        "×",
        _ratio("produce/callback-64-partitions/streamadapter", OURS),
    ),
    Target(
        "produce_batch(), 64 partitions against 4",
        "produce",
        "≥",
        0.8,
        "×",
        _ratio("produce/batch-64-partitions/streamadapter", BATCH),
    ),
    Target(
        "consume(), 64 partitions against 4",
        "consume",
        "≥",
        0.8,
        "×",
        _ratio("consume/64-partitions/streamadapter", CONSUME),
    ),
    *(
        Target(
            f"server time of the {name} script, 32 members and 256 partitions",
            "rebalance",
            "<",
            5,
            "ms",
            _figure(f"rebalance/{case}-32x256/server", "server_ms"),
        )
        for name, case in (("heartbeat", "heartbeat"), ("rebalance", "update"))
    ),
    Target("import streamadapter", "startup", "<", 150, "ms", _figure("startup/import/streamadapter", "ms")),
)
