"""The workflow as people live it: acknowledge, root cause, resolve, close; nothing skipped, nothing twice."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Tables
from tests.support.clock import FakeClock
from tests.support.lives import FOLLOW_UPS, LESSONS, RESOLVED, RESOLVED_WITH_LESSONS, ROOT_CAUSE, reported
from tocsin import ids
from tocsin.app import escalate, read_incidents, respond
from tocsin.app.read_incidents import IncidentDetail
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.follow_up import MAX_FOLLOW_UP_CHARACTERS, MAX_FOLLOW_UPS, FollowUpAction
from tocsin.domain.incident import EscalationReason, RootCauseCategory, Severity
from tocsin.domain.workflow import (
    MAX_TEXT_CHARACTERS,
    Acknowledge,
    AddNote,
    ChangeSeverity,
    Close,
    Escalate,
    RecordRootCause,
    Resolve,
)
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio


async def shown(app: App, crew: Crew, incident_id: UUID) -> IncidentDetail:
    """Read the whole incident."""
    async with app.work() as work:
        return await read_incidents.show_incident(work, crew.dee, incident_id)


async def acknowledged(app: App, actor: Actor, incident_id: UUID | int) -> None:
    """Take an incident."""
    async with app.work() as work:
        await respond.acknowledge(work, actor, incident_id, Acknowledge(f"{actor.name} has it"))


async def test_a_whole_life_is_recorded_step_by_step(app: App, crew: Crew, clock: FakeClock, tables: Tables) -> None:
    incident_id = await reported(app)
    clock.forward(minutes=1)
    await acknowledged(app, crew.olga, incident_id)
    clock.forward(minutes=1)
    async with app.work() as work:
        await respond.record_root_cause(work, crew.sam, incident_id, ROOT_CAUSE)
    clock.forward(minutes=1)
    async with app.work() as work:
        await respond.resolve(work, crew.olga, incident_id, RESOLVED)
    clock.forward(minutes=1)
    async with app.work() as work:
        await respond.close(work, crew.ada, incident_id, Close(LESSONS, FOLLOW_UPS))
    life = await shown(app, crew, incident_id)
    assert [
        (entry.event_type, entry.status_before, entry.status_after, entry.actor_name) for entry in life.timeline
    ] == [
        ("REPORTED", None, "REPORTED", None),
        ("ACKNOWLEDGED", "REPORTED", "ACKNOWLEDGED", "Olga"),
        ("INVESTIGATION_STARTED", "ACKNOWLEDGED", "INVESTIGATING", "Sam"),
        ("ROOT_CAUSE_RECORDED", "INVESTIGATING", "INVESTIGATING", "Sam"),
        ("RESOLVED", "INVESTIGATING", "RESOLVED", "Olga"),
        ("CLOSED", "RESOLVED", "CLOSED", "ada"),
    ]
    assert life.ack is not None
    assert (life.ack.ack_by_name, life.ack.ack_notes, life.ack.severity_at_ack) == ("Olga", "Olga has it", "HIGH")
    assert life.root_cause is not None
    assert life.root_cause.root_cause_category == "CONFIGURATION"
    assert life.resolution is not None
    assert life.resolution.lessons_learned == LESSONS
    assert life.resolution.follow_up_actions == [action.document() for action in FOLLOW_UPS]
    assert life.incident.closed_at == clock.now
    assert tables.value("SELECT count(*) FROM incident_closures") == 1


async def test_a_resolution_with_lessons_and_follow_ups_closes_in_the_same_breath(
    app: App, crew: Crew, tables: Tables
) -> None:
    incident_id = await reported(app)
    await acknowledged(app, crew.olga, incident_id)
    async with app.work() as work:
        await respond.record_root_cause(work, crew.olga, incident_id, ROOT_CAUSE)
    async with app.work() as work:
        await respond.resolve(work, crew.olga, incident_id, RESOLVED_WITH_LESSONS)
    life = await shown(app, crew, incident_id)
    assert life.incident.status == "CLOSED"
    assert life.incident.resolved_at == life.incident.closed_at
    assert tables.value("SELECT count(*) FROM incident_closures") == 0
    assert life.resolution is not None
    assert life.resolution.lessons_learned == LESSONS


async def test_closing_needs_only_what_the_resolution_did_not_bring(app: App, crew: Crew) -> None:
    incident_id = await reported(app)
    await acknowledged(app, crew.olga, incident_id)
    async with app.work() as work:
        await respond.record_root_cause(work, crew.olga, incident_id, ROOT_CAUSE)
        await respond.resolve(work, crew.olga, incident_id, Resolve("Mended", lessons_learned=LESSONS))
    with pytest.raises(TocsinError, match="without followUpActions") as caught:
        async with app.work() as work:
            await respond.close(work, crew.olga, incident_id, Close())
    assert caught.value.refusal.code is Code.CONTEXT_REQUIRED
    assert caught.value.refusal.details == {"missing": ["followUpActions"]}
    async with app.work() as work:
        await respond.close(work, crew.olga, incident_id, Close(None, FOLLOW_UPS))
    life = await shown(app, crew, incident_id)
    assert life.resolution is not None
    assert life.resolution.lessons_learned == LESSONS
    assert life.resolution.follow_up_actions == [action.document() for action in FOLLOW_UPS]


async def test_nothing_is_skipped(app: App, crew: Crew, tables: Tables) -> None:
    incident_id = await reported(app)
    for code, step in (
        (Code.NOT_ACKNOWLEDGED, lambda work: respond.start_investigation(work, crew.olga, incident_id)),
        (Code.NOT_ACKNOWLEDGED, lambda work: respond.record_root_cause(work, crew.olga, incident_id, ROOT_CAUSE)),
        (Code.NOT_ACKNOWLEDGED, lambda work: respond.resolve(work, crew.olga, incident_id, RESOLVED_WITH_LESSONS)),
        (Code.NOT_RESOLVED, lambda work: respond.close(work, crew.olga, incident_id, Close(LESSONS, FOLLOW_UPS))),
    ):
        with pytest.raises(TocsinError) as caught:
            async with app.work() as work:
                await step(work)
        assert caught.value.refusal.code is code
        assert caught.value.refusal.hint
    assert tables.value("SELECT sequence FROM incident_heads") == 1


async def test_of_sixteen_acknowledgments_at_once_one_succeeds(app: App, crew: Crew, tables: Tables) -> None:
    await reported(app)
    people = [crew.ada, crew.olga, crew.sam]
    outcomes = await asyncio.gather(
        *(acknowledged(app, people[number % 3], 1) for number in range(16)), return_exceptions=True
    )
    refusals = [outcome.refusal for outcome in outcomes if isinstance(outcome, TocsinError)]
    assert outcomes.count(None) == 1
    assert [refusal.code for refusal in refusals] == [Code.ALREADY_ACKNOWLEDGED] * 15
    winner = tables.value("SELECT u.name FROM incident_acknowledgments JOIN users u ON u.id = ack_by_user_id")
    assert {refusal.details["acknowledgedBy"]["name"] for refusal in refusals} == {winner}  # type: ignore[index]


async def test_a_note_can_be_added_even_after_the_end(app: App, crew: Crew) -> None:
    incident_id = await reported(app)
    await acknowledged(app, crew.olga, incident_id)
    async with app.work() as work:
        await respond.record_root_cause(work, crew.olga, incident_id, ROOT_CAUSE)
        await respond.resolve(work, crew.olga, incident_id, RESOLVED_WITH_LESSONS)
        await respond.add_note(work, crew.sam, incident_id, AddNote("It was the other pool"))
    life = await shown(app, crew, incident_id)
    assert life.timeline[-1].metadata == {"text": "It was the other pool"}
    assert life.incident.status == "CLOSED"


@pytest.mark.parametrize("ref", [99, 2**70, -1, ids.new_id()])
async def test_an_incident_that_does_not_exist_is_not_found(app: App, crew: Crew, ref: UUID | int) -> None:
    with pytest.raises(TocsinError) as caught:
        await acknowledged(app, crew.olga, ref)
    assert caught.value.refusal.code is Code.NOT_FOUND
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await read_incidents.show_incident(work, crew.dee, ref)
    assert caught.value.refusal.code is Code.NOT_FOUND


LONGEST = {"control characters": "\x07" * MAX_TEXT_CHARACTERS, "emoji": "🔔" * MAX_TEXT_CHARACTERS}


@pytest.mark.slow
@pytest.mark.parametrize("text", LONGEST.values(), ids=LONGEST)
async def test_the_longest_texts_that_are_allowed_can_be_recorded(app: App, crew: Crew, text: str) -> None:
    action = FollowUpAction("🔔" * MAX_FOLLOW_UP_CHARACTERS, "🔔" * MAX_FOLLOW_UP_CHARACTERS, "2026-12-01")
    follow_ups = (action,) * MAX_FOLLOW_UPS
    for name in ("at once", "later"):
        incident_id = await reported(app, name)
        async with app.work() as work:
            await respond.acknowledge(work, crew.olga, incident_id, Acknowledge(text))
            await escalate.change_severity(work, crew.olga, incident_id, ChangeSeverity(Severity.CRITICAL, text))
            help_wanted = Escalate(EscalationReason.MANUAL_ESCALATION, text)
            await escalate.escalate_by_hand(work, crew.olga, incident_id, "dee@example.org", help_wanted)
            await respond.add_note(work, crew.olga, incident_id, AddNote(text))
            cause = RecordRootCause(text, RootCauseCategory.UNKNOWN, text)
            await respond.record_root_cause(work, crew.olga, incident_id, cause)
            if name == "at once":
                await respond.resolve(work, crew.olga, incident_id, Resolve(text, text, text, text, follow_ups))
            else:
                await respond.resolve(work, crew.olga, incident_id, Resolve(text, text, text))
                await respond.close(work, crew.olga, incident_id, Close(text, follow_ups))
        assert (await shown(app, crew, incident_id)).incident.status == "CLOSED"
