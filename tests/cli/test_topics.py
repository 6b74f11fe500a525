"""`streamadapter topics` on a real server."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., Any]


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


def test_create_then_list(run: Run, topic: str) -> None:
    created = run("topics", "--create", "--topic", topic, "--partitions", "3")

    assert (created.status, created.out, created.err) == (0, f"Created topic {topic}.\n", "")
    assert topic in run("topics", "--list").lines
    assert topic in run("topics", "--list", "--json").json


def test_describe_prints_the_columns_of_kafka_topics(run: Run, topic: str) -> None:
    run("topics", "--create", "--topic", topic, "--partitions", "2", "--config", "retention.ms=1000")

    head, *partitions = run("topics", "--describe", "--topic", topic).lines

    cells = dict(cell.split(": ", 1) for cell in head.split("\t"))
    assert list(cells) == ["Topic", "TopicId", "PartitionCount", "ReplicationFactor", "Configs"]
    assert cells["Topic"] == topic
    assert cells["PartitionCount"] == "2"
    assert cells["Configs"] == "retention.ms=1000"
    assert [
        line.startswith(f"\tTopic: {topic}\tPartition: {i}\tLeader: ") for i, line in enumerate(partitions)
    ] == [
        True,
        True,
    ]
    assert [cell.split(":")[0] for cell in partitions[0].strip().split("\t")] == [
        *("Topic", "Partition", "Leader", "Replicas", "Isr"),
    ]


def test_describe_as_json(run: Run, topic: str) -> None:
    run("topics", "--create", "--topic", topic, "--partitions", "2", "--config", "retention.ms=1000")

    [described] = run("topics", "--describe", "--topic", topic, "--json").json

    assert described["topic"] == topic
    assert described["configs"] == {"retention.ms": "1000"}
    assert [partition["partition"] for partition in described["partitions"]] == [0, 1]


def test_creating_an_existing_topic_fails_unless_that_is_allowed(run: Run, topic: str) -> None:
    run("topics", "--create", "--topic", topic)

    again = run("topics", "--create", "--topic", topic)
    allowed = run("topics", "--create", "--topic", topic, "--if-not-exists")

    assert again.status == 1
    assert again.err.startswith("error: ")
    assert again.err.endswith("[TOPIC_ALREADY_EXISTS]\n")
    assert again.err.count("\n") == 1
    assert (allowed.status, allowed.out) == (0, "")


def test_alter_adds_partitions_and_changes_configs(run: Run, topic: str) -> None:
    run("topics", "--create", "--topic", topic, "--config", "retention.ms=1000")

    altered = run(
        *("topics", "--alter", "--topic", topic, "--partitions", "4"),
        *("--config", "retention.bytes=9", "--delete-config", "retention.ms"),
    )

    assert altered.status == 0
    [described] = run("topics", "--describe", "--topic", topic, "--json").json
    assert len(described["partitions"]) == 4
    assert described["configs"] == {"retention.bytes": "9"}


def test_partitions_cannot_become_fewer(run: Run, topic: str) -> None:
    run("topics", "--create", "--topic", topic, "--partitions", "4")

    fewer = run("topics", "--alter", "--topic", topic, "--partitions", "2")

    assert fewer.status == 1
    assert "[INVALID_PARTITIONS]" in fewer.err


def test_delete_takes_a_regular_expression(run: Run, topic: str) -> None:
    for name in (f"{topic}-a", f"{topic}-b", topic):
        run("topics", "--create", "--topic", name)

    assert run("topics", "--delete", "--topic", f"{topic}-.*").status == 0

    left = run("topics", "--list").lines
    assert topic in left
    assert f"{topic}-a" not in left
    assert f"{topic}-b" not in left


def test_a_name_that_exists_is_not_taken_for_a_regular_expression(run: Run, topic: str) -> None:
    for name in (f"{topic}.x", f"{topic}-x"):
        run("topics", "--create", "--topic", name)

    run("topics", "--delete", "--topic", f"{topic}.x")

    assert f"{topic}-x" in run("topics", "--list").lines


@pytest.mark.parametrize("action", ["--describe", "--delete", "--alter"])
def test_a_missing_topic_is_an_error_unless_that_is_allowed(run: Run, topic: str, action: str) -> None:
    more = ["--partitions", "2"] if action == "--alter" else []

    missing = run("topics", action, "--topic", topic, *more)
    allowed = run("topics", action, "--topic", topic, "--if-exists", *more)

    assert (missing.status, missing.err) == (1, f"error: Topic '{topic}' does not exist as expected\n")
    assert (allowed.status, allowed.out, allowed.err) == (0, "", "")


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--list", "--describe"],
        ["--create"],
        ["--alter", "--topic", "t"],
        ["--create", "--topic", "t", "--partitions", "0"],
        ["--create", "--topic", "t", "--delete-config=x=", "--config", "=1"],
        ["--nonsense"],
        ["--describe", "--topic", "("],
    ],
    ids=str,
)
def test_wrong_usage_is_status_2_and_one_line(run: Run, args: list[str]) -> None:
    outcome = run("topics", *args)
    assert outcome.status == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1


def test_an_unknown_topic_config_is_refused_with_the_nearest(run: Run, topic: str) -> None:
    outcome = run("topics", "--create", "--topic", topic, "--config", "retention.msx=1")
    assert outcome.status == 1
    assert "retention.ms" in outcome.err
