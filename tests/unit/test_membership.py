from itertools import count
from math import inf

import pytest
from msgspec.structs import replace

from streamadapter.backend import TP, TopicInfo, Topics
from streamadapter.engine import coordinator
from streamadapter.engine.coordinator import GroupState, MemberSpec
from streamadapter.engine.membership import Event, Membership, Rebalance, State

COOPERATIVE = MemberSpec("client", "host", (), ("uniform",), True, 1_000, 5_000)
EAGER = MemberSpec("client", "host", (), ("range",), False, 1_000, 5_000)
TOPICS = Topics(1, {"t": TopicInfo("t", "id", 4)})


def t(*partitions: int) -> tuple[TP, ...]:
    return tuple(("t", p) for p in partitions)


class Group:
    """The group as it is stored. Members' writes always win; `now` is everybody's clock."""

    def __init__(self) -> None:
        self.state = GroupState()
        self.version = 0
        self.now = 0
        self.topics = TOPICS

    def beat(self, m: Membership, *, reply_lost: bool = False) -> None:
        """One round trip of a member's background thread."""
        proposal = m.propose(self.state, (), self.topics, self.now)
        if proposal is not None:
            self.put(proposal.state)
        if not reply_lost:
            m.observe(self.state, self.version, self.now, proposal)

    def put(self, state: GroupState) -> None:
        self.state = state
        self.version += 1

    def expel(self, m: Membership) -> None:
        self.put(coordinator.settle(coordinator.leave(self.state, [m.member_id]), self.now))
        self.beat(m)

    def owned(self, m: Membership) -> tuple[TP, ...]:
        return tuple(sorted(self.state.members[m.member_id].owned))


@pytest.fixture
def group() -> Group:
    return Group()


def new_member(spec: MemberSpec = COOPERATIVE, prefix: str = "m") -> Membership:
    ids = count(1)
    return Membership(spec, heartbeat_interval_ms=300, new_member_id=lambda: f"{prefix}{next(ids)}")


def joined(group: Group, spec: MemberSpec = COOPERATIVE, prefix: str = "m") -> Membership:
    m = new_member(spec, prefix)
    m.subscribe(["t"], group.now)
    group.beat(m)
    return m


def show(m: Membership) -> Event | None:
    """The next event, with an application that answers at once."""
    event = m.next_event()
    if event is not None:
        m.answered()
    return event


def alone(group: Group, spec: MemberSpec = COOPERATIVE) -> Membership:
    """The only member, whose application has all four partitions."""
    m = joined(group, spec)
    assert show(m) == Event(Rebalance.ASSIGN, t(0, 1, 2, 3))
    return m


# -- joining


def test_a_subscription_leads_to_a_join_and_an_assignment(group: Group) -> None:
    m = new_member()
    assert m.state is State.UNSUBSCRIBED
    assert m.next_heartbeat() == inf

    m.subscribe(["t", "t"], 0)
    assert m.state is State.JOINING
    assert m.next_heartbeat() == -inf
    group.beat(m)

    assert m.state is State.STABLE
    assert m.next_event() == Event(Rebalance.ASSIGN, t(0, 1, 2, 3))
    assert m.state is State.ASSIGNING
    assert m.next_event() is None
    m.answered()
    assert m.state is State.STABLE
    assert set(m.assignment.values()) == {group.state.generation}


def test_each_attempt_to_join_has_a_member_id_of_its_own(group: Group) -> None:
    m = new_member()
    m.subscribe(["t"], 0)
    m.propose(group.state, (), TOPICS, 0)
    first = m.member_id

    m.propose(group.state, (), TOPICS, 0)

    assert (first, m.member_id) == ("m1", "m2")


def test_a_join_whose_reply_was_lost_is_found_and_not_repeated(group: Group) -> None:
    m = new_member()
    m.subscribe(["t"], 0)

    group.beat(m, reply_lost=True)
    group.beat(m)

    assert m.state is State.STABLE
    assert list(group.state.members) == ["m1"]


def test_an_eager_newcomer_hears_nothing_until_it_has_its_whole_target(group: Group) -> None:
    first = alone(group, EAGER)
    second = joined(group, EAGER, "n")
    assert second.next_event() is None

    group.beat(first)
    assert show(first) == Event(Rebalance.REVOKE, t(0, 1, 2, 3))
    group.beat(first)
    group.beat(second)

    assert show(first) == Event(Rebalance.ASSIGN, t(0, 1))
    assert show(second) == Event(Rebalance.ASSIGN, t(2, 3))


def test_cooperative_members_are_told_of_what_is_added_even_if_that_is_nothing(
    group: Group,
) -> None:
    first = alone(group)
    second = joined(group, prefix="n")
    assert show(second) == Event(Rebalance.ASSIGN, ())

    group.beat(first)
    assert show(first) == Event(Rebalance.REVOKE, t(2, 3))
    group.beat(first)
    group.beat(second)

    assert show(first) == Event(Rebalance.ASSIGN, ())
    assert show(first) is None
    assert show(second) == Event(Rebalance.ASSIGN, t(2, 3))


def test_a_kip_848_newcomer_is_told_nothing_until_it_gets_something(group: Group) -> None:
    first = alone(group)
    second = Membership(COOPERATIVE, 300, lambda: "n1", told_when_idle=False)
    second.subscribe(["t"], group.now)
    group.beat(second)
    assert show(second) is None

    group.beat(first)
    assert show(first) == Event(Rebalance.REVOKE, t(2, 3))
    group.beat(first)
    group.beat(second)

    assert show(second) == Event(Rebalance.ASSIGN, t(2, 3))


def test_an_eager_member_without_partitions_is_told_so_and_its_callbacks_alternate(group: Group) -> None:
    group.topics = Topics(1, {})
    m = joined(group, EAGER)
    assert show(m) == Event(Rebalance.ASSIGN, ())

    group.topics = Topics(2, {"t": TopicInfo("t", "id", 1)})
    group.beat(m)

    assert show(m) == Event(Rebalance.REVOKE, ())
    assert show(m) == Event(Rebalance.ASSIGN, t(0))


# -- changes while an event is unanswered


def test_partitions_are_given_up_only_after_the_application_has_answered(group: Group) -> None:
    first = alone(group)
    joined(group, prefix="n")
    group.beat(first)

    event = first.next_event()
    assert first.state is State.REVOKING
    group.beat(first)
    assert event == Event(Rebalance.REVOKE, t(2, 3))
    assert group.owned(first) == t(0, 1, 2, 3)
    assert sorted(first.assignment) == [*t(0, 1, 2, 3)]

    first.answered()
    assert first.next_heartbeat() == -inf
    group.beat(first)
    assert group.owned(first) == t(0, 1)
    assert first.next_heartbeat() == 300


def test_what_was_revoked_is_released_and_assigned_anew_if_the_group_changes_its_mind(group: Group) -> None:
    first = alone(group)
    second = joined(group, prefix="n")
    group.beat(first)
    first.next_event()
    group.expel(second)
    group.beat(first)

    first.answered()
    assert show(first) is None
    group.beat(first)

    assert show(first) == Event(Rebalance.ASSIGN, t(2, 3))


def test_more_to_revoke_comes_as_a_second_event(group: Group) -> None:
    first = alone(group)
    joined(group, prefix="n")
    group.beat(first)
    first.next_event()
    joined(group, prefix="o")
    joined(group, prefix="p")
    group.beat(first)
    first.answered()

    second = show(first)

    assert second is not None
    assert second.kind is Rebalance.REVOKE
    assert not set(second.partitions) & set(t(2, 3))


def test_what_the_application_never_saw_is_released_without_an_event(group: Group) -> None:
    first = joined(group)
    second = joined(group, prefix="n")
    show(second)

    group.beat(first)
    group.beat(first)
    group.beat(second)

    assert show(first) == Event(Rebalance.ASSIGN, t(0, 1))
    assert show(second) == Event(Rebalance.ASSIGN, t(2, 3))


def test_a_release_whose_reply_was_lost_is_not_assigned_again_before_it_is_confirmed(group: Group) -> None:
    m = alone(group, EAGER)
    group.topics = Topics(2, {"t": TopicInfo("t", "id", 5)})
    group.beat(m)
    assert show(m) == Event(Rebalance.REVOKE, t(0, 1, 2, 3))

    group.beat(m, reply_lost=True)
    assert m.next_event() is None
    for _ in range(3):
        group.beat(m)

    assert show(m) == Event(Rebalance.ASSIGN, t(0, 1, 2, 3, 4))
    assert show(m) is None


def test_a_member_evicted_while_it_revokes_loses_the_rest(group: Group) -> None:
    first = alone(group)
    joined(group, prefix="n")
    group.beat(first)
    first.next_event()
    group.expel(first)
    assert first.state is State.LOST
    assert first.next_event() is None

    first.answered()

    assert show(first) == Event(Rebalance.LOST, t(0, 1))
    assert first.state is State.JOINING


def test_an_eager_member_evicted_while_it_revokes_has_nothing_left_to_lose(group: Group) -> None:
    first = alone(group, EAGER)
    joined(group, EAGER, "n")
    group.beat(first)
    first.next_event()
    group.expel(first)

    first.answered()

    assert first.state is State.JOINING
    assert first.next_event() is None


def test_a_member_evicted_while_it_is_assigned_loses_all_of_it(group: Group) -> None:
    m = joined(group)
    m.next_event()
    group.expel(m)
    m.answered()

    assert show(m) == Event(Rebalance.LOST, t(0, 1, 2, 3))


# -- losing membership


def test_an_evicted_member_joins_again_under_a_new_id_after_on_lost(group: Group) -> None:
    m = alone(group)
    group.expel(m)
    assert m.next_heartbeat() == inf
    assert not m.lease_valid(0)
    assert m.member_id == "m1", "a late commit must carry the id that the store refuses"

    assert show(m) == Event(Rebalance.LOST, t(0, 1, 2, 3))
    assert m.assignment == {}
    group.beat(m)

    assert list(group.state.members) == ["m2"]
    assert show(m) == Event(Rebalance.ASSIGN, t(0, 1, 2, 3))


def test_the_former_self_of_a_restarted_static_member_is_fenced_for_good(group: Group) -> None:
    static = replace(COOPERATIVE, instance_id="i")
    former = alone(group, static)
    joined(group, static, "n")

    group.beat(former)

    assert former.instance_fenced
    assert show(former) == Event(Rebalance.LOST, t(0, 1, 2, 3))
    assert former.state is State.UNSUBSCRIBED
    assert former.idle


def test_partitions_that_a_state_set_back_does_not_grant_are_lost_and_then_assigned_anew(
    group: Group,
) -> None:
    m = alone(group)
    member = group.state.members[m.member_id]
    set_back = replace(member, owned=dict.fromkeys(member.owned, 7))
    group.put(replace(group.state, members={m.member_id: set_back}))
    group.beat(m)

    assert show(m) == Event(Rebalance.LOST, t(0, 1, 2, 3))
    assert show(m) == Event(Rebalance.ASSIGN, t(0, 1, 2, 3))
    assert set(m.assignment.values()) == {7}


# -- time


def test_the_lease_counts_from_the_sending_of_the_last_successful_heartbeat(group: Group) -> None:
    m = alone(group)
    group.now = 400
    m.observe(group.state, group.version, sent_at=250)

    assert m.next_heartbeat() == 550
    assert m.lease_valid(1_249)
    assert not m.lease_valid(1_250)


def test_a_lease_that_ran_out_is_valid_again_once_a_heartbeat_confirms_it(group: Group) -> None:
    m = alone(group)
    assert not m.lease_valid(5_000)

    group.now = 5_000
    group.beat(m)

    assert m.lease_valid(5_999)
    assert m.next_event() is None


def test_a_consumer_that_does_not_poll_leaves_and_joins_again_at_its_next_poll(group: Group) -> None:
    m = alone(group)
    m.polled(100)
    assert not m.poll_overdue(5_099)
    assert m.poll_overdue(5_100)

    m.abandon()
    assert not m.poll_overdue(99_999)
    assert m.next_heartbeat() == -inf
    group.beat(m)
    assert not group.state.members
    assert m.next_heartbeat() == inf

    assert show(m) == Event(Rebalance.LOST, t(0, 1, 2, 3))
    assert m.state is State.JOINING


def test_a_consumer_that_does_not_poll_and_has_nothing_does_not_join_before_it_polls(group: Group) -> None:
    group.topics = Topics(1, {})
    m = joined(group)
    show(m)

    m.abandon()
    group.beat(m)
    assert m.next_event() is None
    assert m.state is State.LOST
    assert m.next_heartbeat() == inf

    m.polled(6_000)
    assert m.next_event() is None
    assert m.state is State.JOINING


def test_unsubscribe_after_abandon_needs_no_poll(group: Group) -> None:
    group.topics = Topics(1, {})
    m = joined(group)
    show(m)
    m.abandon()
    group.beat(m)

    m.unsubscribe()
    m.next_event()

    assert m.idle


# -- changing and ending the subscription


def test_a_changed_subscription_is_written_at_once_and_the_group_decides(group: Group) -> None:
    group.topics = Topics(2, {**TOPICS.topics, "u": TopicInfo("u", "id", 1)})
    m = alone(group)

    m.subscribe(["u"], 0)
    assert m.next_heartbeat() == -inf
    assert show(m) is None
    group.beat(m)

    assert show(m) == Event(Rebalance.REVOKE, t(0, 1, 2, 3))
    group.beat(m)
    assert show(m) == Event(Rebalance.ASSIGN, (("u", 0),))


@pytest.mark.parametrize("spec", [COOPERATIVE, EAGER])
def test_unsubscribe_revokes_everything_and_then_leaves(group: Group, spec: MemberSpec) -> None:
    m = alone(group, spec)

    m.unsubscribe()
    group.beat(m)
    assert m.member_id in group.state.members
    assert show(m) == Event(Rebalance.REVOKE, t(0, 1, 2, 3))
    assert m.state is State.UNSUBSCRIBED
    assert not m.idle
    group.beat(m)

    assert m.idle
    assert not group.state.members
    assert show(m) is None


def test_unsubscribe_inside_a_callback_takes_effect_after_it(group: Group) -> None:
    m = joined(group)
    m.next_event()

    m.unsubscribe()
    assert m.next_event() is None
    m.answered()

    assert show(m) == Event(Rebalance.REVOKE, t(0, 1, 2, 3))
    assert m.state is State.UNSUBSCRIBED


def test_unsubscribe_while_joining_takes_back_what_may_have_been_written(group: Group) -> None:
    m = new_member()
    m.subscribe(["t"], 0)
    group.beat(m, reply_lost=True)

    m.unsubscribe()
    assert m.next_heartbeat() == -inf
    group.beat(m)

    assert m.idle
    assert not group.state.members


def test_unsubscribe_of_a_member_that_has_nothing_leaves_without_an_event(group: Group) -> None:
    m = joined(group)
    m.unsubscribe()

    assert m.next_event() is None
    assert m.state is State.UNSUBSCRIBED


def test_unsubscribe_after_an_eviction_shows_on_lost(group: Group) -> None:
    m = alone(group)
    group.expel(m)

    m.unsubscribe()

    assert show(m) == Event(Rebalance.LOST, t(0, 1, 2, 3))
    assert m.idle


def test_subscribing_again_before_it_has_left_leaves_and_joins_in_one_write(group: Group) -> None:
    m = alone(group)
    m.unsubscribe()
    m.subscribe(["t"], 0)

    assert show(m) == Event(Rebalance.REVOKE, t(0, 1, 2, 3))
    group.beat(m)

    assert list(group.state.members) == ["m2"]
    assert show(m) == Event(Rebalance.ASSIGN, t(0, 1, 2, 3))


def test_a_static_member_that_closes_keeps_its_seat(group: Group) -> None:
    m = alone(group, replace(COOPERATIVE, instance_id="i"))

    m.close()

    assert show(m) == Event(Rebalance.REVOKE, t(0, 1, 2, 3))
    assert m.idle
    assert list(group.state.members) == ["m1"]


# -- housekeeping for all


def test_any_member_evicts_those_whose_session_ended_but_never_itself(group: Group) -> None:
    first = alone(group)
    joined(group, prefix="n")

    proposal = first.propose(group.state, ("n1", first.member_id, "long gone"), TOPICS, 50)

    assert proposal is not None
    assert proposal.evict == ("n1",)
    assert list(proposal.state.members) == ["m1"]


def test_nothing_is_proposed_when_nothing_is_to_be_done(group: Group) -> None:
    m = alone(group)

    assert m.propose(group.state, (), TOPICS, 50) is None
