"""Clients that die (SIGKILL) or sleep through their session (SIGSTOP)."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Client, Lab

SESSION_S = 6.0  # the shortest that Kafka's brokers accept by default
TAKEOVER_S = SESSION_S + 2.0


def test_a_producer_killed_in_full_flight_leaves_a_clean_log(lab: Lab, redis_url: str) -> None:
    lab.create_topic(redis_url)
    consumer = lab.consumer("c")
    consumer.tell("loop")

    for n in range(4):
        producer = lab.producer(f"p{n}", batch_num_messages=20)
        producer.tell("loop", burst=50, pause=0.001)
        lab.await_acknowledged(300)
        producer.signal(signal.SIGKILL)
    lab.await_delivered()

    sent = sum(e.op == "send" and e.kind == "invoke" for e in lab.events())
    assert lab.acknowledged() <= sum(lab.ends().values()) <= sent
    lab.assert_valid()


def _assigned(clients: list[Client]) -> dict[str, set[int]]:
    """What each has now, by its own callbacks."""
    owned: dict[str, set[int]] = {}
    for client in clients:
        mine = owned[client.name] = set()
        for note in client.notes():
            partitions = {cell[0] for cell in note["cells"]}
            if note["op"] == "assign":
                mine |= partitions
            elif note["op"] == "revoke":
                mine -= partitions
    return owned


def _await_balance(
    lab: Lab, clients: list[Client], counts: list[int], wait: Any, timeout: float = 40.0
) -> None:
    """Until the partitions are spread as `counts` (sorted), each owned by one."""

    def balanced() -> bool:
        owned = _assigned(clients)
        everything = sorted(p for mine in owned.values() for p in mine)
        return sorted(map(len, owned.values())) == counts and everything == list(range(lab.partitions))

    wait(balanced, f"partitions spread {counts}, now {_assigned(clients)}", timeout)


def test_a_killed_consumer_is_replaced_within_its_session_and_only_the_uncommitted_comes_again(
    lab: Lab, redis_url: str, wait: Any
) -> None:
    lab.create_topic(redis_url)
    # Five on four partitions: one is idle, and takes over.
    consumers = [lab.consumer(f"c{n}") for n in range(5)]
    for consumer in consumers:
        consumer.tell("loop", limit=20)
    _await_balance(lab, consumers, [0, 1, 1, 1, 1], wait)
    producer = lab.producer("p")
    producer.tell("loop")
    lab.await_acknowledged(400)
    owned = _assigned(consumers)
    victim = next(c for c in consumers if owned[c.name])
    others = [c for c in consumers if c is not victim]
    (partition,) = owned[victim.name]

    lab.note("fault")
    killed_at = victim.signal(signal.SIGKILL)
    taken_at = min(
        wait(
            lambda: [
                note["at"]
                for other in others
                for note in other.notes("poll", since=killed_at)
                if any(cell[0] == partition for cell in note["cells"])
            ],
            f"partition {partition} is read by another",
        )
    )
    lab.await_acknowledged(200)
    lab.finish()
    lab.await_delivered()

    assert taken_at - killed_at <= TAKEOVER_S
    before = _offsets(victim, partition)
    again = before & {o for other in others for o in _offsets(other, partition)}
    commits = [c[1] for note in victim.notes("commit") for c in note["cells"] if note["kind"] == "ok"]
    assert all(offset >= max(commits, default=0) for offset in again)
    lab.assert_valid()


def _offsets(client: Client, partition: int) -> set[int]:
    return {cell[1] for note in client.notes("poll") for cell in note["cells"] if cell[0] == partition}


@pytest.mark.parametrize("blocked", [True, False], ids=["waiting in poll", "with records prefetched"])
def test_a_consumer_that_slept_through_its_session_hands_out_nothing_commits_nothing_and_rejoins(
    lab: Lab, redis_url: str, wait: Any, blocked: bool
) -> None:
    # given: a sleeper that has all partitions, and either waits for records or has many prefetched
    lab.create_topic(redis_url)
    producer = lab.producer("p", batch_num_messages=20)
    producer.ask("produce", count=800)
    producer.ask("flush")
    sleeper = lab.consumer("sleeper", queued_min_messages=1000)
    sleeper.ask("poll", limit=800 if blocked else 1)
    wait(lambda: len(_assigned([sleeper])["sleeper"]) == lab.partitions, "the sleeper has everything")
    if blocked:
        while len(lab.delivered()) < 800:
            sleeper.ask("poll", limit=800)
        sleeper.ask("commit")
        sleeper.ask("poll", limit=1, seconds=0.5)  # nothing: its background thread waits for records now
        producer.ask("produce", count=20)
        producer.ask("flush")
        sleeper.ask("poll", limit=1)  # so that there is something to commit
        sleeper.tell("block", seconds=30)
        time.sleep(0.5)
    else:
        time.sleep(0.5)  # it prefetches

    # when: it sleeps, others take over, and new records come
    lab.note("fault")
    slept_at = sleeper.signal(signal.SIGSTOP)
    heir = lab.consumer("heir")
    heir.tell("loop")
    for _ in range(10):  # some of them reach the sleeper's waiting read before it is fenced
        producer.ask("produce", count=20)
    producer.ask("flush")
    wait(lambda: len(_assigned([heir])["heir"]) == lab.partitions, "the heir has everything")
    taken_at = max(note["at"] for note in heir.notes("assign"))
    lab.await_delivered()
    # Both wait for it on its stdin, so they come first when it wakes.
    sleeper.tell("poll", limit=100, seconds=1.0)
    commit = sleeper.tell("commit")
    woke_at = sleeper.signal(signal.SIGCONT)

    # then: fenced, told so, and a member again
    assert taken_at - slept_at <= TAKEOVER_S + 2.0  # the heir started meanwhile
    lost = sleeper.await_note("revoke", since=woke_at)
    assert lost["how"] == "lost"
    sleeper.await_note("done", number=commit)
    sleeper.tell("loop")
    rejoined = sleeper.await_note("assign", since=woke_at)
    read = [note for note in sleeper.notes("poll", since=woke_at) if note["at"] < rejoined["at"]]
    assert read == []
    producer.ask("produce", count=100)
    lab.finish()
    lab.await_delivered()
    lab.assert_valid()


def test_a_commit_after_the_session_is_refused_with_a_fencing_error(
    lab: Lab, redis_url: str, wait: Any
) -> None:
    lab.create_topic(redis_url)
    producer = lab.producer("p")
    producer.ask("produce", count=200)
    producer.ask("flush")
    sleeper = lab.consumer("sleeper")
    sleeper.ask("poll", limit=20)

    lab.note("fault")
    sleeper.signal(signal.SIGSTOP)
    heir = lab.consumer("heir")
    heir.tell("loop")
    wait(lambda: len(_assigned([heir])["heir"]) == lab.partitions, "the heir has everything")
    commit = sleeper.tell("commit")  # the first that it does when it wakes
    woke_at = sleeper.signal(signal.SIGCONT)
    sleeper.await_note("done", number=commit)

    (refused,) = (n for n in sleeper.notes("commit", since=woke_at) if n["kind"] != "invoke")
    assert refused["kind"] == "fail"
    assert refused["code"] in {"UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "FENCED_MEMBER_EPOCH"}
    sleeper.tell("loop")
    sleeper.await_note("assign", since=woke_at)
    lab.finish()
    lab.await_delivered()
    lab.assert_valid()
