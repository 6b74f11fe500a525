"""A checker of histories: what clients saw, against what the log holds in the end. Pure.

    violations = check(events, {0: Log(start=0, records=((0, "a-0"), (1, "a-1")))})

An event is one step of an operation of one process, after Jepsen: `invoke` before it, then `ok`, `fail` (it
certainly had no effect) or `info` (nobody knows: a time-out, a cut connection). Every value is sent once only. A
history is of one topic and one consumer group that starts at the beginning of the log; check several one by one.

| op     | cells                                     | kinds                                              |
|--------|-------------------------------------------|----------------------------------------------------|
| send   | the record; offset of an ok only          | invoke, ok, fail, info                             |
| poll   | records handed out together, in order     | ok                                                 |
| commit | partitions and offsets                    | invoke, ok, fail, info                             |
| assign | partitions gained                         | ok                                                 |
| revoke | partitions given up or lost               | ok                                                 |
| jump   | partitions that may go on anywhere: a     | ok; partition -1 stands for all of the process     |
|        | seek, or a reset that the client was told |                                                    |
| cut    | partitions and first offsets lost, when   | ok                                                 |
|        | the server came back without its tail     |                                                    |
| fault  | none                                      | ok: from now on a record may be delivered again    |

A cut excuses, of the records sent before it, those at or behind its offset, and commits acknowledged before it: the
loss must be a suffix. Invariants: shared/guarantees.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Op: TypeAlias = Literal["send", "poll", "commit", "assign", "revoke", "jump", "cut", "fault"]
Kind: TypeAlias = Literal["invoke", "ok", "fail", "info"]
Place: TypeAlias = tuple[int, int]
"""(partition, offset)"""


class Cell(NamedTuple):
    """One record, or as much of it as an operation is about."""

    partition: int
    offset: int = -1
    value: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A step of an operation. `at`: seconds of a clock that all processes share. process: one client's name."""

    at: float
    process: str
    op: Op
    kind: Kind = "ok"
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """One partition, read from its start to its end after the faults: (offset, value) in the order read."""

    start: int
    end: int
    records: Sequence[tuple[int, str]]


class Violation(NamedTuple):
    """An invariant that does not hold, and where."""

    invariant: str
    detail: str


INVARIANTS = (
    *("lost-write", "duplicate", "inconsistent-offset", "aborted-read", "phantom", "misrouted", "hole"),
    *("wrong-ack-offset", "realtime-order", "nonmonotonic-send"),
    *("poll-skip", "nonmonotonic-poll", "poll-unassigned", "resume-skip", "resume-rewind"),
    *("commit-ahead", "commit-regress", "zombie-commit", "consumer-lost", "redelivery-without-fault"),
)


def check(events: Iterable[Event], logs: Mapping[int, Log]) -> list[Violation]:
    """All violations, in no particular order; empty if the history is valid. logs: by partition, all of them."""
    facts = _Facts(sorted(events, key=lambda event: event.at), logs)
    violations = [*_check_log(facts), *_check_sends(facts), *_check_observations(facts)]
    return violations + _Readers(facts).check()


class _Facts:
    """The history, indexed."""

    def __init__(self, events: Sequence[Event], logs: Mapping[int, Log]) -> None:
        self.events = events
        self.logs = logs
        self.final: dict[Place, str] = {}
        self.places: defaultdict[str, list[Place]] = defaultdict(list)
        for partition, log in logs.items():
            for offset, value in log.records:
                self.final[partition, offset] = value
                self.places[value].append((partition, offset))
        self.sends: dict[str, Event] = {}  # the invocations, in order
        self.cuts: list[tuple[float, Cell]] = []
        for event in events:
            if event.op == "send" and event.kind == "invoke":
                self.sends[event.cells[0].value] = event
            elif event.op == "cut":
                self.cuts += [(event.at, cell) for cell in event.cells]

    def excused(self, cell: Cell) -> bool:
        """It was at this place, and a cut took it away."""
        sent = self.sends.get(cell.value)
        if sent is None or self.final.get((cell.partition, cell.offset)) == cell.value:
            return False
        return any(
            cut.partition == cell.partition and cut.offset <= cell.offset and sent.at < at
            for at, cut in self.cuts
        )

    def completions(self, kind: Kind) -> Iterator[Cell]:
        """Sends that ended so."""
        return (event.cells[0] for event in self.events if event.op == "send" and event.kind == kind)

    def observations(self) -> Iterator[Cell]:
        """Records that somebody saw at an offset, those of the final read left out."""
        yield from self.completions("ok")
        yield from (cell for event in self.events if event.op == "poll" for cell in event.cells)


def _check_log(facts: _Facts) -> Iterator[Violation]:
    """The final read in itself, and against what was sent."""
    for partition, log in facts.logs.items():
        offsets = [offset for offset, _ in log.records]
        if offsets != list(range(log.start, log.end)):
            wrong = sorted(set(offsets) ^ set(range(log.start, log.end)))[:10]
            what = f"{len(offsets)} records, missing or beyond: {wrong}"
            yield Violation("hole", f"[{partition}] {log.start} to {log.end} has {what}")
    for value, places in facts.places.items():
        if len(places) > 1:
            yield Violation("duplicate", f"{value} stands at {places}")
        sent = facts.sends.get(value)
        if sent is None:
            yield Violation("phantom", f"{value} at {places} was never sent")
        elif astray := [place for place in places if place[0] != sent.cells[0].partition]:
            yield Violation("misrouted", f"{value}, sent to [{sent.cells[0].partition}], stands at {astray}")
    last: dict[tuple[str, int], tuple[int, str]] = {}
    for value, sent in facts.sends.items():
        for partition, offset in facts.places.get(value, [])[:1]:
            before = last.get((sent.process, partition), (-1, ""))
            if offset < before[0]:
                yield Violation(
                    "nonmonotonic-send", f"{value} at {offset} was sent after {before[1]} at {before[0]}"
                )
            last[sent.process, partition] = (offset, value)


def _check_sends(facts: _Facts) -> Iterator[Violation]:
    """Acknowledgements against the final read."""
    for cell in facts.completions("ok"):
        log = facts.logs.get(cell.partition)
        if facts.excused(cell) or (log is not None and cell.offset < log.start):
            continue
        if cell.value not in facts.places:
            yield Violation("lost-write", f"{cell} was acknowledged and is gone")
        found = facts.final.get((cell.partition, cell.offset))
        if found is not None and found != cell.value:
            yield Violation("wrong-ack-offset", f"{cell} was acknowledged, but {found} stands there")
    for cell in facts.completions("fail"):
        if cell.value in facts.places:
            yield Violation("aborted-read", f"{cell.value} failed and stands at {facts.places[cell.value]}")


def _check_observations(facts: _Facts) -> Iterator[Violation]:
    """What anybody saw at an offset, against everything else that was seen."""
    seen = dict(facts.final)
    for cell in facts.observations():
        if cell.value not in facts.sends:
            yield Violation("phantom", f"{cell} was seen and never sent")
        elif not facts.excused(cell):
            other = seen.setdefault((cell.partition, cell.offset), cell.value)
            if other != cell.value:
                yield Violation("inconsistent-offset", f"{cell}: {other} was seen there too")
    known: defaultdict[int, int] = defaultdict(lambda: -1)  # partition -> highest offset seen so far
    known_when_sent: dict[str, int] = {}
    for event in facts.events:
        for cell in event.cells:
            if event.op == "send" and event.kind == "invoke":
                known_when_sent[cell.value] = known[cell.partition]
            elif event.op in ("send", "poll") and event.kind == "ok" and not facts.excused(cell):
                if event.op == "send" and cell.offset <= known_when_sent.get(cell.value, -1):
                    yield Violation("realtime-order", f"{cell} was sent after a later offset was known")
                known[cell.partition] = max(known[cell.partition], cell.offset)


@dataclass(slots=True)
class _Position:
    """Where a process stands in a partition that it has. `next` is None until its first record."""

    assigned_at: float
    committed: int  # acknowledged when it was assigned
    next: int | None = None
    may_jump: bool = False
    cut: int | None = None  # its log was cut here since its last jump


class _Readers:
    """Replays what consumers did, in order of time."""

    def __init__(self, facts: _Facts) -> None:
        self._facts = facts
        self._found: list[Violation] = []
        self._positions: dict[tuple[str, int], _Position] = {}
        self._had: set[tuple[str, int]] = set()
        self._latest_owner: dict[int, str] = {}
        self._delivered: set[Place] = set()
        self._once: set[Place] = set()  # delivered, and not to be delivered again without a reason
        self._announced: set[Place] = set()  # skipped with notice
        self._polled: dict[tuple[str, int], int] = {}  # highest offset handed out + 1
        self._attempted: dict[int, int] = {}
        self._acknowledged: dict[int, int] = {}
        # A commit -> what was acknowledged, and who had which partition, when it was asked for.
        self._when_invoked: dict[tuple[str, tuple[Cell, ...]], tuple[dict[int, int], dict[int, str]]] = {}
        self._jumped: set[int] = set()  # partitions with a jump since their last acknowledged commit
        self._faulty = False

    def check(self) -> list[Violation]:
        """Violations of the invariants of consumers."""
        for event in self._facts.events:
            if event.op == "fault":
                self._faulty = True
            elif event.op == "poll":
                self._poll(event)
            elif event.op == "commit":
                self._commit(event)
            else:
                self._move(event)
        accounted = self._delivered | self._announced
        for partition, committed in self._acknowledged.items():
            for offset, value in self._facts.logs[partition].records:
                place = (partition, offset)
                if offset < committed and place not in accounted:
                    self._report(
                        "consumer-lost", f"{value} at {place} is below {committed}, and was never delivered"
                    )
        return self._found

    def _report(self, invariant: str, detail: str) -> None:
        self._found.append(Violation(invariant, detail))

    def _move(self, event: Event) -> None:
        """Changes of the assignment and of positions."""
        for partition, offset, _ in event.cells:
            key = (event.process, partition)
            if event.op == "assign":
                self._positions[key] = _Position(event.at, self._acknowledged.get(partition, 0))
                self._had.add(key)
                self._latest_owner[partition] = event.process
            elif event.op == "revoke":
                self._positions.pop(key, None)
            elif event.op == "jump":
                for (process, place), position in self._positions.items():
                    if process == event.process and partition in (place, -1):
                        position.may_jump = True
                        self._jumped.add(place)
            elif event.op == "cut":
                # The commits of the lost time are gone too, and the readers are told by a jump of their own.
                self._acknowledged.pop(partition, None)
                for (_, place), position in self._positions.items():
                    if place == partition:
                        position.committed, position.cut = 0, offset
                self._forget(
                    partition, offset, self._delivered, self._once
                )  # another record may stand there now

    def _poll(self, event: Event) -> None:
        for cell in event.cells:
            key = (event.process, cell.partition)
            position = self._positions.get(key)
            if position is None:
                self._report("poll-unassigned", f"{event.process} was handed {cell} at {event.at}")
            else:
                self._advance(event.process, position, cell)
            self._polled[key] = max(self._polled.get(key, 0), cell.offset + 1)
            place = (cell.partition, cell.offset)
            if place in self._once and not self._faulty:
                self._report("redelivery-without-fault", f"{cell} was delivered again, to {event.process}")
            self._delivered.add(place)
            self._once.add(place)

    def _advance(self, process: str, position: _Position, cell: Cell) -> None:
        """Compare a record's offset with the one that should come."""
        _, offset, _ = cell
        if position.next is None:
            attempted = self._attempted.get(cell.partition, self._facts.logs[cell.partition].start)
            low, high, names = position.committed, attempted, ("resume-rewind", "resume-skip")
        else:
            low, high, names = position.next, position.next, ("nonmonotonic-poll", "poll-skip")
        if not low <= offset <= high:
            if not position.may_jump:
                where = f"{process} was handed {cell} and not {low}" + (f" to {high}" if high != low else "")
                self._report(names[0] if offset < low else names[1], where)
            else:
                self._forget(cell.partition, offset, self._once)
            left = low if position.cut is None else min(low, position.cut)
            self._announced |= {(cell.partition, skipped) for skipped in range(left, offset)}
            position.may_jump, position.cut = False, None
        position.next = offset + 1

    @staticmethod
    def _forget(partition: int, offset: int, *places: set[Place]) -> None:
        for each in places:
            each -= {place for place in each if place[0] == partition and place[1] >= offset}

    def _commit(self, event: Event) -> None:
        key = (event.process, event.cells)
        if event.kind == "invoke":
            self._when_invoked[key] = (dict(self._acknowledged), dict(self._latest_owner))
            for partition, offset, _ in event.cells:
                seen = max(
                    self._polled.get((event.process, partition), 0), self._acknowledged.get(partition, 0)
                )
                if offset > seen:
                    self._report(
                        "commit-ahead", f"{event.process} commits {offset} of [{partition}], polled {seen}"
                    )
                self._attempted[partition] = max(self._attempted.get(partition, 0), offset)
        elif event.kind == "ok":
            acknowledged, owners = self._when_invoked.get(key, ({}, {}))
            for partition, offset, _ in event.cells:
                if offset < acknowledged.get(partition, 0) and partition not in self._jumped:
                    self._report(
                        "commit-regress", f"{event.process}: [{partition}] from {acknowledged} to {offset}"
                    )
                owner = owners.get(partition)
                if owner not in (None, event.process) and (event.process, partition) in self._had:
                    self._report(
                        "zombie-commit", f"{event.process} committed [{partition}], which {owner} has"
                    )
                self._acknowledged[partition] = offset
                self._jumped.discard(partition)
