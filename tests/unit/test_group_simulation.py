"""Thousands of random histories of a consumer group, against a tiny model of the store.

The members run the real `Membership` and the real coordinator; only the store, the network and the applications
are models. A schedule of joins, crashes, pauses, lost races and lost replies comes from a seed; a checker that
knows nothing of the coordinator's code watches each step. That the checker sees is proved by mutation, below.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

import pytest
from confluent_kafka import ConsumerGroupState
from msgspec.structs import replace

from streamadapter.backend import TP, TopicInfo, Topics
from streamadapter.engine import coordinator
from streamadapter.engine.coordinator import GroupState, Member, MemberSpec, decode, encode
from streamadapter.engine.membership import Event, Membership, Proposal, Rebalance, State

SESSION_MS, REBALANCE_MS, HEARTBEAT_MS = 1_000, 3_000, 300


class Violation(Exception):  # noqa: N818 - the finding of a checker, not an error of the code
    """A promise was broken."""


class Refused(Exception):  # noqa: N818 - the normal answer to a zombie
    """The store fenced a request."""


@dataclass
class View:
    version: int
    now: int
    state: bytes | None
    expired: tuple[str, ...] = ()
    applied: bool = False


class Store:
    """What docs/design.md and backend.py say of group_heartbeat, group_update, acquire, fetch and commit."""

    def __init__(self, checker: "Checker") -> None:
        self.checker = checker
        self.now = 1_000
        self.version = 0
        self.state = b""
        self.deadlines: dict[str, int] = {}
        self.registry_version = 0
        self.topics: dict[str, TopicInfo] = {}
        self.owners: dict[TP, tuple[int, str]] = {}
        self.offsets: dict[TP, tuple[int, str]] = {}

    def snapshot(self) -> Topics:
        return Topics(self.registry_version, dict(self.topics))

    def set_topic(self, name: str, partitions: int, topic_id: str) -> None:
        self.registry_version += 1
        self.topics[name] = TopicInfo(name, topic_id, partitions)

    def delete_topic(self, name: str) -> None:
        self.registry_version += 1
        del self.topics[name]
        self.owners = {tp: owner for tp, owner in self.owners.items() if tp[0] != name}

    def heartbeat(self, member: str, known_version: int, session_ms: int) -> View:
        if member in self.deadlines:
            self.deadlines[member] = self.now + session_ms
        return self.view(None if known_version == self.version else self.state)

    def view(self, state: bytes | None, applied: bool = False) -> View:
        expired = tuple(m for m, deadline in self.deadlines.items() if deadline <= self.now)
        return View(self.version, self.now, state, expired, applied)

    def update(
        self, expected: int, state: bytes, sessions: Mapping[str, int], evict: tuple[str, ...]
    ) -> View:
        if not self.is_current(expected):
            self.checker.reached["lost race"] += 1
            return self.view(self.state)
        if not all(self.has_ended(m) for m in evict):
            self.checker.reached["eviction refused"] += 1
            return self.view(self.state)
        self.version += 1
        self.state = state
        self.deadlines = {m: self.deadlines.get(m, self.now + ms) for m, ms in sessions.items()}
        self.checker.updated(decode(state), evict, self.now)
        return self.view(None, applied=True)

    def is_current(self, version: int) -> bool:
        return version == self.version

    def has_ended(self, member: str) -> bool:
        return self.deadlines.get(member, 0) <= self.now

    def acquire(self, topic: TopicInfo, tp: TP, epoch: int, member: str) -> int:
        self.exists(topic, tp)
        if not self.may_acquire(self.owners.get(tp), epoch, member):
            self.checker.reached["zombie acquire refused"] += 1
            raise Refused
        self.checker.acquired(topic, tp, epoch, member)
        self.owners[tp] = (epoch, member)
        offset, log = self.offsets.get(tp, (0, ""))
        return offset if log == topic.topic_id else 0

    def may_acquire(self, owner: tuple[int, str] | None, epoch: int, member: str) -> bool:
        return owner is None or owner[0] < epoch or owner == (epoch, member)

    def fetch(self, topic: TopicInfo, tp: TP, member: str) -> None:
        self.exists(topic, tp)
        if tp not in self.owners or self.owners[tp][1] != member:
            self.checker.reached["zombie read refused"] += 1
            raise Refused

    def exists(self, topic: TopicInfo, tp: TP) -> None:
        known = self.topics.get(topic.name)
        if known is None or known.topic_id != topic.topic_id or tp[1] >= known.partitions:
            raise Refused

    def commit(self, member: str, offsets: Mapping[TP, tuple[int, str]]) -> None:
        if not self.may_commit(member):
            self.checker.reached["zombie commit refused"] += 1
            raise Refused
        for tp, (offset, log) in offsets.items():
            self.checker.committed(tp, offset, log, member, self.offsets.get(tp))
            self.offsets[tp] = (offset, log)

    def may_commit(self, member: str) -> bool:
        return member in self.deadlines


class Checker:
    """The promises, checked from the outside. Knows states, epochs and offsets; nothing of how they came about."""

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()
        self.members: Mapping[str, Member] = {}
        self.evicted: set[str] = set()
        self.owned: dict[str, dict[TP, int]] = {}
        self.granted: dict[TP, tuple[int, str]] = {}
        self.acquisitions: dict[tuple[TP, str], tuple[int, str]] = {}
        self.delivered: dict[tuple[TP, str], int] = {}

    def updated(self, state: GroupState, evicted: tuple[str, ...], now: int) -> None:
        before = self.owned
        self.evicted.update(evicted)
        self.reached["eviction"] += len(evicted)
        overdue = [m for m, member in self.members.items() if 0 < member.give_up_by <= now]
        self.reached["expelled for not giving up"] += len(set(overdue) - state.members.keys() - self.evicted)
        self.members = state.members
        self.owned = {m: member.owned for m, member in state.members.items()}
        seen: set[TP] = set()
        for m, owned in self.owned.items():
            for tp, epoch in owned.items():
                if tp in seen:
                    raise Violation(f"invariant 1: {tp} has two owners")
                seen.add(tp)
                last_epoch, last = self.granted.get(tp, (-1, ""))
                if epoch < last_epoch or (epoch == last_epoch and m != last):
                    raise Violation(f"invariant 2: {tp} went from {last}@{last_epoch} to {m}@{epoch}")
                self.reached["partition moved"] += last not in ("", m)
                self.granted[tp] = (epoch, m)
        for m, member in state.members.items():
            granted = member.owned.keys() - before.get(m, {}).keys()
            if granted and not member.spec.cooperative and not member.settled:
                raise Violation("an eager member was granted a part of its target")

    def acquired(self, topic: TopicInfo, tp: TP, epoch: int, member: str) -> None:
        last = self.acquisitions.get((tp, topic.topic_id), (-1, ""))
        if epoch < last[0] or (epoch == last[0] and member != last[1]):
            raise Violation(f"{member} acquired {tp} with epoch {epoch} after {last}")
        self.acquisitions[tp, topic.topic_id] = (epoch, member)

    def handed_out(self, topic: TopicInfo, tp: TP, offset: int, member: str) -> None:
        if member in self.evicted:
            raise Violation(f"{member} handed out records after the end of its session")
        newest = self.delivered.get((tp, topic.topic_id), -1)
        if offset > newest + 1:
            raise Violation(f"{tp}: records {newest + 1} to {offset - 1} were skipped")
        self.delivered[tp, topic.topic_id] = max(newest, offset)

    def committed(self, tp: TP, offset: int, log: str, member: str, before: tuple[int, str] | None) -> None:
        if member not in self.members:
            raise Violation(f"zombie commit of {tp} by {member}")
        if offset > self.delivered.get((tp, log), -1) + 1:
            raise Violation(f"{tp}: commit ahead of what was delivered")
        if before is not None and before[1] == log and offset < before[0]:
            raise Violation(f"{tp}: the committed offset fell from {before[0]} to {offset}")

    def application(self, client: "Client") -> None:
        """What an application believes to own is what the group says it owns, unless it was expelled."""
        owned = self.owned.get(client.membership.member_id)
        if owned is not None and not client.membership.assignment.items() <= owned.items():
            raise Violation(f"{client.name} kept partitions that the group gave away")

    def event(self, client: "Client", event: Event) -> None:
        """Callbacks come in Kafka's order: eager assign and revoke alternate; cooperative ones are deltas."""
        has = client.application_has
        self.reached[event.kind.name] += 1
        if event.kind is Rebalance.ASSIGN:
            if has and (not client.cooperative or has & set(event.partitions)):
                raise Violation("assigned what it had, or without revoking first")
        elif not set(event.partitions) <= has or (not client.cooperative and set(event.partitions) != has):
            raise Violation(f"{event} for an application that has {has}")


@dataclass
class Client:
    """One consumer process: a thin shell, in steps that can be interleaved with anybody else's."""

    name: str
    store: Store
    rng: random.Random
    membership: Membership
    cooperative: bool
    topics: Topics
    application_has: set[TP] = field(default_factory=set)
    acquired: dict[TP, tuple[int, str]] = field(default_factory=dict)
    positions: dict[TP, tuple[int, TopicInfo]] = field(default_factory=dict)
    in_flight: tuple[Proposal, int, int] | None = None
    event: Event | None = None
    paused: bool = False
    slowness: float = 0.3  # how often a callback goes on until the next poll
    stuck: bool = False  # its application never polls again, and nobody in the process notices

    @property
    def reached(self) -> Counter[str]:
        return self.store.checker.reached

    @property
    def usable(self) -> bool:
        return not self.stuck and not self.membership.instance_fenced

    def beat(self, faults: bool) -> None:
        """One round trip of the background thread."""
        m, now = self.membership, self.store.now
        if not self.stuck and m.poll_overdue(now):
            self.reached["abandoned"] += 1
            m.abandon()
        if self.in_flight is not None:
            proposal, version, sent_at = self.in_flight
            self.in_flight = None
            sessions = coordinator.sessions(proposal.state)
            view = self.store.update(version, encode(proposal.state), sessions, proposal.evict)
            if faults and self.rng.random() < 0.1:
                self.reached["reply lost"] += view.applied
                return
            if view.applied:
                m.observe(proposal.state, view.version, sent_at, proposal)
            else:
                self.look(view, sent_at)
        elif now >= m.next_heartbeat():
            if self.rng.random() < 0.7:
                self.topics = self.store.snapshot()
            view = self.store.heartbeat(m.member_id, m.version, SESSION_MS)
            if not faults or self.rng.random() > 0.05:
                self.look(view, now)

    def look(self, view: View, sent_at: int) -> None:
        state = self.membership.group if view.state is None else decode(view.state)
        proposal = self.membership.propose(state, view.expired, self.topics, view.now)
        if proposal is None:
            self.membership.observe(state, view.version, sent_at)
        else:
            self.in_flight = (proposal, view.version, sent_at)

    def poll(self, slow: bool) -> None:
        """The application's thread; if `slow`, a callback goes on until the next poll."""
        m = self.membership
        m.polled(self.store.now)
        if self.event is None:
            self.event = m.next_event()
            if self.event is None:
                self.read()
                return
            self.store.checker.event(self, self.event)
            if self.event.kind is Rebalance.ASSIGN:
                self.application_has |= set(self.event.partitions)
        if slow:
            return
        if self.event.kind is Rebalance.REVOKE:
            self.commit(set(self.event.partitions))
        if self.event.kind is not Rebalance.ASSIGN:
            self.application_has -= set(self.event.partitions)
            for tp in self.event.partitions:
                self.acquired.pop(tp, None)
                self.positions.pop(tp, None)
        self.reached["event outlived the membership"] += (
            m.state is State.LOST and self.event.kind is not Rebalance.LOST
        )
        self.event = None
        m.answered()

    def read(self) -> None:
        for tp, epoch in self.membership.assignment.items():
            mine = (epoch, self.membership.member_id)
            try:
                if self.acquired.get(tp) != mine:
                    self.acquire(tp, epoch)
                offset, topic = self.positions[tp]
                self.store.fetch(topic, tp, self.membership.member_id)
            except Refused:
                self.acquired.pop(tp, None)
                continue
            if self.membership.lease_valid(self.store.now):
                self.store.checker.handed_out(topic, tp, offset, self.membership.member_id)
                self.positions[tp] = (offset + 1, topic)
            else:
                self.reached["lease ran out"] += 1

    def acquire(self, tp: TP, epoch: int) -> None:
        topic = self.topics.topics.get(tp[0])
        if topic is None:
            raise Refused
        offset = self.store.acquire(topic, tp, epoch, self.membership.member_id)
        self.acquired[tp] = (epoch, self.membership.member_id)
        self.positions[tp] = (offset, topic)

    def commit(self, tps: set[TP]) -> None:
        """Commit as a careless application does: with the id it last had, whether or not it is a member still."""
        by_member: dict[str, dict[TP, tuple[int, str]]] = {}
        for tp in sorted(tps & self.positions.keys() & self.acquired.keys()):
            offset, topic = self.positions[tp]
            by_member.setdefault(self.acquired[tp][1], {})[tp] = (offset, topic.topic_id)
        for member, offsets in by_member.items():
            try:
                self.store.commit(member, offsets)
            except Refused:
                continue


KINDS: Mapping[str, tuple[tuple[tuple[str, ...], bool], ...]] = {
    "range": ((("range",), False),),
    "roundrobin": ((("roundrobin", "range"), False),),
    "cooperative-sticky": ((("cooperative-sticky",), True),),
    "uniform": ((("uniform",), True),),
    "upgrade": ((("range", "cooperative-sticky"), False), (("cooperative-sticky",), True)),
}


class World:
    """A seed's history."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.kind = self.rng.choice(sorted(KINDS))
        self.checker = Checker()
        self.store = Store(self.checker)
        self.clients: list[Client] = []
        self.ids = count()
        for name in "abc"[: self.rng.randint(1, 3)]:
            self.store.set_topic(name, self.rng.randint(1, 4), f"{name}-0")
        self.same_topics = self.rng.random() < 0.5
        for _ in range(self.rng.randint(1, 4)):
            self.join()

    def some_topics(self) -> list[str]:
        names = ["a", "b", "c"]  # some may not exist
        return names if self.same_topics else self.rng.sample(names, self.rng.randint(1, 3))

    def join(self, instance: str | None = None) -> None:
        number = next(self.ids)
        assignors, cooperative = self.rng.choice(KINDS[self.kind])
        if instance is None and self.rng.random() < 0.25:
            instance = f"instance-{number}"
        spec = MemberSpec(
            "sim", "localhost", (), assignors, cooperative, SESSION_MS, REBALANCE_MS, instance_id=instance
        )
        life = count()
        shuffled = self.rng.randrange(10**6)  # so that the order of ids is not the order of joining
        membership = Membership(spec, HEARTBEAT_MS, lambda: f"{shuffled}-{number}-{next(life)}")
        membership.subscribe(self.some_topics(), self.store.now)
        client = Client(str(number), self.store, self.rng, membership, cooperative, self.store.snapshot())
        client.slowness = self.rng.choice((0.1, 0.3, 0.97))
        self.clients.append(client)

    def run(self, steps: int = 110) -> None:
        for _ in range(steps):
            self.store.now += self.rng.choice((1, 5, 20, 20, 60, 150, 400))
            self.step()
            for client in self.clients:
                self.checker.application(client)
        self.heal()
        self.checker.reached["instance fenced"] += sum(c.membership.instance_fenced for c in self.clients)

    def step(self) -> None:
        rng = self.rng
        awake = [client for client in self.clients if not client.paused]
        for client in rng.sample(awake, len(awake)):
            if rng.random() < 0.8:
                client.beat(faults=True)
            if rng.random() < 0.6 and not client.stuck:
                client.poll(slow=rng.random() < client.slowness)
            if rng.random() < 0.3:
                client.commit(set(client.positions))
        if self.clients and rng.random() < 0.25:
            self.disturb(rng.choice(self.clients))

    def disturb(self, client: Client) -> None:
        rng, store = self.rng, self.store
        fault = rng.choice(("join", "crash", "restart", "pause", "pause", "wake", "app", "app", "topic"))
        if fault == "join" and len(self.clients) < 6:
            self.join()
        elif fault == "crash":
            self.clients.remove(client)
        elif fault == "restart":  # a static member comes back, possibly while its former self still runs
            if rng.random() < 0.7:
                self.clients.remove(client)
            self.join(client.membership._spec.instance_id)
        elif fault == "pause":
            client.paused = True
        elif fault == "wake":
            self.wake()
        elif fault == "app" and not client.stuck:
            m = client.membership
            rng.choice((m.unsubscribe, m.close, lambda: m.subscribe(self.some_topics(), store.now)))()
            client.stuck = rng.random() < 0.1
        elif fault == "topic":
            self.change_topic(rng.choice("abc"))

    def change_topic(self, name: str) -> None:
        rng, store = self.rng, self.store
        topic = store.topics.get(name)
        if topic is None:
            store.set_topic(name, rng.randint(1, 4), f"{name}-{store.registry_version}")
        elif rng.random() < 0.3:
            store.delete_topic(name)
        elif topic.partitions < 6:
            store.set_topic(name, topic.partitions + 1, topic.topic_id)

    def wake(self) -> None:
        """Paused processes go on from where they were: most first read and commit by their stale view."""
        for sleeper in self.clients:
            if sleeper.paused and not sleeper.stuck and self.rng.random() < 0.7:
                sleeper.poll(slow=False)
                sleeper.commit(set(sleeper.positions))
            sleeper.paused = False

    def heal(self) -> None:
        """No more faults: within the timeouts everything is owned, stable and read."""
        self.wake()
        problem: str | None = "nothing happened"
        for _ in range(70):
            self.store.now += 250
            for _ in range(3):
                for client in self.clients:
                    client.beat(faults=False)
                    self.checker.application(client)
                    if not client.stuck:
                        client.poll(slow=False)
            problem = self.unrest()
            if problem is None:
                return
        raise Violation(f"liveness: {problem}")

    def unrest(self) -> str | None:
        """Why the group has not come to rest, None if it has."""
        state = decode(self.store.state)
        living = [c for c in self.clients if c.usable and c.membership.state is not State.UNSUBSCRIBED]
        if not living:
            return None  # nobody evicts the last one: whoever joins next does
        stuck = {c.membership.member_id for c in self.clients if c.stuck} - {""}
        ids = {c.membership.member_id for c in living}
        if not ids <= state.members.keys() or not state.members.keys() - ids <= stuck:
            return f"members {set(state.members)}, living {ids}"
        if state.members and coordinator.group_status(state) is not ConsumerGroupState.STABLE:
            return "not stable"
        for client in living:
            owned = state.members[client.membership.member_id].owned
            if client.membership.assignment != owned or client.acquired.keys() != owned.keys():
                return f"{client.name} owns {owned}, but has {client.membership.assignment}"
        return self.unfair(state)

    def unfair(self, state: GroupState) -> str | None:
        wanted = {topic for m in state.members.values() for topic in m.spec.subscription}
        exist = {
            (t, p) for t in wanted & self.store.topics.keys() for p in range(self.store.topics[t].partitions)
        }
        owned = {tp for m in state.members.values() for tp in m.owned}
        if owned != exist:
            return f"owned {owned} of {exist}"
        loads = [len(m.owned) for m in state.members.values()]
        balancing = state.assignor in ("uniform", "cooperative-sticky", "roundrobin")
        if balancing and self.same_topics and loads and max(loads) - min(loads) > 1:
            return f"unbalanced: {loads}"
        return None


def simulate(seeds: range) -> None:
    for seed in seeds:
        try:
            World(seed).run()
        except Violation as violation:
            raise Violation(f"seed {seed}: {violation}") from violation


@pytest.mark.parametrize("chunk", range(10))
def test_no_history_breaks_a_promise_and_every_group_comes_to_rest(chunk: int) -> None:
    simulate(range(chunk * 120, (chunk + 1) * 120))


def test_the_histories_reach_the_hard_cases() -> None:
    reached = Counter[str]()

    for seed in range(200):
        world = World(seed)
        world.run()
        reached += world.checker.reached

    for case in (
        "lost race", "eviction refused", "eviction", "zombie acquire refused", "zombie read refused",
        "zombie commit refused", "reply lost", "partition moved", "ASSIGN", "REVOKE", "LOST", "abandoned",
        "event outlived the membership", "instance fenced", "lease ran out", "expelled for not giving up",
    ):  # fmt: skip
        assert reached[case] >= 5, (case, reached)


# -- the checker is not blind: every rule that is broken is noticed


def _grant_regardless(members: Mapping[str, Member], generation: int) -> dict[str, Member]:
    return {m: replace(member, owned=dict.fromkeys(member.target, generation) | member.owned)
            for m, member in members.items()}  # fmt: skip


def _grant_piecemeal(members: Mapping[str, Member], generation: int) -> dict[str, Member]:
    taken = {tp for member in members.values() for tp in member.owned}
    return {m: replace(member, owned=member.owned | dict.fromkeys(member.target - taken, generation))
            for m, member in members.items()}  # fmt: skip


def _release_without_asking(self: Membership) -> None:
    if self._instruction is not None:
        self._releasing |= self._instruction.revoke


BROKEN_RULES: Mapping[str, tuple[object, str, object, str]] = {
    "grants look at owners": (coordinator, "_grant", _grant_regardless, "invariant 1"),
    "eager: all or nothing": (coordinator, "_grant", _grant_piecemeal, "a part of its target"),
    "the generation rises": (coordinator, "_next_generation", lambda last, now: max(last, 1), "invariant 2"),
    "ended sessions are removed": (coordinator, "leave", lambda state, ids: state, "liveness"),
    "who does not give up is expelled": (coordinator, "tick", lambda state, now: state, "liveness"),
    "on_revoke comes first": (Membership, "_advance", _release_without_asking, "gave away"),
    "the lease ends": (Membership, "lease_valid", lambda self, now: True, "after the end of its session"),
    "states replace the one they came from": (Store, "is_current", lambda self, version: True, "invariant"),
    "who heartbeated is not evicted": (
        Store,
        "has_ended",
        lambda self, m: True,
        "after the end of its session",
    ),
    "old epochs acquire nothing": (Store, "may_acquire", lambda self, *_: True, "acquired .* after"),
    "only members commit": (Store, "may_commit", lambda self, member: True, "zombie commit"),
}


@pytest.mark.parametrize("rule", BROKEN_RULES)
def test_the_simulation_notices_when_a_rule_is_broken(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, name, broken, finding = BROKEN_RULES[rule]
    monkeypatch.setattr(target, name, broken)

    with pytest.raises(Violation, match=finding):
        simulate(range(300))
