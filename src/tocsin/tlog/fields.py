"""What the text formats are made of: decimal numbers and Base64, each with exactly one way to write a value.

A second way ("01", "+1", Base64 with stray bits) would let two different texts mean the same: it is refused.
"""

from __future__ import annotations

import base64
import binascii
import re

from tocsin.tlog.errors import ProofError
from tocsin.tlog.merkle import HASH_BYTES, MAX_SIZE

NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")
MAX_SHOWN = 40  # characters of a foreign text that a message repeats


def read_number(text: str, what: str) -> int:
    """Read an ASCII decimal from 0 to 2**63 - 1 without sign, leading zeros or spaces."""
    if not NUMBER.match(text) or int(text) > MAX_SIZE:
        raise ProofError(f"{what} is not a number from 0 to 2**63 - 1: {shown(text)}")
    return int(text)


def read_base64(text: str, what: str) -> bytes:
    """Read standard Base64 (RFC 4648, 4) with its padding, in the one form that encodes to the same text."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ProofError(f"{what} is not Base64: {shown(text)}") from None
    if write_base64(value) != text:
        raise ProofError(f"{what} is not the one Base64 form of its value: {shown(text)}")
    return value


def read_hash(text: str, what: str) -> bytes:
    """Read a hash of 32 bytes in Base64."""
    value = read_base64(text, what)
    if len(value) != HASH_BYTES:
        raise ProofError(f"{what} has {len(value)} bytes instead of {HASH_BYTES}")
    return value


def write_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def shown(text: str) -> str:
    """A foreign text as a message may repeat it: short, and with everything odd in it visible."""
    return ascii(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "...")
