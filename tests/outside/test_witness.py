"""Cosignatures of a real witness, a program of other people in a process of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.outside.peers import answering
from tests.support.logbook import Logbook, closed_incident, policy_text, vouched
from tests.support.logbook import Witness as Cosigner
from tests.support.witness_process import RealWitness, witness_process
from tocsin.address_guard import AddressGuard
from tocsin.evidence.policy import parse_policy
from tocsin.evidence.verify import verify
from tocsin.outside import ConsistencyProof, ContradictionError, OutsideError
from tocsin.outside.http import Http
from tocsin.outside.witness import KnowsMoreError, Witness, cosign
from tocsin.tlog import cosignature, merkle
from tocsin.tlog.note import Note, Signature, VerifierKey


def proofs(log: Logbook) -> ConsistencyProof:
    async def proof(old: int, new: int) -> list[bytes]:
        return merkle.consistency_proof(old, new, log.hashes(new))

    return proof


def grown() -> tuple[Logbook, list[int]]:
    log, incident = Logbook(), closed_incident(1)
    return log, [log.seal((incident, upto)) for upto in (1, 2, 4, 6)]


def client_of(real: RealWitness) -> Witness:
    return Witness(VerifierKey.parse(real.vkey), real.url + "/")


async def test_a_real_witness_cosigns_each_checkpoint_that_continues_the_last(http: Http, tmp_path: Path) -> None:
    log, sizes = grown()
    with witness_process(tmp_path, log.vkey) as real:
        witness, known = client_of(real), 0
        for size in sizes:
            line = await cosign(http, witness, log.notes[size], known, proofs(log))
            note = Note.parse(log.notes[size])
            at = cosignature.verify(Note(note.text, (Signature.parse(line.removesuffix("\n")),)), witness.key)
            assert abs(datetime.fromtimestamp(at, UTC) - datetime.now(UTC)).total_seconds() < 60
            known = size


async def test_a_bundle_with_a_real_witnesss_cosignature_is_proven(http: Http, tmp_path: Path) -> None:
    log, incident = Logbook(), closed_incident(9)
    size = log.seal((incident, 6))
    with witness_process(tmp_path, log.vkey) as real:
        line = await cosign(http, client_of(real), log.notes[size], 0, proofs(log))
    bundle = vouched(log.bundle(incident, size), line)
    policy = policy_text(log).decode().replace("quorum none", f"witness real {real.vkey}\nquorum real")
    assert verify(bundle, parse_policy(policy.encode())).proven


@pytest.mark.slow
async def test_a_size_that_we_do_not_know_is_told_by_the_witness(http: Http, tmp_path: Path) -> None:
    log, sizes = grown()
    with witness_process(tmp_path, log.vkey) as real:
        witness = client_of(real)
        await cosign(http, witness, log.notes[sizes[0]], 0, proofs(log))
        assert await cosign(http, witness, log.notes[sizes[2]], 0, proofs(log)), "we forgot that it knew the first"
        assert await cosign(http, witness, log.notes[sizes[2]], sizes[2], proofs(log)), "the same once more"
        assert await cosign(http, witness, log.notes[sizes[3]], sizes[1], proofs(log)), "we believe an old size"


async def test_a_log_that_was_rolled_back_or_forked_is_a_contradiction(http: Http, tmp_path: Path) -> None:
    log, sizes = grown()
    with witness_process(tmp_path, log.vkey) as real:
        witness = client_of(real)
        await cosign(http, witness, log.notes[sizes[2]], 0, proofs(log))
        with pytest.raises(KnowsMoreError, match="the last ones are gone"):
            await cosign(http, witness, log.notes[sizes[0]], 0, proofs(log))
        forked, other = Logbook(key=log.key), closed_incident(2)
        upto = [forked.seal((other, upto)) for upto in (2, 3, 5, 6)]
        with pytest.raises(ContradictionError, match="another history"):
            await cosign(http, witness, forked.notes[upto[3]], sizes[2], proofs(forked))


async def test_a_log_or_key_that_the_witness_does_not_know_is_said(http: Http, tmp_path: Path) -> None:
    log, sizes = grown()
    stranger = Logbook(origin="elsewhere.example/log")
    unknown = stranger.notes[stranger.seal((closed_incident(1), 1))]
    with witness_process(tmp_path, log.vkey) as real:
        witness = client_of(real)
        with pytest.raises(OutsideError, match="404"):
            await cosign(http, witness, unknown, 0, proofs(stranger))
        with pytest.raises(OutsideError, match="403"):
            await cosign(http, witness, log.signed(sizes[0], Ed25519PrivateKey.generate()), 0, proofs(log))


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (200, b"", "text/plain"),
        (200, b"\xff\xfe", "text/plain"),
        (200, "— witness.example/w AAAA\n".encode(), "text/plain"),
        (200, b"x" * 1_000_000, "text/plain"),
        (302, b"", "text/plain"),
        (409, b"99999999999999999999999\n", "text/x.tlog.size"),
        (409, b"0", "text/x.tlog.size"),
        (500, b"\x00\x1b[31m oh", "text/plain"),
    ],
)
async def test_whatever_a_witness_answers_is_one_line(http: Http, status: int, body: bytes, content_type: str) -> None:
    log, sizes = grown()
    async with answering(status, body, content_type) as url:
        witness = Witness(VerifierKey.parse(Cosigner("witness.example/w").vkey), url)
        with pytest.raises(OutsideError) as refused:
            await cosign(http, witness, log.notes[sizes[0]], 0, proofs(log))
    assert str(refused.value).isprintable()


async def test_a_cosignature_by_another_key_or_of_another_text_is_not_taken(http: Http) -> None:
    log, sizes = grown()
    ours, stranger = Cosigner("witness.example/w"), Cosigner("witness.example/w")
    for line in (stranger.cosign(log.notes[sizes[0]]), ours.cosign(log.notes[sizes[1]])):
        async with answering(200, line.encode()) as url:
            with pytest.raises(OutsideError):
                await cosign(http, Witness(VerifierKey.parse(ours.vkey), url), log.notes[sizes[0]], 0, proofs(log))


async def test_a_witness_inside_is_not_reached_unless_that_is_allowed() -> None:
    log, sizes = grown()
    witness = Witness(VerifierKey.parse(Cosigner("w.example").vkey), "http://127.0.0.1:9/")
    async with Http(AddressGuard()) as http:
        with pytest.raises(OutsideError, match="inside"):
            await cosign(http, witness, log.notes[sizes[0]], 0, proofs(log))
