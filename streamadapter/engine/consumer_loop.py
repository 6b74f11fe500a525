"""The consumer's background thread: one step for each kind of work, over and over.

It holds no reference to the public consumer: one that is dropped without close() is collected, and that stops it.
"""

from __future__ import annotations

import random
import threading
import time

from confluent_kafka import KafkaError

from streamadapter.backend import LogStore
from streamadapter.engine.commits import Committer
from streamadapter.engine.consumer_state import ConsumerState, log
from streamadapter.engine.fetcher import Fetcher
from streamadapter.engine.group_session import GroupSession
from streamadapter.errors import StoreError


class ConsumerLoop:
    """All that a consumer does on its own: topics, commits, the group, positions, fetches."""

    def __init__(
        self,
        store: LogStore,
        state: ConsumerState,
        session: GroupSession,
        committer: Committer,
        fetcher: Fetcher,
    ) -> None:
        self._store = store
        self._state = state
        self._session = session
        self._committer = committer
        self._fetcher = fetcher
        self._failures = 0
        self._topics_version = -1
        self._topics_due = 0.0
        self._topics_interval = (
            min(
                state.settings["heartbeat.interval.ms"],
                state.settings["topic.metadata.refresh.interval.ms"]
                % (1 << 31),  # -1 is never: then the other
            )
            / 1000
        )
        self._commit_interval = state.settings["auto.commit.interval.ms"] / 1000
        self._commit_due = time.monotonic() + self._commit_interval
        self.thread = threading.Thread(target=self._run, name="streamadapter-consumer", daemon=True)

    def _run(self) -> None:
        while not self._state.stopped:
            try:
                self._iterate()
                self._failures = 0
            except StoreError as error:
                self._trouble(error)
            except Exception as error:  # noqa: BLE001 - a bug must reach the application, not end the thread in silence
                log.exception("the consumer's background thread failed")
                self._trouble(StoreError(KafkaError._FAIL, f"internal error: {error!r}", fatal=True))
        self._session.close_reader()
        self._fetcher.close()

    def _iterate(self) -> None:
        if self._state.fatal is not None:
            self._idle()
            return
        now = time.monotonic()
        if now >= self._topics_due or self._session.topics_wanted:
            self._refresh_topics()
            self._topics_due = now + self._topics_interval
        if now >= self._commit_due:
            self._commit_due = now + self._commit_interval
            self._auto_commit()
        self._committer.run()
        self._session.step()
        self._fetcher.resolve()
        self._fetcher.look()
        self._fetcher.fetch(min(self._topics_due, self._commit_due, self._session.due()))

    def _idle(self) -> None:
        """After a fatal error: whoever still commits is told that it failed."""
        state = self._state
        with state.lock:
            state.for_loop.wait_for(lambda: state.stopped or state.commits)
        self._committer.run()

    def _refresh_topics(self) -> None:
        subscriptions = self._session.subscriptions
        version = self._store.topics_version()
        if version == self._topics_version and not self._session.topics_wanted:
            return
        topics = self._store.topics()
        self._topics_version = topics.version
        with self._state.lock:
            self._state.topics = topics.topics
        self._session.set_topics(topics, subscriptions)

    def _auto_commit(self) -> None:
        state = self._state
        if state.settings["enable.auto.commit"]:
            with state.lock:
                state.auto_commit()

    def _trouble(self, error: StoreError) -> None:
        """Report the first failure of a row, back off, go on. A fatal one ends all work until close()."""
        state = self._state
        self._failures += 1
        first, most = state.settings["retry.backoff.ms"], state.settings["retry.backoff.max.ms"]
        with state.lock:
            if error.fatal:
                state.fatal = error
                state.report(error)
                state.deliver_error(error)
                return
            if self._failures == 1:
                state.report(error)
                if error.code == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
                    state.deliver_error(error)  # tried again: the others may leave
                if error.code == KafkaError._TRANSPORT:
                    state.report(
                        StoreError(KafkaError._ALL_BROKERS_DOWN, f"1/1 brokers are down: {error.reason}")
                    )
            if not state.stopped:
                pause = min(most, first * 2 ** min(self._failures - 1, 10)) / 1000
                state.for_loop.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries, no secret
