"""What clients send, ready to be written to a socket: each event with an id of its own, of one failure or of many.

Made cheaply, because whoever makes them shares the machine with the server: what is the same in every event is encoded
and compressed once.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.support.failing_program import GROUP_WORD

ROOT = Path(__file__).parents[2]
PROGRAM_SECONDS = 30.0
NATIVE_BYTES = 2_048
_LETTERS = "ghijklmnopqrstuvwxyz"
_ID = "0" * 32
_WORD = GROUP_WORD.encode()
_GZIP_HEAD = bytes.fromhex("1f8b08000000000000ff")
_LAST_BLOCK = b"\x03\x00"
MAX_GROUPS = len(_LETTERS) ** (len(GROUP_WORD) - len("group"))


class Workload(Protocol):
    """Something to send, many times over; each request brings `events` events."""

    @property
    def events(self) -> int:
        """Return how many events a request brings."""

    def requests(self) -> Iterator[bytes]:
        """Give HTTP requests, head and body, without end."""


@dataclass(frozen=True, slots=True)
class Envelopes:
    """The envelope of a real sentry-sdk, gzipped, to `path`; the failures take turns."""

    plain: bytes
    path: str
    key: str
    groups: int
    run: str

    @property
    def events(self) -> int:
        """Return how many events a request brings."""
        return 1

    def requests(self) -> Iterator[bytes]:
        """Give the requests."""
        known_id = json.loads(self.plain.partition(b"\n")[0])["event_id"].encode()
        failures = [
            [_piece(part) for part in self.plain.replace(_WORD, group_word(number)).split(known_id)]
            for number in range(self.groups)
        ]
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: sentry.python/2\r\n"
            f"X-Sentry-Auth: Sentry sentry_key={self.key}, sentry_version=7, sentry_client=sentry.python/2\r\n"
            "Content-Type: application/x-sentry-envelope\r\nContent-Encoding: gzip\r\nContent-Length: "
        ).encode()
        for number in itertools.count():
            body = _gzipped(failures[number % self.groups], event_id(self.run, number))
            yield b"%b%d\r\n\r\n%b" % (head, len(body), body)


@dataclass(frozen=True, slots=True)
class Native:
    """Tocsin's own JSON, about 2 KB an event: one a request, or `events` of them as NDJSON.

    A failure comes `repeats` times before the next one takes its turn.
    """

    key: str
    groups: int
    run: str
    events: int = 1
    repeats: int = 1

    def requests(self) -> Iterator[bytes]:
        """Give the requests."""
        before, between, after = native_event()
        words = [group_word(number) for number in range(self.groups)]
        kind = "application/x-ndjson" if self.events > 1 else "application/json"
        head = (
            f"POST /api/v1/errors HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: "
        ).encode()
        numbers = itertools.count()
        while True:
            body = b"\n".join(
                b"%b%b%b%b%b"
                % (before, event_id(self.run, number), between, words[number // self.repeats % self.groups], after)
                for number in itertools.islice(numbers, self.events)
            )
            yield b"%b%d\r\n\r\n%b" % (head, len(body), body)


def event_id(run: str, number: int) -> bytes:
    """Return the id of an event: 32 hex digits, of which the first eight are the run's."""
    return f"{run:.8}{number:024x}".encode()


def group_word(number: int) -> bytes:
    """Return a word for a failure, as long as GROUP_WORD. Letters alone: numbers would be taken for one failure."""
    letters = []
    for _ in range(len(GROUP_WORD) - len("group")):
        number, rest = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[rest])
    return f"group{''.join(letters)}".encode()


def real_envelope() -> bytes:
    """Return what the real sentry-sdk makes of a program that fails. Raises CalledProcessError when that one fails."""
    command = [sys.executable, "-m", "bench.support.failing_program"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=PROGRAM_SECONDS).stdout


def sent_size(envelope: bytes) -> int:
    """Return how many bytes of body an envelope is when it is sent."""
    request = next(Envelopes(envelope, "/", "", 1, "00000000").requests())
    return len(request.partition(b"\r\n\r\n")[2])


def native_event() -> tuple[bytes, bytes, bytes]:
    """Return what stands before an event's id, between it and the word of its failure, and after that."""
    frames = [
        {
            "function": GROUP_WORD if name == "ship" else f"{name}_order",
            "module": f"shop.orders.{name}",
            "filename": f"shop/orders/{name}.py",
            "line": 40 + len(name),
            "sourceLine": f"return {name}(order, customer, retries=retries - 1)",
            "inApp": True,
        }
        for name in ("receive", "price", "reserve", "charge", "ship")
    ]
    report: dict[str, object] = {
        "eventId": _ID,
        "severity": "HIGH",
        "exceptions": [{"type": "GatewayError", "message": "no answer within 5 s", "frames": frames}],
        "platform": "python",
        "service": "shop",
        "environment": "production",
        "release": "shop@1.4.2",
        "tags": {"region": "eu-west", "tenant": "acme"},
        "context": {"attempt": 3, "note": ""},
    }
    missing = NATIVE_BYTES - len(json.dumps(report))
    note = (f"order {number} of customer {number * 7919 % 9973}; " for number in itertools.count(1017))
    report["context"] = {"attempt": 3, "note": "".join(itertools.islice(note, missing))[:missing]}
    before, _, rest = json.dumps(report).encode().partition(_ID.encode())
    between, _, after = rest.partition(_WORD)
    return before, between, after


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the envelope, and how it looks in the middle of a compressed stream."""

    plain: bytes
    deflated: bytes


def _piece(plain: bytes) -> _Piece:
    # A full flush ends on a byte and forgets what came before, so that anything may follow.
    compressor = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return _Piece(plain, compressor.compress(plain) + compressor.flush(zlib.Z_FULL_FLUSH))


def _gzipped(pieces: list[_Piece], between: bytes) -> bytes:
    """Return one gzip member: the pieces, and between any two of them this text, in a block that is not compressed."""
    length = len(between)
    stored = b"\x00%b%b%b" % (length.to_bytes(2, "little"), (length ^ 0xFFFF).to_bytes(2, "little"), between)
    plain = between.join([piece.plain for piece in pieces])
    end = zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
    return _GZIP_HEAD + stored.join([piece.deflated for piece in pieces]) + _LAST_BLOCK + end
