"""Durations, dates and strategies of `groups --reset-offsets`: pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
import pytest

from streamadapter.cli.reset_offsets import Strategy, new_offset, parse_datetime, parse_duration, read_plan

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("P1D", timedelta(days=1)),
        ("PT2H", timedelta(hours=2)),
        ("P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        ("pt30m", timedelta(minutes=30)),
    ],
)
def test_iso_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "P", "PT", "1h", "P1H", "PT-1H"])
def test_what_is_no_duration_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_duration(text)


def test_a_date_without_an_offset_is_utc() -> None:
    assert parse_datetime("2024-01-02T03:04:05.678") == datetime(2024, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("strategy", "committed", "found", "offset"),
    [
        (Strategy("to_earliest"), 5, None, 2),
        (Strategy("to_latest"), 5, None, 9),
        (Strategy("to_current"), 5, None, 5),
        (Strategy("to_current"), None, None, 9),
        (Strategy("to_offset", number=7), None, None, 7),
        (Strategy("shift_by", number=-3), 5, None, 2),
        (Strategy("shift_by", number=1), None, None, 3),
        (Strategy("to_datetime", timestamp_ms=1), 5, 4, 4),
        (Strategy("by_duration", timestamp_ms=1), 5, -1, 9),
    ],
    ids=str,
)
def test_the_new_offset_of_each_strategy(
    strategy: Strategy, committed: int | None, found: int | None, offset: int
) -> None:
    assert new_offset(strategy, start=2, end=9, committed=committed, found=found) == offset


def test_a_plan_with_groups_is_read_for_one_group(tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("a,t,0,5\nb,t,0,6\n")
    assert read_plan(file, "b") == {("t", 0): 6}


def test_a_bad_line_of_a_plan_is_named(tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("t,0,5\nt,zero,6\n")
    with pytest.raises(click.ClickException, match=r"plan\.csv:2: expected"):
        read_plan(file, "b")
