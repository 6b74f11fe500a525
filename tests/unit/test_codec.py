"""The batch format: what goes in comes out, and nothing damaged ever does."""

import zlib

import msgspec
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME
from hypothesis import given
from hypothesis import strategies as st

from streamadapter import codec
from streamadapter.codec import HEADER, MAX_RAW_SIZE, CorruptBatch, decode_batch, encode_batch
from streamadapter.compression import Compression

blobs = st.none() | st.binary(max_size=50)
header_lists = st.none() | st.lists(st.tuples(st.text(max_size=5), blobs), max_size=3)
stamps = st.integers(0, 2**62) | st.just(1_700_000_000_000)
records = st.lists(st.tuples(blobs, blobs, stamps, header_lists), min_size=1, max_size=30)


def encode(rows, **options):
    values, keys, timestamps, headers = (list(column) for column in zip(*rows, strict=True))
    settings = {"producer_id": 1, "producer_epoch": 0, "sequence": 0} | options
    return encode_batch(values, keys, timestamps, headers, **settings)


def sealed(payload, *, columns=None, **fields):
    """A payload with changed header fields or columns, whose CRC is right again."""
    names = [
        "magic",
        "version",
        "crc",
        "attributes",
        "count",
        "raw_size",
        "producer_id",
        "epoch",
        "sequence",
        "base",
    ]
    header = dict(zip(names, HEADER.unpack_from(payload), strict=True))
    body = payload[HEADER.size :]
    if columns is not None:
        body = columns
        header["raw_size"] = len(columns)
    raw = HEADER.pack(*(header | fields).values()) + body
    return raw[:3] + zlib.crc32(raw[7:]).to_bytes(4, "big") + raw[7:]


@given(
    records,
    st.sampled_from(Compression),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**31),
    st.integers(0, 2**60),
)
def test_every_batch_comes_back_as_it_was(rows, compression, producer_id, epoch, sequence):
    payload = encode(
        rows, compression=compression, producer_id=producer_id, producer_epoch=epoch, sequence=sequence
    )

    batch = decode_batch(payload, len(rows))

    assert list(zip(batch.values, batch.keys, batch.timestamps, batch.headers, strict=True)) == rows
    assert (batch.producer_id, batch.producer_epoch, batch.sequence) == (producer_id, epoch, sequence)


@given(records, st.sampled_from(Compression), st.data())
def test_no_flipped_bit_decodes(rows, compression, data):
    payload = bytearray(encode(rows, compression=compression))
    bit = data.draw(st.integers(0, len(payload) * 8 - 1))
    payload[bit // 8] ^= 1 << bit % 8

    with pytest.raises(CorruptBatch):
        decode_batch(bytes(payload), len(rows))


@given(records, st.data())
def test_no_truncated_or_extended_batch_decodes(rows, data):
    payload = encode(rows)
    cut = data.draw(st.integers(0, len(payload) - 1))

    with pytest.raises(CorruptBatch):
        decode_batch(payload[:cut], len(rows))
    with pytest.raises(CorruptBatch):
        decode_batch(payload + b"\0", len(rows))


@given(st.binary(max_size=200), st.integers(-1, 2**40))
def test_random_bytes_are_corrupt_and_nothing_worse(noise, count):
    with pytest.raises(CorruptBatch):
        decode_batch(noise, count)


@given(st.binary(max_size=200), st.integers(0, 255))
def test_random_columns_behind_a_right_crc_never_raise_anything_else(noise, attributes):
    forged = sealed(encode([(b"v", None, 1, None)]), columns=noise, attributes=attributes)

    try:
        batch = decode_batch(forged, 1)
    except CorruptBatch:
        return
    assert len(batch.values) == len(batch.keys) == len(batch.timestamps) == len(batch.headers) == 1


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 2**32])
def test_a_count_other_than_the_log_s_is_corrupt(count):
    with pytest.raises(CorruptBatch, match="records"):
        decode_batch(encode([(b"v", None, 1, None)] * 2), count)


@pytest.mark.parametrize(
    "columns",
    [
        [[b"a"], None, None, None],
        [[b"a", b"b"], [b"k"], None, None],
        [[b"a", b"b"], None, [0], None],
        [[b"a", b"b"], None, None, [None]],
        [["text", b"b"], None, None, None],
        [[b"a", b"b"], None, None, [[["h"]], None]],
        [[b"a", b"b"], None, None],
        {"values": []},
    ],
)
def test_columns_of_the_wrong_length_or_type_are_corrupt(columns):
    good = encode([(b"a", None, 1, None), (b"b", None, 1, None)])

    with pytest.raises(CorruptBatch):
        decode_batch(sealed(good, columns=msgspec.msgpack.encode(columns)), 2)


def test_deep_nesting_and_giant_declared_arrays_are_corrupt():
    good = encode([(b"v", None, 1, None)])

    for columns in (b"\x91" * 100_000, b"\x94\xdd\xff\xff\xff\xff", b"\x94" + b"\xc6\xff\xff\xff\xff"):
        with pytest.raises(CorruptBatch):
            decode_batch(sealed(good, columns=columns), 1)


def test_another_version_is_named_in_the_error():
    with pytest.raises(CorruptBatch, match="version 2; this release reads 1"):
        decode_batch(sealed(encode([(b"v", None, 1, None)]), version=2), 1)


def test_a_declared_size_beyond_the_limit_is_refused_before_anything_is_unpacked():
    forged = sealed(
        encode([(b"v" * 1000, None, 1, None)], compression=Compression.ZSTD), raw_size=MAX_RAW_SIZE + 1
    )

    with pytest.raises(CorruptBatch, match="limit"):
        decode_batch(forged, 1)


def test_a_batch_beyond_the_limit_is_not_encoded(monkeypatch):
    monkeypatch.setattr(codec, "MAX_RAW_SIZE", 100)

    with pytest.raises(ValueError, match="at most 100"):
        encode([(b"v" * 100, None, 1, None)])


def test_a_batch_that_does_not_shrink_is_stored_as_it_is():
    plain = encode([(b"v", None, 1, None)])

    assert encode([(b"v", None, 1, None)], compression=Compression.GZIP) == plain


@pytest.mark.parametrize("compression", [c for c in Compression if c])
def test_compression_makes_a_repetitive_batch_smaller(compression):
    rows = [(b"the same text, again and again", b"key", 1, None)] * 100

    assert len(encode(rows, compression=compression)) < len(encode(rows)) / 3


@pytest.mark.parametrize("kind", [TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME])
def test_the_type_of_timestamp_is_kept(kind):
    assert decode_batch(encode([(b"v", None, 1, None)], timestamp_type=kind), 1).timestamp_type == kind


def test_a_hundred_byte_record_costs_little_more_than_its_bytes():
    rows = [(b"v" * 100, b"customer-1", 1_700_000_000_000 + i // 100, None) for i in range(1000)]

    assert len(encode(rows)) <= 1000 * (110 + 5) + 100
    assert len(encode([(value, None, 1, None) for value, *_ in rows])) <= 1000 * (100 + 2) + 100
