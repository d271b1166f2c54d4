"""Simulates: plays a policy on a virtual clock over the configuration as it stands, and tells it as `why` would.

Nothing is written: no incident, no decision, no page.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from tocsin.app import paging
from tocsin.app.policies import PolicyRef, policy_of
from tocsin.app.projects import ProjectRef, find_project, rules_of
from tocsin.app.schedules import member
from tocsin.app.why import Candidate, Page, Quiet, Stage, StepStory, in_words, title
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.escalation import SESSION_BLOCK_DELAY, Answer, opening
from tocsin.domain.follow_up import FollowUpAction
from tocsin.domain.incident import RootCauseCategory, Severity
from tocsin.domain.notification import shown_address
from tocsin.domain.paging import Decision, Directory, decide
from tocsin.domain.policy import MAX_SERVICE_CHARACTERS, checked_line
from tocsin.domain.schedule_bounds import checked_instant
from tocsin.domain.silence import SilenceFacts, holding
from tocsin.domain.simulation import MAX_TIME, Answered, Played, Scenario, Simulation, Snapshot, play
from tocsin.domain.simulation import Page as SimulatedPage
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import Acknowledge, RecordRootCause, Resolve
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import silences

BLOCKING = "sessions are blocked of everybody who cannot acknowledge"
_SAID = "A simulation"
_ACTIONS: tuple[tuple[str, Answer], ...] = (
    ("ackAfter", Acknowledge(_SAID)),
    ("rootCauseAfter", RecordRootCause(_SAID, RootCauseCategory.UNKNOWN, _SAID)),
    ("closeAfter", Resolve(_SAID, lessons_learned=_SAID, follow_up_actions=(FollowUpAction(_SAID),))),
)


class Planned(StrEnum):
    """What would become of a page."""

    OWED = "OWED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Question:
    """The incident to imagine, and what is done about it after how long; `days` is how far to look.

    Without a policy it follows the one to which its service and severity lead. Who answers is named by e-mail; without
    one it is the first person who is paged.
    """

    incident_at: datetime
    severity: Severity
    policy: PolicyRef | None = None
    service: str | None = None
    project: ProjectRef | None = None
    ack_after: timedelta | None = None
    root_cause_after: timedelta | None = None
    close_after: timedelta | None = None
    ack_by: str | None = None
    days: int = 3


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would happen, step by step. `cut_off`: there would be more than is told."""

    policy: str
    incident_at: datetime
    severity: Severity
    service: str | None
    until: datetime
    steps: list[StepStory]
    cut_off: bool


async def simulate(work: Work, actor: Actor, question: Question) -> Foreseen:
    """Return what an incident would lead to; raise INVALID, NOT_FOUND."""
    require(actor, Permission.READ)
    at = checked_instant("incidentAt", question.incident_at)
    until = at + _checked_time(question)
    facts = await _facts(work, question)
    # Everything is asked for as it will be then: the silences that hold, the overrides that are not over.
    then = replace(work, now=at)
    arrangements = await (await paging.ask(then))()
    policy = arrangements.policies.of(facts.service, facts.severity)
    if question.policy is not None:
        policy = policy_of(arrangements.policies, question.policy)
    answerer = (await member(work, "ackBy", question.ack_by)).id if question.ack_by is not None else None
    directory = await paging.people(then, arrangements, [policy], {answerer} if answerer else ())
    quiet = await silences.load_active(work.tx, at, until - at)
    delay = SESSION_BLOCK_DELAY if work.settings.session_blocking else None
    snapshot = Snapshot(policy, directory, quiet, delay)
    answers = _answers(question, answerer or _first_paged(facts, at, snapshot))
    # In a thread: a thousand steps of a long policy take longer than others should wait.
    found = await asyncio.to_thread(play, Scenario(facts, at, until, answers), snapshot)
    steps = [_story(played, snapshot, found) for played in found.played]
    return Foreseen(policy.name, at, facts.severity, facts.service, until, steps, found.cut_off)


def _checked_time(question: Question) -> timedelta:
    """Return how far to look; raise INVALID for more than can be, and for answers that are not in their order."""
    if not 1 <= question.days <= MAX_TIME.days:
        raise _invalid("days", f"must be between 1 and {MAX_TIME.days}")
    delays = (question.ack_after, question.root_cause_after, question.close_after)
    earliest = timedelta()
    for (field, _), delay, before in zip(_ACTIONS, delays, ("", "ackAfter", "rootCauseAfter"), strict=True):
        if delay is None:
            earliest = MAX_TIME
        elif earliest == MAX_TIME:
            raise _invalid(field, f"needs {before}: nobody can do the one without the other")
        elif not earliest <= delay < MAX_TIME:
            raise _invalid(field, f"must be between {before or 0} and {MAX_TIME.days} days")
        else:
            earliest = delay
    return timedelta(days=question.days)


def _invalid(field: str, problem: str) -> TocsinError:
    return refuse(Code.INVALID, f"{field} {problem}.", errors=[{"field": field, "problem": problem}])


async def _facts(work: Work, question: Question) -> SilenceFacts:
    service = question.service
    if service is not None:
        service = checked_line("service", service, MAX_SERVICE_CHARACTERS)
    project = await rules_of(work, await find_project(work, question.project)) if question.project is not None else None
    # As with a report: without a service of its own, it is the project's name that decides.
    named = service or (project.name if project else None)
    return SilenceFacts(work.new_id(), project.id if project else None, named, question.severity)


def _first_paged(facts: SilenceFacts, at: datetime, snapshot: Snapshot) -> UUID | None:
    """Return who is paged first, or would be but for a silence; else a superadmin."""
    hold = holding(snapshot.silences, facts, at)
    decided = decide(opening(snapshot.policy), snapshot.directory, at, hold=hold)
    reached = [one.user_id for one in decided if one.paged or one.silence_id is not None]
    return next(iter([*reached, *snapshot.directory.superadmins]), None)


def _answers(question: Question, by: UUID | None) -> tuple[Answered, ...]:
    delays = (question.ack_after, question.root_cause_after, question.close_after)
    if question.ack_after is not None and by is None:
        raise _invalid("ackBy", "must name somebody: the incident pages nobody who could acknowledge")
    return tuple(
        Answered(question.incident_at + delay, action, by)
        for (_, action), delay in zip(_ACTIONS, delays, strict=True)
        if delay is not None and by is not None
    )


def _story(played: Played, snapshot: Snapshot, simulation: Simulation) -> StepStory:
    if played.asked is None:
        blocked = EntryKind.SESSIONS_BLOCKED.value
        return StepStory(blocked, blocked, BLOCKING, Stage.TAKEN, played.at, [])
    asked, stage = played.asked, Stage.TAKEN if played.answer is None else Stage.MOOT
    told = [
        _candidate(played.at, decision, snapshot, [_page(page) for page in simulation.pages(played, decision)])
        for decision in played.decisions
    ]
    return StepStory(asked.name, asked.reason, title(asked.reason, asked.name), stage, played.at, told)


def _candidate(at: datetime, decision: Decision, snapshot: Snapshot, pages: list[Page]) -> Candidate:
    hold = next((one for one in snapshot.silences if one.id == decision.silence_id), None)
    quiet = Quiet(hold.kind.value, hold.ends_at, hold.reason) if hold else None
    about = _name(snapshot.directory, decision.about_user_id)
    return Candidate(
        decision.user_id,
        _name(snapshot.directory, decision.user_id),
        decision.via,
        decision.because,
        in_words(decision.because, about, quiet),
        at,
        pages,
    )


def _name(directory: Directory, user_id: UUID | None) -> str | None:
    return directory.people[user_id].name if user_id is not None else None


def _page(page: SimulatedPage) -> Page:
    method, because = page.planned.method, page.cancelled_because
    state, settled_at = (Planned.CANCELLED, page.due_at) if because else (Planned.OWED, None)
    address = shown_address(method.channel, method.address)
    return Page(method.channel, address, state, page.due_at, settled_at, because, [])
