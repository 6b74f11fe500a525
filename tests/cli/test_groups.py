"""`streamadapter groups` on a real server, with groups that real consumers made."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter import Consumer, Producer, TopicPartition
from streamadapter.admin import AdminClient, NewTopic
from streamadapter.registry import backend_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., Any]

DEADLINE_S = 60


@pytest.fixture
def topic(admin: AdminClient, conf: dict[str, str]) -> str:
    """Two partitions with ten messages each."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin.create_topics([NewTopic(name, 2)])[name].result(30)
    with Producer(conf) as producer:
        for partition in range(2):
            for i in range(10):
                producer.produce(
                    name, b"v%d" % i, partition=partition, timestamp=1_700_000_000_000 + i * 1000
                )
        assert producer.flush(DEADLINE_S) == 0
    return name


@pytest.fixture
def group(conf: dict[str, str], topic: str) -> str:
    """A group without members that committed offset 4 of partition 0, and 6 of partition 1."""
    name = f"g-{uuid.uuid4().hex[:8]}"
    with Consumer(conf | {"group.id": name}) as consumer:
        offsets = [TopicPartition(topic, 0, 4), TopicPartition(topic, 1, 6)]
        consumer.commit(offsets=offsets, asynchronous=False)
    return name


@pytest.fixture
def active_group(conf: dict[str, str], topic: str) -> Iterator[str]:
    """A group with one live member that owns both partitions."""
    name = f"a-{uuid.uuid4().hex[:8]}"
    with Consumer(
        conf | {"group.id": name, "client.id": "shop-7", "auto.offset.reset": "earliest"}
    ) as consumer:
        consumer.subscribe([topic])
        deadline = time.monotonic() + DEADLINE_S
        while len(consumer.assignment()) < 2:
            assert time.monotonic() < deadline, "no assignment"
            consumer.poll(0.1)
        yield name


def committed(run: Run, group: str) -> dict[int, int]:
    rows = run("groups", "--describe", "--group", group, "--json").json
    return {row["partition"]: row["current_offset"] for row in rows}


# -- list


def test_list_prints_names_and_with_state_a_table(run: Run, group: str, active_group: str) -> None:
    assert {group, active_group} <= set(run("groups", "--list").lines)

    header, *rows = [line.split() for line in run("groups", "--list", "--state").lines]
    assert header == ["GROUP", "STATE"]
    assert [group, "Empty"] in rows
    assert [active_group, "Stable"] in rows


def test_list_can_be_limited_to_states(run: Run, group: str, active_group: str) -> None:
    listed = {row["group"] for row in run("groups", "--list", "--state", "Empty", "--json").json}
    assert group in listed
    assert active_group not in listed


# -- describe


def test_describe_prints_the_columns_of_kafka_consumer_groups(run: Run, group: str, topic: str) -> None:
    outcome = run("groups", "--describe", "--group", group)

    blank, header, *rows = [line.split() for line in outcome.lines]
    assert blank == []
    assert header == [
        *("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"),
        *("CONSUMER-ID", "HOST", "CLIENT-ID"),
    ]
    assert rows == [
        [group, topic, "0", "4", "10", "6", "-", "-", "-"],
        [group, topic, "1", "6", "10", "4", "-", "-", "-"],
    ]
    assert outcome.err == f"Consumer group '{group}' has no active members.\n"


def test_describe_shows_who_owns_a_partition_though_nothing_is_committed(run: Run, active_group: str) -> None:
    rows = run("groups", "--describe", "--group", active_group, "--json").json
    assert [(row["partition"], row["client_id"]) for row in rows] == [(0, "shop-7"), (1, "shop-7")]
    assert {row["consumer_id"] for row in rows} != {None}


def test_describe_members(run: Run, active_group: str, topic: str) -> None:
    plain = run("groups", "--describe", "--group", active_group, "--members").lines[1:]
    verbose = run("groups", "--describe", "--group", active_group, "--members", "--verbose").lines[1:]

    assert plain[0].split() == ["GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS"]
    assert plain[1].split()[-2:] == ["shop-7", "2"]
    row = dict(zip(verbose[0].split(), verbose[1].split(), strict=True))
    assert row["GROUP-INSTANCE-ID"] == "-"
    assert row["CURRENT-ASSIGNMENT"] == f"{topic}:0,1"


def test_describe_state(run: Run, active_group: str) -> None:
    [row] = run("groups", "--describe", "--group", active_group, "--state", "--json").json
    assert (row["group"], row["state"], row["members"]) == (active_group, "Stable", 1)
    assert row["assignment_strategy"] in ("range", "roundrobin")


def test_describe_all_groups(run: Run, group: str, active_group: str) -> None:
    rows = run("groups", "--describe", "--all-groups", "--json").json
    assert {group, active_group} <= {row["group"] for row in rows}


def test_a_missing_group_is_an_error(run: Run) -> None:
    outcome = run("groups", "--describe", "--group", "nobody")
    assert (outcome.status, outcome.err) == (1, "error: Consumer group 'nobody' does not exist.\n")


# -- reset


def test_a_reset_is_a_dry_run_unless_executed(run: Run, group: str, topic: str) -> None:
    outcome = run("groups", "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest")

    assert [line.split() for line in outcome.lines] == [
        ["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"],
        [group, topic, "0", "0"],
        [group, topic, "1", "0"],
    ]
    assert "No action will be performed" in outcome.err
    assert committed(run, group) == {0: 4, 1: 6}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (["--to-earliest"], {0: 0, 1: 0}),
        (["--to-latest"], {0: 10, 1: 10}),
        (["--to-current"], {0: 4, 1: 6}),
        (["--to-offset", "5"], {0: 5, 1: 5}),
        (["--to-offset", "99"], {0: 10, 1: 10}),
        (["--shift-by", "-5"], {0: 0, 1: 1}),
        (["--shift-by", "3"], {0: 7, 1: 9}),
        (["--to-datetime", "2023-11-14T22:13:23.000"], {0: 3, 1: 3}),
        (["--to-datetime", "2023-11-14T23:13:23+01:00"], {0: 3, 1: 3}),
        (["--by-duration", "PT1H"], {0: 10, 1: 10}),
        (["--by-duration", "P36500D"], {0: 0, 1: 0}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_strategy_when_executed(
    run: Run, group: str, topic: str, strategy: list[str], expected: dict[int, int]
) -> None:
    outcome = run("groups", "--reset-offsets", "--group", group, "--topic", topic, *strategy, "--execute")

    assert outcome.status == 0
    assert committed(run, group) == expected


def test_the_scope_may_be_some_partitions_or_all_topics(run: Run, group: str, topic: str) -> None:
    run("groups", "--reset-offsets", "--group", group, "--topic", f"{topic}:1", "--to-latest", "--execute")
    assert committed(run, group) == {0: 4, 1: 10}

    run("groups", "--reset-offsets", "--group", group, "--all-topics", "--to-earliest", "--execute")
    assert committed(run, group) == {0: 0, 1: 0}


def test_an_export_can_be_read_back(run: Run, group: str, topic: str, directory: Path) -> None:
    exported = run("groups", "--reset-offsets", "--group", group, "--all-topics", "--to-current", "--export")
    assert exported.out == f"{topic},0,4\n{topic},1,6\n"
    (directory / "offsets.csv").write_text(exported.out)
    run("groups", "--reset-offsets", "--group", group, "--all-topics", "--to-latest", "--execute")

    run("groups", "--reset-offsets", "--group", group, "--from-file", "offsets.csv", "--execute")

    assert committed(run, group) == {0: 4, 1: 6}


def test_a_reset_is_refused_while_the_group_is_active(run: Run, active_group: str, topic: str) -> None:
    outcome = run(
        *("groups", "--reset-offsets", "--group", active_group),
        *("--topic", topic, "--to-earliest", "--execute"),
    )
    assert outcome.status == 1
    assert "can only be reset if the group" in outcome.err
    assert "the current state is Stable" in outcome.err


def test_a_group_can_be_made_by_a_reset(run: Run, topic: str) -> None:
    new = f"n-{uuid.uuid4().hex[:8]}"
    run("groups", "--reset-offsets", "--group", new, "--topic", topic, "--to-latest", "--execute")
    assert committed(run, new) == {0: 10, 1: 10}


# -- delete


def test_delete_offsets_of_a_topic_or_a_partition(
    run: Run, conf: dict[str, str], group: str, topic: str
) -> None:
    outcome = run("groups", "--delete-offsets", "--group", group, "--topic", f"{topic}:0")

    if backend_of(conf["bootstrap.servers"]).features.offset_deletion:
        assert (outcome.status, outcome.out) == (0, f"Deleted 1 offsets of group '{group}'.\n")
        assert committed(run, group) == {1: 6}
    else:
        assert (outcome.status, outcome.err.count("\n")) == (1, 1)
        assert outcome.err.endswith("[_UNSUPPORTED_FEATURE]\n")


def test_delete_forgets_the_group(run: Run, group: str) -> None:
    outcome = run("groups", "--delete", "--group", group)

    assert outcome.out == f"Deletion of requested consumer groups ('{group}') was successful.\n"
    assert group not in run("groups", "--list").lines


def test_an_active_group_is_not_deleted(run: Run, active_group: str) -> None:
    outcome = run("groups", "--delete", "--group", active_group)
    assert outcome.status == 1
    assert "[NON_EMPTY_GROUP]" in outcome.err


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--describe"],
        ["--describe", "--group", "g", "--all-groups"],
        ["--describe", "--group", "g", "--members", "--state"],
        ["--delete-offsets", "--group", "g"],
        ["--reset-offsets", "--group", "g", "--topic", "t"],
        ["--reset-offsets", "--group", "g", "--to-latest"],
        ["--reset-offsets", "--group", "g", "--topic", "t", "--to-latest", "--to-earliest"],
        ["--reset-offsets", "--group", "g", "--topic", "t:x", "--to-latest"],
        ["--reset-offsets", "--group", "g", "--topic", "t", "--by-duration", "2h"],
        ["--reset-offsets", "--group", "g", "--topic", "t", "--to-datetime", "yesterday"],
        ["--reset-offsets", "--group", "g", "--topic", "t", "--to-latest", "--execute", "--dry-run"],
    ],
    ids=str,
)
def test_wrong_usage_is_status_2_and_one_line(run: Run, args: list[str]) -> None:
    outcome = run("groups", *args)
    assert outcome.status == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
