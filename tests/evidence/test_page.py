"""docs/explanation/checking-evidence.md works as it stands: its blocks are run, on intact and on forged bundles."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.authority import Authority
from tests.support.logbook import Logbook, Witness, closed_incident, vouched
from tocsin.evidence.bundle import encode
from tocsin.evidence.timestamp import request, token_of

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "checking-evidence.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOG, WITNESS = Logbook(), Witness("witness.example/page")


@pytest.fixture(scope="module")
def bundle(authority: Authority) -> bytes:
    """The evidence of an incident in a log of several, cosigned and stamped."""
    incident = closed_incident(42, notes=1)
    LOG.seal((closed_incident(41), 6))
    LOG.seal((incident, 4))
    size = LOG.seal((incident, len(incident.entries)))
    note = LOG.notes[size]
    token = token_of(authority.reply(request(note.encode(), 7)))
    return encode(vouched(LOG.bundle(incident, size), WITNESS.cosign(note), timestamps=[token]))


def followed(folder: Path, data: bytes, authority: Authority) -> subprocess.CompletedProcess[str]:
    """Do what the page says."""
    (folder / "bundle.json").write_bytes(data)
    (folder / "root.pem").write_bytes(authority.root.public_bytes(Encoding.PEM))
    script = "\n".join(BLOCK.findall(PAGE.read_text("utf-8")))
    variables = {"PATH": os.environ["PATH"], "LOG_VKEY": LOG.vkey, "WITNESS_VKEY": WITNESS.vkey, "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["sh", "-eu", "-c", script], cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_page_proves_an_intact_bundle(tmp_path: Path, bundle: bytes, authority: Authority) -> None:
    done = followed(tmp_path, bundle, authority)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "REPORTED",
        "the timeline holds together: 7 entries",
        "the details are those that the entries name: 5",
        "the disclosed texts are those of the record: 8",
        '"title","It broke — at 3 o’clock"]',
        "Signature Verified Successfully",
        "all 7 entries are in the log",
        "INC-42 has exactly 7 entries",
        "cosigned by witness.example/page at 2026-03-01",
        f"{datetime.now(UTC).year} GMT",
    ):
        assert said in done.stdout, said
    assert done.stdout.count("Signature Verified Successfully") == 2
    assert "Verification: OK" in done.stdout + done.stderr


def change(document: Any, *path: Any) -> Callable[[Any], None]:
    def apply(whole: Any) -> None:
        for step in path[:-1]:
            whole = whole[step]
        whole[path[-1]] = document(whole[path[-1]]) if callable(document) else document

    return apply


FORGERIES = {
    "a changed entry": change(lambda text: text.replace("responder", "superadmin"), "entries", 2, "canonical"),
    "a changed detail": change(lambda text: text.replace('"v":1', '"v":1,"w":1'), "details", 2, "canonical"),
    "a changed text": change(lambda told: [told[0][:60] + "A" + told[0][61:]], "details", 2, "disclosures"),
    "another record's text": lambda whole: whole["details"][0].update(disclosures=whole["details"][2]["disclosures"]),
    "a missing entry": lambda whole: whole["entries"].pop(3),
    "a missing tail": lambda whole: (whole["entries"].pop(), whole["details"].pop()),
    "a changed proof": change(lambda proof: ["00" * 32, *proof[1:]], "entries", 1, "proof"),
    "a changed checkpoint": change(lambda note: note.replace("\n", "\n1", 1), "checkpoint", "note"),
    "no cosignature": change([], "checkpoint", "cosignatures"),
    "another witness": change(
        [Witness("witness.example/page").cosign("x\n1\n" + "A" * 43 + "=\n\n— x AAAAAAAA\n")],
        "checkpoint",
        "cosignatures",
    ),
    "a changed token": change(lambda tokens: [tokens[0][:400] + "AAAA" + tokens[0][404:]], "checkpoint", "timestamps"),
}


EVERY_DAY = ("a changed entry", "a missing tail")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in EVERY_DAY else pytest.mark.slow) for name in FORGERIES]
)
def test_the_page_finds_a_forged_bundle(tmp_path: Path, bundle: bytes, authority: Authority, name: str) -> None:
    whole = json.loads(bundle)
    FORGERIES[name](whole)
    done = followed(tmp_path, json.dumps(whole, ensure_ascii=False).encode(), authority)
    assert done.returncode != 0, done.stdout
