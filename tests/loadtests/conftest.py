"""The benchmarks' modules are imported as `bench.*`, as loadtests/bench/run.py does."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

LOADTESTS = Path(__file__).resolve().parents[2] / "loadtests"
sys.path.insert(0, str(LOADTESTS))

ROUNDS = 3
RATES = {  # records/s; made up, and so is all below: of a likely size, with some targets met and some missed
    "produce/plain/streamadapter": 520_000,
    "produce/plain/confluent_kafka": 415_000,
    "produce/callback/streamadapter": 431_000,
    "produce/callback/confluent_kafka": 312_000,
    "produce/callback/aiokafka": 41_800,
    "produce/callback/streamadapter-pure": 254_000,
    "produce/batch/streamadapter": 1_640_000,
    "produce/batch/streamadapter-pure": 802_000,
    "produce/columns/streamadapter": 1_910_000,
    "produce/callback-64-partitions/streamadapter": 398_000,
    "produce/batch-64-partitions/streamadapter": 1_220_000,
    "produce/one-by-one/redis-py": 11_300,
    "produce/one-by-one/faststream": 4_180,
    "produce/pipelined/redis-py": 96_400,
    "produce/redis-benchmark/limit": 702_000,
    "produce/opaque-64k/limit": 2_480_000,
    "produce/codec/limit": 3_050_000,
    "consume/consume/streamadapter": 905_000,
    "consume/consume/confluent_kafka": 688_000,
    "consume/poll/streamadapter": 611_000,
    "consume/poll/confluent_kafka": 640_000,
    "consume/consume-tuned/confluent_kafka": 731_000,
    "consume/poll-tuned/confluent_kafka": 655_000,
    "consume/poll/streamadapter-pure": 497_000,
    "consume/64-partitions/streamadapter": 840_000,
    "consume/getmany/aiokafka": 145_000,
    "consume/one-by-one/redis-py": 9_870,
    "consume/one-by-one/faststream": 2_950,
    "consume/read-1000/redis-py": 172_000,
}
OTHERS: dict[str, dict[str, float]] = {
    "latency/1000-linger0/streamadapter": {
        "p50_ms": 0.61,
        "p99_ms": 1.48,
        "p999_ms": 3.9,
        "late_p99_ms": 0.2,
    },
    "latency/1000-linger0/confluent_kafka": {
        "p50_ms": 1.71,
        "p99_ms": 4.4,
        "p999_ms": 17.0,
        "late_p99_ms": 0.2,
    },
    "latency/1000-linger0/aiokafka": {"p50_ms": 2.05, "p99_ms": 6.1, "p999_ms": 21.5, "late_p99_ms": 0.3},
    "latency/1000-linger0/bare": {"p50_ms": 0.34, "p99_ms": 0.8, "p999_ms": 2.1, "late_p99_ms": 0.2},
    "rebalance/heartbeat-32x256/server": {"server_ms": 0.094},
    "rebalance/update-32x256/server": {"server_ms": 3.31},
    "memory/random-100/streamadapter": {"bytes_per_record": 129.0, "payload_bytes": 112.0},
    "memory/random-100/redis-py": {"bytes_per_record": 178.0, "payload_bytes": 112.0},
    "memory/json/streamadapter": {"bytes_per_record": 604.0, "payload_bytes": 571.0},
    "memory/json-zstd/streamadapter": {"bytes_per_record": 161.0, "payload_bytes": 571.0},
    "memory/json/redis-py": {"bytes_per_record": 668.0, "payload_bytes": 571.0},
    "memory/client/streamadapter": {
        "interpreter_mb": 9.6,
        "import_mb": 31.0,
        "rest_mb": 42.5,
        "loaded_mb": 188.0,
    },
    "memory/client/confluent_kafka": {
        "interpreter_mb": 9.6,
        "import_mb": 24.1,
        "rest_mb": 36.0,
        "loaded_mb": 241.0,
    },
    "startup/import/streamadapter": {"ms": 88.0},
    "startup/import/confluent_kafka": {"ms": 31.0},
    "startup/first-message/streamadapter": {"ms": 151.0, "deliver_ms": 118.0, "receive_ms": 33.0},
    "startup/first-message/confluent_kafka": {"ms": 3_390.0, "deliver_ms": 202.0, "receive_ms": 3_188.0},
}
GROWTH = {"append": 2.1, "tail_fetch": 118.0, "head_fetch": 122.0, "search": 61.0, "trim": 340.0}
GROWTH |= {f"{what}_server": cost / 2 for what, cost in GROWTH.items()}


@pytest.fixture
def made_up() -> Any:
    """`Results` with every chapter, three rounds a case; the document beside the cases is there too."""
    from bench.case import Case
    from bench.results import Results

    results = Results(
        {
            "machine": {
                "cores": 4,
                "cpu model": "AMD EPYC 7B13",
                "memory": "15.6 GB",
                "python": "3.11.2",
                "platform": "Linux-6.1.0-18-amd64-x86_64-with-glibc2.36",
                "load average at start": [0.08, 0.21, 0.3],
            },
            "versions": {"streamadapter": "0.1.0", "confluent-kafka": "2.16.0", "redis-server": "8.0.2"},
            "options": {"full": False, "rounds": ROUNDS, "records": None},
        }
    )
    chance = random.Random(1)

    def add(case_id: str, figures: dict[str, float], **arguments: float) -> None:
        chapter, name, subject = case_id.split("/")
        case = Case(
            chapter=chapter,
            name=name,
            subject=subject,
            server="kafka" if "kafka" in subject else "redis",
            function="made:up",
            arguments=arguments,
        )
        for speed in (1.0, 0.96, 1.05):
            results.add(
                case,
                {
                    name: value if name == "payload_bytes" else value * speed * chance.uniform(0.995, 1.005)
                    for name, value in figures.items()
                },
            )

    for case_id, rate in RATES.items():
        more = {"join_ms": 41.0} if case_id.startswith("consume/") else {}
        add(case_id, {"rate": rate, "cpu_us": 0.9e6 / rate, **more})
    for case_id, figures in OTHERS.items():
        add(case_id, figures)
    for consumers in (1, 2, 4, 8):
        for subject, rate in (("streamadapter", 905_000), ("confluent_kafka", 688_000)):
            add(
                f"groups/consumers-{consumers}/{subject}",
                {"rate": rate * min(consumers, 3) ** 0.7},
                members=consumers,
            )
    for members in (1, 8, 32):
        for partitions in (1, 16, 256):
            add(
                f"rebalance/join-{members}x{partitions}/streamadapter",
                {"join_ms": 20 + 4.2 * members + 0.2 * partitions},
                members=members,
                partitions=partitions,
            )
        if members > 1:
            add(
                f"rebalance/join-{members}x256/confluent_kafka",
                {"join_ms": 3_100 + 9.0 * members},
                members=members,
                partitions=256,
            )
    add(
        "growth/growth/streamadapter",
        {
            f"{what}_us_1e{power}": cost * (1 + 0.1 * (power - 4) if "search" in what else 1)
            for what, cost in GROWTH.items()
            for power in (4, 5, 6, 7)
        },
    )
    return results
