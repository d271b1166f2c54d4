"""Evidence: how long it takes to make and to verify that of one incident in a large log, and how large it is."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.support import loaded_database
from bench.support.installation import Installation, installed, settings_at, temporary_directory
from tocsin import bootstrap
from tocsin.app import respond
from tocsin.app.export_evidence import export_evidence
from tocsin.app.open_incident import open_by_hand
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.clock import monotonic_seconds
from tocsin.domain.incident import Severity
from tocsin.domain.workflow import AddNote
from tocsin.evidence.bundle import Bundle, parse_bundle
from tocsin.evidence.policy import parse_policy
from tocsin.evidence.verify import verify
from tocsin.store import log, outside
from tocsin.tlog import cosignature
from tocsin.tlog.note import COSIGNATURE, Note, VerifierKey

GOAL_MS = 50.0
ENTRIES = 40
REPEATS = 50
WITNESS = "witness.example/bench"


async def measure(directory: Path) -> int:
    """Measure in a loaded database; return the exit code."""
    async with installed(settings_at(directory)) as installation:
        app = installation.app
        signer = bootstrap.signer_of(app.settings)
        assert signer is not None, "the embedded database has its signer beside it"
        number = await _incident(installation)
        await introduce_key(app, signer)
        await seal_everything(app)
        await sign_log(app, signer)
        witness = await _cosign(installation)
        policy = parse_policy(f"log {signer.key().vkey}\nwitness w {witness}\nquorum w\n".encode())
        made, data = [], b""
        for _ in range(REPEATS):
            started = monotonic_seconds()
            data = await export_evidence(app, installation.admin, number)
            made.append((monotonic_seconds() - started) * 1_000)
    verified = []
    for _ in range(REPEATS):
        started = monotonic_seconds()
        report = verify(parse_bundle(data), policy)
        verified.append((monotonic_seconds() - started) * 1_000)
        assert report.proven, report.missing
    return _print(parse_bundle(data), len(data), report.size, made, verified)


async def _incident(installation: Installation) -> int:
    """Open an incident and give it ENTRIES entries, each in a batch of its own; return its number."""
    app, admin = installation.app, installation.admin
    async with app.work() as work:
        incident_id = await open_by_hand(work, admin, severity=Severity.HIGH, title="The measured one", description="")
    for note in range(ENTRIES - 1):
        async with app.work() as work:
            await respond.add_note(
                work, admin, incident_id, AddNote(f"Note {note}: what we see now, and what we try next.")
            )
    async with app.work() as work:
        value = await work.tx.value(b"SELECT number FROM incidents WHERE id = %(id)s", {"id": incident_id})
    return int(value)


async def _cosign(installation: Installation) -> str:
    """Let a witness of our own cosign the last checkpoint; return its vkey."""
    key = Ed25519PrivateKey.generate()
    async with installation.app.work() as work:
        checkpoint = await log.last_checkpoint(work.tx)
        assert checkpoint is not None
        line = cosignature.sign(Note.parse(checkpoint.note).text, WITNESS, key, int(work.now.timestamp())).encode()
        await outside.keep_cosignature(work.tx, checkpoint.size, WITNESS, line, work.now)
    return VerifierKey.of(WITNESS, key, COSIGNATURE).encode()


def _print(bundle: Bundle, size: int, leaves: int, made: list[float], verified: list[float]) -> int:
    proofs = [len(entry.proof) * 32 for entry in bundle.entries]
    print(f"{len(bundle.entries)} entries of one incident in a log of {leaves:,} leaves")
    missed = False
    for what, times in (("made", made), ("verified", verified)):
        met = median(times) < GOAL_MS
        missed |= not met
        print(
            f"  {what} in {median(times):.1f} ms (median), {max(times):.1f} ms (slowest of {len(times)}); "
            f"goal {GOAL_MS:.0f} ms: {'met' if met else 'MISSED'}"
        )
    heads = bundle.heads
    assert heads is not None
    assert bundle.head is not None
    print(
        f"  the file: {size:,} bytes; inclusion proof of an entry: {median(proofs):.0f} bytes ({max(proofs)} at most)"
    )
    print(
        f"  completeness: {32 * (len(heads.proof) + len(bundle.head.proof))} bytes; all proofs: {sum(proofs):,} bytes"
    )
    return int(missed)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench evidence",
        description="Loads a history, seals it into the log, and takes the evidence of one incident out of it.",
    )
    parser.add_argument("--incidents", type=int, default=161_000, help="about 6.2 leaves each (default: 161000)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the database in DIR, or use the one there")
    arguments = parser.parse_args()
    if not 100 <= arguments.incidents <= 1_000_000:
        parser.error("--incidents must be 100 to 1000000")
    with temporary_directory() as directory:
        place = arguments.keep or directory / "database"
        loaded_database.prepare(place, arguments.incidents, arguments.incidents // 10)
        return asyncio.run(measure(place))


if __name__ == "__main__":
    raise SystemExit(main())
