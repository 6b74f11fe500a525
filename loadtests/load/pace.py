"""A user's pace: a request every so often, whatever the answers take."""

from __future__ import annotations

import random
import time

import gevent

from load.session import session


class Paced:
    """A mixin for users. Locust's constant_throughput would let all users who are spawned together go in step."""

    _due: float

    def on_start(self) -> None:
        """Begin at a random moment of the first interval: requests shall not come in bursts."""
        offset = random.random() * session.interval
        self._due = time.perf_counter() + offset
        gevent.sleep(offset)

    def wait_time(self) -> float:
        """Until the next request is due; a user who is late goes on at once and does not make up for it."""
        now = time.perf_counter()
        self._due = max(self._due + session.interval, now)
        return self._due - now
