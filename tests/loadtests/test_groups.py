"""A small group on a real server, started at once."""

from __future__ import annotations

from bench import groups


def test_two_members_read_all_records_between_them(redis_url: str) -> None:
    # consume() fails unless each member is handed its whole share
    assert groups.consume(redis_url, "streamadapter", members=2, records=3200)["rate"] > 0
