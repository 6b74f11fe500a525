"""`Message`: confluent_kafka.Message's methods on a class whose constructor runs in C.

A consumer builds one object a record, so construction decides what consume() can deliver. A msgspec struct without gc
tracking is made in less than half the time of a class with __slots__ (`python loadtests/micro.py`). The struct's fields
bear the public keyword names; the methods of the same names shadow them in the subclass and read the slots through the
aliases below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, KafkaError
from confluent_kafka import Message as KafkaMessage

Header: TypeAlias = tuple[str, bytes | None]

_NO_TIMESTAMP = (TIMESTAMP_NOT_AVAILABLE, 0)

_Fields: Any = msgspec.defstruct(
    "_Fields",
    [
        ("topic", Any, None),
        ("partition", Any, None),
        ("offset", Any, None),
        ("key", Any, None),
        ("value", Any, None),
        ("headers", Any, None),
        ("error", Any, None),
        ("timestamp", Any, _NO_TIMESTAMP),
        ("latency", Any, None),
        ("leader_epoch", Any, None),
        ("delivery_count", Any, None),
    ],
    gc=False,  # a message refers to bytes and numbers; only set_value() of an object that refers back makes a cycle
)


class _MessageType(type(_Fields)):  # type: ignore[misc]  # the base is made at run time, so mypy knows it as Any
    """isinstance(message, Message) holds on Kafka too, where messages are those of confluent_kafka's C module."""

    def __instancecheck__(cls, instance: object) -> bool:
        return type.__instancecheck__(cls, instance) or isinstance(instance, KafkaMessage)


class Message(_Fields, metaclass=_MessageType):  # type: ignore[misc]  # as above
    """A record that was consumed or produced, or an event: error() is then not None, value() its text.

    Arguments, in order, all optional: topic, partition, offset, key (bytes), value (bytes), headers (list of
    (str, bytes | None)), error (KafkaError), timestamp ((type, ms), or ms alone for a create time), latency (s),
    leader_epoch, delivery_count. The constructor checks nothing: confluent_kafka calls it a tool for tests.

    len() is the length of the value, so a message with an empty or null value is falsy, as it is there. Messages
    compare by all but latency and timestamp type, and are unhashable and picklable. Not thread-safe while a set_
    method runs.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            topic: str | None = None,
            partition: int | None = None,
            offset: int | None = None,
            key: Any = None,
            value: Any = None,
            headers: Any = None,
            error: KafkaError | None = None,
            timestamp: tuple[int, int] | int = _NO_TIMESTAMP,
            latency: float | None = None,
            leader_epoch: int | None = None,
            delivery_count: int | None = None,
        ) -> None: ...

    _topic = _Fields.topic
    _partition = _Fields.partition
    _offset = _Fields.offset
    _key = _Fields.key
    _value = _Fields.value
    _headers = _Fields.headers
    _error = _Fields.error
    _timestamp = _Fields.timestamp
    _latency = _Fields.latency
    _leader_epoch = _Fields.leader_epoch
    _delivery_count = _Fields.delivery_count

    def topic(self) -> Any:
        """Topic name, or None."""
        return self._topic

    def partition(self) -> int | None:
        """Partition, or None if it was never chosen."""
        return self._partition  # type: ignore[no-any-return]  # slots of the run-time base are Any

    def offset(self) -> int | None:
        """Offset, or None if the log has not given one."""
        return self._offset  # type: ignore[no-any-return]  # as above

    def key(self) -> Any:
        """The key as bytes (or what set_key() was given), or None."""
        return self._key

    def value(self) -> Any:
        """The value as bytes (or what set_value() was given), or None; the error text of an event."""
        return self._value

    def headers(self) -> Any:
        """List of (str, bytes | None) in the order produced, or None if there are none."""
        return self._headers

    def error(self) -> KafkaError | None:
        """None for a proper message."""
        return self._error  # type: ignore[no-any-return]  # as above

    def timestamp(self) -> tuple[int, int]:
        """(TIMESTAMP_* type, milliseconds since the epoch)."""
        stamp = self._timestamp
        return stamp if isinstance(stamp, tuple) else (TIMESTAMP_CREATE_TIME, stamp)

    def latency(self) -> float | None:
        """Seconds from produce() to the acknowledgement; None for a consumed message."""
        return self._latency  # type: ignore[no-any-return]  # as above

    def leader_epoch(self) -> int | None:
        """Leader epoch of the record, or None if unknown."""
        return self._leader_epoch  # type: ignore[no-any-return]  # as above

    def delivery_count(self) -> int | None:
        """Deliveries so far, of a share consumer's message; else None."""
        return self._delivery_count  # type: ignore[no-any-return]  # as above

    def set_topic(self, topic: Any, /) -> None:
        """Replace the topic."""
        self._topic = topic

    def set_key(self, key: Any, /) -> None:
        """Replace the key, by the deserialized one as a rule."""
        self._key = key

    def set_value(self, value: Any, /) -> None:
        """Replace the value, by the deserialized one as a rule."""
        self._value = value

    def set_headers(self, headers: Any, /) -> None:
        """Replace the headers."""
        self._headers = headers

    def set_error(self, error: Any, /) -> None:
        """Replace the error."""
        self._error = error

    def __len__(self) -> int:
        value = self._value
        return 0 if value is None else len(value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Fields):  # not Message: Kafka's own compares by itself
            return NotImplemented
        return bool(self._identity() == other._identity())

    __hash__ = None  # type: ignore[assignment]  # mutable, as confluent_kafka's

    def _identity(self) -> tuple[Any, ...]:
        return (
            self._topic,
            self._partition,
            self._offset,
            self._key,
            self._value,
            self._headers,
            self._error,
            self.timestamp()[1],  # not its type: as confluent_kafka's
            self._leader_epoch,
        )

    def __repr__(self) -> str:
        """Where the message is, never what it says: keys and values may be secrets."""
        return f"<Message {self._topic}[{self._partition}]@{self._offset} error={self._error!r}>"


def event(
    error: KafkaError, topic: str | None = None, partition: int = 0, offset: int | None = None
) -> Message:
    """A message that carries an error, with its text as the value, as confluent_kafka makes them.

    Its partition is 0 if it is about none.
    """
    return Message(topic, partition, offset, None, error.str().encode(), None, error)
