"""The rules of a consumer group, as pure functions of its state. There is no coordinator process.

A group's state is one value in the store. Any member may decode it, edit it, and write it back if its version is
still the same; whoever loses that race does it again on the new state. One write is any number of *edits* and
then `settle`, once::

    state = decode(view.state)
    state = set_topics(join(state, member_id, spec), topics)
    store.group_update(group, view.version, encode(settle(state, view.now)), sessions(state), evict=())

Edits (`join`, `leave`, `subscribe`, `set_topics`, `give_up`, `tick`) change what the assignment depends on, or
take partitions away from their owner. `settle` computes a new target if it must, and grants. An edit that
changes nothing returns the very same object, and so does `settle`: then there is nothing to write.

Invariant 1: a partition is in at most one member's `owned`: `settle` grants what is in nobody's, and the store
accepts a state only in the place of the one it was computed from.
Invariant 2: owner epochs of a partition rise strictly from owner to owner: an epoch is the generation of the
grant, the target is fixed within a generation, and only who has a partition in its target is granted it.

Times are the store's clock in ms (`GroupView.now`), never a member's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import msgspec
from confluent_kafka import ConsumerGroupState, KafkaError
from msgspec.structs import replace

from streamadapter.backend import TP, Topics
from streamadapter.engine.assignors import ASSIGNORS
from streamadapter.errors import StoreError

FORMAT = 1
"""Version of the encoded state. It changes whenever an older reader would misunderstand a newer state."""


class InconsistentProtocolError(StoreError):
    """INCONSISTENT_GROUP_PROTOCOL: the member shares no assignor with all the others."""


class UnreadableStateError(StoreError):
    """UNSUPPORTED_VERSION: the group's state was written by a newer version, or by something else."""


class MemberSpec(msgspec.Struct, frozen=True, array_like=True):
    """What a member brings along when it joins.

    Eager and cooperative members may share a group as long as they share an assignor, as Kafka's Java client does
    while it upgrades from one to the other: each is treated by its own rule. (librdkafka cannot get there: it
    refuses both kinds of assignor in one configuration.)
    """

    client_id: str
    client_host: str
    subscription: tuple[str, ...]  # topic names; patterns are resolved by the member. They need not exist
    assignors: tuple[str, ...]  # most preferred first
    cooperative: bool
    session_timeout_ms: int
    rebalance_timeout_ms: int  # how long it may take to give partitions up: max.poll.interval.ms
    instance_id: str | None = None  # group.instance.id of a static member
    classic: bool = True  # its group.protocol, which the admin client shows and nothing else depends on


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A member, what it shall own and what it does own."""

    spec: MemberSpec
    target: frozenset[TP] = frozenset()
    owned: dict[TP, int] = {}  # granted and not given up, with the owner epoch
    give_up_by: int = 0  # when it must have given up what it owes; 0: it owes nothing

    @property
    def settled(self) -> bool:
        """It owns exactly what it shall."""
        return self.owned.keys() == self.target

    @property
    def revoke(self) -> frozenset[TP]:
        """What it owes: the surplus; of an eager member everything, unless it is settled."""
        if self.spec.cooperative:
            return frozenset(self.owned.keys() - self.target)
        return frozenset() if self.settled else frozenset(self.owned)


class GroupState(msgspec.Struct, frozen=True, array_like=True):
    """A consumer group. Never modify the mappings in it: make a new state."""

    generation: int = 0
    assignor: str = ""  # the one in use; "" before the first member
    topics_version: int = -1  # of the registry snapshot that `topics` is from
    topics: dict[str, int] = {}  # partition counts of the subscribed topics that exist
    members: dict[str, Member] = {}
    dirty: bool = False  # members, subscriptions or topics changed since the target was computed
    classic: bool = True  # the protocol of the last one that joined: the group's type


class Instruction(msgspec.Struct, frozen=True):
    """The state as one member needs it."""

    generation: int
    owned: Mapping[TP, int]  # granted, with the owner epochs to acquire them with; `revoke` is part of it
    revoke: frozenset[TP]  # to be given up now
    settled: bool  # it owns exactly what it shall


# -- encoding


_decoder = msgspec.msgpack.Decoder(GroupState)
_envelope = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])


def encode(state: GroupState) -> bytes:
    """The state as the store keeps it. A group without members is not b"": its generation must live on."""
    return msgspec.msgpack.encode((FORMAT, state))


def decode(data: bytes) -> GroupState:
    """Inverse of `encode`; b"" is a group that nobody has ever joined. Raises UnreadableStateError."""
    if not data:
        return GroupState()
    try:
        version, body = _envelope.decode(data)
        if version != FORMAT:
            raise _unreadable(f"has format {version}, this version of streamadapter knows {FORMAT}")
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(f"is damaged, or not a group state at all ({error})") from error


def _unreadable(what: str) -> UnreadableStateError:
    return UnreadableStateError(
        KafkaError.UNSUPPORTED_VERSION,
        f"the stored state of this consumer group {what}: upgrade streamadapter to the newest version that the "
        "group's members run, or delete the group",
        fatal=True,
    )


# -- edits


def join(state: GroupState, member_id: str, spec: MemberSpec) -> GroupState:
    """Add a member under an id that was never used before. Nothing happens if it is one already.

    A static member replaces its former self and keeps its place and target; what that self owned becomes free
    and is granted anew, under a higher epoch, in the same `settle`. Raises InconsistentProtocolError.
    """
    if member_id in state.members:
        return state
    former = holder(state, spec.instance_id)
    members = {m: member for m, member in state.members.items() if m != former}
    target = state.members[former].target if former else frozenset()
    members[member_id] = Member(spec, target)
    if not _common_assignors(members):
        in_use = ", ".join(sorted(_common_assignors(state.members)))
        raise InconsistentProtocolError(
            KafkaError.INCONSISTENT_GROUP_PROTOCOL,
            f"no assignor of partition.assignment.strategy={','.join(spec.assignors)} is supported by all members "
            f"of the group; they have in common: {in_use}. Configure one of these, or stop the other members first",
        )
    return replace(state, members=members, dirty=True, classic=spec.classic)


def leave(state: GroupState, member_ids: Iterable[str]) -> GroupState:
    """Remove members, because they want it or their session ended; ids that are no members are ignored."""
    gone = state.members.keys() & set(member_ids)
    if not gone:
        return state
    members = {m: member for m, member in state.members.items() if m not in gone}
    return replace(state, members=members, dirty=True)


def tick(state: GroupState, now_ms: int) -> GroupState:
    """Remove the members that have not given up what they owe within their rebalance timeout."""
    return leave(state, [m for m, member in state.members.items() if 0 < member.give_up_by <= now_ms])


def subscribe(state: GroupState, member_id: str, subscription: tuple[str, ...]) -> GroupState:
    """Change a member's topics."""
    member = state.members[member_id]
    if member.spec.subscription == subscription:
        return state
    changed = replace(member, spec=replace(member.spec, subscription=subscription))
    return replace(state, members=state.members | {member_id: changed}, dirty=True)


def set_topics(state: GroupState, topics: Topics) -> GroupState:
    """Take over partition counts from a snapshot of the registry; one older than the last used is ignored."""
    if topics.version < state.topics_version:
        return state
    wanted = {topic for member in state.members.values() for topic in member.spec.subscription}
    counts = {topic: topics.topics[topic].partitions for topic in sorted(wanted & topics.topics.keys())}
    if counts == state.topics:
        return state
    return replace(state, topics_version=topics.version, topics=counts, dirty=True)


def give_up(state: GroupState, member_id: str, still_owned: Collection[TP]) -> GroupState:
    """Remove what is not in `still_owned` from what a member owns; its time for the rest begins anew.

    Call it when on_revoke has run, the offsets are committed, and nothing is being read from these partitions.
    """
    member = state.members[member_id]
    owned = {tp: epoch for tp, epoch in member.owned.items() if tp in still_owned}
    if len(owned) == len(member.owned):
        return state
    return replace(state, members=state.members | {member_id: replace(member, owned=owned, give_up_by=0)})


# -- consequences


def settle(state: GroupState, now_ms: int) -> GroupState:
    """Draw the consequences of edits: a new target and generation if anything it depends on changed, then grants.

    To be called once, after all edits of a write.
    """
    if state.dirty:
        assignor = _choose_assignor(state.members)
        state = replace(
            state,
            generation=_next_generation(state.generation, now_ms),
            assignor=assignor,
            members=_retarget(state, assignor),
            dirty=False,
        )
    members = {
        m: _with_deadline(member, now_ms) for m, member in _grant(state.members, state.generation).items()
    }
    return state if members == state.members else replace(state, members=members)


def _next_generation(generation: int, now_ms: int) -> int:
    """The next generation: higher than the last, and at least the clock.

    The clock makes epochs rise even if the group's state was lost (deleted, or a failover that lost the newest
    writes) while partitions still remember their owners' epochs. A clock that jumps does no harm.
    """
    return max(generation + 1, now_ms)


def _retarget(state: GroupState, assignor: str) -> dict[str, Member]:
    if not state.members:
        return {}
    assignment = ASSIGNORS[assignor](
        {m: member.spec.subscription for m, member in state.members.items()},
        state.topics,
        {m: member.target for m, member in state.members.items()},
        {m: member.spec.instance_id for m, member in state.members.items() if member.spec.instance_id},
    )
    return {m: replace(member, target=assignment[m]) for m, member in state.members.items()}


def _grant(members: Mapping[str, Member], generation: int) -> dict[str, Member]:
    """Give what nobody owns to who shall have it; targets are disjoint, so no two members want the same.

    An eager member is granted its whole target or nothing: its application gets one full list.
    """
    taken = {tp for member in members.values() for tp in member.owned}
    granted = dict(members)
    for m, member in members.items():
        free = member.target - taken
        if free and (member.spec.cooperative or (free == member.target and not member.owned)):
            granted[m] = replace(member, owned=member.owned | dict.fromkeys(sorted(free), generation))
    return granted


def _with_deadline(member: Member, now_ms: int) -> Member:
    """Start the clock of a member that owes something, stop that of one that does not."""
    if not member.revoke:
        return replace(member, give_up_by=0) if member.give_up_by else member
    if member.give_up_by:
        return member
    return replace(member, give_up_by=now_ms + member.spec.rebalance_timeout_ms)


def _common_assignors(members: Mapping[str, Member]) -> set[str]:
    supported = [set(member.spec.assignors) for member in members.values()]
    return set.intersection(set(ASSIGNORS), *supported)


def _choose_assignor(members: Mapping[str, Member]) -> str:
    """Each member votes for the first of its assignors that all support, as in Kafka; the name breaks a tie."""
    common = _common_assignors(members)
    votes = Counter(
        next(name for name in member.spec.assignors if name in common) for member in members.values()
    )
    return min(votes, key=lambda name: (-votes[name], name), default="")


# -- views


def instruction(state: GroupState, member_id: str) -> Instruction | None:
    """What a member may read and must give up; None: it is not a member (any more) and must stop at once."""
    member = state.members.get(member_id)
    if member is None:
        return None
    return Instruction(state.generation, member.owned, member.revoke, member.settled)


def holder(state: GroupState, instance_id: str | None) -> str | None:
    """Member id of the static member with this instance id, if there is one."""
    if instance_id is None:
        return None
    return next((m for m, member in state.members.items() if member.spec.instance_id == instance_id), None)


def sessions(state: GroupState) -> dict[str, int]:
    """All members and their session timeouts in ms, as `LogStore.group_update` wants them."""
    return {m: member.spec.session_timeout_ms for m, member in state.members.items()}


def group_status(state: GroupState) -> ConsumerGroupState:
    """For the admin client. Unsettled means that somebody still has to give partitions up."""
    if not state.members:
        return ConsumerGroupState.EMPTY
    if all(member.settled for member in state.members.values()):
        return ConsumerGroupState.STABLE
    return ConsumerGroupState.PREPARING_REBALANCING
