"""`Producer`: confluent_kafka's producer on whichever backend the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from confluent_kafka import KafkaError
from confluent_kafka.admin import ClusterMetadata  # type: ignore[attr-defined]  # public, but not marked as re-exported

from streamadapter.delegation import adopt, open_client
from streamadapter.message import Header, Message

OnDelivery = Callable[[KafkaError | None, Message], Any]


class Producer:
    """confluent_kafka's Producer on any backend: the same methods, arguments, results, errors and properties.

    conf: dotted Kafka properties, as a dict and as keyword arguments, which win. bootstrap.servers is a URL
    (redis://, memory://, embedded://) or Kafka's host:port; without it the config file decides. Unknown and
    unsupported properties raise KafkaException(_INVALID_ARG).

    Records are sent by a background thread, in the order of produce() within a partition, and never twice however
    often a request is repeated. Thread-safe. Callbacks run in poll(), flush() and close(), in the caller's thread.
    Their exceptions propagate: poll() ends with one, and the next call goes on with the next record; flush() serves
    all there is, then raises the last. After close(), even one that raised: RuntimeError. After a fork:
    KafkaException(_STATE) in the child.
    """

    def __init__(self, conf: Mapping[str, Any] | None = None, /, **kwargs: Any) -> None:
        self._client: Any = open_client("producer", conf, kwargs)
        adopt(self, Producer, self._client, "produce", "poll")

    def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        callback: OnDelivery | None = None,
        on_delivery: OnDelivery | None = None,
        timestamp: int = 0,
        headers: Mapping[str, str | bytes | None] | list[tuple[str, str | bytes | None]] | None = None,
    ) -> None:
        """Queue a record and return at once; callback (or on_delivery) is called with (error or None, Message).

        partition: by default the partitioner's choice, by the key. timestamp: milliseconds since the epoch, by
        default now. Raises BufferError when the queue is full (call poll() and try again), TypeError for anything
        but str and bytes, KafkaException for what is known to fail: MSG_SIZE_TOO_LARGE, _UNKNOWN_PARTITION,
        _UNKNOWN_TOPIC. All other failures come with the report.
        """
        self._client.produce(topic, value, key, partition, callback, on_delivery, timestamp, headers)

    def produce_batch(
        self,
        topic: str,
        messages: list[dict[str, Any]],
        partition: int = -1,
        callback: OnDelivery | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> int:
        """Queue records given as dicts: value, key, partition, timestamp, headers, callback, all optional.

        Returns how many were queued; the others have their KafkaError under `_error`. Raises TypeError (for
        headers ValueError), before anything is queued, for a dict that is wrong in itself. Unlike confluent_kafka it
        takes timestamps, and looks at each dict's partition.
        """
        return self._client.produce_batch(topic, messages, partition, callback, on_delivery)  # type: ignore[no-any-return]  # clients of third parties are Any

    def produce_columns(
        self,
        topic: str,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None = None,
        partition: int = -1,
        timestamps: Sequence[int] | None = None,
        headers: Sequence[Sequence[Header] | None] | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> int:
        """Queue records given as columns of equal length, for speed: one call for thousands.

        Returns how many were queued, from the first on: fewer than given means that the queue is full, so call
        poll(), then go on with the rest. on_delivery is called for each record. Raises TypeError, ValueError for
        columns of different lengths, and KafkaException as produce() does, in each case with nothing queued.

        An extension to confluent_kafka. On Kafka it is one produce() a record: no faster, and a record that is
        refused behind others only ends the call early. On a store, records without keys go to one partition a call.
        """
        return self._client.produce_columns(topic, values, keys, partition, timestamps, headers, on_delivery)  # type: ignore[no-any-return]  # as above

    def poll(self, timeout: float = -1) -> int:
        """Wait up to `timeout` seconds (negative: for ever) for events and serve their callbacks.

        Returns the number of events: callbacks called, and records delivered that had none.
        """
        return self._client.poll(timeout)  # type: ignore[no-any-return]  # as above

    def flush(self, timeout: float = -1) -> int:
        """Send what is queued without lingering, wait until all of it is reported, and serve the callbacks.

        Returns the number of records still queued after `timeout` seconds (negative: wait for ever); 0 means that
        every record was delivered or has failed, and its callback has been called.
        """
        return self._client.flush(timeout)  # type: ignore[no-any-return]  # as above

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:
        """Give up records: those not sent yet fail with _PURGE_QUEUE, those sent and unanswered with _PURGE_INFLIGHT.

        The latter may be in the log all the same. The reports are served by the next poll().
        """
        self._client.purge(in_queue, in_flight, blocking)

    def close(self) -> Literal[True]:
        """Flush without a time limit, then stop the background thread. Idempotent; returns True."""
        return self._client.close()  # type: ignore[no-any-return]  # as above

    def __len__(self) -> int:
        """Records queued or in flight, and those whose outcome no poll() or flush() has served, callback or not."""
        return len(self._client)

    def __bool__(self) -> Literal[True]:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterMetadata:
        """Topics and partitions, of one topic or all. Raises KafkaException if the server cannot be asked."""
        return self._client.list_topics(topic, timeout)  # type: ignore[no-any-return]  # as above

    def cluster_id(self, timeout: float = -1) -> str:
        """The cluster's id; on a store, a name made from its address."""
        return self._client.cluster_id(timeout)  # type: ignore[no-any-return]  # as above

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Replace the credentials for SASL; a store refuses it, its credentials are in the URL."""
        self._client.set_sasl_credentials(username, password)

    def init_transactions(self, timeout: float = -1, /) -> None:
        """Begin using transactions; KafkaException(_NOT_CONFIGURED) without transactional.id."""
        self._client.init_transactions(timeout)

    def begin_transaction(self) -> None:
        """Begin a transaction."""
        self._client.begin_transaction()

    def commit_transaction(self, timeout: float = -1, /) -> None:
        """Flush, then commit the transaction."""
        self._client.commit_transaction(timeout)

    def abort_transaction(self, timeout: float = -1, /) -> None:
        """Purge, then abort the transaction."""
        self._client.abort_transaction(timeout)

    def send_offsets_to_transaction(
        self, positions: list[Any], group_metadata: object, timeout: float = -1, /
    ) -> None:
        """Commit a group's offsets with the transaction."""
        self._client.send_offsets_to_transaction(positions, group_metadata, timeout)
