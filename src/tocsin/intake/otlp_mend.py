"""Mends a protobuf message that the library refuses for one odd value, so that its sender loses nothing but that.

protobuf takes a message as a whole or not at all: a text that is not UTF-8 (a log line in Latin-1), or an attribute
that is nested deeper than it follows, would cost every record beside it. What is broken otherwise (a length beyond the
end, another message altogether) stays as it is, for nobody knows what it means.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

MAX_MESSAGES_DEEP = 90
"""Messages within each other; what lies deeper is left out. protobuf follows 100, and a context keeps far fewer."""
MAX_FIELDS = 500_000
"""Fields of one request that are looked at one by one: those of odd records. What has more is refused, as it was."""

_RECORD_LEVEL = 3
_LENGTH_DELIMITED = 2
_FIXED_BYTES = {1: 8, 5: 4}
_GROUPS = frozenset({3, 4})
_MAX_VARINT_BYTES = 10
_BYTES = [bytes([number]) for number in range(0x80)]


def mended(kind: type[Message], data: bytes) -> bytes:
    """Return a message with its texts in UTF-8 (U+FFFD for what is not) and nothing deeper than MAX_MESSAGES_DEEP.

    Raises:
        DecodeError: it is no protobuf, or has too much in it that needs mending.
    """
    return _Mender(kind).message(kind.DESCRIPTOR, data, ())


class _Mender:
    """Mends one message, field by field."""

    __slots__ = ("_kind", "_remaining")

    def __init__(self, kind: type[Message]) -> None:
        self._kind = kind
        self._remaining = MAX_FIELDS

    def message(self, kind: Descriptor, data: bytes, path: tuple[int, ...]) -> bytes:
        """Return what is in the message at a path of tags, mended; nothing if that is too deep."""
        if len(path) >= MAX_MESSAGES_DEEP:
            return b""
        if data.isascii() and len(data) <= 2 * (MAX_MESSAGES_DEEP - len(path)):
            return data  # As short as this it cannot be deep: each message takes two bytes at least.
        if len(path) <= _RECORD_LEVEL and self._is_sound(data, path):
            return data
        texts, messages = _fields(kind)
        parts, at, end = [], 0, len(data)
        while at < end:
            self._remaining -= 1
            start = at
            tag, at = (data[at], at + 1) if data[at] < 0x80 else _read_varint(data, at)
            if tag & 7 != _LENGTH_DELIMITED:
                at = _after(data, at, tag & 7)
                parts.append(data[start:at])
                continue
            length, begin = _read_varint(data, at)
            at = begin + length
            if at > end or self._remaining < 0:
                raise DecodeError("A length leads beyond the end, or there are too many fields.")
            content, number = data[begin:at], tag >> 3
            kept = content
            if number in texts and not content.isascii():
                kept = content.decode("utf-8", "replace").encode()
            elif number in messages:
                kept = self.message(messages[number], content, (*path, tag))
            parts.append(data[start:at] if kept is content else _field(tag, kept))
        return b"".join(parts)

    def _is_sound(self, data: bytes, path: tuple[int, ...]) -> bool:
        """Ask the library whether it would take this, where it stands: it is far quicker than a look at each field."""
        for tag in reversed(path):
            data = _field(tag, data)
        try:
            self._kind.FromString(data)
        except DecodeError:
            return False
        return True


@cache
def _fields(kind: Descriptor) -> tuple[frozenset[int], dict[int, Descriptor]]:
    """Return the numbers of a message's texts, and its messages by number."""
    texts = frozenset(field.number for field in kind.fields if field.type == FieldDescriptor.TYPE_STRING)
    return texts, {field.number: field.message_type for field in kind.fields if field.message_type is not None}


def _after(data: bytes, at: int, wire_type: int) -> int:
    """Return where a field that has no length ends. Of a group, which nobody sends, only the tags are skipped."""
    if wire_type == 0:
        return _read_varint(data, at)[1]
    if wire_type in _GROUPS:
        return at
    end = at + _FIXED_BYTES.get(wire_type, len(data) + 1)
    if end > len(data):
        raise DecodeError("A field leads beyond the end, or has a type that there is not.")
    return end


def _field(tag: int, content: bytes) -> bytes:
    return varint(tag) + varint(len(content)) + content


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and where it ends."""
    if at < len(data) and data[at] < 0x80:
        return data[at], at + 1
    number = shift = 0
    for end in range(at, min(len(data), at + _MAX_VARINT_BYTES)):
        byte = data[end]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, end + 1
        shift += 7
    raise DecodeError("A number has no end.")


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it: seven bits a byte, the lowest first."""
    if number < 0x80:
        return _BYTES[number]
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
