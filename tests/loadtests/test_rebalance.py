"""When the rebalance cases take a group for stable; and one small group on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench.rebalance import SCRIPTS, Ownership, cases, join, server_time

from streamadapter.testing.servers import RedisServer, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def url(need_server: Callable[[type[Server]], None], tmp_path: Path) -> Iterator[str]:
    """Of a server that nobody else uses, since its statistics are read."""
    need_server(RedisServer)
    with RedisServer(tmp_path) as server:
        yield server.url


@pytest.fixture
def owners() -> Ownership:
    """Of three partitions; two members have been told what they own."""
    found = Ownership(3)
    for member, owned in (("a", [0, 2]), ("b", [1])):
        found.expect(member)
        found.tell(member, owned, 1.0)
    return found


def test_a_group_is_whole_when_each_partition_has_one_owner(owners: Ownership) -> None:
    assert owners.whole()
    owners.tell("b", [], 2.0)  # has given up, and nobody has taken over
    assert not owners.whole()
    assert owners.changed_at == 2.0
    owners.tell("b", [1, 2], 3.0)  # two have partition 2
    assert not owners.whole()


def test_a_member_that_has_not_been_told_anything_keeps_the_group_from_being_whole(
    owners: Ownership,
) -> None:
    owners.expect("c")
    assert not owners.whole()
    owners.tell("c", [], 2.0)  # more members than partitions
    assert owners.whole()


def test_who_leaves_owns_something(owners: Ownership) -> None:
    owners.tell("a", [], 2.0)
    assert owners.owner() == "b"


def test_a_group_on_a_real_server_settles_after_a_member_joined_and_after_one_left(
    url: str,
) -> None:
    found = join(url, "streamadapter", members=3, partitions=4)
    assert found.keys() == {"join_ms", "leave_ms"}
    assert all(0 < ms < 60_000 for ms in found.values())


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_server_tells_what_a_script_costs(url: str, script: str) -> None:
    found = server_time(url, script, members=2, partitions=4)
    assert all(ms > 0 for ms in found.values())


def test_what_the_targets_need_is_in_every_run() -> None:
    assert {case.id for case in cases() if not case.full} == {
        "rebalance/join-32x256/streamadapter",
        "rebalance/heartbeat-32x256/server",
        "rebalance/update-32x256/server",
    }
