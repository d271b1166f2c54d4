"""Evidence out of a real database: it verifies as a stranger would verify it, whatever goes on meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.clock import FakeClock
from tests.support.lives import Lived, actor_of, live, reported
from tocsin.app import export_evidence as exporting
from tocsin.app.export_evidence import export_evidence
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.app.work import App
from tocsin.domain.access import Actor, Role
from tocsin.errors import Code, TocsinError
from tocsin.evidence.bundle import Bundle, parse_bundle
from tocsin.evidence.policy import parse_policy
from tocsin.evidence.verdict import Report
from tocsin.evidence.verify import verify
from tocsin.signing.signer import Signer


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    made = Signer(tmp_path / "signer")
    made.make("example.org/tocsin")
    return made


async def keep_log(app: App, signer: Signer) -> None:
    await introduce_key(app, signer)
    await seal_everything(app)
    await sign_log(app, signer)


@pytest.fixture
async def lived(app: App, clock: FakeClock, signer: Signer) -> Lived:
    made = await live(app, clock)
    await keep_log(app, signer)
    return made


async def evidence_of(app: App, ref: UUID | int) -> Bundle:
    admin = await actor_of(app, "ada@example.org")
    async with app.work() as work:
        return parse_bundle(await export_evidence(work, admin, ref))


def judged(bundle: Bundle, signer: Signer) -> Report:
    return verify(bundle, parse_policy(f"log {signer.key().vkey}\nquorum none\n".encode()))


async def test_the_evidence_of_an_incident_at_each_stage_is_proven(app: App, lived: Lived, signer: Signer) -> None:
    stages = {}
    for stage, incident_id in lived.incidents.items():
        bundle = await evidence_of(app, incident_id)
        report = judged(bundle, signer)
        assert report.proven, (stage, report.missing)
        stages[stage] = report.entries
    assert stages["reported"] == 1
    assert stages["closed"] > stages["resolved"]
    assert stages["escalated"] >= 8


async def test_what_is_not_in_a_signed_checkpoint_is_not_exported(
    app: App, lived: Lived, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_TRIES", 2)
    fresh = await reported(app, "a moment ago")
    with pytest.raises(TocsinError) as refused:
        await evidence_of(app, fresh)
    assert refused.value.refusal.code is Code.UNAVAILABLE
    with pytest.raises(TocsinError) as refused:
        await evidence_of(app, 999_999)
    assert refused.value.refusal.code is Code.NOT_FOUND


async def test_without_a_signature_of_the_last_batch_completeness_is_not_claimed(
    app: App, lived: Lived, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_TRIES", 2)
    await reported(app, "another one")
    await seal_everything(app)
    bundle = await evidence_of(app, lived["closed"])
    assert bundle.heads is None
    report = judged(bundle, signer)
    assert not report.proven
    assert "no further entries" in report.missing[0]


async def test_evidence_taken_while_the_log_grows_is_proven(app: App, lived: Lived, signer: Signer) -> None:
    stop = asyncio.Event()

    async def grow() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await reported(app, f"failure {number}")
            await keep_log(app, signer)

    growing = asyncio.create_task(grow())
    try:
        for _ in range(15):
            assert judged(await evidence_of(app, lived["closed"]), signer).proven
    finally:
        stop.set()
        await growing


async def test_only_who_may_read_gets_evidence(app: App, lived: Lived) -> None:
    admin = await actor_of(app, "ada@example.org")
    for role, may in {Role.AUDITOR: True, Role.RESPONDER: True, Role.MEMBER: False}.items():
        actor = Actor(admin.user_id, admin.name, role)
        async with app.work() as work:
            if may:
                assert await export_evidence(work, actor, lived["closed"])
            else:
                with pytest.raises(TocsinError):
                    await export_evidence(work, actor, lived["closed"])
