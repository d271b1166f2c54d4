"""Erasing a person's data: what is gone, what stays, who is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run
from tests.support.clock import FakeClock
from tests.support.lives import accept_one, error_report, reported
from tocsin import ids
from tocsin.app import accounts, erase, escalate, read_incidents, respond
from tocsin.app.erase import Grounds, Reports
from tocsin.app.read_incidents import IncidentDetail
from tocsin.app.verify import verify_database
from tocsin.app.work import App, Work
from tocsin.channels import Rejected
from tocsin.domain import erasure
from tocsin.domain.access import Actor
from tocsin.domain.disclosure import ERASED
from tocsin.domain.erasure import by_ids, portions
from tocsin.domain.follow_up import FollowUpAction
from tocsin.domain.incident import EscalationReason, RootCauseCategory, Severity
from tocsin.domain.policy import Duty
from tocsin.domain.workflow import Acknowledge, AddNote, ChangeSeverity, Close, Escalate, RecordRootCause, Resolve
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio
GROUNDS = Grounds("Request of the person", "GDPR-17")
SECRET = "Wilhelmina"


async def show(app: App, actor: Actor, incident_id: UUID) -> IncidentDetail:
    """Return the whole incident."""
    async with app.work() as work:
        return await read_incidents.show_incident(work, actor, incident_id)


async def is_intact(app: App) -> bool:
    """Tell whether the record verifies."""
    async with app.work(streaming=True) as work:
        return (await verify_database(work)).findings == []


async def lived(app: App, crew: Crew) -> UUID:
    """Live through an incident in every text of which the name stands; return it."""
    incident_id = await reported(app, f"Error of {SECRET}")
    follow_ups = (FollowUpAction(f"Call {SECRET}", SECRET),)
    steps: list[Callable[[Work], Awaitable[object]]] = [
        lambda work: respond.acknowledge(work, crew.olga, incident_id, Acknowledge(f"{SECRET} called")),
        lambda work: respond.add_note(work, crew.olga, incident_id, AddNote(f"{SECRET} again")),
        lambda work: escalate.escalate_by_hand(
            work, crew.olga, incident_id, "sam@example.org", Escalate(EscalationReason.MANUAL_ESCALATION, SECRET)
        ),
        lambda work: escalate.change_severity(
            work, crew.olga, incident_id, ChangeSeverity(Severity.CRITICAL, f"{SECRET} is important")
        ),
        lambda work: respond.record_root_cause(
            work, crew.olga, incident_id, RecordRootCause(SECRET, RootCauseCategory.USER_ERROR, f"Train {SECRET}")
        ),
        lambda work: respond.resolve(work, crew.olga, incident_id, Resolve(SECRET, SECRET, SECRET)),
        lambda work: respond.close(work, crew.olga, incident_id, Close(f"Ask {SECRET} first", follow_ups)),
    ]
    for step in steps:
        async with app.work() as work:
            await step(work)
    return incident_id


async def test_all_texts_of_an_incident_are_gone_and_its_facts_stay(app: App, crew: Crew, tables: Tables) -> None:
    incident_id = await lived(app, crew)
    before = await show(app, crew.ada, incident_id)
    assert before.ack is not None
    told_at = before.ack.ack_at
    assert SECRET in str(before)
    async with app.work() as work:
        erased = await erase.erase_incident(work, crew.ada, incident_id, None, GROUNDS)
    (one,) = erased.incidents
    assert (erased.done, one.number, one.reports) == (True, before.incident.number, 0)
    after = await show(app, crew.ada, incident_id)
    told = [entry for entry in after.timeline if SECRET in str(entry)]
    assert told == []
    for part in (after.incident, after.ack, after.root_cause, after.resolution, after.escalations, after.notifications):
        assert SECRET not in str(part)
    assert after.incident.title is None
    assert after.ack is not None
    assert (after.ack.ack_notes, after.ack.ack_by_name, after.ack.ack_at) == (
        None,
        "Olga",
        told_at,
    )
    assert after.resolution is not None
    assert (after.resolution.lessons_learned, after.resolution.follow_up_actions) == (None, None)
    assert [entry.event_type for entry in after.timeline] == [
        *(entry.event_type for entry in before.timeline),
        "PERSONAL_DATA_ERASED",
    ]
    last = after.timeline[-1]
    assert (last.actor_name, last.metadata["reason"], last.metadata["request"]) == ("ada", GROUNDS.reason, "GDPR-17")
    assert after.timeline[1].metadata == {"notes": None}
    assert tables.rows("SELECT DISTINCT subject, payload->'previousLesson' FROM notifications")[0][0].endswith(ERASED)
    assert await is_intact(app)


async def test_some_texts_are_gone_and_the_others_stay(app: App, crew: Crew) -> None:
    incident_id = await lived(app, crew)
    async with app.work() as work:
        erased = await erase.erase_incident(work, crew.ada, incident_id, ["ack_notes", "impact_assessment"], GROUNDS)
    assert erased.incidents[0].texts == 3, "the notes stand in the entry, too"
    after = await show(app, crew.ada, incident_id)
    assert after.ack is not None
    assert after.resolution is not None
    assert (after.ack.ack_notes, after.resolution.impact_assessment) == (None, None)
    assert after.resolution.resolution_summary == SECRET
    assert after.incident.title is not None
    assert SECRET in after.incident.title
    async with app.work() as work:
        again = await erase.erase_incident(work, crew.ada, incident_id, ["ack_notes"], GROUNDS)
    assert again.incidents[0].texts == 0, "nothing is left to be erased"
    assert (await show(app, crew.ada, incident_id)).timeline[-1].sequence == after.timeline[-1].sequence
    async with app.work() as work:
        await erase.erase_incident(work, crew.ada, incident_id, None, GROUNDS)
    assert SECRET not in str((await show(app, crew.ada, incident_id)).resolution)
    assert await is_intact(app)


async def test_the_lesson_is_forgotten_where_the_failure_came_back(
    app: App, crew: Crew, tables: Tables, clock: FakeClock, inbox: Inbox
) -> None:
    incident_id = await lived(app, crew)
    clock.forward(hours=1)
    assert await reported(app, f"Error of {SECRET}") != incident_id
    pages = "SELECT count(*) FROM notifications WHERE payload::text LIKE %s OR body LIKE %s"
    asked = f"%Ask {SECRET} first%"
    assert tables.connection.execute(pages, [asked, asked]).fetchone() != {"count": 0}
    async with app.work() as work:
        await erase.erase_incident(work, crew.ada, incident_id, ["lessons_learned"], GROUNDS)
    assert tables.connection.execute(pages, [asked, asked]).fetchone() == {"count": 0}
    del inbox


@pytest.mark.parametrize("texts", [["titel"], [], ["title", "checksum"]])
async def test_a_text_that_there_is_not_is_refused(app: App, crew: Crew, texts: list[str]) -> None:
    incident_id = await reported(app)
    async with app.work() as work:
        with pytest.raises(TocsinError, match="ack_notes"):
            await erase.erase_incident(work, crew.ada, incident_id, texts, GROUNDS)


async def test_only_a_superadmin_erases(app: App, crew: Crew) -> None:
    incident_id = await reported(app)
    for actor in (crew.olga, crew.dee, crew.mia):
        async with app.work() as work:
            for attempt in (
                erase.erase_incident(work, actor, incident_id, None, GROUNDS),
                erase.erase_reports(work, actor, Reports(incident=incident_id), GROUNDS),
                erase.erase_user(work, actor, "mia@example.org", GROUNDS),
            ):
                with pytest.raises(TocsinError) as refused:
                    await attempt
                assert refused.value.refusal.code is Code.FORBIDDEN


@pytest.mark.parametrize(
    ("reason", "request_"), [("", None), (" ", None), ("x" * 501, None), ("a\nb", None), ("x", "y" * 201)]
)
def test_a_reason_is_one_line_that_says_something(reason: str, request_: str | None) -> None:
    with pytest.raises(TocsinError):
        Grounds(reason, request_)


async def test_a_dry_run_says_the_same_and_does_nothing(app: App, crew: Crew, tables: Tables) -> None:
    incident_id = await lived(app, crew)
    await accept_one(app, error_report("minor", Severity.LOW, message=SECRET))

    def everything() -> object:
        names = (
            "incident_lifecycle",
            "incidents",
            "audit_logs",
            "users",
            "notifications",
            "log_pending",
            "incident_heads",
        )
        return [tables.rows(f"SELECT * FROM {name} ORDER BY 1") for name in names]

    before = everything()
    which = Reports(containing=SECRET.lower())
    for dry_run in (True, False):
        async with app.work() as work:
            texts = await erase.erase_incident(work, crew.ada, incident_id, ["notes"], GROUNDS, dry_run=dry_run)
        async with app.work() as work:
            reports = await erase.erase_reports(work, crew.ada, which, GROUNDS, dry_run=dry_run)
        async with app.work() as work:
            user = await erase.erase_user(work, crew.ada, "mia@example.org", GROUNDS, dry_run=dry_run)
        assert {texts.done, reports.done, user.done} == {not dry_run}
        assert (texts.incidents[0].texts, reports.reports, user.user_id) == (1, 2, crew.mia.user_id)
        assert bool(reports.found) is dry_run
        if dry_run:
            assert everything() == before


# --- reports --------------------------------------------------------------------------------------------------


async def test_what_an_incident_copied_from_its_report_goes_with_it(app: App, crew: Crew, tables: Tables) -> None:
    incident_id = await lived(app, crew)
    await accept_one(app, error_report(f"Error of {SECRET}"))
    async with app.work() as work:
        erased = await erase.erase_reports(work, crew.ada, Reports(incident=incident_id), GROUNDS)
    assert (erased.incidents[0].reports, erased.reports, erased.incidents[0].texts) == (2, 2, 3)
    after = await show(app, crew.ada, incident_id)
    assert (after.incident.title, after.incident.description) == (None, None)
    assert after.error is not None
    assert (after.error.document, after.error.title) == (None, None)
    assert after.timeline[0].metadata["errorChecksum"] is None
    assert after.ack is not None
    assert after.ack.ack_notes is not None
    assert tables.rows("SELECT title, error_type, document, erased FROM audit_logs") == [(None, None, None, True)] * 2
    async with app.work() as work:
        listed = await read_incidents.list_reports(work, crew.ada, incident_id)
    assert (listed.reports, listed.occurrences) == ([], 2)
    assert await is_intact(app)
    # The same failure still joins, and a later report is not erased by the entry of before.
    assert (await accept_one(app, error_report(f"Error of {SECRET}"))).incident_id == incident_id
    assert tables.value("SELECT count(*) FROM audit_logs WHERE NOT erased") == 1


async def test_what_is_reported_while_an_incident_is_erased_is_said_to_be_left(
    app: App, crew: Crew, tables: Tables, clock: FakeClock
) -> None:
    incident_id = await reported(app)
    which = Reports(incident=incident_id)
    async with app.work() as work:
        clock.forward(seconds=1)
        await accept_one(app, error_report())
        first = await erase.erase_reports(work, crew.ada, which, GROUNDS)
    assert tables.value("SELECT count(*) FROM audit_logs WHERE erased") == 1
    async with app.work() as work:
        second = await erase.erase_reports(work, crew.ada, which, GROUNDS)
    assert [(erased.reports, erased.incidents[0].reports, erased.more) for erased in (first, second)] == [
        (1, 1, True),
        (1, 1, False),
    ]
    assert tables.value("SELECT count(*) FROM audit_logs WHERE NOT erased") == 0


@pytest.mark.parametrize("whole_incident", [True, False])
async def test_an_incident_of_before_keeps_its_texts_and_hinders_no_erasure(
    app: App, crew: Crew, tables: Tables, whole_incident: bool
) -> None:
    old, new = await reported(app, f"Error of {SECRET}"), await reported(app, f"Other error of {SECRET}")
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, old, Acknowledge("Since then"))
    tables.connection.execute(b"SELECT tocsin_guard.suspend()")
    tables.connection.execute(b"ALTER TABLE incidents DISABLE TRIGGER USER")
    tables.connection.execute(b"UPDATE incidents SET disclosures = '{}' WHERE id = %s", [old])
    tables.connection.execute(b"ALTER TABLE incidents ENABLE ALWAYS TRIGGER a_no_change")
    tables.connection.execute(b"ALTER TABLE incidents ENABLE ALWAYS TRIGGER a_no_row_change")
    which = Reports(incident=old) if whole_incident else Reports(containing=SECRET)
    for dry_run in (True, False):
        async with app.work() as work:
            erased = await erase.erase_reports(work, crew.ada, which, GROUNDS, dry_run=dry_run)
        told = {one.id: (one.texts, one.reports, one.kept_texts) for one in erased.incidents}
        assert told == {old: (1, 1, 2)} | ({} if whole_incident else {new: (3, 1, 0)})
    assert tables.value("SELECT count(*) FROM audit_logs WHERE erased") == len(told)
    assert tables.rows("SELECT title IS NULL FROM incidents ORDER BY number") == [(False,), (not whole_incident,)]
    async with app.work() as work:
        with pytest.raises(TocsinError, match="Cannot erase title, description of INC-1:"):
            await erase.erase_incident(work, crew.ada, old, None, GROUNDS)
        assert (await erase.erase_incident(work, crew.ada, old, ["ack_notes"], GROUNDS)).incidents[0].texts == 2


async def test_single_reports_are_erased_by_their_ids(app: App, crew: Crew, tables: Tables) -> None:
    first = await reported(app)
    await accept_one(app, error_report())
    await accept_one(app, error_report("minor", Severity.LOW))
    (joined,) = tables.rows("SELECT id FROM audit_logs WHERE outcome = 'joined'")
    (alone,) = tables.rows("SELECT id FROM audit_logs WHERE outcome = 'recorded'")
    async with app.work() as work:
        await erase.erase_reports(work, crew.ada, Reports(ids=(joined[0], alone[0])), GROUNDS)
    assert tables.value("SELECT count(*) FROM audit_logs WHERE erased") == 2
    assert (await show(app, crew.ada, first)).incident.title is not None, "it came from another report"
    assert await is_intact(app)
    for ids_ in ((joined[0],), (ids.new_id(),)):
        async with app.work() as work:
            with pytest.raises(TocsinError, match="no error report"):
                await erase.erase_reports(work, crew.ada, Reports(ids=ids_), GROUNDS)


async def test_a_search_sees_through_case_and_json(app: App, crew: Crew, tables: Tables) -> None:
    messages = ['He said "Zoë\\Ø" twice', "nothing to see", 'HE SAID "ZOË\\Ø"']
    for message in messages:
        await accept_one(app, error_report("minor", Severity.LOW, message=message))
    async with app.work() as work:
        erased = await erase.erase_reports(work, crew.ada, Reports(containing='said "zoë\\ø"'), GROUNDS)
    assert erased.reports == 2
    assert tables.value("SELECT count(*) FROM audit_logs WHERE NOT erased") == 1


async def test_more_than_fits_into_one_go_is_said(
    app: App, crew: Crew, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.app.erase.MAX_REPORTS", 2)
    monkeypatch.setattr("tocsin.store.erasure.MAX_REPORTS", 2)
    for _ in range(3):
        await accept_one(app, error_report("minor", Severity.LOW, message=SECRET))
    for more in (True, False):
        async with app.work() as work:
            assert (await erase.erase_reports(work, crew.ada, Reports(containing=SECRET), GROUNDS)).more is more
    assert tables.value("SELECT count(*) FROM audit_logs WHERE NOT erased") == 0


@pytest.mark.parametrize(
    "given", [{}, {"incident": 1, "containing": "abc"}, {"containing": " ab "}, {"containing": "a\0bc"}]
)
def test_a_choice_of_reports_is_one(given: dict[str, object]) -> None:
    with pytest.raises(TocsinError):
        Reports(**given)  # type: ignore[arg-type]  # that is the point


def test_what_is_too_much_for_one_account_is_parted() -> None:
    named = by_ids("audit_logs", [ids.new_id() for _ in range(3_001)])
    parted = list(portions(named))
    assert [item for portion in parted for item in portion] == named
    assert len(parted) > 1
    for portion in parted:
        assert len(str(GROUNDS.account(portion))) < erasure.MAX_NAMED_BYTES + 2_000
    assert list(portions([])) == []


# --- users ----------------------------------------------------------------------------------------------------


async def test_a_user_becomes_nobody_and_what_they_did_stays(
    app: App, crew: Crew, clock: FakeClock, tables: Tables
) -> None:
    incident_id = await reported(app)
    clock.forward(minutes=1)
    async with app.work() as work:
        await accounts.assign_duty(work, crew.ada, Duty.ON_CALL, "sam@example.org")
        await accounts.add_token(work, crew.ada, email="olga@example.org", name="Olga's laptop", days=None)
        await respond.acknowledge(work, crew.olga, incident_id, Acknowledge("On it"))
    async with app.work() as work:
        erased = await erase.erase_user(work, crew.ada, "olga@example.org", GROUNDS)
    assert erased.user_id == crew.olga.user_id
    assert tables.rows("SELECT email, name, password_hash, active FROM users WHERE erased_at IS NOT NULL") == [
        (f"erased-{crew.olga.user_id}@erased.invalid", ERASED, None, False)
    ]
    assert tables.rows("SELECT name, revoked_at IS NULL FROM api_tokens WHERE name <> 'bootstrap'") == [(ERASED, False)]
    after = await show(app, crew.ada, incident_id)
    assert after.ack is not None
    assert (after.ack.ack_by_user_id, after.ack.ack_by_name, after.ack.ack_notes) == (
        crew.olga.user_id,
        ERASED,
        "On it",
    )
    assert "olga" not in str(after).lower()
    ((leaf,),) = tables.rows("SELECT convert_from(leaf, 'UTF8')::jsonb FROM log_pending WHERE kind = 'log_erasure'")
    assert (leaf["reason"], leaf["request"], leaf["actor_user_id"]) == (*_grounds(), str(crew.ada.user_id))
    assert await is_intact(app)


def _grounds() -> tuple[str, str | None]:
    return GROUNDS.reason, GROUNDS.request


async def test_pages_that_a_user_still_waits_for_go_to_the_others(
    app: App, crew: Crew, clock: FakeClock, tables: Tables, inbox: Inbox
) -> None:
    await reported(app)
    clock.forward(minutes=1)
    async with app.work() as work:
        await accounts.assign_duty(work, crew.ada, Duty.ON_CALL, "sam@example.org")
        await erase.erase_user(work, crew.ada, "olga@example.org", GROUNDS)
    await run(app, inbox)
    assert ("sam", "PAGE_NOT_DELIVERED") in inbox.taken()
    assert tables.rows("SELECT DISTINCT state, address FROM notifications WHERE reason = 'INCIDENT_OPENED'") == [
        ("FAILED", ERASED)
    ]


async def test_our_own_reports_of_pages_that_did_not_arrive_forget_the_address(
    app: App, crew: Crew, clock: FakeClock, tables: Tables, inbox: Inbox
) -> None:
    inbox.answers = [Rejected("550 no such user olga@example.org")]
    await reported(app)
    await run(app, inbox)
    assert "olga@example.org" in str(tables.rows("SELECT title FROM audit_logs WHERE project_id = 0"))
    clock.forward(minutes=1)
    async with app.work() as work:
        await accounts.assign_duty(work, crew.ada, Duty.ON_CALL, "sam@example.org")
        await erase.erase_user(work, crew.ada, "olga@example.org", GROUNDS)
    for table in (
        "audit_logs",
        "incidents",
        "incident_lifecycle",
        "notifications",
        "delivery_attempts",
        "jobs",
        "users",
    ):
        assert "olga@example.org" not in str(tables.rows(f"SELECT t::text FROM {table} t")), table
    assert await is_intact(app)


async def test_who_is_needed_is_not_erased(app: App, crew: Crew) -> None:
    for email, why in (
        ("olga@example.org", "ON_CALL"),
        ("ada@example.org", "yourself"),
        ("nobody@example.org", "no user"),
    ):
        async with app.work() as work:
            with pytest.raises(TocsinError, match=why):
                await erase.erase_user(work, crew.ada, email, GROUNDS)


async def test_the_last_superadmin_is_not_erased(app: App, crew: Crew) -> None:
    async with app.work() as work:
        await accounts.set_active(work, crew.sam, "ada@example.org", active=False)
    async with app.work() as work:
        with pytest.raises(TocsinError, match="last superadmin"):
            await erase.erase_user(work, crew.ada, "sam@example.org", GROUNDS)
