"""`make load`: both architectures under the same load, other backends, a flood; one report.

    python loadtests/load/run.py             # some ten minutes
    python loadtests/load/run.py --quick     # two: short runs, to see that everything works
    python loadtests/load/run.py --only flood

Each run is a Locust of its own with a shop of its own. The report is build/load/report.html and report.json, the
logs are beside it. Exit status 1 if something that must be shown was not (see `checks.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

LOADTESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(LOADTESTS))  # as Locust does for the locustfile's directory

from load.checks import Check, checks  # noqa: E402 - after the path
from load.journal import count_acknowledged  # noqa: E402 - as above
from load.report import page  # noqa: E402 - as above
from load.scenarios import Scenario, calibration, comparison, steady_rate  # noqa: E402 - as above
from streamadapter.testing.kafka import KafkaServer  # noqa: E402 - as above
from streamadapter.testing.servers import RedisServer  # noqa: E402 - as above

SLACK_SECONDS = 400.0  # a run may take so much longer than its load: start, drain, comparison
BUILD = LOADTESTS.parent / "build" / "load"


class RunError(click.ClickException):
    """A run gave no figures; the text says where its log is."""


@click.command()
@click.option("--quick", is_flag=True, help="Short runs: whether it works, not how fast it is.")
@click.option(
    "--rate", type=click.IntRange(1), help="Orders a second of the steady load; default: calibrated."
)
@click.option("--only", multiple=True, help="Only runs whose name has this in it; repeatable.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=BUILD, show_default=True)
def main(quick: bool, rate: int | None, only: tuple[str, ...], output: Path) -> None:
    """Compare the architectures and the backends under load, and write a report."""
    console = Console()
    output.mkdir(parents=True, exist_ok=True)
    with _Bench(output, console) as bench:
        capacity = None
        if rate is None:
            run = bench.run(calibration(quick))
            capacity = run["windows"]["steady"]["per_second"]
            rate = steady_rate(capacity)
            console.print(
                f"the synchronous shop does {capacity:.0f} orders/s; the steady load is {rate} orders/s"
            )
        chosen = [s for s in comparison(rate, quick) if not only or any(part in s.name for part in only)]
        runs = {scenario.name: bench.run(scenario) for scenario in chosen}
        titles = {scenario.name: scenario.title for scenario in chosen}
    found = checks(runs)
    report = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "rate": rate,
        "capacity_synchronous": capacity,
        "machine": next(iter(runs.values()))["machine"],
        "titles": titles,
        "checks": [_as_json(check) for check in found],
        "runs": runs,
    }
    (output / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (output / "report.html").write_text(page(report), encoding="utf-8")
    console.print(_table(found))
    console.print(f"report: {output / 'report.html'}", soft_wrap=True)
    sys.exit(0 if all(check.passed for check in found) else 1)


class _Bench:
    """Runs scenarios one after the other; servers start when the first scenario needs them."""

    def __init__(self, output: Path, console: Console) -> None:
        self._output = output
        self._console = console
        self._stack = ExitStack()
        self._configs: dict[str, Path] = {}

    def __enter__(self) -> Self:
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        (self._output / "logs").mkdir(exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, scenario: Scenario) -> Any:
        """The figures. Raises RunError if there are none."""
        place = self._directory / scenario.name
        result, log = place.with_suffix(".json"), self._output / "logs" / f"{scenario.name}.log"
        users = [] if "--users-of" in scenario.options else ["--users-of", "order"]
        command = [sys.executable, "-m", "locust", "-f", str(LOADTESTS / "locustfile.py"), "--headless"]
        command += ["--only-summary", "--exit-code-on-error", "0", *users, *scenario.options]
        command += ["--shop-config", str(self._config(scenario.backend)), "--shop-dir", str(place)]
        with log.open("wb") as file, self._progress(scenario, place) as show:
            process = subprocess.Popen(
                [*command, "--result", str(result)], stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
            try:
                _await(process, time.monotonic() + scenario.seconds + SLACK_SECONDS, show)
            finally:
                _end(process)
        if not result.exists():
            raise RunError(f"{scenario.name} gave no figures: {log}")
        figures = json.loads(result.read_text(encoding="utf-8"))
        self._console.print(_line(scenario, figures), highlight=False, soft_wrap=True)
        return figures

    def _config(self, backend: str) -> Path:
        """A config file for the backend, its server started. Nothing in it but which server it is."""
        if backend not in self._configs:
            lines = [f'backend = "{backend}"']
            if backend == "redis":
                server = self._stack.enter_context(
                    RedisServer(self._directory / "redis-server", REDIS_OPTIONS)
                )
                lines += ["[redis]", f'url = "{server.url}"']
            elif backend == "kafka":
                with self._console.status("starting Kafka"):
                    broker = self._stack.enter_context(KafkaServer(self._directory / "kafka-server"))
                lines += ["[kafka]", f'"bootstrap.servers" = "{broker.bootstrap_servers}"']
            lines += ["[producer]", '"linger.ms" = 0', ""]
            path = self._directory / f"{backend}.toml"
            path.write_text("\n".join(lines), encoding="utf-8")
            self._configs[backend] = path
        return self._configs[backend]

    @contextmanager
    def _progress(self, scenario: Scenario, place: Path) -> Iterator[Any]:
        columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
        with Progress(
            *columns, TextColumn("{task.fields[said]}"), console=self._console, transient=True
        ) as progress:
            task = progress.add_task(scenario.title, total=max(scenario.seconds, 1), said="starting")
            began: list[float] = []

            def show() -> None:
                if not began and (place / "journals").exists():
                    began.append(time.monotonic())
                elapsed = time.monotonic() - began[0] if began else 0.0
                orders = count_acknowledged(place / "journals")
                said = f"{orders} acknowledged" if orders else ("" if began else "starting")
                progress.update(task, completed=elapsed, said=said)

            yield show


REDIS_OPTIONS = {"appendonly": "yes", "appendfsync": "everysec"}  # as the embedded server


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM lets Locust judge and stop its shop; SIGKILL if that takes too long."""
    process.terminate()
    try:
        process.wait(SLACK_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await(process: subprocess.Popen[bytes], deadline: float, show: Any) -> None:
    while process.poll() is None and time.monotonic() < deadline:
        show()
        time.sleep(0.5)


def _line(scenario: Scenario, run: Any) -> str:
    name, window = next(iter(run["windows"].items()))
    failed = sum(row["failed"] for row in run["requests"].values())
    total = sum(row["requests"] for row in run["requests"].values())
    words = [f"[bold]{scenario.title}[/]:", f"{window['per_second']:.0f}/s"]
    if window["p50"] is not None:
        words.append(
            f"p50 {window['p50']:.1f}, p95 {window['p95']:.1f}, p99 {window['p99']:.1f} ms ({name});"
        )
    words.append(f"{'[red]' if failed else ''}{failed} of {total} requests failed{'[/]' if failed else ''};")
    if run["verification"] is not None:
        found = run["verification"]
        words.append(
            f"{found['acknowledged']} acknowledged, {found['lost']} missing, drained in {run['drain_seconds']} s"
        )
    return " ".join(words)


def _as_json(check: Check) -> dict[str, Any]:
    return {"what": check.what, "seen": check.seen, "passed": check.passed}


def _table(found: list[Check]) -> Table:
    table = Table("must be shown", "seen", "", title="Checks")
    for check in found:
        table.add_row(check.what, check.seen, "[green]yes" if check.passed else "[red]NO")
    return table


if __name__ == "__main__":
    os.chdir(LOADTESTS.parent)
    main()
