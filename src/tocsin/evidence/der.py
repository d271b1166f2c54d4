"""The little of ASN.1 that time stamps need, in DER (ITU-T X.690): one definite form for each value, or refused.

Only what RFC 3161 and RFC 5652 use is here: single-octet tags and definite lengths in their shortest form. A value
that could be written in two ways is not accepted in the second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tocsin.evidence import EvidenceError

BOOLEAN = 0x01
INTEGER = 0x02
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
UTF8_STRING = 0x0C
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
MAX_CHILDREN = 256

_LONG_TAG = 0x1F
_CONSTRUCTED = 0x20
_TIME = re.compile(rb"([0-9]{14})(?:\.([0-9]{0,8}[1-9]))?Z")


def context(number: int, *, constructed: bool = True) -> int:
    """Return the identifier octet of the context-specific tag `[number]`."""
    return 0x80 | (_CONSTRUCTED if constructed else 0) | number


@dataclass(frozen=True, slots=True)
class Element:
    """One value: its identifier octet, its content, and the whole of its bytes."""

    tag: int
    content: bytes
    encoded: bytes

    def children(self) -> list[Element]:
        """Return the values in a constructed one, at most MAX_CHILDREN. Raises EvidenceError."""
        if not self.tag & _CONSTRUCTED:
            raise EvidenceError("DER: a primitive value where a constructed one belongs")
        found: list[Element] = []
        rest = self.content
        while rest:
            if len(found) == MAX_CHILDREN:
                raise EvidenceError(f"DER: more than {MAX_CHILDREN} values in one")
            element, rest = _first(rest)
            found.append(element)
        return found

    def must_be(self, tag: int, what: str) -> Element:
        """Return itself if it has this tag. Raises EvidenceError naming `what` it should be."""
        if self.tag != tag:
            raise EvidenceError(f"DER: {what} has tag 0x{self.tag:02x}, not 0x{tag:02x}")
        return self

    def integer(self, what: str) -> int:
        """Return the INTEGER. Raises EvidenceError."""
        content = self.must_be(INTEGER, what).content
        if not content or (len(content) > 1 and content[0] in (0x00, 0xFF) and (content[0] ^ content[1]) < 0x80):
            raise EvidenceError(f"DER: {what} is not a shortest INTEGER")
        return int.from_bytes(content, signed=True)

    def object_identifier(self, what: str) -> str:
        """Return the OBJECT IDENTIFIER in dotted decimals. Raises EvidenceError."""
        content = self.must_be(OBJECT_IDENTIFIER, what).content
        if not content or len(content) > 64 or content[-1] & 0x80:
            raise EvidenceError(f"DER: {what} is not an OBJECT IDENTIFIER")
        arcs: list[int] = []
        value = 0
        start = True
        for octet in content:
            if start and octet == 0x80:
                raise EvidenceError(f"DER: {what} is not a shortest OBJECT IDENTIFIER")
            value = value << 7 | octet & 0x7F
            start = not octet & 0x80
            if start:
                arcs.append(value)
                value = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))

    def time(self, what: str) -> datetime:
        """Return the GeneralizedTime (RFC 3161, 2.4.2: UTC, with seconds, no trailing zeros). Raises EvidenceError."""
        match = _TIME.fullmatch(self.must_be(GENERALIZED_TIME, what).content)
        digits = match[1].decode("ascii") if match else ""
        try:
            seconds = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            raise EvidenceError(f"DER: {what} is not a GeneralizedTime in UTC") from None
        fraction = (match[2] or b"").decode("ascii") if match else ""
        return seconds.replace(microsecond=int(fraction.ljust(6, "0")[:6]))


def parse(data: bytes, what: str) -> Element:
    """Return the one value that `data` is. Raises EvidenceError naming `what` it should be."""
    try:
        element, rest = _first(data)
    except EvidenceError as error:
        raise EvidenceError(f"{what}: {error}") from None
    if rest:
        raise EvidenceError(f"{what}: DER: {len(rest)} bytes follow the value")
    return element


def _first(data: bytes) -> tuple[Element, bytes]:
    if len(data) < 2:
        raise EvidenceError("DER: a value is cut off")
    if data[0] & _LONG_TAG == _LONG_TAG:
        raise EvidenceError("DER: a tag of several octets is not used here")
    start, length = _length(data)
    end = start + length
    if end > len(data):
        raise EvidenceError("DER: a value is cut off")
    return Element(data[0], data[start:end], data[:end]), data[end:]


def _length(data: bytes) -> tuple[int, int]:
    """Return where the content starts and how long it is (X.690, 8.1.3 and 10.1)."""
    first = data[1]
    if first < 0x80:
        return 2, first
    octets = first & 0x7F
    if not 1 <= octets <= 4 or len(data) < 2 + octets:
        raise EvidenceError("DER: a length is indefinite, too great or cut off")
    length = int.from_bytes(data[2 : 2 + octets])
    if length < 0x80 or length.bit_length() <= 8 * (octets - 1):
        raise EvidenceError("DER: a length is not in its shortest form")
    return 2 + octets, length


def encode(tag: int, content: bytes) -> bytes:
    """Return a value of this tag and content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + content


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE of encoded values."""
    return encode(SEQUENCE, b"".join(parts))


def integer(value: int) -> bytes:
    """Return an INTEGER that is not negative."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def object_identifier(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER of dotted decimals."""
    first, second, *more = (int(arc) for arc in dotted.split("."))
    return encode(OBJECT_IDENTIFIER, b"".join(_arc(arc) for arc in (40 * first + second, *more)))


def _arc(value: int) -> bytes:
    octets = bytearray((value & 0x7F,))
    while value := value >> 7:
        octets.insert(0, 0x80 | value & 0x7F)
    return bytes(octets)
