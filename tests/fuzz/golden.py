"""What the parsers make of inputs that never change, as digests: a reading that differs in one bit is seen.

Whoever means to change a reading writes the digests anew, `python -m tests.fuzz.golden`, and looks at which changed.
An event id or a fingerprint that changed by itself would count one failure twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from tests.fuzz.shapes import SHAPES
from tests.fuzz.targets import TARGETS, seeds
from tests.intake.agreement import whole
from tocsin.domain.arrival import Arrival
from tocsin.domain.fingerprint import fingerprint
from tocsin.domain.report import ErrorReport, document
from tocsin.errors import TocsinError
from tocsin.intake import Rejected

GOLDEN = Path(__file__).with_name("golden.json")
INPUTS = [f"{target} damaged" for target in TARGETS if target != "field-mapping"] + list(SHAPES)
"""The megabytes of `SHAPES`; and for each target the seeds of its corpus, whole and then damaged in many ways."""

_PIECES = [b"", b"\0", b'"', b"{}", b"7", b"\xff", b"null,", b"0x1F", b"\\u0000", b"\\ud800"]
_DAMAGES = 200


def digest(name: str) -> str:
    """Return the digest of what is read of one of INPUTS."""
    digest = sha256()
    for target, body in _bodies(name):
        for line in _reading(target, body):
            digest.update(line + b"\n")
    return digest.hexdigest()


def _bodies(name: str) -> Iterator[tuple[str, bytes]]:
    if name in SHAPES:
        target, make = SHAPES[name]
        yield target, make()
        return
    target = name.removesuffix(" damaged")
    for seed in seeds(target):
        yield target, seed
        for number in range(_DAMAGES):
            at = number * len(seed) // _DAMAGES
            yield target, seed[:at] + _PIECES[number % len(_PIECES)] + seed[at + number % 4 :]


def _reading(target: str, body: bytes) -> Iterator[bytes]:
    """Return a line for each item that is read. Of a refusal the code, for its words are often a library's."""
    try:
        items = list(TARGETS[target](body))
    except TocsinError as error:
        yield error.refusal.code.encode()
        return
    for item in items:
        report = whole(item) if isinstance(item, Arrival | Rejected) else item
        if isinstance(report, ErrorReport):
            expiry = report.expires_at and report.expires_at.isoformat()
            yield msgspec.json.encode([document(report), expiry, report.title, fingerprint(report)])
        else:
            yield repr(report).encode("utf-8", "surrogatepass")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: digest(name) for name in INPUTS}, indent=1) + "\n", encoding="utf-8")
