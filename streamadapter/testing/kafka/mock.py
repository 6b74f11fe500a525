"""librdkafka's mock cluster, where no real broker can be run.

A broker inside this process that speaks Kafka's protocol on a loopback port: produce, fetch, groups, commits, metadata.
What it lacks fails with a time-out or an unsupported request. confluent_kafka offers it to a client of its own only
(`test.mock.num.brokers`), so this calls the librdkafka inside that package.
"""

from __future__ import annotations

import ctypes
from importlib import metadata
from typing import TYPE_CHECKING

import confluent_kafka

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_PRODUCER = 0  # rd_kafka_type_t


class MockCluster:
    """A mock cluster of one broker, from `with` to its end. Not thread-safe.

    Topics are created with four partitions on first use, as the mock does. OSError where confluent_kafka does not
    bring its own librdkafka: then this cannot be had.
    """

    def __init__(self) -> None:
        self._lib = _load()
        error = ctypes.create_string_buffer(512)
        conf = self._lib.rd_kafka_conf_new()
        self._lib.rd_kafka_conf_set(conf, b"log_level", b"0", error, len(error))
        self._handle = self._lib.rd_kafka_new(_PRODUCER, conf, error, len(error))
        if not self._handle:
            raise OSError(f"librdkafka made no client: {error.value.decode()}")
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._handle, 1)
        # At once, as our brokers do (broker.py), not after three seconds.
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)

    @property
    def url(self) -> str:
        """kafka://HOST:PORT."""
        return f"kafka://{self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()}"

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic. ValueError if that fails: it exists already, or the number is not positive."""
        code = self._lib.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)
        if code != 0:
            raise ValueError(f"the mock cluster did not create {topic}: {confluent_kafka.KafkaError(code)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
        self._lib.rd_kafka_destroy(self._handle)


def _load() -> ctypes.CDLL:
    """The librdkafka of confluent_kafka's wheel. OSError if there is none."""
    files = metadata.files("confluent-kafka") or []
    found = [file for file in files if file.name.startswith(("librdkafka-", "librdkafka."))]
    if not found:
        raise OSError("confluent_kafka is not from a wheel, which would have librdkafka in it")
    lib = ctypes.CDLL(str(found[0].locate()))
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    signatures = {
        "rd_kafka_conf_new": ([], pointer),
        "rd_kafka_conf_set": ([pointer, text, text, text, size], ctypes.c_int),
        "rd_kafka_new": ([ctypes.c_int, pointer, text, size], pointer),
        "rd_kafka_destroy": ([pointer], None),
        "rd_kafka_mock_cluster_new": ([pointer, ctypes.c_int], pointer),
        "rd_kafka_mock_cluster_destroy": ([pointer], None),
        "rd_kafka_mock_cluster_bootstraps": ([pointer], text),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": ([pointer, ctypes.c_int32], None),
        "rd_kafka_mock_topic_create": ([pointer, text, ctypes.c_int, ctypes.c_int], ctypes.c_int),
    }
    for name, (arguments, result) in signatures.items():
        function = getattr(lib, name)
        function.argtypes, function.restype = arguments, result
    return lib
