"""The servers, and the processes that use them.

Redis: a fresh standalone redis-server for each case, appendonly yes, appendfsync everysec. Kafka: one broker for the
run, as Kafka ships it, and a new topic a case.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.case import Case, Figures, ServerKind
from streamadapter.testing.kafka import KafkaServer, jars
from streamadapter.testing.servers import RedisServer

if TYPE_CHECKING:
    from types import TracebackType

CHILD = Path(__file__).with_name("child.py")
REDIS_OPTIONS = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}
# Defaults of Kafka's that the broker for tests changes. `group.initial.rebalance.delay.ms` stays 0 instead of 3 s:
# no clock runs meanwhile, so it would only make the run longer.
KAFKA_OPTIONS = {
    "broker.session.timeout.ms": "9000",
    "broker.heartbeat.interval.ms": "2000",
    "offsets.topic.num.partitions": "50",
    "log.cleaner.dedupe.buffer.size": str(128 * 1024 * 1024),
}
# What kafka-server-start.sh and kafka-run-class.sh start the JVM with.
KAFKA_JVM = (
    *("-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
    *(
        "-XX:InitiatingHeapOccupancyPercent=35",
        "-XX:+ExplicitGCInvokesConcurrent",
        "-Djava.awt.headless=true",
    ),
)

# A broker that runs for months has compiled its code; one that has just been started interprets it.
KAFKA_WARM_UP = Case(
    chapter="rig",
    name="warm-up",
    subject="kafka",
    server="kafka",
    function="bench.peers.kafka_api:consume",
    arguments={"client": "confluent_kafka", "records": 500_000, "at_once": 1000},
)


class CaseError(Exception):
    """A case gave no figures; the text is the end of what it said."""


class ShippedKafka(KafkaServer):
    """A broker with the JVM and the settings that Apache Kafka ships."""

    def _command(self) -> list[str]:
        classpath = f"{jars.locate()}/*"
        return [
            jars.java(),
            *KAFKA_JVM,
            "-cp",
            classpath,
            "kafka.Kafka",
            str(self.directory / "server.properties"),
        ]


class Rig:
    """Servers for cases, one case at a time. Kafka starts when the first case needs it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._kafka: ShippedKafka | None = None

    def __enter__(self) -> Self:
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextmanager
    def server(self, kind: ServerKind) -> Iterator[str | None]:
        """The URL of such a server, for bootstrap.servers (of Kafka HOST:PORT, for its own clients); None for none."""
        if kind == "redis":
            with (
                tempfile.TemporaryDirectory(dir=self._directory) as directory,
                RedisServer(Path(directory), REDIS_OPTIONS) as redis,
            ):
                yield redis.url
        elif kind == "kafka":
            if self._kafka is None:
                self._kafka = self._stack.enter_context(
                    ShippedKafka(self._directory / "kafka", KAFKA_OPTIONS)
                )
                _call(self._kafka.bootstrap_servers, KAFKA_WARM_UP)
            yield self._kafka.bootstrap_servers
        else:
            yield None

    def measure(self, case: Case) -> Figures:
        """One round of a case, in a process of its own. Raises CaseError; bounded by the case's timeout_s."""
        with self.server(case.server) as url:
            return _call(url, case)


def why_no_kafka() -> str | None:
    """Why no broker can be started, in a line that says what to do; None if one can."""
    try:
        ShippedKafka.binary()
    except FileNotFoundError as error:
        return str(error)
    return None


def _call(url: str | None, case: Case) -> Figures:
    arguments = dict(case.arguments) if url is None else {"url": url, **case.arguments}
    command = [sys.executable, str(CHILD), case.function, json.dumps(arguments)]
    return run(command, case.timeout_s, case.environment)


def run(command: list[str], timeout_s: float, environment: Mapping[str, str] | None = None) -> Figures:
    """The figures on the last line that a process prints. Raises CaseError; its children die with it."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, so that all of it can be ended
    )
    with process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise CaseError(f"did not end within {timeout_s:.0f} s") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise CaseError(f"exit status {process.returncode}: {err.strip()[-2000:]}")
    try:
        figures: Figures = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        raise CaseError(f"no figures in its last line: {out[-200:]!r}") from None
    return figures
