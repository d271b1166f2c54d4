"""Looks at the timers of many incidents at once: what ten thousand that are due at one instant need.

It does what `run_timers` does, in a few statements for all of them, where nothing is due but steps of a policy, and no
page is held back: as a rule that is every incident. The others are looked at one by one, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from tocsin.app import paging
from tocsin.app.escalate import detail_of, facts_of, run_timers
from tocsin.app.paging import Arranged, Made, Subject
from tocsin.app.timeline import entry_columns, not_found
from tocsin.app.work import Work
from tocsin.domain.escalation import Timer, after, due, timers
from tocsin.domain.paging import Decision
from tocsin.domain.silence import holding
from tocsin.domain.workflow import Escalate, decide
from tocsin.errors import Refusal, TocsinError
from tocsin.store import decisions, incidents, record
from tocsin.store.incidents import Head


@dataclass(frozen=True, slots=True)
class _Look:
    """An incident of which nothing but steps of its policy is due: those that are, and when the next one will be."""

    head: Head
    arranged: Arranged
    firing: tuple[Timer, ...]
    next_due_at: datetime | None


async def run_timers_together(work: Work, incident_ids: Collection[UUID]) -> dict[UUID, datetime | None]:
    """Fire every timer of these incidents that is due; return when the next one of each will be (None: never)."""
    heads = await incidents.lock_heads(work.tx, incident_ids)
    if missing := set(incident_ids) - {head.incident_id for head in heads}:
        raise not_found(min(missing))
    looks = await _plain_looks(work, heads)
    next_due = {look.head.incident_id: look.next_due_at for look in looks}
    await _take_steps(work, looks)
    for incident_id in sorted(set(incident_ids) - set(next_due)):
        next_due[incident_id] = (await run_timers(work, incident_id)).next_due_at
    return next_due


async def _plain_looks(work: Work, heads: Sequence[Head]) -> list[_Look]:
    arrangements = await (await paging.ask(work))()
    held_back = await decisions.held_back(work.tx, [head.incident_id for head in heads])
    subjects = {head.incident_id: Subject.of(head) for head in heads}
    policies = {incident_id: arrangements.policy_of(subject) for incident_id, subject in subjects.items()}
    known = await paging.people(work, arrangements, list({policy.id: policy for policy in policies.values()}.values()))
    looks = []
    for head in heads:
        policy, facts = policies[head.incident_id], subjects[head.incident_id].facts
        terms = paging.terms(work, policy, ())
        firing = due(head.state(), head.created_at, terms, work.now)
        if (
            head.incident_id in held_back
            or holding(arrangements.silences, facts, work.now)
            or not all(isinstance(timer.action, Escalate) for timer in firing)
        ):
            continue
        state = head.state()
        for timer in firing:
            state = after(state, timer, work.now)
        waiting = timers(state, head.created_at, terms)
        looks.append(_Look(head, Arranged(policy, known, None), firing, waiting[0].due_at if waiting else None))
    return looks


async def _take_steps(work: Work, looks: Sequence[_Look]) -> None:
    """Take the steps that are due: the first one of each incident together, then the second ones, and so on."""
    due_now = [look for look in looks if look.firing]
    while due_now:
        await _take_first(work, due_now)
        due_now = await _after_first(work, [look for look in due_now if len(look.firing) > 1])


async def _after_first(work: Work, looks: Sequence[_Look]) -> list[_Look]:
    heads = await incidents.lock_heads(work.tx, [look.head.incident_id for look in looks]) if looks else []
    now = {head.incident_id: head for head in heads}
    return [replace(look, head=now[look.head.incident_id], firing=look.firing[1:]) for look in looks]


async def _take_first(work: Work, looks: Sequence[_Look]) -> None:
    """Take the first due step of each incident: escalations, entries, decisions, pages, each with one statement."""
    made, details, taken = [], [], []
    decided: dict[tuple[UUID, str, bool], tuple[Decision, ...]] = {}
    for look in looks:
        timer = look.firing[0]
        assert timer.asked is not None
        assert isinstance(timer.action, Escalate)
        case = (look.arranged.policy.id, timer.asked.name, look.head.in_storm)
        if case not in decided:
            decided[case] = look.arranged.decide(timer.asked, work.now, in_storm=look.head.in_storm)
        one = Made(Subject.of(look.head), timer.asked, decided[case], "", work.new_id())
        steps = decide(look.head.state(), timer.action)
        if isinstance(steps, Refusal):
            raise TocsinError(steps)
        made.append(one)
        details.append(detail_of(work, look.head, one, None, facts_of(timer.action, look.arranged, timer.asked)))
        taken.append((look.head, steps[0]))
    sealed = await record.write_many(work.tx, "incident_escalations", [detail.columns for detail in details])
    entries = [
        entry_columns(work, head.incident_id, head, step, None, row.checksum, detail.metadata)
        for (head, step), row, detail in zip(taken, sealed, details, strict=True)
    ]
    await record.write_many(work.tx, "incident_lifecycle", entries)
    await paging.record(work, made)
