"""Owes pages: finds whom a step is for, records of each why they are paged or not, and queues what they will read.

All of it is written in the transaction that makes the incident louder. Who is paged, `tocsin.domain.paging` decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.app import outbox, schedules
from tocsin.app.timeline import Detail, locked_head, take
from tocsin.app.work import Work
from tocsin.domain.disclosure import ERASED
from tocsin.domain.escalation import (
    SESSION_BLOCK_DELAY,
    Held,
    Terms,
    moot,
    opening,
    still_held,
    timers,
)
from tocsin.domain.incident import Severity, Status
from tocsin.domain.notification import IncidentFacts, PageText, compose
from tocsin.domain.paging import Asked, Because, Decision, Directory, decide, spare
from tocsin.domain.policy import Policies, Policy
from tocsin.domain.silence import Silence, SilenceFacts, holding
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import HoldPages, IncidentState
from tocsin.store import contacts, decisions, directory, incidents, jobs, notifications, policies, silences
from tocsin.store.decisions import NewDecision
from tocsin.store.directory import Holders
from tocsin.store.incidents import Head
from tocsin.store.jobs import NewJob
from tocsin.store.notifications import NewNotification

ESCALATE = "escalate"
"""The kind of job that looks at one incident when its next timer is due."""
REACHES_NOBODY = "reaches-nobody"
"""The kind of job that reports a policy's step of which nobody can be reached."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The incident that a page is about."""

    incident_id: UUID
    number: int
    severity: Severity
    title: str
    created_at: datetime
    recurrence_of: UUID | None
    project_id: int | None
    service: str | None

    @classmethod
    def of(cls, head: Head, severity: Severity | None = None) -> Subject:
        """Return an incident as pages name it, with the severity that it has, or is about to have."""
        return cls(
            head.incident_id,
            head.number,
            severity or Severity(head.current_severity),
            head.title or ERASED,
            head.created_at,
            head.recurrence_of,
            head.project_id,
            head.service,
        )

    @property
    def facts(self) -> SilenceFacts:
        """Return what decides whether a silence holds its pages back."""
        return SilenceFacts(self.incident_id, self.project_id, self.service, self.severity)


@dataclass(frozen=True, slots=True)
class Arrangements:
    """What was arranged beforehand, for all incidents: policies and routes, who holds which duty, silences."""

    policies: Policies
    holders: Holders
    silences: Sequence[Silence]

    def policy_of(self, subject: Subject) -> Policy:
        """Return the policy that an incident follows."""
        return self.policies.of(subject.service, subject.severity)


@dataclass(frozen=True, slots=True)
class Arranged:
    """What was arranged for one incident, as it stands."""

    policy: Policy
    directory: Directory
    hold: Silence | None

    def decide(self, asked: Asked, at: datetime, *, in_storm: bool = False) -> tuple[Decision, ...]:
        """Return the decisions of a step."""
        return decide(asked, self.directory, at, hold=self.hold, in_storm=in_storm)


@dataclass(frozen=True, slots=True)
class Made:
    """The decisions of a step about an incident, as they are to be recorded and acted upon."""

    subject: Subject
    asked: Asked
    decisions: tuple[Decision, ...]
    notes: str = ""
    escalation_id: UUID | None = None

    @property
    def first(self) -> UUID | None:
        """Return the first person whom it reaches, or will when a silence ends."""
        reached = [one for one in self.decisions if one.paged] or [
            one for one in self.decisions if one.because is Because.SILENCED
        ]
        return reached[0].user_id if reached else None


# --- what was arranged ---------------------------------------------------------------------------------------------


async def ask(work: Work) -> Callable[[], Awaitable[Arrangements]]:
    """Ask for what was arranged; return what waits for it. It costs no round trip beside another query."""
    asked_policies = await policies.ask(work.tx)
    asked_holders = await directory.ask_holders(work.tx)
    asked_silences = await silences.ask_active(work.tx, work.now)

    async def loaded() -> Arrangements:
        return Arrangements(await asked_policies(), await asked_holders(), await asked_silences())

    return loaded


async def people(
    work: Work, arrangements: Arrangements, followed: Collection[Policy], named: Collection[UUID] = ()
) -> Directory:
    """Return everybody whom these policies can lead to, the holders of duties, the superadmins, and who is named."""
    targets = [target for policy in followed for step in policy.steps for target in step.targets]
    targets += arrangements.holders.duties.values()
    schedule_ids = {target.schedule_id for target in targets if target.schedule_id is not None}
    rosters = await schedules.load(work, schedule_ids) if schedule_ids else {}
    user_ids = {target.user_id for target in targets if target.user_id is not None}
    user_ids |= {member for roster in rosters.values() for layer in roster.layers for member in layer.members}
    user_ids |= {override.user_id for roster in rosters.values() for override in roster.overrides}
    user_ids |= {*named, *arrangements.holders.superadmins}
    reach = await contacts.reach(work.tx, user_ids)
    return Directory(reach, rosters, arrangements.holders.duties, arrangements.holders.superadmins)


async def arranged(work: Work, subject: Subject, named: Collection[UUID] = ()) -> Arranged:
    """Return what was arranged for one incident."""
    arrangements = await (await ask(work))()
    policy = arrangements.policy_of(subject)
    known = await people(work, arrangements, [policy], named)
    return Arranged(policy, known, holding(arrangements.silences, subject.facts, work.now))


# --- pages -----------------------------------------------------------------------------------------------------------


async def page(work: Work, made: Made, hold: Silence | None) -> None:
    """Record the decisions of a step about a locked incident, and owe the pages that follow from them."""
    if hold is not None and any(one.silence_id == hold.id for one in made.decisions):
        await _hold_pages(work, made.subject.incident_id, hold)
    await record(work, [made])


async def page_openings(
    work: Work, arrangements: Arrangements, subjects: Sequence[Subject], stormy: Collection[UUID]
) -> Mapping[UUID, Silence]:
    """Decide on the first alerts of new incidents, and set their timers; return what holds back which.

    Those of a storm are not paged one by one: the storm's own incident is.
    """
    known = await people(work, arrangements, _followed(arrangements, subjects))
    decided: dict[tuple[UUID, UUID | None, bool], tuple[Decision, ...]] = {}
    made, looks, holds = [], [], {}
    for subject in subjects:
        policy, in_storm = arrangements.policy_of(subject), subject.incident_id in stormy
        hold = holding(arrangements.silences, subject.facts, work.now)
        case = (policy.id, hold.id if hold else None, in_storm)
        if case not in decided:
            decided[case] = decide(opening(policy), known, work.now, hold=hold, in_storm=in_storm)
        made.append(Made(subject, opening(policy), decided[case]))
        if hold is not None and any(one.silence_id for one in decided[case]):
            holds[subject.incident_id] = hold
        looks += _first_look(work, subject, policy, holds.get(subject.incident_id))
    await record(work, made)
    await jobs.enqueue_many(work.tx, looks, work.now)
    return holds


def _followed(arrangements: Arrangements, subjects: Sequence[Subject]) -> list[Policy]:
    found = (arrangements.policy_of(subject) for subject in subjects)
    return list({policy.id: policy for policy in found}.values())


async def record(work: Work, made: Sequence[Made]) -> None:
    """Record decisions, owe the pages that follow from them, and see to it that a step without anybody is told of."""
    recorded: list[NewDecision] = []
    owed: list[NewNotification] = []
    for one in made:
        is_read = any(decision.paged for decision in one.decisions)
        text = await page_text(work, one.subject, one.asked.reason, one.notes) if is_read else None
        for decision in one.decisions:
            row = _row(work, one, decision)
            recorded.append(row)
            if text is not None:
                owed += _owed(work, one, decision, row.id, text)
    await decisions.insert_many(work.tx, recorded, work.now)
    await owe(work, owed)
    await jobs.enqueue_many(work.tx, _complaints(work, made), work.now)


async def owe(work: Work, owed: Sequence[NewNotification]) -> None:
    """Owe pages, and queue their deliveries."""
    await notifications.insert_many(work.tx, owed, work.now)
    await outbox.queue(work, owed)


async def page_text(work: Work, subject: Subject, reason: str, notes: str = "") -> PageText:
    """Write the page about an incident for a reason, as it stands now."""
    facts = IncidentFacts(
        incident_id=str(subject.incident_id),
        number=subject.number,
        severity=subject.severity,
        title=subject.title,
        created_at=subject.created_at,
        url=f"{work.settings.base_url}/api/incidents/{subject.incident_id}",
    )
    lesson = await incidents.lesson_of(work.tx, subject.recurrence_of) if subject.recurrence_of else None
    return compose(facts, reason, notes, lesson)


def _row(work: Work, made: Made, decision: Decision) -> NewDecision:
    return NewDecision(
        work.new_id(),
        made.subject.incident_id,
        made.asked.name,
        made.asked.reason,
        decision.user_id,
        decision.via,
        decision.because.value,
        decision.about_user_id,
        decision.silence_id,
        decision.until,
    )


def _owed(work: Work, made: Made, decision: Decision, decision_id: UUID, text: PageText) -> Iterable[NewNotification]:
    if decision.user_id is None:
        return
    for planned in decision.plan:
        yield NewNotification(
            work.new_id(),
            made.subject.incident_id,
            decision_id,
            made.escalation_id,
            made.asked.reason,
            decision.user_id,
            planned.method.channel,
            planned.method.address,
            work.now + planned.after,
            text,
        )


def _complaints(work: Work, made: Sequence[Made]) -> list[NewJob]:
    """Return what tells that a policy's step reaches nobody: a job, for a report locks what must be locked before."""
    empty = {
        (one.asked.policy_id, one.asked.reason): decision.via
        for one in made
        for decision in one.decisions
        if decision.because is Because.NOBODY and one.asked.policy_id is not None
    }
    return [
        NewJob(
            work.new_id(),
            REACHES_NOBODY,
            f"{REACHES_NOBODY}:{policy_id}:{reason}",
            {"policyId": str(policy_id), "reason": reason, "targets": targets},
            work.now,
        )
        for (policy_id, reason), targets in empty.items()
    ]


async def _hold_pages(work: Work, incident_id: UUID, hold: Silence) -> None:
    """Enter into the timeline that a silence holds pages back, once for each silence, and look again at its end."""
    await queue_escalation(work, incident_id, hold.ends_at)
    if not any(row.silence_id == hold.id for row in await decisions.silenced(work.tx, incident_id)):
        head = await locked_head(work, incident_id)
        await take(work, head, HoldPages(), None, {EntryKind.PAGES_HELD: held_detail(hold)})


def held_detail(hold: Silence) -> Detail:
    """Return what an entry says of a silence that holds pages back."""
    until = hold.ends_at.isoformat()
    said = {"silenceId": str(hold.id), "kind": hold.kind.value, "until": until, "reason": hold.reason}
    return Detail(metadata=said)


# --- timers ----------------------------------------------------------------------------------------------------------


async def held_pages(work: Work, incident_id: UUID) -> tuple[Held, ...]:
    """Return the pages about an incident that silences hold back still."""
    return still_held(await decisions.silenced(work.tx, incident_id))


def terms(work: Work, policy: Policy, held: Sequence[Held]) -> Terms:
    """Return what decides, besides its state, when an incident gets louder."""
    return Terms(policy, SESSION_BLOCK_DELAY if work.settings.session_blocking else None, tuple(held))


def _first_look(work: Work, subject: Subject, policy: Policy, hold: Silence | None) -> list[NewJob]:
    state = IncidentState(subject.number, Status.REPORTED, subject.severity, service=subject.service)
    running = timers(state, subject.created_at, terms(work, policy, []))
    instants = [timer.due_at for timer in running[:1]] + ([hold.ends_at] if hold else [])
    return [_look(work, subject.incident_id, min(instants))] if instants else []


async def watch(work: Work, head: Head, policy: Policy) -> None:
    """Set the timer of a locked incident, as it stands, to the next instant at which it gets louder."""
    under = terms(work, policy, await held_pages(work, head.incident_id))
    if running := timers(head.state(), head.created_at, under):
        await queue_escalation(work, head.incident_id, running[0].due_at)


async def settle_moot(work: Work, incident_id: UUID, by: UUID) -> None:
    """Record why the steps that will not be taken any more are not: somebody answered. And set the timer anew."""
    head = await locked_head(work, incident_id)
    subject = Subject.of(head)
    standing = await arranged(work, subject)
    made = [
        Made(subject, one.asked, spare(one.asked, standing.directory, work.now, one.because, by))
        for one in moot(head.state(), standing.policy)
    ]
    await record(work, made)
    await watch(work, head, standing.policy)


async def queue_escalation(work: Work, incident_id: UUID, due_at: datetime) -> None:
    """Queue a look at the incident's timers."""
    await jobs.enqueue_many(work.tx, [_look(work, incident_id, due_at)], work.now)


def _look(work: Work, incident_id: UUID, due_at: datetime) -> NewJob:
    payload: dict[str, object] = {"incidentId": str(incident_id)}
    return NewJob(work.new_id(), ESCALATE, f"{ESCALATE}:{incident_id}", payload, due_at)
