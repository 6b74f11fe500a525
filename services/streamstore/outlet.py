"""Publishing where nothing may go on until the broker has it: records in, acknowledgements awaited."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from streamadapter import KafkaError, KafkaException, Producer
from streamstore.database import StoppedError

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0  # how soon a wait notices that it is to end

Headers = tuple[tuple[str, str | bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be published."""

    topic: str
    value: bytes | None
    key: str | bytes | None
    headers: Headers = ()
    partition: int = -1  # the key's


class Outlet:
    """A Producer whose caller waits for the broker. Not thread-safe; a context manager that never waits to end.

    `properties` are the Producer's; by default an acknowledgement is waited for without a limit.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._producer = Producer(
            {
                "acks": "all",
                "enable.idempotence": True,
                "delivery.timeout.ms": 0,  # no limit: who publishes here has nothing else to do meanwhile
                "message.max.bytes": 1_000_000_000,  # the broker's limit is the one that counts
                **properties,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.purge()  # else close() would wait for a broker that is away
        self._producer.close()

    def publish(
        self, records: Sequence[Record], stopped: Callable[[], bool] = lambda: False
    ) -> list[KafkaError | None]:
        """Wait until each record is acknowledged or has failed: its error, or None.

        Raises StoppedError if records are still waiting when `stopped` says so (they may be in the log all the
        same), KafkaException if the producer cannot go on.
        """
        errors: list[KafkaError | None] = [None] * len(records)
        for number, record in enumerate(records):
            self._produce(record, partial(errors.__setitem__, number))
        if waiting := self._producer.flush(FLUSH_SECONDS):
            log.warning("waiting for the broker to acknowledge %d records", waiting)
            while self._producer.flush(FLUSH_SECONDS):
                if stopped():
                    raise StoppedError
            log.warning("the broker answers again")
        for error in errors:
            if error is not None and error.fatal():
                raise KafkaException(error)
        return errors

    def _produce(self, record: Record, report: Callable[[KafkaError | None], None]) -> None:
        try:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                record.partition,
                on_delivery=lambda error, _message: report(error),
                headers=list(record.headers),
            )
        except BufferError:
            report(KafkaError(KafkaError._QUEUE_FULL, "too many records await delivery"))
        except KafkaException as error:
            report(error.args[0])
