"""The one table from what Redis, Valkey and redis-py report to what the engine acts on.

Server errors are matched by their leading code alone: the texts behind it differ between Redis and Valkey, and
between versions. redis-py strips the code from those errors it has a class for, so classes stand in the table too.
Order matters: redis-py's AuthenticationError, BusyLoadingError and MaxConnectionsError are ConnectionErrors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import redis
from confluent_kafka import KafkaError
from redis import exceptions as rx

from streamadapter.errors import StoreError


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error means: see `StoreError`."""

    code: int
    retriable: bool = False
    indeterminate: bool = False
    fatal: bool = False


_DENIED: Final = Meaning(KafkaError._AUTHENTICATION, fatal=True)
_NO_PERMISSION: Final = Meaning(KafkaError.TOPIC_AUTHORIZATION_FAILED, fatal=True)
_LOADING: Final = Meaning(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, retriable=True)
_STORAGE: Final = Meaning(KafkaError.KAFKA_STORAGE_ERROR, retriable=True)
_NOT_LEADER: Final = Meaning(KafkaError.NOT_LEADER_FOR_PARTITION, retriable=True)

BY_CLASS: Final[tuple[tuple[type[BaseException], Meaning], ...]] = (
    (rx.AuthenticationError, _DENIED),
    (rx.AuthenticationWrongNumberOfArgsError, _DENIED),
    (rx.AuthorizationError, _NO_PERMISSION),
    (rx.NoPermissionError, _NO_PERMISSION),
    (rx.BusyLoadingError, _LOADING),
    (rx.MaxConnectionsError, Meaning(KafkaError._TRANSPORT, retriable=True)),
    (rx.OutOfMemoryError, _STORAGE),
    (rx.ReadOnlyError, _NOT_LEADER),
    (rx.MasterDownError, _NOT_LEADER),
    (rx.ClusterDownError, _NOT_LEADER),
    (rx.MovedError, _NOT_LEADER),
    (rx.AskError, _NOT_LEADER),
    (rx.TryAgainError, _NOT_LEADER),
    (rx.TimeoutError, Meaning(KafkaError.REQUEST_TIMED_OUT, retriable=True, indeterminate=True)),
    (rx.ConnectionError, Meaning(KafkaError._TRANSPORT, retriable=True, indeterminate=True)),
    (OSError, Meaning(KafkaError._TRANSPORT, retriable=True, indeterminate=True)),
)

BY_CODE: Final[dict[str, Meaning]] = {
    "NOAUTH": _DENIED,
    "WRONGPASS": _DENIED,
    "NOPERM": _NO_PERMISSION,
    "LOADING": _LOADING,
    "OOM": _STORAGE,
    "MISCONF": _STORAGE,
    "BUSY": Meaning(KafkaError.REQUEST_TIMED_OUT, retriable=True),
    "READONLY": _NOT_LEADER,
    "MASTERDOWN": _NOT_LEADER,
    "CLUSTERDOWN": _NOT_LEADER,
    "MOVED": _NOT_LEADER,
    "ASK": _NOT_LEADER,
    "TRYAGAIN": _NOT_LEADER,
    "NOREPLICAS": Meaning(KafkaError.NOT_ENOUGH_REPLICAS, retriable=True),
    "WRONGTYPE": Meaning(KafkaError.KAFKA_STORAGE_ERROR),  # somebody else's data under our key
}

_OTHER: Final = Meaning(KafkaError.UNKNOWN)


def translate(error: BaseException, where: str, *, sent: bool = True) -> StoreError:
    """The StoreError for what redis-py raised. `sent` False: nothing had reached the server yet."""
    if isinstance(error, StoreError):
        return error
    meaning = next((m for cls, m in BY_CLASS if isinstance(error, cls)), None)
    if meaning is None and isinstance(error, redis.ResponseError):
        meaning = BY_CODE.get(leading_code(error))
    meaning = meaning or _OTHER
    return StoreError(
        meaning.code,
        f"{where}: {error}",
        retriable=meaning.retriable,
        indeterminate=meaning.indeterminate and sent,
        fatal=meaning.fatal,
    )


def leading_code(error: BaseException) -> str:
    """The first word of a server's error, which is what versions agree on."""
    return str(error).split(" ", 1)[0]
