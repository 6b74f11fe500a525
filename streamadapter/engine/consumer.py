"""`EngineConsumer`: confluent_kafka's Consumer over a log store."""

from __future__ import annotations

import math
import operator
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from confluent_kafka import OFFSET_INVALID, OFFSET_STORED, KafkaError, TopicPartition

from streamadapter.backend import TP, LogStore, Settings
from streamadapter.engine import consumer_checks as checks
from streamadapter.engine.commits import Committer
from streamadapter.engine.consumer_loop import ConsumerLoop
from streamadapter.engine.consumer_offsets import ConsumerOffsets
from streamadapter.engine.consumer_state import ConsumerState
from streamadapter.engine.delivery import Chunk
from streamadapter.engine.fetcher import Fetcher
from streamadapter.engine.group_session import GroupSession
from streamadapter.engine.membership import Event, Rebalance, State
from streamadapter.errors import kafka_exception
from streamadapter.message import Message

SLICE_S = 0.2
"""Longest wait at a stretch of the application's thread, so that Ctrl-C is seen, as with librdkafka."""
CLOSE_TIMEOUT_S = 10.0
"""How long close() tries to commit and to leave; if that fails, the session ends by itself."""


class EngineConsumer(ConsumerOffsets):
    """See `streamadapter.consumer.Consumer`. Thread-safe: calls are serialised by a re-entrant gate."""

    def __init__(self, store: LogStore, settings: Settings) -> None:
        state = ConsumerState(settings)
        group: str = settings["group.id"]
        self._session = GroupSession(store, group, state)
        committer = Committer(store, group, state)
        self._fetcher = Fetcher(store, state, self._session)
        self._loop = ConsumerLoop(store, state, self._session, committer, self._fetcher)
        super().__init__(store, settings, state, committer)
        self._store_offsets: bool = settings["enable.auto.offset.store"]
        self._poll_interval_s: float = settings["max.poll.interval.ms"] / 1000
        self._callbacks: dict[Rebalance, Callable[..., Any] | None] = {}
        self._serving: Rebalance | None = None
        self._head: Chunk | None = None
        self._callback_assigned = False
        self._pid = os.getpid()
        self._finalizer = weakref.finalize(self, _stop, state, self._fetcher, self._pid)
        self._loop.thread.start()

    @contextmanager
    def _changing(self) -> Iterator[ConsumerState]:
        """The state, under its lock; then wake the loop if the change wants that."""
        with self._gate:
            self._check_open()
            with self._state.lock:
                yield self._state
            self._wake()

    def _wake(self) -> None:
        if self._state.wake_wanted:
            self._state.wake_wanted = False
            self._fetcher.wake()

    def _check_open(self) -> None:
        super()._check_open()
        if self._pid != os.getpid():
            raise kafka_exception(
                KafkaError._STATE, "this consumer was made before a fork: make a new one in the child process"
            )

    def _check_fatal(self) -> None:
        if (fatal := self._state.fenced) is not None:
            raise fatal.kafka_exception()

    # -- subscription

    def subscribe(
        self, topics: Any, on_assign: Any = None, on_revoke: Any = None, on_lost: Any = None
    ) -> None:
        """Replace the subscription; takes effect through poll()."""
        names = checks.topic_list(topics)
        callbacks = {
            Rebalance.ASSIGN: checks.callback("on_assign", on_assign),
            Rebalance.REVOKE: checks.callback("on_revoke", on_revoke),
            Rebalance.LOST: checks.callback("on_lost", on_lost),
        }
        with self._changing() as state:
            self._check_fatal()
            if not state.subscription and state.assignment and self._session.membership.idle:
                state.unassign(state.assignment)
            self._callbacks = callbacks
            self._session.subscribe(names)

    def unsubscribe(self) -> None:
        """Leave the group; the next poll() calls on_revoke."""
        with self._changing() as state:
            self._check_fatal()
            if state.subscription:
                self._session.unsubscribe()

    # -- messages

    def poll(self, timeout: float = -1) -> Message | None:
        """One message or event, or None after `timeout` seconds (negative: wait for ever)."""
        self._gate.acquire()  # `with` would take almost three times as long
        try:
            # The way of nearly every call: the rest of the batch that the last one began, without the shared lock.
            chunk, state = self._head, self._state
            if chunk is not None and not state.events and not self._closed:
                now = time.monotonic()
                if now < state.lease_until and (message := chunk.next(self._store_offsets)) is not None:
                    state.last_poll = now
                    return message
            taken = self._take(1, timeout)
            self._head = state.queue.head
            return taken[0] if taken else None
        finally:
            self._gate.release()

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Up to `num_messages`; waits the whole `timeout` unless there are as many."""
        if not 0 <= operator.index(num_messages) <= checks.MAX_CONSUME:
            raise ValueError("num_messages must be between 0 and 1000000 (1M)")
        return self._take(num_messages, timeout)

    def _take(self, limit: int, timeout: float) -> list[Message]:
        if timeout.__class__ is not float and not isinstance(timeout, int | float):
            raise TypeError(f"must be real number, not {type(timeout).__name__}")
        state = self._state
        with self._gate:
            self._check_open()
            taken: list[Message] = []
            deadline = time.monotonic() + timeout if timeout >= 0 else math.inf
            if state.subscription and time.monotonic() - state.last_poll >= self._poll_interval_s:
                state.overslept = True  # the loop may not have noticed, and would not while this call lasts
            state.in_poll = True
            try:
                while True:
                    if state.events and not taken and (message := self._serve()) is not None:
                        taken.append(message)
                    with state.lock:
                        now = time.monotonic()
                        if not state.events:  # what was fetched after an event is handed out after it
                            more = limit - len(taken)
                            taken += (
                                state.queue.take(more, self._store_offsets)
                                if now < state.lease_until
                                else state.queue.take_notices(more)
                            )
                            if state.throttled:
                                state.for_loop.notify_all()
                        if len(taken) >= limit or now >= deadline or (taken and state.events):
                            return taken
                        if not state.events:
                            state.for_app.wait(min(deadline - now, SLICE_S))
            finally:
                state.last_poll = time.monotonic()
                state.in_poll = False

    def _serve(self) -> Message | None:
        """Run queued callbacks in this thread, without the lock. An exception of one ends the call.

        So does a message that stands between them: it must be handed out before the next one runs.
        """
        state = self._state
        while state.events:
            with state.lock:
                queued = state.events.popleft()
            if isinstance(queued, Event):
                self._rebalance(queued)
            elif isinstance(queued, Message):
                return queued
            else:
                queued()
        return None

    def _rebalance(self, event: Event) -> None:
        """Show the application one step of a rebalance; what its callback does not do itself is done for it."""
        kind = event.kind
        with self._state.lock:
            if kind is Rebalance.REVOKE and self._session.membership.state is State.LOST:
                kind = Rebalance.LOST  # expelled before the application got to give them up
        function = self._callbacks.get(kind)
        if function is None and kind is Rebalance.LOST:
            function = self._callbacks.get(Rebalance.REVOKE)
        self._serving, self._callback_assigned = kind, False
        try:
            if function is not None:
                function(self, [TopicPartition(*tp) for tp in event.partitions])
        finally:
            self._serving = None
            with self._changing() as state:
                if kind is not Rebalance.ASSIGN:
                    state.unassign(event.partitions, commit=kind is Rebalance.REVOKE)
                elif not self._callback_assigned:
                    state.add({tp: OFFSET_INVALID for tp in event.partitions if tp not in state.assignment})
                self._session.answered()

    # -- assignment

    def assign(self, partitions: Any) -> None:
        """Replace the assignment; an offset in a TopicPartition says where to start."""
        tps = checks.partition_list(partitions)
        with self._changing() as state:
            self._check_granted(map(checks.key, tps))
            self._callback_assigned = True
            state.unassign(state.assignment)
            # Only now: librdkafka has given up the old assignment when it finds fault with the new one.
            state.add(checks.distinct(tps))

    def unassign(self) -> None:
        """Empty the assignment."""
        with self._changing() as state:
            self._callback_assigned = True
            state.unassign(state.assignment)

    def incremental_assign(self, partitions: Any) -> None:
        """Extend the assignment. _CONFLICT for a partition that is in it."""
        wanted = checks.distinct(checks.partition_list(partitions))
        with self._changing() as state:
            for topic, index in wanted.keys() & state.assignment.keys():
                raise kafka_exception(
                    KafkaError._CONFLICT, f"{topic} [{index}] is already part of the current assignment"
                )
            self._check_granted(wanted)
            self._callback_assigned = True
            state.add(wanted)

    def incremental_unassign(self, partitions: Any) -> None:
        """Shrink the assignment. _INVALID_ARG for a partition that is not in it."""
        leaving = checks.distinct(checks.partition_list(partitions))
        with self._changing() as state:
            for topic, index in leaving.keys() - state.assignment.keys():
                raise kafka_exception(
                    KafkaError._INVALID_ARG,
                    f"{topic} [{index}] can't be unassigned since it is not in the current assignment",
                )
            self._callback_assigned = True
            state.unassign(leaving)

    def _check_granted(self, wanted: Iterable[TP]) -> None:
        """A member of a group reads what the group has given it: anything else would not be fenced."""
        state = self._state
        if not state.subscription:
            return
        for topic, index in set(wanted) - state.granted.keys():
            raise kafka_exception(
                KafkaError._STATE,
                f"{topic} [{index}] belongs to another member of the group or to none: "
                "unsubscribe() before assigning partitions by hand",
            )

    def assignment(self) -> list[TopicPartition]:
        """The partitions assigned now; the offset is where assign() told each to start."""
        with self._changing() as state:
            return [
                TopicPartition(*tp, OFFSET_STORED if p.given == OFFSET_INVALID else p.given)
                for tp, p in sorted(state.assignment.items())
            ]

    def seek(self, partition: Any) -> None:
        """Read on from another offset (or a logical one). _STATE if the partition is not assigned."""
        tp = checks.partition(partition)
        with self._changing() as state:
            found = state.assignment.get(checks.key(tp))
            if found is None:
                hint = "in on_assign set the TopicPartition's offset and call assign()"
                raise self._not_assigned(f"Failed to seek to offset {tp.offset}; {hint}", checks.key(tp))
            if tp.offset == OFFSET_STORED:
                raise kafka_exception(
                    KafkaError._INVALID_ARG, "Failed to seek: ask committed() for the offset, and seek there"
                )
            found.seek(tp.offset)
            state.queue.purge()
            state.nudge()

    def pause(self, partitions: Any) -> None:
        """Stop delivery of partitions, until resume(), whatever is assigned. Of unknown topics they are ignored."""
        with self._changing() as state:
            for tp in checks.partition_list(partitions):
                if tp.topic in state.known:
                    state.paused.add(checks.key(tp))
                if found := state.assignment.get(checks.key(tp)):
                    found.pause()
            state.queue.purge()

    def resume(self, partitions: Any) -> None:
        """Undo pause()."""
        with self._changing() as state:
            for tp in checks.partition_list(partitions):
                state.paused.discard(checks.key(tp))
                if found := state.assignment.get(checks.key(tp)):
                    found.resume()
            state.nudge()

    # -- membership and life

    def memberid(self) -> str | None:
        """This member's id in its group, None before it has joined."""
        with self._changing() as state:
            return state.member_id or None

    def consumer_group_metadata(self) -> bytes:
        """Opaque; for send_offsets_to_transaction."""
        with self._changing() as state:
            return b"SAGM:" + f"{self._session.group}\0{state.member_id or ''}".encode()

    def close(self) -> None:
        """Commit what is stored (if auto-commit), call on_revoke, leave the group. Idempotent; at most 10 s."""
        with self._gate:
            if self._closed or self._pid != os.getpid():
                self._closed = True
                return
            deadline = time.monotonic() + CLOSE_TIMEOUT_S
            try:
                with self._changing() as state:
                    if self._serving is not None:
                        self._session.answered()  # closed from within a callback, which is over with that
                    state.closing = True
                    if self._session.membership.idle:
                        state.unassign(state.assignment)
                    self._session.close()
                self._serve_until_departed(deadline)
            finally:
                self._closed = True
                self._finalizer()
                self._loop.thread.join(CLOSE_TIMEOUT_S)
                self._store.close()

    def _serve_until_departed(self, deadline: float) -> None:
        """Run the last callbacks. If one fails, the group is left all the same; the first failure is raised then."""
        state, failure = self._state, None
        while True:
            try:
                while self._serve() is not None:
                    pass  # nobody is there to be handed a message
            except Exception as error:  # noqa: BLE001 - whatever a callback of the application raises
                failure = failure or error
                continue
            if self._departed() or time.monotonic() >= deadline:
                break
            with state.lock:
                if not state.events and not self._departed():
                    state.for_app.wait(SLICE_S / 10)
        if failure is not None:
            raise failure

    def _departed(self) -> bool:
        state = self._state
        return state.fatal is not None or (
            self._session.membership.idle and not state.commits and not state.assignment
        )

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _stop(state: ConsumerState, fetcher: Fetcher, pid: int) -> None:
    """End the background thread; also run when a consumer is collected that was never closed."""
    if pid != os.getpid():
        return  # a forked child has neither the thread nor a right to the parent's lock and connections
    with state.lock:
        state.stopped = True
        state.for_loop.notify_all()
    fetcher.wake()
