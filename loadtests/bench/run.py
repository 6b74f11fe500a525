"""`make bench`: streamadapter beside its peers and its limits, in one run; a page and a file of results.

    python loadtests/bench/run.py                     # what the targets need, some five minutes
    python loadtests/bench/run.py --full              # all of it, some forty
    python loadtests/bench/run.py --only consume --only produce/callback --rounds 9

The results are build/bench/report.html and results.json. A missed target is a result; exit status 1 means that a case
gave no figures.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if __name__ == "__main__":
    sys.path[0] = str(
        Path(__file__).resolve().parent.parent
    )  # not loadtests/bench, whose modules would be found by anybody's import

from bench import consume, groups, growth, latency, memory, produce, rebalance, startup
from bench.case import Case
from bench.machine import machine, versions
from bench.page import CHAPTERS, page, table
from bench.results import Results
from bench.rig import CaseError, Rig, why_no_kafka
from bench.targets import Row, rows

LOADTESTS = Path(__file__).resolve().parent.parent
BUILD = LOADTESTS.parent / "build" / "bench"
MODULES = (produce, consume, latency, groups, rebalance, memory, growth, startup)


@click.command(
    epilog="Example: python loadtests/bench/run.py --rounds 5 --only produce/plain --only produce/batch"
)
@click.option("--full", is_flag=True, help="All of the work, not only what the targets need.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Turns of each case.")
@click.option("--only", multiple=True, help="Only cases with this in chapter/name/subject; repeatable.")
@click.option("--records", type=click.IntRange(100), help="At most so many a case: to see that it works.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write the results here, too (-: to stdout, instead of the tables).",
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=BUILD, show_default=True)
def main(
    full: bool, rounds: int, only: tuple[str, ...], records: int | None, json_path: Path | None, output: Path
) -> None:
    """Measure, print tables, and write a page and the results."""
    output, json_path = (
        output.absolute(),
        json_path and (json_path if str(json_path) == "-" else json_path.absolute()),
    )
    os.chdir(LOADTESTS.parent)  # Kafka's jars are found from here
    quiet = str(json_path) == "-"
    console, notices = Console(width=None if Console().is_terminal else 140), Console(stderr=True)
    no_kafka = why_no_kafka()
    cases = chosen([case for module in MODULES for case in module.cases()], full, only, records)
    if not cases:
        raise click.UsageError(f"no case has {' or '.join(only)} in it; --full knows more")
    notes = []
    if no_kafka and any(case.server == "kafka" for case in cases):
        notes.append(f"Cases on Kafka are left out: {no_kafka}")
        notices.print(notes[0], highlight=False)
        cases = [case for case in cases if case.server != "kafka"]
    results = Results(
        {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(no_kafka),
            "options": {"full": full, "rounds": rounds, "only": list(only), "records": records},
        }
    )
    failed = _measure(cases, rounds, results, notices)
    results.document["notes"] = notes + failed
    document = results.to_json()
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1) + "\n"
    (output / "results.json").write_text(text, encoding="utf-8")
    (output / "report.html").write_text(page(document), encoding="utf-8")
    if json_path is not None:
        with click.open_file(str(json_path), "w", encoding="utf-8") as file:
            file.write(text)
    if not quiet:
        _print(document, rows(results), console)
        console.print(f"report: {output / 'report.html'}", soft_wrap=True, highlight=False)
    sys.exit(1 if failed else 0)


def chosen(cases: Sequence[Case], full: bool, only: Sequence[str], records: int | None) -> list[Case]:
    """Those that the options name, made smaller if they say so."""
    found = [
        case
        for case in cases
        if (full or not case.full) and (not only or any(part in case.id for part in only))
    ]
    return found if records is None else [case.at_most(records) for case in found]


def turns(cases: Sequence[Case], rounds: int) -> Iterator[Case]:
    """The order of measuring: chapter by chapter, round by round; every other round goes backwards.

    So peers are measured close to each other in time, and none of them always comes behind the same one.
    """
    for chapter in dict.fromkeys(case.chapter for case in cases):
        for number in range(rounds):
            turn = [case for case in cases if case.chapter == chapter and number < (case.rounds or rounds)]
            yield from turn if number % 2 == 0 else reversed(turn)


def _measure(cases: Sequence[Case], rounds: int, results: Results, console: Console) -> list[str]:
    """Fill the results; returns a line for each case that gave no figures in some round."""
    failed: list[str] = []
    order = list(turns(cases, rounds))
    columns = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")]
    with Progress(*columns, console=console) as progress, Rig() as rig:
        task = progress.add_task("starting", total=len(order))
        for case in order:
            progress.update(task, description=case.id)
            try:
                results.add(case, rig.measure(case))
            except CaseError as error:
                results.add(case, {})
                failed.append(f"{case.id} gave no figures: {error}")
                progress.console.print(failed[-1], style="red", markup=False, highlight=False)
            progress.advance(task)
        progress.update(task, description="")
    return failed


def _print(document: dict[str, Any], targets: Sequence[Row], console: Console) -> None:
    for chapter in CHAPTERS:
        made = table([case for case in document["cases"] if case["chapter"] == chapter.id])
        if not made.rows:
            continue
        shown = Table(title=chapter.title)
        for place, head in enumerate(made.heads):
            shown.add_column(head, justify="left" if place < made.words else "right")
        for cells in made.rows:
            shown.add_row(*(cell.text for cell in cells))
        console.print(shown)
    verdicts = Table("target", "wanted", "found", "", title="Targets")
    colours = {True: "green", False: "red", None: "dim"}
    for row in targets:
        verdicts.add_row(row.name, row.wanted, row.shown, f"[{colours[row.met]}]{row.verdict}")
    console.print(verdicts)
    facts = {**document["machine"], **document["versions"]}
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)


if __name__ == "__main__":
    main()
