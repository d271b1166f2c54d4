"""The leaves of the transparency log that are no timeline entries, and those of the head tree.

All are RFC 8785 JSON, written once. The heads' are written by the thousand, so they are formatted: their keys stand in
order and nothing in them needs to be escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import rfc8785

LEAF_VERSION = 1


class LeafKind(StrEnum):
    """What a leaf of the system's own says."""

    HEADS = "log_heads"
    KEY = "log_key"
    ERASURE = "log_erasure"


@dataclass(frozen=True, slots=True)
class Heads:
    """A commitment to the head tree: its root (32 bytes), and how many incidents it holds."""

    root: bytes
    incidents: int

    def encode(self) -> bytes:
        """Return the bytes of the leaf."""
        return rfc8785.dumps(
            {"record": LeafKind.HEADS, "v": LEAF_VERSION, "root": self.root.hex(), "size": self.incidents}
        )

    @classmethod
    def parse(cls, leaf: bytes) -> Heads:
        """Read a leaf; raises ValueError when it is none of this kind."""
        said = _read(leaf, LeafKind.HEADS)
        root, size = said.get("root"), said.get("size")
        if isinstance(root, str) and isinstance(size, int):
            return cls(bytes.fromhex(root), size)
        raise ValueError("a log_heads leaf names a root and a size")


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A signing key that begins to sign, as a vkey; the one before it (None: the first), and why."""

    new: str
    old: str | None
    reason: str

    def encode(self) -> bytes:
        """Return the bytes of the leaf."""
        return rfc8785.dumps(
            {"record": LeafKind.KEY, "v": LEAF_VERSION, "new": self.new, "old": self.old, "reason": self.reason}
        )

    @classmethod
    def parse(cls, leaf: bytes) -> KeyChange:
        """Read a leaf; raises ValueError when it is none of this kind."""
        said = _read(leaf, LeafKind.KEY)
        new, old, reason = said.get("new"), said.get("old"), said.get("reason")
        if isinstance(new, str) and isinstance(reason, str) and isinstance(old, str | None):
            return cls(new, old, reason)
        raise ValueError("a log_key leaf names a new key, an old one or null, and a reason")


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased that belongs to no incident: who asked (user id and role), when (as text), and the account."""

    actor_user_id: str
    actor_role: str
    at: str
    account: Mapping[str, object]

    def encode(self) -> bytes:
        """Return the bytes of the leaf."""
        said = {"actor_user_id": self.actor_user_id, "actor_role": self.actor_role, "at": self.at}
        document = {**self.account, **said, "record": LeafKind.ERASURE, "v": LEAF_VERSION}
        return rfc8785.dumps(document)  # type: ignore[arg-type]  # an account holds texts, lists and null


def _read(leaf: bytes, kind: LeafKind) -> dict[str, object]:
    try:
        said = json.loads(leaf)
    except RecursionError:
        raise ValueError(f"this is not a {kind} leaf: it is nested too deeply") from None
    if not isinstance(said, dict) or said.get("record") != kind or said.get("v") != LEAF_VERSION:
        raise ValueError(f"this is not a {kind} leaf")
    return said


def head_leaf(number: int, incident_id: str, sequence: int, checksum: str) -> bytes:
    """Return an incident's leaf in the head tree: its newest entry, by sequence and checksum (hex)."""
    return (
        f'{{"checksum":"{checksum}","incident_id":"{incident_id}","number":{number},'
        f'"record":"incident_head","sequence":{sequence},"v":{LEAF_VERSION}}}'
    ).encode()
