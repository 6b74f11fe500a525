"""One consumer's side of its group, as a pure state machine: no I/O, no clock, no thread.

The shell (`engine/consumer.py`) owns one, guards it with a lock, and does what it says:

* The background thread heartbeats when `next_heartbeat` is reached, builds a write from what it sees
  (`propose`), and reports the outcome (`observe`).
* The application's thread, in poll, shows the next rebalance event (`next_event`), runs the callback, and then
  says so (`answered`). One event at a time: whatever happens meanwhile waits for the answer.

Three sets matter, and each is part of the one before: what the *group* says this member owns, what the
*application* was told it has (`assignment`), and what it may hand out right now (only while `lease_valid`).

| state        | what happens                              | then                                                |
|--------------|-------------------------------------------|-----------------------------------------------------|
| UNSUBSCRIBED | subscribe                                 | JOINING                                             |
| JOINING      | propose, and it is not a member           | each attempt to join is made under a new member id  |
| JOINING      | observe: it is a member                   | STABLE                                              |
| JOINING      | unsubscribe, close                        | UNSUBSCRIBED; the next write makes sure it left     |
| STABLE       | owed, and the application has it          | next_event: REVOKE (eager: all), REVOKING           |
| STABLE       | owed, and the application never saw it    | released by the next write, without an event        |
| STABLE       | granted (eager: the whole target)         | next_event: ASSIGN (eager: all; cooperative: what   |
|              |                                           | is new; even nothing after joining or a REVOKE),    |
|              |                                           | ASSIGNING                                           |
| STABLE       | subscribe                                 | written; the group's answer decides what changes    |
| STABLE       | unsubscribe, close                        | next_event: REVOKE of all, REVOKING                 |
| STABLE       | the group's state was set back and does   | next_event: LOST of these (eager: of all)           |
|              | not grant what the application has        |                                                     |
| REVOKING     | answered                                  | STABLE; released by the next write, also if the     |
|              |                                           | group has changed its mind (then granted again)     |
| REVOKING     | answered, after unsubscribe or close      | UNSUBSCRIBED (or JOINING: subscribed again);        |
|              |                                           | the next write leaves                               |
| ASSIGNING    | answered, whatever the application        | STABLE: it owns what it was granted, read or not,   |
|              | assigned itself                           | as in Kafka                                         |
| any member   | observe: not a member; abandon            | LOST, once the event that is shown was answered     |
| LOST         | next_event, if the application has any    | LOST of all that is left                            |
| LOST         | answered, or next_event with nothing left | JOINING; UNSUBSCRIBED if it wants nothing any more  |
|              | (abandon: not before the next poll)       | or another process has its instance id              |

A lost reply is no case of its own: `propose` is computed from the state as it is. A join that was applied is
found there; a former attempt that is not wanted any more is taken back; and to release what was granted anew in
between only gets it granted once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from msgspec.structs import replace

from streamadapter.backend import TP, Topics
from streamadapter.engine import coordinator
from streamadapter.engine.coordinator import GroupState, Instruction, MemberSpec


class State(Enum):
    """Where a consumer stands; see the table above."""

    UNSUBSCRIBED = auto()
    JOINING = auto()
    STABLE = auto()
    REVOKING = auto()
    ASSIGNING = auto()
    LOST = auto()


class Rebalance(Enum):
    """Which callback an event is for."""

    ASSIGN = auto()
    REVOKE = auto()
    LOST = auto()


@dataclass(frozen=True, slots=True)
class Event:
    """A rebalance callback to be run: on_assign, on_revoke or on_lost with these partitions, in order."""

    kind: Rebalance
    partitions: tuple[TP, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The state to write, for `LogStore.group_update`; hand it back to `observe` if it was applied."""

    state: GroupState
    evict: tuple[str, ...]  # removed because their session ended: refused if they heartbeated meanwhile
    released: frozenset[TP]  # what this member gives up with it


class Membership:
    """See the module. Not thread-safe. `now` is the client's monotonic clock in ms, unless said otherwise."""

    def __init__(
        self,
        spec: MemberSpec,
        heartbeat_interval_ms: int,
        new_member_id: Callable[[], str],
        *,
        told_when_idle: bool = True,
    ) -> None:
        """`spec.subscription` is ignored: `subscribe` sets it. `new_member_id` gives a unique id at each call.

        told_when_idle: a member that joins and gets nothing is shown an ASSIGN of nothing. Not so with KIP-848.
        """
        self.member_id = ""  # "" before an attempt to join. A lost member keeps its id: the store refuses it
        self.version = -1  # of `group`, for the next heartbeat
        self.group = GroupState()  # as last seen
        self.instance_fenced = False  # another process joined with this group.instance.id: fatal
        self._spec = replace(spec, subscription=())
        self._heartbeat_interval_ms = heartbeat_interval_ms
        self._new_member_id = new_member_id
        self._state = State.UNSUBSCRIBED  # never REVOKING or ASSIGNING: those are `_shown`
        self._shown: Event | None = None  # the event the application has not answered yet
        self._instruction: Instruction | None = None
        self._assignment: dict[TP, int] = {}
        self._told_when_idle = told_when_idle
        # Since the last on_revoke: a rebalance ends with an on_assign, and an eager member's callbacks alternate.
        self._had_assign = False
        self._releasing: set[TP] = set()  # no longer the application's, not yet given up in the group
        self._leaving = False  # leave once the application has given everything up
        self._stays_on_close = False  # a static member that closes keeps its seat until its session ends
        self._departing: set[str] = set()  # former ids that must not stay members
        self._sent_at = -inf
        self._polled_at = inf
        self._abandoned: float | None = None  # `_polled_at` when it was: it takes a newer poll to join again

    # -- questions

    @property
    def state(self) -> State:
        """Where it stands now."""
        if self._shown is None or self._state is State.LOST:
            return self._state
        return {
            Rebalance.ASSIGN: State.ASSIGNING,
            Rebalance.REVOKE: State.REVOKING,
            Rebalance.LOST: State.LOST,
        }[self._shown.kind]

    @property
    def assignment(self) -> Mapping[TP, int]:
        """What the application was told it has, with the owner epochs to acquire it with."""
        return self._assignment

    @property
    def idle(self) -> bool:
        """Unsubscribed, and nothing is left to be written: `close` is done."""
        return self._state is State.UNSUBSCRIBED and not self._departing

    def next_heartbeat(self) -> float:
        """When to heartbeat: -inf is at once (something is to be written), inf is never (nothing to say).

        After a failed attempt the shell waits its retry back-off in any case.
        """
        if self._departing or self._releasing or self._state is State.JOINING or self._subscription_changed():
            return -inf
        if self._state is State.STABLE:
            return self._sent_at + self._heartbeat_interval_ms
        return inf

    def lease_valid(self, now: float) -> bool:
        """Nobody can have evicted it yet, so records may be handed out.

        Counted from the sending of the last successful heartbeat: the store got it later, and its clock runs as
        fast as ours.
        """
        return self._state is State.STABLE and now < self._sent_at + self._spec.session_timeout_ms

    def poll_overdue(self, now: float) -> bool:
        """max.poll.interval.ms has passed without a poll: the shell reports it, and calls `abandon`."""
        is_member = self._state in (State.JOINING, State.STABLE)
        return is_member and now >= self._polled_at + self._spec.rebalance_timeout_ms

    # -- the application

    def subscribe(self, topics: Iterable[str], now: float) -> None:
        """Replace the subscription by these topic names."""
        self._spec = replace(self._spec, subscription=tuple(sorted(set(topics))))
        if self._state is State.UNSUBSCRIBED:
            self._polled_at = now
            self._restart()

    def unsubscribe(self) -> None:
        """Leave the group, after an on_revoke (or on_lost) for what the application has."""
        self._spec = replace(self._spec, subscription=())
        if self._state is State.JOINING:
            self._depart()
        elif self._state is State.STABLE:
            self._leaving = True
            self._advance()

    def close(self) -> None:
        """Unsubscribe for good. A static member does not leave, so that it finds its partitions again (KIP-345)."""
        self._stays_on_close = self._spec.instance_id is not None
        self.unsubscribe()

    def polled(self, now: float) -> None:
        """The application called poll or consume."""
        self._polled_at = now

    def abandon(self) -> None:
        """Leave without asking the application; it gets on_lost at its next poll, and only then is it joined again.

        For a consumer that does not poll, and for one that the store fences although the group says it is a member.
        """
        if self._state in (State.JOINING, State.STABLE):
            self._retire_id()
            self._abandoned = self._polled_at
            self._lose()

    def next_event(self) -> Event | None:
        """The callback to run now; call `answered` after it. None: nothing to do, or one is still unanswered."""
        if self._shown is not None:
            return None
        absent = self._spec.subscription and self._abandoned == self._polled_at
        if self._state is State.LOST and not self._owes_farewell() and not absent:
            self._restart()
        decided = self._decide()
        if decided is None:
            return None
        kind, partitions = decided
        if kind is Rebalance.ASSIGN and self._instruction is not None:
            self._assignment |= {tp: self._instruction.owned[tp] for tp in partitions}
            self._had_assign = True
        self._shown = Event(kind, tuple(sorted(partitions)))
        return self._shown

    def answered(self) -> None:
        """The callback returned (or raised), and offsets are committed: the event has taken effect."""
        event, self._shown = self._shown, None
        if event is None or event.kind is Rebalance.ASSIGN:
            self._advance()
            return
        for tp in event.partitions:
            self._assignment.pop(tp, None)
        self._had_assign = False
        if self._state is State.STABLE and event.kind is Rebalance.REVOKE:
            self._releasing.update(event.partitions)
        if self._state is State.LOST and not self._owes_farewell():
            self._restart()
        self._advance()

    # -- the group

    def propose(
        self, state: GroupState, expired: Iterable[str], topics: Topics | None, now_ms: int
    ) -> Proposal | None:
        """What to write, given the state as it is, a registry snapshot and the *store's* clock; None: nothing.

        Covers housekeeping that any member does for all: sessions that ended, members that do not give up, new
        partition counts. Raises InconsistentProtocolError if it cannot join.
        """
        if self._state is State.JOINING and self.member_id not in state.members:
            self._retire_id()  # an earlier attempt may have been applied, and be history already
            self.member_id = self._new_member_id()
        ended = tuple(m for m in expired if m in state.members and m != self.member_id)
        edited = coordinator.leave(state, self._departing.union(ended))
        edited = coordinator.tick(edited, now_ms)
        released: frozenset[TP] = frozenset()
        if self._state is State.JOINING:
            edited = self._join(edited)
        elif self._state is State.STABLE and self.member_id in edited.members:
            if not self._leaving:
                edited = coordinator.subscribe(edited, self.member_id, self._spec.subscription)
            released = frozenset(self._releasing)
            kept = edited.members[self.member_id].owned.keys() - released
            edited = coordinator.give_up(edited, self.member_id, kept)
        if topics is not None:
            edited = coordinator.set_topics(edited, topics)
        edited = coordinator.settle(edited, now_ms)
        return None if edited is state else Proposal(edited, ended, released)

    def _join(self, state: GroupState) -> GroupState:
        try:
            return coordinator.join(state, self.member_id, self._spec)
        except coordinator.InconsistentProtocolError:
            self.member_id = ""  # it was never proposed: there is nothing to take back
            raise

    def observe(
        self, state: GroupState, version: int, sent_at: float, applied: Proposal | None = None
    ) -> None:
        """A round trip succeeded and this is the group now. `sent_at`: when its heartbeat was sent."""
        self.group, self.version = state, version
        self._departing &= state.members.keys()
        if self._state not in (State.JOINING, State.STABLE):
            return
        seen = coordinator.instruction(state, self.member_id)
        if seen is None:
            if self._state is State.STABLE:
                self.instance_fenced = coordinator.holder(state, self._spec.instance_id) is not None
                self._lose()
            return
        self._state = State.STABLE
        self._instruction = seen
        self._sent_at = sent_at
        if applied is not None:
            self._releasing -= applied.released
        self._releasing &= seen.owned.keys()
        self._advance()

    # -- inside

    def _decide(self) -> tuple[Rebalance, Iterable[TP]] | None:
        """Which event the application needs next; nothing is shown at this moment."""
        if self._state is State.LOST:
            return (Rebalance.LOST, self._assignment) if self._owes_farewell() else None
        if self._leaving:
            return Rebalance.REVOKE, self._assignment
        if self._state is not State.STABLE or self._instruction is None:
            return None
        owned = self._instruction.owned
        set_back = [tp for tp, epoch in self._assignment.items() if owned.get(tp) != epoch]
        if set_back:
            return Rebalance.LOST, set_back if self._spec.cooperative else self._assignment
        if self._spec.cooperative:
            surplus = self._instruction.revoke & self._assignment.keys()
            if surplus:
                return Rebalance.REVOKE, surplus
        elif self._had_assign:
            unchanged = self._instruction.settled and self._assignment.keys() == owned.keys()
            return None if unchanged else (Rebalance.REVOKE, self._assignment)
        if self._releasing or not (self._instruction.settled or self._spec.cooperative):
            return None
        added = owned.keys() - self._assignment.keys()
        return (Rebalance.ASSIGN, added) if added or not self._had_assign else None

    def _advance(self) -> None:
        """Take the steps that need nobody's consent."""
        if self._state is State.STABLE and self._instruction is not None:
            self._releasing |= self._instruction.revoke - self._assignment.keys()
        if self._leaving and self._shown is None and not self._owes_farewell():
            self._depart()

    def _owes_farewell(self) -> bool:
        return bool(self._assignment) or (self._had_assign and not self._spec.cooperative)

    def _subscription_changed(self) -> bool:
        member = self.group.members.get(self.member_id) if self._state is State.STABLE else None
        return (
            member is not None and not self._leaving and member.spec.subscription != self._spec.subscription
        )

    def _lose(self) -> None:
        self._state = State.LOST
        self._instruction = None
        self._releasing.clear()
        self._leaving = False

    def _depart(self) -> None:
        if not self._stays_on_close:
            self._retire_id()
        self._lose()
        self._restart()

    def _restart(self) -> None:
        """Everything of the former membership is settled with the application: begin the next one, if any."""
        self._had_assign = self._spec.cooperative and not self._told_when_idle
        self._abandoned = None
        self.member_id = ""
        if self._spec.subscription and not self.instance_fenced:
            self._state = State.JOINING
        else:
            self._state = State.UNSUBSCRIBED

    def _retire_id(self) -> None:
        """See to it that the member id does not stay a member."""
        if self.member_id:
            self._departing.add(self.member_id)
