"""The supervisor's decisions, without a process."""

from __future__ import annotations

import pytest

from streamstore.running.child import STOP_SECONDS
from streamstore.running.plan import FIRST_DELAY, LONGEST_DELAY, STEADY_SECONDS, Plan, Verb


def _states(plan: Plan) -> dict[str, str]:
    return {id_: state for view in plan.views() for id_, state in view.instances}


def _started(counts: dict[str, int], now: float = 0.0) -> Plan:
    plan = Plan(counts, now)
    for verb, instance in plan.due(now):
        assert verb is Verb.START
        plan.came_up(instance)
    return plan


def test_every_instance_is_started_once_and_runs_when_it_has_come_up() -> None:
    plan = Plan({"order": 1, "billing": 2, "chat": 0}, 0.0)
    assert set(_states(plan).values()) == {"waiting"}

    assert plan.due(0.0) == [
        (Verb.START, "order-1"),
        (Verb.START, "billing-1"),
        (Verb.START, "billing-2"),
    ]
    assert plan.due(0.0) == []
    assert plan.starting() == ["order-1", "billing-1", "billing-2"]

    plan.came_up("billing-1")
    assert _states(plan) == {"order-1": "starting", "billing-1": "running", "billing-2": "starting"}


def test_a_crash_is_counted_and_restarted_after_a_delay_that_doubles_up_to_a_limit() -> None:
    plan = _started({"billing": 1})
    delays = []
    now = 0.0
    for _ in range(12):
        delay = plan.ended("billing-1", now)
        assert delay is not None
        delays.append(delay)
        assert plan.due(now + delay * 0.99) == []
        assert _states(plan) == {"billing-1": "waiting"}
        now += delay
        assert plan.due(now) == [(Verb.START, "billing-1")]

    assert delays[:4] == [FIRST_DELAY * 2**n for n in range(4)]
    assert delays[-1] == LONGEST_DELAY
    assert plan.views()[0].restarts == 12


def test_after_a_steady_while_the_delays_begin_anew() -> None:
    plan = _started({"billing": 1})
    plan.ended("billing-1", 0.0)
    assert plan.ended("billing-1", 0.0) == 2 * FIRST_DELAY
    plan.due(1.0)

    assert plan.ended("billing-1", 1.0 + STEADY_SECONDS) == FIRST_DELAY


def test_a_stopped_service_leaves_and_stays_down_without_being_counted() -> None:
    plan = _started({"billing": 2})
    plan.stop("billing")

    assert plan.due(0.0) == [(Verb.TERMINATE, "billing-1"), (Verb.TERMINATE, "billing-2")]
    assert not plan.is_idle("billing")
    assert [plan.ended(id_, 1.0) for id_ in ("billing-1", "billing-2")] == [None, None]

    assert plan.due(100.0) == []
    assert plan.is_idle("billing")
    assert plan.views()[0].restarts == 0
    assert _states(plan) == {"billing-1": "stopped", "billing-2": "stopped"}


def test_what_does_not_leave_in_time_is_killed_once() -> None:
    plan = _started({"billing": 1})
    plan.stop("billing")
    plan.due(0.0)

    assert plan.due(STOP_SECONDS - 0.1) == []
    assert plan.due(STOP_SECONDS) == [(Verb.KILL, "billing-1")]
    assert plan.due(STOP_SECONDS + 1) == []


def test_in_a_hurry_it_is_killed_sooner() -> None:
    plan = _started({"billing": 1})
    plan.stop_all()
    plan.due(0.0)
    plan.hurry(2.0)

    assert plan.due(2.0) == [(Verb.KILL, "billing-1")]


def test_a_service_is_started_with_as_many_as_before_but_at_least_one() -> None:
    plan = _started({"billing": 2, "chat": 0})
    plan.stop("billing")
    plan.due(0.0)
    for id_ in ("billing-1", "billing-2"):
        plan.ended(id_, 0.0)

    plan.start("billing", 1.0)
    plan.start("chat", 1.0)

    assert plan.due(1.0) == [(Verb.START, "billing-1"), (Verb.START, "billing-2"), (Verb.START, "chat-1")]


def test_one_that_is_wanted_again_while_it_leaves_is_started_once_it_has_left() -> None:
    plan = _started({"billing": 1})
    plan.stop("billing")
    plan.due(0.0)
    plan.start("billing", 1.0)

    assert plan.due(1.0) == []
    assert plan.alive("billing") == []
    plan.ended("billing-1", 2.0)
    assert plan.due(2.0) == [(Verb.START, "billing-1")]
    assert plan.views()[0].restarts == 0


def test_scaling_starts_what_is_missing_and_drops_the_highest_numbers() -> None:
    plan = _started({"billing": 2})
    plan.scale("billing", 4, 1.0)
    assert plan.due(1.0) == [(Verb.START, "billing-3"), (Verb.START, "billing-4")]

    plan.scale("billing", 1, 2.0)
    leaving = ["billing-2", "billing-3", "billing-4"]
    assert plan.due(2.0) == [(Verb.TERMINATE, id_) for id_ in leaving]
    for id_ in leaving:
        plan.ended(id_, 3.0)
    plan.due(3.0)

    assert _states(plan) == {"billing-1": "running"}


def test_a_service_that_does_not_exist_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Plan({"billing": 1}, 0.0).stop("bakery")
