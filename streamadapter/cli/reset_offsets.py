"""`groups --reset-offsets`: from a strategy and a scope to new offsets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from confluent_kafka import TopicPartition

from streamadapter.admin import AdminClient, OffsetSpec
from streamadapter.cli.common import REQUEST_TIMEOUT_S, print_json, print_table, results, warn

TP = tuple[str, int]
Scope = Sequence[tuple[str, list[int] | None]]
"""Topics, each with some of its partitions or None for all; empty: all that have a committed offset."""

START: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent_kafka leaves it untyped
END: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above

RESET_COLUMNS = ("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET")

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)
_FLAGS = (
    *("to_earliest", "to_latest", "to_current", "to_offset", "to_datetime"),
    *("by_duration", "shift_by", "from_file"),
)


@dataclass(frozen=True, slots=True)
class Strategy:
    """How the new offset of a partition is found. `name` is the flag; the field it needs is set."""

    name: str
    number: int = 0  # to_offset, shift_by
    timestamp_ms: int = 0  # to_datetime, by_duration
    file: Path | None = None


def choose_strategy(flags: Mapping[str, Any]) -> Strategy:
    """The one strategy among the command's flags. UsageError for none, two, or a value that makes no sense."""
    given = [name for name in _FLAGS if flags[name] is not None and flags[name] is not False]
    if len(given) != 1:
        raise click.UsageError(f"give exactly one of {', '.join('--' + f.replace('_', '-') for f in _FLAGS)}")
    [name] = given
    value = flags[name]
    if name in ("to_offset", "shift_by"):
        return Strategy(name, number=value)
    if name == "to_datetime":
        return Strategy(name, timestamp_ms=_milliseconds(parse_datetime(value)))
    if name == "by_duration":
        return Strategy(name, timestamp_ms=_milliseconds(datetime.now(UTC) - parse_duration(value)))
    return Strategy(name, file=value if name == "from_file" else None)


def _milliseconds(moment: datetime) -> int:
    """Not negative: to Kafka such a timestamp is no time, but one end of the log, or an error."""
    return max(0, int(moment.timestamp() * 1000))


def parse_datetime(text: str) -> datetime:
    """ISO 8601; UTC if it has no offset, as in Kafka's tools. UsageError otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--to-datetime: expected YYYY-MM-DDTHH:mm:SS.sss, not {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """ISO 8601 PnDTnHnMnS. UsageError otherwise."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise click.UsageError(f"--by-duration: expected PnDTnHnMnS, for example PT30M, not {text!r}")
    days, hours, minutes, seconds = (float(number or 0) for number in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def reset_group(
    admin: AdminClient, group: str, committed: Mapping[TP, int], scope: Scope, strategy: Strategy
) -> dict[TP, int]:
    """New offsets of one group, within each log's limits; nothing is written."""
    if strategy.file is not None:
        asked = read_plan(strategy.file, group)
        tps = sorted(asked)
    else:
        asked = {}
        tps = _in_scope(admin, committed, scope)
    starts, ends = _offsets(admin, tps, START), _offsets(admin, tps, END)
    by_time = strategy.name in ("to_datetime", "by_duration")
    found = _offsets(admin, tps, OffsetSpec.for_timestamp(strategy.timestamp_ms)) if by_time else {}
    plan = {}
    for tp in tps:
        wanted = (
            asked[tp]
            if asked
            else new_offset(strategy, starts[tp], ends[tp], committed.get(tp), found.get(tp))
        )
        plan[tp] = min(max(wanted, starts[tp]), ends[tp])
        if plan[tp] != wanted:
            warn(
                f"WARN: New offset ({wanted}) of {tp[0]}-{tp[1]} is outside its log "
                f"({starts[tp]} to {ends[tp]}). Value will be set to {plan[tp]}"
            )
    return plan


def new_offset(strategy: Strategy, start: int, end: int, committed: int | None, found: int | None) -> int:
    """What the strategy asks for, perhaps outside the log. A pure function.

    found: the first offset at or after the strategy's time, -1 if there is none. Without a committed offset a
    shift begins at the log start, and "current" is the log end, as in Kafka's tool.
    """
    match strategy.name:
        case "to_earliest":
            return start
        case "to_latest":
            return end
        case "to_offset":
            return strategy.number
        case "shift_by":
            return (start if committed is None else committed) + strategy.number
        case "to_current":
            return end if committed is None else committed
        case _:
            return end if found is None or found < 0 else found


def _in_scope(admin: AdminClient, committed: Mapping[TP, int], scope: Scope) -> list[TP]:
    if not scope:
        return sorted(committed)
    known = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    tps: set[TP] = set()
    for topic, partitions in scope:
        if topic not in known:
            raise click.ClickException(f"Topic '{topic}' does not exist.")
        existing = known[topic].partitions
        for partition in existing if partitions is None else partitions:
            if partition not in existing:
                raise click.ClickException(f"Topic '{topic}' has no partition {partition}.")
            tps.add((topic, partition))
    return sorted(tps)


def _offsets(admin: AdminClient, tps: Sequence[TP], spec: OffsetSpec) -> dict[TP, int]:
    if not tps:
        return {}
    answers = results(admin.list_offsets({TopicPartition(*tp): spec for tp in tps}))
    return {(tp.topic, tp.partition): answer.offset for tp, answer in answers.items()}


def read_plan(path: Path, group: str) -> dict[TP, int]:
    """CSV of topic,partition,offset (any group) or group,topic,partition,offset. ClickException if it is not."""
    plan = {}
    with path.open(newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                *of_group, topic, partition, offset = row
                tp, new = (topic, int(partition)), int(offset)
            except ValueError:
                raise click.ClickException(
                    f"{path}:{number}: expected [group,]topic,partition,offset"
                ) from None
            if not of_group or of_group == [group]:
                plan[tp] = new
    return plan


def print_plan(plans: Mapping[str, Mapping[TP, int]], *, as_csv: bool, as_json: bool) -> None:
    """As a table, JSON, or CSV that --from-file reads (with the group if there are several)."""
    rows = [(group, *tp, offset) for group, plan in plans.items() for tp, offset in plan.items()]
    if as_json:
        print_json(
            [dict(zip(("group", "topic", "partition", "new_offset"), row, strict=True)) for row in rows]
        )
    elif as_csv:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(row if len(plans) > 1 else row[1:] for row in rows)
        click.echo(text.getvalue(), nl=False)
    else:
        print_table(RESET_COLUMNS, (dict(zip(RESET_COLUMNS, row, strict=True)) for row in rows))
