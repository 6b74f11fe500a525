"""Commits in the order they were asked for, whichever thread carries them out."""

from __future__ import annotations

import threading
import time

from confluent_kafka import KafkaError

from streamadapter.backend import LogStore
from streamadapter.engine.consumer_state import CommitRequest, ConsumerState
from streamadapter.errors import StoreError


class Committer:
    """Carries out the requests in `ConsumerState.commits`. Thread-safe: one runner at a time, in order."""

    def __init__(self, store: LogStore, group: str, state: ConsumerState) -> None:
        self._store = store
        self._group = group
        self._state = state
        self._running = threading.Lock()

    def run(self) -> None:
        """Carry out what is queued. Raises StoreError if one must be repeated later; it stays the first then.

        On return also those are done that another thread was carrying out.
        """
        with self._running:
            while True:
                with self._state.lock:
                    if not self._state.commits:
                        return
                    request = self._state.commits[0]
                error = self._attempt(request)
                if error is not None and error.retriable and time.monotonic() < request.deadline:
                    raise error
                with self._state.lock:
                    self._state.commits.popleft()
                request.done(error)

    def _attempt(self, request: CommitRequest) -> StoreError | None:
        if request.member_id is None:
            return StoreError(
                KafkaError.UNKNOWN_MEMBER_ID, "this consumer is no member of its group (any more): poll to rejoin"
            )
        try:
            self._store.commit(self._group, request.member_id, request.offsets)
        except StoreError as error:
            return error
        return None

    def run_now(self, request: CommitRequest, backoff_s: float) -> None:
        """Queue a request and see it through, with all that were queued before it."""
        with self._state.lock:
            self._state.commits.append(request)
        while True:
            try:
                self.run()
            except StoreError:
                time.sleep(backoff_s)
                continue
            return
