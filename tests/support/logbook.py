"""A transparency log in memory, with real keys, witnesses and proofs: bundles of it for the verifier's tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.clock import START
from tocsin.domain.sealing import Sealed, seal
from tocsin.evidence.bundle import Anchor, Bundle, Detail, HeadLeaf, LoggedLeaf, Vouched
from tocsin.tlog import cosignature, merkle, note, sparse
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import COSIGNATURE, Note, VerifierKey

ORIGIN = "tocsin.example.org/log"
ACTOR = UUID(int=7)


@dataclass
class Incident:
    """The records of one incident."""

    number: int
    entries: list[Sealed] = field(default_factory=list)
    details: list[Sealed] = field(default_factory=list)
    salts: int = 0

    @property
    def id(self) -> UUID:
        return UUID(int=self.number)

    def salt(self) -> bytes:
        """Return the next salt: always the same ones, never the same twice."""
        self.salts += 1
        return hashlib.sha256(f"{self.number} {self.salts}".encode()).digest()[:16]

    def detail(self, table: str, **columns: object) -> bytes:
        own = {"id": self.id, "number": self.number} if table == "incidents" else {"incident_id": self.id}
        sealed = seal(table, own | columns, self.salt)
        self.details.append(sealed)
        return sealed.checksum

    def entry(
        self, kind: str, before: str | None, after: str, detail: bytes | None = None, **overrides: object
    ) -> Sealed:
        place = len(self.entries)
        columns: dict[str, object] = {
            "id": UUID(int=self.number * 1_000 + place),
            "incident_id": self.id,
            "sequence": place + 1,
            "previous_checksum": self.entries[-1].checksum if self.entries else None,
            "event_type": kind,
            "status_before": before,
            "status_after": after,
            "actor_user_id": ACTOR,
            "actor_role": "responder",
            "detail_checksum": detail,
            "metadata": {},
            "event_at": START + timedelta(minutes=place),
            "nonce": bytes(16),
        }
        sealed = seal("incident_lifecycle", columns | overrides, self.salt)
        self.entries.append(sealed)
        return sealed

    def erase(self, status: str, row: Sealed, *columns: str) -> Sealed:
        """Write the entry that erases these texts of a row. Its disclosures stay for the test to take out."""
        table = "incident_lifecycle" if row in self.entries else str(json.loads(row.canonical)["record"])
        named = {"table": table, "checksum": row.checksum.hex(), "columns": list(columns)}
        account = {"erased": [named], "reason": "Request of the person", "request": None}
        return self.entry("PERSONAL_DATA_ERASED", status, status, metadata=account)


def closed_incident(number: int, notes: int = 0) -> Incident:
    """Return an incident that went all the way, with some notes in between."""
    made = Incident(number)
    opened = made.detail("incidents", title="It broke — at 3 o’clock", created_by_user_id=ACTOR, severity="HIGH")
    made.entry("REPORTED", None, "REPORTED", opened)
    taken = made.detail("incident_acknowledgments", ack_by_user_id=ACTOR, ack_notes="On it\nand no other")
    made.entry("ACKNOWLEDGED", "REPORTED", "ACKNOWLEDGED", taken, personal={"notes": "On it\nand no other"})
    made.entry("INVESTIGATION_STARTED", "ACKNOWLEDGED", "INVESTIGATING")
    for place in range(notes):
        made.entry("NOTE_ADDED", "INVESTIGATING", "INVESTIGATING", personal={"text": f"Note {place}"})
    cause = made.detail("incident_root_causes", identified_by_user_id=ACTOR, root_cause_summary="Too small a pool")
    made.entry("ROOT_CAUSE_RECORDED", "INVESTIGATING", "INVESTIGATING", cause)
    resolved = made.detail("incident_resolution", resolved_by_user_id=ACTOR, resolution_summary="Larger now")
    made.entry("RESOLVED", "INVESTIGATING", "RESOLVED", resolved)
    closed = made.detail(
        "incident_closures", closed_by_user_id=ACTOR, lessons_learned="Watch it", follow_up_actions=[{"title": "Do"}]
    )
    made.entry("CLOSED", "RESOLVED", "CLOSED", closed)
    return made


@dataclass
class Logbook:
    """The log: leaves, head tree, checkpoints. Sealing makes a batch as the product's sealer does."""

    origin: str = ORIGIN
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    leaves: list[bytes] = field(default_factory=list)
    groups: dict[sparse.Group, bytes] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    heads_of: dict[int, dict[sparse.Group, bytes]] = field(default_factory=dict)
    places: dict[bytes, int] = field(default_factory=dict)

    @property
    def vkey(self) -> str:
        return VerifierKey.of(self.origin, self.key).encode()

    def seal(self, *parts: tuple[Incident, int]) -> int:
        """Seal each incident up to so many of its entries and sign a checkpoint; return the size of the log."""
        newest: dict[int, bytes] = {}
        for incident, upto in parts:
            for entry in incident.entries[:upto]:
                if entry.canonical not in self.places:
                    self.places[entry.canonical] = len(self.leaves)
                    self.leaves.append(entry.canonical)
            newest[incident.number] = merkle.leaf_hash(head_leaf(incident, upto))
        change = sparse.update(self.groups, newest)
        self.groups |= change.groups
        heads = {"record": "log_heads", "v": 1, "root": change.root.hex(), "size": len(newest)}
        self.leaves.append(rfc8785.dumps(heads))  # type: ignore[arg-type]  # plain JSON
        size = len(self.leaves)
        self.heads_of[size] = dict(self.groups)
        self.notes[size] = self.signed(size)
        return size

    def hashes(self, size: int) -> merkle.Hashes:
        nodes = {(level, index): value for level, index, value in self._growth(size).nodes()}
        return lambda level, index: nodes[level, index]

    def _growth(self, size: int) -> merkle.Growth:
        return merkle.append(0, (), [merkle.leaf_hash(leaf) for leaf in self.leaves[:size]])

    def signed(self, size: int, *keys: Ed25519PrivateKey) -> str:
        text = Checkpoint(self.origin, size, self._growth(size).root).encode()
        return Note(text, tuple(note.sign(text, self.origin, key) for key in keys or (self.key,))).encode()

    def leaf(self, index: int, size: int) -> LoggedLeaf:
        return LoggedLeaf(index, tuple(merkle.inclusion_proof(index, size, self.hashes(size))), self.leaves[index])

    def bundle(self, incident: Incident, size: int, upto: int | None = None) -> Bundle:
        """Return the evidence of an incident at a checkpoint."""
        upto = len(incident.entries) if upto is None else upto
        named = {entry.columns["detail_checksum"] for entry in incident.entries[:upto]}
        proof = sparse.prove(incident.number, self.heads_of[size])
        return Bundle(
            origin=self.origin,
            keys=(self.vkey,),
            incident_id=str(incident.id),
            number=incident.number,
            entries=tuple(
                replace(self.leaf(self.places[entry.canonical], size), disclosures=entry.disclosures)
                for entry in incident.entries[:upto]
            ),
            details=tuple(
                Detail(detail.canonical, detail.disclosures) for detail in incident.details if detail.checksum in named
            ),
            heads=self.leaf(size - 1, size),
            head=HeadLeaf(head_leaf(incident, upto), tuple(proof)),
            checkpoint=Vouched(self.notes[size]),
        )

    def anchor(self, size: int, other: int, *cosignatures: str, timestamps: Sequence[bytes] = ()) -> Anchor:
        """Return a checkpoint as an anchor of another one."""
        low, high = sorted((size, other))
        proof = tuple(merkle.consistency_proof(low, high, self.hashes(high)))
        return Anchor(Vouched(self.notes[size], cosignatures, tuple(timestamps)), proof)


def head_leaf(incident: Incident, upto: int) -> bytes:
    """Return the incident's leaf in the head tree after so many entries."""
    leaf: dict[str, Any] = {
        "record": "incident_head",
        "v": 1,
        "incident_id": str(incident.id),
        "number": incident.number,
        "sequence": upto,
        "checksum": incident.entries[upto - 1].checksum.hex(),
    }
    return rfc8785.dumps(leaf)


@dataclass
class Witness:
    """Somebody who cosigns."""

    name: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def vkey(self) -> str:
        return VerifierKey.of(self.name, self.key, COSIGNATURE).encode()

    def cosign(self, signed: str, at: datetime = START) -> str:
        text = Note.parse(signed).text
        return cosignature.sign(text, self.name, self.key, int(at.astimezone(UTC).timestamp())).encode()


def vouched(bundle: Bundle, *cosignatures: str, timestamps: Sequence[bytes] = ()) -> Bundle:
    """Return the bundle with its checkpoint vouched for."""
    return replace(bundle, checkpoint=Vouched(bundle.checkpoint.note, cosignatures, tuple(timestamps)))


def policy_text(log: Logbook, *witnesses: Witness, quorum: int = 0, more: str = "") -> bytes:
    """Return a policy that trusts the log, and asks for so many of the witnesses."""
    lines = [f"log {log.vkey}", *(f"witness w{place} {one.vkey}" for place, one in enumerate(witnesses))]
    members = " ".join(f"w{place}" for place in range(len(witnesses)))
    lines += [f"group all-of-them {quorum} {members}", "quorum all-of-them"] if quorum else ["quorum none"]
    return "\n".join([*lines, more, ""]).encode()
