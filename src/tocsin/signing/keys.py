"""Key files: an Ed25519 key in the encoding of C2SP signed-note tools, `PRIVATE+KEY+name+id+Base64(1 || seed)`.

The key before the present one has a second line: until when it signs, too.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tocsin.errors import Code, refuse
from tocsin.signing import files
from tocsin.tlog.errors import ProofError
from tocsin.tlog.note import ED25519, Signature, VerifierKey, sign

_PREFIX = "PRIVATE+KEY"
SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key under the log's origin; `until` is set once another has taken its place."""

    name: str
    private: Ed25519PrivateKey
    until: datetime | None = None

    @classmethod
    def new(cls, name: str) -> SigningKey:
        """Make a key."""
        return cls(name, Ed25519PrivateKey.generate())

    @property
    def verifier(self) -> VerifierKey:
        """Return the public half."""
        return VerifierKey.of(self.name, self.private)

    @property
    def vkey(self) -> str:
        """Return the public half as people hand it on."""
        return self.verifier.encode()

    def sign(self, text: str) -> Signature:
        """Sign the text of a note."""
        return sign(text, self.name, self.private)

    def keep(self, path: Path) -> None:
        """Write the key to a file."""
        verifier = self.verifier
        material = base64.b64encode(bytes([ED25519]) + self.private.private_bytes_raw()).decode()
        until = f"{self.until.isoformat()}\n" if self.until else ""
        files.write(path, f"{_PREFIX}+{self.name}+{verifier.key_id.hex()}+{material}\n{until}")


def read_key(path: Path) -> SigningKey | None:
    """Return the key of a file; None when there is none. Raises MISCONFIGURED when it holds something else."""
    text = files.read(path)
    if text is None:
        return None
    try:
        line, *rest = text.splitlines()
        name, said, material = line.removeprefix(f"{_PREFIX}+").split("+", 2)
        decoded = base64.b64decode(material, validate=True)
        if not line.startswith(_PREFIX) or decoded[:1] != bytes([ED25519]) or len(decoded) != SEED_BYTES + 1:
            raise ValueError("no Ed25519 key")  # noqa: TRY301  # said below, like everything else that it may hold
        until = datetime.fromisoformat(rest[0]) if rest else None
        key = SigningKey(name, Ed25519PrivateKey.from_private_bytes(decoded[1:]), until)
        if key.verifier.key_id.hex() != said:
            raise ValueError("another key id")  # noqa: TRY301
    except (ValueError, binascii.Error, ProofError) as error:
        message = f"{path} does not hold a signing key: {error}."
        raise refuse(Code.MISCONFIGURED, message, "Put the file back from your copy of it.") from None
    return key
