"""What a bundle proves under a policy, and what it does not; and that whoever forges one is found out."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.authority import Authority
from tests.support.clock import START
from tests.support.logbook import Incident, Logbook, Witness, closed_incident, policy_text, vouched
from tocsin.evidence import EvidenceError
from tocsin.evidence.bundle import Bundle, HeadLeaf, Vouched, encode, parse_bundle
from tocsin.evidence.policy import Policy, parse_policy
from tocsin.evidence.timestamp import request, token_of
from tocsin.evidence.verdict import NEVER, Report
from tocsin.evidence.verify import verify
from tocsin.tlog import merkle


@dataclass(frozen=True, slots=True)
class Case:
    """A log of two incidents, the checkpoint at which the first is complete, and two witnesses."""

    log: Logbook
    incident: Incident
    other: Incident
    size: int
    witnesses: tuple[Witness, Witness]

    @property
    def bundle(self) -> Bundle:
        """Return the evidence of the first incident, cosigned by both witnesses."""
        return self.vouched(self.log.bundle(self.incident, self.size))

    def vouched(self, bundle: Bundle) -> Bundle:
        at = START + timedelta(minutes=10)
        return vouched(bundle, *(one.cosign(bundle.checkpoint.note, at) for one in self.witnesses))

    def policy(self, quorum: int = 2, more: str = "") -> bytes:
        return policy_text(self.log, *self.witnesses, quorum=quorum, more=more)


@pytest.fixture(scope="module")
def case() -> Case:
    log, incident, other = Logbook(), closed_incident(42, notes=3), closed_incident(41)
    log.seal((other, 3))
    log.seal((incident, 4), (other, 6))
    size = log.seal((incident, len(incident.entries)))
    return Case(log, incident, other, size, (Witness("witness.example/one"), Witness("witness.example/two")))


def judged(bundle: Bundle, policy: bytes | None) -> Report:
    """Verify the bundle as the file that it is."""
    return verify(parse_bundle(encode(bundle)), parse_policy(policy) if policy is not None else None)


def stamped(authority: Authority, note: str) -> bytes:
    return token_of(authority.reply(request(note.encode(), 1)))


def authority_line(authority: Authority) -> str:
    return f"authority tsa {base64.b64encode(authority.root.public_bytes(Encoding.DER)).decode()}"


# What is proven


def test_what_the_policys_log_and_witnesses_vouch_for_is_proven(case: Case) -> None:
    report = judged(case.bundle, case.policy())
    assert report.proven
    assert report.headline == (
        f"PROVEN: INC-42 has exactly 9 entries at checkpoint {case.size} of tocsin.example.org/log, "
        "and they are what was recorded."
    )
    said = "\n".join(report.shown)
    assert "from REPORTED to CLOSED" in said
    assert "w0, w1 saw checkpoint" in said
    assert report.never == NEVER
    assert "stamp" in report.missing[0]


def test_without_a_policy_nothing_is_proven(case: Case) -> None:
    report = judged(case.bundle, None)
    assert not report.proven
    assert report.headline.startswith("NOT PROVEN: the file holds together, but no policy says whom to trust")
    assert not any("Against" in line for line in report.shown)


def test_a_policy_that_trusts_nobody_proves_nothing(case: Case) -> None:
    report = judged(case.bundle, b"quorum none\n")
    assert not report.proven
    assert "trusts no log" in report.headline


def test_a_log_that_the_policy_does_not_name_proves_nothing(case: Case) -> None:
    report = judged(case.bundle, policy_text(Logbook()))
    assert not report.proven
    assert "No log that the policy trusts" in report.missing[0]


def test_too_few_witnesses_prove_nothing(case: Case) -> None:
    bundle = case.log.bundle(case.incident, case.size)
    one = vouched(bundle, case.witnesses[0].cosign(bundle.checkpoint.note))
    assert judged(one, case.policy(quorum=1)).proven
    assert not judged(one, case.policy(quorum=2)).proven
    twice = vouched(bundle, *[case.witnesses[0].cosign(bundle.checkpoint.note)] * 2)
    assert not judged(twice, case.policy(quorum=2)).proven, "one witness twice is one witness"


def test_a_witness_that_the_policy_does_not_name_counts_for_nothing(case: Case) -> None:
    bundle = case.log.bundle(case.incident, case.size)
    stranger = vouched(bundle, Witness("witness.example/one").cosign(bundle.checkpoint.note))
    report = judged(stranger, case.policy(quorum=1))
    assert not report.proven
    assert "1 cosignatures or time stamps are by nobody that the policy names" in report.missing[-1]


def test_without_a_proof_of_completeness_it_is_not_proven_that_nothing_is_missing(case: Case) -> None:
    report = judged(replace(case.bundle, heads=None, head=None), case.policy())
    assert not report.proven
    assert "no further entries" in report.missing[0]
    with pytest.raises(EvidenceError, match="half of the proof"):
        judged(replace(case.bundle, heads=None), case.policy())


def test_witnesses_of_a_later_checkpoint_vouch_for_this_one(case: Case) -> None:
    log = case.log
    plain = log.bundle(case.incident, case.size)
    later = log.seal((closed_incident(43), 2))
    cosigned = [one.cosign(log.notes[later]) for one in case.witnesses]
    assert judged(replace(plain, anchors=(log.anchor(later, case.size, *cosigned),)), case.policy()).proven
    earlier = min(log.notes)
    before = [one.cosign(log.notes[earlier]) for one in case.witnesses]
    old = replace(plain, anchors=(log.anchor(earlier, case.size, *before),))
    assert not judged(old, case.policy()).proven, "what they saw before says nothing of what came later"


def test_a_time_stamp_counts_when_its_authority_is_named(case: Case, authority: Authority) -> None:
    bundle = vouched(
        case.bundle, *case.bundle.checkpoint.cosignatures, timestamps=[stamped(authority, case.bundle.checkpoint.note)]
    )
    required = case.policy(more=f"{authority_line(authority)}\ntimestamp required")
    report = judged(bundle, required)
    assert report.proven
    assert report.missing == ()
    assert any("CN=Test Time Stamps (below CN=Test Root) stamped" in line for line in report.shown)
    assert not judged(case.bundle, required).proven
    assert not judged(bundle, case.policy(more="timestamp required")).proven, "an authority that nobody named"


def test_every_entry_is_vouched_for_within_the_policys_delay(case: Case) -> None:
    assert judged(case.bundle, case.policy(more="delay 3600")).proven
    late = judged(case.bundle, case.policy(more="delay 300"))
    assert not late.proven
    assert "Entry 1 is vouched for only 10 min after" in late.missing[0]
    alone = judged(case.log.bundle(case.incident, case.size), case.policy(quorum=0, more="delay 300"))
    assert "Nobody else vouches for entry 1" in alone.missing[0]


def test_an_anchor_shows_that_an_entry_existed_earlier(case: Case) -> None:
    log, size = Logbook(), 0
    incident = closed_incident(7)
    early = log.seal((incident, 3))
    size = log.seal((incident, 6))
    at = START + timedelta(minutes=3)
    anchor = log.anchor(early, size, *(one.cosign(log.notes[early], at) for one in case.witnesses))
    bundle = case.vouched(log.bundle(incident, size))
    policy = policy_text(log, *case.witnesses, quorum=2, more="delay 480")
    assert not judged(bundle, policy).proven
    assert judged(replace(bundle, anchors=(anchor,)), policy).proven


# Attacks


def test_no_changed_byte_goes_unnoticed(case: Case, authority: Authority) -> None:
    """No byte of the file, but for another way to write the same JSON. All of them take 20 s: here every seventh."""
    bundle = vouched(
        case.bundle, *case.bundle.checkpoint.cosignatures, timestamps=[stamped(authority, case.bundle.checkpoint.note)]
    )
    policy = parse_policy(case.policy(more=f"{authority_line(authority)}\ntimestamp required"))
    data = encode(bundle)
    assert verify(parse_bundle(data), policy).proven
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
        assert _is_the_same_or_unproven(changed, bundle, policy), place


def _is_the_same_or_unproven(data: bytes, bundle: Bundle | None, policy: Policy) -> bool:
    """Tell whether a file says the same as the bundle, proves nothing, or is refused in one line."""
    try:
        parsed = parse_bundle(data)
        return parsed == bundle or not verify(parsed, policy).proven
    except EvidenceError as error:
        return "\n" not in str(error)


def test_a_changed_text_is_found(case: Case) -> None:
    entry = case.bundle.entries[1]
    said = json.loads(entry.data)
    forged = replace(entry, data=rfc8785.dumps(said | {"event_at": "2026-03-01T02:00:00.000000Z"}))
    with pytest.raises(EvidenceError, match="entry 3: it does not continue the entry before it"):
        judged(replace(case.bundle, entries=(case.bundle.entries[0], forged, *case.bundle.entries[2:])), case.policy())
    details = list(case.bundle.details)
    details[1] = replace(details[1], data=details[1].data.replace(b'"v":1', b'"v":1,"w":1'))
    with pytest.raises(EvidenceError, match=r"entry 2 \(ACKNOWLEDGED\): the detail that it names"):
        judged(replace(case.bundle, details=tuple(details)), case.policy())


def test_a_missing_entry_is_found(case: Case) -> None:
    for gone in range(len(case.bundle.entries)):
        entries = case.bundle.entries[:gone] + case.bundle.entries[gone + 1 :]
        with pytest.raises(EvidenceError):
            judged(replace(case.bundle, entries=entries), case.policy())


@pytest.mark.parametrize("left", [1, 4, 8])
def test_a_missing_tail_is_found_by_the_heads(case: Case, left: int) -> None:
    with pytest.raises(
        EvidenceError, match=f"commits to entry 9 of incident 42 as the newest one, the bundle has entry {left}"
    ):
        judged(_short(case, left, case.size), case.policy())


def _short(case: Case, left: int, size: int) -> Bundle:
    """Return the evidence without its last entries, which claims the commitment of the whole."""
    whole = case.log.bundle(case.incident, size)
    return case.vouched(replace(case.log.bundle(case.incident, size, left), head=whole.head))


def test_a_missing_tail_with_an_invented_head_is_found(case: Case) -> None:
    with pytest.raises(EvidenceError, match="another root than that of the head tree"):
        judged(case.vouched(case.log.bundle(case.incident, case.size, 4)), case.policy())


def test_a_missing_tail_with_an_older_commitment_is_found(case: Case) -> None:
    """The log did commit to four entries once. But not last."""
    older = sorted(case.log.notes)[1]
    old = case.log.bundle(case.incident, older, 4)
    assert judged(case.vouched(old), case.policy()).proven, "that was so at the older checkpoint"
    heads = case.log.leaf(older - 1, case.size)
    entries = tuple(case.log.leaf(entry.index, case.size) for entry in old.entries)
    forged = replace(old, entries=entries, heads=heads, checkpoint=case.bundle.checkpoint)
    with pytest.raises(EvidenceError, match="not the checkpoint's last"):
        judged(forged, case.policy())


def test_swapped_entries_are_found(case: Case) -> None:
    entries = list(case.bundle.entries)
    entries[4], entries[5] = entries[5], entries[4]
    with pytest.raises(EvidenceError, match="entry 5: it says that it is number 6"):
        judged(replace(case.bundle, entries=tuple(entries)), case.policy())


def test_another_incidents_proofs_are_found(case: Case) -> None:
    other = case.log.bundle(case.other, case.size)
    with pytest.raises(EvidenceError, match="entry 1: it belongs to another incident"):
        judged(replace(case.bundle, entries=other.entries), case.policy())
    with pytest.raises(EvidenceError, match="commits to entry 6 of incident 41"):
        judged(replace(case.bundle, head=other.head), case.policy())
    mixed = tuple(
        replace(mine, proof=theirs.proof) for mine, theirs in zip(case.bundle.entries[:6], other.entries, strict=True)
    )
    with pytest.raises(EvidenceError, match="is not in the log"):
        judged(replace(case.bundle, entries=(*mixed, *case.bundle.entries[6:])), case.policy())
    with pytest.raises(EvidenceError, match="another number"):
        judged(replace(case.bundle, number=41), case.policy())


def test_another_logs_checkpoint_is_found(case: Case) -> None:
    other = Logbook(origin="elsewhere.example.org/log")
    size = other.seal((closed_incident(42, notes=3), 9))
    with pytest.raises(EvidenceError):
        judged(replace(case.bundle, checkpoint=Vouched(other.notes[size])), case.policy())
    foreign = other.bundle(closed_incident(42, notes=3), size)
    assert not judged(foreign, case.policy()).proven
    borrowed = replace(foreign, checkpoint=case.bundle.checkpoint, keys=case.bundle.keys, origin=case.bundle.origin)
    with pytest.raises(EvidenceError, match="is not in the log"):
        judged(borrowed, case.policy())


def test_a_checkpoint_without_the_logs_signature_is_found(case: Case) -> None:
    thief = Ed25519PrivateKey.generate()
    forged = replace(case.bundle.checkpoint, note=case.log.signed(case.size, thief))
    with pytest.raises(EvidenceError, match="names no key"):
        judged(replace(case.bundle, checkpoint=forged), case.policy())


def test_a_rollback_is_found_where_somebody_saw_more(case: Case) -> None:
    """An older backup was restored and went another way: it does not continue what the witnesses saw."""
    rolled_back = Logbook(key=case.log.key)
    other, shorter = closed_incident(41), closed_incident(42, notes=1)
    rolled_back.seal((other, 3))
    size = rolled_back.seal((shorter, len(shorter.entries)))
    seen = case.log.notes[sorted(case.log.notes)[1]]
    proof = tuple(merkle.consistency_proof(size - 1, size, rolled_back.hashes(size)))
    bundle = rolled_back.bundle(shorter, size)
    anchor = replace(case.log.anchor(sorted(case.log.notes)[1], case.size), consistency=proof)
    assert anchor.vouched.note == seen
    with pytest.raises(EvidenceError, match="the log was forked or cut"):
        judged(replace(bundle, anchors=(anchor,)), case.policy())


def test_a_log_signed_anew_with_the_stolen_key_has_no_witness(case: Case) -> None:
    """The thief has the key and everything in the database. He does not have the witnesses' keys."""
    forged = _written_anew(case)
    report = judged(forged, case.policy())
    assert not report.proven
    assert "witnesses" in report.missing[0]
    with pytest.raises(EvidenceError, match="signature"):
        judged(replace(forged, checkpoint=replace(case.bundle.checkpoint, note=forged.checkpoint.note)), case.policy())
    assert judged(forged, case.policy(quorum=0)).proven, (
        "the key alone cannot tell them apart: that is what witnesses are for"
    )


def test_a_log_signed_anew_with_the_stolen_key_is_stamped_too_late(case: Case, authority: Authority) -> None:
    """Anybody gets a time stamp, the thief as well; but only of today, for entries that claim to be old."""
    forged = _written_anew(case)
    token = stamped(authority, forged.checkpoint.note)
    bundle = replace(forged, checkpoint=Vouched(forged.checkpoint.note, timestamps=(token,)))
    policy = case.policy(quorum=0, more=f"{authority_line(authority)}\ntimestamp required\ndelay 3600")
    report = judged(bundle, policy)
    assert not report.proven
    assert "Entry 1 is vouched for only" in report.missing[0]
    assert "written anew" in report.missing[0]


def _written_anew(case: Case) -> Bundle:
    log, incident = Logbook(key=case.log.key), closed_incident(42, notes=2)
    return log.bundle(incident, log.seal((incident, len(incident.entries))))


def test_steps_out_of_order_are_found_however_well_they_are_signed() -> None:
    def evidence(incident: Incident) -> tuple[Bundle, bytes]:
        log = Logbook()
        return log.bundle(incident, log.seal((incident, len(incident.entries)))), policy_text(log)

    def opened() -> Incident:
        incident = Incident(1)
        incident.entry(
            "REPORTED", None, "REPORTED", incident.detail("incidents", created_by_user_id=closed_incident(1).id)
        )
        return incident

    made = Incident(1)
    made.entry("REPORTED", None, "REPORTED", made.detail("incidents"), actor_user_id=None)
    bundle, policy = evidence(made)
    assert judged(bundle, policy).proven
    made.entry("RESOLVED", "REPORTED", "RESOLVED", made.detail("incident_resolution"))
    with pytest.raises(EvidenceError, match="entry 2: 'RESOLVED' is a step out of order"):
        judged(*evidence(made))
    with pytest.raises(EvidenceError, match="of another person"):
        judged(*evidence(opened()))
    whole = closed_incident(1)
    whole.entries.pop(3)
    late = Incident(1, whole.entries[:3], whole.details)
    late.entry("RESOLVED", "INVESTIGATING", "RESOLVED", late.details[3].checksum)
    with pytest.raises(EvidenceError, match="RESOLVED without a root cause"):
        judged(*evidence(late))


def test_a_head_of_nobody_is_found(case: Case) -> None:
    with pytest.raises(EvidenceError, match="head tree has 32 hashes"):
        judged(replace(case.bundle, head=HeadLeaf(case.bundle.head.data, ())), case.policy())  # type: ignore[union-attr]


# What is no bundle


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format":"tocsin-evidence/v1"}',
        b'{"format":"tocsin-evidence/v2"}',
        b"[" * 100_000,
        b'{"format":' * 100_000,
        b'{"a":1e400}',
        b'{"a":NaN}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"format":"tocsin-evidence/v1","format":"tocsin-evidence/v1"}',
        b'"\\ud800"',
    ],
)
def test_what_is_no_bundle_gets_one_line(data: bytes) -> None:
    with pytest.raises(EvidenceError) as refused:
        parse_bundle(data)
    assert "\n" not in str(refused.value)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for name, item in value.items():
            found += _paths(item, (*path, name))
    elif isinstance(value, list):
        for place, item in enumerate(value[:2]):
            found += _paths(item, (*path, place))
    return found


STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**53 - 1,
    1.5,
    "",
    "x",
    "\ud800",
    "\x00",
    [],
    [[]],
    {},
    {"": None},
    ["x"] * 200,
)


@pytest.mark.slow
def test_strange_values_anywhere_get_one_line(case: Case) -> None:
    whole = json.loads(encode(case.bundle))
    policy = parse_policy(case.policy())
    for path in _paths(whole):
        for strange in STRANGE:
            changed = json.loads(encode(case.bundle))
            holder = changed
            for step in path[:-1]:
                holder = holder[step]
            if holder[path[-1]] == strange or (path[-1], strange) == ("disclosures", []):
                continue
            holder[path[-1]] = strange
            assert _is_the_same_or_unproven(json.dumps(changed).encode(), None, policy), (path, strange)


def test_what_is_missing_and_what_is_too_much_is_named(case: Case) -> None:
    whole = json.loads(encode(case.bundle))
    del whole["keys"]
    with pytest.raises(EvidenceError, match="the bundle lacks keys"):
        parse_bundle(json.dumps(whole).encode())
    whole = json.loads(encode(case.bundle)) | {"trustMe": True}
    with pytest.raises(EvidenceError, match="not known: 'trustMe'"):
        parse_bundle(json.dumps(whole).encode())


def test_a_bundle_comes_back_as_it_was(case: Case) -> None:
    assert parse_bundle(encode(case.bundle)) == case.bundle
