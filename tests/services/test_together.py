"""The parts of a service live and die together."""

from __future__ import annotations

import threading
from threading import Event

import pytest

from streamstore.database import StoppedError
from streamstore.together import run_together


def _wait(stop: Event) -> None:
    assert stop.wait(60)


def _stopped(stop: Event) -> None:
    assert stop.wait(60)
    raise StoppedError


def test_all_parts_leave_when_told() -> None:
    stop = Event()
    began: list[int] = []

    def last(leave: Event) -> None:
        began.append(1)
        stop.set()
        _wait(leave)

    run_together({"one": _wait, "other": _stopped, "last": last}, stop)

    assert began == [1]
    assert {"one", "other", "last"}.isdisjoint(thread.name for thread in threading.enumerate())


def test_a_part_that_fails_ends_the_others_and_its_error_is_raised() -> None:
    left = Event()

    def leaves(leave: Event) -> None:
        _wait(leave)
        left.set()

    def fails(_leave: Event) -> None:
        raise ValueError("it cannot go on")

    with pytest.raises(ValueError, match="cannot go on"):
        run_together({"one": leaves, "other": fails}, Event())

    assert left.is_set()
