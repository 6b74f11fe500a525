"""`EngineProducer`: confluent_kafka's Producer over a log store. The calling half: `intake` takes the records,
here is all else; `sender` is the other half.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Literal, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ClusterMetadata  # type: ignore[attr-defined]  # public, not marked as re-exported

from streamadapter.backend import LogStore, Settings
from streamadapter.compression import Compression, require
from streamadapter.engine import produce_args
from streamadapter.engine.intake import Intake
from streamadapter.engine.metadata import cluster_id, cluster_metadata
from streamadapter.engine.sender import Sender
from streamadapter.errors import StoreError, kafka_exception

SLICE = 0.2
"""Seconds of each wait, so that Ctrl-C and time-outs are seen."""

METADATA_TIMEOUT = 60.0
"""Seconds that list_topics(timeout=-1) keeps trying."""

JOIN_TIMEOUT = 10.0
"""Seconds that close() waits for the thread, which has nothing left to send."""


class EngineProducer(Intake):
    """See `streamadapter.Producer` for the methods. Thread-safe.

    Takes over the store and closes it. Raises KafkaException if the compression library is missing.
    """

    def __init__(self, store: LogStore, settings: Settings) -> None:
        try:
            require(Compression[settings["compression.type"].upper()])
        except KafkaException:
            store.close()
            raise
        sender = Sender(store, settings)
        super().__init__(sender, settings)
        self._error_cb: Callable[[KafkaError], object] | None = settings["error_cb"]
        self._closing = threading.RLock()  # one closes, others wait for it
        self._thread = threading.Thread(
            target=sender.run, name=f"producer-{settings['client.id']}", daemon=True
        )
        self._thread.start()
        # Dropped without close(): what is queued is lost, as with librdkafka, but the thread must end.
        weakref.finalize(self, sender.stop).atexit = False

    # -- reports

    def _poll(self, timeout: float) -> int:
        until = produce_args.deadline(timeout)
        served = self._serve()
        while not served and self._wait(until):
            served = self._serve()
        return served

    def flush(self, timeout: float = -1.0) -> int:
        """Wait until everything is reported, serving callbacks; returns how many records are still queued."""
        self._check_open()
        until = produce_args.deadline(timeout)
        sender, failure = self._sender, None
        with self._lock:
            sender.flushing += 1
            sender.nudge(0.0)
        try:
            while True:
                try:
                    self._serve()
                except Exception as error:  # noqa: BLE001  # a callback's: raised when everything has been served
                    failure = error
                    continue
                if sender.room.records <= 0 or not self._wait(until):
                    break
        finally:
            with self._lock:
                sender.flushing -= 1
        if failure is not None:
            raise failure
        return sender.room.records

    def _wait(self, until: float) -> bool:
        """Wait a slice, less if there is progress; False if it is too late for that."""
        sender = self._sender
        remaining = until - time.monotonic()
        if remaining <= 0:
            return False
        with self._lock:
            sender.expire()
            if not (sender.reports or sender.errors):
                sender.progress.wait(min(remaining, SLICE))
        return True

    def _serve(self) -> int:
        """Call callbacks for all that has been reported; returns how many events there were."""
        sender = self._sender
        served = 0
        while sender.errors:
            error = _pop(sender.errors)
            if error is not None and self._error_cb is not None:
                served += 1
                self._error_cb(error)
        while (report := _pop(sender.reports)) is not None:
            # No longer queued while its callbacks run: they may produce again into a queue that was full.
            with self._lock:
                sender.room.records -= len(report)
            try:
                served += report.serve()
            finally:
                if len(report):  # an exception from a callback: the rest is for the next call
                    with self._lock:
                        sender.room.records += len(report)
                    sender.reports.appendleft(report)
        return served

    def __len__(self) -> int:
        return 0 if self._closed else self._sender.room.records

    def __bool__(self) -> Literal[True]:
        return True

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:  # noqa: ARG002  # as in confluent_kafka
        """Give up records; their reports come from the next poll. There is nothing to block for."""
        self._check_open()
        with self._lock:
            self._sender.purge(bool(in_queue), bool(in_flight))

    # -- metadata

    def list_topics(self, topic: str | None = None, timeout: float = -1.0) -> ClusterMetadata:
        """Topics and partitions as they are now."""
        self._check_open("Handle has been closed")
        if topic is not None and not isinstance(topic, str):
            raise TypeError(f"argument 1 must be str or None, not {type(topic).__name__}")
        until = min(produce_args.deadline(timeout), time.monotonic() + METADATA_TIMEOUT)
        while True:
            try:
                return cluster_metadata(self._sender.store, topic)
            except StoreError as error:
                if not error.retriable or time.monotonic() + SLICE >= until:
                    raise kafka_exception(error.code, f"Failed to get metadata: {error.reason}") from error
            time.sleep(SLICE)

    def cluster_id(self, timeout: float = -1.0) -> str:
        """A name for the server, the same for all clients of one address."""
        self._check_open("Handle has been closed")
        produce_args.deadline(timeout)
        return cluster_id(self._sender.store)

    def set_sasl_credentials(self, username: str, password: str) -> None:  # noqa: ARG002  # as in confluent_kafka
        """Refused: a store takes its credentials from the URL."""
        self._check_open("Handle has been closed")
        raise kafka_exception(KafkaError._NOT_IMPLEMENTED, "put the user and password into the URL")

    # -- transactions

    def init_transactions(self, _timeout: float = -1.0, /) -> None:
        """Refused, as without a transactional.id."""
        self._no_transactions()

    def begin_transaction(self) -> None:
        """Refused, as without a transactional.id."""
        self._no_transactions()

    def commit_transaction(self, _timeout: float = -1.0, /) -> None:
        """Refused, as without a transactional.id."""
        self._no_transactions()

    def abort_transaction(self, _timeout: float = -1.0, /) -> None:
        """Refused, as without a transactional.id."""
        self._no_transactions()

    def send_offsets_to_transaction(
        self, _positions: list[Any], group_metadata: object, _timeout: float = -1.0, /
    ) -> None:
        """Refused, as without a transactional.id."""
        if not isinstance(group_metadata, bytes):
            raise TypeError(f"expected bytes, {type(group_metadata).__name__} found")
        self._no_transactions()

    def _no_transactions(self) -> None:
        self._check_open()
        raise kafka_exception(
            KafkaError._NOT_CONFIGURED, "The Transactional API requires transactional.id to be configured"
        )

    # -- life

    def close(self) -> Literal[True]:
        """Refuse records, flush without a limit, then stop, even if a callback has raised. Idempotent."""
        sender = self._sender
        if sender.forked:
            return True
        with self._closing:
            if self._closed:
                return True
            self._closer = threading.get_ident()
            with self._lock:
                self._closed = True
            try:
                self.flush()
            finally:
                self._closer = None
                sender.stop()
                with self._lock:
                    sender.nudge(0.0)
                self._thread.join(JOIN_TIMEOUT)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pop(queue: Any) -> Any:
    """The first item or None: another thread may be faster."""
    try:
        return queue.popleft()
    except IndexError:
        return None
