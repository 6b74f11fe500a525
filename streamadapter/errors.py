"""Errors: confluent_kafka's own types in public, `StoreError` between a store and the engine."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException


class StoreError(Exception):
    """A log store's failure, with what the engine must know to go on.

    code: a KafkaError code. retriable: the same call may succeed later. indeterminate: it may have taken effect
    (the reply was lost). fatal: retrying cannot help and the client should stop (wrong password, no permission).
    """

    def __init__(
        self,
        code: int,
        reason: str,
        *,
        retriable: bool = False,
        indeterminate: bool = False,
        fatal: bool = False,
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.retriable = retriable
        self.indeterminate = indeterminate
        self.fatal = fatal

    def __str__(self) -> str:
        return f"{KafkaError(self.code).name()}: {self.reason}"

    def kafka_error(self) -> KafkaError:
        """The public error object."""
        return KafkaError(self.code, self.reason, fatal=self.fatal, retriable=self.retriable)

    def kafka_exception(self) -> KafkaException:
        """The public exception."""
        return KafkaException(self.kafka_error())


class FencedOwnerError(StoreError):
    """An acquire was refused: another member has taken the partition over with owner epoch `epoch`."""

    def __init__(self, reason: str, epoch: int) -> None:
        super().__init__(KafkaError.FENCED_MEMBER_EPOCH, reason)
        self.epoch = epoch


def kafka_exception(
    code: int, reason: str, *, fatal: bool = False, retriable: bool = False
) -> KafkaException:
    """Build confluent_kafka's exception with a reason that says what to do."""
    return KafkaException(KafkaError(code, reason, fatal=fatal, retriable=retriable))
