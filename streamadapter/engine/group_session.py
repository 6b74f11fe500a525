"""The thin shell around `Membership`: its round trips, its reader, and its events for the application.

The background thread calls `step`; the application's thread calls the rest, under the consumer's lock.
"""

from __future__ import annotations

import re
import socket
import time
import uuid
from collections.abc import Collection, Iterable, Sequence

from confluent_kafka import KafkaError

from streamadapter.backend import LogStore, Reader, Settings, Topics
from streamadapter.engine import coordinator
from streamadapter.engine.consumer_state import ConsumerState
from streamadapter.engine.coordinator import MemberSpec
from streamadapter.engine.membership import Membership, Proposal, State
from streamadapter.errors import StoreError
from streamadapter.message import event

MAX_LOST_RACES = 32
"""Attempts to write the group's state in one step; beyond that, after the next heartbeat."""


def _strategy(settings: Settings) -> tuple[tuple[str, ...], bool]:
    """Assignors in order of preference, and whether they are cooperative."""
    if settings["group.protocol"] == "consumer":
        return (settings["group.remote.assignor"] or "uniform",), True
    names = tuple(settings["partition.assignment.strategy"])
    return names, "cooperative-sticky" in names


def _match(subscription: Iterable[str], topics: Collection[str]) -> tuple[set[str], set[str]]:
    """(the topics that match, the names and ^patterns that no topic matches)."""
    found: set[str] = set()
    missing: set[str] = set()
    for name in subscription:
        if name.startswith("^"):
            matches = {topic for topic in topics if re.match(name, topic)}
        else:
            matches = {name}.intersection(topics)
        found |= matches
        if not matches:
            missing.add(name)
    return found, missing


def _now_ms() -> float:
    return time.monotonic() * 1000


class GroupSession:
    """One consumer's part in its group. `reader` is None while it is no member."""

    def __init__(self, store: LogStore, group: str, state: ConsumerState) -> None:
        settings = state.settings
        assignors, cooperative = _strategy(settings)
        self._session_timeout_ms: int = settings["session.timeout.ms"]
        self._classic: bool = settings["group.protocol"] == "classic"
        client_id: str = settings["client.id"]
        spec = MemberSpec(
            client_id=client_id,
            client_host=socket.gethostname(),
            subscription=(),
            assignors=assignors,
            cooperative=cooperative,
            session_timeout_ms=self._session_timeout_ms,
            rebalance_timeout_ms=settings["max.poll.interval.ms"],
            instance_id=settings["group.instance.id"] or None,
            classic=self._classic,
        )
        self.group = group
        self.reader: Reader | None = None
        self.membership = Membership(
            spec,
            # A third of the session at most: two lost heartbeats are no reason to be expelled.
            min(settings["heartbeat.interval.ms"], self._session_timeout_ms // 3),
            lambda: f"{client_id}-{uuid.uuid4()}",
            told_when_idle=self._classic,
        )
        self._poll_interval_s: float = settings["max.poll.interval.ms"] / 1000
        self._store = store
        self._state = state
        self._topics: Topics | None = None
        self.subscriptions = 0  # calls of subscribe()
        self._topics_for = -1  # as many there were when _topics were asked for
        self._look = False
        self._overdue = False  # max.poll.interval.ms has passed, and the application will be told
        self._found: set[str] = set()  # topics of the subscription that exist
        self._missing: set[str] = set()  # names and patterns of the subscription without a topic
        self._reader_member = ""

    # -- the application (under the lock)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Replace the subscription; ^patterns are matched against the topics there are, now and later."""
        if not self._state.subscription and self.membership.idle:
            self._state.expel()
            self._state.last_poll = time.monotonic()  # the time to poll begins now
        self._state.subscription = tuple(topics)
        self._found.clear()
        self._missing.clear()
        self.subscriptions += 1
        self._state.nudge()

    def unsubscribe(self) -> None:
        """Leave the group, once the application has given its partitions up."""
        self._state.subscription = ()
        if self.membership.idle:
            self._state.expel(for_good=True)  # it waited for its topics, and was no member
        self.membership.unsubscribe()
        self.sync()
        self._state.nudge()

    def close(self) -> None:
        """Begin to leave for good; done when `membership.idle` and nothing is left to commit."""
        self._state.subscription = ()
        self.membership.close()
        self.sync()
        self._state.nudge()

    def answered(self) -> None:
        """The application has served the last rebalance event."""
        self.membership.answered()
        self.sync()
        self._state.nudge()

    def _apply_subscription(self) -> None:
        """Match the subscription against the topics there are.

        As librdkafka does: a classic consumer tells the application what is missing, and is a member of the group
        only while some topic exists; with KIP-848 the group keeps the names, and nobody is told.
        """
        wanted = self._state.subscription
        if self._topics is None or self.topics_wanted or not wanted:
            return
        found, missing = _match(wanted, self._topics.topics.keys())
        gone = self._found - self._topics.topics.keys()
        not_found = missing - gone - self._missing
        self._found, self._missing = found, missing
        if not self._classic:
            self.membership.subscribe(
                found.union(name for name in missing if not name.startswith("^")), _now_ms()
            )
        else:
            self._tell_missing(gone)
            if found:
                self.membership.subscribe(found, _now_ms())
            else:
                self.membership.unsubscribe()
        self.sync()
        if self._classic:
            self._tell_missing(not_found)

    def _tell_missing(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            reason = f"Subscribed topic not available: {name}: Broker: Unknown topic or partition"
            self._state.post(event(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, reason), name))

    def sync(self) -> None:
        """Bring the shared state in line with the membership, and queue the next event for the application."""
        state, membership = self._state, self.membership
        rebalance = membership.next_event()
        if rebalance is not None:
            state.post(rebalance)
        state.granted = dict(membership.assignment)

    # -- the background thread

    def due(self) -> float:
        """Monotonic time of the next step."""
        state, membership = self._state, self.membership
        with state.lock:
            due = -1.0 if self._look else membership.next_heartbeat() / 1000
            if membership.state in (State.UNSUBSCRIBED, State.LOST) or state.in_poll:
                return due
            return min(due, state.last_poll + self._poll_interval_s)

    def look_now(self) -> None:
        """Something about the group has changed: heartbeat at once."""
        self._look = True

    @property
    def topics_wanted(self) -> bool:
        """Whether the topics known are older than the subscription, which may name one that was just created."""
        return self._topics_for != self.subscriptions

    def set_topics(self, topics: Topics, subscriptions: int) -> None:
        """What the registry holds; it was asked when there had been so many subscriptions."""
        with self._state.lock:
            self._topics = topics
            self._topics_for = subscriptions
            self._apply_subscription()
        self._look = True

    def step(self) -> None:
        """One heartbeat if it is due, with all that follows from it. Raises StoreError."""
        state, membership = self._state, self.membership
        sent_at = _now_ms()
        with state.lock:
            self._check_poll(sent_at)
            if not self._look and membership.next_heartbeat() > sent_at:
                return
            if membership.idle and not state.subscription:
                self._look = False
                return
            member_id, version = membership.member_id, membership.version
        if membership.state is State.STABLE or member_id == "":
            self._keep_reader(member_id)
        view = self._store.group_heartbeat(self.group, member_id, version, self._session_timeout_ms)
        self._look = False
        for _ in range(MAX_LOST_RACES):
            with state.lock:
                if state.commits:
                    return  # what is to be given up must be committed first; the next step goes on
                group = membership.group if view.state is None else coordinator.decode(view.state)
                proposal = membership.propose(group, view.expired, self._topics, view.now)
                if proposal is None:
                    membership.observe(group, view.version, sent_at)
                    break
            self._release(proposal)
            expected = view.version
            view = self._store.group_update(
                self.group,
                expected,
                coordinator.encode(proposal.state),
                coordinator.sessions(proposal.state),
                proposal.evict,
            )
            if view.applied:
                with state.lock:
                    membership.observe(proposal.state, view.version, sent_at, proposal)
                break
        self._after(sent_at)

    def _after(self, sent_at: float) -> None:
        state, membership = self._state, self.membership
        with state.lock:
            member = membership.lease_valid(sent_at)
            if member:
                state.member_id = membership.member_id
                state.lease_until = (sent_at + self._session_timeout_ms) / 1000
            else:
                state.expel(for_good=membership.idle and not state.subscription)
            self.sync()
            if membership.instance_fenced:
                raise StoreError(
                    KafkaError._FATAL,
                    "Fatal error: FENCED_INSTANCE_ID: another consumer has joined with this group.instance.id; "
                    "this one has been fenced: give each a group.instance.id of its own",
                    fatal=True,
                )
            member_id = membership.member_id if member else ""
            state.for_app.notify_all()
        self._keep_reader(member_id)

    def _check_poll(self, now: float) -> None:
        state, membership = self._state, self.membership
        polled_at = now if state.in_poll else state.last_poll * 1000
        membership.polled(polled_at)
        # If another member was faster and has expelled this one, for not giving up in that time, it is LOST already.
        overslept, state.overslept = state.overslept, False
        interval = self._poll_interval_s * 1000
        overdue = (
            overslept
            or membership.poll_overdue(now)
            or (membership.state is State.LOST and now >= polled_at + interval)
        )
        if overdue and not self._overdue:
            error = KafkaError(
                KafkaError._MAX_POLL_EXCEEDED,
                f"Application maximum poll interval ({interval:.0f}ms) exceeded: the consumer has left its group "
                "and rejoins at the next poll; poll more often or raise max.poll.interval.ms",
            )
            state.post(event(error))  # before the on_lost that follows from it
            membership.abandon()
            state.expel()
            self.sync()
        self._overdue = overdue

    def _release(self, proposal: Proposal) -> None:
        if proposal.released and self.reader is not None:
            self.reader.release(list(proposal.released))

    def _keep_reader(self, member_id: str) -> None:
        """Have the reader of this member id, and none of a former one."""
        if self.reader is not None and (not member_id or self._reader_member != member_id):
            self.reader.close()
            self.reader = None
        if self.reader is None and member_id:
            self.reader = self._store.reader(self.group, member_id)
            self._reader_member = member_id

    def close_reader(self) -> None:
        """At the end of the thread."""
        self._keep_reader("")
