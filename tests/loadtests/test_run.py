"""Which cases are run, in which order, and one real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.case import Case, both, with_more
from bench.run import LOADTESTS, MODULES, chosen, turns

from streamadapter.testing.kafka import LIBS_VARIABLE

EVERY = [case for module in MODULES for case in module.cases()]
NEEDED_BY_TARGETS = (
    "produce/plain/confluent_kafka",
    "produce/callback/streamadapter",
    "produce/callback-64-partitions/streamadapter",
    "produce/opaque-64k/limit",
    "consume/64-partitions/streamadapter",
    "consume/one-by-one/faststream",
    "memory/json-zstd/streamadapter",
    "startup/import/streamadapter",
)


def case(chapter: str, name: str, rounds: int | None = None) -> Case:
    return Case(chapter=chapter, name=name, subject="x", server="none", function="a:b", rounds=rounds)


def test_no_two_cases_have_one_id() -> None:
    ids = [case.id for case in EVERY]
    assert sorted(set(ids)) == sorted(ids)


@pytest.mark.parametrize("case_id", NEEDED_BY_TARGETS)
def test_what_the_targets_need_is_in_every_run(case_id: str) -> None:
    assert case_id in [case.id for case in chosen(EVERY, full=False, only=(), records=None)]


def test_arguments_of_cases_are_json() -> None:
    for each in EVERY:
        assert json.loads(json.dumps(dict(each.arguments))) == dict(each.arguments), each.id


def test_a_full_run_has_all_cases_and_only_narrows_either() -> None:
    assert chosen(EVERY, full=True, only=(), records=None) == EVERY
    found = chosen(EVERY, full=True, only=("produce/batch-json-zstd", "startup/import/redis"), records=None)
    assert [case.id for case in found] == [
        "produce/batch-json-zstd/streamadapter",
        "produce/batch-json-zstd/confluent_kafka",
        "startup/import/redis-py",
    ]
    assert [c.id for c in chosen(EVERY, full=False, only=("json-zstd",), records=None)] == [
        "memory/json-zstd/streamadapter"
    ]


def test_a_limit_of_records_makes_cases_smaller_never_larger() -> None:
    found = chosen(EVERY, full=True, only=(), records=12_000)
    counts = [case.arguments["records"] for case in found if "records" in case.arguments]
    assert max(counts) == 12_000
    assert min(counts) == min(case.arguments["records"] for case in EVERY if "records" in case.arguments)


def test_cases_of_a_chapter_take_turns_and_every_other_round_goes_backwards() -> None:
    cases = [case("a", "1"), case("a", "2"), case("b", "3"), case("a", "4", rounds=1)]
    assert [each.name for each in turns(cases, 2)] == ["1", "2", "4", "2", "1", "3", "3"]


def test_both_are_told_which_client_they_are() -> None:
    ours, theirs = both("produce", "plain", "a:b", records=5)
    assert (ours.server, ours.arguments) == ("redis", {"client": "streamadapter", "records": 5})
    assert (theirs.server, theirs.arguments) == ("kafka", {"client": "confluent_kafka", "records": 5})


def test_more_cases_do_not_replace_those_that_are_there() -> None:
    first, again = case("a", "1", rounds=1), case("a", "1")
    assert with_more([first], [again, case("a", "2")]) == [first, case("a", "2")]


def test_a_run_without_kafka_says_so_and_writes_the_rest_as_results_and_a_page(tmp_path: Path) -> None:
    # given
    only = ("produce/plain", "produce/batch/", "consume/poll/")
    options = [part for name in only for part in ("--only", name)]
    options += ["--rounds", "1", "--records", "2000", "--output", str(tmp_path / "out"), "--json", "-"]
    # when
    done = subprocess.run(
        [sys.executable, LOADTESTS / "bench" / "run.py", *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
        cwd=tmp_path,
        env={**os.environ, LIBS_VARIABLE: str(tmp_path)},
    )
    # then
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert json.loads(done.stdout) == document
    assert [case["id"] for case in document["cases"]] == [
        "produce/plain/streamadapter",
        "produce/batch/streamadapter",
        "produce/batch/streamadapter-pure",
        "consume/poll/streamadapter",
        "consume/poll/streamadapter-pure",
    ]
    assert all(
        case["median"]["rate"] > 0 and case["arguments"]["records"] == 2000 for case in document["cases"]
    )
    assert document["machine"]["cores"] >= 1
    assert document["versions"]["redis-server"]
    [note] = document["notes"]
    assert "Kafka are left out" in note
    assert "streamadapter.testing.kafka install" in note
    assert note.split(":")[0] in done.stderr
    assert "produce()" in (tmp_path / "out" / "report.html").read_text()
