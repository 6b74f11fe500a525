"""What is measured of logs of several lengths: figures by name, and the calls on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench import growth

from streamadapter.testing.servers import RedisServer, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


KINDS = ("append", "tail_fetch", "head_fetch", "search", "trim")


@pytest.fixture
def url(need_server: Callable[[type[Server]], None], tmp_path: Path) -> Iterator[str]:
    """Of a server that nobody else uses, since its statistics are read."""
    need_server(RedisServer)
    with RedisServer(tmp_path, {"appendonly": "yes"}) as server:
        yield server.url


@pytest.mark.parametrize(("length", "text"), [(10**4, "1e4"), (10**7, "1e7")])
def test_a_length_is_a_power_of_ten_in_the_names_of_figures(length: int, text: str) -> None:
    assert growth.label(length) == text


def test_each_kind_of_call_has_its_figures_and_the_logs_keep_their_length(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "BLOCKS", 3)
    # the calls check what they are answered: offsets, the batch asked for, the new beginning
    found = growth.measure(url, records=10_000)
    assert found.keys() == {f"{kind}_{unit}_1e4" for kind in KINDS for unit in ("us", "server_us")}
    assert all(value > 0 for value in found.values())
