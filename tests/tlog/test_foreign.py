"""Programs that others wrote accept what we write, and refuse what we refuse."""

from __future__ import annotations

import http.client
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import metamorphic_log
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore.errors import VerificationError

from tests.support.witness import Witness, witnessing
from tests.tlog import rfc
from tests.tlog.keys import LOG_KEY, LOG_PRIVATE, ORIGIN, private_key
from tests.tlog.trees import hashes_of, leaves
from tocsin.tlog import cosignature
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of
from tocsin.tlog.note import Note, VerifierKey, sign, verify
from tocsin.tlog.witness import Answer, Cosigned, KnowsAnother, Refused, read_answer, request_body

DATA = leaves(300)
HASHES = hashes_of(DATA)
OTHER_DATA = [*DATA[:5], *leaves(400, " of a fork")]
VKEYS = [LOG_KEY.encode()]
SIZES = [1, 2, 3, 7, 8, 64, 100, 255, 256, 257, 299]
PLACES = [(index, size) for size in [*SIZES, 300] for index in sorted({0, size // 3, size // 2, size - 1})]


def checkpoint(size: int, data: list[bytes] = DATA) -> Note:
    text = Checkpoint(ORIGIN, size, root_of(list(map(leaf_hash, data[:size])))).encode()
    return Note(text, (sign(text, ORIGIN, LOG_PRIVATE),))


# metamorphic-log: checkpoints, inclusion, consistency, in Rust


def test_metamorphic_log_reads_our_checkpoints() -> None:
    head = metamorphic_log.checkpoint_verify(checkpoint(300).encode(), VKEYS)
    assert (head.origin, head.size, head.root) == (ORIGIN, 300, rfc.mth(DATA))
    with pytest.raises(metamorphic_log.VerifyError):
        metamorphic_log.checkpoint_verify(checkpoint(300).encode().replace("300", "301"), VKEYS)


@pytest.mark.parametrize(("index", "size"), PLACES)
def test_metamorphic_log_verifies_our_inclusion_proofs(index: int, size: int) -> None:
    proof = inclusion_proof(index, size, HASHES)
    note, leaf = checkpoint(size).encode(), leaf_hash(DATA[index])
    metamorphic_log.checkpoint_verify_inclusion(note, VKEYS, index, leaf, proof)
    for wrong in ((index, leaf_hash(b"other"), proof), (index, leaf, [*proof, bytes(32)]), (size, leaf, proof)):
        with pytest.raises(metamorphic_log.VerifyError):
            metamorphic_log.checkpoint_verify_inclusion(note, VKEYS, *wrong)


@pytest.mark.parametrize("old", SIZES)
def test_metamorphic_log_verifies_our_consistency_proofs(old: int) -> None:
    proof = consistency_proof(old, 300, HASHES)
    before, after = checkpoint(old).encode(), checkpoint(300).encode()
    metamorphic_log.checkpoint_verify_consistency(before, after, VKEYS, proof)
    with pytest.raises(metamorphic_log.VerifyError):
        metamorphic_log.checkpoint_verify_consistency(before, checkpoint(300, OTHER_DATA).encode(), VKEYS, proof[::-1])


# sigstore: the inclusion proofs of Rekor


def sigstore_accepts(index: int, size: int, entry: bytes, proof: list[bytes], root: bytes) -> bool:
    said = SimpleNamespace(log_index=index, tree_size=size, hashes=proof, root_hash=root)
    try:
        verify_merkle_inclusion(
            cast(Any, SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=said, canonicalized_body=entry)))
        )
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize(("index", "size"), PLACES)
def test_sigstore_verifies_our_inclusion_proofs(index: int, size: int) -> None:
    proof, root = inclusion_proof(index, size, HASHES), rfc.mth(DATA[:size])
    assert sigstore_accepts(index, size, DATA[index], proof, root)
    assert not sigstore_accepts(index, size, b"other", proof, root)
    assert not sigstore_accepts(index, size, DATA[index], [*proof, bytes(32)], root)


# OpenSSL: the signature


def openssl_verifies(message: bytes, signature: bytes, folder: Path) -> bool:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs Debian's package openssl")
    public = LOG_PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, content in {"key.pem": public, "message": message, "signature": signature}.items():
        (folder / name).write_bytes(content)
    command = [openssl, "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pem", "-in", "message"]
    ended = subprocess.run(
        [*command, "-sigfile", "signature"], cwd=folder, capture_output=True, check=False, timeout=30
    )
    return ended.returncode == 0


def test_openssl_verifies_our_signatures(tmp_path: Path) -> None:
    note = checkpoint(300)
    signature = note.signatures[0].signature
    assert openssl_verifies(note.text.encode(), signature, tmp_path)
    assert not openssl_verifies(note.text.replace("300", "301").encode(), signature, tmp_path)


# witness-log: a witness in a process of its own


def submit(witness: Witness, body: bytes) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(witness.url).netloc, timeout=30)
    try:
        connection.request("POST", "/add-checkpoint", body)
        answer = connection.getresponse()
        return read_answer(answer.status, answer.headers["content-type"], answer.read())
    finally:
        connection.close()


@contextmanager
def witness_that_has_seen(size: int, state: Path) -> Iterator[Witness]:
    with witnessing(state, LOG_KEY.encode()) as witness:
        assert isinstance(submit(witness, request_body(0, [], checkpoint(size))), Cosigned)
        yield witness


def test_a_witness_cosigns_our_checkpoints_as_they_grow(tmp_path: Path) -> None:
    sizes = sorted(random.Random(42).sample(range(2, 300), 12))
    with witness_that_has_seen(1, tmp_path / "state") as witness:
        key = VerifierKey.parse(witness.vkey)
        for old, new in zip([1, *sizes], [*sizes, sizes[-1]], strict=True):
            note = checkpoint(new)
            proof = consistency_proof(old, new, HASHES)
            answer = submit(witness, request_body(old, proof, note))
            assert isinstance(answer, Cosigned)
            cosigned = Note.parse(Note(note.text, note.signatures + answer.signatures).encode())
            verify(cosigned, LOG_KEY)
            assert cosignature.verify(cosigned, key) > 1_700_000_000
            # Who knows nothing of cosignatures still reads the checkpoint.
            assert metamorphic_log.checkpoint_verify(cosigned.encode(), VKEYS).size == new


def test_a_witness_says_which_size_it_knows(tmp_path: Path) -> None:
    with witness_that_has_seen(100, tmp_path / "state") as witness:
        assert submit(witness, request_body(0, [], checkpoint(300))) == KnowsAnother(100)


@pytest.mark.slow
def test_a_witness_refuses_a_rollback_even_after_it_was_killed(tmp_path: Path) -> None:
    with witness_that_has_seen(300, tmp_path / "state") as witness:
        assert submit(witness, request_body(0, [], checkpoint(200))) == KnowsAnother(300)
    with witnessing(tmp_path / "state", LOG_KEY.encode()) as again:
        assert again.vkey == witness.vkey
        proof = consistency_proof(100, 200, HASHES)
        assert submit(again, request_body(100, proof, checkpoint(200))) == KnowsAnother(300)
        backwards = b"old 300\n\n" + checkpoint(200).encode().encode()
        refused = submit(again, backwards)
        assert isinstance(refused, Refused)
        assert refused.status == 400


def test_a_witness_refuses_a_fork(tmp_path: Path) -> None:
    with witness_that_has_seen(300, tmp_path / "state") as witness:
        same_size = submit(witness, request_body(300, [], checkpoint(300, OTHER_DATA)))
        proof = consistency_proof(300, 400, hashes_of(OTHER_DATA[:400]))
        larger = submit(witness, request_body(300, proof, checkpoint(400, OTHER_DATA)))
        assert isinstance(same_size, Refused)
        assert isinstance(larger, Refused)
        assert {same_size.status, larger.status} <= {409, 422}


def test_a_witness_refuses_another_key_and_another_log(tmp_path: Path) -> None:
    text = checkpoint(300).text
    forged = Note(text, (sign(text, ORIGIN, private_key("thief")),))
    elsewhere = text.replace(ORIGIN, "elsewhere.example")
    stranger = Note(elsewhere, (sign(elsewhere, "elsewhere.example", LOG_PRIVATE),))
    with witness_that_has_seen(300, tmp_path / "state") as witness:
        for note, status in ((forged, 403), (stranger, 404)):
            refused = submit(witness, request_body(300, [], note))
            assert isinstance(refused, Refused)
            assert refused.status == status
