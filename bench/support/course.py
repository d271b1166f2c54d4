"""The course of one incident: who did what when, drawn by lot, and what the escalation rules made of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from bench.support.population import DAY, HOUR, MINUTE, SECOND, Population
from tocsin.domain.incident import EscalationReason, Severity, Status
from tocsin.domain.timeline import EntryKind

LONGEST_COURSE = 10 * DAY
_TIMER_LATENESS = SECOND // 3
_STAGES = (Status.ACKNOWLEDGED, Status.INVESTIGATING, Status.RESOLVED, Status.CLOSED)


class Event(NamedTuple):
    """Something that happened: an entry of the timeline to be. `reason` is an escalation's."""

    at_us: int
    kind: EntryKind
    reason: EscalationReason | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """Everything that happened to an incident after it was reported, in order."""

    events: tuple[Event, ...]
    has_closure: bool
    """Whether the closing brought the lessons, rather than the resolution."""


def draw(population: Population, number: int, dice: random.Random) -> Course:
    """Draw the course of an incident up to the population's present."""
    created_us = population.created_us(number)
    is_open = number in population.open_numbers
    target = _open_status(dice) if is_open else Status.CLOSED
    steps = _steps(target, dice)
    events = _fitted(steps, created_us, population.now_us - created_us)
    events += _timed(events, created_us, population.now_us)
    if is_open:
        events += _by_hand_lately(created_us, population.now_us, dice)
    if population.severity(number) is Severity.HIGH and dice.random() < 0.02:
        events += _raised(created_us, events, population.now_us)
    if target is not Status.REPORTED and dice.random() < 0.1:
        events.append(Event(events[0].at_us + SECOND, EntryKind.NOTE_ADDED))
    has_closure = any(step.kind is EntryKind.RESOLVED for step in steps) and dice.random() < 0.4
    return Course(tuple(sorted(events, key=lambda event: event.at_us)), has_closure)


def _open_status(dice: random.Random) -> Status:
    weights = (60, 15, 15, 10)
    return dice.choices((Status.REPORTED, *_STAGES[:3]), weights)[0]


def _steps(target: Status, dice: random.Random) -> list[Event]:
    """Return the steps that lead to a status, their times counted from the creation."""
    if target is Status.REPORTED:
        return []
    slow = dice.random() < 0.15
    at = dice.randint(HOUR, 7 * HOUR) if slow else min(int(dice.lognormvariate(1.8, 0.8) * MINUTE), 55 * MINUTE)
    steps = [Event(at, EntryKind.ACKNOWLEDGED)]
    if target is Status.ACKNOWLEDGED:
        return steps
    at += dice.randint(MINUTE, 30 * MINUTE)
    steps.append(Event(at, EntryKind.INVESTIGATION_STARTED))
    if target is Status.INVESTIGATING and dice.random() < 0.33:
        return steps
    late = dice.random() < 0.04
    at += dice.randint(25 * HOUR, 60 * HOUR) if late else min(int(dice.lognormvariate(0.9, 0.8) * HOUR), 16 * HOUR)
    steps.append(Event(at, EntryKind.ROOT_CAUSE_RECORDED))
    if target is Status.INVESTIGATING:
        return steps
    at += min(int(dice.lognormvariate(0.0, 0.8) * HOUR), DAY)
    steps.append(Event(at, EntryKind.RESOLVED))
    if target is Status.CLOSED:
        at += 0 if dice.random() < 0.6 else dice.randint(MINUTE, 2 * DAY)
        steps.append(Event(at, EntryKind.CLOSED))
    return steps


def _fitted(steps: list[Event], created_us: int, age_us: int) -> list[Event]:
    """Place the steps after the creation, closer together where they would reach beyond the present."""
    if not steps:
        return []
    room = min(age_us * 9 // 10, LONGEST_COURSE)
    last = steps[-1].at_us
    return [
        step._replace(at_us=created_us + (step.at_us * room // last if last > room else step.at_us)) for step in steps
    ]


def _timed(events: list[Event], created_us: int, now_us: int) -> list[Event]:
    """Return what the three rules did: each at its hour, unless what it waits for had happened."""
    times = {event.kind: event.at_us for event in events}
    never = now_us + DAY
    acknowledged = times.get(EntryKind.ACKNOWLEDGED, never)
    explained = times.get(EntryKind.ROOT_CAUSE_RECORDED, never)
    fired = []
    for reason, hours, averted in (
        (EscalationReason.NO_ACK_1HR, 1, acknowledged),
        (EscalationReason.NO_ACK_4HR, 4, acknowledged),
        (EscalationReason.NO_ROOT_CAUSE_24HR, 24, explained),
    ):
        at = created_us + hours * HOUR + _TIMER_LATENESS
        if at <= now_us and at < averted:
            fired.append(Event(at, EntryKind.ESCALATED, reason))
    return fired


def _by_hand_lately(created_us: int, now_us: int, dice: random.Random) -> list[Event]:
    """Return an escalation by hand within the last day, for one open incident in seven."""
    if dice.random() >= 0.14 or now_us - created_us < DAY:
        return []
    return [Event(now_us - dice.randrange(DAY), EntryKind.ESCALATED, EscalationReason.MANUAL_ESCALATION)]


def _raised(created_us: int, events: list[Event], now_us: int) -> list[Event]:
    """Return what a worse report did that came ten minutes after the first."""
    at = created_us + 10 * MINUTE
    if at > now_us or any(event.kind is EntryKind.CLOSED and event.at_us <= at for event in events):
        return []
    raised = EscalationReason.SEVERITY_ESCALATED
    return [Event(at, EntryKind.SEVERITY_CHANGED), Event(at, EntryKind.ESCALATED, raised)]
