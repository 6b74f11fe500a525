"""What single choices cost, without a server: the figures that docs/design.md and docstrings quote.

python loadtests/micro.py          # msgpack is compared if it is installed
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable

from streamadapter.codec import decode_batch, encode_batch
from streamadapter.message import Message

RECORDS = 500
VALUES = [os.urandom(100) for _ in range(RECORDS)]
KEYS = [b"customer-%03d" % i for i in range(RECORDS)]
TIMES = [1_700_000_000_000 + i // 50 for i in range(RECORDS)]
NOTHING: list[None] = [None] * RECORDS


class Collector:
    """A client whose produce() costs next to nothing."""

    def produce(
        self,
        topic,
        value=None,
        key=None,
        partition=-1,
        callback=None,
        on_delivery=None,
        timestamp=0,
        headers=None,
    ):  # type: ignore[no-untyped-def]
        pass


class Delegating:
    """A facade that hands every call on, as `streamadapter.delegation` avoids."""

    def __init__(self) -> None:
        self._client = Collector()

    def produce(
        self,
        topic,
        value=None,
        key=None,
        partition=-1,
        callback=None,
        on_delivery=None,
        timestamp=0,
        headers=None,
    ):  # type: ignore[no-untyped-def]
        self._client.produce(topic, value, key, partition, callback, on_delivery, timestamp, headers)


class Slots:
    """The obvious Message: a class with __slots__ and a constructor in Python."""

    __slots__ = ("e", "error", "headers", "key", "l", "offset", "p", "timestamp", "topic", "value")

    def __init__(self, topic, p, offset, key, value, headers, error, timestamp, l, e):  # type: ignore[no-untyped-def]  # noqa: E741
        self.topic, self.p, self.offset, self.key, self.value = topic, p, offset, key, value
        self.headers, self.error, self.timestamp, self.l, self.e = headers, error, timestamp, l, e


def measure(name: str, work: Callable[[], object]) -> None:
    best = float("inf")
    for _ in range(7):
        started = time.perf_counter()
        for _ in range(200):
            work()
        best = min(best, (time.perf_counter() - started) / 200 / RECORDS * 1e9)
    print(f"{name:45} {best:7.0f} ns/record")


def encoded() -> bytes:
    return encode_batch(VALUES, KEYS, TIMES, NOTHING, producer_id=1, producer_epoch=0, sequence=0)


def main() -> None:
    columns = (VALUES, KEYS, TIMES)
    measure("msgspec: encode columns", lambda: importlib.import_module("msgspec.msgpack").encode(columns))
    try:
        packb = importlib.import_module("msgpack").packb
    except ImportError:
        print("msgpack is not installed")
    else:
        measure("msgpack: encode columns", lambda: packb(columns))
    payload = encoded()
    measure("codec: encode a batch, with CRC", encoded)
    measure("codec: decode a batch, with CRC", lambda: decode_batch(payload, RECORDS))
    for kind in (Message, Slots):
        measure(
            f"{kind.__name__}: construct",
            lambda kind=kind: [  # type: ignore[misc]  # mypy cannot see the default's type
                kind("topic", 0, n, k, v, None, None, t, None, 0)
                for n, (k, v, t) in enumerate(zip(KEYS, VALUES, TIMES, strict=True))
            ],
        )
    direct, delegated = Collector(), Delegating()
    for kind, produce in (("its own method", direct.produce), ("one that delegates", delegated.produce)):
        measure(
            f"produce() of a facade, {kind}",
            lambda produce=produce: [  # type: ignore[misc]  # mypy cannot see the default's type
                produce("topic", value, key) for value, key in zip(VALUES, KEYS, strict=True)
            ],
        )


if __name__ == "__main__":
    main()
