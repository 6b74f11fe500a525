"""What happens around the load: the shop starts before it and stops after it, and the databases are compared.

One `session` a process. The process that Locust calls local or master starts the shop and judges the run; every
process that makes load writes a journal.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locust.exception import StopTest
from locust.runners import MasterRunner, WorkerRunner
from rich.console import Console

from load import plan
from load.journal import Journal, read_journals
from load.monitor import Monitor, Outage
from load.options import weights
from load.result import Run, as_json, table
from load.shop import ALL_TOPICS, PORT, RECORDS_TOPIC, Shop, ShopError, adapter, environment, urls
from load.verify import verify
from streamadapter import KafkaException
from streamadapter.config import load as load_config
from streamstore.settings import load_settings

if TYPE_CHECKING:
    from load.broker import Clients

log = logging.getLogger(__name__)

STOP_SECONDS = 60  # for requests under way when the load ends: each shall have its answer
STOP_SECONDS_DISTRIBUTED = 10  # Locust's workers sleep so long, whether it is needed or not
PARTITIONS = "4"


class Quota:
    """How many orders this process may still place. Unlimited: 0."""

    def __init__(self, orders: int) -> None:
        self._limited = orders > 0
        self._left = orders

    def take(self) -> bool:
        """Whether another one may be placed; `settle` says what became of it."""
        if not self._limited:
            return True
        self._left -= 1
        return self._left >= 0

    def settle(self, acknowledged: bool) -> None:
        """One that was not acknowledged may be placed again."""
        if not acknowledged:
            self._left += 1


class Session:
    """The state of this process's load test. All its methods run in greenlets of one thread."""

    def __init__(self) -> None:
        self.began: float | None = None  # when the load began, seconds since 1970
        self.steps: list[plan.Step] = []  # of a ramp
        self.urls: dict[str, str] = {}
        self.quota = Quota(0)
        self.interval = 0.0  # between two requests of a user, s
        self.journal: Journal
        self.clients: Clients
        self._shop: Shop | None = None
        self._monitor: Monitor | None = None
        self._open = False  # between test_start and test_stop
        self._directory = Path()

    def listen(self, events: Any) -> None:
        """Be told what Locust does."""
        events.init.add_listener(self._on_init)
        events.test_start.add_listener(self._on_start)
        events.test_stop.add_listener(self._on_stop)
        events.request.add_listener(self._on_request)
        events.quitting.add_listener(
            lambda environment, **_: environment.runner.stop()
        )  # a signal: judge it, too

    def _on_init(self, environment: Any, **_: Any) -> None:
        """Choose the users, as `--users-of` says."""
        options = environment.parsed_options
        wanted = weights(options.users_of)
        if options.architecture == "synchronous":
            wanted.pop("broker", None)  # it has none
        for user in environment.user_classes:
            user.weight = wanted.get(user.__name__.removesuffix("User").lower(), 0)
        environment.user_classes[:] = [user for user in environment.user_classes if user.weight]
        distributed = isinstance(environment.runner, MasterRunner)
        environment.stop_timeout = STOP_SECONDS_DISTRIBUTED if distributed else STOP_SECONDS

    def _on_start(self, environment: Any, **_: Any) -> None:
        options = environment.parsed_options
        self.began, self.steps, self._open = None, [], True
        try:
            if not isinstance(environment.runner, WorkerRunner):
                self._prepare(environment)
            self._take_part(environment)
        except (OSError, ShopError, KafkaException) as error:
            environment.process_exit_code = 1
            self._open = False
            self._tidy_up(environment)
            raise StopTest(str(error)) from None
        self.began = time.time()
        if self._shop is not None:
            outage = None
            if options.shape == "outage":
                end = options.outage_start + options.outage_seconds
                outage = Outage(options.outage_service, options.outage_start, end)
            self._monitor = Monitor(self._shop, self.began, outage)
            self._monitor.start()

    def _prepare(self, environment_: Any) -> None:
        """Start what is needed, and tell the processes that make load where it is."""
        options = environment_.parsed_options
        self._kept = bool(options.shop_dir)
        self._directory = Path(options.shop_dir or tempfile.mkdtemp(prefix="load-")).absolute()
        variables = environment(self._directory, options.shop_config, options.architecture)
        os.environ.update(variables)  # for our children, too
        kinds = {user.__name__ for user in environment_.user_classes}
        given = options.host or (environment_.host if not options.shop_urls else None)
        if given:
            found = urls(given)
        elif kinds == {"BrokerUser"}:
            found = {"order": "http://127.0.0.1"}
        else:
            self._shop = Shop(
                self._directory, int(variables[PORT]), options.architecture, options.shop_instances
            )
            self._shop.start()
            found = self._shop.urls
        if "BrokerUser" in kinds:
            self._provide_topic()
        options.shop_urls = json.dumps(found)
        options.shop_environment = json.dumps(variables)
        options.journals = str(self._directory / "journals")
        environment_.host = found["order"]

    def _provide_topic(self) -> None:
        """Where broker users produce to.

        An embedded server is started by another process: under gevent none can be given the server's lock.
        """
        if load_config().backend == "embedded":
            adapter("server", "start")
        adapter("topics", "--create", "--topic", os.environ[RECORDS_TOPIC], "--partitions", PARTITIONS)

    def _take_part(self, environment_: Any) -> None:
        """Be ready to make load, in a process that does."""
        options = environment_.parsed_options
        self.urls = json.loads(options.shop_urls)
        os.environ.update(json.loads(options.shop_environment))
        self.interval = 1 / options.pace if options.pace else 0.0
        workers = max(1, options.expect_workers) if isinstance(environment_.runner, WorkerRunner) else 1
        self.quota = Quota(-(-options.orders // workers))
        self.journal = Journal(Path(options.journals))
        makes_load = not isinstance(environment_.runner, MasterRunner)
        if makes_load and any(user.__name__ == "BrokerUser" for user in environment_.user_classes):
            from load.broker import Clients  # needs the session

            self.clients = Clients(os.environ[RECORDS_TOPIC])

    def _on_request(
        self,
        request_type: str,
        name: str,
        response_time: float,
        exception: object,
        start_time: float,
        **_: Any,
    ) -> None:
        error = f"{exception}"[:200] if exception else ""
        self.journal.sample(start_time, f"{request_type} {name}", response_time, error)

    def _on_stop(self, environment: Any, **_: Any) -> None:
        if not self._open:
            return
        self._open = False
        ended = time.time()
        if hasattr(self, "clients"):
            self.clients.close()
            del self.clients
        try:
            if self.began is not None:
                self.journal.close()
                if not isinstance(environment.runner, WorkerRunner):
                    self._conclude(environment, self.began, ended)
        except (OSError, ShopError) as error:
            log.error("%s", error)
            environment.process_exit_code = 1
        finally:
            self._tidy_up(environment)

    def _conclude(self, environment: Any, began: float, ended: float) -> None:
        """Compare with the databases, and report."""
        options = environment.parsed_options
        console = Console(stderr=True)
        record = read_journals(Path(options.journals))
        verdict, drained, cores, backlog, problems, outage = None, None, {}, [], [], None
        config = load_config()
        if self._monitor is not None:
            if self._monitor.outage and not self._monitor.outage.started_at:
                log.warning("the load ended before the outage did")
            cores = self._monitor.stop()
            base = Path(os.environ.get("STREAMADAPTER_CONFIG", "")).parent
            settings = load_settings(config.streamstore, base)
            verdict, drained = verify(settings, record, lambda text: log.info("%s", text))
            backlog, problems, outage = self._monitor.samples, self._monitor.problems, self._monitor.outage
        run = Run(
            backend=str(config.backend),
            options=options,
            began=began,
            ended=ended,
            record=record,
            verdict=verdict,
            drained=drained,
            cores=cores,
            backlog=backlog,
            problems=problems,
            outage=outage,
            steps=self.steps,
        )
        figures = as_json(run)
        console.print(table(figures))
        if verdict is not None:
            console.print(
                f"{verdict.acknowledged} orders acknowledged, {verdict.lost} of them missing; {verdict.unacknowledged}"
                f" others are in the databases, {verdict.half_done} of those not in all",
                highlight=False,
                soft_wrap=True,
            )
        if options.result:
            Path(options.result).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        if verdict is not None and (verdict.lost or drained is None):
            console.print(
                f"[red]{verdict.lost} acknowledged orders are missing: {'; '.join(verdict.examples)}"
            )
            environment.process_exit_code = 1

    def _tidy_up(self, environment: Any) -> None:
        if isinstance(environment.runner, WorkerRunner):
            return
        environment.parsed_options.shop_urls = ""
        self._monitor = None
        if self._shop is not None:
            self._shop.stop()
            self._shop = None
        try:
            if load_config().backend == "embedded":
                if (self._directory / "embedded").exists():  # the synchronous shop starts none
                    adapter("server", "stop")
            else:
                adapter("topics", "--delete", "--if-exists", "--topic", os.environ[ALL_TOPICS])
        except (ShopError, KafkaException) as error:
            log.warning("what the run leaves behind: %s", error)
        if not self._kept:
            shutil.rmtree(self._directory, ignore_errors=True)


session = Session()
