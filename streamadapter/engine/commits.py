"""Commits in the order they were asked for, whichever thread carries them out."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from confluent_kafka import KafkaError

from streamadapter.backend import TP, Committed, LogStore, TopicInfo
from streamadapter.engine.consumer_state import CommitRequest, ConsumerState
from streamadapter.errors import StoreError


def exists(topics: Mapping[str, TopicInfo], tp: TP) -> bool:
    """Whether the registry has this partition."""
    topic = topics.get(tp[0])
    return topic is not None and 0 <= tp[1] < topic.partitions


MAX_METADATA = 4095
"""Characters that an offset's metadata may have: what a Kafka broker takes (offset.metadata.max.bytes, 4096)."""


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
                if error is not None and error.retriable:
                    if time.monotonic() < request.deadline:
                        raise error
                    error = StoreError(KafkaError._WAIT_COORD, f"could not commit in time: {error}")
                with self._state.lock:
                    self._state.commits.popleft()
                request.done(error)

    def _attempt(self, request: CommitRequest) -> StoreError | None:
        if self._state.fenced is not None:
            return self._state.fenced
        if request.member_id is None:
            return StoreError(
                KafkaError.UNKNOWN_MEMBER_ID,
                "this consumer is no member of its group (any more): poll to rejoin",
            )
        try:
            known = self._known(request.offsets)
            fit = {tp: c for tp, c in known.items() if len(c.metadata or "") <= MAX_METADATA}
            if fit:
                self._store.commit(self._group, request.member_id, fit)
        except StoreError as error:
            return error
        unknown = sorted(request.offsets.keys() - known.keys())
        if unknown:
            names = ", ".join(f"{topic} [{partition}]" for topic, partition in unknown)
            return StoreError(
                KafkaError.UNKNOWN_TOPIC_OR_PART, f"{names}: does not exist; all else was committed"
            )
        for topic, partition in known.keys() - fit.keys():
            return StoreError(
                KafkaError.OFFSET_METADATA_TOO_LARGE,
                f"{topic} [{partition}]: metadata of more than {MAX_METADATA} characters; all else was committed",
            )
        return None

    def _known(self, offsets: Mapping[TP, Committed]) -> Mapping[TP, Committed]:
        """Those of partitions that exist: one deleted topic must not cost the others their commit."""
        topics = self._state.topics
        if not all(exists(topics, tp) for tp in offsets):
            topics = self._store.topics().topics  # the loop may not have seen the newest yet
        return {tp: committed for tp, committed in offsets.items() if exists(topics, tp)}

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
