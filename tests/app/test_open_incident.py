"""A person opens an incident: because they saw something, or for a report that was only recorded."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run
from tests.app.test_report_errors import closed
from tests.support.clock import FakeClock
from tests.support.lives import LESSONS, accept_one, error_report, reported
from tocsin import ids
from tocsin.app import read_incidents
from tocsin.app.open_incident import open_by_hand
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.incident import Severity
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio


async def opened(app: App, actor: Actor, severity: Severity = Severity.HIGH, error_id: UUID | None = None) -> UUID:
    """Open an incident by hand."""
    async with app.work() as work:
        return await open_by_hand(
            work, actor, severity=severity, title="The shop is slow", description="Since noon", error_id=error_id
        )


@pytest.mark.parametrize("severity", Severity)
async def test_what_a_person_sees_becomes_an_incident_in_their_name(
    app: App, crew: Crew, inbox: Inbox, severity: Severity
) -> None:
    incident_id = await opened(app, crew.olga, severity)
    async with app.work() as work:
        shown = await read_incidents.show_incident(work, crew.ada, incident_id)
    assert not shown.incident.created_by_system
    assert (shown.incident.severity, shown.incident.occurrences) == (severity.value, 0)
    assert shown.error is None
    (entry,) = shown.timeline
    assert (entry.actor_user_id, entry.actor_role) == (crew.olga.user_id, "responder")
    assert entry.metadata == {"trigger": "OPENED_BY_HAND", "errorChecksum": None}
    await run(app, inbox)
    assert inbox.taken() == [("olga", "INCIDENT_OPENED")]


async def test_a_recorded_report_can_be_made_an_incident_and_further_ones_join_it(
    app: App, crew: Crew, tables: Tables
) -> None:
    await accept_one(app, error_report(severity=Severity.LOW))
    error_id = tables.value("SELECT id FROM audit_logs")
    incident_id = await opened(app, crew.olga, error_id=error_id)
    assert tables.rows("SELECT outcome, incident_id FROM audit_logs") == [("recorded", incident_id)]
    assert tables.rows("SELECT created_from_error_id, occurrences FROM current_incident_status") == [(error_id, 1)]
    assert (await accept_one(app, error_report(severity=Severity.LOW))).incident_id == incident_id
    assert tables.value("SELECT occurrences FROM current_incident_status") == 2


async def test_a_failure_with_an_open_incident_gets_no_second_one(app: App, crew: Crew, tables: Tables) -> None:
    await accept_one(app, error_report(severity=Severity.LOW))
    error_id = tables.value("SELECT id FROM audit_logs")
    await reported(app)
    with pytest.raises(TocsinError, match="open incident already: INC-1") as caught:
        await opened(app, crew.olga, error_id=error_id)
    assert caught.value.refusal.code is Code.CONFLICT


async def test_a_report_that_belongs_to_an_incident_is_not_taken_from_it(
    app: App, crew: Crew, clock: FakeClock, tables: Tables
) -> None:
    incident_id = await reported(app)
    error_id = tables.value("SELECT id FROM audit_logs")
    await closed(app, crew.ada, incident_id)
    with pytest.raises(TocsinError, match="belongs to an incident already") as caught:
        await opened(app, crew.olga, error_id=error_id)
    assert caught.value.refusal.code is Code.CONFLICT


async def test_an_incident_for_a_failure_that_had_one_is_its_recurrence(
    app: App, crew: Crew, clock: FakeClock, tables: Tables, inbox: Inbox
) -> None:
    before = await reported(app)
    await closed(app, crew.ada, before)
    clock.forward(hours=1)
    await accept_one(app, error_report(severity=Severity.LOW))
    error_id = tables.value("SELECT id FROM audit_logs WHERE outcome = 'recorded'")
    incident_id = await opened(app, crew.olga, error_id=error_id)
    assert tables.value("SELECT recurrence_of FROM incidents WHERE id = %s", incident_id) == before
    await run(app, inbox)
    assert {message.payload["previousLesson"] for _, _, message in inbox.sent} == {None, LESSONS}


async def test_a_report_that_does_not_exist_is_not_found(app: App, crew: Crew) -> None:
    with pytest.raises(TocsinError) as caught:
        await opened(app, crew.olga, error_id=ids.new_id())
    assert caught.value.refusal.code is Code.NOT_FOUND


async def test_only_who_can_respond_may_open(app: App, crew: Crew, tables: Tables) -> None:
    for actor in (crew.dee, crew.mia):
        with pytest.raises(TocsinError) as caught:
            await opened(app, actor)
        assert caught.value.refusal.code is Code.FORBIDDEN
    assert tables.value("SELECT count(*) FROM incidents") == 0


@pytest.mark.parametrize("title", ["", "  ", "two\nlines", "x" * 201, "a\x00b"])
async def test_a_title_is_one_line(app: App, crew: Crew, title: str) -> None:
    async with app.work() as work:
        with pytest.raises(TocsinError) as caught:
            await open_by_hand(work, crew.olga, severity=Severity.HIGH, title=title, description="")
    assert caught.value.refusal.code is Code.INVALID


async def test_what_it_is_about_may_be_said_or_follows_from_the_report(app: App, admin: Actor, tables: Tables) -> None:
    async with app.work() as work:
        await open_by_hand(work, admin, severity=Severity.HIGH, title="x", description="", service="shop")
        await open_by_hand(work, admin, severity=Severity.HIGH, title="y", description="")
    low = await accept_one(app, error_report("only recorded", Severity.LOW))
    error_id = tables.value("SELECT id FROM audit_logs WHERE event_id = %s", low.event_id)
    async with app.work() as work:
        await open_by_hand(work, admin, severity=Severity.HIGH, title="z", description="", error_id=error_id)
    assert tables.rows("SELECT service FROM incident_heads ORDER BY number") == [("shop",), (None,), ("default",)]
    with pytest.raises(TocsinError):
        async with app.work() as work:
            await open_by_hand(work, admin, severity=Severity.HIGH, title="x", description="", service="a\nb")
