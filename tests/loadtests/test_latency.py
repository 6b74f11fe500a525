"""When the latency cases send, and what they make of what arrived."""

from __future__ import annotations

import time
from itertools import chain

import pytest
from bench import latency


@pytest.mark.parametrize("rate", [100, 1000, 20_000])
def test_every_record_is_sent_once_when_it_is_due_or_in_the_tick_after(rate: int) -> None:
    plan = list(latency.schedule(rate, 3, began=50.0))
    assert list(chain.from_iterable(numbers for _, numbers in plan)) == list(
        range(round(rate * (3 + latency.WARM_UP_S)))
    )
    for due, numbers in plan:
        assert due == pytest.approx(50 + numbers[0] / rate)
        assert numbers[-1] / rate - numbers[0] / rate < latency.TICK_S


def test_records_of_the_warm_up_carry_no_time_and_the_others_the_time_they_are_sent() -> None:
    first_counted = round(1000 * latency.WARM_UP_S)
    before = time.monotonic_ns()
    last_of_warm_up, first = (latency.value(n, 1000) for n in (first_counted - 1, first_counted))
    assert last_of_warm_up == latency.UNCOUNTED
    assert before <= int.from_bytes(first[:8], "big") <= time.monotonic_ns()
    assert len(first) == len(last_of_warm_up) == latency.VALUE_BYTES


def test_percentiles_are_observed_values_in_ms() -> None:
    delays = [ms * 1_000_000 for ms in range(1000, 0, -1)]
    assert latency.figures(delays, [0.0, 0.002]) == {
        "p50_ms": 500,
        "p99_ms": 990,
        "p999_ms": 999,
        "max_ms": 1000,
        "late_p99_ms": 2,
    }


def test_the_targets_cases_are_in_every_run() -> None:
    short = {case.id for case in latency.cases() if not case.full}
    assert short == {
        f"latency/1000-linger0/{peer}" for peer in ("streamadapter", "confluent_kafka", "aiokafka", "bare")
    }


def test_each_record_that_counts_is_received_in_another_process(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "WARM_UP_S", 0.1)
    found = latency.kafka_api(redis_url, rate=200, seconds=0.5, linger_ms=0, client="streamadapter")
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["p999_ms"] <= found["max_ms"] < 60_000


def test_a_receiver_that_has_died_is_noticed(redis_url: str) -> None:
    arguments = ("no_such_module", redis_url, "no-topic")
    with latency.Receiver(latency._poll, arguments, 1) as receiver, pytest.raises(EOFError):
        receiver.joined(60)
