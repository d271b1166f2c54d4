"""Keys to test with, always the same."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tocsin.tlog.note import VerifierKey

ORIGIN = "tocsin.example/log"


def private_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())


LOG_PRIVATE = private_key("log")
LOG_KEY = VerifierKey.of(ORIGIN, LOG_PRIVATE)
