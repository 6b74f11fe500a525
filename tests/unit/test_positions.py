from __future__ import annotations

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, OFFSET_STORED, KafkaError
from hypothesis import given
from hypothesis import strategies as st

from streamadapter.backend import Committed, LogState
from streamadapter.engine import positions
from streamadapter.engine.positions import Start
from streamadapter.errors import StoreError

NAME = "t [0]"
POLICIES = ("earliest", "latest", "error")
LOG = LogState("log-1", 10, 20, ((3, 0), (5, 12), (8, 16)))


@st.composite
def logs(draw: st.DrawFn) -> LogState:
    """A log with any limits, and epochs that begin in rising order at or below its end."""
    start = draw(st.integers(0, 50))
    end = draw(st.integers(start, start + 50))
    epochs = sorted(draw(st.sets(st.integers(0, 9), max_size=4)))
    firsts = sorted(draw(st.lists(st.integers(0, end), min_size=len(epochs), max_size=len(epochs))))
    return LogState("log-1", start, end, tuple(zip(epochs, firsts, strict=True)))


def resolve(
    wanted: int, committed: Committed | None = None, policy: str = "earliest", log: LogState = LOG
) -> Start:
    return positions.resolve(NAME, wanted, committed, log, policy)


def code(problem: StoreError | None) -> int | None:
    return problem.code if problem else None


# -- logical offsets


@pytest.mark.parametrize(
    ("wanted", "offset"),
    [(OFFSET_BEGINNING, 10), (OFFSET_END, 20), (-2000, 20), (-2003, 17), (-2010, 10), (-2011, 10), (13, 13)],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_asked_for_wins_over_commit_and_policy(wanted: int, offset: int, policy: str) -> None:
    assert resolve(wanted, Committed(15), policy) == Start(offset)


@pytest.mark.parametrize("wanted", [OFFSET_STORED, OFFSET_INVALID])
def test_stored_and_invalid_mean_the_committed_offset(wanted: int) -> None:
    assert resolve(wanted, Committed(15, 5, None, "log-1")) == Start(15, 5)


@pytest.mark.parametrize(("policy", "offset"), [("earliest", 10), ("latest", 20)])
@pytest.mark.parametrize("committed", [None, Committed(OFFSET_INVALID)])
def test_without_a_commit_the_policy_decides_and_there_is_nothing_to_tell(
    policy: str, offset: int, committed: Committed | None
) -> None:
    assert resolve(OFFSET_STORED, committed, policy) == Start(offset)


def test_without_a_commit_the_policy_error_raises() -> None:
    with pytest.raises(StoreError) as caught:
        resolve(OFFSET_STORED, None, "error")

    assert caught.value.code == KafkaError._AUTO_OFFSET_RESET
    assert "no committed offset" in caught.value.reason


# -- what cannot be read


@pytest.mark.parametrize(
    ("committed", "reason"),
    [
        (Committed(15, 5, None, "log-0"), KafkaError._LOG_TRUNCATION),
        (Committed(15, 3, None, "log-1"), KafkaError._LOG_TRUNCATION),  # epoch 5 began at 12, below 15
        (Committed(21, 8, None, "log-1"), KafkaError._LOG_TRUNCATION),  # the end is at 20
        (Committed(21), KafkaError.OFFSET_OUT_OF_RANGE),
        (Committed(9), KafkaError.OFFSET_OUT_OF_RANGE),
        (Committed(12, 3, None, "log-1"), None),  # all of epoch 3 was read
        (Committed(16, 5, None, "log-1"), None),
        (Committed(10), None),
        (Committed(20), None),
    ],
)
def test_a_committed_offset_is_used_only_if_the_log_still_has_what_was_read(
    committed: Committed, reason: int | None
) -> None:
    for policy, reset in (("earliest", LOG.start), ("latest", LOG.end)):
        found = resolve(OFFSET_STORED, committed, policy)

        assert code(found.notice) == reason
        assert found.offset == (committed.offset if reason is None else reset)
    if reason is not None:
        with pytest.raises(StoreError) as caught:
            resolve(OFFSET_STORED, committed, "error")
        assert caught.value.code == KafkaError._AUTO_OFFSET_RESET


def test_the_number_of_skipped_records_is_told() -> None:
    notice = resolve(4).notice

    assert notice is not None
    assert "6 records were deleted" in notice.reason


@given(logs(), st.integers(0, 120), st.integers(-1, 9), st.sampled_from(("earliest", "latest")))
def test_a_start_is_always_within_the_log(log: LogState, offset: int, epoch: int, policy: str) -> None:
    committed = Committed(offset, epoch, None, "log-1")

    for wanted in (OFFSET_STORED, OFFSET_BEGINNING, OFFSET_END, offset, -2000 - offset):
        found = positions.resolve(NAME, wanted, committed, log, policy)
        assert log.start <= found.offset <= log.end


@given(logs(), st.integers(0, 120), st.integers(-1, 9))
def test_a_position_is_read_on_exactly_if_nothing_is_wrong_with_it(
    log: LogState, offset: int, epoch: int
) -> None:
    problem = positions.check(NAME, offset, epoch, "log-1", log)

    found = positions.verify(NAME, offset, epoch, "log-1", log, "earliest")

    assert (found.notice is None) == (problem is None)
    if problem is None:
        assert found.offset == offset
    else:
        assert found.offset == log.start


@given(logs(), st.integers(0, 120), st.integers(0, 9))
def test_after_a_look_that_found_nothing_the_next_look_finds_nothing(
    log: LogState, offset: int, epoch: int
) -> None:
    """So a reader that is sent to look because of a newer epoch gets on."""
    found = positions.verify(NAME, offset, epoch, "log-1", log, "earliest")

    again = positions.verify(NAME, found.offset, found.leader_epoch, "log-1", log, "earliest")

    assert again == Start(found.offset, again.leader_epoch)
    newest = max((e for e, first in log.epochs if first <= found.offset), default=-1)
    assert again.leader_epoch >= newest


def test_unknown_epoch_and_log_are_not_held_against_a_position() -> None:
    assert positions.check(NAME, 15, -1, "", LOG) is None
    assert positions.check(NAME, 15, -1, "log-1", LOG) is None
    assert code(positions.check(NAME, 15, -1, "log-0", LOG)) == KafkaError._LOG_TRUNCATION
