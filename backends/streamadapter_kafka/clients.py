"""confluent_kafka's clients with the few things that ours have and they lack.

Everything else is theirs, untouched: properties, callbacks, messages, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    OFFSET_STORED,
    ConsumerGroupTopicPartitions,
    KafkaError,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from streamadapter.engine.admin_checks import check_flag, seconds
from streamadapter.engine.calls import Calls
from streamadapter.engine.produce_args import check_columns, check_messages
from streamadapter.errors import kafka_exception
from streamadapter.properties import invalid
from streamadapter_kafka.group_offsets import committed_offsets

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from streamadapter.backend import TP, Settings
    from streamadapter.message import Header

Callback = Callable[[KafkaError | None, confluent_kafka.Message], Any]

_NATIVE_FIELDS = {"value", "key", "headers", "callback"}
_LAG_TIMEOUT_S = 5.0
_EARLIEST = ("earliest", "smallest", "beginning")


class KafkaClients:
    """See `streamadapter.backend.ClientBackend`. Properties go to librdkafka as they are, which checks them."""

    def producer(self, url: str, settings: Settings) -> KafkaProducer:
        """A producer; connects in the background."""
        return KafkaProducer(_conf(url, settings))

    def consumer(self, url: str, settings: Settings) -> KafkaConsumer:
        """A consumer; connects in the background. ValueError without a group.id."""
        # An empty one makes confluent_kafka abort the process.
        if not settings.get("group.id"):
            raise ValueError("Failed to create consumer: group.id must be set")
        return KafkaConsumer(_conf(url, settings))

    def admin(self, url: str, settings: Settings) -> KafkaAdmin:
        """An admin client; connects in the background."""
        return KafkaAdmin(_conf(url, settings))


class KafkaProducer(confluent_kafka.Producer):
    """confluent_kafka's Producer with produce_columns(), and produce_batch() that honours every field."""

    def produce_batch(
        self,
        topic: str,
        messages: list[dict[str, Any]],
        partition: int = -1,
        callback: Callback | None = None,
        on_delivery: Callback | None = None,
    ) -> int:
        """See `streamadapter.Producer.produce_batch`.

        confluent_kafka's own is faster, but refuses timestamps and does not look at a message's partition.
        """
        report = callback if on_delivery is None else on_delivery
        check_messages(messages)
        if any(not message.keys() <= _NATIVE_FIELDS for message in messages):
            return produce_each(self.produce, topic, messages, partition, report)
        options = {} if report is None else {"on_delivery": report}
        return super().produce_batch(topic, messages, partition=partition, **options)

    def produce_columns(
        self,
        topic: str,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None = None,
        partition: int = -1,
        timestamps: Sequence[int] | None = None,
        headers: Sequence[Sequence[Header] | None] | None = None,
        on_delivery: Callback | None = None,
    ) -> int:
        """See `streamadapter.Producer.produce_columns`: here one call of produce() a record, so no faster."""
        check_columns(values, keys, timestamps, headers)
        nothing: list[Any] = [None] * len(values)
        report = {} if on_delivery is None else {"on_delivery": on_delivery}
        queued = 0
        for value, key, timestamp, own_headers in zip(
            values, keys or nothing, timestamps or nothing, headers or nothing, strict=True
        ):
            try:
                self.produce(
                    topic,
                    value,
                    key,
                    partition,
                    timestamp=timestamp or 0,
                    headers=own_headers,
                    **report,
                )
            except (BufferError, confluent_kafka.KafkaException) as error:
                if queued or isinstance(error, BufferError):
                    break  # the next call begins with this record, and says what is wrong with it
                raise
            queued += 1
        return queued


class KafkaConsumer(confluent_kafka.Consumer):
    """confluent_kafka's Consumer with lag(), for which it remembers seeks."""

    def __init__(self, conf: dict[str, Any]) -> None:
        super().__init__(conf)
        self._from_start = conf.get("auto.offset.reset") in _EARLIEST
        self._sought: dict[TP, int] = {}  # since the assignment

    def subscribe(  # type: ignore[override]  # it is called by `streamadapter.Consumer` only, with keywords
        self, topics: list[str], on_assign: Any = None, **callbacks: Any
    ) -> None:
        """As confluent_kafka's."""
        sought = self._sought

        def assigned(consumer: confluent_kafka.Consumer, partitions: list[TopicPartition]) -> None:
            _forget(sought, partitions)
            if on_assign is not None:
                on_assign(consumer, partitions)

        wrong = on_assign is not None and not callable(on_assign)
        super().subscribe(topics, on_assign=on_assign if wrong else assigned, **callbacks)

    def assign(self, partitions: list[TopicPartition], /) -> None:
        """As confluent_kafka's."""
        super().assign(partitions)
        _forget(self._sought, partitions)

    def incremental_assign(self, partitions: list[TopicPartition], /) -> None:
        """As confluent_kafka's."""
        super().incremental_assign(partitions)
        _forget(self._sought, partitions)

    def incremental_unassign(self, partitions: list[TopicPartition], /) -> None:
        """As confluent_kafka's, which aborts the process for a partition named twice: here that is _INVALID_ARG."""
        if len(set(partitions)) < len(partitions):
            raise invalid("Failed to set assignment: a partition is named twice")
        super().incremental_unassign(partitions)

    def seek(self, partition: TopicPartition) -> None:
        """As confluent_kafka's."""
        super().seek(partition)
        self._sought[partition.topic, partition.partition] = partition.offset

    def lag(self) -> dict[TP, int]:
        """See `streamadapter.Consumer.lag`.

        Of a partition of which nothing was handed out yet, librdkafka does not say where it reads. That may be the
        committed offset, which has to be asked for: up to five seconds, KafkaException if there is no answer. One
        that began at the end of the log, or so many records before it, is left out.
        """
        assigned = {(tp.topic, tp.partition): tp.offset for tp in self.assignment()}
        tps = [TopicPartition(*tp) for tp in assigned]
        at = {(tp.topic, tp.partition): tp.offset for tp in self.position(tps)}
        at = {tp: self._sought.get(tp, assigned[tp]) if offset < 0 else offset for tp, offset in at.items()}
        stored = [
            TopicPartition(*tp) for tp, offset in at.items() if offset in (OFFSET_STORED, OFFSET_INVALID)
        ]
        if stored:
            at |= {(tp.topic, tp.partition): tp.offset for tp in self.committed(stored, _LAG_TIMEOUT_S)}
        found = {}
        for tp, offset in at.items():
            low, high = self.get_watermark_offsets(TopicPartition(*tp), cached=True)
            from_start = offset == OFFSET_BEGINNING or (offset == OFFSET_INVALID and self._from_start)
            if high >= 0 and (offset >= 0 or from_start):
                found[tp] = max(0, high - max(low, offset))
        return found


def _forget(sought: dict[TP, int], partitions: list[TopicPartition]) -> None:
    for tp in partitions:
        sought.pop((tp.topic, tp.partition), None)


class KafkaAdmin:
    """confluent_kafka's AdminClient with an end, which that one lacks: leaving `with` destroys it. Thread-safe."""

    def __init__(self, conf: dict[str, Any]) -> None:
        self._admin: AdminClient | None = AdminClient(conf)
        self._conf = conf
        # For the one request that is not librdkafka's. No retries: only a log store's errors are repeated.
        self._calls = Calls(backoff_ms=0, max_backoff_ms=0)

    @property
    def _open(self) -> AdminClient:
        if self._admin is None:
            raise RuntimeError("AdminClient has been closed")
        return self._admin

    def __getattr__(self, name: str) -> Any:
        return getattr(self._open, name)

    def __len__(self) -> int:
        return len(self._open) + len(self._calls)  # type: ignore[arg-type]  # the stub of the first lacks it

    def list_consumer_group_offsets(
        self,
        list_consumer_group_offsets_request: list[ConsumerGroupTopicPartitions],
        *,
        require_stable: bool = False,
        request_timeout: float | None = None,
    ) -> dict[str, Future[ConsumerGroupTopicPartitions]]:
        """As confluent_kafka's, which ends the process when it meets a restarting broker: see group_offsets.py."""
        self._open._check_list_consumer_group_offsets_request(list_consumer_group_offsets_request)
        check_flag("require_stable", require_stable)
        timeout = seconds("request_timeout", request_timeout, self._timeout())
        (request,) = list_consumer_group_offsets_request
        return {
            request.group_id: self._calls.start_one(
                lambda: committed_offsets(self._conf, request, require_stable, timeout), timeout
            )
        }

    def _timeout(self) -> float:
        return float(self._conf.get("socket.timeout.ms", 60_000)) / 1000

    def delete_consumer_group_offsets(self, group_id: str, *_: Any, **__: Any) -> dict[str, Future[None]]:
        """Not supported: Kafka has the request and librdkafka too, but confluent_kafka does not offer it."""
        future: Future[None] = Future()
        future.set_exception(
            kafka_exception(
                KafkaError._UNSUPPORTED_FEATURE,
                f"confluent_kafka cannot delete offsets of group {group_id}: "
                "use Kafka's kafka-consumer-groups.sh --delete-offsets",
            )
        )
        return {group_id: future}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admin = None


def _conf(url: str, settings: Settings) -> dict[str, Any]:
    """Properties for librdkafka, whose bootstrap.servers knows no kafka://, but schemes of its own (SASL_SSL://)."""
    scheme, separator, rest = url.partition("://")
    servers = rest.rstrip("/") if separator and scheme.lower() == "kafka" else url
    if "@" in servers:
        raise invalid(
            "a Kafka URL holds no user and password: set sasl.username, sasl.password and security.protocol"
        )
    return {**settings, "bootstrap.servers": servers}


def produce_each(
    produce: Callable[..., None], topic: str, messages: list[dict[str, Any]], partition: int, report: Any
) -> int:
    """produce_batch by one call of `produce` a message; returns how many it took, the others have `_error` set."""
    taken = 0
    for message in messages:
        try:
            produce(
                topic,
                message.get("value"),
                message.get("key"),
                message.get("partition", partition),
                message.get("callback", message.get("on_delivery", report)),
                timestamp=message.get("timestamp", 0),
                headers=message.get("headers"),
            )
            taken += 1
        except BufferError:
            message["_error"] = KafkaError(KafkaError._QUEUE_FULL)
        except confluent_kafka.KafkaException as error:
            message["_error"] = error.args[0]
    return taken
