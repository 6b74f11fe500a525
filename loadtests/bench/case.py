"""What is measured: a case is one function, called in a process of its own with one server to itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Figures = dict[str, float]
"""What a case found, by name: `rate` in records/s, `cpu_us` a record; others end in their unit."""

ServerKind = Literal["redis", "kafka", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of a chapter's table.

    subject: the peer. function: "module:name"; it is called with `arguments` as keywords (JSON values only), and
    with `url` unless server is "none", and returns Figures. full: only with --full. rounds: instead of the run's.
    timeout_s: for one call; the process is killed after it. environment: variables for that process.
    """

    chapter: str
    name: str
    subject: str
    server: ServerKind
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    full: bool = False
    rounds: int | None = None
    timeout_s: float = 120.0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """chapter/name/subject; stable, the targets refer to it."""
        return f"{self.chapter}/{self.name}/{self.subject}"

    def at_most(self, records: int) -> Case:
        """The same with its argument `records`, if it has one, not above this."""
        if "records" not in self.arguments:
            return self
        return replace(self, arguments={**self.arguments, "records": min(records, self.arguments["records"])})


def both(chapter: str, name: str, function: str, *, full: bool = False, **arguments: Any) -> list[Case]:
    """streamadapter on Redis and confluent_kafka on Kafka: one function, which is told the module as `client`."""
    servers: dict[str, ServerKind] = {"streamadapter": "redis", "confluent_kafka": "kafka"}
    return [
        Case(
            chapter=chapter,
            name=name,
            subject=client,
            server=server,
            function=function,
            arguments={"client": client, **arguments},
            full=full,
        )
        for client, server in servers.items()
    ]


def with_more(cases: list[Case], more: list[Case]) -> list[Case]:
    """The cases, then those of `more` that are not among them."""
    known = {case.id for case in cases}
    return [*cases, *(case for case in more if case.id not in known)]


def pure(case: Case) -> Case:
    """The same without the compiled modules, which the run finds by PYTHONPATH."""
    return replace(case, subject=f"{case.subject}-pure", environment={"PYTHONPATH": ""})
