import random
from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamadapter.backend import TP
from streamadapter.engine.assignors import ASSIGNORS, assign_range, assign_roundrobin, assign_sticky

NAMES = ("a", "b", "c", "d")
partition_counts = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 12), max_size=4)
members = st.lists(st.text("xyz", min_size=1, max_size=4), min_size=1, max_size=7, unique=True)


def tps(text: str) -> frozenset[TP]:
    """ "t0 t1" -> {("t", 0), ("t", 1)}; the last digit is the partition."""
    return frozenset((word[:-1], int(word[-1])) for word in text.split())


def all_of(partitions: Mapping[str, int], topics: Collection[str] = NAMES) -> set[TP]:
    return {(topic, p) for topic, n in partitions.items() if topic in topics for p in range(n)}


def test_range_gives_the_example_of_kafkas_documentation() -> None:
    subscriptions = {"C0": ["t0-", "t1-"], "C1": ["t0-", "t1-"]}

    assigned = assign_range(subscriptions, {"t0-": 3, "t1-": 3}, {}, {})

    assert assigned == {"C0": tps("t0-0 t0-1 t1-0 t1-1"), "C1": tps("t0-2 t1-2")}


def test_range_gives_the_first_members_one_more() -> None:
    assigned = assign_range({m: ["t"] for m in "ABCD"}, {"t": 6}, {}, {})

    assert assigned == {"A": tps("t0 t1"), "B": tps("t2 t3"), "C": tps("t4"), "D": tps("t5")}


def test_range_leaves_members_beyond_the_number_of_partitions_without_any() -> None:
    assert assign_range({"A": ["t"], "B": ["t"]}, {"t": 1}, {}, {}) == {"A": tps("t0"), "B": frozenset()}


def test_roundrobin_gives_the_example_of_kafkas_documentation() -> None:
    subscriptions = {"C0": ["t0-", "t1-"], "C1": ["t0-", "t1-"]}

    assigned = assign_roundrobin(subscriptions, {"t0-": 3, "t1-": 3}, {}, {})

    assert assigned == {"C0": tps("t0-0 t0-2 t1-1"), "C1": tps("t0-1 t1-0 t1-2")}


def test_roundrobin_skips_members_that_do_not_subscribe_as_in_kafkas_documentation() -> None:
    subscriptions = {"C0": ["t0-"], "C1": ["t0-", "t1-"], "C2": ["t0-", "t1-", "t2-"]}

    assigned = assign_roundrobin(subscriptions, {"t0-": 1, "t1-": 2, "t2-": 3}, {}, {})

    assert assigned == {"C0": tps("t0-0"), "C1": tps("t1-0"), "C2": tps("t1-1 t2-0 t2-1 t2-2")}


def test_static_members_come_first_in_the_order_of_their_instance_ids() -> None:
    subscriptions = {m: ["t"] for m in ("a", "b", "c", "d")}

    assigned = assign_range(subscriptions, {"t": 4}, {}, {"d": "first", "b": "second"})

    assert [min(assigned[m])[1] for m in ("d", "b", "a", "c")] == [0, 1, 2, 3]


def test_sticky_keeps_what_is_left_when_a_member_leaves_as_in_kafkas_documentation() -> None:
    topics = ["t0-", "t1-", "t2-", "t3-"]
    before = {"C0": tps("t0-0 t1-1 t3-0"), "C1": tps("t0-1 t2-0 t3-1"), "C2": tps("t1-0 t2-1")}

    assigned = assign_sticky({"C0": topics, "C2": topics}, dict.fromkeys(topics, 2), before, {})

    assert assigned["C0"] > before["C0"]
    assert assigned["C2"] > before["C2"]
    assert {len(owned) for owned in assigned.values()} == {4}


def test_sticky_spreads_each_topic_when_a_member_joins() -> None:
    partitions = {"a": 4, "b": 4}
    before = {"old": all_of(partitions)}

    assigned = assign_sticky({"old": NAMES, "new": NAMES}, partitions, before, {})

    assert {sum(topic == "a" for topic, _ in owned) for owned in assigned.values()} == {2}


def test_sticky_ignores_previous_claims_that_hold_no_longer() -> None:
    previous = {"A": tps("t0 t9 gone0 other0"), "B": tps("t0 t1"), "dead": tps("t2")}

    assigned = assign_sticky({"A": ["t"], "B": ["t"]}, {"t": 3, "other": 1}, previous, {})

    assert ("t", 0) in assigned["A"]
    assert ("t", 1) in assigned["B"]
    assert assigned["A"] | assigned["B"] == tps("t0 t1 t2")


@pytest.mark.parametrize("name", ASSIGNORS)
@given(data=st.data(), partitions=partition_counts, names=members)
def test_everything_subscribed_is_assigned_once_whatever_the_order_of_dicts(
    name: str, data: st.DataObject, partitions: dict[str, int], names: list[str]
) -> None:
    subscriptions = {m: data.draw(st.sets(st.sampled_from(NAMES))) for m in names}
    previous = {m: data.draw(st.sets(st.tuples(st.sampled_from(NAMES), st.integers(0, 12)))) for m in names}
    instances = {m: f"i{m}" for m in names if data.draw(st.booleans())}

    assigned = ASSIGNORS[name](subscriptions, partitions, previous, instances)

    flat = [tp for owned in assigned.values() for tp in owned]
    assert len(flat) == len(set(flat))
    assert set(flat) == all_of(partitions, set().union(*subscriptions.values()))
    assert assigned.keys() == subscriptions.keys()
    assert all(topic in subscriptions[m] for m, owned in assigned.items() for topic, _ in owned)
    shuffled = data.draw(st.permutations(names))
    again = ASSIGNORS[name](
        {m: sorted(subscriptions[m], reverse=True) for m in shuffled},
        dict(reversed(partitions.items())),
        {m: sorted(previous[m], reverse=True) for m in shuffled},
        instances,
    )
    assert again == assigned


@given(partitions=partition_counts, names=members)
def test_sticky_moves_nothing_but_what_it_must(partitions: dict[str, int], names: list[str]) -> None:
    both = assign_sticky(dict.fromkeys(names, NAMES), partitions, {}, {})
    loads = [len(owned) for owned in both.values()]
    assert max(loads) - min(loads) <= 1

    joined = assign_sticky(dict.fromkeys([*names, "new"], NAMES), partitions, both, {})
    loads = [len(owned) for owned in joined.values()]
    assert max(loads) - min(loads) <= 1
    assert all(joined[m] <= both[m] for m in names)

    left = assign_sticky(dict.fromkeys(names, NAMES), partitions, joined, {})
    assert all(left[m] >= joined[m] for m in names)

    grown = assign_sticky(dict.fromkeys(names, NAMES), {t: n + 3 for t, n in partitions.items()}, left, {})
    assert all(grown[m] >= left[m] for m in names)


@given(data=st.data(), partitions=partition_counts, names=members)
def test_sticky_leaves_no_single_move_that_would_balance_unequal_subscriptions(
    data: st.DataObject, partitions: dict[str, int], names: list[str]
) -> None:
    subscriptions = {m: data.draw(st.sets(st.sampled_from(NAMES))) for m in names}

    assigned = assign_sticky(subscriptions, partitions, {}, {})

    for giver in names:
        for taker in names:
            movable = {topic for topic, _ in assigned[giver]} & subscriptions[taker]
            assert not movable or len(assigned[giver]) - len(assigned[taker]) < 2


@given(data=st.data(), partitions=partition_counts, names=members)
def test_range_agrees_with_a_transcription_of_kafkas_java(
    data: st.DataObject, partitions: dict[str, int], names: list[str]
) -> None:
    subscriptions = {m: data.draw(st.sets(st.sampled_from(NAMES))) for m in names}
    expected: dict[str, set[TP]] = {m: set() for m in names}
    for topic, n in partitions.items():
        consumers = sorted(m for m in names if topic in subscriptions[m])
        for i, m in enumerate(consumers):
            per, extra = n // len(consumers), n % len(consumers)
            start = per * i + min(i, extra)
            expected[m] |= {(topic, p) for p in range(start, start + per + (0 if i + 1 > extra else 1))}

    assert assign_range(subscriptions, partitions, {}, {}) == expected


@pytest.mark.parametrize("name", ASSIGNORS)
def test_static_members_get_the_same_after_a_restart_under_new_ids(name: str) -> None:
    rng = random.Random(7)
    ids = {f"instance-{i}": f"{rng.random()}" for i in range(5)}
    subscriptions = dict.fromkeys(ids.values(), NAMES)
    before = ASSIGNORS[name](subscriptions, dict.fromkeys(NAMES, 7), {}, {m: i for i, m in ids.items()})

    new = {instance: f"{rng.random()}" for instance in ids}
    previous = {new[i]: before[ids[i]] for i in ids}
    after = ASSIGNORS[name](
        dict.fromkeys(new.values(), NAMES), dict.fromkeys(NAMES, 7), previous, {m: i for i, m in new.items()}
    )

    assert all(after[new[i]] == before[ids[i]] for i in ids)
