"""The payload of a record batch: a fixed header, then columns in msgpack. Pure functions.

Header, big-endian, 44 bytes::

    2  magic b"sA"          4  CRC-32 of all that follows it
    1  format version       1  attributes: bits 0-2 compression, bit 3 timestamps are the append time
    4  record count         4  size of the columns before compression
    8  producer id          4  producer epoch          8  sequence of the first record
    8  base timestamp, ms

Columns: ``[values, keys, timestamps, headers]``, each nil when it says nothing (all None; all timestamps equal to
the base). Timestamps are differences to the base: one byte a record as a rule. None and b"" stay distinct.

Columns, not records, because they are faster to encode and share no per-record framing: a record of 100
bytes with a 10-byte key takes 5 bytes more than its key and value.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import msgspec
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from streamadapter.compression import Compression, DecompressionError, compress, decompress
from streamadapter.message import Header

MAX_RAW_SIZE = 128 * 1024 * 1024
"""Largest batch before compression, in bytes: what a reader may have to allocate for one."""

HEADER = struct.Struct("!2sBIBIIQIQq")

_MAGIC = b"sA"
_VERSION = 1
_CRC_START, _CRC_END = 3, 7  # the CRC covers everything behind itself
_COMPRESSION_BITS = 0b0111
_APPEND_TIME_BIT = 0b1000

T = TypeVar("T")
Headers: TypeAlias = Sequence[Header] | None
_Column: TypeAlias = list[bytes | None] | None
_Columns: TypeAlias = tuple[_Column, _Column, list[int] | None, list[list[Header] | None] | None]

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[_Columns] = msgspec.msgpack.Decoder(_Columns)


class CorruptBatch(ValueError):  # noqa: N818  # named after what was found, as Kafka's CORRUPT_MESSAGE
    """The payload is not a batch this version can read, whole and unchanged."""


class RecordBatch(msgspec.Struct, frozen=True, gc=False):
    """A decoded batch: columns of equal length, one item a record.

    timestamps are ms; timestamp_type is confluent_kafka's constant (with LOG_APPEND_TIME, use the entry's append
    time instead). sequence is that of the first record.
    """

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    timestamps: Sequence[int]
    headers: Sequence[list[Header] | None]
    timestamp_type: int
    producer_id: int
    producer_epoch: int
    sequence: int


def encode_batch(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None],
    timestamps: Sequence[int],
    headers: Sequence[Headers],
    *,
    producer_id: int,
    producer_epoch: int,
    sequence: int,
    timestamp_type: int = TIMESTAMP_CREATE_TIME,
    compression: Compression = Compression.NONE,
    level: int = -1,
    into: bytearray | None = None,
) -> bytearray:
    """Encode columns of equal length (at least one record) as a batch payload.

    Compressed only if that is smaller. into: the payload replaces what is in there, and it is what is returned; for
    payloads of a megabyte, memory that was touched before is worth more than all else here. Raises ValueError above
    MAX_RAW_SIZE.
    """
    payload = bytearray() if into is None else into
    count = len(values)
    base = timestamps[0]
    _encoder.encode_into(
        (
            _unless_empty(values),
            _unless_empty(keys),
            None
            if timestamps[-1] == base and timestamps.count(base) == count
            else [t - base for t in timestamps],
            _unless_empty(headers),
        ),
        payload,
        HEADER.size,
    )
    raw_size = len(payload) - HEADER.size
    if raw_size > MAX_RAW_SIZE:
        raise ValueError(f"a batch of {raw_size} bytes; at most {MAX_RAW_SIZE} can be stored")
    if compression is not Compression.NONE:
        packed = compress(compression, bytes(memoryview(payload)[HEADER.size :]), level)
        if len(packed) < raw_size:
            payload[HEADER.size :] = packed
        else:
            compression = Compression.NONE
    attributes = int(compression) | (_APPEND_TIME_BIT if timestamp_type == TIMESTAMP_LOG_APPEND_TIME else 0)
    HEADER.pack_into(
        payload,
        0,
        _MAGIC,
        _VERSION,
        0,
        attributes,
        count,
        raw_size,
        producer_id,
        producer_epoch,
        sequence,
        base,
    )
    crc = zlib.crc32(memoryview(payload)[_CRC_END:])
    payload[_CRC_START:_CRC_END] = crc.to_bytes(4, "big")
    return payload


def _unless_empty(column: Sequence[T | None]) -> Sequence[T | None] | None:
    # The first item is asked first: counting None among bytes costs as much as encoding them.
    return None if column[0] is None and column.count(None) == len(column) else column


def decode_batch(payload: bytes, count: int) -> RecordBatch:
    """Decode a payload that the log says holds `count` records.

    Raises CorruptBatch for anything that is not exactly such a batch, and KafkaException(_UNSUPPORTED_FEATURE) if
    its compression library is not installed; nothing else, whatever the bytes.
    """
    if len(payload) < HEADER.size:
        raise CorruptBatch(f"{len(payload)} bytes, shorter than the header")
    magic, version, crc, attributes, stated, raw_size, producer_id, epoch, sequence, base = (
        HEADER.unpack_from(payload)
    )
    if magic != _MAGIC:
        raise CorruptBatch(f"magic {magic!r} instead of {_MAGIC!r}")
    if version != _VERSION:
        raise CorruptBatch(f"format version {version}; this release reads {_VERSION}")
    if zlib.crc32(memoryview(payload)[_CRC_END:]) != crc:
        raise CorruptBatch("CRC mismatch")
    if stated != count or count < 1:
        raise CorruptBatch(f"{stated} records, but the log counts {count}")
    if raw_size > MAX_RAW_SIZE:
        raise CorruptBatch(f"declares {raw_size} bytes; the limit is {MAX_RAW_SIZE}")
    values, keys, deltas, headers = _columns(payload[HEADER.size :], attributes, raw_size)
    for column in (values, keys, deltas, headers):
        if column is not None and len(column) != count:
            raise CorruptBatch(f"a column of {len(column)} for {count} records")
    nothing: list[None] = [None] * count
    return RecordBatch(
        values=nothing if values is None else values,
        keys=nothing if keys is None else keys,
        timestamps=[base] * count if deltas is None else [base + d for d in deltas],
        headers=nothing if headers is None else headers,
        timestamp_type=TIMESTAMP_LOG_APPEND_TIME if attributes & _APPEND_TIME_BIT else TIMESTAMP_CREATE_TIME,
        producer_id=producer_id,
        producer_epoch=epoch,
        sequence=sequence,
    )


def _columns(data: bytes, attributes: int, raw_size: int) -> _Columns:
    """Decompress and parse; the header has been checked."""
    try:
        compression = Compression(attributes & _COMPRESSION_BITS)
        if compression is not Compression.NONE:
            data = decompress(compression, data, raw_size)
        elif len(data) != raw_size:
            raise CorruptBatch(f"{len(data)} bytes of columns, {raw_size} declared")
        return _decoder.decode(data)
    except (DecompressionError, msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise CorruptBatch(str(error)) from error
