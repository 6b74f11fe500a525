"""Compression of record batches, with decompression that cannot be made to fill memory.

Ids are Kafka's. A decompressor is told the size to expect, which the batch header declares and `codec` has bounded,
and stops one byte after it: a zstd frame of 6 kB that unpacks to 200 MB costs no more than what was declared.
gzip is in the standard library; the others come with ``pip install "streamadapter[compression]"``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from io import BytesIO
from typing import Any

from confluent_kafka import KafkaError

from streamadapter.errors import kafka_exception

_GZIP_WINDOW = 31  # zlib's wbits for a gzip wrapper


class Compression(IntEnum):
    """compression.type, numbered as in Kafka's batch attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class DecompressionError(ValueError):
    """The data is damaged, or its real size is not the declared one."""


@dataclass(frozen=True, slots=True)
class _Algorithm:
    compress: Callable[[bytes, int], bytes]
    decompress: Callable[[bytes, int], bytes]
    module: str  # that does it
    package: str  # that pip installs


def _gzip(data: bytes, level: int) -> bytes:
    stream = zlib.compressobj(level, wbits=_GZIP_WINDOW)
    return stream.compress(data) + stream.flush()


def _gunzip(data: bytes, size: int) -> bytes:
    stream = zlib.decompressobj(wbits=_GZIP_WINDOW)
    raw = stream.decompress(data, size + 1)
    if not stream.eof or stream.unused_data:
        raise DecompressionError("gzip stream is not exactly one member of the declared size")
    return raw


def _snap(data: bytes, _level: int) -> bytes:
    return bytes(import_module("cramjam").snappy.compress_raw(data))


def _unsnap(data: bytes, size: int) -> bytes:
    snappy = import_module("cramjam").snappy
    if snappy.decompress_raw_len(data) != size:  # allocates what its own header says
        raise DecompressionError("snappy block does not have the declared size")
    return bytes(snappy.decompress_raw(data))


def _lz4(data: bytes, level: int) -> bytes:
    block: Any = import_module("lz4.block")
    if level > 0:
        return bytes(block.compress(data, mode="high_compression", compression=level, store_size=False))
    return bytes(block.compress(data, store_size=False))


def _unlz4(data: bytes, size: int) -> bytes:
    return bytes(import_module("lz4.block").decompress(data, uncompressed_size=size))


def _zstd(data: bytes, level: int) -> bytes:
    zstandard = import_module("zstandard")
    return bytes(zstandard.ZstdCompressor(level=level if level > 0 else 3).compress(data))


def _unzstd(data: bytes, size: int) -> bytes:
    zstandard = import_module("zstandard")
    if zstandard.get_frame_parameters(data).content_size != size:
        raise DecompressionError("zstd frame does not have the declared size")
    # max_output_size is ignored when a frame states its content size, so read from a stream instead.
    with zstandard.ZstdDecompressor().stream_reader(BytesIO(data)) as stream:
        return bytes(stream.read(size + 1))


_ALGORITHMS = {
    Compression.GZIP: _Algorithm(_gzip, _gunzip, "zlib", ""),
    Compression.SNAPPY: _Algorithm(_snap, _unsnap, "cramjam", "cramjam"),
    Compression.LZ4: _Algorithm(_lz4, _unlz4, "lz4.block", "lz4"),
    Compression.ZSTD: _Algorithm(_zstd, _unzstd, "zstandard", "zstandard"),
}


def require(compression: Compression) -> None:
    """Raise KafkaException(_UNSUPPORTED_FEATURE), with the remedy, if the library of a codec is missing."""
    if compression is Compression.NONE:
        return
    algorithm = _ALGORITHMS[compression]
    try:
        import_module(algorithm.module)
    except ImportError:
        raise kafka_exception(
            KafkaError._UNSUPPORTED_FEATURE,
            f"compression.type={compression.name.lower()} needs the package {algorithm.package!r}: "
            'pip install "streamadapter[compression]"',
        ) from None


def compress(compression: Compression, data: bytes, level: int = -1) -> bytes:
    """Compress; level -1 is the algorithm's default. Call `require` first."""
    return _ALGORITHMS[compression].compress(data, level)


def decompress(compression: Compression, data: bytes, size: int) -> bytes:
    """Decompress data that must be exactly `size` bytes long when raw.

    Allocates little more than `size`. Raises DecompressionError, or KafkaException if the library is missing.
    """
    require(compression)
    try:
        raw = _ALGORITHMS[compression].decompress(data, size)
    except DecompressionError:
        raise
    except Exception as error:  # each library has its own error types, and documents few of them
        raise DecompressionError(f"{compression.name.lower()}: {error}") from error
    if len(raw) != size:
        raise DecompressionError(f"{compression.name.lower()}: {len(raw)} bytes or more, {size} declared")
    return raw
