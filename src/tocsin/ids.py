"""The only source of identifiers and randomness."""

from __future__ import annotations

import base64
import os
import secrets
import time
from uuid import UUID


def new_id() -> UUID:
    """Return a UUID of version 7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 74 random bits.

    Ids made later sort later (to the millisecond), which keeps the indexes of growing tables compact.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = int.from_bytes(os.urandom(10))
    value |= milliseconds << 80
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)


def new_nonce() -> bytes:
    """Return 16 random bytes."""
    return secrets.token_bytes(16)


def new_secret() -> str:
    """Return a random secret of 256 bits as URL-safe text, for tokens and session cookies."""
    return secrets.token_urlsafe(32)


def new_totp_secret() -> str:
    """Return 160 random bits as Base32, the form that authenticator apps read (RFC 4226, 4: R6)."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def new_recovery_code() -> str:
    """Return 80 random bits as Base32 in groups, for people to write down."""
    text = base64.b32encode(secrets.token_bytes(10)).decode()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def new_key() -> str:
    """Return an intake key: 128 random bits as 32 hex digits, the form that Sentry DSNs use."""
    return secrets.token_hex(16)


def new_code() -> str:
    """Return eight random digits, for people to type."""
    return f"{secrets.randbelow(10**8):08}"


def jitter(fraction: float) -> float:
    """Return a random factor in [1 − fraction, 1 + fraction], to spread retries."""
    return 1.0 + (secrets.randbelow(2_000_001) - 1_000_000) / 1_000_000 * fraction
