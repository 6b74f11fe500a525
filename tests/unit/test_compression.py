"""Decompression is bounded by the size that was declared, whatever the data claims."""

import contextlib
import sys
import tracemalloc

import cramjam
import lz4.block
import pytest
import zstandard
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from streamadapter import compression
from streamadapter.compression import Compression, DecompressionError, compress, decompress

CODECS = [c for c in Compression if c]


@given(st.binary(max_size=2000), st.sampled_from(CODECS), st.sampled_from([-1, 1, 9]))
def test_what_was_compressed_comes_back(data, codec, level):
    assert decompress(codec, compress(codec, data, level), len(data)) == data


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("wrong", [0, 99, 101, 5000])
def test_a_size_other_than_the_declared_one_is_an_error(codec, wrong):
    with pytest.raises(DecompressionError):
        decompress(codec, compress(codec, b"x" * 100), wrong)


@given(st.binary(max_size=200), st.sampled_from(CODECS), st.integers(0, 1000))
def test_noise_raises_the_typed_error_only(noise, codec, size):
    with contextlib.suppress(DecompressionError):
        assert len(decompress(codec, noise, size)) == size


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_of_200_mb_unpacks_no_further_than_declared(codec):
    bomb = compress(codec, bytes(200_000_000))

    tracemalloc.start()
    try:
        with pytest.raises(DecompressionError):
            decompress(codec, bomb, 10_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000 + len(bomb)


def test_a_zstd_bomb_that_lies_about_its_size_is_cut_off():
    bomb = bytearray(zstandard.ZstdCompressor().compress(bytes(200_000_000)))
    at = bomb.index((200_000_000).to_bytes(4, "little"))
    bomb[at : at + 4] = (10_000).to_bytes(4, "little")

    with pytest.raises(DecompressionError):
        decompress(Compression.ZSTD, bytes(bomb), 10_000)


def test_a_snappy_block_with_a_giant_header_allocates_nothing():
    block = b"\xff\xff\xff\xff\x0f" + bytes(cramjam.snappy.compress_raw(b"abc"))[1:]

    with pytest.raises(DecompressionError, match="declared size"):
        decompress(Compression.SNAPPY, block, 3)


def test_an_lz4_block_that_fills_less_than_declared_is_an_error():
    with pytest.raises(DecompressionError, match="3 bytes"):
        decompress(Compression.LZ4, lz4.block.compress(b"abc", store_size=False), 10)


def test_a_gzip_stream_with_a_second_member_is_an_error():
    member = compress(Compression.GZIP, b"abc")

    with pytest.raises(DecompressionError):
        decompress(Compression.GZIP, member + member, 3)


def test_a_missing_library_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)

    with pytest.raises(KafkaException) as caught:
        compression.require(Compression.ZSTD)

    error = caught.value.args[0]
    assert error.code() == KafkaError._UNSUPPORTED_FEATURE
    assert 'pip install "streamadapter[compression]"' in error.str()
