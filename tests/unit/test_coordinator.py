from contextlib import suppress

import msgspec
import pytest
from confluent_kafka import ConsumerGroupState, KafkaError
from hypothesis import given
from hypothesis import strategies as st

from streamadapter.backend import TopicInfo, Topics
from streamadapter.engine.coordinator import (
    GroupState,
    InconsistentProtocolError,
    Instruction,
    MemberSpec,
    UnreadableStateError,
    decode,
    encode,
    give_up,
    group_status,
    holder,
    instruction,
    join,
    leave,
    sessions,
    set_topics,
    settle,
    subscribe,
    tick,
)


def spec(
    *topics: str,
    assignors: tuple[str, ...] = ("uniform",),
    cooperative: bool = True,
    instance: str | None = None,
) -> MemberSpec:
    return MemberSpec("client", "10.0.0.1", topics or ("t",), assignors, cooperative, 1_000, 5_000, instance)


EAGER = spec(assignors=("range",), cooperative=False)


def registry(version: int = 1, **partitions: int) -> Topics:
    return Topics(version, {name: TopicInfo(name, "id", n) for name, n in partitions.items()})


def group(*members: str, of: MemberSpec | None = None, partitions: int = 4) -> GroupState:
    """A stable group on topic t, whose members joined at once."""
    state = GroupState()
    for member in members:
        state = join(state, member, of or spec())
    return settle(set_topics(state, registry(t=partitions)), 10)


def seen(state: GroupState, member: str) -> Instruction:
    view = instruction(state, member)
    assert view is not None
    return view


# -- encoding


def test_a_state_survives_encoding() -> None:
    state = settle(join(group("A", "B"), "C", spec("t", "u", instance="i")), 20)

    assert decode(encode(state)) == state


def test_no_bytes_are_a_group_that_nobody_joined() -> None:
    assert decode(b"") == GroupState()


def test_a_group_that_everybody_left_remembers_its_generation() -> None:
    state = settle(leave(group("A"), ["A"]), 11)

    assert decode(encode(state)).generation > group("A").generation


def test_a_newer_format_is_refused_with_the_advice_to_upgrade() -> None:
    with pytest.raises(UnreadableStateError, match=r"format 2.*upgrade streamadapter") as error:
        decode(msgspec.msgpack.encode((2, {"anything": "else"})))

    assert error.value.code == KafkaError.UNSUPPORTED_VERSION
    assert error.value.fatal


@given(st.binary(min_size=1) | st.binary().map(lambda tail: encode(group("A"))[:-9] + tail))
def test_damaged_bytes_raise_the_same_error_or_nothing(data: bytes) -> None:
    with suppress(UnreadableStateError):
        decode(data)


def test_deep_nesting_is_damage_and_no_crash() -> None:
    with pytest.raises(UnreadableStateError):
        decode(b"\x92\x01" + b"\x91" * 100_000)


# -- joining, leaving


def test_the_first_member_is_granted_everything_at_once() -> None:
    state = group("A")

    assert seen(state, "A").owned == dict.fromkeys([("t", p) for p in range(4)], state.generation)
    assert group_status(state) is ConsumerGroupState.STABLE


def test_a_newcomer_waits_until_the_owner_gives_up() -> None:
    state = settle(join(group("A"), "B", spec()), 20)
    owed = seen(state, "A").revoke
    assert len(owed) == 2
    assert seen(state, "B").owned == {}
    assert group_status(state) is ConsumerGroupState.PREPARING_REBALANCING

    after = settle(give_up(state, "A", state.members["A"].owned.keys() - owed), 21)

    assert seen(after, "B").owned == dict.fromkeys(owed, state.generation)
    assert after.generation == state.generation
    assert group_status(after) is ConsumerGroupState.STABLE


def test_an_eager_member_gives_up_all_and_gets_its_whole_target_at_once() -> None:
    state = settle(join(group("A", of=EAGER), "B", EAGER), 20)
    assert seen(state, "A").revoke == state.members["A"].owned.keys()

    after = settle(give_up(state, "A", ()), 21)

    assert list(seen(after, "A").owned) == [("t", 0), ("t", 1)]
    assert list(seen(after, "B").owned) == [("t", 2), ("t", 3)]


def test_an_eager_member_gets_nothing_while_a_part_of_its_target_is_taken() -> None:
    state = settle(join(group("A", "B", of=EAGER), "C", EAGER), 20)

    half = settle(give_up(state, "A", ()), 21)

    assert seen(half, "C").owned == {}
    assert not seen(half, "C").settled


def test_an_eager_member_whose_target_stays_is_left_in_peace() -> None:
    state = group("A", "B", "C", of=EAGER, partitions=2)

    after = settle(leave(state, ["C"]), 20)

    assert seen(after, "A").revoke == frozenset()
    assert after.generation > state.generation


def test_what_a_dead_member_owned_is_granted_to_the_others_at_once() -> None:
    state = settle(leave(group("A", "B"), ["B", "nobody"]), 20)

    assert len(seen(state, "A").owned) == 4
    assert instruction(state, "B") is None
    assert sessions(state) == {"A": 1_000}


def test_joining_twice_and_other_edits_that_change_nothing_return_the_same_object() -> None:
    state = group("A")

    for same in (
        join(state, "A", spec()),
        leave(state, ["nobody"]),
        tick(state, 10**9),
        subscribe(state, "A", ("t",)),
        set_topics(state, registry(2, t=4, other=1)),
        give_up(state, "A", state.members["A"].owned),
        settle(state, 10**9),
    ):
        assert same is state


def test_generations_outrank_those_of_a_group_that_was_deleted() -> None:
    old = group("A")
    for now in range(11, 14):
        old = settle(join(old, str(now), spec()), now)

    new = settle(join(decode(b""), "A", spec()), 20)

    assert new.generation > old.generation


def test_generations_rise_although_the_clock_goes_back() -> None:
    state = group("A")

    assert settle(join(state, "B", spec()), 1).generation == state.generation + 1


# -- static members


def test_a_restarted_static_member_takes_over_under_a_new_epoch_and_nobody_else_notices() -> None:
    state = GroupState()
    for name in ("A", "B", "C"):
        state = join(state, name, spec(instance=f"i-{name}"))
    state = settle(set_topics(state, registry(t=7)), 10)

    after = settle(join(state, "A2", spec(instance="i-A")), 20)

    assert seen(after, "A2").owned.keys() == seen(state, "A").owned.keys()
    assert set(seen(after, "A2").owned.values()) == {after.generation}
    assert after.generation > state.generation
    assert instruction(after, "A") is None
    assert "A" not in sessions(after)
    assert holder(after, "i-A") == "A2"
    assert all(after.members[m] == state.members[m] for m in ("B", "C"))


def test_what_a_static_member_still_owed_is_not_inherited() -> None:
    state = settle(join(group("A", of=spec(instance="i")), "B", spec()), 20)
    owed = seen(state, "A").revoke

    after = settle(join(state, "A2", spec(instance="i")), 21)

    assert seen(after, "B").owned.keys() == owed
    assert seen(after, "A2").settled


# -- topics and subscriptions


def test_new_partitions_are_granted_without_a_revocation() -> None:
    state = group("A", "B")

    after = settle(set_topics(state, registry(2, t=6)), 20)

    assert [len(seen(after, m).owned) for m in "AB"] == [3, 3]
    assert not any(seen(after, m).revoke for m in "AB")


def test_partitions_of_a_deleted_topic_must_be_given_up() -> None:
    state = settle(set_topics(group("A"), registry(2)), 20)

    assert seen(state, "A").revoke == {("t", p) for p in range(4)}


def test_a_topic_that_does_not_exist_yet_makes_a_member_with_nothing() -> None:
    state = settle(set_topics(join(GroupState(), "A", spec("later")), registry(1, t=4)), 10)
    assert seen(state, "A") == Instruction(state.generation, {}, frozenset(), settled=True)

    after = settle(set_topics(state, registry(2, t=4, later=1)), 20)

    assert list(seen(after, "A").owned) == [("later", 0)]


def test_an_old_snapshot_of_the_registry_is_ignored() -> None:
    state = settle(set_topics(group("A"), registry(5, t=6)), 20)

    assert set_topics(state, registry(4, t=4)) is state


def test_a_changed_subscription_takes_away_and_gives() -> None:
    state = settle(subscribe(group("A"), "A", ("u",)), 20)
    state = settle(set_topics(state, registry(2, t=4, u=1)), 21)

    assert list(seen(state, "A").owned.keys() - seen(state, "A").revoke) == [("u", 0)]
    assert len(seen(state, "A").revoke) == 4


# -- members that do not give up


def test_who_does_not_give_up_in_time_is_expelled_and_not_a_moment_before() -> None:
    state = settle(join(group("A"), "B", spec()), 20)

    assert tick(state, 5_019) is state
    after = settle(tick(state, 5_020), 5_020)

    assert instruction(after, "A") is None
    assert len(seen(after, "B").owned) == 4


def test_a_further_change_does_not_prolong_the_time_but_giving_up_does() -> None:
    state = settle(join(group("A"), "B", spec()), 20)
    state = settle(join(state, "C", spec()), 3_000)
    assert state.members["A"].give_up_by == 5_020

    one_less = sorted(seen(state, "A").owned)[:-1]
    after = settle(give_up(state, "A", one_less), 4_000)

    assert after.members["A"].give_up_by == 9_000


def test_the_time_stops_when_nothing_is_owed_any_more() -> None:
    state = settle(join(group("A"), "B", spec()), 20)

    after = settle(leave(state, ["B"]), 30)

    assert after.members["A"].give_up_by == 0


# -- assignors


def test_a_member_without_a_common_assignor_is_refused_with_the_names_that_would_do() -> None:
    state = group("A", of=spec(assignors=("range", "roundrobin"), cooperative=False))

    with pytest.raises(InconsistentProtocolError, match="in common: range, roundrobin") as error:
        join(state, "B", spec())

    assert error.value.code == KafkaError.INCONSISTENT_GROUP_PROTOCOL


def test_the_assignor_with_most_votes_among_those_that_all_support_is_used() -> None:
    state = GroupState()
    for name, assignors in (
        ("A", ("range", "roundrobin")),
        ("B", ("cooperative-sticky", "roundrobin", "range")),
        ("C", ("roundrobin", "range")),
    ):
        state = join(state, name, spec(assignors=assignors, cooperative=False))

    assert settle(state, 10).assignor == "roundrobin"


def test_eager_and_cooperative_members_share_a_group_while_it_is_upgraded() -> None:
    both = spec(assignors=("range", "cooperative-sticky"), cooperative=False)
    state = group("A", of=both)

    state = settle(join(state, "B", spec(assignors=("cooperative-sticky",))), 20)
    state = settle(give_up(state, "A", ()), 21)

    assert state.assignor == "cooperative-sticky"
    assert [len(seen(state, m).owned) for m in "AB"] == [2, 2]


def test_a_static_member_may_change_its_assignor_when_it_is_alone() -> None:
    state = group("A", of=spec(instance="i"))

    after = settle(join(state, "A2", spec(assignors=("range",), instance="i")), 20)

    assert after.assignor == "range"


def test_an_empty_group_is_empty_and_accepts_any_assignor() -> None:
    state = settle(leave(group("A"), ["A"]), 20)

    assert group_status(state) is ConsumerGroupState.EMPTY
    assert settle(join(state, "B", EAGER), 30).assignor == "range"


# -- any sequence of edits


@given(st.data())
def test_whatever_happens_the_invariants_hold_and_giving_up_brings_it_to_rest(data: st.DataObject) -> None:
    state, now, version, ids = GroupState(), 0, 0, 0
    last: dict[tuple[str, int], tuple[int, str]] = {}
    for _ in range(data.draw(st.integers(1, 12))):
        now += data.draw(st.integers(0, 2_000))
        member = data.draw(st.sampled_from(sorted(state.members) or [""]))
        edit = data.draw(st.sampled_from(["join", "leave", "give up", "topics", "subscribe", "tick"]))
        if edit == "join":
            ids += 1
            eager = data.draw(st.booleans())
            kind = spec("t", "u", assignors=("range", "uniform"), cooperative=not eager)
            state = join(state, f"m{ids}", kind)
        elif edit == "topics":
            version += 1
            counts = data.draw(st.dictionaries(st.sampled_from("tuv"), st.integers(1, 5)))
            state = set_topics(state, registry(version, **counts))
        elif edit == "tick":
            state = tick(state, now)
        elif member and edit == "leave":
            state = leave(state, [member])
        elif member and edit == "subscribe":
            state = subscribe(state, member, tuple(data.draw(st.sets(st.sampled_from("tuv")))))
        elif member:
            state = give_up(state, member, state.members[member].owned.keys() - seen(state, member).revoke)
        state = settle(state, now)
        owned = [tp for m in state.members.values() for tp in m.owned]
        assert len(owned) == len(set(owned)), "invariant 1"
        for m, one in state.members.items():
            for tp, epoch in one.owned.items():
                assert last.get(tp, (-1, ""))[0] < epoch or last[tp] == (epoch, m), "invariant 2"
                last[tp] = (epoch, m)

    for member in state.members:
        state = settle(
            give_up(state, member, state.members[member].owned.keys() - seen(state, member).revoke), now
        )

    assert all(member.settled for member in state.members.values())
