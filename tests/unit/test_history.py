"""The history checker, by mutation: each invariant is seen to be violated, and what is allowed is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from streamadapter.testing.history import INVARIANTS, Cell, Event, Kind, Log, Op, check


class Recorder:
    """Writes a history, one step a tick of its clock."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.records: dict[int, list[tuple[int, str]]] = {0: [], 1: []}
        self.start = {0: 0, 1: 0}

    def step(self, process: str, op: Op, kind: Kind = "ok", *cells: tuple[int, int, str]) -> None:
        given = tuple(Cell(*cell) for cell in cells)
        self.events.append(Event(float(len(self.events)), process, op, kind, given))

    def send(self, process: str, partition: int, value: str, kind: Kind = "ok") -> int:
        """A send that is written to the log, unless it failed; its outcome is `kind`."""
        offset = self.start[partition] + len(self.records[partition])
        self.step(process, "send", "invoke", (partition, -1, value))
        self.step(process, "send", kind, (partition, offset if kind == "ok" else -1, value))
        if kind != "fail":
            self.records[partition].append((offset, value))
        return offset

    def assign(self, process: str, *partitions: int) -> None:
        self.step(process, "assign", "ok", *((p, -1, "") for p in partitions))

    def revoke(self, process: str, *partitions: int) -> None:
        self.step(process, "revoke", "ok", *((p, -1, "") for p in partitions))

    def poll(self, process: str, partition: int, *offsets: int) -> None:
        values = dict(self.records[partition])
        self.step(process, "poll", "ok", *((partition, o, values[o]) for o in offsets))

    def commit(self, process: str, partition: int, offset: int, kind: Kind = "ok") -> None:
        self.step(process, "commit", "invoke", (partition, offset, ""))
        self.step(process, "commit", kind, (partition, offset, ""))

    def violated(self) -> set[str]:
        logs = {
            partition: Log(self.start[partition], self.start[partition] + len(records), records)
            for partition, records in self.records.items()
        }
        return {violation.invariant for violation in check(self.events, logs)}


def history() -> Recorder:
    """Two producers, two consumers of one group, a hand-over of partition 0 from c1 to c2; nothing is wrong."""
    h = Recorder()
    h.assign("c1", 0, 1)
    for n in range(4):
        h.send("p1", 0, f"a{n}")
        h.send("p2", 1, f"b{n}")
    h.poll("c1", 0, 0, 1)
    h.commit("c1", 0, 2)
    h.poll("c1", 1, 0, 1, 2)
    h.commit("c1", 1, 3)
    h.revoke("c1", 0)
    h.assign("c2", 0)
    h.poll("c2", 0, 2, 3)
    h.commit("c2", 0, 4)
    return h


def _lose(h: Recorder) -> None:
    h.records[0][3] = (3, "other")


def _duplicate(h: Recorder) -> None:
    h.records[0].append((4, "a0"))


def _reuse_an_offset(h: Recorder) -> None:
    h.step("c2", "poll", "ok", (1, 3, "a1"))


def _read_a_failed_send(h: Recorder) -> None:
    offset = h.send("p1", 0, "a4", "fail")
    h.records[0].append((offset, "a4"))


def _invent(h: Recorder) -> None:
    h.records[0].append((4, "never sent"))


def _misroute(h: Recorder) -> None:
    h.step("p1", "send", "invoke", (1, -1, "a4"))
    h.records[0].append((4, "a4"))


def _leave_a_hole(h: Recorder) -> None:
    del h.records[1][1]


def _acknowledge_another_offset(h: Recorder) -> None:
    h.step("p1", "send", "invoke", (0, -1, "a4"))
    h.step("p1", "send", "ok", (0, 3, "a4"))
    h.records[0].append((4, "a4"))


def _go_back_in_time(h: Recorder) -> None:
    h.step("p1", "send", "invoke", (0, -1, "late"))
    h.step("p1", "send", "ok", (0, 1, "late"))


def _reorder(h: Recorder) -> None:
    h.step("p1", "send", "invoke", (0, -1, "a4"))
    h.step("p1", "send", "invoke", (0, -1, "a5"))
    h.records[0] += [(4, "a5"), (5, "a4")]


def _skip(h: Recorder) -> None:
    h.send("p1", 0, "a4")
    h.send("p1", 0, "a5")
    h.poll("c2", 0, 5)


def _step_back(h: Recorder) -> None:
    h.poll("c2", 0, 3)


def _poll_what_was_revoked(h: Recorder) -> None:
    h.poll("c1", 0, 3)


def _resume_too_far(h: Recorder) -> None:
    h.revoke("c1", 1)
    h.assign("c2", 1)
    h.send("p2", 1, "b4")
    h.poll("c2", 1, 4)


def _resume_too_early(h: Recorder) -> None:
    h.revoke("c1", 1)
    h.assign("c2", 1)
    h.poll("c2", 1, 2)


def _commit_ahead(h: Recorder) -> None:
    h.commit("c2", 0, 5)


def _commit_backwards(h: Recorder) -> None:
    h.commit("c2", 0, 3)


def _commit_as_a_zombie(h: Recorder) -> None:
    h.commit("c1", 0, 4)


def _skip_below_the_commit(h: Recorder) -> None:
    h.poll("c1", 1, 3)
    h.events = [e for e in h.events if e.op != "poll" or e.cells[0].partition != 1]


def _deliver_again(h: Recorder) -> None:
    h.revoke("c2", 0)
    h.assign("c1", 0)
    h.poll("c1", 0, 3)


MUTATIONS: dict[str, Callable[[Recorder], None]] = {
    "lost-write": _lose,
    "duplicate": _duplicate,
    "inconsistent-offset": _reuse_an_offset,
    "aborted-read": _read_a_failed_send,
    "phantom": _invent,
    "misrouted": _misroute,
    "hole": _leave_a_hole,
    "wrong-ack-offset": _acknowledge_another_offset,
    "realtime-order": _go_back_in_time,
    "nonmonotonic-send": _reorder,
    "poll-skip": _skip,
    "nonmonotonic-poll": _step_back,
    "poll-unassigned": _poll_what_was_revoked,
    "resume-skip": _resume_too_far,
    "resume-rewind": _resume_too_early,
    "commit-ahead": _commit_ahead,
    "commit-regress": _commit_backwards,
    "zombie-commit": _commit_as_a_zombie,
    "consumer-lost": _skip_below_the_commit,
    "redelivery-without-fault": _deliver_again,
}


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_a_history_corrupted_in_one_place_violates_the_invariant(invariant: str) -> None:
    h = history()
    assert h.violated() == set()

    MUTATIONS[invariant](h)

    assert invariant in h.violated()


def _unknown_sends_may_or_may_not_be_there(h: Recorder) -> None:
    h.send("p1", 0, "a4", "info")
    h.step("p1", "send", "invoke", (0, -1, "a5"))
    h.step("p1", "send", "info", (0, -1, "a5"))
    h.send("p1", 0, "a6")


def _a_failed_send_is_absent(h: Recorder) -> None:
    h.send("p1", 0, "a4", "fail")


def _concurrent_sends_of_two_producers_stand_in_any_order(h: Recorder) -> None:
    h.step("p1", "send", "invoke", (0, -1, "x"))
    h.step("p2", "send", "invoke", (0, -1, "y"))
    h.step("p1", "send", "ok", (0, 5, "x"))
    h.step("p2", "send", "ok", (0, 4, "y"))
    h.records[0] += [(4, "y"), (5, "x")]


def _a_fault_allows_redelivery_from_the_commit_on(h: Recorder) -> None:
    h.poll("c1", 1, 3)
    h.step("test", "fault")
    h.assign("c2", 1)
    h.poll("c2", 1, 3)
    h.commit("c2", 1, 4)


def _an_unanswered_commit_allows_both_positions(h: Recorder) -> None:
    h.poll("c1", 1, 3)
    h.commit("c1", 1, 4, "info")
    h.step("test", "fault")
    h.revoke("c1", 1)
    h.assign("c2", 1)
    h.poll("c2", 1, 3)
    h.send("p2", 1, "b4")
    h.revoke("c2", 1)
    h.assign("c1", 1)
    h.poll("c1", 1, 4)


def _a_seek_allows_a_jump_its_commit_and_redelivery(h: Recorder) -> None:
    h.step("c2", "jump", "ok", (0, -1, ""))
    h.poll("c2", 0, 0, 1)
    h.commit("c2", 0, 2)
    h.poll("c2", 0, 2, 3)
    h.commit("c2", 0, 4)


def _records_trimmed_before_they_were_read_are_skipped_with_notice(h: Recorder) -> None:
    for n in range(4, 8):
        h.send("p2", 1, f"b{n}")
    h.records[1], h.start[1] = h.records[1][5:], 5
    h.step("c1", "jump", "ok", (1, -1, ""))
    h.poll("c1", 1, 5, 6, 7)
    h.commit("c1", 1, 8)


def _a_cut_takes_a_suffix_and_its_offsets_are_used_again(h: Recorder) -> None:
    h.step("test", "cut", "ok", (0, 2, ""))
    h.records[0] = h.records[0][:2]
    h.send("p1", 0, "new2")
    h.step("c2", "jump", "ok", (0, -1, ""))
    h.poll("c2", 0, 0, 1, 2)
    h.commit("c2", 0, 3)


def _a_reset_to_the_end_skips_what_came_after_the_cut_with_notice(h: Recorder) -> None:
    h.step("test", "cut", "ok", (0, 2, ""))
    h.records[0] = h.records[0][:2]
    h.send("p1", 0, "new2")
    h.step("c2", "jump", "ok", (0, -1, ""))
    h.send("p1", 0, "new3")
    h.poll("c2", 0, 3)
    h.commit("c2", 0, 4)


@pytest.mark.parametrize(
    "allow",
    [
        _unknown_sends_may_or_may_not_be_there,
        _a_failed_send_is_absent,
        _concurrent_sends_of_two_producers_stand_in_any_order,
        _a_fault_allows_redelivery_from_the_commit_on,
        _an_unanswered_commit_allows_both_positions,
        _a_seek_allows_a_jump_its_commit_and_redelivery,
        _records_trimmed_before_they_were_read_are_skipped_with_notice,
        _a_cut_takes_a_suffix_and_its_offsets_are_used_again,
        _a_reset_to_the_end_skips_what_came_after_the_cut_with_notice,
    ],
)
def test_what_is_allowed_is_valid(allow: Callable[[Recorder], None]) -> None:
    h = history()

    allow(h)

    assert h.violated() == set()


def _lose_below_the_cut(h: Recorder) -> None:
    h.records[0][1] = (1, "elsewhere")


def _lose_what_was_sent_after_it(h: Recorder) -> None:
    h.step("p1", "send", "invoke", (0, -1, "later"))
    h.step("p1", "send", "ok", (0, 2, "later"))


@pytest.mark.parametrize("lose", [_lose_below_the_cut, _lose_what_was_sent_after_it])
def test_a_cut_excuses_nothing_but_the_tail_of_its_time(lose: Callable[[Recorder], None]) -> None:
    h = history()
    h.step("test", "cut", "ok", (0, 2, ""))
    h.records[0] = h.records[0][:2]
    assert "lost-write" not in h.violated()

    lose(h)

    assert "lost-write" in h.violated()


def test_a_cut_without_notice_to_the_reader_is_a_violation() -> None:
    h = history()
    h.step("test", "cut", "ok", (0, 2, ""))
    h.records[0] = h.records[0][:2]
    h.send("p1", 0, "new2")

    h.poll("c2", 0, 2)

    assert "nonmonotonic-poll" in h.violated()


def test_steps_of_several_processes_are_put_in_order_by_their_time() -> None:
    h = history()

    shuffled: Sequence[Event] = h.events[::2] + h.events[1::2]

    logs = {p: Log(0, len(records), records) for p, records in h.records.items()}
    assert check(shuffled, logs) == []
