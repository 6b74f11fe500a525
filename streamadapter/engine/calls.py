"""Requests with a deadline: work on a daemon thread, repeated while that may help, answered by futures.

Threads are daemons, and a request has two: one works, one watches the deadline. So a request ends on time
even when the server swallows packets and the store sits in its (longer) socket timeout, and no request holds
up the end of the interpreter, as those of a ThreadPoolExecutor would. Such requests are rare: no pool.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, Never, TypeAlias, TypeVar

from confluent_kafka import KafkaError

from streamadapter.errors import StoreError, kafka_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

K = TypeVar("K")
T = TypeVar("T")

Work: TypeAlias = "Callable[[list[K]], Mapping[K, T | StoreError]]"
"""One attempt: from the keys not answered yet to an answer for each. A StoreError raised answers them all."""


def each(keys: Iterable[K], one: Callable[[K], T]) -> dict[K, T | StoreError]:
    """Ask key by key: a StoreError is the answer for its own key and leaves the others alone."""

    def answer(key: K) -> T | StoreError:
        try:
            return one(key)
        except StoreError as e:
            return e

    return {key: answer(key) for key in keys}


def once(keys: Sequence[K], what: str, work: Work[K, T]) -> Work[K, T]:
    """The work, unless a key is there twice."""
    return refused(f"Duplicate {what} not allowed") if repeats(keys) else work


def repeats(keys: Iterable[object]) -> bool:
    """Whether a key is there twice."""
    return any(count > 1 for count in Counter(keys).values())


def refused(reason: str) -> Work[Any, Any]:
    """Fails all futures of a request, as confluent_kafka does with what it finds wrong after its first checks."""

    def refuse(_: list[Any]) -> Never:
        raise kafka_exception(KafkaError._INVALID_ARG, reason)

    return refuse


class Calls:
    """Starts requests, and counts those under way. Thread-safe.

    backoff_ms, max_backoff_ms: the pause before an attempt is repeated; it doubles from one to the other.
    """

    def __init__(self, backoff_ms: int, max_backoff_ms: int) -> None:
        self._backoff_ms = backoff_ms
        self._max_backoff_ms = max_backoff_ms
        self._under_way: set[Future[object]] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Number of answers still to come."""
        with self._lock:
            # Callbacks, and so _finished, run a moment after the future is done.
            return sum(not future.done() for future in self._under_way)

    def start(self, keys: Iterable[K], work: Work[K, T], timeout: float) -> dict[K, Future[T]]:
        """Begin a request; its futures are done within `timeout` seconds.

        They fail with the KafkaException of the answer, or with _TIMED_OUT, whose cause is the last retriable
        error. A request that timed out may still take effect, as with Kafka.
        """
        futures: dict[K, Future[T]] = {key: self._future() for key in dict.fromkeys(keys)}
        if futures:
            request = _Request(futures, work, timeout)
            threading.Thread(target=request.watch, name="admin-deadline", daemon=True).start()
            threading.Thread(
                target=request.work, args=(self._pauses(),), name="admin-request", daemon=True
            ).start()
        return futures

    def start_one(self, work: Callable[[], T], timeout: float) -> Future[T]:
        """Begin a request that has one answer."""

        def only(_: list[None]) -> dict[None, T | StoreError]:
            return {None: work()}

        return self.start((None,), only, timeout)[None]

    def _future(self) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # from now on cancel() is refused, as confluent_kafka does
        with self._lock:
            self._under_way.add(future)  # type: ignore[arg-type]  # Future is invariant; only counted here
        future.add_done_callback(self._finished)
        return future

    def _finished(self, future: Future[T]) -> None:
        with self._lock:
            self._under_way.discard(future)

    def _pauses(self) -> Iterator[float]:
        pause_ms = self._backoff_ms
        while True:
            yield pause_ms / 1000
            pause_ms = min(2 * pause_ms, self._max_backoff_ms)


class _Request(Generic[K, T]):
    """One request. Whoever takes a future out of `_pending`, under the lock, is the one to complete it."""

    def __init__(self, futures: Mapping[K, Future[T]], work: Work[K, T], timeout: float) -> None:
        self._pending = dict(futures)
        self._work = work
        self._timeout = timeout
        self._last_error: StoreError | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()

    def watch(self) -> None:
        if not self._over.wait(self._timeout):
            why = self._last_error or "no answer from the server"
            error = kafka_exception(KafkaError._TIMED_OUT, f"Timed out after {self._timeout:g} s: {why}")
            error.__cause__ = self._last_error
            self._fail(error)

    def work(self, pauses: Iterator[float]) -> None:
        for pause in pauses:
            keys = list(self._pending)
            try:
                answers = self._work(keys)
            except StoreError as e:
                answers = dict.fromkeys(keys, e)
            except Exception as e:  # noqa: BLE001  a future nobody completes would wait for its deadline
                self._fail(e)
                return
            self._settle(answers)
            if not self._pending or self._over.wait(pause):
                return

    def _settle(self, answers: Mapping[K, T | StoreError]) -> None:
        for key, answer in answers.items():
            if isinstance(answer, StoreError) and answer.retriable:
                self._last_error = answer
                continue
            with self._lock:
                future = self._pending.pop(key, None)
            if future is None:
                continue  # timed out meanwhile
            if isinstance(answer, StoreError):
                future.set_exception(answer.kafka_exception())
            else:
                future.set_result(answer)
        if not self._pending:
            self._over.set()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            futures = list(self._pending.values())
            self._pending.clear()
        self._over.set()
        for future in futures:
            future.set_exception(error)
