"""Bodies are decompressed and parsed within limits; what is wrong with them is said."""

from __future__ import annotations

import gzip
import json
import math
import tracemalloc
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.intake.samples import json_values, nothing_but_refusals
from tocsin.errors import Code, TocsinError
from tocsin.intake.decoding import MAX_DEPTH, MAX_ZSTD_WINDOW_BYTES, decode_body, is_surely_shallow, parse_json

LIMIT = 1_000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def stream_of_zstd(data: bytes, window: int = MAX_ZSTD_WINDOW_BYTES) -> bytes:
    """Pack as a sender does that does not know the size beforehand."""
    parameters = zstandard.ZstdCompressionParameters(window_log=window.bit_length() - 1, write_checksum=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    " GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "ZSTD": stream_of_zstd,
}


def refusal_of_body(body: bytes, encoding: str) -> Code:
    with pytest.raises(TocsinError) as refused:
        decode_body(body, encoding, LIMIT)
    return refused.value.refusal.code


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
def test_a_body_up_to_the_limit_is_unpacked(encoding: str, size: int) -> None:
    assert decode_body(PACKERS[encoding](b"x" * size), encoding, LIMIT) == b"x" * size


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("size", [LIMIT + 1, 50_000_000])
def test_a_bomb_is_refused_before_it_explodes(encoding: str, size: int) -> None:
    assert refusal_of_body(PACKERS[encoding](b"x" * size), encoding) is Code.TOO_LARGE


@pytest.mark.parametrize("encoding", ["br", "zstd", "ZSTD"])
def test_a_bomb_takes_no_more_memory_than_what_it_may_become(encoding: str) -> None:
    bomb = PACKERS[encoding](b"x" * 50_000_000)
    tracemalloc.start()
    try:
        assert refusal_of_body(bomb, encoding) is Code.TOO_LARGE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "ZSTD"])
@pytest.mark.parametrize("damage", ["cut", "follow", "flip", "empty", "plain"])
def test_a_damaged_body_is_malformed(encoding: str, damage: str) -> None:
    packed = PACKERS[encoding](b"some text that was worth packing")
    damaged = {
        "cut": packed[:-3],
        "follow": packed + b"more",
        "flip": packed[:-1] + bytes([packed[-1] ^ 1]),
        "empty": b"",
        "plain": b'{"message": "not packed"}',
    }
    assert refusal_of_body(damaged[damage], encoding) is Code.MALFORMED


def test_a_zstd_window_beyond_what_http_allows_is_malformed() -> None:
    assert refusal_of_body(stream_of_zstd(b"x" * 500, 2 * MAX_ZSTD_WINDOW_BYTES), "zstd") is Code.MALFORMED


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "\x00", "é" * 1_000])
def test_an_encoding_that_we_do_not_speak_is_named(encoding: str) -> None:
    assert refusal_of_body(b"x", encoding) is Code.UNSUPPORTED_MEDIA_TYPE


@given(st.binary(), st.sampled_from(list(PACKERS)))
def test_no_body_escapes_its_limit_or_raises_anything_else(body: bytes, encoding: str) -> None:
    with nothing_but_refusals(Code.MALFORMED, Code.TOO_LARGE):
        assert len(decode_body(body, encoding, LIMIT)) <= LIMIT


@given(json_values)
def test_what_pythons_json_writes_is_read(value: object) -> None:
    # As text, because not-a-number is not equal to itself.
    assert repr(parse_json(json.dumps(value).encode())) == repr(value)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
        (b'"caf\xe9"', "caf\ufffd"),
        (b'\xef\xbb\xbf{"bom": 1}', {"bom": 1}),
        (b"[1e999, -Infinity]", [math.inf, -math.inf]),
        (b"[" + b"1" * 5_000 + b"]", ["1" * 100 + "…"]),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_what_clients_get_wrong_costs_no_report(body: bytes, value: object) -> None:
    assert parse_json(body) == value


@pytest.mark.parametrize(
    ("body", "position"),
    [(b"", 0), (b"\xff", 0), (b'{"a": 1', 7), (b'{"a": tru}', 6), (b"{} {}", 3), (b"'a'", 0), (b"\x00", 0)],
)
def test_what_is_no_json_is_malformed_at_a_position(body: bytes, position: int) -> None:
    with pytest.raises(TocsinError) as refused:
        parse_json(body)
    assert refused.value.refusal.code is Code.MALFORMED
    assert refused.value.refusal.details == {"position": position}


@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_ends_at_its_limit(start: bytes, end: bytes) -> None:
    middle = b"1"
    parse_json(start * MAX_DEPTH + middle + end * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 500, 100_000):
        for tail in (end * depth, b"", b"NaN" + end * depth):
            with pytest.raises(TocsinError) as refused:
                parse_json(start * depth + middle + tail)
            assert refused.value.refusal.code is Code.MALFORMED


@given(st.binary())
def test_any_bytes_are_json_or_malformed(body: bytes) -> None:
    with nothing_but_refusals(Code.MALFORMED):
        parse_json(body)


def test_a_document_that_is_deep_and_wide_takes_no_more_memory_to_look_at() -> None:
    depth = 500
    body = b"[" * depth + b"1," * 500_000 + b"1" + b"]" * depth
    tracemalloc.start()
    try:
        assert not is_surely_shallow(body)
        with pytest.raises(TocsinError):
            parse_json(body)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()
