"""Evidence out of a real database: it verifies as a stranger would verify it, whatever goes on meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest

from tests.app.conftest import Tables
from tests.support.clock import FakeClock
from tests.support.lives import LESSONS, Lived, actor_of, live, reported
from tocsin.app import erase
from tocsin.app import export_evidence as exporting
from tocsin.app.erase import Grounds, Reports
from tocsin.app.export_evidence import export_evidence, export_vouched_evidence
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.app.work import App
from tocsin.domain.access import Actor, Role
from tocsin.errors import Code, TocsinError
from tocsin.evidence import bundle as bundles
from tocsin.evidence.bundle import Bundle, parse_bundle
from tocsin.evidence.policy import parse_policy
from tocsin.evidence.texts import TextState
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
    return parse_bundle(await export_evidence(app, admin, ref))


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


async def test_what_people_wrote_comes_along_unless_it_is_left_out(app: App, lived: Lived, signer: Signer) -> None:
    report = judged(await evidence_of(app, lived["closed"]), signer)
    said = {text.name: text.value for text in report.texts}
    assert said["title"].startswith("closed")
    assert said["lessons_learned"] == LESSONS
    assert {"text": "Customers are told"} in [text.value for text in report.texts]
    assert {text.state for text in report.texts} == {TextState.DISCLOSED}
    admin = await actor_of(app, "ada@example.org")
    data = await export_vouched_evidence(app, admin, lived["closed"], 0, with_texts=False)
    assert LESSONS.encode() not in data
    bare = judged(parse_bundle(data), signer)
    assert bare.proven
    assert {text.state for text in bare.texts} == {TextState.WITHHELD}
    assert len(bare.texts) == len(report.texts)


@pytest.mark.slow
async def test_the_evidence_of_an_incident_whose_texts_were_erased_is_proven(
    app: App, lived: Lived, signer: Signer
) -> None:
    admin = await actor_of(app, "ada@example.org")
    for stage, texts in (("closed", ("title", "lessons_learned", "notes")), ("closed at once", None)):
        before = judged(await evidence_of(app, lived[stage]), signer)
        async with app.work() as work:
            await erase.erase_incident(work, admin, lived[stage], texts, Grounds("Asked", "GDPR-17"))
        if texts is None:
            async with app.work() as work:
                await erase.erase_reports(work, admin, Reports(incident=lived[stage]), Grounds("Asked"))
        await keep_log(app, signer)
        report = judged(await evidence_of(app, lived[stage]), signer)
        assert report.proven
        assert report.entries > before.entries
        assert len(report.texts) == len(before.texts)
        erased = {text.name for text in report.texts if text.state is TextState.ERASED}
        left = {text.name for text in report.texts if text.state is TextState.DISCLOSED}
        assert erased >= set(texts or ("title", "follow_up_actions", "personal")) - {"notes"}
        assert left == (set() if texts is None else {text.name for text in before.texts} - set(texts))
        assert "and nobody can prove any more what they said" in report.about_texts[-1]


@pytest.mark.slow
async def test_evidence_that_is_too_large_names_the_way_out(
    app: App, lived: Lived, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = await actor_of(app, "ada@example.org")
    small = len(await export_vouched_evidence(app, admin, lived["closed"], 0, with_texts=False))
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", small)
    with pytest.raises(TocsinError) as refused:
        await evidence_of(app, lived["closed"])
    assert refused.value.refusal.code is Code.TOO_LARGE
    assert "--without-texts" in refused.value.refusal.hint
    assert await export_vouched_evidence(app, admin, lived["closed"], 0, with_texts=False)


@pytest.mark.slow
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


@pytest.mark.slow
async def test_who_waits_for_the_log_holds_no_connection(
    app: App, lived: Lived, monkeypatch: pytest.MonkeyPatch, tables: Tables
) -> None:
    held = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    while_waiting = []

    async def pause(seconds: float) -> None:
        while_waiting.append(tables.value(held))

    monkeypatch.setattr(exporting, "asyncio", SimpleNamespace(sleep=pause))
    fresh = await reported(app, "a moment ago")
    with pytest.raises(TocsinError, match="no signed checkpoint"):
        await evidence_of(app, fresh)
    assert set(while_waiting) == {0}


@pytest.mark.slow
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


@pytest.mark.slow
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
        if may:
            assert await export_evidence(app, actor, lived["closed"])
        else:
            with pytest.raises(TocsinError):
                await export_evidence(app, actor, lived["closed"])
