"""The suite's pytest plugin: options, fixtures, and the report of what was run on which backend.

An entry point (`pytest11`), since pytest does not look for options in the conftest of a package named by --pyargs.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter.testing.contract import Subject, area_and_title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamadapter.testing.contract.lab import Lab

pytest.register_assert_rewrite(
    *(f"{__package__}.{path.stem}" for path in Path(__file__).parent.glob("test_*.py")),
    f"{__package__}.lab",
    f"{__package__}.offsets",
    f"{__package__}.rebalances",
)

_PROPERTY = "contract"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options."""
    options = parser.getgroup("streamadapter contract suite")
    options.addoption("--backend-url", metavar="URL", help="the server to run the contract suite on")
    options.addoption(
        "--contract-report", metavar="FILE", help="write what was run on which backend, as JSON"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect results where they all arrive: not in the workers of pytest-xdist."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Results(config), "streamadapter-contract-results")


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Subject:
    """What is under test; a backend's own tests override it."""
    url = request.config.getoption("--backend-url")
    if not url:
        pytest.exit(
            "give --backend-url URL, or a fixture `subject` that returns a Subject",
            pytest.ExitCode.USAGE_ERROR,
        )
    return Subject(url)


@pytest.fixture
def lab(subject: Subject, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The scenario's laboratory."""
    area, title = area_and_title(request.function)
    scenario = {"backend": subject.features.name, "server": subject.server, "area": area, "scenario": title}
    request.node.user_properties.append((_PROPERTY, scenario))
    from streamadapter.testing.contract.lab import Lab  # not when pytest starts, for tests of something else

    for name in (area, request.function.__name__):
        if name in subject.unsupported:
            pytest.skip(f"{subject.server}: {subject.unsupported[name]}")
    lab = Lab(subject, tmp_path)
    yield lab
    lab.close()


class _Results:
    """Outcomes by backend and scenario; a scenario with parameters has one, the worst."""

    _RANK = ("passed", "skipped", "failed")

    def __init__(self, config: pytest.Config) -> None:
        self._path = config.getoption("--contract-report")
        self._outcomes: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._servers: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one phase of one test."""
        scenario = dict(report.user_properties).get(_PROPERTY)
        if not isinstance(scenario, dict) or (report.when != "call" and report.passed):
            return
        key = (scenario["backend"], scenario["area"], scenario["scenario"])
        self._servers[scenario["backend"]] = scenario["server"]
        reason = ""
        if report.skipped:
            reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
            reason = reason.removeprefix("Skipped: ")
        before = self._outcomes.get(key, ("passed", ""))
        now = (report.outcome, reason)
        self._outcomes[key] = max(before, now, key=lambda outcome: self._RANK.index(outcome[0]))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Scenarios a backend, and why some were skipped."""
        if not self._outcomes:
            return
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for (backend, _, _), (outcome, _) in self._outcomes.items():
            counts[backend][outcome] += 1
        terminalreporter.section("contract suite: scenarios a backend")
        for backend, count in sorted(counts.items()):
            terminalreporter.write_line(
                f"{backend:<12}" + ", ".join(f"{count[outcome]} {outcome}" for outcome in self._RANK)
            )
        for (backend, area, scenario), (outcome, reason) in sorted(self._outcomes.items()):
            if outcome == "skipped":
                terminalreporter.write_line(f"skipped on {backend}: {area}: {scenario} ({reason})")

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        if self._path:
            rows = [
                {
                    "backend": backend,
                    "server": self._servers[backend],
                    "area": area,
                    "scenario": scenario,
                    "outcome": outcome,
                    "reason": reason,
                }
                for (backend, area, scenario), (outcome, reason) in sorted(self._outcomes.items())
            ]
            lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
            Path(self._path).write_text(f"[\n{lines}\n]\n")
