"""Looks at one thing about once a second: pages that ask cost nothing more, and what hangs holds up itself only."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from threading import Event, Thread
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_SECONDS = 1.0
RATE_SECONDS = 5.0
STOP_SECONDS = 5.0


class Watch(Generic[T]):
    """What `look` returned last, and why its latest try failed, if it did.

    `look` runs on a thread of its own from `start` to `stop` and may raise anything. It must return within a few
    seconds. `value` and `error` may be read by any thread.
    """

    def __init__(self, what: str, look: Callable[[], T], nothing: T) -> None:
        self.value = nothing
        self.error: str | None = None
        self._what = what
        self._look = look
        self._stop = Event()
        self._thread = Thread(target=self._work, name=f"dashboard-{what}", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; waits for a look under way."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self.value, self.error = self._look(), None
            except Exception as error:  # shown on the page; the next look may succeed
                self.error = f"{self._what}: {str(error).partition(chr(10))[0] or type(error).__name__}"
                log.debug("looking at %s failed", self._what, exc_info=True)
            # What takes long to find out is looked at less often: looking must not keep services from working.
            self._stop.wait(max(LOOK_SECONDS, 4 * (time.monotonic() - began)))


class Rate:
    """How fast a counter grows, over the last seconds. Not thread-safe."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, count: int) -> float:
        """A second, up to now; 0.0 for a counter that has begun anew."""
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        return round(max(0, count - before) / (now - then), 1) if now > then else 0.0
