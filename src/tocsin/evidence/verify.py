"""Verifies a bundle against a policy.

What does not hold together raises EvidenceError: then the file proves nothing, whoever is trusted. What holds together
is *proven* only as far as the policy's own keys, witnesses and authorities vouch for it: a proof that leads to a
checkpoint which nobody trusted has signed is arithmetic, no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tocsin.evidence import EvidenceError
from tocsin.evidence.bundle import Anchor, Bundle, LoggedLeaf, Vouched
from tocsin.evidence.chain import UntrustedError
from tocsin.evidence.policy import Policy
from tocsin.evidence.timeline import Timeline, canonical, check_timeline
from tocsin.evidence.timestamp import Stamp, verify_token
from tocsin.evidence.verdict import Judgement, Report, Statement
from tocsin.tlog import ProofError, cosignature, merkle, sparse
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import ED25519, Note, Signature, VerifierKey


def verify(bundle: Bundle, policy: Policy | None = None) -> Report:
    """Verify a bundle under a policy; without one nothing is proven.

    Raises EvidenceError if the bundle does not hold together.
    """
    trusted = policy or Policy()
    try:
        timeline = check_timeline(bundle.incident_id, bundle.number, bundle.entries, bundle.details)
        keys = _claimed(bundle)
        main = _statement("the checkpoint", bundle.checkpoint, bundle.origin, keys, trusted)
        _check_inclusion(bundle, main.checkpoint)
        complete = _check_completeness(bundle, timeline, main.checkpoint)
        anchors = [_anchor(place, one, bundle, main, keys, trusted) for place, one in enumerate(bundle.anchors, 1)]
    except ProofError as error:
        raise EvidenceError(str(error)) from None
    return Judgement(bundle, policy, trusted, timeline, main, anchors, complete).report()


def _claimed(bundle: Bundle) -> list[VerifierKey]:
    """Return the keys that the bundle says are the log's: each must have signed something in it."""
    keys = [VerifierKey.parse(text) for text in bundle.keys]
    for key in keys:
        if key.name != bundle.origin or key.algorithm != ED25519:
            raise EvidenceError(f"the key of {key.name} is not one of the log {bundle.origin}")
    notes = [Note.parse(one.note) for one in (bundle.checkpoint, *(anchor.vouched for anchor in bundle.anchors))]
    used = {signature.key_id for note in notes for signature in note.signatures}
    if not keys or any(key.key_id not in used for key in keys):
        raise EvidenceError("the bundle names no key, or one that has signed nothing in it")
    return keys


def _statement(what: str, vouched: Vouched, origin: str, keys: Sequence[VerifierKey], policy: Policy) -> Statement:
    try:
        note = Note.parse(vouched.note)
        checkpoint = Checkpoint.parse(note.text)
        signers = [_signer(note, line, keys) for line in note.signatures]
        cosigned = [_cosigned(note, text, policy) for text in vouched.cosignatures]
        stamps = [_stamped(token, vouched.note, policy) for token in vouched.timestamps]
    except (EvidenceError, ProofError) as error:
        raise EvidenceError(f"{what}: {error}") from None
    if checkpoint.origin != origin:
        raise EvidenceError(f"{what} is of another log: {checkpoint.origin[:100]!r}")
    known = dict(one for one in cosigned if one)
    return Statement(
        checkpoint,
        tuple(key for key in policy.logs if key in signers),
        known,
        tuple(stamp for stamp in stamps if stamp),
        cosigned.count(None) + stamps.count(None),
    )


def _signer(note: Note, line: Signature, keys: Sequence[VerifierKey]) -> VerifierKey:
    """Return which of the log's keys made a signature: on the log's own note nobody else's belongs."""
    for key in keys:
        if (line.name, line.key_id) == (key.name, key.key_id):
            key.check(note.text.encode("utf-8"), line.signature)
            return key
    raise EvidenceError(f"a signature by {line.name}, of which the bundle names no key")


def _cosigned(note: Note, line: str, policy: Policy) -> tuple[str, datetime] | None:
    """Return the name and time of a witness of the policy; None for one that it does not name. Refuses false ones."""
    signature = Signature.parse(line.removesuffix("\n"))
    for name, key in policy.witnesses.items():
        if (signature.name, signature.key_id) == (key.name, key.key_id):
            return name, _instant_of(cosignature.verify(Note(note.text, (signature,)), key))
    return None


def _stamped(token: bytes, note: str, policy: Policy) -> Stamp | None:
    """Return the stamp of an authority of the policy; None for one that it does not name. Refuses false ones."""
    try:
        return verify_token(token, note.encode("utf-8"), list(policy.authorities.values()))
    except UntrustedError:
        return None


def _check_inclusion(bundle: Bundle, checkpoint: Checkpoint) -> None:
    before = -1
    for place, leaf in enumerate(bundle.entries, 1):
        if leaf.index <= before:
            raise EvidenceError(f"entry {place}: it stands in the log before the entry that it continues")
        _include(f"entry {place}", leaf, checkpoint)
        before = leaf.index


def _include(what: str, leaf: LoggedLeaf, checkpoint: Checkpoint) -> None:
    try:
        hashed = merkle.leaf_hash(leaf.data)
        merkle.verify_inclusion(leaf.index, checkpoint.size, hashed, leaf.proof, checkpoint.root)
    except ProofError as error:
        raise EvidenceError(f"{what} is not in the log: {error}") from None


def _check_completeness(bundle: Bundle, timeline: Timeline, checkpoint: Checkpoint) -> bool:
    """Tell whether the bundle proves that the incident has no further entry; a false proof is refused."""
    heads, head = bundle.heads, bundle.head
    if heads is None and head is None:
        return False
    if heads is None or head is None:
        raise EvidenceError("half of the proof of completeness is missing")
    _include("the commitment to the newest entries", heads, checkpoint)
    if heads.index != checkpoint.size - 1:
        raise EvidenceError(
            "the commitment to the newest entries is not the checkpoint's last: later ones are left out"
        )
    said = canonical(heads.data, "the commitment to the newest entries")
    leaf = canonical(head.data, "the incident's newest entry")
    root = said.get("root")
    if (said.get("record"), said.get("v")) != ("log_heads", 1) or not isinstance(root, str) or len(root) != 64:
        raise EvidenceError("the last leaf of the checkpoint does not commit to the newest entries")
    wanted = {
        "record": "incident_head",
        "v": 1,
        "number": timeline.number,
        "incident_id": timeline.incident_id,
        "sequence": len(timeline.entries),
        "checksum": timeline.last.checksum.hex(),
    }
    if leaf != wanted:
        raise EvidenceError(f"the log commits to {_newest(leaf)}, the bundle has {_newest(wanted)}")
    try:
        sparse.verify_position(timeline.number, merkle.leaf_hash(head.data), head.proof, _hash(root))
    except ProofError as error:
        raise EvidenceError(f"the incident's newest entry: {error}") from None
    return True


def _newest(leaf: dict[str, object]) -> str:
    return f"entry {str(leaf.get('sequence'))[:20]} of incident {str(leaf.get('number'))[:20]} as the newest one"


def _hash(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise EvidenceError("the root of the newest entries is not a hash") from None


def _anchor(
    place: int, anchor: Anchor, bundle: Bundle, main: Statement, keys: Sequence[VerifierKey], policy: Policy
) -> Statement:
    what = f"anchor {place}"
    statement = _statement(what, anchor.vouched, bundle.origin, keys, policy)
    older, newer = sorted((statement.checkpoint, main.checkpoint), key=lambda checkpoint: checkpoint.size)
    if older.size == 0:
        raise EvidenceError(f"{what}: an empty log is continued by every other one")
    try:
        merkle.verify_consistency(older.size, newer.size, anchor.consistency, older.root, newer.root)
    except ProofError as error:
        raise EvidenceError(
            f"{what}: the log was forked or cut between {older.size} and {newer.size}: {error}"
        ) from None
    return statement


def _instant_of(seconds: int) -> datetime:
    """Return a Unix time as an instant in UTC. Raises EvidenceError for one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise EvidenceError(f"{seconds} is not a time") from None
