"""What the application's thread and the consumer's background thread share, under one lock.

The application changes the assignment, seeks, pauses, stores offsets and takes messages; the background thread
(`consumer_loop`) fetches, commits and speaks with the group. Neither does I/O while it holds the lock.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from confluent_kafka import OFFSET_INVALID, KafkaError, TopicPartition

from streamadapter.backend import TP, Committed, Settings, TopicInfo
from streamadapter.engine.delivery import DeliveryQueue
from streamadapter.engine.membership import Event as Rebalance
from streamadapter.engine.partition import Partition
from streamadapter.errors import StoreError
from streamadapter.message import Message, event

log = logging.getLogger("streamadapter.consumer")


Callback: TypeAlias = Callable[[], None]
OnCommit: TypeAlias = Callable[[KafkaError | None, list[TopicPartition]], Any]
Event: TypeAlias = Rebalance | Callback | Message
"""Served by poll() and consume() in the application's thread, outside the lock."""


@dataclass(slots=True, eq=False)
class CommitRequest:
    """Offsets to commit as `member_id`. `done` is called with the outcome, in whichever thread ran it."""

    offsets: Mapping[TP, Committed]
    member_id: str | None
    deadline: float  # monotonic; until then retriable errors are retried
    done: Callable[[StoreError | None], None]


@dataclass(slots=True)
class ConsumerState:
    """The shared state. Every field and method needs `lock`, unless it says otherwise."""

    settings: Settings
    lock: threading.RLock = field(default_factory=threading.RLock)
    assignment: dict[TP, Partition] = field(default_factory=dict)
    queue: DeliveryQueue = field(default_factory=DeliveryQueue)
    events: deque[Event] = field(default_factory=deque)
    commits: deque[CommitRequest] = field(default_factory=deque)
    subscription: tuple[str, ...] = ()
    member_id: str | None = (
        ""  # the fencing token of commits; "": in no group; None: not a member at the moment
    )
    granted: Mapping[TP, int] = field(default_factory=dict)  # what the group lets this member read
    topics: Mapping[str, TopicInfo] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)  # topics of which a partition was ever assigned
    paused: set[TP] = field(default_factory=set)  # outlasts the assignment, as in librdkafka
    former: dict[TP, Partition] = field(default_factory=dict)  # what was assigned before, as it was left
    last_poll: float = field(default_factory=time.monotonic)
    in_poll: bool = False
    overslept: bool = False  # the application polled again only after max.poll.interval.ms
    lease_until: float = math.inf  # monotonic; until then this member may hand out what it fetched
    closing: bool = False
    stopped: bool = False
    fatal: StoreError | None = None
    throttled: bool = False  # the loop waits for the application to take messages
    for_app: threading.Condition = field(init=False)  # messages or events
    for_loop: threading.Condition = field(init=False)  # something to do
    wake_wanted: bool = False  # whoever releases the lock shall end the loop's waiting fetch

    def __post_init__(self) -> None:
        self.for_app = threading.Condition(self.lock)
        self.for_loop = threading.Condition(self.lock)

    @property
    def fenced(self) -> StoreError | None:
        """The error of a consumer whose place another one has taken; other fatal errors are told by poll() alone."""
        return self.fatal if self.fatal is not None and self.fatal.code == KafkaError._FATAL else None

    # -- signals

    def nudge(self) -> None:
        """Make the loop look at once."""
        self.for_loop.notify_all()
        self.wake_wanted = True

    def post(self, item: Event) -> None:
        """Queue an event for the application."""
        self.events.append(item)
        self.for_app.notify_all()

    def report(self, error: StoreError) -> None:
        """Tell the application of trouble that the client deals with: error_cb, and the log."""
        log.warning("%s", error)
        callback = self.settings.get("error_cb")
        if callback is not None:
            self.post(lambda: callback(error.kafka_error()))

    def deliver_error(
        self, error: StoreError, partition: Partition | None = None, offset: int | None = None
    ) -> None:
        """Queue an error message: trouble that the application must deal with."""
        topic, index = partition.tp if partition else (None, 0)
        self.deliver_event(event(error.kafka_error(), topic, index, offset), partition)

    def deliver_event(self, message: Message, partition: Partition | None = None) -> None:
        """Queue a message that carries an error or the end of a partition."""
        self.queue.put_event(message, partition)
        self.for_app.notify_all()

    def expel(self, *, for_good: bool = False) -> None:
        """This consumer is no member (now); what it has fetched for the group must not be handed out any more.

        for_good: it has left the group, and may be assigned partitions by hand; it cannot commit, as in Kafka.
        """
        self.member_id = None
        self.lease_until = math.inf if for_good else 0.0

    # -- assignment

    def add(self, wanted: Mapping[TP, int]) -> None:
        """Extend the assignment."""
        for tp, offset in wanted.items():
            partition = Partition(tp, offset, self.granted.get(tp, -1), paused=tp in self.paused)
            if former := self.former.pop(tp, None):
                partition.low, partition.high = former.low, former.high
                partition.sent_to_commit = former.sent_to_commit
            self.assignment[tp] = partition
            self.known.add(tp[0])
        self.nudge()

    def unassign(self, tps: Iterable[TP], *, commit: bool = True) -> None:
        """Take partitions out of the assignment; auto-commit what is stored for them first, unless they are lost.

        That last commit may go backwards, after a seek, as in librdkafka.
        """
        leaving = [self.assignment[tp] for tp in sorted(tps) if tp in self.assignment]
        if commit and self.settings["enable.auto.commit"]:
            self._auto_commit({p.tp: p.to_commit() for p in leaving})
        for partition in leaving:
            partition.version += 1  # voids what was fetched
            self.former[partition.tp] = self.assignment.pop(partition.tp)
        self.queue.purge()
        self.nudge()

    # -- offsets

    def uncommitted(self) -> dict[TP, Committed | None]:
        """Stored offsets that no commit has been sent for, of the whole assignment; None where there is none."""
        return {tp: self.assignment[tp].uncommitted() for tp in sorted(self.assignment)}

    def auto_commit(self) -> None:
        """Queue a commit of what is stored and not committed, if anything is."""
        self._auto_commit(self.uncommitted())

    def _auto_commit(self, stored: Mapping[TP, Committed | None]) -> None:
        offsets = {tp: committed for tp, committed in stored.items() if committed is not None}
        if offsets:
            self.queue_commit(offsets, public_offsets(stored), self.settings.get("on_commit"))

    def queue_commit(
        self, offsets: Mapping[TP, Committed], shown: list[TopicPartition], on_commit: OnCommit | None
    ) -> None:
        """Queue an asynchronous commit; on_commit is called from poll(), with the list `shown`."""
        sent = self.mark_sent(offsets)

        def done(error: StoreError | None) -> None:
            with self.lock:
                if error is not None:
                    self.unmark_sent(sent)
                    log.warning("commit failed: %s", error)
                if on_commit is not None:
                    failure = error.kafka_error() if error else None
                    self.post(lambda: on_commit(failure, shown))

        self.commits.append(CommitRequest(offsets, self.member_id, self.commit_deadline(), done))

    def commit_deadline(self) -> float:
        """Until when a commit asked for now is retried: then the session has ended, as librdkafka reckons too."""
        return time.monotonic() + float(self.settings["session.timeout.ms"]) / 1000

    def mark_sent(self, offsets: Mapping[TP, Committed]) -> Sequence[tuple[Partition, int]]:
        """Note that these offsets are on their way; answers what `unmark_sent` takes back."""
        sent = []
        for tp, committed in offsets.items():
            partition = self.assignment.get(tp)
            if partition is not None:
                partition.sent_to_commit = committed.offset
                sent.append((partition, committed.offset))
        return sent

    def unmark_sent(self, sent: Sequence[tuple[Partition, int]]) -> None:
        """A commit failed: its offsets count as uncommitted again."""
        for partition, offset in sent:
            if partition.sent_to_commit == offset:
                partition.sent_to_commit = OFFSET_INVALID


def public_offset(
    tp: TP, offset: int, leader_epoch: int | None = None, metadata: str | None = None
) -> TopicPartition:
    """confluent_kafka's TopicPartition, which takes no None."""
    epoch = -1 if leader_epoch is None else leader_epoch
    if metadata is None:
        return TopicPartition(*tp, offset, leader_epoch=epoch)
    return TopicPartition(*tp, offset, metadata, epoch)


def public_offsets(offsets: Mapping[TP, Committed | None]) -> list[TopicPartition]:
    """Committed offsets as confluent_kafka's TopicPartitions; None as OFFSET_INVALID."""
    return [
        public_offset(tp, OFFSET_INVALID)
        if found is None
        else public_offset(tp, found.offset, found.leader_epoch, found.metadata)
        for tp, found in offsets.items()
    ]
