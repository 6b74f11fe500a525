"""`streamadapter groups`: list, describe, delete and reset consumer groups, as kafka-consumer-groups does."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from streamadapter.admin import (
    AdminClient,
    ConsumerGroupDescription,
    ConsumerGroupListing,
    MemberAssignment,
)
from streamadapter.cli.common import (
    client_options,
    config_option,
    examples,
    one_action,
    print_json,
    print_table,
    reason,
    results,
    topic_partitions,
    use_config_file,
    warn,
)
from streamadapter.cli.reset_offsets import END, Strategy, choose_strategy, print_plan, reset_group

OFFSET_COLUMNS = (
    *("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"),
    *("CONSUMER-ID", "HOST", "CLIENT-ID"),
)
MEMBER_COLUMNS = ("GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS")
VERBOSE_MEMBER_COLUMNS = (
    *("GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS"),
    *("CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT"),
)
STATE_COLUMNS = ("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS")
LIST_STATE_COLUMNS = ("GROUP", "STATE")

_MISSING_PARTITION = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._NOENT)
"""What list_offsets says of a missing partition, depending on what else was asked for."""

_STATE_NAMES: dict[Enum, str] = {
    ConsumerGroupState.PREPARING_REBALANCING: "PreparingRebalance",
    ConsumerGroupState.COMPLETING_REBALANCING: "CompletingRebalance",
}


@click.command(
    epilog=examples(
        "streamadapter groups --list --state",
        "streamadapter groups --describe --group billing",
        "streamadapter groups --describe --all-groups --members --verbose",
        "streamadapter groups --reset-offsets --group billing --topic orders:0,1 --to-earliest",
        "streamadapter groups --reset-offsets --group billing --all-topics --by-duration PT2H --execute",
        "streamadapter groups --delete-offsets --group billing --topic orders",
    )
)
@click.option("--list", "list_", is_flag=True, help="List groups.")
@click.option("--describe", is_flag=True, help="Show offsets and lag (default), --members or --state.")
@click.option(
    "--delete", is_flag=True, help="Delete groups with their offsets; refused while they are active."
)
@click.option("--delete-offsets", is_flag=True, help="Forget the offsets of --topic.")
@click.option("--reset-offsets", is_flag=True, help="Plan new offsets; carried out with --execute.")
@click.option("--group", "names", multiple=True, help="The group; may be repeated.")
@click.option("--all-groups", is_flag=True, help="Every group.")
@click.option("--offsets", is_flag=True, help="With --describe: offsets and lag.")
@click.option("--members", is_flag=True, help="With --describe: members.")
@click.option(
    "--state",
    "states",
    is_flag=False,
    flag_value="",
    metavar="[STATE,...]",
    help="With --list: show states, or only groups in these; with --describe: the state.",
)
@click.option("--verbose", is_flag=True, help="With --members: assignments too.")
@click.option(
    "--topic", "topics", multiple=True, metavar="T[:P,...]", help="Topic, or some of its partitions."
)
@click.option("--all-topics", is_flag=True, help="Every topic the group has offsets of.")
@click.option("--to-earliest", is_flag=True, help="To the log start.")
@click.option("--to-latest", is_flag=True, help="To the log end.")
@click.option("--to-current", is_flag=True, help="To the committed offset (for --export).")
@click.option("--to-offset", type=click.IntRange(min=0), help="To this offset.")
@click.option(
    "--to-datetime", metavar="YYYY-MM-DDTHH:mm:SS.sss", help="To the first message at or after; UTC."
)
@click.option("--by-duration", metavar="PnDTnHnMnS", help="To the first message not older than that.")
@click.option("--shift-by", type=int, metavar="N", help="N messages on, or back if negative.")
@click.option("--from-file", type=click.Path(path_type=Path, exists=True), help="CSV of --export.")
@click.option("--execute", is_flag=True, help="Carry the reset out.")
@click.option("--dry-run", is_flag=True, help="Only show the plan; the default.")
@click.option("--export", is_flag=True, help="Print the plan as CSV.")
@click.option("--json", "as_json", is_flag=True, help="JSON for machines.")
@config_option
@client_options
def groups(conf: dict[str, Any], *, config_file: Path | None, as_json: bool, **flags: Any) -> None:
    """List, describe, delete and reset consumer groups (Kafka's kafka-consumer-groups)."""
    action = one_action(
        {
            "list": flags["list_"],
            "describe": flags["describe"],
            "delete": flags["delete"],
            "delete-offsets": flags["delete_offsets"],
            "reset-offsets": flags["reset_offsets"],
        }
    )
    names: tuple[str, ...] = flags["names"]
    if action != "list" and bool(names) == flags["all_groups"]:
        raise click.UsageError(f"--{action} needs either --group or --all-groups")
    strategy = choose_strategy(flags) if action == "reset-offsets" else None
    use_config_file(config_file)
    admin = AdminClient(conf)
    if flags["all_groups"]:
        names = tuple(sorted(listing.group_id for listing in _listings(admin)))
    if action == "list":
        _list(admin, flags["states"], as_json)
    elif action == "describe":
        _describe(admin, names, flags, as_json)
    elif action == "delete":
        _delete(admin, names)
    elif action == "delete-offsets":
        _delete_offsets(admin, names, flags["topics"])
    elif strategy is not None:
        _reset(admin, names, strategy, flags, as_json)


def state_name(state: Enum) -> str:
    """As Kafka's tools spell it: Stable, Empty, PreparingRebalance."""
    return _STATE_NAMES.get(state, state.name.capitalize())


# -- list, describe


def _listings(admin: AdminClient) -> list[ConsumerGroupListing]:
    """All groups. A coordinator that did not answer is a warning, if another one did."""
    found: Any = (
        admin.list_consumer_groups().result()
    )  # its errors are declared exceptions, but are KafkaErrors
    for error in found.errors:
        if not found.valid:
            raise KafkaException(error)
        warn(f"warning: {reason(KafkaException(error))}")
    return list(found.valid)


def _list(admin: AdminClient, states: str | None, as_json: bool) -> None:
    wanted = {state.strip().lower() for state in (states or "").split(",") if state.strip()}
    rows = [
        {"GROUP": listing.group_id, "STATE": state_name(listing.state)}
        for listing in sorted(_listings(admin), key=lambda listing: listing.group_id)
        if not wanted or state_name(listing.state).lower() in wanted
    ]
    if as_json:
        print_json(_json_rows(rows))
    elif states is None:
        for row in rows:
            click.echo(row["GROUP"])
    else:
        print_table(LIST_STATE_COLUMNS, rows)


def _describe(admin: AdminClient, names: Sequence[str], flags: dict[str, Any], as_json: bool) -> None:
    by_state = flags["states"] is not None
    if flags["members"] + flags["offsets"] + by_state > 1:
        raise click.UsageError("give at most one of --offsets, --members, --state")
    descriptions = results(admin.describe_consumer_groups(list(names))) if names else {}
    for group, description in descriptions.items():
        if description.state == ConsumerGroupState.DEAD:
            raise click.ClickException(f"Consumer group '{group}' does not exist.")
    rows: list[dict[str, Any]] = []
    for description in descriptions.values():
        if not description.members and not by_state:
            warn(f"Consumer group '{description.group_id}' has no active members.")
        if by_state:
            rows.append(_state_row(description))
        elif flags["members"]:
            rows += _member_rows(description)
        else:
            rows += _offset_rows(admin, description)
    columns: Sequence[str] = STATE_COLUMNS if by_state else OFFSET_COLUMNS
    if flags["members"]:
        columns = VERBOSE_MEMBER_COLUMNS if flags["verbose"] else MEMBER_COLUMNS
    if as_json:
        print_json(_json_rows([{column: row.get(column) for column in columns} for row in rows]))
        return
    for _, of_group in groupby(rows, key=lambda row: row["GROUP"]):
        click.echo()
        print_table(columns, of_group)


def _json_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same columns, as keys a program likes: CURRENT-OFFSET is current_offset."""
    return [
        {column.strip("#").split(" (")[0].replace("-", "_").lower(): value for column, value in row.items()}
        for row in rows
    ]


def _state_row(description: ConsumerGroupDescription) -> dict[str, Any]:
    node = description.coordinator
    return {
        "GROUP": description.group_id,
        "COORDINATOR (ID)": f"{node.host}:{node.port} ({node.id})" if node else None,
        "ASSIGNMENT-STRATEGY": description.partition_assignor,
        "STATE": state_name(description.state),
        "#MEMBERS": len(description.members),
    }


def _member_rows(description: ConsumerGroupDescription) -> list[dict[str, Any]]:
    return [
        {
            "GROUP": description.group_id,
            "CONSUMER-ID": member.member_id,
            "GROUP-INSTANCE-ID": member.group_instance_id,
            "HOST": member.host,
            "CLIENT-ID": member.client_id,
            "#PARTITIONS": len(member.assignment.topic_partitions),
            "CURRENT-ASSIGNMENT": _assignment(member.assignment),
            "TARGET-ASSIGNMENT": _assignment(member.target_assignment),
        }
        for member in description.members
    ]


def _assignment(assignment: MemberAssignment | None) -> str | None:
    if assignment is None:
        return None
    by_topic: dict[str, list[str]] = {}
    for tp in sorted(assignment.topic_partitions):
        by_topic.setdefault(tp.topic, []).append(str(tp.partition))
    return ";".join(f"{topic}:{','.join(partitions)}" for topic, partitions in by_topic.items())


def _offset_rows(admin: AdminClient, description: ConsumerGroupDescription) -> list[dict[str, Any]]:
    """One row for each partition that is assigned or has a committed offset."""
    group = description.group_id
    committed = committed_offsets(admin, group)
    owners = {
        (tp.topic, tp.partition): member
        for member in description.members
        for tp in member.assignment.topic_partitions
    }
    tps = sorted(committed.keys() | owners.keys())
    ends = _log_ends(admin, tps)
    rows = []
    for topic, partition in tps:
        current, end = committed.get((topic, partition)), ends.get((topic, partition))
        owner = owners.get((topic, partition))
        rows.append(
            {
                "GROUP": group,
                "TOPIC": topic,
                "PARTITION": partition,
                "CURRENT-OFFSET": current,
                "LOG-END-OFFSET": end,
                "LAG": None if current is None or end is None else max(0, end - current),
                "CONSUMER-ID": owner and owner.member_id,
                "HOST": owner and owner.host,
                "CLIENT-ID": owner and owner.client_id,
            }
        )
    return rows


def committed_offsets(admin: AdminClient, group: str) -> dict[tuple[str, int], int]:
    """(topic, partition) to the committed offset, of all that have one."""
    answer = results(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))[group]
    return {(tp.topic, tp.partition): tp.offset for tp in answer.topic_partitions or [] if tp.offset >= 0}


def _log_ends(admin: AdminClient, tps: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Log end offsets; a partition of a deleted topic has none."""
    asked = admin.list_offsets({TopicPartition(*tp): END for tp in tps}) if tps else {}
    ends = {}
    for tp, future in asked.items():
        try:
            ends[tp.topic, tp.partition] = future.result().offset
        except KafkaException as error:
            if error.args[0].code() not in _MISSING_PARTITION:
                raise
    return ends


# -- delete, reset


def _delete(admin: AdminClient, names: Sequence[str]) -> None:
    if not names:
        return
    results(admin.delete_consumer_groups(list(names)))
    quoted = ", ".join(f"'{name}'" for name in names)
    click.echo(f"Deletion of requested consumer groups ({quoted}) was successful.")


def _delete_offsets(admin: AdminClient, names: Sequence[str], topics: Sequence[str]) -> None:
    if not topics:
        raise click.UsageError("--delete-offsets needs --topic")
    for group in names:
        committed = committed_offsets(admin, group)
        tps = [
            TopicPartition(topic, partition)
            for topic, partitions in map(topic_partitions, topics)
            for partition in (partitions or sorted(p for t, p in committed if t == topic))
        ]
        if tps:
            results(admin.delete_consumer_group_offsets(group, tps))
        click.echo(f"Deleted {len(tps)} offsets of group '{group}'.")


def _reset(
    admin: AdminClient, names: Sequence[str], strategy: Strategy, flags: dict[str, Any], as_json: bool
) -> None:
    if flags["execute"] and flags["dry_run"]:
        raise click.UsageError("give --execute or --dry-run, not both")
    if strategy.file is None and bool(flags["topics"]) == flags["all_topics"]:
        raise click.UsageError("--reset-offsets needs either --topic or --all-topics")
    scope = [topic_partitions(text) for text in flags["topics"]]
    if not flags["execute"] and not flags["dry_run"] and not flags["export"]:
        warn("WARN: No action will be performed as the --execute option is missing.")
    for group in names:
        [description] = results(admin.describe_consumer_groups([group])).values()
        if description.members:
            state = state_name(description.state)
            raise click.ClickException(
                f"Assignments can only be reset if the group '{group}' is inactive, but the current state is "
                f"{state}."
            )
    committed = {group: committed_offsets(admin, group) for group in names}
    plans = {group: reset_group(admin, group, committed[group], scope, strategy) for group in names}
    if flags["execute"]:
        for group, plan in plans.items():
            tps = [TopicPartition(*tp, offset) for tp, offset in plan.items()]
            if tps:
                _alter(admin, group, tps)
    print_plan(plans, as_csv=flags["export"], as_json=as_json)


def _alter(admin: AdminClient, group: str, tps: list[TopicPartition]) -> None:
    answer = results(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, tps)]))[group]
    for tp in answer.topic_partitions or []:
        if tp.error is not None:
            raise click.ClickException(f"{tp.topic}-{tp.partition}: {reason(KafkaException(tp.error))}")
