"""Processes of cases end, whatever they do, and say why."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from bench.case import Case
from bench.peers.limits import _per_second
from bench.rig import CaseError, Rig, run
from bench.topic import new_topic

from streamadapter import AdminClient


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_the_figures_are_the_last_line() -> None:
    assert run(python("print('a warning'); print('{\"rate\": 2.5}')"), 60) == {"rate": 2.5}


def test_a_case_that_fails_says_why() -> None:
    with pytest.raises(CaseError, match=r"(?s)exit status 1.*no room"):
        run(python("raise MemoryError('no room')"), 60)


def test_a_case_that_prints_no_figures_has_failed() -> None:
    with pytest.raises(CaseError, match="no figures"):
        run(python("pass"), 60)


def test_a_case_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    # given a process and its child, which would both sleep
    pids = tmp_path / "pids"
    program = (
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    # when
    with pytest.raises(CaseError, match="did not end within 3 s"):
        run(python(program), 3)
    # then
    deadline = time.monotonic() + 30
    left = [int(pid) for pid in pids.read_text().split()]
    assert len(left) == 2
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if alive(pid)]
        time.sleep(0.01)
    assert not left


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return (
            not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
        )  # its parent's to bury
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_each_case_has_a_redis_of_its_own_and_nothing_stays() -> None:
    case = Case(
        chapter="memory",
        name="random",
        subject="redis-py",
        server="redis",
        function="bench.memory:redis_bare",
        arguments={"records": 1000, "values": "100"},
    )
    with Rig() as rig:
        figures = [rig.measure(case) for _ in range(2)]
        with rig.server("redis") as url:
            assert url is not None
            with new_topic(url, 3) as topic:
                admin = AdminClient({"bootstrap.servers": url})
                assert len(admin.list_topics(timeout=30).topics[topic].partitions) == 3
            assert topic not in admin.list_topics(timeout=30).topics
        with rig.server("none") as url:
            assert url is None
    assert [found["payload_bytes"] for found in figures] == [112.0, 112.0]
    assert all(100 < found["bytes_per_record"] < 300 for found in figures)


def test_redis_benchmarks_own_words_are_understood() -> None:
    said = '"test","rps","avg_latency_ms"\n"XADD orders * k customer-001 v vvv","338983.06","13.5"\n'
    assert _per_second(said) == 338983.06
