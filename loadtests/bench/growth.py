"""What calls cost in logs of 10^4 to 10^7 records of 100 B.

Each log is grown to its length by appends. Then all are measured in turn, in blocks of a few calls, so that a change of
the machine's speed makes no difference between lengths. The length stays the same meanwhile: what a block appends at
the log's end it deletes at its beginning. Every figure is the median of `BLOCK * BLOCKS` calls, in microseconds a call:

- `append_us_*`: a batch of 500 records, encoded before the clock starts, by the store's append(): one round trip.
  Producer.produce() and flush() would add the hand-over between two threads, which costs more than what is to be seen
  here, and knows nothing of the log's length;
- `tail_fetch_us_*`: that batch, by a group's reader whose cursor stands before it;
- `head_fetch_us_*`: the log's first batch, by such a reader, whose cursor has to be set there;
- `search_us_*`: offsets_for_times() of a consumer, for the time of some record; the answer is checked;
- `trim_us_*`: deleting a batch at the beginning.

`append_server_us_*` and so on: what INFO commandstats counts for such a call, the mean. The server does not rewrite its
append-only file meanwhile: that comes at some size of the file, in whichever measurement that may be.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import redis

from bench.case import Case, Figures
from bench.records import random_records
from bench.topic import new_topic
from streamadapter import Consumer, TopicPartition
from streamadapter.backend import Append, Appended, Reader
from streamadapter.codec import encode_batch
from streamadapter_redis.store import open_store

LENGTHS = (10**4, 10**5, 10**6, 10**7)
BATCH = 500
BLOCK = 8
"""Batches to be appended, then deleted: the shortest log has 20, and must not grow much in between."""
BLOCKS = 125
FILL = 100
"""Batches appended at once to fill the log."""
FIRST_TIME = 1_700_000_000_000
"""Timestamp of the first record, ms; each record's is one more than that of the one before."""
WRITTEN_TIMEOUT_S = 60.0


def cases() -> list[Case]:
    """One, whose figures are compared with each other."""
    return [
        Case(
            chapter="growth",
            name="growth",
            subject="streamadapter",
            server="redis",
            function="bench.growth:measure",
            arguments={"records": max(LENGTHS)},
            rounds=1,
            timeout_s=600.0,
        )
    ]


def measure(url: str, records: int) -> Figures:
    """Figures for each of LENGTHS up to `records`, at least for the first."""
    with ExitStack() as stack, redis.Redis.from_url(url) as server:
        server.config_set("auto-aof-rewrite-percentage", 0)
        lengths = [length for length in LENGTHS if length <= max(records, LENGTHS[0])]
        logs = [Log(url, stack.enter_context(new_topic(url, 1)), Costs(server)) for _ in lengths]
        for log, length in zip(logs, lengths, strict=True):
            log.fill(length)
        _await_written(server)
        for _ in range(BLOCKS):
            for log in logs:
                log.measure()
        found: Figures = {}
        for log, length in zip(logs, lengths, strict=True):
            found |= log.costs.figures(label(length))
        return found


def _await_written(server: redis.Redis) -> None:
    """Until what was appended is on the disk."""
    deadline = time.monotonic() + WRITTEN_TIMEOUT_S
    time.sleep(1.5)  # appendfsync everysec: by then it has begun
    while server.info("persistence")["aof_pending_bio_fsync"]:
        assert time.monotonic() < deadline, "the server is still writing its file"
        time.sleep(0.1)


def label(length: int) -> str:
    """1e4 for 10,000."""
    return f"1e{len(str(length)) - 1}"


class Log:
    """A topic of one partition, written and read here only. Its batches are of BATCH records."""

    def __init__(self, url: str, topic: str, costs: Costs) -> None:
        self.costs = costs
        self._store = open_store(url, {})
        self._info = self._store.topics().topics[topic]
        self._consumer = Consumer({"bootstrap.servers": url, "group.id": "searching"})
        self._head = self._reader("head")
        self._tail = self._reader("tail")
        self._sent = random_records(100, BATCH)
        self._dice = random.Random(0)
        self._start = self._end = 0  # offsets

    def _reader(self, group: str) -> Reader:
        reader = self._store.reader(group, "member")
        reader.acquire(self._info, 0, 1, 0)
        return reader

    def fill(self, length: int) -> None:
        """Append until it has so many records."""
        while (missing := length - self._end) > 0:
            self._append([self._batch(i) for i in range(min(FILL, missing // BATCH))])

    def measure(self) -> None:
        """One block of each kind of call."""
        costs = self.costs
        with costs.counted(append=["evalsha"], tail_fetch=["xreadgroup"]):
            for _ in range(BLOCK):
                batch = self._batch(0)
                with costs.timed("append"):
                    self._append([batch])
                with costs.timed("tail_fetch"):
                    self._fetch(self._tail, self._end - BATCH)
        with costs.counted(head_fetch=["xgroup|setid", "xreadgroup"]):
            for _ in range(BLOCK):
                with costs.timed("head_fetch"):
                    self._fetch(self._head, self._start)
        with costs.counted(search=["evalsha"]):
            for _ in range(BLOCK):
                offset = self._dice.randrange(self._start, self._end)
                with costs.timed("search"):
                    self._search(offset)
        with costs.counted(trim=["evalsha"]):
            for _ in range(BLOCK):
                with costs.timed("trim"):
                    self._trim()

    def _batch(self, after: int) -> Append:
        """The next batch, or the one so many batches after it, encoded."""
        first = self._end + after * BATCH
        times = [FIRST_TIME + offset for offset in range(first, first + BATCH)]
        payload = encode_batch(
            *(self._sent.values, self._sent.keys, times, [None] * BATCH),
            producer_id=1,
            producer_epoch=0,
            sequence=first,
        )
        return Append(self._info, 0, 1, 0, first, BATCH, times[-1], payload)

    def _append(self, batches: list[Append]) -> None:
        for batch, answer in zip(batches, self._store.append(batches, 1, 5000), strict=True):
            assert isinstance(answer, Appended), answer
            assert answer.base_offset == batch.sequence == self._end
            self._end += BATCH

    def _fetch(self, reader: Reader, offset: int) -> None:
        tp = (self._info.name, 0)
        (batch,) = reader.fetch({tp: offset}, 1, 0).batches[tp]
        assert batch.base_offset == offset

    def _search(self, offset: int) -> None:
        asked = TopicPartition(self._info.name, 0, FIRST_TIME + offset)
        (found,) = self._consumer.offsets_for_times([asked], 10)
        assert found.offset == offset

    def _trim(self) -> None:
        self._start += BATCH
        assert self._store.delete_records(self._info, 0, self._start) == self._start


class Costs:
    """Durations of calls by name, as seen here and as counted by the server."""

    def __init__(self, server: redis.Redis) -> None:
        self._server = server
        self._ns: defaultdict[str, list[int]] = defaultdict(list)
        self._server_us: Counter[str] = Counter()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """The block is one call."""
        started = time.perf_counter_ns()
        yield
        self._ns[name].append(time.perf_counter_ns() - started)

    @contextmanager
    def counted(self, **commands: list[str]) -> Iterator[None]:
        """What the server spends in the block on these commands is spent on the calls of that name."""
        self._server.config_resetstat()
        yield
        stats = self._server.info("commandstats")
        for name, of in commands.items():
            self._server_us[name] += sum(stats[f"cmdstat_{command}"]["usec"] for command in of)

    def figures(self, suffix: str) -> Figures:
        """`NAME_us_SUFFIX` and `NAME_server_us_SUFFIX` of each."""
        seen = {f"{name}_us_{suffix}": statistics.median(ns) / 1000 for name, ns in self._ns.items()}
        counted = {
            f"{name}_server_us_{suffix}": us / len(self._ns[name]) for name, us in self._server_us.items()
        }
        return seen | counted
