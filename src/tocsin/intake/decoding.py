"""From the bytes of a request to plain JSON values, without trusting either."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import brotli  # type: ignore[import-untyped]
import msgspec
import zstandard

from tocsin.errors import Code, TocsinError, refuse

MAX_DEPTH = 64
"""Containers within each other in a JSON document."""
MAX_ZSTD_WINDOW_BYTES = 8 * 1_048_576
"""The largest window of a zstd frame: what RFC 9659 allows in Content-Encoding (bytes)."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZLIB_WINDOW = zlib.MAX_WBITS
_RAW_WINDOW = -zlib.MAX_WBITS
_MAX_INTEGER_TEXT_CHARACTERS = 100
_FEW_BYTES = 4_096
_MAX_SPACES = 16 * 1_048_576
_DEEPEST = 1_024
"""More containers within each other than a decoder follows: it ends with Python's own recursion."""
_NEXT_BRACKET = re.compile(rb'(?:[^\[\]{}"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?+)*+([\[\]{}]|\Z)', re.DOTALL)
"""The next bracket that is in no text, or the end. It goes back nowhere, so the search is never long."""
_OPENING = (b"[", b"{")
_CLOSING = (b"]", b"}")
_MAX_EMPTIED_CONTAINERS = 262_144
"""A document that no decoder follows and that has more is refused: one of 4 MiB that tells of errors has half."""
_MAX_INDENTATION = b"\n" + b" " * MAX_DEPTH


def decode_body(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Return the body as it was before compression.

    Args:
        body: the body as received.
        content_encoding: the Content-Encoding header; "" means none. A list of several is refused: no client
            sends one, and each of its steps would be another way to hide a bomb.
        limit: how many bytes the result may have. No more than that is ever decompressed (brotli: in whole blocks
            of its output, the first 32 KiB).

    Raises:
        TocsinError: TOO_LARGE, MALFORMED (not what the header says, cut off, or followed by something else),
            UNSUPPORTED_MEDIA_TYPE.
    """
    name = content_encoding.strip().lower()
    decode = _DECODERS.get(name)
    if decode is None:
        raise refuse(
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"Cannot read a body with Content-Encoding {name[:40]!r}.",
            "Send it in one of gzip, br, zstd and deflate, or without Content-Encoding.",
        )
    return decode(body, limit)


def _identity(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _gzip(body: bytes, limit: int) -> bytes:
    return _inflate(body, limit, _GZIP_WINDOW)


def _deflate(body: bytes, limit: int) -> bytes:
    """RFC 9110, 8.4.1.2: deflate means the zlib format, but some senders leave its header away."""
    try:
        return _inflate(body, limit, _ZLIB_WINDOW)
    except TocsinError as error:
        if error.refusal.code is not Code.MALFORMED:
            raise
    return _inflate(body, limit, _RAW_WINDOW)


def _inflate(body: bytes, limit: int, window: int) -> bytes:
    inflater = zlib.decompressobj(wbits=window)
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise _malformed_body(f"it is not what Content-Encoding says ({error})") from error
    if len(data) > limit:
        raise _too_large(limit)
    if not inflater.eof:
        raise _malformed_body("the compressed data ends too early")
    if inflater.unused_data:
        raise _malformed_body("something follows the compressed data")
    return data


def _brotli(body: bytes, limit: int) -> bytes:
    unpacker = brotli.Decompressor()
    try:
        data: bytes = unpacker.process(body, output_buffer_limit=limit + 1)
    except brotli.error as error:
        # The library says the same of damage and of something that follows.
        raise _malformed_body("it is not what Content-Encoding says (brotli)") from error
    if len(data) > limit:
        raise _too_large(limit)
    if not unpacker.is_finished():
        raise _malformed_body("the compressed data ends too early")
    return data


def _zstd(body: bytes, limit: int) -> bytes:
    """Decompress twice: the reader stops at the limit but cannot tell an end from a cut, the object the reverse."""
    zstd = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
    try:
        with zstd.stream_reader(body) as reader:
            if len(reader.read(limit + 1)) > limit:
                raise _too_large(limit)
        frame = zstd.decompressobj()
        data = frame.decompress(body)
    except zstandard.ZstdError as error:
        raise _malformed_body(f"it is not what Content-Encoding says ({error})") from error
    if not frame.eof:
        raise _malformed_body("the compressed data ends too early")
    if frame.unused_data:
        raise _malformed_body("something follows the compressed data")
    return data


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "": _identity,
    "identity": _identity,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}


def _malformed_body(problem: str) -> TocsinError:
    return refuse(Code.MALFORMED, f"Cannot decompress the body: {problem}.", "Compress the whole body as one stream.")


def _too_large(limit: int) -> TocsinError:
    return refuse(
        Code.TOO_LARGE,
        f"The body is larger than {limit:,} bytes when decompressed.",
        "Send fewer reports in a request, or less context with each.",
        limitBytes=limit,
    )


def parse_json(body: bytes, *, is_shallow: bool = False) -> object:
    """Return the JSON document as plain Python: dict, list, str, int, float, bool, None.

    More generous than RFC 8259 where real clients are: NaN and infinities (Python's json writes them), lone
    surrogates (JavaScript's does), and bytes that are not UTF-8 (read as U+FFFD) cost nobody a report.

    Args:
        body: the document.
        is_shallow: that it is not deeper than MAX_DEPTH is known: `is_surely_shallow` was asked.

    Raises:
        TocsinError: MALFORMED, with the position (in characters, from 0), or nested deeper than MAX_DEPTH.
    """
    document, is_shallow = _decoded(body, is_shallow)
    if not is_shallow and _too_deep_in(document):
        raise _too_deep()
    return document


def parse_json_emptied(body: bytes) -> object:
    """Return a JSON document as `parse_json` does, but what is nested deeper than MAX_DEPTH is left out.

    The containers in which it was stay, for who reads them expects some of their kind.

    Raises:
        TocsinError: MALFORMED, with the position.
    """
    try:
        document, is_shallow = _decoded(body, False)
    except TooDeepError:
        if body.count(b"{") + body.count(b"[") > _MAX_EMPTIED_CONTAINERS:
            raise
        return parse_json(_emptied(body))
    for container in () if is_shallow else _too_deep_in(document):
        container.clear()
    return document


def _decoded(body: bytes, is_shallow: bool) -> tuple[object, bool]:
    """Return what a document says, and whether it is surely shallow; raise MALFORMED, or TooDeepError if very deep."""
    try:
        return msgspec.json.decode(body), is_shallow or is_surely_shallow(body)
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _parse_generously(body.decode("utf-8-sig", "replace")), False


def _emptied(body: bytes) -> bytes:
    """Return a document that no decoder follows without what is in its containers deeper than MAX_DEPTH."""
    kept: list[bytes] = []
    depth = start = 0
    for match in _NEXT_BRACKET.finditer(body):
        bracket = match[1]
        if bracket in _OPENING:
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(body[start : match.end()])
        elif bracket in _CLOSING:
            if depth == MAX_DEPTH + 1:
                start = match.start(1)
            depth -= 1
    return b"".join([*kept, body[start:]])


def is_surely_shallow(body: bytes) -> bool:
    """Tell whether a JSON document is surely not deeper than MAX_DEPTH; some that are not deeper get no for an answer.

    Raises one of UNREADABLE if the document is not JSON.
    """
    if len(body) <= _FEW_BYTES and body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return True
    # A megabyte that is deep and wide at once would be spread out over hundreds of them.
    if len(body) // 2 * _DEEPEST > _MAX_SPACES:
        containers = body.count(b"{") + body.count(b"[")
        if (body.count(b",") + containers) * containers > _MAX_SPACES:
            return False
    # Formatted, what is within n containers stands on a line of its own behind n spaces; and no text holds a bare
    # newline. That is the quickest way to ask a decoder how deep it went.
    return _MAX_INDENTATION not in msgspec.json.format(body, indent=1)


def _parse_generously(text: str) -> object:
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            raise
        except ValueError:
            # Python refuses to make an integer of more than 4,300 digits.
            return json.loads(text, parse_int=_shortened)
    except RecursionError as error:
        raise _too_deep() from error
    except json.JSONDecodeError as error:
        raise refuse(
            Code.MALFORMED,
            f"The body is not JSON: {error.msg} at character {error.pos} (line {error.lineno}).",
            "Send a complete JSON document in UTF-8.",
            position=error.pos,
        ) from error


def _shortened(digits: str) -> object:
    return int(digits) if len(digits) <= _MAX_INTEGER_TEXT_CHARACTERS else digits[:_MAX_INTEGER_TEXT_CHARACTERS] + "…"


class TooDeepError(TocsinError):
    """A JSON document is nested too deep."""


def _too_deep() -> TooDeepError:
    refused = refuse(
        Code.MALFORMED,
        f"The JSON document is nested deeper than {MAX_DEPTH} levels.",
        "Flatten what you send: a report's context is kept to a few levels only.",
    )
    return TooDeepError(refused.refusal)


_CONTAINERS = frozenset({dict, list})  # what JSON is decoded to, and no type derived from them


def _too_deep_in(document: Any) -> list[Any]:
    """Return the containers of a document that are not empty and deeper than MAX_DEPTH, but not those within them."""
    level = [document] if type(document) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        if not level:
            break
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if child and type(child) in _CONTAINERS
        ]
    return level
