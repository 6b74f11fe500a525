"""What every rate is measured with."""

from __future__ import annotations

import time

from bench.case import Figures


class Clock:
    """Starts when it is made. Wall time, and the CPU time of all threads of this process."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def figures(self, records: int) -> Figures:
        """`rate`, records/s, and `cpu_us`, microseconds of CPU a record, until now."""
        wall = time.perf_counter() - self._wall
        cpu = time.process_time() - self._cpu
        return {"rate": records / wall, "cpu_us": cpu / records * 1e6}
