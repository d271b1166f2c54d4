"""Why: of each step of an incident each candidate, with the one reason for which they were paged, or not.

Steps that were taken, or will not be any more, are told from the reasons that were recorded with them; steps that are
still to come from the incident's policy, as it stands now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any
from uuid import UUID

from tocsin.app import paging
from tocsin.app.paging import Arranged, Subject
from tocsin.app.read_incidents import find_incident
from tocsin.app.timeline import IncidentRef
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.delivery import PageState, came_of
from tocsin.domain.escalation import ACK_LAPSED, SILENCE_ENDED, Timer, timers
from tocsin.domain.incident import EscalationReason, Severity
from tocsin.domain.notification import OPENED, STORM, UNDELIVERED, shown_address
from tocsin.domain.paging import Because, candidates
from tocsin.domain.plural import times
from tocsin.domain.policy import Policies, Policy, Step, StepReason, Target
from tocsin.domain.silence import SilenceKind
from tocsin.domain.timeline import EntryKind
from tocsin.store import decisions, incidents
from tocsin.store.decisions import DecisionRow, PageRow
from tocsin.store.directory import Holders
from tocsin.store.incidents import EntryRow, Head

NO_ROOT_CAUSE = StepReason.NO_ROOT_CAUSE_24HR


class Stage(StrEnum):
    """Where a step stands."""

    TAKEN = "TAKEN"
    MOOT = "MOOT"
    """It was not taken, and never will be."""
    TO_COME = "TO_COME"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver a page, and its answer."""

    at: datetime
    outcome: str
    answer: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page to somebody over one contact method; `because` says why it was cancelled."""

    channel: str
    address: str
    state: str
    due_at: datetime
    settled_at: datetime | None
    because: str | None
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody whom a step might reach, or nobody (None); `because` is None while the step is still to come."""

    user_id: UUID | None
    name: str | None
    via: str
    because: Because | None
    words: str
    decided_at: datetime | None
    pages: list[Page]


@dataclass(frozen=True, slots=True)
class StepStory:
    """One step: its name in the record, what it is in words, where it stands and since (or from) when."""

    step: str
    reason: str
    words: str
    stage: Stage
    at: datetime
    candidates: list[Candidate]


@dataclass(frozen=True, slots=True)
class Why:
    """Why each candidate of each step of an incident was paged, or not. `policy` is the one that it follows now."""

    number: int
    policy: str
    steps: list[StepStory]


async def explain(work: Work, actor: Actor, ref: IncidentRef) -> Why:
    """Return why each candidate of each step was paged, or not; raise NOT_FOUND."""
    require(actor, Permission.READ)
    incident_id = (await find_incident(work, ref)).id
    head = await _head(work, incident_id)
    rows = await decisions.of_incident(work.tx, incident_id)
    pages: dict[UUID, list[Page]] = {}
    for page in await decisions.pages(work.tx, incident_id):
        pages.setdefault(page.decision_id, []).append(_page(page))
    held = await paging.held_pages(work, incident_id)
    arranged = await paging.arranged(work, Subject.of(head), _named(head, [one.user_id for one in held]))
    to_come = timers(head.state(), head.created_at, paging.terms(work, arranged.policy, held))
    past = [_past(name, list(group), pages) for name, group in groupby(_by_step(rows), key=lambda row: row.step)]
    coming = [_coming(timer, arranged, work.now) for timer in to_come if timer.asked is not None]
    return Why(head.number, arranged.policy.name, [*sorted(past, key=lambda step: step.at), *coming])


def _named(head: Head, held: Sequence[UUID]) -> set[UUID]:
    return {*held, *([head.acknowledged_by] if head.acknowledged_by else [])}


async def _head(work: Work, incident_id: UUID) -> Head:
    head = await incidents.head(work.tx, incident_id)
    assert head is not None, "an incident that was found has a head"
    return head


def _by_step(rows: Sequence[DecisionRow]) -> list[DecisionRow]:
    return sorted(rows, key=lambda row: (row.decided_at, row.step))


def _past(name: str, rows: list[DecisionRow], pages: Mapping[UUID, list[Page]]) -> StepStory:
    moot = all(row.because in (Because.ACKNOWLEDGED, Because.ROOT_CAUSE_KNOWN, Because.CLOSED) for row in rows)
    stage = Stage.MOOT if moot and not name.startswith(SILENCE_ENDED) else Stage.TAKEN
    told = [
        Candidate(
            row.user_id,
            row.name,
            row.via,
            Because(row.because),
            _in_words(row),
            row.decided_at,
            pages.get(row.id, []),
        )
        for row in rows
    ]
    return StepStory(name, rows[0].reason, title(rows[0].reason, name), stage, rows[0].decided_at, told)


def _coming(timer: Timer, arranged: Arranged, now: datetime) -> StepStory:
    assert timer.asked is not None, "only steps that ask for somebody are told"
    asked = timer.asked
    told = [
        Candidate(user_id, arranged.directory.people[user_id].name, via, None, "is asked when it is due", None, [])
        for user_id, via in candidates(asked.targets, arranged.directory, now).items()
    ]
    return StepStory(asked.name, asked.reason, title(asked.reason, asked.name), Stage.TO_COME, timer.due_at, told)


def _page(row: PageRow) -> Page:
    return Page(
        row.channel,
        shown_address(row.channel, row.address),
        row.state,
        row.due_at,
        row.settled_at,
        row.because,
        [_attempt(one, waits=row.state == PageState.PENDING and one is row.attempts[-1]) for one in row.attempts],
    )


def _attempt(told: dict[str, Any], *, waits: bool) -> Attempt:
    said = came_of(told["outcome"], told["answer"], told["worker"], waits=waits)
    return Attempt(datetime.fromisoformat(told["at"]), said.outcome, said.answer)


_TITLES = {
    OPENED: "the first alert",
    EscalationReason.NO_ACK_1HR: "nobody acknowledged in time",
    EscalationReason.NO_ACK_4HR: "still nobody acknowledged",
    EscalationReason.NO_ROOT_CAUSE_24HR: "no root cause was recorded in time",
    EscalationReason.MANUAL_ESCALATION: "somebody asked for help",
    EscalationReason.SEVERITY_ESCALATED: "it got worse",
    STORM: "it became a storm",
    UNDELIVERED: "a page could not be delivered",
    ACK_LAPSED: "nothing was heard from whoever acknowledged",
    SILENCE_ENDED: "a silence ended",
}


def title(reason: str, name: str) -> str:
    """Return what a step is, in words."""
    if reason == EscalationReason.POLICY_STEP:
        round_, position = name.removeprefix(f"{reason} ").split("/")[0].split(".")
        return f"step {int(position) + 1} of the policy, round {int(round_) + 1}: still nobody acknowledged"
    return _TITLES.get(reason, reason)


_WORDS = {
    Because.PAGED: "was paged",
    Because.SILENCED: "not paged: {silence} holds it back until {until} ({reason})",
    Because.IN_STORM: "not paged: the incident is one of a storm, which has an incident of its own",
    Because.NO_CONTACT_METHOD: "not paged: has no contact method that works (`tocsin users contact add`)",
    Because.INACTIVE: "not paged: is shut out (`tocsin users activate`)",
    Because.OVERRIDDEN: "not paged: {other} has taken over",
    Because.NOT_ON_CALL: "not paged: {other} is on call",
    Because.ACKNOWLEDGED: "not paged: {other} had acknowledged",
    Because.ROOT_CAUSE_KNOWN: "not paged: the root cause was known by then",
    Because.CLOSED: "not paged: the incident was closed by then",
    Because.NOBODY: "reached nobody, so those of the next steps were asked at once, at last the superadmins",
}


@dataclass(frozen=True, slots=True)
class Quiet:
    """A silence as a reason names it."""

    kind: str
    ends_at: datetime
    reason: str


def in_words(because: Because, about: str | None, quiet: Quiet | None) -> str:
    """Return a reason in words; `about` is the name of whom it is about."""
    return _WORDS[because].format(
        other=about or ("nobody" if because is Because.NOT_ON_CALL else "somebody"),
        silence="a maintenance window" if quiet and quiet.kind == SilenceKind.MAINTENANCE else "a silence",
        until=quiet.ends_at.strftime("%Y-%m-%d %H:%M:%S UTC") if quiet else "its end",
        reason=quiet.reason if quiet else None,
    )


def _in_words(row: DecisionRow) -> str:
    """Return the reason of a decision in words, with the names of people as they are now."""
    quiet = None
    if row.silence_kind is not None and row.silence_ends_at is not None:
        quiet = Quiet(row.silence_kind, row.silence_ends_at, row.silence_reason or "")
    return in_words(Because(row.because), row.about_name, quiet)


# --- completeness ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A candidate of a step without a recorded reason; `user_id` is None where the step has no decision at all."""

    step: str
    user_id: UUID | None
    via: str


async def unexplained(work: Work, incident_id: UUID) -> list[Unexplained]:
    """Return every candidate without a reason. It must be empty: a missing reason is a bug.

    It follows from the timeline, the policies and who holds what, without asking those who decided. Both are looked at
    as they are now; whoever got a duty after a step was taken was no candidate of it.
    """
    head = await _head(work, incident_id)
    timeline = await incidents.timeline(work.tx, incident_id)
    known: dict[str, set[UUID | None]] = {}
    for row in await decisions.of_incident(work.tx, incident_id):
        known.setdefault(row.step, set()).add(row.user_id)
    arrangements = await (await paging.ask(work))()
    everybody = await paging.people(work, arrangements, list(arrangements.policies.policies.values()))
    rosters = {
        schedule_id: {member for layer in schedule.layers for member in layer.members}
        for schedule_id, schedule in everybody.schedules.items()
    }
    missing = []
    for name, step, at in _expected(head, timeline, arrangements.policies):
        if name not in known:
            missing.append(Unexplained(name, None, "the whole step"))
        for user_id, via in _whom(step.targets, arrangements.holders, rosters, at):
            if user_id not in known.get(name, set()):
                missing.append(Unexplained(name, user_id, via))
    return missing + _uncounted(timeline, known)


Expected = tuple[str, Step, datetime]
"""A step's name in the record, the step, and when it was taken or became moot."""


def _expected(head: Head, timeline: Sequence[EntryRow], known: Policies) -> Iterator[Expected]:
    """Give the steps of policies that were taken, or that an answer made moot, by what the timeline says."""
    changes = [entry for entry in timeline if entry.event_type == EntryKind.SEVERITY_CHANGED]
    severity = Severity(changes[0].metadata["from"] if changes else head.current_severity)
    by_name = {policy.name: policy for policy in known.policies.values()}
    taken: set[str] = set()
    for entry in timeline:
        policy, said, at = known.of(head.service, severity), entry.metadata, entry.event_at
        found: list[tuple[str, Step]] = []
        if entry.event_type == EntryKind.REPORTED:
            found = [(OPENED, policy.step_of(StepReason.INCIDENT_OPENED))]
        elif entry.event_type == EntryKind.ESCALATED and said.get("policy") in by_name:
            found = _taken(by_name[said["policy"]], said)
        elif entry.event_type == EntryKind.ACKNOWLEDGED:
            found = [one for one in _first_steps(policy) if one[1].waits_for_acknowledgment and one[0] not in taken]
        elif entry.event_type == EntryKind.ROOT_CAUSE_RECORDED:
            found = [one for one in _first_steps(policy) if one[0] == NO_ROOT_CAUSE and one[0] not in taken]
        elif entry.event_type == EntryKind.SEVERITY_CHANGED:
            severity = Severity(said["to"])
        taken |= {name for name, _ in found}
        yield from ((name, step, at) for name, step in found)


def _taken(policy: Policy, said: Mapping[str, Any]) -> list[tuple[str, Step]]:
    """Return the step of a policy that an entry says was taken; what is no step of it, or not any more, is none."""
    reason, step = str(said["reason"]), str(said.get("step") or "")
    if step:
        position = int(step.split("/", maxsplit=1)[0].split(".")[1])
        return [(f"{reason} {step}", each) for each in policy.steps[position : position + 1]]
    return [(name, each) for name, each in _first_steps(policy) if name == reason]


def _first_steps(policy: Policy) -> list[tuple[str, Step]]:
    """Return the steps of a policy's first round, by their names."""
    further = StepReason.POLICY_STEP
    return [
        (f"{further} 0.{position}/{policy.id}" if step.reason is further else str(step.reason), step)
        for position, step in enumerate(policy.steps)
    ]


def _whom(
    targets: Sequence[Target], holders: Holders, members: Mapping[UUID, set[UUID]], at: datetime
) -> Iterator[tuple[UUID, str]]:
    """Give everybody whom targets may lead to; a duty that changed hands after an instant counts for nobody."""
    for target in targets:
        via = "by name"
        if target.duty is not None:
            if target.duty not in holders.duties or holders.assigned_at[target.duty] > at:
                continue
            target, via = holders.duties[target.duty], f"duty {target.duty}"  # noqa: PLW2901  # whom it stands for
        if target.user_id is not None:
            yield target.user_id, via
        elif target.schedule_id is not None:
            yield from ((member, via) for member in members[target.schedule_id])


def _uncounted(timeline: Sequence[EntryRow], known: Iterable[str]) -> list[Unexplained]:
    """Return what got louder more often than there are steps with reasons for it."""
    louder = Counter(
        ACK_LAPSED if entry.event_type == EntryKind.ACKNOWLEDGMENT_LAPSED else str(entry.metadata.get("reason"))
        for entry in timeline
        if entry.event_type in (EntryKind.ACKNOWLEDGMENT_LAPSED, EntryKind.ESCALATED)
    )
    explained = Counter(name.split()[0] for name in known)
    return [
        Unexplained(reason, None, f"{times(often)}, {explained[reason]} of them with a reason")
        for reason, often in louder.items()
        if explained[reason] < often
    ]
