"""Reading: positions for partitions that have none, fetches, and what a batch that does not fit means."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import OFFSET_INVALID, OFFSET_STORED, KafkaError, KafkaException

from streamadapter.backend import TP, Committed, Fetched, LogState, LogStore, Reader, StoredBatch, TopicInfo
from streamadapter.codec import CorruptBatch, RecordBatch, decode_batch
from streamadapter.engine import positions
from streamadapter.engine.consumer_state import ConsumerState, log
from streamadapter.engine.delivery import Chunk
from streamadapter.engine.group_session import GroupSession
from streamadapter.engine.partition import Partition
from streamadapter.errors import FencedOwnerError, StoreError
from streamadapter.message import event

LOOK_INTERVAL_S = 1.0
"""How often start and end of the assigned logs are looked at: finds what a reader that gets nothing cannot see."""
RETENTION_INTERVAL_S = 300.0
"""How often retention is enforced on assigned partitions, as Kafka's log.retention.check.interval.ms."""
RETRY_S = 1.0
"""Pause before a partition that cannot be read (unknown topic, foreign entry) is tried again."""
RETRY_MS = 50
"""Longest wait of a fetch while some partition waits to be tried again."""
UNSEEN_BATCHES, MAX_BATCHES = 4, 1000
"""Batches to ask for in one fetch: while their size is unknown, and at most."""
GIVE_WAY_S = 1e-6
"""Sleep, or the shortest there is, of the thread that has just brought what the application waits for.

Without it the application would get the interpreter only when this thread waits for the server again."""
MAX_WAIT_MS = 1000
"""Bound of one fetch, whatever fetch.wait.max.ms says: below any socket timeout."""


class Fetcher:
    """Used by the consumer's background thread only."""

    def __init__(self, store: LogStore, state: ConsumerState, session: GroupSession) -> None:
        self._store = store
        self._state = state
        self._session = session
        self._policy: str = state.settings["auto.offset.reset"]
        self._plain_reader: Reader | None = None  # of manually assigned partitions
        self._woken = False
        self._look_due = 0.0
        self._retention_due = time.monotonic() + RETENTION_INTERVAL_S
        self._retry_at: dict[Partition, float] = {}
        self._topics: Mapping[str, TopicInfo] = {}  # the registry as `resolve` last saw it
        self._sizes: float = 0.0  # running mean of a stored batch in bytes

    def wake(self) -> None:
        """From any thread: end a waiting fetch, or keep the next one from waiting."""
        self._woken = True
        reader = self._session.reader or self._plain_reader
        if reader is not None:
            reader.wake()

    def close(self) -> None:
        """Close the plain reader; the session closes its own."""
        if self._plain_reader is not None:
            self._plain_reader.close()

    # -- positions

    def resolve(self) -> None:
        """Find a position for partitions that have none, and check those whose log looks cut. Raises StoreError."""
        now = time.monotonic()
        with self._state.lock:
            assigned = set(self._state.assignment.values())
            topics = self._state.topics
            if topics is not self._topics:
                self._topics = topics
                self._follow(assigned)
        self._retry_at = {p: at for p, at in self._retry_at.items() if at > now and p in assigned}
        todo = [
            p
            for p in assigned
            if (p.fetch_offset < 0 or p.doubtful) and not p.failed and p not in self._retry_at
        ]
        todo = [p for p in todo if self._find_topic(p, topics)]
        if not todo:
            return
        committed: Mapping[TP, Committed] = {}
        if any(p.fetch_offset < 0 and p.wanted in (OFFSET_STORED, OFFSET_INVALID) for p in todo):
            committed = self._store.committed(self._session.group)
        for partition, found in self._log_states(todo, committed):
            if isinstance(found, LogState):
                self._place(partition, found, committed.get(partition.tp))
                continue
            log.warning("%s", found)
            if found.fatal:
                raise found
            self._retry_at[partition] = now + (RETRY_S if not found.retriable else RETRY_S / 10)

    def _follow(self, partitions: Iterable[Partition]) -> None:
        """After a change of the registry: what was missing may be there, and a topic may have been made anew."""
        for partition in partitions:
            name, index = partition.tp
            topic, former = self._topics.get(name), partition.topic
            if topic is None or index >= topic.partitions or (former and former.topic_id == topic.topic_id):
                continue
            partition.failed = partition.acquired = False
            self._retry_at.pop(partition, None)
            if former is not None:
                partition.doubtful = True  # the position speaks of another log

    def _find_topic(self, partition: Partition, topics: Mapping[str, TopicInfo]) -> bool:
        name, index = partition.tp
        topic = topics.get(name)
        if topic is not None and index < topic.partitions:
            partition.topic = topic
            return True
        code = KafkaError.UNKNOWN_TOPIC_OR_PART if topic is None else KafkaError._UNKNOWN_PARTITION
        with self._state.lock:
            self._tell_missing(StoreError(code, f"{partition.name} does not exist"), partition)
            partition.failed = True  # until it is assigned again, or created
        return False

    def _log_states(
        self, partitions: Sequence[Partition], committed: Mapping[TP, Committed]
    ) -> Iterable[tuple[Partition, LogState | StoreError]]:
        """Limits of each log. A group's partition is acquired by the way, if that was not done yet."""
        plain = []
        for partition in partitions:
            assert partition.topic is not None  # noqa: S101 - _find_topic set it
            reader = self._session.reader
            if partition.owner_epoch < 0 or partition.acquired or reader is None:
                plain.append((partition, partition.topic))
                continue
            start = committed.get(partition.tp)
            offset = max(0, start.offset if start else partition.wanted)
            try:
                limits = reader.acquire(partition.topic, partition.tp[1], partition.owner_epoch, offset)
            except FencedOwnerError as error:
                self._session.look_now()
                yield partition, error
            except StoreError as error:
                yield partition, error
            else:
                partition.acquired = True
                yield partition, limits
        if plain:
            states = self._store.log_states([(topic, p.tp[1]) for p, topic in plain])
            yield from ((p, state) for (p, _), state in zip(plain, states, strict=True))

    def _place(self, partition: Partition, limits: LogState, committed: Committed | None) -> None:
        """Set a partition's position, by where it shall start or by where it was."""
        with self._state.lock:
            partition.low, partition.high = limits.start, limits.end
            partition.doubtful = False
            offset = partition.fetch_offset
            logical = partition.wanted in (OFFSET_STORED, OFFSET_INVALID)
            tried = (committed.offset if committed else None) if logical else partition.wanted
            try:
                if offset < 0:
                    start = positions.resolve(
                        partition.name, partition.wanted, committed, limits, self._policy
                    )
                else:
                    start = positions.verify(
                        partition.name, offset, partition.leader_epoch, partition.log_id, limits, self._policy
                    )
            except StoreError as error:
                partition.failed = True  # until the application seeks or assigns
                self._state.deliver_error(error, partition, offset if offset >= 0 else tried)
                return
            if start.offset != offset:
                partition.start, partition.start_epoch = start.offset, start.leader_epoch
                if start.notice is not None:
                    partition.sent_to_commit = OFFSET_INVALID  # it spoke of records that are gone
                elif logical and committed is not None and offset < 0:
                    partition.sent_to_commit = committed.offset
            partition.fetch_offset = start.offset
            partition.leader_epoch = start.leader_epoch
            partition.log_id = limits.log_id
            partition.eof_at = -1
            partition.checked_at = -1 if offset < 0 else start.offset
            if start.notice is not None:
                self._state.report(start.notice)

    def look(self) -> None:
        """Once a second: watermarks, and logs cut or trimmed behind a reader that gets nothing. Raises StoreError."""
        now = time.monotonic()
        if now < self._look_due:
            return
        self._look_due = now + LOOK_INTERVAL_S
        with self._state.lock:
            read = [
                p for p in self._state.assignment.values() if p.fetch_offset >= 0 and p.topic and not p.failed
            ]
        if not read:
            return
        states = self._store.log_states([(p.topic, p.tp[1]) for p in read if p.topic])
        for partition, limits in zip(read, states, strict=True):
            if isinstance(limits, LogState):
                self._compare(partition, limits)
            elif limits.code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                self._topic_gone(partition)
        if now >= self._retention_due:
            self._retention_due = now + RETENTION_INTERVAL_S
            for partition in read:
                if partition.topic:
                    self._store.enforce_retention(partition.topic, partition.tp[1])

    def _compare(self, partition: Partition, limits: LogState) -> None:
        with self._state.lock:
            partition.low, partition.high = limits.start, limits.end
            if partition.fetch_offset < 0:
                return
            problem = positions.check(
                partition.name, partition.fetch_offset, partition.leader_epoch, partition.log_id, limits
            )
            partition.doubtful = partition.doubtful or problem is not None

    def _topic_gone(self, partition: Partition) -> None:
        with self._state.lock:
            partition.failed = True  # until it is assigned again, or created
            error = StoreError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{partition.name} has been deleted")
            self._tell_missing(error, partition)

    def _tell_missing(self, error: StoreError, partition: Partition) -> None:
        """Of a topic that was subscribed to the session tells, once; and its partitions will be revoked."""
        if not self._state.subscription:
            self._state.deliver_error(error, partition)

    # -- fetching

    def fetch(self, until: float) -> None:
        """One fetch, that waits for records, for the group, or until `until` (monotonic). Raises StoreError."""
        state = self._state
        reader = self._reader()
        with state.lock:
            # From here on a wake() finds the reader, and before it the changed state.
            woken, self._woken = self._woken, False
            full = self._full()
            asked = {} if full else {p.tp: (p, p.version, p.fetch_offset) for p in self._fetchable()}
            wait_ms = 0 if woken else self._wait_ms(until, everything=len(asked) == len(state.assignment))
            if reader is None or full:
                # Nothing to ask the server for: the application or time goes on.
                state.throttled = full
                if not woken and not state.stopped and not state.commits:
                    state.for_loop.wait(max(1, wait_ms) / 1000)
                state.throttled = False
                return
        positions_asked = {tp: offset for tp, (_, _, offset) in asked.items()}
        fetched = reader.fetch(positions_asked, self._batches(), wait_ms)
        self._accept(fetched, asked)
        if fetched.batches and state.in_poll and len(fetched.drained) == len(asked):
            time.sleep(GIVE_WAY_S)  # only where there is no more to fetch at once

    def _reader(self) -> Reader | None:
        """The group's reader, or the plain one of a consumer that assigns by hand; None: nothing to read."""
        if self._session.reader is not None:
            return self._session.reader
        if self._plain_reader is None and self._state.assignment and not self._state.subscription:
            self._plain_reader = self._store.reader(None, "")
        return self._plain_reader if self._state.assignment else None

    def _fetchable(self) -> list[Partition]:
        return [
            p
            for p in self._state.assignment.values()
            if p.fetchable and (p.acquired or p.owner_epoch < 0) and p not in self._retry_at
        ]

    def _wait_ms(self, until: float, *, everything: bool) -> int:
        """How long a fetch may wait. everything: it asks for all that is assigned."""
        longest: int = self._state.settings["fetch.wait.max.ms"]
        # `until` is -inf if the group wants to be heard at once.
        left_ms = max(0.0, until - time.monotonic()) * 1000
        wait_ms = int(min(MAX_WAIT_MS, longest, left_ms))
        if everything:
            return wait_ms  # no partition waits for a look at its log: the way of nearly every round
        assigned = self._state.assignment.values()
        if any(p.doubtful and not p.failed and p not in self._retry_at for p in assigned):
            return 0  # the next round begins with that look
        unresolved = any(p.fetch_offset < 0 and not p.failed for p in assigned)
        return min(wait_ms, RETRY_MS) if unresolved or self._retry_at else wait_ms

    def _full(self) -> bool:
        queue = self._state.queue
        most_messages: int = self._state.settings["queued.min.messages"]
        most_bytes: int = self._state.settings["queued.max.messages.kbytes"] * 1024
        return queue.messages >= most_messages or queue.bytes >= most_bytes

    def _batches(self) -> int:
        if not self._sizes:
            return UNSEEN_BATCHES
        return max(1, min(MAX_BATCHES, int(self._state.settings["max.partition.fetch.bytes"] / self._sizes)))

    def _accept(self, fetched: Fetched, asked: Mapping[TP, tuple[Partition, int, int]]) -> None:
        decoded = {tp: [(b, self._decode(b)) for b in batches] for tp, batches in fetched.batches.items()}
        if fetched.fenced or fetched.group_changed:
            self._session.look_now()
        with self._state.lock:
            if decoded:
                # Before the work and not after it: a waiting application wakes meanwhile, and goes on when the lock
                # is free.
                self._state.for_app.notify_all()
            for tp, (partition, version, _) in asked.items():
                if partition.version != version:
                    continue  # moved on while the fetch was under way; the reader's cursor will be set again
                if tp in fetched.unowned or tp in fetched.fenced:
                    partition.acquired = False
                    partition.doubtful = True
                    if tp in fetched.fenced:
                        self._retry_at[partition] = time.monotonic() + RETRY_S
                    continue
                if tp in decoded and not all(self._take(partition, *found) for found in decoded[tp]):
                    continue
                if tp in fetched.drained:
                    self._at_end(partition)

    def _decode(self, stored: StoredBatch) -> RecordBatch | CorruptBatch | None:
        if stored.payload is None:
            return None
        size = len(stored.payload)
        self._sizes = size if not self._sizes else self._sizes * 0.9 + size * 0.1
        try:
            return decode_batch(stored.payload, stored.count)
        except CorruptBatch as error:
            return error
        except KafkaException as error:  # its compression library is not installed here
            problem: KafkaError = error.args[0]
            raise StoreError(problem.code(), problem.str(), fatal=True) from error

    def _take(
        self, partition: Partition, stored: StoredBatch, batch: RecordBatch | CorruptBatch | None
    ) -> bool:
        """Queue one batch; False if it does not fit at the position, so that nothing after it may be taken."""
        if batch is None:
            self._blocked(partition)
            return False
        end = stored.base_offset + stored.count
        if end <= partition.fetch_offset:
            return True  # read before: the reply to the first reading was lost
        newer = stored.leader_epoch > partition.leader_epoch >= 0
        gap = stored.base_offset > partition.fetch_offset
        # A look leaves the epoch at the position, so it need not be repeated for `newer`; a gap stays one.
        if newer or (gap and partition.checked_at != partition.fetch_offset):
            partition.doubtful = True
            return False
        if gap:
            self._lost(partition, f"offsets {partition.fetch_offset} to {stored.base_offset - 1} are missing")
        if isinstance(batch, CorruptBatch):
            self._lost(
                partition,
                f"the batch at offset {stored.base_offset} is corrupt ({batch}): {stored.count} records",
            )
        else:
            self._state.queue.put(Chunk(partition, stored, batch, partition.fetch_offset))
        partition.fetch_offset = end
        partition.leader_epoch = stored.leader_epoch
        return True

    def _blocked(self, partition: Partition) -> None:
        """An entry without offsets: what comes after it cannot be placed. Looked at again, reported once."""
        self._retry_at[partition] = time.monotonic() + RETRY_S
        if partition.blocked_at == partition.fetch_offset:
            return
        partition.blocked_at = partition.fetch_offset
        error = StoreError(
            KafkaError._BAD_MSG,
            f"{partition.name}: an entry that streamadapter did not write stands in its stream; "
            "reading goes on when it has been removed (XDEL, then XSETID)",
        )
        self._state.deliver_error(error, partition, partition.fetch_offset)

    def _lost(self, partition: Partition, what: str) -> None:
        error = StoreError(KafkaError._BAD_MSG, f"{partition.name}: {what}; skipped")
        self._state.deliver_error(error, partition, partition.fetch_offset)

    def _at_end(self, partition: Partition) -> None:
        partition.high = max(partition.high, partition.fetch_offset)
        if self._state.settings["enable.partition.eof"] and partition.eof_at != partition.fetch_offset:
            partition.eof_at = partition.fetch_offset
            code = KafkaError._PARTITION_EOF
            end = StoreError(code, "Fetch from broker reached end of partition").kafka_error()
            self._state.deliver_event(event(end, *partition.tp, partition.fetch_offset), partition)
