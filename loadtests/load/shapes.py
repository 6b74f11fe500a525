"""`plan.py` as Locust's load shape: one class, and `--shape` says which plan. -u, -r and -t keep their meaning."""

from __future__ import annotations

import time
from typing import Any

import gevent
from locust import LoadTestShape
from locust.runners import MasterRunner

from load import plan
from load.session import STOP_SECONDS_DISTRIBUTED, session


class Load(LoadTestShape):
    """Users over time. The clock starts when the shop is ready."""

    runner: Any  # Locust's; it is there when the clock runs
    use_common_options = True

    def reset_time(self) -> None:
        """A new test."""
        super().reset_time()  # type: ignore[no-untyped-call]  # Locust's
        self._steps: list[plan.Step] = []
        self._step_began = 0.0
        self._counted = 0

    def tick(self) -> tuple[int, float] | None:
        """Locust asks once a second."""
        options: Any = self.runner.environment.parsed_options
        users, rate = options.num_users or 1, options.spawn_rate or 1.0
        # Until the shop is ready it is the first moment: another answer would keep Locust from starting it.
        elapsed = time.time() - session.began if session.began else 0.0
        wanted = None if self._enough(options) else self._planned(elapsed, options, users)
        if wanted is None:
            self._stop()
            return None
        sudden = options.shape in ("flash", "ramp")  # these do not build up slowly
        return wanted, float(users * plan.FLASH_TIMES) if sudden else rate

    def _stop(self) -> None:
        """Before quit(), which waits for no user of another process, and tells only those that have come back."""
        self.runner.stop()
        if isinstance(self.runner, MasterRunner):
            options: Any = self.runner.environment.parsed_options
            workers = options.expect_workers
            with gevent.Timeout(STOP_SECONDS_DISTRIBUTED + 5, False):
                while len(self.runner.clients.ready) < workers:
                    gevent.sleep(0.1)

    def _planned(self, elapsed: float, options: Any, users: int) -> int | None:
        if options.shape == "ramp":
            return self._ramp(elapsed, options, users)
        if options.shape == "flash":
            return plan.flash(elapsed, users, options.run_time)
        end = options.run_time
        if options.shape == "outage" and end is None:
            end = options.outage_start + 2 * options.outage_seconds
        return plan.steady(elapsed, users, end)

    def _ramp(self, elapsed: float, options: Any, users: int) -> int | None:
        """Each step is judged by its second half: its first is for getting there."""
        now = plan.ramp(self._steps, users)
        since = elapsed - self._step_began
        total: Any = self.runner.stats.total
        if now is None:
            return None
        if since < plan.STEP_SECONDS / 2:
            self._counted, self._count_began = total.num_requests, elapsed
        elif since >= plan.STEP_SECONDS:
            seconds = elapsed - self._count_began
            step = plan.Step(
                users=now,
                offered=now * options.pace,
                per_second=(total.num_requests - self._counted) / seconds,
                p95=total.get_current_response_time_percentile(0.95) or 0.0,
            )
            self._steps.append(step)
            session.steps = [*self._steps]
            self._step_began = elapsed
            return plan.ramp(self._steps, users)
        return now

    def _enough(self, options: Any) -> bool:
        placed: Any = self.runner.stats.entries.get(("/orders", "POST"))
        return placed is not None and 0 < options.orders <= placed.num_requests - placed.num_failures
