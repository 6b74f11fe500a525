"""The page of a run: one HTML file that needs nothing else. Pure but for reading its templates.

Every figure comes from the document (`Results.to_json`); only words are written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from template import render
from texts import significant

from bench import plots, targets
from bench.plots import GROWN, Case, Plot, Plotter
from bench.results import Results

TEMPLATE = Path(__file__).with_name("report.html.jinja")
UNITS = {"gb": "GB", "ms": "ms", "us": "µs", "s": "s", "mb": "MB", "bytes": "bytes"}
HEADS = {"rate": "records/s", "cpu_us": "CPU of the client, µs a record"}
HEADS |= {f"p{n}_ms": f"{text}, ms" for n, text in (("50", "p50"), ("99", "p99"), ("999", "p99.9"))}
PRODUCING = ("plain", "callback", "batch", "columns", "one-by-one", "pipelined")
CONSUMING = ("consume", "consume-tuned", "poll", "poll-tuned", "getmany", "one-by-one", "read-1000")
"""Names of the cases that answer the same question, whatever the peer calls it."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """What is said above the plots of a chapter's cases, and how these are made."""

    id: str
    title: str
    lead: str
    plotters: Sequence[Plotter]
    caption: str = "bar: median of the rounds; whisker: lowest and highest round; each plot has its own scale"


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure for reading: the median, and below it the lowest and highest round, if they differ."""

    text: str
    spread: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`words` is how many of the heads, from the left, are of text."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: int


CHAPTERS = (
    Chapter(
        "produce",
        "Produce",
        "Records that one process sends in a second, until the server has acknowledged the last one. Keyed, 100 B,"
        " 4 partitions, unless a title says otherwise. Longer is better.",
        [plots.bars("rate", "records/s", side_by_side=PRODUCING)],
    ),
    Chapter(
        "consume",
        "Consume",
        "Records that one member of a consumer group is handed in a second, out of a log that was full before."
        " Longer is better.",
        [plots.bars("rate", "records/s", side_by_side=CONSUMING)],
    ),
    Chapter(
        "latency",
        "Latency from end to end",
        "From just before a record is sent to just after its consumer, in another process, was handed it."
        " Further left is better.",
        [plots.spans("p50_ms", "p99_ms", "p999_ms", "ms")],
        "dot p50, mark p99, end p99.9, in ms on a logarithmic axis",
    ),
    Chapter(
        "groups",
        "Consumer groups",
        "Records a second that all members of a group are handed together.",
        [plots.lines("rate", "records/s", "members")],
        "median of the rounds",
    ),
    Chapter(
        "rebalance",
        "Rebalancing",
        "How long a group needs, after one more member has joined, until every partition has its owner; and what the"
        " scripts behind it cost the server.",
        [
            plots.lines("join_ms", "ms until all is stable", "members", "partitions"),
            plots.bars("server_ms", "ms of server time"),
        ],
        "median of the rounds; whisker: lowest and highest round",
    ),
    Chapter(
        "memory",
        "Memory",
        "What a record takes in Redis, and what a client process takes. The mark on a bar is the payload: key and"
        " value. Shorter is better.",
        [
            plots.bars("bytes_per_record", "bytes of Redis a record", "payload_bytes"),
            plots.bars("loaded_mb", "MB of memory at its peak; mark: at rest", "rest_mb"),
        ],
    ),
    Chapter(
        "growth",
        "As the log grows",
        "Cost of an operation while the log becomes longer, to ten million records. Flat is good.",
        [plots.growth],
        "median of the rounds, over the number of records in the log, which is on a logarithmic axis",
    ),
    Chapter(
        "startup",
        "Start-up",
        "What a fresh interpreter needs. Shorter is better.",
        [plots.bars("ms", "ms")],
    ),
)


def page(document: Mapping[str, Any]) -> str:
    """The page of `Results.to_json`'s document."""
    rows = targets.rows(Results.from_json(document))
    return render(
        TEMPLATE,
        {"significant": significant, "plain": _plain, "head": head},
        document=document,
        targets=rows,
        tally=[(verdict, sum(row.verdict == verdict for row in rows)) for verdict in VERDICTS],
        chapters=[made for chapter in CHAPTERS if (made := _chapter(chapter, document["cases"]))],
    )


VERDICTS = ("met", "missed", "not measured")


def _chapter(chapter: Chapter, every: Sequence[Case]) -> dict[str, Any]:
    """Its plots and its table; nothing if the run has no case of it."""
    cases = [case for case in every if case["chapter"] == chapter.id]
    if not cases:
        return {}
    drawn: list[Plot] = [plot for plotter in chapter.plotters for plot in plotter(cases)]
    return {"about": chapter, "plots": drawn, "table": table(cases)}


# -- tables


def table(cases: Sequence[Case]) -> Table:
    """A row a case and a column a figure; figures of growth are spread over rows, a column a length."""
    figures = list(dict.fromkeys(figure for case in cases for figure in case["median"]))
    if any(GROWN.fullmatch(figure) for figure in figures):
        return _growth_table(cases)
    heads = ["what", "subject", *(head(figure) for figure in figures), "rounds"]
    rows = [
        [
            Cell(plots.title(case["name"])),
            Cell(case["subject"]),
            *(_cell(case, figure) for figure in figures),
            _rounds(case),
        ]
        for case in cases
    ]
    return Table(heads, rows, words=2)


def _growth_table(cases: Sequence[Case]) -> Table:
    found = {
        figure: match for case in cases for figure in case["median"] if (match := GROWN.fullmatch(figure))
    }
    powers = sorted({int(match["power"]) for match in found.values()})
    operations = list(dict.fromkeys((match["what"], match["server"] or "") for match in found.values()))
    rows = [
        [
            Cell(f"{what.replace('_', ' ')}, µs{' of the server' if server else ''}"),
            Cell(case["subject"]),
            *(_cell(case, f"{what}{server}_us_1e{power}") for power in powers),
            _rounds(case),
        ]
        for case in cases
        for what, server in operations
    ]
    lengths = [f"{significant(10.0**power, 1)} records" for power in powers]
    return Table(["operation", "subject", *lengths, "rounds"], rows, words=2)


def head(figure: str) -> str:
    """A figure's name for reading: the unit at its end after a comma."""
    if figure in HEADS:
        return HEADS[figure]
    name, _, unit = figure.rpartition("_")
    if unit in UNITS:
        return f"{name.replace('_', ' ')}, {UNITS[unit]}" if name else UNITS[unit]
    return figure.replace("_", " ")


def _cell(case: Case, figure: str) -> Cell:
    if figure not in case["median"]:
        return Cell("–")
    values = [found[figure] for found in case["rounds"] if figure in found]
    low, high = significant(min(values)), significant(max(values))
    return Cell(significant(case["median"][figure]), f"{low} – {high}" if low != high else "")


def _rounds(case: Case) -> Cell:
    """How many gave figures, and of how many if some did not."""
    good = sum(bool(figures) for figures in case["rounds"])
    return Cell(str(good) if good == len(case["rounds"]) else f"{good} of {len(case['rounds'])}")


def _plain(value: object) -> str:
    """Anything of the document's machine, versions and options."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if value is None or value == []:
        return "–"
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value)
    return str(value)
